"""The commands, run as a user runs them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from otel_llm_usage import __version__
from otel_llm_usage.cli import main

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
    found = json.loads(status.communicate(timeout=60)[0])
    for sdk in ("google", "openai", "anthropic"):
        facts = found["sdks"][sdk]
        assert set(facts["seams"].values()) == {"patched"}
        assert Path(facts["file"]).exists()
        assert facts["version"]
    assert {layer["name"] for layer in found["prices"]} == {"overlay", "genai-prices"}
    assert all(layer["as_of"] for layer in found["prices"])
    table = _command("status").communicate(timeout=60)[0]
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
    out = program.communicate(timeout=60)[0]
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
    out = program.communicate(timeout=60)[0]
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
        timeout=60,
    )
    assert "the app ran" in done.stdout, done.stderr
    assert "'patched'" in done.stdout


def test_the_standin_serves_until_it_is_told_to_stop(tmp_path):
    with _command("standin", "--port", "0") as server:
        found = next(line for line in server.stdout if line.startswith("export OPENAI_BASE_URL"))
        url = found.strip().partition("=")[2].removesuffix("/v1")
        with urllib.request.urlopen(f"{url}/__standin__/ledger", timeout=10) as answer:
            assert json.load(answer) is not None
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=20) == 0


@pytest.mark.parametrize("how", ["bounded", "interrupted"])
def test_the_demo_ends_with_two_bills_that_agree(how):
    options = ("--for", "3s") if how == "bounded" else ()
    demo = _command("demo", "--metrics-port", "0", *options)
    if how == "interrupted":
        first = demo.stdout.readline()
        while "Metrics:" not in first:
            first = demo.stdout.readline()
        time.sleep(2)
        demo.send_signal(signal.SIGINT)
    out = demo.communicate(timeout=90)[0]
    assert demo.returncode == 0, out
    assert "Both bills agree, to the token and to the micro-dollar." in out
    assert "acme-unknown-1" in out
    assert "gemini-2.5-flash" in out
    assert "Traceback" not in out
