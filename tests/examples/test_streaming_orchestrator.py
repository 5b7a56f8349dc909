"""The streaming orchestrator, read over a real socket and held against the provider's bills."""

import asyncio
import json
import time
from decimal import Decimal
from itertools import islice

import httpx
import pytest
from google import genai

from examples import streaming_orchestrator
from otel_llm_usage import instrument, stream_with_usage

SKIN = {"skin": "dry, sensitive"}
KINDS = list(streaming_orchestrator.PRODUCTS)
LOOK_UPS = {f"{kind} look-up" for kind in KINDS}


@pytest.fixture
def ended(monkeypatch):
    """The scopes of the streams that are over."""
    scopes = []
    monkeypatch.setattr(streaming_orchestrator, "finished", scopes.append)
    return scopes


@pytest.fixture
def url(llm_standin, served, ended):
    """The service, whose catalogue is indexed: the ledger holds what comes after that."""
    instrument(otlp=False)
    with served(streaming_orchestrator.app) as url:
        assert len(llm_standin.ledger) == sum(map(len, streaming_orchestrator.PRODUCTS.values()))
        llm_standin.ledger.clear()
        yield url


def read(url, **params):
    answer = httpx.get(f"{url}/routine", params={**SKIN, **params}, timeout=60)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [
        json.loads(block.removeprefix("data: ")) for block in answer.text.split("\n\n") if block
    ]


def tokens(bills):
    return sum(sum(bill.usage.values()) for bill in bills)


def usd(bills):
    return float(sum((bill.usd for bill in bills), Decimal(0)))


def of_kind(events, kind):
    return [event for event in events if event["type"] == kind]


def wait_for(ended, many=1):
    end = time.monotonic() + 30
    while len(ended) < many and time.monotonic() < end:
        time.sleep(0.01)
    assert len(ended) == many
    return ended


def test_text_calls_products_and_at_the_end_the_bill(llm_standin, url, ended):
    events = read(url)
    bills = list(llm_standin.ledger)
    (generated,) = [bill for bill in bills if bill.endpoint == "generate_content"]
    assert len(bills) == 6
    assert sum(event["type"] == "text" for event in events) > 1
    assert [event["kind"] for event in of_kind(events, "product")] == KINDS
    order = [event["type"] for event in events if event["type"] in ("text", "product")]
    assert order == sorted(order, reverse=True)

    told = {event["source"]: event for event in of_kind(events, "token_usage")}
    assert set(told) == {"routine generation", *LOOK_UPS}
    assert len(of_kind(events, "token_usage")) == 6
    assert told["routine generation"]["total_tokens"] == sum(generated.usage.values())
    assert told["routine generation"]["thinking_tokens"] == generated.usage["reasoning"]
    assert sorted(told[name]["embedding_tokens"] for name in LOOK_UPS) == sorted(
        bill.usage["input"] for bill in bills if bill is not generated
    )

    last = events[-1]
    assert last["type"] == "token_summary"
    assert [event["type"] for event in events].count("token_summary") == 1
    assert {source["source"] for source in last["sources"]} == set(told)
    assert last["grand_total"]["calls"] == 6
    assert last["grand_total"]["total_tokens"] == tokens(bills)
    assert last["grand_total"]["estimated_cost_usd"] == pytest.approx(usd(bills), rel=1e-12)
    (usage,) = wait_for(ended)
    assert usage.id == last["id"]


def test_a_client_that_leaves_early_pays_for_what_it_took(llm_standin, url, ended):
    llm_standin.script(match="streamGenerateContent", pace=0.05, pieces=20)
    with httpx.stream("GET", f"{url}/routine", params=SKIN, timeout=60) as answer:
        told = (line for line in answer.iter_lines() if "look-up" in line)
        assert len(list(islice(told, 5))) == 5  # the look-ups are done, the text is not
    (usage,) = wait_for(ended)
    end = time.monotonic() + 30
    while usage.total.calls < 6 and time.monotonic() < end:
        time.sleep(0.01)
    assert llm_standin.settled()
    bills = list(llm_standin.ledger)
    (generated,) = [bill for bill in bills if bill.endpoint == "generate_content"]
    assert generated.ending == "left"
    assert usage.total.calls == len(bills)
    assert usage.total.aborted == 1
    assert usage.total.missing == 0
    routine = usage.by_call_type["routine generation"]
    assert routine.input_tokens == generated.usage["input"]
    assert 0 < routine.output_tokens <= generated.usage["output"] + generated.usage["reasoning"]
    looked_up = [bill for bill in bills if bill is not generated]
    assert usage.total.embedding_tokens == tokens(looked_up)


