"""The commands, run as a user runs them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from otel_llm_usage import __version__
from otel_llm_usage.cli import main
from otel_llm_usage.runtime import current
from otel_llm_usage.settings import load

ROOT = Path(__file__).parent.parent
PRICES = """
[[price]]
provider = "openai"
model = "ft:gpt-4.1-2025-04-14:acme:*"
input = "2.40"
output = "9.60"
source = "contract 2026-014"
checked_on = 2026-11-20

[[price]]
provider = "openai"
model = "gpt-4.1"
input = "1.80"
output = "7.20"
source = "contract 2026-014"
checked_on = 2026-11-20
"""
APP = """
import openai
client = openai.OpenAI()
client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "hello"}])
print("the app ran", flush=True)
"""


@pytest.fixture
def invoke():
    def run(*arguments):
        return CliRunner().invoke(main, arguments)

    return run


def _environment(**more):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return inherited | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | more


def _command(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "otel_llm_usage", *arguments],
        env=_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_version_is_said(invoke):
    assert __version__ in invoke("--version").output


def test_show_tells_every_number_with_its_source(invoke):
    shown = invoke("prices", "show", "gpt-4.1", "--at", "2026-11-20")
    assert shown.exit_code == 0
    assert "openai/gpt-4.1" in shown.output
    assert "genai-prices" in shown.output
    cards = json.loads(invoke("prices", "show", "claude-opus-4-5", "--json").output)
    rates = {rate["sku"]: rate["price"] for rate in cards[0]["rates"]}
    assert (rates["input"], rates["cache_write_1h"]) == ("5", "10")


def test_show_says_when_no_price_is_known(invoke):
    shown = invoke("prices", "show", "nobody-1")
    assert shown.exit_code == 1
    assert "unknown_model" in shown.output


def test_check_shows_what_a_file_does(invoke, tmp_path):
    file = tmp_path / "contract.toml"
    file.write_text(PRICES)
    checked = invoke("prices", "check", str(file))
    assert checked.exit_code == 0, checked.output
    assert "valid; 2 price" in checked.output
    assert re.search(r"gpt-4\.1 .*input .*2 .*1\.8 ", checked.output)


def test_check_names_what_is_wrong(invoke, tmp_path):
    file = tmp_path / "contract.toml"
    file.write_text(PRICES.replace('input = "1.80"', "input = 1.80"))
    checked = invoke("prices", "check", str(file))
    assert checked.exit_code == 1
    assert "contract.toml" in checked.output
    assert "Traceback" not in checked.output


def test_diff_tells_what_a_file_or_the_overlay_changes(invoke, tmp_path):
    file = tmp_path / "contract.toml"
    file.write_text(PRICES)
    changed = invoke("prices", "diff", str(file), "--at", "2026-11-20")
    assert re.search(r"gpt-4\.1 .*output .*8 .*7\.2 ", changed.output)
    shipped = invoke("prices", "diff", "--at", "2026-11-20")
    assert shipped.exit_code == 0
    assert "gemini" in shipped.output


def test_a_day_that_is_none_is_said(invoke):
    shown = invoke("prices", "show", "gpt-5", "--at", "someday")
    assert shown.exit_code == 1
    assert "no date" in shown.output


def test_status_says_what_is_patched_from_where_with_which_prices():
    status = _command("status", "--json")
    found = json.loads(status.communicate(timeout=240)[0])
    for sdk in ("google", "openai", "anthropic"):
        facts = found["sdks"][sdk]
        # what a version does not have, or loads at its first use, waits
        assert set(facts["seams"].values()) <= {"patched", "waiting"}
        assert list(facts["seams"].values()).count("patched") >= 5
        assert Path(facts["file"]).exists()
        assert facts["version"]
    assert {layer["name"] for layer in found["prices"]} == {"overlay", "genai-prices"}
    assert all(layer["as_of"] for layer in found["prices"])
    table = _command("status").communicate(timeout=240)[0]
    assert "BaseClient._build_request" in table
    assert "patched" in table
    assert "openai/_base_client.py" in "".join(table.split())


def test_run_instruments_a_program_that_knows_nothing_of_it(llm_standin, tmp_path):
    app = tmp_path / "app.py"
    app.write_text(
        APP + "import urllib.request, otel_llm_usage.runtime as r\n"
        "print(urllib.request.urlopen(r.current().server.url).read().decode())\n"
    )
    program = _command(
        "run", "--metrics-port", "0", "--", sys.executable, str(app), **llm_standin.environment()
    )
    out = program.communicate(timeout=240)[0]
    assert program.returncode == 0, out
    assert "the app ran" in out
    assert re.search(r'llm_tokens_total\{.*model="gpt-4\.1-.*type="output".*\} [1-9]', out)


def test_run_keeps_the_programs_own_sitecustomize_arguments_and_exit_code(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('their sitecustomize')")
    program = _command(
        "run",
        "--no-metrics",
        sys.executable,
        "-c",
        "import sys; print(sys.argv[1:]); raise SystemExit(7)",
        "--their-option",
        PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}",
    )
    out = program.communicate(timeout=240)[0]
    assert "their sitecustomize" in out
    assert "['--their-option']" in out
    assert program.returncode == 7


def test_run_says_what_is_wrong_before_it_starts_anything(invoke, monkeypatch):
    monkeypatch.setenv("OTEL_LLM_USAGE_SPANS", "perhaps")
    started = invoke("run", "--", "python", "app.py")
    assert started.exit_code == 1
    assert "auto, always, never" in started.output
    monkeypatch.delenv("OTEL_LLM_USAGE_SPANS")
    started = invoke("run", "--", "no-such-program-anywhere")
    assert "no program" in started.output


@pytest.mark.parametrize(
    ("options", "deaf"),
    [
        (["-I"], "-I"),
        (["-uE"], "-E"),
        (["-W", "error", "-S"], "-S"),
        (["-Wignore", "-I"], "-I"),
        (["-X", "dev", "app.py", "-I"], None),
        (["-c", "pass", "-I"], None),
        (["-m", "pytest", "-S"], None),
        (["--version"], None),
    ],
)
def test_run_refuses_a_python_that_takes_nothing_from_outside(invoke, monkeypatch, options, deaf):
    ran = []
    monkeypatch.setattr("os.execve", lambda program, command, environment: ran.append(command))
    started = invoke("run", "--", sys.executable, *options)
    assert bool(ran) == (deaf is None)
    if deaf is not None:
        assert f"{deaf} takes nothing from outside" in started.output
        assert started.exit_code == 1


def test_opentelemetry_instrument_finds_us(llm_standin, tmp_path):
    app = tmp_path / "app.py"
    app.write_text(
        APP + "import otel_llm_usage.runtime as r\nprint(r.current().status()['sdks']['openai'])\n"
    )
    done = subprocess.run(
        [Path(sys.executable).parent / "opentelemetry-instrument", sys.executable, app],
        env=_environment(
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRICS_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
            **llm_standin.environment(),
        ),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "the app ran" in done.stdout, done.stderr
    assert "'patched'" in done.stdout


def test_the_standin_serves_until_it_is_told_to_stop(tmp_path):
    with _command("standin", "--port", "0") as server:
        found = next(line for line in server.stdout if line.startswith("export OPENAI_BASE_URL"))
        url = found.strip().partition("=")[2].removesuffix("/v1")
        with urllib.request.urlopen(f"{url}/__standin__/ledger", timeout=60) as answer:
            assert json.load(answer) is not None
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0


def _wait_for(url, *models):
    """Until the metrics know these models: how many seconds that takes depends on the machine."""
    for _ in range(600):
        with urllib.request.urlopen(url, timeout=60) as answer:
            text = answer.read().decode()
        if all(f'model="{model}' in text for model in models):
            return
        time.sleep(0.1)
    raise AssertionError(text)


@pytest.mark.parametrize("how", ["bounded", "interrupted"])
def test_the_demo_ends_with_two_bills_that_agree(how):
    options = ("--for", "3s") if how == "bounded" else ()
    demo = _command("demo", "--metrics-port", "0", *options)
    if how == "interrupted":
        told = next(line for line in demo.stdout if "Metrics:" in line)
        _wait_for(told.split()[1], "acme-unknown-1", "gemini-2.5-flash")
        demo.send_signal(signal.SIGINT)
    out = demo.communicate(timeout=240)[0]
    assert demo.returncode == 0, out
    assert "Both bills agree, to the token and to the micro-dollar." in out
    assert "acme-unknown-1" in out
    assert "gemini-2.5-flash" in out
    assert "Traceback" not in out


def test_the_demo_needs_the_sdks_and_says_so(python):
    said = python(
        "import sys\n"
        "sys.modules['anthropic'] = None\n"
        "from click.testing import CliRunner\n"
        "from otel_llm_usage.cli import main\n"
        "done = CliRunner().invoke(main, ['demo', '--for', '1s'])\n"
        "print(done.exit_code, done.output)\n"
    )
    assert said.startswith("1 Error: the demo needs an extra: pip install 'otel-llm-usage[gemini,")


def test_the_demo_is_disturbed_by_nothing_from_outside(tmp_path):
    (tmp_path / "numbers").mkdir()
    demo = _command(
        *("demo", "--for", "5s", "--metrics-port", "0"),
        HTTP_PROXY="http://127.0.0.1:9",
        ALL_PROXY="http://127.0.0.1:9",
        http_proxy="http://127.0.0.1:9",
        OTEL_LLM_USAGE_METRICS_TOKEN="secret",
        OTEL_LLM_USAGE_NAMESPACE="acme",
        OTEL_LLM_USAGE_SDKS="openai",
        PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "numbers"),
    )
    out = demo.communicate(timeout=240)[0]
    assert demo.returncode == 0, out
    assert "Both bills agree" in out
    assert re.search(r"^ *[2-4]\.\d s +[1-9]\d* calls", out, re.MULTILINE)
    assert not list((tmp_path / "numbers").iterdir())


def test_a_port_that_was_chosen_for_the_demo_and_is_taken_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        demo = _command("demo", "--for", "1s", "--metrics-port", str(port))
        out = demo.communicate(timeout=240)[0]
    assert demo.returncode == 2
    assert f"Port {port} is taken" in out
    assert "Traceback" not in out


def test_where_no_port_was_chosen_the_demo_takes_a_free_one(monkeypatch, capsys):
    from rich.console import Console

    from otel_llm_usage import demo

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(demo, "DEFAULT_PORT", port)
        server = demo._serve(Console(), "127.0.0.1", None)
        server.close()
    assert f"Port {port} is taken" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["-5s", "0s", "nan", "inf", "infinity", "1e400s", "5ms", "soon"])
def test_a_duration_that_is_none_is_said(invoke, text):
    started = invoke("demo", f"--for={text}")
    assert started.exit_code == 2
    assert "is no duration" in started.output


@pytest.mark.parametrize("command", ["standin", "notifications"])
def test_a_server_whose_port_is_taken_is_one_line(invoke, command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        started = invoke(command, "--port", str(taken.getsockname()[1]))
    assert started.exit_code == 1
    assert re.fullmatch(r"Error: .* in use.*\n", started.output)


@pytest.fixture
def started(invoke, monkeypatch):
    """What `run` would start: its environment, or what it says instead."""

    def run(*options):
        environments = []
        monkeypatch.setattr(
            "os.execve", lambda _, __, environment: environments.append(environment)
        )
        done = invoke("run", *options, "--", sys.executable, "app.py")
        return environments[0] if environments else done

    return run


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("OTEL_LLM_USAGE_PRICES", "no-such-file.toml", "no-such-file.toml"),
        ("OTEL_LLM_USAGE_PRICE_DATA", "no-such-file.json", "no-such-file.json"),
        ("OTEL_LLM_USAGE_METRICS_PORT", "70000", "at most 65535"),
        ("OTEL_LLM_USAGE_METRICS_HOST", "no-such-host.invalid", "metrics_host"),
        ("OTEL_LLM_USAGE_METRIC_LABELS", "type", "name yours differently"),
        ("PROMETHEUS_MULTIPROC_DIR", "no-such-directory", "writable and empty"),
    ],
)
def test_run_starts_nothing_that_would_run_uncounted(started, monkeypatch, variable, text, says):
    monkeypatch.setenv(variable, text)
    done = started()
    assert done.exit_code == 1
    assert says in done.output
    assert len(done.output.splitlines()) == 1


def test_run_rehearses_and_leaves_nothing(started, monkeypatch, tmp_path):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:  # that may pass: another worker's
        port = str(taken.getsockname()[1])
        assert started("--metrics-port", port)["OTEL_LLM_USAGE_METRICS_PORT"] == port
    assert current() is None
    assert not list(tmp_path.iterdir())


def test_run_without_metrics_wins_over_the_settings_file(started, tmp_path):
    (tmp_path / "llm.toml").write_text("metrics_port = 1234\n")
    environment = started("--no-metrics", "--config", str(tmp_path / "llm.toml"))
    assert load({}, environment).metrics_port is None
    environment = started("--config", str(tmp_path / "llm.toml"))
    assert load({}, environment).metrics_port == 1234
    assert load({}, started()).metrics_port == 9464


def test_a_program_under_run_may_add_sinks(llm_standin, tmp_path):
    app = tmp_path / "app.py"
    app.write_text(
        "import otel_llm_usage\n"
        "otel_llm_usage.instrument(sinks=[lambda record: print('the sink got', record.model)])\n"
        + APP
    )
    program = _command("run", "--no-metrics", sys.executable, app, **llm_standin.environment())
    out = program.communicate(timeout=240)[0]
    assert "the sink got gpt-4.1" in out
    assert "called before" not in out


def test_a_python_below_run_that_lacks_the_package_is_left_alone(tmp_path):
    environment = _environment() | {"PYTHONPATH": str(ROOT / "otel_llm_usage" / "bootstrap")}
    script = "import sys, sitecustomize; print('otel_llm_usage' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],  # without its installed packages
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_status_leaves_the_numbers_of_a_service_alone(tmp_path):
    status = _command("status", "--json", PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert json.loads(status.communicate(timeout=240)[0])["sdks"]
    assert not list(tmp_path.iterdir())
