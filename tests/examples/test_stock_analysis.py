"""The stock analysis, held against the provider's bills."""

import re
from collections import defaultdict
from decimal import Decimal

import pytest
from google import genai

from examples import stock_analysis
from examples.kept import kept
from otel_llm_usage import instrument
from otel_llm_usage.ledger import Question
from otel_llm_usage.standin import Answer

SYMBOLS = ["RELIANCE", "TCS", "INFY", "HDFC", "WIPRO"]
KINDS = [*(step.__name__ for step in stock_analysis.STEPS), "final_decision"]


@pytest.fixture
def client(llm_standin):
    instrument(otlp=False)
    with genai.Client() as client:
        yield client


@pytest.fixture
def billed(llm_standin):
    """Tokens and dollars by symbol: each answer is made longer or shorter by its request."""
    by_symbol = defaultdict(lambda: [0, 0, Decimal(0)])

    def answer(seen):
        said = str([part.get("text") for part in seen.body["contents"][0]["parts"]])
        (symbol,) = [symbol for symbol in SYMBOLS if symbol in said]
        number = SYMBOLS.index(symbol) + 1
        return Answer(text=symbol, usage={"input": 1000 * number, "output": number})

    llm_standin.script(answer, times=None)

    def read():
        for bill in llm_standin.ledger:
            found = by_symbol[SYMBOLS[bill.usage["output"] - 1]]
            found[0] += 1
            found[1] += sum(bill.usage.values())
            found[2] += bill.usd
        return {symbol: tuple(found) for symbol, found in by_symbol.items()}

    return read


def of(total):
    return total["billed"], total["total_tokens"], Decimal(total["cost_usd"])


def test_analyses_at_once_have_their_own_bills(client, billed, capsys):
    results = stock_analysis.analyse_all(client, SYMBOLS)
    told = {result["symbol"]: of(result["token_usage"]["total"]) for result in results}
    assert told == billed()
    assert [found[0] for found in told.values()] == [6] * 5
    for result in results:
        assert result["failures"] == {}
        assert set(result["token_usage"]["by_call_type"]) == set(KINDS)
        assert set(result["findings"]) == set(KINDS) - {"final_decision"}
        assert set(result["token_usage"]["by_agent"]) == {"stock analyst"}
    printed = capsys.readouterr().out
    assert all(f"symbol={symbol}" in printed for symbol in SYMBOLS)


def test_pictures_and_code_are_in_the_bill(client, llm_standin):
    llm_standin.script(
        usage={"input": 50, "input_tool_use": 700, "output": 20},
        match=lambda seen: "codeExecution" in str(seen.body),
    )
    result = stock_analysis.analyse(client, stock_analysis.history("TCS"))
    kinds = result["token_usage"]["by_call_type"]
    assert kinds["indicator_summary"]["tokens"] == {
        "input": 50, "input_tool_use": 700, "output": 20,
    }  # fmt: skip
    for name in ("overview_chart", "volume_chart"):
        assert kinds[name]["tokens"]["input_image"] > 0
    bills = list(llm_standin.ledger)
    assert sum("input_image" in bill.usage for bill in bills) == 2
    assert result["token_usage"]["total"]["tokens"] == llm_standin.ledger.usage()
    assert Decimal(result["token_usage"]["total"]["cost_usd"]) == llm_standin.ledger.usd()


def test_one_call_that_fails_for_one_stock_stops_nothing(client, llm_standin, capsys):
    llm_standin.script(
        status=429,
        message="Out of quota.",
        times=None,
        match=lambda seen: "levels does TCS" in str(seen.body),
    )
    results = {one["symbol"]: one for one in stock_analysis.analyse_all(client, SYMBOLS)}
    assert results["TCS"]["failures"] == {"continuation_levels": "429: Out of quota."}
    assert results["TCS"]["decision"]
    assert "continuation_levels" not in results["TCS"]["findings"]
    total = results["TCS"]["token_usage"]["total"]
    assert (total["calls"], total["failures"], total["billed"]) == (6, 1, 5)
    assert all(results[one]["failures"] == {} for one in SYMBOLS if one != "TCS")
    assert len(llm_standin.ledger) == 29
    dollars = sum(Decimal(one["token_usage"]["total"]["cost_usd"]) for one in results.values())
    assert dollars == llm_standin.ledger.usd()
    assert "stock analyst, continuation_levels, gemini-2.5-pro: 429" in capsys.readouterr().out


def test_as_a_program(run_example):
    printed = run_example("stock_analysis", "RELIANCE", "TCS")
    assert printed.count("LLM usage of") == 2
    reliance, tcs, *stored = printed.splitlines()[-4:]
    assert reliance.startswith("RELIANCE: 6 calls, ")
    assert "'reversal_patterns': '503: The model is overloaded.'" in reliance
    assert tcs.endswith("failed: none")
    for line, symbol in zip((reliance, tcs), ("RELIANCE", "TCS"), strict=True):
        cost = re.search(r"\$[\d.]+", line)[0]
        assert f"{symbol} in the ledger: 6 calls, {cost}" in stored


def test_analyses_are_stored_and_read_back(llm_standin, billed, tmp_path):
    runtime = instrument(otlp=False, ledger=tmp_path / "usage.db")
    with genai.Client() as client:
        results = stock_analysis.analyse_all(client, SYMBOLS)
    bills = billed()
    for result in results:
        stored = kept(runtime, Question(scope=result["token_usage"]["id"], by=("call_type",)))
        assert of(stored.total.to_dict()) == bills[result["symbol"]]
        assert {line.group[0] for line in stored.lines} == set(KINDS)
        assert stored.total.to_dict()["cost_usd"] == result["token_usage"]["total"]["cost_usd"]
        with_label = Question(where={"label:symbol": (result["symbol"],)})
        assert kept(runtime, with_label).total.pico == stored.total.pico
