"""The commands over a ledger, run as a user runs them, held against what the provider billed."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import anthropic
import openai
import pytest
from click.testing import CliRunner

from otel_llm_usage import agent, attribute, hindsight, instrument, track, uninstrument
from otel_llm_usage.cli import main
from otel_llm_usage.ledger import Ledger, Question, Reports, Upkeep
from otel_llm_usage.prices import load_catalogue
from otel_llm_usage.records import Cost, PricedLine, Record, Request, Usage
from otel_llm_usage.standin import Answer
from otel_llm_usage.standin.tariff import charge

ROOT = Path(__file__).parents[2]
HELLO = [{"role": "user", "content": "hello"}]
NOW = datetime.now(UTC)


@pytest.fixture
def run(monkeypatch, place):
    """Run a command over the ledger, which the environment names."""
    monkeypatch.setenv("OTEL_LLM_USAGE_LEDGER", place)

    def invoke(*arguments, code=0):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done.stdout if code == 0 else done.output

    return invoke


@pytest.fixture
def told(run):
    """The same, and its JSON."""
    return lambda *arguments, code=0: json.loads(run(*arguments, "--json", code=code))


@pytest.fixture
def billed(llm_standin, place):
    """Calls of the real SDKs, in the ledger; and what the stand-in has billed for them."""
    llm_standin.script(
        lambda seen: Answer(usage={"input": 1000, "cache_read": 500, "output": 100}), times=None
    )
    runtime = instrument(otlp=False, ledger=place)
    with openai.OpenAI(max_retries=0) as gpt, anthropic.Anthropic(max_retries=0) as claude:
        with track("analysis-1", symbol="TCS"), attribute(user="ann", call_type="plan"):
            for _ in range(3):
                with agent("planner"):
                    gpt.chat.completions.create(model="gpt-4.1", messages=HELLO)
        with agent("writer"), attribute(user="bob"):
            claude.messages.create(model="claude-haiku-4-5", max_tokens=100, messages=HELLO)
            gpt.chat.completions.create(model="gpt-4.1-mini", messages=HELLO)
    runtime.flush()
    uninstrument()
    return list(llm_standin.ledger)


def usd(bills, *names):
    return sum(
        (bill.usd for bill in bills if not names or bill.model.startswith(names)), Decimal(0)
    )


def of(bills, model):
    """Those of exactly this model, with or without a date."""
    return [bill for bill in bills if bill.model.split("-20")[0] == model]


def dollars(part):
    return Decimal(part["cost_usd"])


# ------------------------------------------------------------ what was spent


def test_a_report_says_what_was_billed(billed, told, run):
    report = told("report", "--by", "agent,model", "--since", "1h")
    assert dollars(report["total"]) == usd(billed)
    assert {(line["agent"], line["model"].split("-20")[0]) for line in report["lines"]} == {
        ("planner", "gpt-4.1"),
        ("writer", "claude-haiku-4-5"),
        ("writer", "gpt-4.1-mini"),
    }
    for line in report["lines"]:
        bills = of(billed, line["model"].split("-20")[0])
        assert (line["calls"], dollars(line)) == (len(bills), usd(bills))
        assert line["total_tokens"] == sum(sum(bill.usage.values()) for bill in bills)
    table = run("report", "--by", "agent", "--since", "1h", "--previous")
    assert re.search(r"^ planner +3 +0 +4,500 +1,500 +300 +0 +4,800 ", table, re.MULTILINE)
    assert re.search(r"\+\$0\.\d+", table)  # before that there was nothing


def test_filters_scopes_users_and_the_rest(billed, told, run):
    mine = told("report", "--where", "user=ann", "--by", "label:symbol")
    assert [line["label:symbol"] for line in mine["lines"]] == ["TCS"]
    assert dollars(mine["total"]) == usd(of(billed, "gpt-4.1"))
    either = told("report", "--where", "user=ann", "--where", "user=bob")
    assert dollars(either["total"]) == usd(billed)
    assert dollars(told("report", "--scope", "analysis-1")["total"]) == usd(of(billed, "gpt-4.1"))
    assert dollars(told("report", "--agent", "writer")["total"]) == usd(billed) - usd(
        of(billed, "gpt-4.1")
    )
    table = run("report", "--by", "model", "--limit", "1")
    assert "2 others" in table
    top = told("top", "user", "-n", "1")
    assert len(top["lines"]) == 1
    assert top["groups"] == 2
    assert "ann" in run("top", "user")


def test_scopes_the_latest_and_one_in_full(billed, told, run):
    (scope,) = told("scopes")
    assert (scope["id"], scope["calls"]) == ("analysis-1", 3)
    assert dollars(scope) == usd(of(billed, "gpt-4.1"))
    whole = told("scopes", "analysis-1")
    assert dollars(whole["total"]) == usd(of(billed, "gpt-4.1"))
    assert [line["call_type"] for line in whole["by_call_type"]] == ["plan"]
    assert "analysis-1" in run("scopes")
    assert "plan" in run("scopes", "analysis-1")
    assert "no calls of a scope 'nobody'" in run("scopes", "nobody", code=1)


def test_the_latest_calls_one_line_each(billed, run):
    lines = [json.loads(line) for line in run("tail", "--json").splitlines()]
    assert [dollars(line) for line in lines] == [bill.usd for bill in billed]  # the newest last
    told = run("tail", "-n", "2").splitlines()
    assert len(told) == 2
    assert "claude-haiku-4-5" in told[0]
    assert "gpt-4.1-mini" in told[1]
    assert "user=bob" in told[1]
    assert len(run("tail", "--where", "agent=planner").splitlines()) == 3


def test_traffic_at_other_prices_is_what_the_providers_list_says(billed, told, run):
    strong, small = of(billed, "gpt-4.1"), of(billed, "gpt-4.1-mini")
    compared = told("compare", "gpt-4.1", "gpt-4.1-mini")
    assert (compared["a"]["calls"], compared["b"]["calls"]) == (3, 1)
    assert Decimal(compared["a"]["total_usd"]) == usd(strong)
    there = sum(charge("gpt-4.1-mini", bill.usage) for bill in strong)
    assert Decimal(compared["a_on_b"]["other_usd"]) == there
    back = sum(charge("gpt-4.1", bill.usage) for bill in small)
    assert Decimal(compared["b_on_a"]["other_usd"]) == back
    assert "the same tokens on the other" in run("compare", "gpt-4.1", "gpt-4.1-mini")
    assert "no calls of" in run("compare", "nobody-1", "nobody-2", code=1)
    moved = told("what-if", "--model", "gpt-4.1-mini", "--agent", "planner", "--since", "1h")
    assert (moved["calls"], Decimal(moved["other_usd"])) == (3, there)
    only = told("what-if", "--tier", "batch", "--of-model", "gpt-4.1")
    # OpenAI lists no price for what a batch reads from a cache
    assert only["assumed"] == ["cache_read priced as input: it has no rate there"]
    assert Decimal(only["other_usd"]) == 3 * charge("gpt-4.1", {"input": 1500, "output": 100}) / 2
    assert "%)" in run("what-if", "--model", "gpt-4.1-mini", "--agent", "planner")
    assert "say --model" in run("what-if", code=1)


def test_pictures_of_a_report(billed, run, tmp_path):
    for name, by in (("a.png", "agent"), ("b.svg", "hour,agent"), ("c.pdf", "day")):
        run("report", "--by", by, "--chart", str(tmp_path / name))
        assert (tmp_path / name).stat().st_size > 1_000
    bars = run("report", "--by", "agent", "--chart", "-")
    assert "Cost by agent" in bars
    assert bars.index("planner") < bars.index("writer") or usd(of(billed, "gpt-4.1")) * 2 < usd(
        billed
    )
    assert "Calls by hour" in run("report", "--by", "hour", "--chart", "-", "--of", "calls")
    assert "say --by" in run("report", "--chart", "-", code=1)
    assert "end the name with one" in run(
        "report", "--by", "agent", "--chart", str(tmp_path / "a.txt"), code=1
    )


# ------------------------------------------------------------ what changes something


def record(number, *, at=NOW - timedelta(hours=2), model="gpt-4.1", user=None, pico=2_400, **more):
    usage = Usage(input=1000, output=50)
    return Record(
        id=f"{number:032x}",
        time=at.timestamp(),
        request=Request("openai", "openai", "openai-api", "chat", "chat.completions", model),
        status="ok",
        usage=usage,
        usage_source="reported",
        cost=Cost("priced", pico, (PricedLine("input", 1000, pico, "x"),), card="old"),
        labels={} if user is None else {"user": user},
        **more,
    )


@pytest.fixture
def kept(ledger):
    """Records of which it is known what they should cost."""
    for number in range(30):
        days = timedelta(days=100 if number < 10 else 0)
        ledger(record(number, at=NOW - timedelta(hours=2) - days, user=f"u{number % 3}"))
    ledger.flush()
    return ledger


def test_prices_anew_first_looked_at_then_written(kept, told, run):
    right = charge("gpt-4.1", {"input": 1000, "output": 50})
    looked = told("reprice", "--since", "7d", "--dry-run")
    assert looked == {
        "written": False,
        "models": {
            "gpt-4.1": {
                "records": 20,
                "changed": 20,
                "failed": 0,
                "before_usd": "0.000000048",
                "after_usd": f"{(20 * right).normalize():f}",
            }
        },
    }
    reports = Reports(kept)
    assert reports.report(Question()).total.pico == 30 * 2_400
    assert "Nothing is written" in run("reprice", "--since", "7d", "--dry-run")
    assert "say --yes" in run("reprice", "--since", "7d", code=1)
    assert reports.report(Question()).total.pico == 30 * 2_400
    assert told("reprice", "--since", "7d", "--yes")["written"]
    assert reports.report(Question()).total.pico == 10 * 2_400 + 20 * right * 10**12
    assert told("reprice", "--since", "7d", "--yes")["written"] is False


def test_prices_of_a_contract_for_the_past(kept, told, tmp_path):
    file = tmp_path / "contract.toml"
    file.write_text(
        '[[price]]\nprovider = "openai"\nmodel = "gpt-4.1"\ninput = "1"\noutput = "2"\n'
        'source = "contract"\nchecked_on = 2026-01-01\n'
    )
    done = told("reprice", "--since", "7d", "--prices", str(file), "--yes")
    assert done["models"]["gpt-4.1"]["after_usd"] == "0.022"  # 20 * (1000 * 1 + 50 * 2) / 1e6


def test_what_is_old_or_a_users_is_deleted_or_forgotten(kept, told, run):
    reports = Reports(kept)
    refused = run("purge", "--older-than", "90d", code=1)
    assert "10 records" in refused
    assert "say --yes" in refused
    assert "which records?" in run("purge", "--yes", code=1)
    assert reports.report(Question()).total.records == 30
    assert told("purge", "--older-than", "90d", "--yes") == {"deleted": 10}
    assert told("anonymise", "--user", "u1", "--yes") == {"anonymised": 7}
    by = {line.group[0]: line.sum.records for line in reports.report(Question(by=("user",))).lines}
    assert by == {"u0": 6, "": 7, "u2": 7}
    assert run("purge", "--user", "u2", "--yes") == "7 records deleted\n"
    assert reports.report(Question()).total.records == 13


def test_counting_periods_in_the_terminal(kept, told, run):
    assert told("period")["began"] is None
    assert told("period")["total"]["calls"] == 30
    began = datetime.fromisoformat(told("period", "begin", "--note", "new contract")["began"])
    assert Upkeep(kept).period() == began
    assert told("period")["total"]["calls"] == 0
    assert "counting since" in run("period", "begin")
    assert "since 20" in run("period")


def test_whoever_sits_at_a_terminal_is_asked(tmp_path):
    place = str(tmp_path / "usage.db")
    ledger = Ledger(place)
    ledger(record(1))
    ledger.close()
    for answer, left in (("n\n", 1), ("y\n", 0)):
        ours, theirs = pty.openpty()
        child = subprocess.Popen(
            [sys.executable, "-m", "otel_llm_usage", "purge", "--older-than", "1h"],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OTEL_LLM_USAGE_LEDGER": place},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        os.write(ours, answer.encode())
        out = child.communicate(timeout=60)[0]
        os.close(ours)
        os.close(theirs)
        assert "1 records from before" in out
        assert child.returncode == (0 if left == 0 else 1)
        ledger = Ledger(place)
        assert Reports(ledger).report(Question()).total.records == left
        ledger.close()


# ------------------------------------------------------------ to and from files


def test_there_and_back_again(kept, told, run, tmp_path):
    file = tmp_path / "all.jsonl"
    assert told("export", str(file)) == {"rows": 30}
    assert "is there already" in run("export", str(file), code=1)
    assert len(run("export", "-", "--format", "csv").splitlines()) == 31
    elsewhere = str(tmp_path / "elsewhere.db")
    assert told("import", str(file), "--ledger", elsewhere)["new"] == 30
    assert told("import", str(file), "--ledger", elsewhere)["new"] == 0
    assert told("report", "--ledger", elsewhere)["total"] == told("report")["total"]
    focus = told("export", str(tmp_path / "focus.csv"), "--format", "focus", "--since", "7d")
    assert focus["rows"] >= 1
    assert "BilledCost" in (tmp_path / "focus.csv").read_text()


def test_rows_of_others(run, told, tmp_path):
    file = tmp_path / "theirs.csv"
    file.write_text(
        "when,model,prompt_tokens,completion_tokens,Project\n"
        "2026-11-01T10:00:00Z,gpt-4.1,1000,50,x\n"
        "someday,gpt-4.1,1,1,x\n"
    )
    said = told("import", str(file), "--map", "when=time", "--map", "Project=label.project", code=1)
    assert (said["rows"], said["new"], said["rejected"]) == (2, 1, 1)
    assert said["problems"][0]["number"] == 3
    report = told("report", "--by", "label:project")
    assert dollars(report["lines"][0]) == charge("gpt-4.1", {"input": 1000, "output": 50})
    assert "say theirs=ours" in run("import", str(file), "--map", "when", code=1)


def test_what_is_needed_to_reconcile_is_said(kept, run):
    assert "OPENAI_ADMIN_KEY is not set" in run("reconcile", "openai", code=1)
    assert "say EUR=1.08" in run("reconcile", "google", "--rate", "EUR", code=1)


# ------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "--by", "nothing"), "nothing that calls are told apart by"),
        (("report", "--by", "agent; DROP TABLE llm_usage"), "nothing that calls are told apart by"),
        (("report", "--where", "agent"), "say name=value"),
        (("report", "--since", "soon"), "no moment"),
        (("report", "--since", "2026-02-30"), "no moment"),
        (("report", "--zone", "Mars"), "no time zone"),
        (("report", "--limit", "1000000000"), "it takes 1 to"),
        (("report", "--sort", "dollars"), "it takes"),
        (("report", "--previous"), "since is missing"),
        (("tail", "-n", "0"), "it takes 1 to"),
        (("report", "--ledger", "/nowhere/usage.db"), "no folder"),
        (("report", "--ledger", "mysql://u:secret@h/n"), "SQLite or PostgreSQL"),
        (("purge", "--older-than", "old", "--yes"), "no moment"),
    ],
    ids=lambda one: one if isinstance(one, str) else " ".join(one),
)
def test_what_cannot_be_is_one_line_that_says_what_to_do(kept, run, arguments, said):
    code = 1
    out = run(*arguments, code=code)
    assert said in out
    assert out.startswith("Error: ")
    assert len(out.splitlines()) == 1
    assert "secret" not in out


def test_words_of_sql_are_only_words(kept, told):
    odd = "x' OR '1'='1"
    assert told("report", "--where", f"agent={odd}")["total"]["calls"] == 0
    assert told("report", "--by", f"label:{odd}")["total"]["calls"] == 30


def test_without_a_ledger_it_says_how_to_name_one(monkeypatch):
    done = CliRunner().invoke(main, ["report"])
    assert done.exit_code == 1
    assert "--ledger usage.db" in done.output
    assert "OTEL_LLM_USAGE_LEDGER" in done.output


def test_the_settings_file_names_the_ledger(kept, place, tmp_path, monkeypatch):
    (tmp_path / "llm.toml").write_text(f'ledger = "{place}"\n')
    monkeypatch.setenv("OTEL_LLM_USAGE_CONFIG", str(tmp_path / "llm.toml"))
    done = CliRunner().invoke(main, ["report", "--json"])
    assert json.loads(done.stdout)["total"]["calls"] == 30


def test_who_only_asks_makes_no_ledger(tmp_path, monkeypatch):
    missing = tmp_path / "missing.db"
    done = CliRunner().invoke(main, ["report", "--ledger", str(missing)])
    assert (done.exit_code, missing.exists()) == (1, False)
    assert "there is no ledger" in done.output
    import sqlite3

    theirs = tmp_path / "theirs.db"
    with sqlite3.connect(theirs) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    done = CliRunner().invoke(main, ["tail", "--ledger", str(theirs)])
    assert done.exit_code == 1
    with sqlite3.connect(theirs) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)
    connection.close()
    noise = tmp_path / "noise.db"
    noise.write_bytes(b"no database at all" * 100)
    done = CliRunner().invoke(main, ["report", "--ledger", str(noise)])
    assert "is it a ledger" in done.output
    assert len(done.output.splitlines()) == 1


def test_a_server_that_is_away_or_says_no_is_one_line(postgres):
    address = f"postgresql://tests:geheim@127.0.0.1:{postgres.port}/none"
    for away in (address, "postgresql://tests:geheim@127.0.0.1:1/none"):
        done = CliRunner().invoke(main, ["report", "--ledger", away])
        assert done.exit_code == 1
        assert "does not answer" in done.output
        assert "password right?" in done.output
        assert len(done.output.splitlines()) == 1
        assert "geheim" not in done.output


# ------------------------------------------------------------ as processes


def command(place, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "otel_llm_usage", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OTEL_LLM_USAGE_LEDGER": place},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_calls_are_followed_while_they_come(kept, place):
    child = command(place, "tail", "-n", "2", "--follow", "--json")
    try:
        first = [json.loads(child.stdout.readline())["id"] for _ in range(2)]
        # one was sent before those that are shown, and ends only now
        late = [
            record(100, at=NOW),
            record(101, at=NOW - timedelta(hours=3), user="late"),
        ]
        for one in late:
            kept(one)
        kept.flush()
        more = {json.loads(child.stdout.readline())["id"] for _ in range(2)}
    finally:
        child.send_signal(signal.SIGINT)
        rest, errors = child.communicate(timeout=60)
    assert first == sorted(first)
    assert more == {one.id for one in late}
    assert (child.returncode, rest, errors) == (0, "", "")


def test_of_many_calls_only_those_that_come_are_followed(kept, place):
    for number in range(1000, 1700):
        kept(record(number, at=NOW - timedelta(minutes=number)))
    kept.flush()
    child = command(place, "tail", "-n", "1", "--follow", "--json")
    try:
        json.loads(child.stdout.readline())
        burst = [record(2000 + number, at=NOW + timedelta(seconds=number)) for number in range(900)]
        for one in burst:
            kept(one)
        kept.flush()
        told = [json.loads(child.stdout.readline())["id"] for _ in burst]
        kept(record(9000, at=NOW + timedelta(hours=1)))
        kept.flush()
        told.append(json.loads(child.stdout.readline())["id"])
    finally:
        child.send_signal(signal.SIGINT)
        rest, errors = child.communicate(timeout=60)
    assert sorted(told) == sorted([*(one.id for one in burst), f"{9000:032x}"])
    assert (rest, errors) == ("", "")


def test_a_reader_that_goes_is_no_error(kept, place):
    child = command(place, "report", "--by", "user", "--json")
    child.stdout.close()
    errors = child.stderr.read()
    child.stderr.close()
    child.wait(timeout=60)
    assert "Traceback" not in errors


def test_asking_does_not_slow_down_what_is_run(python):
    said = python(
        "import sys\n"
        "from otel_llm_usage.cli import main\n"
        "main(['run', '--help'], standalone_mode=False)\n"
        "print([name for name in ('sqlalchemy', 'matplotlib', 'httpx') if name in sys.modules])"
    )
    assert said.splitlines()[-1] == "[]"


def test_calls_that_are_priced_anew_are_not_held_in_memory(ledger):
    many = 20_000
    for number in range(many):
        ledger(record(number))
        if number % 5_000 == 0:
            ledger.flush()
    ledger.flush()
    catalogue, reports = load_catalogue(), Reports(ledger)
    catalogue.warm()
    steps = []
    tracemalloc.start()
    told = hindsight.what_if(
        reports,
        catalogue,
        Question(),
        model="gpt-4.1-mini",
        progress=lambda done, of: steps.append((done, of)),
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert told.calls == many
    assert steps[0] == (1_000, many)
    assert steps[-1] == (many, many)
    assert peak < 15_000_000  # all of them would be 40 MB


def test_pages_of_scopes(ledger):
    for number in range(40):
        at = NOW - timedelta(minutes=number)
        ledger(record(number, at=at, scopes=(f"s{number % 7}", "all")))
    ledger.flush()
    reports = Reports(ledger)
    seen, place = [], None
    for _ in range(10):
        page, place = reports.scopes(3, before=place)
        seen += page
        if place is None:
            break
    assert [one.id for one in seen] == ["s0", "all", "s1", "s2", "s3", "s4", "s5", "s6"]
    assert seen[1].sum.calls == 40
    assert seen[1].latest - seen[1].began == timedelta(minutes=39)
