"""Interactions, decisions and voices: who pays, what is told, and what is left alone."""

import asyncio
import threading
import time

import pytest
from google import genai
from google.genai import types

from otel_llm_usage import agent, guard, instrument, uninstrument
from otel_llm_usage.patching import gaos
from otel_llm_usage.providers import interactions
from otel_llm_usage.providers.answers import reader
from otel_llm_usage.standin import Answer
from otel_llm_usage.testing import Records
from tests.contract.interactions_shapes import continued_stream

ASK = {"model": "gemini-2.5-flash", "input": "What is the plan for today?"}
HOST = "https://generativelanguage.googleapis.com/v1"
PROJECT = "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1"


@pytest.fixture
def client(llm_standin):
    with genai.Client() as sdk:
        yield sdk


# -- who pays


def test_later_hops_are_charged_to_whoever_made_the_stream(llm_standin, client, llm_records):
    continued_stream(llm_standin)
    with agent("maker"):
        stream = client.interactions.create(**ASK, stream=True)
    with agent("reader"):
        assert len(list(stream)) == 4
        client.interactions.create(**ASK)
    assert [record.agent for record in llm_records] == ["maker", "maker", "reader"]


def test_later_hops_are_charged_the_same_in_async(llm_standin, llm_records):
    async def run():
        async with genai.Client().aio as client:
            with agent("maker"):
                stream = await client.interactions.create(**ASK, stream=True)
            with agent("reader"):
                assert len([event async for event in stream]) == 4
                await client.interactions.create(**ASK)

    continued_stream(llm_standin)
    asyncio.run(run())
    assert [record.agent for record in llm_records] == ["maker", "maker", "reader"]


def test_background_work_is_charged_to_whoever_began_it(llm_standin, client, llm_records):
    with agent("maker"):
        begun = client.interactions.create(**ASK, background=True)
    with agent("looker"):
        assert client.interactions.get(begun.id).status == "in_progress"
        assert llm_records == []
        for _ in range(3):
            client.interactions.get(begun.id)
    (record,) = llm_records
    assert (record.agent, record.response_id) == ("maker", begun.id)
    assert record.usage.nonzero() == llm_standin.ledger.last.usage


def test_background_work_on_vertex_is_found_again(llm_standin, llm_records):
    from tests.contract.gemini_shapes import VERTEX, Credentials

    options = types.HttpOptions(base_url=llm_standin.url)
    with genai.Client(**VERTEX, credentials=Credentials(), http_options=options) as client:
        begun = client.interactions.create(**ASK, background=True)
        while client.interactions.get(begun.id).status == "in_progress":
            pass
    (record,) = llm_records
    assert (record.provider, record.usage_source) == ("gcp.vertex_ai", "reported")


# -- what it costs


@pytest.mark.parametrize(
    "usage",
    [
        {"input": 90, "cache_read": 910, "input_tool_use": 12, "output": 30, "reasoning": 70},
        {"input": 9, "input_image": 258, "input_audio": 640, "input_video": 526, "output": 3},
    ],
)
def test_it_costs_what_generated_content_does(llm_standin, client, llm_records, usage):
    llm_standin.script(Answer(usage=usage))
    client.interactions.create(**ASK)
    llm_standin.script(Answer(usage=usage))
    client.models.generate_content(model=ASK["model"], contents=ASK["input"])
    first, second = llm_records
    assert first.usage.nonzero() == usage
    assert first.cost_usd == second.cost_usd == llm_standin.ledger.last.usd


def test_an_agent_without_a_price_has_no_cost_instead_of_none(client, llm_records, caplog):
    client.interactions.create(agent="deep-research-pro-preview-12-2025", input="Why?")
    (record,) = llm_records
    assert record.usage.input
    assert (record.cost.status, record.cost_usd) == ("unpriced", None)
    assert "No price for deep-research-pro-preview-12-2025" in caplog.text


# -- when we go


def test_what_has_no_answer_when_we_go_is_settled(llm_standin, client):
    records = Records()
    instrument(sinks=[records.append], otlp=False)
    llm_standin.reply({"id": "v1_1", "status": "completed"}, delay=1)
    asking = threading.Thread(target=client.interactions.create, kwargs=ASK)
    asking.start()
    end = time.monotonic() + 30
    while not llm_standin.requests and time.monotonic() < end:
        time.sleep(0.01)
    uninstrument()
    told = [(record.status, record.usage_source, record.usage.nonzero()) for record in records]
    asking.join()
    assert told == [("aborted", "estimated", {"input": 7})]
    assert len(records) == 1


# -- what is left alone


@pytest.mark.filterwarnings("ignore:.* usage is experimental:UserWarning")
def test_what_costs_nothing_is_no_call(llm_standin, client, llm_records):
    made = client.interactions.create(**ASK)
    client.interactions.get(made.id)
    client.voices.list()
    for call in (client.agents.list, client.webhooks.list, client.triggers.list):
        with pytest.raises(Exception, match="There is no"):
            call()
    assert len(llm_records) == 1