async def test_a_stream_that_is_closed_between_two_pieces_is_counted_a_moment_later(llm_standin):
    instrument(otlp=False)
    told = []
    async with genai.Client().aio as client:
        catalogue = await streaming_orchestrator.index(client)
        llm_standin.ledger.clear()
        llm_standin.script(match="streamGenerateContent", pace=0.05, pieces=20)
        events = stream_with_usage(
            streaming_orchestrator.orchestrate(client, catalogue, "dry"),
            on_end=told.append,
        )
        async for event in events:
            if '"text"' in event:
                break
        await asyncio.sleep(0.5)  # the look-ups end
        await events.aclose()
        await asyncio.sleep(0.1)  # the SDK closes what is inside its stream
        (usage,) = told
        total = usage.total
    assert (total.calls, total.aborted, total.missing) == (6, 1, 0)
    assert llm_standin.settled()
    assert len(llm_standin.ledger) == 6


def test_calls_that_fail_are_told_and_the_rest_comes_all_the_same(llm_standin, url):
    llm_standin.script(match="streamGenerateContent", status=503)
    llm_standin.script(match=lambda seen: "serum for" in str(seen.body), status=429)
    events = read(url)
    assert of_kind(events, "error") == [{"type": "error", "code": 503}]
    assert [event["kind"] for event in of_kind(events, "product")] == [
        kind for kind in KINDS if kind != "serum"
    ]
    failed = [event for event in of_kind(events, "token_usage") if not event["success"]]
    assert {event["source"] for event in failed} == {"routine generation", "serum look-up"}
    assert len(llm_standin.ledger) == 4
    assert events[-1]["type"] == "token_summary"
    assert events[-1]["grand_total"]["total_tokens"] == tokens(llm_standin.ledger)


async def test_streams_at_once_have_their_own_bills(llm_standin, url):
    skins = {str(number): f"very {'dry ' * number}" for number in range(1, 7)}
    async with httpx.AsyncClient(timeout=60) as http:
        answers = await asyncio.gather(
            *(http.get(f"{url}/routine", params={"skin": skin}) for skin in skins.values())
        )
    bills = list(llm_standin.ledger)
    totals = [
        json.loads(answer.text.strip().rsplit("data: ", 1)[1])["grand_total"] for answer in answers
    ]
    assert [total["calls"] for total in totals] == [6] * len(skins)
    assert len(bills) == 6 * len(skins)
    assert sum(total["total_tokens"] for total in totals) == tokens(bills)
    assert sum(total["estimated_cost_usd"] for total in totals) == pytest.approx(usd(bills))
    # a longer question embeds to more tokens: no stream has another one's
    embedded = [total["embedding_tokens"] for total in totals]
    assert embedded == sorted(set(embedded))


def test_as_a_program(run_example):
    *events, stored = map(json.loads, run_example("streaming_orchestrator").splitlines())
    assert [event["kind"] for event in of_kind(events, "product")] == KINDS
    assert events[-1]["type"] == "token_summary"
    assert events[-1]["grand_total"]["calls"] == 6
    assert events[-1]["grand_total"]["estimated_cost_usd"] > 0
    assert stored["type"] == "in the ledger"
    assert float(stored["cost_usd"]) == pytest.approx(
        events[-1]["grand_total"]["estimated_cost_usd"]
    )


def test_what_an_answer_took_is_stored_and_read_back(llm_standin, served, tmp_path):
    instrument(otlp=False, ledger=tmp_path / "usage.db")
    with served(streaming_orchestrator.app) as url:
        llm_standin.ledger.clear()
        id_ = read(url)[-1]["id"]
        stored = httpx.get(f"{url}/usage/{id_}", timeout=60).json()
        nobody = httpx.get(f"{url}/usage/nobody", timeout=60)
    assert Decimal(stored["total"]["cost_usd"]) == llm_standin.ledger.usd()
    assert stored["total"]["calls"] == len(llm_standin.ledger) == 6
    assert {line["call_type"] for line in stored["lines"]} == {"routine generation", *LOOK_UPS}
    assert nobody.status_code == 404
