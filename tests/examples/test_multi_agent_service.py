"""Agents on two models: what each of them took is what the provider billed for it."""

import asyncio
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import httpx
import pytest
from google import genai

from examples.multi_agent_service import FAST, STRONG, analyse, app, plan
from otel_llm_usage import instrument, track
from otel_llm_usage.standin.tariff import charge

PROMPTS = {
    "planner": "Plan an analysis",
    "fundamentals": "Judge the balance sheet",
    "sentiment": "Sum up what the news",
    "risk": "Name the three largest risks",
    "editor": "Write a report",
    "titles": "A title of six words",
}
"""How the prompts of each agent begin; the editor has two kinds."""


@pytest.fixture
def marked(llm_standin):
    """Every kind of call is billed a number of tokens of its own, so that a bill tells whose it is."""
    for place, begins in enumerate(PROMPTS.values(), 1):
        llm_standin.script(
            text="an answer",
            usage={"input": 100 * place, "output": 10 * place, "reasoning": 7},
            match=lambda seen, begins=begins: begins in str(seen.body["contents"][0]),
            times=None,
        )
    return llm_standin


def bills_of(standin, agent):
    marks = [100 * place for place, whose in enumerate(PROMPTS, 1) if whose.startswith(agent)]
    if agent == "editor":
        marks.append(600)
    return [bill for bill in standin.ledger if bill.usage["input"] in marks]


def figures(bills):
    """Calls, tokens and dollars, as the provider has them."""
    return (
        len(bills),
        sum(sum(bill.usage.values()) for bill in bills),
        sum((bill.usd for bill in bills), Decimal(0)),
    )


def told(part):
    """The same, as the analytics have them."""
    return part["calls"], part["total_tokens"], Decimal(part["cost_usd"])


async def run(*subjects, **more):
    instrument(otlp=False)
    async with genai.Client().aio as client:
        return await asyncio.gather(*(analyse(client, subject, **more) for subject in subjects))


async def test_the_result_says_what_each_agent_and_model_took(marked, capsys):
    (result,) = await run("RELIANCE", return_token_usage=True)
    usage = result["token_usage"]
    assert told(usage["total"]) == figures(list(marked.ledger))
    assert {name: told(part) for name, part in usage["agents"].items()} == {
        name: figures(bills_of(marked, name))
        for name in ("planner", "fundamentals", "sentiment", "risk", "editor")
    }
    assert {name: part["models"] for name, part in usage["agents"].items()} == {
        "planner": (FAST,),
        "fundamentals": (STRONG,),
        "sentiment": (FAST,),
        "risk": (STRONG,),
        "editor": (STRONG, FAST),
    }
    for model in (FAST, STRONG):
        bills = [bill for bill in marked.ledger if bill.model == model]
        assert told(usage["models"][model]) == figures(bills)
    assert set(usage["models"][STRONG]["agents"]) == {"fundamentals", "risk", "editor"}
    dearest = max(usage["agents"], key=lambda name: figures(bills_of(marked, name))[2])
    assert usage["most_expensive_agent"] == dearest
    assert {name: took["calls"] for name, took in usage["timing"].items()} == {
        name: len(bills_of(marked, name)) for name in usage["agents"]
    }
    assert f"{len(marked.ledger)} calls" in capsys.readouterr().out


async def test_the_models_are_compared_at_the_providers_prices(marked):
    (result,) = await run("RELIANCE", return_token_usage=True)
    compared = result["token_usage"]["comparison"]
    strong = [bill for bill in marked.ledger if bill.model == STRONG]
    fast = [bill for bill in marked.ledger if bill.model == FAST]
    assert Decimal(compared["a"]["usd_per_call"]) == figures(strong)[2] / len(strong)
    assert Decimal(compared["b"]["usd_per_call"]) == figures(fast)[2] / len(fast)
    there = sum(charge(FAST, bill.usage) for bill in strong)
    assert Decimal(compared["a_on_b"]["other_usd"]) == there
    assert Decimal(compared["b_on_a"]["other_usd"]) == sum(
        charge(STRONG, bill.usage) for bill in fast
    )


async def test_usage_is_returned_only_if_asked_for_and_always_printed(marked, capsys):
    (result,) = await run("RELIANCE")
    assert result.keys() == {"subject", "title", "report", "sections", "missing"}
    assert "subject=RELIANCE" in capsys.readouterr().out


async def test_an_analysis_goes_on_without_an_analyst_that_fails(llm_standin, capsys):
    llm_standin.script(
        status=400, message="no risks today", match=lambda seen: PROMPTS["risk"] in str(seen.body)
    )
    failed, whole = await run("RELIANCE", "TCS", return_token_usage=True)
    if whole["missing"]:
        failed, whole = whole, failed
    assert (failed["missing"], whole["missing"]) == (["risk"], [])
    assert list(failed["sections"]) == ["fundamentals", "sentiment"]
    total, risk = failed["token_usage"]["total"], failed["token_usage"]["agents"]["risk"]
    assert (total["calls"], total["failures"], total["billed"]) == (6, 1, 5)
    assert (risk["failures"], Decimal(risk["cost_usd"])) == (1, 0)
    assert f"risk, {STRONG}: 400\n" in capsys.readouterr().out
    both = [told(one["token_usage"]["total"]) for one in (failed, whole)]
    calls, tokens, dollars = figures(list(llm_standin.ledger))
    assert (sum(one[1] for one in both), sum(one[2] for one in both)) == (tokens, dollars)
    assert sum(one[0] for one in both) == calls + 1