@pytest.mark.faults
def test_a_fault_of_ours_does_not_reach_the_caller(client, llm_records, monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("ours")

    monkeypatch.setattr(gaos.interactions, "describe", fails)
    assert client.interactions.create(**ASK).status == "completed"
    monkeypatch.undo()
    monkeypatch.setattr(gaos, "_read_along", fails)
    assert len(list(client.interactions.create(**ASK, stream=True))) == 8
    assert guard.errors["describe"] == guard.errors["observe"] == 1


def test_the_stack_of_other_versions_is_not_missed(python):
    script = """
import logging, sys
logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
from otel_llm_usage import instrument
runtime = instrument(otlp=False)
assert not any(name.startswith("google") for name in sys.modules)
from google import genai
client = genai.Client(api_key="key")
before = dict(runtime.status()["sdks"]["google"]["seams"])
client.interactions
seams = runtime.status()["sdks"]["google"]["seams"]
for name in sorted(seams):
    if "_gaos" in name or "_interactions" in name:
        print(name.removeprefix("google.genai."), before[name], seams[name])
"""
    base = "_interactions._base_client"
    assert python(script).splitlines() == [
        "_gaos.basesdk.AsyncBaseSDK.do_request_async waiting patched",
        "_gaos.basesdk.BaseSDK.do_request waiting patched",
        f"{base}.AsyncAPIClient._process_response waiting waiting",
        f"{base}.AsyncAPIClient.request waiting waiting",
        f"{base}.BaseClient._build_request waiting waiting",
        f"{base}.SyncAPIClient._process_response waiting waiting",
        f"{base}.SyncAPIClient.request waiting waiting",
        "_interactions_continuation.wrap_async_stream_continuation waiting patched",
        "_interactions_continuation.wrap_stream_continuation waiting patched",
    ]


# -- what is asked for


@pytest.mark.parametrize(
    ("url", "body", "told"),
    [
        (f"{HOST}/interactions", b'{"model":"m"}', ("gcp.gemini", "interactions", "m")),
        (f"{HOST}/interactions?x=1", b'{"model":"models/m"}', ("gcp.gemini", "interactions", "m")),
        (f"{HOST}/interactions", b'{"agent":"a"}', ("gcp.gemini", "interactions", "a")),
        (f"{HOST}/interactions", b"{", ("gcp.gemini", "interactions", None)),
        (f"{HOST}/interactions", None, ("gcp.gemini", "interactions", None)),
        (f"{PROJECT}/interactions", b'{"model":"m"}', ("gcp.vertex_ai", "interactions", "m")),
        (f"{HOST}/decisions", b'{"model":"models/m"}', ("gcp.gemini", "decisions.create", "m")),
        (f"{HOST}/voices", b'{"voice":{"model":"m"}}', ("gcp.gemini", "voices.create", "m")),
        (f"{HOST}/voices", b'{"voice":[]}', ("gcp.gemini", "voices.create", None)),
    ],
)
def test_what_is_asked_for(url, body, told):
    asked = interactions.describe("POST", url, body)
    assert (asked.provider, asked.endpoint, asked.model) == told
    assert asked.region == ("us-central1" if "/projects/" in url else None)
    assert not asked.stream
    assert interactions.describe("GET", url, body) is None


@pytest.mark.parametrize("end", ["interactions/v1_1", "interactions/v1_1/cancel", "agents", ""])
def test_what_nobody_bills(end):
    assert interactions.describe("POST", f"{HOST}/{end}", b"{}") is None


@pytest.mark.parametrize("begins", ["interaction.created", "interaction.start"])
@pytest.mark.parametrize("background", [True, False])
def test_the_first_event_says_which_it_is(begins, background):
    body = b'{"model":"m","stream":true,"background":%s}' % (b"true" if background else b"false")
    reads = reader(interactions.describe("POST", f"{HOST}/interactions", body))
    begun = '{"event_type":"%s","interaction":{"id":"v1_1","status":"in_progress","model":"m"}}'
    reads.event(begun % begins)
    assert (reads.response_id, reads.model) == ("v1_1", "m")
    assert (reads.pending, reads.billed) == (background, not background)
    ends = '{"event_type":"%s","interaction":{"id":"v1_1","status":"completed","usage":%s}}'
    usage = '{"total_input_tokens":5,"total_output_tokens":6,"total_tokens":11}'
    reads.event(
        ends % ("interaction.completed" if begins.endswith("d") else "interaction.complete", usage)
    )
    assert (reads.pending, reads.billed, reads.complete) == (False, True, True)
    assert reads.readings()[0].usage.nonzero() == {"input": 5, "output": 6}
