"""Six agents on three providers: their costs, files and what-ifs are what the provider's list says."""

import json
import re
import sys
from collections import Counter
from decimal import Decimal

import pytest

from examples.research_workflow import (
    CODER,
    LARGE,
    READER,
    SMALL,
    WRITER,
    clients,
    report_costs,
    research,
    tiering,
)
from otel_llm_usage import instrument
from otel_llm_usage.standin.tariff import charge

TOPIC = "solid-state batteries"
ASKED = {
    ("planner", LARGE): "Plan research",
    ("researcher", READER): "Notes on",
    ("coder", CODER): "Write a program",
    ("tester", SMALL): "Say PASS",
    ("critic", LARGE): "What is doubtful",
    ("synthesizer", WRITER): "Write a report",
}
"""Who asks what of which model."""


@pytest.fixture
def marked(llm_standin):
    """Every agent's calls are billed tokens of their own, so that a bill tells whose it is."""
    for place, begins in enumerate(ASKED.values(), 1):
        llm_standin.script(
            text="PASS" if begins == "Say PASS" else "an answer",
            usage={"input": 1000 * place, "output": 100 * place},
            match=lambda seen, begins=begins: begins in str(seen.body),
            times=None,
        )
    return llm_standin


def bills_of(standin, agent):
    place = 1 + [name for name, _ in ASKED].index(agent)
    return [bill for bill in standin.ledger if bill.usage["input"] == 1000 * place]


def dollars(bills):
    return sum((bill.usd for bill in bills), Decimal(0))


def run():
    instrument(otlp=False)
    with clients() as ask:
        return research(ask, TOPIC)


def test_each_agent_is_charged_what_its_calls_were_billed(marked):
    report, usage = run()
    assert report == "an answer"
    found = usage.by_agent_and_model
    assert {(agent, bill.model) for agent, _ in ASKED for bill in bills_of(marked, agent)} == set(
        found
    )
    for (agent, _), spent in found.items():
        bills = bills_of(marked, agent)
        tokens = sum(sum(bill.usage.values()) for bill in bills)
        assert (spent.calls, spent.total_tokens) == (len(bills), tokens)
        assert spent.cost_usd == dollars(bills)
    assert {agent: spent.calls for agent, spent in usage.by_agent.items()} == {
        "planner": 1,
        "researcher": 3,
        "coder": 1,
        "tester": 1,
        "critic": 1,
        "synthesizer": 1,
    }
    assert usage.total.cost_usd == marked.ledger.usd()


def test_code_that_does_not_pass_is_written_again_and_paid_again(llm_standin):
    _, usage = run()  # the stand-in by itself never says PASS
    assert (usage.by_agent["coder"].calls, usage.by_agent["tester"].calls) == (2, 2)
    claude = [bill for bill in llm_standin.ledger if bill.provider == "anthropic"]
    assert usage.by_agent["coder"].cost_usd == dollars(claude)
    assert usage.total.cost_usd == llm_standin.ledger.usd()


def test_cheaper_ways_cost_what_the_price_list_says(marked):
    _, usage = run()
    small, batch = tiering(usage).values()
    two = [*bills_of(marked, "planner"), *bills_of(marked, "critic")]
    assert (small.calls, small.actual_usd) == (2, dollars(two))
    assert small.other_usd == sum(charge(SMALL, bill.usage) for bill in two)
    assert (batch.calls, batch.actual_usd) == (len(marked.ledger), marked.ledger.usd())
    assert batch.other_usd == marked.ledger.usd() / 2


def test_the_files_hold_every_call_and_a_picture(llm_standin, tmp_path, capsys):
    _, usage = run()
    report_costs(usage, tmp_path)
    told = json.loads((tmp_path / "research-usage.json").read_text())
    assert Decimal(told["total"]["cost_usd"]) == llm_standin.ledger.usd()
    assert Counter(
        (call["model"], call["total_tokens"], Decimal(call["cost_usd"]))
        for call in told["call_details"]
    ) == Counter((bill.model, sum(bill.usage.values()), bill.usd) for bill in llm_standin.ledger)
    assert (tmp_path / "research-usage.png").read_bytes().startswith(b"\x89PNG")
    assert "Cost by agent" in capsys.readouterr().out


def test_without_matplotlib_there_is_all_but_the_picture(
    llm_standin, tmp_path, capsys, monkeypatch
):
    _, usage = run()
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report_costs(usage, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["research-usage.json"]
    assert "no picture: " in capsys.readouterr().out


def test_as_a_user_runs_it(llm_standin, run_example, documented, tmp_path):
    run()  # the same requests are answered the same
    out = run_example("research_workflow")
    assert documented("research_workflow") in out
    calls, whole = len(llm_standin.ledger), llm_standin.ledger.usd()
    assert f"{calls} calls, " in out
    assert f"everything as batch: ${whole / 2:.6f} instead of ${whole:.6f}\n" in out
    rows = re.findall(r"^ (\w+) +(\S+) +(\d+) ", out, re.MULTILINE)
    assert {(agent, model.split("-20")[0]) for agent, model, _ in rows if agent != "agent"} >= set(
        ASKED
    )
    told = json.loads((tmp_path / "research-usage.json").read_text())
    assert Decimal(told["total"]["cost_usd"]) == whole
    assert told["labels"] == {"topic": TOPIC}
    assert (tmp_path / "research-usage.png").exists()
    stored = out.partition(f"All research on {TOPIC} in the ledger")[2]
    assert re.search(rf"^ all +{calls} +0 .*\${whole:.4f} ", stored, re.MULTILINE)
    # the second run adds to what is stored
    stored = run_example("research_workflow").partition(" in the ledger")[2]
    assert re.search(rf"^ all +{2 * calls} +0 .*\${2 * whole:.4f} ", stored, re.MULTILINE)


def test_the_topic_is_the_users(run_example, tmp_path):
    run_example("research_workflow", "tidal power")
    told = json.loads((tmp_path / "research-usage.json").read_text())
    assert told["labels"] == {"topic": "tidal power"}