def test_the_service_tells_each_analysis_and_all_of_them(llm_standin, served):
    instrument(otlp=False)
    subjects = [f"COMPANY-{number}" for number in range(6)]

    with served(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        before = client.get("/analytics").json()

        def order(subject):
            body = {"subject": subject, "return_token_usage": True}
            return client.post("/analyses", json=body).raise_for_status().json()

        with ThreadPoolExecutor(len(subjects)) as pool:
            results = list(pool.map(order, subjects))
        after = client.get("/analytics").json()
    assert (before["total"]["calls"], before["most_expensive_agent"]) == (0, None)
    assert [result["subject"] for result in results] == subjects
    totals = [told(result["token_usage"]["total"]) for result in results]
    assert [calls for calls, _, _ in totals] == [6] * len(subjects)
    expected = figures(list(llm_standin.ledger))
    assert tuple(map(sum, zip(*totals, strict=True))) == expected == told(after["total"])
    of_models = Counter(bill.model for bill in llm_standin.ledger)
    assert {name: part["calls"] for name, part in after["models"].items()} == of_models
    planner = {told(result["token_usage"]["agents"]["planner"]) for result in results}
    assert told(after["agents"]["planner"])[0] == len(subjects)
    assert len(planner) > 1  # each analysis has its own


def test_the_service_tells_what_the_ledger_has_kept(llm_standin, served, tmp_path):
    runtime = instrument(otlp=False, ledger=tmp_path / "usage.db")
    with served(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        order = {"subject": "RELIANCE", "return_token_usage": True}
        usage = client.post("/analyses", json=order).raise_for_status().json()["token_usage"]
        runtime.flush()
        bills = list(llm_standin.ledger)
        told_there = client.get("/usage/analytics/tokens").json()["total"]
        assert told(told_there) == figures(bills)
        agents = client.get("/usage/analytics/tokens/agents").json()["lines"]
        assert {line["agent"]: told(line) for line in agents} == {
            name: told(part) for name, part in usage["agents"].items()
        }
        models = client.get("/usage/analytics/tokens/agents/editor/models").json()["lines"]
        assert {line["model"] for line in models} == {STRONG, FAST}
        compared = client.post(
            "/usage/analytics/tokens/compare", json={"models": [STRONG, FAST]}
        ).json()
        assert compared["a_on_b"] == usage["comparison"]["a_on_b"]
        scope = client.get(f"/usage/analytics/scopes/{usage['id']}").json()
        assert told(scope["total"]) == figures(bills)
        assert "<title>LLM usage</title>" in client.get("/usage/").text


def test_a_planner_that_fails_ends_the_analysis_and_is_counted(llm_standin, served):
    instrument(otlp=False)
    llm_standin.script(status=400, match="flash")
    with served(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        answer = client.post("/analyses", json={"subject": "RELIANCE"})
        total = client.get("/analytics").json()["total"]
    assert (answer.status_code, answer.json()["detail"]) == (502, "the model did not answer: 400")
    assert (total["calls"], total["failures"], total["billed"]) == (1, 1, 0)
    assert len(llm_standin.ledger) == 0


async def test_an_agent_may_be_asked_outside_of_an_analysis(llm_standin):
    instrument(otlp=False)
    async with genai.Client().aio as client:
        with track() as usage:
            await plan(client, "RELIANCE")
    assert list(usage.by_agent) == ["planner"]
    assert usage.total.cost_usd == llm_standin.ledger.usd()


async def test_as_a_user_runs_it(llm_standin, run_example, documented):
    await run("RELIANCE", "TCS", "INFY")  # the same requests are answered the same
    bills = list(llm_standin.ledger)
    out = run_example("multi_agent_service")
    assert documented("multi_agent_service") in out
    assert out.count("LLM usage of ") == 3
    assert {"RELIANCE", "TCS", "INFY"} == set(re.findall(r"subject=(\w+)", out))
    agents = dict(re.findall(r"^(\w+): gemini.*\$([\d.]+)$", out, re.MULTILINE))
    assert sum(map(Decimal, agents.values())) == figures(bills)[2]
    dearest = max(agents, key=lambda name: Decimal(agents[name]))
    assert f"most expensive: {dearest}\n" in out
    assert "editor: gemini-2.5-pro, gemini-2.5-flash, $" in out
    strong, fast = ([bill for bill in bills if bill.model == model] for model in (STRONG, FAST))
    ratio = (figures(strong)[2] / len(strong)) / (figures(fast)[2] / len(fast))
    assert f"cost {ratio:.1f} times one on {FAST}" in out
    (stored,) = re.findall(rf"in the ledger: {len(bills)} calls, \$([\d.]+)\n", out)
    assert Decimal(stored) == figures(bills)[2]
