"""Connections that stay open: how answers end, who pays, and any order of events."""

import asyncio
import gc
import json
import logging
import sys
import threading
import time
import types
import warnings
from decimal import Decimal

import pytest
from google import genai
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI, OpenAI
from openai.resources.realtime.realtime import RealtimeConnection
from openai.resources.responses.responses import ResponsesConnection

from otel_llm_usage import agent, guard, instrument, uninstrument
from otel_llm_usage.patching.connections import known
from otel_llm_usage.patching.engine import Engine, Seam
from otel_llm_usage.runtime import current
from otel_llm_usage.standin.conversations import (
    LIVE_USAGE,
    REALTIME_USAGE,
    TEXT_USAGE,
    Gemini,
    Live,
    Realtime,
    Responses,
)
from otel_llm_usage.testing import Records
from tests.contract.tls import encrypted

pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")

MODEL = "gpt-realtime"
GEMINI = "gemini-live-2.5-flash"


@pytest.fixture
def client(llm_standin):
    with OpenAI() as sdk:
        yield sdk


def play(standin, make, *acts, match=None):
    """Play this on the next connection, and then wait until the client has gone."""

    async def script(peer):
        said = make(peer)
        if isinstance(said, Realtime | Gemini):
            await said.open()
        for act in acts:
            await act(said)

    standin.talk(script, match=match)


def hung_up(said):
    async def close():
        said.peer.close(1011, "no more")

    return close()


def begun(said):
    return said.begin()


def until(connection, kind):
    for event in connection:
        if event.type == kind:
            return event
    raise AssertionError(f"no {kind}")


def is_collected(place):
    """Collect until it did: one that another thread is in the middle of makes ours do nothing."""
    for _ in range(2000):
        gc.collect()
        if place not in known:
            return True
        time.sleep(0.005)
    return False


def usages(records):
    return [record.usage and record.usage.nonzero() for record in records]


# -- endings


def test_closed_in_the_middle_is_settled_at_once(llm_standin, llm_records, client):
    play(llm_standin, Realtime, begun)
    connection = client.realtime.connect(model=MODEL).enter()
    until(connection, "response.output_audio.delta")
    assert list(llm_records) == []
    connection.close()
    (record,) = llm_records
    assert (record.status, record.usage_source) == ("aborted", "missing")
    assert record.cost.reasons == ("stream_aborted",)
    assert record.time_to_first_chunk is not None
    assert record.response_id


def test_dropped_is_settled_when_it_is_collected(llm_standin, llm_records, client):
    play(llm_standin, Realtime, begun)
    manager = client.realtime.connect(model=MODEL)
    connection = manager.enter()
    until(connection, "response.output_audio.delta")
    ws, place = connection._connection, id(connection)
    assert place in known
    del connection, manager
    assert is_collected(place)
    (record,) = llm_records
    assert (record.status, record.usage_source) == ("aborted", "missing")
    ws.close()


async def test_a_cancelled_recv_ends_nothing(llm_standin, llm_records):
    ask = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def slow(said):
        id = await said.begin()
        await said.peer.hear()
        await said.end(id)
        loop.call_soon_threadsafe(ask.set)

    play(llm_standin, Realtime, slow)
    async with AsyncOpenAI() as sdk, sdk.realtime.connect(model=MODEL) as connection:
        for _ in range(6):
            await connection.recv()
        waiting = asyncio.ensure_future(connection.recv_bytes())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert list(llm_records) == []
        await connection.response.create()
        assert (await connection.recv()).type == "response.done"
    (record,) = llm_records
    assert (record.status, record.usage_source) == ("ok", "reported")


async def test_a_second_recv_ends_nothing(llm_standin, llm_records):
    async def slow(said):
        id = await said.begin(pieces=0)
        await said.peer.hear()
        await said.end(id)

    play(llm_standin, Realtime, slow)
    async with AsyncOpenAI() as sdk, sdk.realtime.connect(model=MODEL) as connection:
        await connection.recv(), await connection.recv()
        waiting = asyncio.ensure_future(connection.recv())
        await asyncio.sleep(0)
        with pytest.raises(Exception, match="already running recv"):
            await connection.recv()
        await connection.response.create()
        assert (await waiting).type == "response.done"
    assert [record.status for record in llm_records] == ["ok"]


def test_a_new_connection_after_a_broken_one_counts_on(llm_standin, llm_records, client):
    async def hangs_up(said):
        said.peer.close(1012, "restart")

    play(llm_standin, Realtime, begun, hangs_up)
    play(llm_standin, Realtime, lambda said: said.respond())
    asked = client.realtime.connect(
        model=MODEL, on_reconnecting=lambda event: None, initial_delay=0.001
    )
    with asked as connection:
        until(connection, "response.done")
    broken, whole = llm_records
    assert (broken.status, broken.error_type) == ("broken", "ConnectionClosedError")
    assert (whole.status, whole.usage.nonzero()) == ("ok", REALTIME_USAGE)


def test_what_the_caller_gets_after_a_break_is_the_sdks_own(llm_standin, llm_records, client):
    play(llm_standin, Realtime, begun, hung_up)
    with client.realtime.connect(model=MODEL) as connection:
        until(connection, "response.output_audio.delta")
        with pytest.raises(Exception, match="no more") as caught:
            until(connection, "response.done")
        assert type(caught.value).__name__ == "ConnectionClosedError"
        with pytest.raises(type(caught.value)):
            connection.recv()
    assert [record.status for record in llm_records] == ["broken"]


def test_several_answers_at_once_on_one_connection(llm_standin, llm_records, client):
    async def woven(said):
        one, two = await said.begin(), await said.begin()
        await said.transcribe({"input_audio": 5, "output": 1}, item="item")
        await said.end(two, {"input": 2})
        await said.end(one, {"input": 1})

    play(llm_standin, Realtime, woven)
    with client.realtime.connect(model=MODEL) as connection:
        until(connection, "response.done"), until(connection, "response.done")
    assert usages(llm_records) == [{"input_audio": 5, "output": 1}, {"input": 2}, {"input": 1}]
    assert {record.response_id for record in llm_records} == {b.id for b in llm_standin.ledger}


def test_the_same_messages_count_once_however_often_they_are_parsed(
    llm_standin, llm_records, client
):
    with client.realtime.connect(model=MODEL) as connection:
        connection.response.create()
        raw = [connection.recv_bytes() for _ in range(7)]
        for message in raw * 2:
            connection.parse_event(message)
    assert usages(llm_records) == [REALTIME_USAGE]


def test_uninstrument_while_open_settles_it_and_leaves_the_connection_alone(llm_standin, client):
    async def waits(said):
        id = await said.begin()
        await said.peer.hear()
        await said.end(id)
        await said.respond()

    play(llm_standin, Realtime, waits)
    before, after = Records(), Records()
    instrument(sinks=[before.append], otlp=False)
    with client.realtime.connect(model=MODEL) as connection:
        until(connection, "response.output_audio.delta")
        uninstrument()
        assert "close" not in vars(RealtimeConnection)
        assert [record.status for record in before] == ["aborted"]
        instrument(sinks=[after.append], otlp=False)
        connection.response.create()
        until(connection, "response.done")
        assert list(after) == []  # it has its record
        until(connection, "response.done")
        assert usages(after) == [REALTIME_USAGE]
    assert len(before) == 1


def test_a_connection_that_was_there_before_us_is_counted(llm_standin, client):
    records = Records()
    with client.realtime.connect(model=MODEL) as connection:
        connection.recv()
        instrument(sinks=[records.append], otlp=False)
        connection.response.create()
        until(connection, "response.done")
    (record,) = records
    assert (record.request.model, record.response_model) == (MODEL, None)
    assert record.cost.status == "priced"


def test_what_is_under_way_at_the_end_of_the_process_is_settled(python):
    out = python(
        """
import warnings; warnings.filterwarnings("ignore", "connect.. must be used")
from openai import OpenAI
from otel_llm_usage import instrument
from otel_llm_usage.standin import StandIn
from otel_llm_usage.standin.conversations import Realtime
async def script(peer):
    said = Realtime(peer); await said.open(); await said.begin()
standin = StandIn(); standin.talk(script)
instrument(sinks=[lambda record: print(record.status, record.usage_source)], otlp=False)
sdk = OpenAI(base_url=f"{standin.url}/v1", api_key="key")
connection = sdk.realtime.connect(model="gpt-realtime").enter()
for _ in range(3): connection.recv()
"""
    )
    assert out.splitlines()[0] == "aborted missing"


# -- the text of a response that was cut


def test_a_cut_response_is_estimated_from_its_text_and_its_input_is_unknown(
    llm_standin, llm_records, client
):
    play(llm_standin, Responses, begun)
    with client.responses.connect() as connection:
        events = [connection.recv() for _ in range(3)]
    text = "".join(event.delta for event in events[1:])
    (record,) = llm_records
    assert (record.status, record.usage_source) == ("aborted", "estimated")
    assert record.usage.nonzero() == {"output": -(-len(text) // 4)}
    assert record.usage.input is None
    assert record.estimated_kinds == ("output",)
    assert record.cost_usd is None


def test_text_with_quotes_and_other_languages_is_counted_by_characters(
    llm_standin, llm_records, client
):
    pieces = ['say "yes"', "Ünïcödé", "plain", "back\\slash", "日本語"]

    async def says(said):
        await said.begin(pieces=0)
        for piece in pieces:
            await said.tell("response.output_text.delta", None, sequence_number=1, delta=piece)

    play(llm_standin, Responses, says)
    with client.responses.connect() as connection:
        for _ in range(1 + len(pieces)):
            connection.recv_bytes()
    (record,) = llm_records
    assert record.usage.output == -(-len("".join(pieces)) // 4)


def test_on_abort_ignore_leaves_it_unknown(llm_standin, client):
    records = Records()
    instrument(sinks=[records.append], otlp=False, on_abort="ignore")
    play(llm_standin, Responses, begun)
    with client.responses.connect() as connection:
        connection.recv(), connection.recv()
    assert [(r.usage_source, r.usage) for r in records] == [("missing", None)]


def test_an_error_about_what_was_sent_ends_no_answer(llm_standin, llm_records, client):
    async def refuses(said):
        id = await said.begin()
        error = {"type": "invalid_request_error", "code": "x", "message": "no"}
        await said.tell("error", None, status=400, error=error)
        await said.end(id)

    play(llm_standin, Responses, refuses)
    with client.responses.connect() as connection:
        until(connection, "response.completed")
    assert [(r.status, r.usage.nonzero()) for r in llm_records] == [("ok", TEXT_USAGE)]


def test_an_error_of_the_answer_ends_it(llm_standin, llm_records, client):
    async def fails(said):
        await said.begin("lane")
        error = {"type": "server_error", "code": "server_error", "message": "no"}
        await said.tell("error", "lane", sequence_number=4, error=error)
        await said.respond(lane="lane")

    play(llm_standin, Responses, fails)
    with client.responses.connect() as connection:
        until(connection, "response.completed")
    assert [(r.status, r.error_type) for r in llm_records] == [
        ("broken", "server_error"),
        ("ok", None),
    ]


# -- who pays


def test_the_task_that_receives_pays_else_the_one_that_connected(llm_standin, llm_records, client):
    with agent("maker"):
        connection = client.realtime.connect(model=MODEL).enter()
    for reader in (None, "reader"):
        connection.response.create()
        if reader is None:
            until(connection, "response.done")
        else:
            with agent(reader):
                until(connection, "response.done")
    connection.close()
    assert [record.agent for record in llm_records] == ["maker", "reader"]


async def test_two_connections_in_parallel_have_their_own_payers(llm_standin, llm_records):
    async def talk(sdk, name, times):
        with agent(name):
            async with sdk.realtime.connect(model=MODEL) as connection:
                for _ in range(times):
                    await connection.response.create()
                    async for event in connection:
                        if event.type == "response.done":
                            break

    async with AsyncOpenAI() as sdk:
        await asyncio.gather(talk(sdk, "one", 3), talk(sdk, "two", 5))
    paid = [record.agent for record in llm_records]
    assert (paid.count("one"), paid.count("two"), len(paid)) == (3, 5, 8)
    assert len({record.id for record in llm_records}) == 8


def test_a_thread_that_receives_pays_as_the_one_that_connected(llm_standin, llm_records, client):
    with agent("maker"), client.realtime.connect(model=MODEL) as connection:
        connection.response.create()
        reader = threading.Thread(target=until, args=(connection, "response.done"))
        reader.start()
        reader.join()
    assert [record.agent for record in llm_records] == ["maker"]


async def test_gemini_turns_are_paid_by_the_task_that_receives(llm_standin, llm_records):
    with encrypted(llm_standin) as url:
        sdk = genai.Client(api_key="key", http_options={"base_url": url})
        play(llm_standin, Gemini, Gemini.turn, Gemini.turn, match="ws/google")
        with agent("maker"):
            manager = sdk.aio.live.connect(model=GEMINI)
            session = await manager.__aenter__()
        async for _ in session.receive():
            pass
        with agent("reader"):
            async for _ in session.receive():
                pass
        await manager.__aexit__(None, None, None)
    assert [record.agent for record in llm_records] == ["maker", "reader"]
    assert usages(llm_records) == [LIVE_USAGE] * 2


# -- one session, several connections


def attached(client, session):
    return client.live.sideband.connect(session_id=session).enter()


def test_two_views_of_one_live_session_make_one_bill(llm_standin, llm_records, client):
    session = f"lsess_{id(llm_standin)}_both"

    async def first(said):
        await said.open()
        await said.told(5)
        await said.delegate({"input": 7}, id="resp_shared")
        await said.peer.hear()
        await said.end(9)

    async def second(said):
        await said.open()
        await said.told(6)
        await said.delegate({"input": 7}, id="resp_shared", bills=False)
        await said.peer.hear()
        await said.event("session.closed", session=said._about(), usage={"seconds": 9})

    play(llm_standin, Live, first)
    one = attached(client, session)
    until_nested(one)
    play(llm_standin, Live, second)
    two = attached(client, session)
    until_nested(two)
    for connection in (two, one):
        connection.send({"type": "session.close"})
        until(connection, "session.closed")
        connection.close()
    told = [(r.request.endpoint, r.usage.nonzero(), dict(r.units)) for r in llm_records]
    assert told == [
        ("responses", {"input": 7}, {}),
        ("live.session", {}, {"audio_seconds": 9}),
    ]
    assert len(llm_standin.ledger) == 2


def until_nested(connection):
    for event in connection:
        if event.type == "response.event" and event.event["type"] == "response.completed":
            return
    raise AssertionError


def test_one_view_after_the_other_has_the_rest_of_the_seconds(llm_standin, llm_records, client):
    session = f"lsess_{id(llm_standin)}_after"
    play(llm_standin, Live, lambda said: said.open(), lambda said: said.told(4))
    play(llm_standin, Live, lambda said: said.open(), lambda said: said.told(4))
    play(llm_standin, Live, lambda said: said.open(), lambda said: said.end(10.5, billed=10.5))
    for last in ("session.usage.updated", "session.usage.updated", "session.closed"):
        connection = attached(client, session)
        until(connection, last)
        connection.close()
    told = [(r.status, r.usage_source, r.units.get("audio_seconds")) for r in llm_records]
    assert told[0] == ("aborted", "partial", 4)
    assert told[-1] == ("ok", "reported", Decimal("6.5"))
    assert sum(seconds or 0 for _, _, seconds in told) == Decimal("10.5")


def test_two_views_of_one_call_count_each_response_once(llm_standin, llm_records, client):
    for _ in range(2):
        play(llm_standin, Realtime, lambda said: call_response(said))
    connections = [
        client.realtime.connect(call_id=f"rtc_{id(llm_standin)}").enter() for _ in range(2)
    ]
    for connection in connections:
        until(connection, "response.done")
        connection.close()
    assert usages(llm_records) == [REALTIME_USAGE]


async def call_response(said):
    id = await said.begin("resp_of_the_call")
    await said.end(id)


def test_fees_of_a_delegated_response_are_counted(llm_standin, llm_records, client):
    play(
        llm_standin,
        Live,
        lambda said: said.open(),
        lambda said: said.delegate(searches=2),
        lambda said: said.end(1),
    )
    with client.live.connect() as connection:
        until(connection, "session.closed")
    backend, session = llm_records
    assert dict(backend.units) == {"web_search": 2}
    assert backend.usage.nonzero() == TEXT_USAGE
    assert (backend.response_model, session.response_model) == ("gpt-4.1-mini", "gpt-live-1")


# -- Gemini


async def received(url, standin, *acts, model=GEMINI, stop=99, **config):
    """Whatever comes until the server hangs up, or so many messages."""
    sdk = genai.Client(api_key="key", http_options={"base_url": url})
    play(standin, Gemini, *acts, hung_up)
    messages = []
    async with sdk.aio.live.connect(model=model, config=config or None) as session:
        try:
            while len(messages) < stop:
                messages.append(await session._receive())
        except genai.errors.APIError as error:
            messages.append(error)
    return messages


@pytest.mark.parametrize("stop", range(1, 6))
async def test_a_gemini_session_left_anywhere_has_the_last_usage(llm_standin, llm_records, stop):
    running = [{"input": 9, "output": 1}, {"input": 9, "output": 5}]
    with encrypted(llm_standin) as url:
        await received(
            url,
            llm_standin,
            lambda said: said.turn({"input": 9, "output": 8}, running=running),
            stop=stop,
        )
    (record,) = llm_records
    told = [None, {"input": 9, "output": 1}, {"input": 9, "output": 5}]
    expected = [*told, told[2], {"input": 9, "output": 8}][stop - 1]
    assert record.usage == expected or record.usage.nonzero() == expected
    source = ["missing", "partial", "partial", "partial", "reported"][stop - 1]
    assert (record.status, record.usage_source) == ("ok" if stop == 5 else "aborted", source)


async def test_an_interruption_without_its_end_is_a_turn(llm_standin, llm_records):
    async def interrupted(said):
        await said.say(serverContent=said.content())
        usage = said.usage({"input": 3, "output": 2})
        await said.say(serverContent={"interrupted": True}, usageMetadata=usage)
        await said.turn({"input": 8, "output": 1})

    with encrypted(llm_standin) as url:
        await received(url, llm_standin, interrupted)
    assert usages(llm_records) == [{"input": 3, "output": 2}, {"input": 8, "output": 1}]
    assert [r.finish_reasons for r in llm_records] == [("interrupted",), ("turn_complete",)]


async def test_turns_that_tell_no_usage_are_said_to(llm_standin, llm_records):
    async def silent(said):
        for _ in range(2):
            await said.say(serverContent={"inputTranscription": {"text": "heard"}})
            await said.say(serverContent=said.content())
            await said.say(serverContent={"turnComplete": True})

    with encrypted(llm_standin) as url:
        await received(url, llm_standin, silent)
    assert [(r.status, r.usage_source, r.cost.reasons) for r in llm_records] == [
        ("ok", "missing", ("no_usage",))
    ] * 2


async def test_messages_without_an_answer_are_no_turn(llm_standin, llm_records):
    async def nothing(said):
        await said.say(serverContent={"inputTranscription": {"text": "heard"}})
        await said.say(goAway={"timeLeft": "1s"})
        await said.say(sessionResumptionUpdate={"newHandle": "h", "resumable": True})
        await said.say(serverContent={"turnComplete": True})

    with encrypted(llm_standin) as url:
        assert len(await received(url, llm_standin, nothing)) == 5
    assert list(llm_records) == []


async def test_a_tool_call_whose_usage_follows_in_its_own_message_ends_there(
    llm_standin, llm_records
):
    async def calls(said):
        await said.say(toolCall={"functionCalls": [{"id": "1", "name": "f", "args": {}}]})
        await said.say(usageMetadata=said.usage({"input": 4, "output": 2}))
        await said.turn({"input": 9, "output": 1})

    with encrypted(llm_standin) as url:
        await received(url, llm_standin, calls)
    assert usages(llm_records) == [{"input": 4, "output": 2}, {"input": 9, "output": 1}]


async def test_a_tool_call_ends_a_turn_whose_usage_was_told_before(llm_standin, llm_records):
    async def calls(said):
        told = said.usage({"input": 4, "output": 2})
        await said.say(serverContent=said.content(), usageMetadata=told)
        await said.say(toolCall={"functionCalls": [{"id": "1", "name": "f", "args": {}}]})
        await said.turn({"input": 9, "output": 1})

    with encrypted(llm_standin) as url:
        await received(url, llm_standin, calls)
    assert usages(llm_records) == [{"input": 4, "output": 2}, {"input": 9, "output": 1}]


async def test_an_exception_in_the_block_of_a_session_comes_out_as_it_was(llm_standin, llm_records):
    raised = LookupError("mine")

    async def use(sdk):
        async with sdk.aio.live.connect(model=GEMINI) as session:
            await session._receive()
            raise raised

    with encrypted(llm_standin) as url:
        sdk = genai.Client(api_key="key", http_options={"base_url": url})
        play(llm_standin, Gemini, lambda said: said.say(serverContent=said.content()))
        with pytest.raises(LookupError) as caught:
            await use(sdk)
    assert caught.value is raised
    assert [record.status for record in llm_records] == ["aborted"]


async def test_a_block_that_is_left_settles_its_turn_while_the_session_is_held(
    llm_standin, llm_records
):
    with encrypted(llm_standin) as url:
        sdk = genai.Client(api_key="key", http_options={"base_url": url})
        play(llm_standin, Gemini, lambda said: said.say(serverContent=said.content()))
        async with sdk.aio.live.connect(model=GEMINI) as session:
            await session._receive()
        assert id(session) in known
        assert [record.status for record in llm_records] == ["aborted"]


async def test_a_session_that_cannot_be_opened_raises_what_it_did(llm_standin, llm_records):
    async def refuses(peer):
        await peer.hear()
        peer.close(1008, "no such model")

    with encrypted(llm_standin) as url:
        sdk = genai.Client(api_key="key", http_options={"base_url": url})
        llm_standin.talk(refuses)
        with pytest.raises(genai.errors.APIError, match="no such model"):
            async with sdk.aio.live.connect(model=GEMINI):
                raise AssertionError
    assert list(llm_records) == []


# -- prices


@pytest.mark.parametrize(
    "usage",
    [
        REALTIME_USAGE,
        {"input": 1, "cache_read": 7, "cache_read_audio": 90, "output": 3, "output_audio": 5},
        {"input_image": 40, "cache_read_image": 8, "output": 2},
    ],
)
def test_realtime_costs_what_the_stand_in_charges(llm_standin, llm_records, client, usage):
    heard = {"input": 3, "input_audio": 70, "output": 11}
    play(llm_standin, Realtime, lambda s: s.respond(usage), lambda s: s.transcribe(heard))
    with client.realtime.connect(model=MODEL) as connection:
        until(connection, "conversation.item.input_audio_transcription.completed")
    assert [r.cost_usd for r in llm_records] == [bill.usd for bill in llm_standin.ledger]
    assert None not in [bill.usd for bill in llm_standin.ledger]


async def test_gemini_live_costs_what_the_stand_in_charges(llm_standin, llm_records):
    usage = {**LIVE_USAGE, "input_video": 30, "reasoning": 5, "input_tool_use": 3}
    with encrypted(llm_standin) as url:
        await received(url, llm_standin, lambda said: said.turn(usage))
    assert [r.cost_usd for r in llm_records] == [llm_standin.ledger.last.usd]


def test_a_live_session_costs_by_the_second(llm_standin, llm_records, client):
    play(llm_standin, Live, lambda said: said.open(), lambda said: said.end(120))
    with client.live.connect() as connection:
        until(connection, "session.closed")
    (record,) = llm_records
    assert (record.cost.status, record.cost_usd) == ("priced", Decimal("0.1"))


def test_a_kind_without_a_rate_is_unpriced(llm_standin, llm_records, client):
    play(llm_standin, lambda peer: Realtime(peer, "gpt-realtime-99"), lambda s: s.respond())
    with client.realtime.connect(model="gpt-realtime-99") as connection:
        until(connection, "response.done")
    (record,) = llm_records
    assert (record.cost.status, record.cost_usd) == ("unpriced", None)
    assert record.usage.nonzero() == REALTIME_USAGE


# -- any messages


ODD = [
    b"",
    b"null",
    b"[1, 2]",
    b'"response.done"',
    b"{",
    b'{"type": "response.done"}',
    b'{"type": "response.created", "response": 7}',
    b'{"type": 5, "response.done": 1}',
    b'{"type":"session.created","session":[]}',
    b'{"type":"session.updated","session":{"model":5,"audio":"no"}}',
    b'{"type":"conversation.item.input_audio_transcription.completed"}',
    b'{"type":"response.output_audio.delta"}',
    b'{"a":' + b"[" * 100_000,
    b"\xff\xfe",
]


@pytest.mark.parametrize("make", [Realtime, Responses, Live])
def test_odd_messages_raise_nothing(llm_standin, llm_records, client, make):
    async def says(said):
        for message in ODD:
            await said.peer.say(message, binary=True)
        await said.peer.say(b'{"last": 1}')

    play(llm_standin, make, says)
    place = {Realtime: client.realtime, Responses: client.responses, Live: client.live}[make]
    asked = place.connect(model=MODEL) if make is Realtime else place.connect()
    got = []
    with asked as connection:
        while not got or got[-1] != b'{"last": 1}':
            got.append(connection.recv_bytes())
    assert got[-1 - len(ODD) : -1] == ODD
    assert all(record.usage is None for record in llm_records)


def test_keys_in_any_order_and_spaces_do_not_matter(llm_standin, llm_records, client):
    async def says(said):
        peer = said.peer
        id = peer.name("resp")
        about = json.dumps({"response": {"id": id, "status": "in_progress"}})
        await peer.say(f'{{ "response_first": {about},\n "type" : "x" }}'.encode())
        await peer.say(json.dumps({"response": {"id": id}, "type": "response.created"}).encode())
        usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
        done = {"response": {"type": "odd", "id": id, "status": "completed", "usage": usage}}
        await peer.say(json.dumps({**done, "type": "response.done"}, indent=2).encode())

    play(llm_standin, Realtime, says)
    with client.realtime.connect(model=MODEL) as connection:
        while b"response.done" not in connection.recv_bytes():
            pass
    assert usages(llm_records) == [{"input": 3, "output": 4}]


def test_text_that_speaks_of_events_is_no_event(llm_standin, llm_records, client):
    text = '{"type":"response.done","response":{"id":"x","usage":{"input_tokens":9}}}'

    async def says(said):
        id = await said.begin(pieces=0)
        await said.event("response.output_text.delta", response_id=id, delta=text)
        await said.peer.say(json.dumps({"delta": text, "type": "response.text.delta"}).encode())
        await said.end(id, {"input": 1})

    play(llm_standin, Realtime, says)
    with client.realtime.connect(model=MODEL) as connection:
        until(connection, "response.done")
    assert usages(llm_records) == [{"input": 1}]


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["begin", "piece", "done", "heard", "hear"]), st.integers(0, 2)),
        st.tuples(st.sampled_from(["session", "junk"]), st.just(0)),
    ),
    max_size=14,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, ending=st.sampled_from(["close", "cut", "hang up", "drop"]))
def test_any_order_of_events_makes_one_record_for_each_answer(
    llm_standin, llm_records, client, events, ending
):
    """`begin` and `hear` open an answer, `done` and `heard` end one; the rest opens none."""
    llm_records.clear()
    opened, ended = _expected(events)

    async def says(said):
        for what, number in events:
            await _say(said, what, number)
        await said.event("the.end")
        if ending == "cut":
            said.peer.cut()
        elif ending == "hang up":
            said.peer.close(1011, "no more")

    play(llm_standin, Realtime, says)
    connection = client.realtime.connect(model=MODEL).enter()
    ws = connection._connection
    until(connection, "the.end")
    if ending in ("cut", "hang up"):
        with pytest.raises(Exception, match=r"frame|no more"):
            connection.recv()
    if ending == "drop":
        place = id(connection)
        del connection
        assert is_collected(place)
        ws.close()
    else:
        connection.close()
    status = "broken" if ending in ("cut", "hang up") else "aborted"
    found = sorted((r.response_id or "", r.status) for r in llm_records if r.status == "ok")
    assert found == sorted((name, "ok") for name in ended)
    assert [r.status for r in llm_records if r.status != "ok"] == [status] * len(opened)
    assert all(r.usage is not None for r in llm_records if r.status == "ok")


def _expected(events):
    """Which answers stay open, and which end: an id ends once."""
    opened, ended = set(), []
    for what, number in events:
        name = f"resp_{number}" if what in ("begin", "done") else f"item_{number}"
        known = name in opened or name in ended
        if what in ("begin", "hear") and not known:
            opened.add(name)
        elif what == "begin" and name in ended:
            opened.add(name)  # begun anew under the same name
        elif what in ("done", "heard") and name in opened:
            opened.discard(name)
            ended.append(name)
        elif what in ("done", "heard") and not known:
            ended.append(name)
    return opened, ended


async def _say(said, what, number):
    kind = "conversation.item.input_audio_transcription"
    place = {"item_id": f"item_{number}", "content_index": 0}
    counts = {"input_tokens": 5, "output_tokens": number, "total_tokens": 5 + number}
    response = {"id": f"resp_{number}", "status": "in_progress"}
    if what == "begin":
        await said.event("response.created", response=response)
    elif what == "piece":
        await said.event("response.text.delta", response_id=f"resp_{number}", delta="x")
    elif what == "done":
        done = {**response, "status": "completed", "usage": counts}
        await said.event("response.done", response=done)
    elif what == "hear":
        await said.event(f"{kind}.delta", **place, delta="x")
    elif what == "heard":
        usage = {"type": "tokens", **counts}
        await said.event(f"{kind}.completed", **place, transcript="x", usage=usage)
    elif what == "session":
        await said.open("session.updated")
    else:
        await said.event("rate_limits.updated", rate_limits=[])


# -- seams


def test_a_version_without_the_feature_is_no_reason_to_warn(caplog):
    module = types.ModuleType("seams_without_sockets")
    module.Other = type("Other", (), {"close": lambda self: None})
    sys.modules[module.__name__] = module
    states = []
    seams = [
        Seam("sdk", module.__name__, path, lambda w, i, a, k: w(*a, **k), optional=True)
        for path in ("Connection.close", "Other.recv_bytes", "Other.close")
    ]
    absent = Seam("sdk", "json.no_such_module", "Connection.close", print, optional=True)
    engine = Engine([*seams, absent], lambda seam, state: states.append((seam.path, state)))
    with caplog.at_level(logging.WARNING):
        engine.install()
    try:
        # the class is there, so what passes its missing method would be missed
        assert [engine.states[seam] for seam in seams] == ["waiting", "missing", "patched"]
        assert engine.states[absent] == "waiting"
        assert [r.args[0] for r in caplog.records] == ["seams_without_sockets.Other.recv_bytes"]
    finally:
        engine.remove()
        del sys.modules[module.__name__]


def test_what_was_inherited_is_inherited_again(llm_standin):
    before = ResponsesConnection.close
    instrument(otlp=False)
    assert "close" in vars(ResponsesConnection)
    uninstrument()
    assert "close" not in vars(ResponsesConnection)
    assert ResponsesConnection.close is before


@pytest.mark.faults
def test_a_fault_of_ours_does_not_reach_the_caller(llm_standin, llm_records, client, monkeypatch):
    def fails(*_):
        raise RuntimeError("ours")

    monkeypatch.setattr(type(current().meter), "begin", fails)
    with client.realtime.connect(model=MODEL) as connection:
        connection.response.create()
        until(connection, "response.done")
    assert guard.errors["begin"] >= 1
    assert list(llm_records) == []


def test_warnings_are_the_sdks_own(llm_standin, llm_records, client):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with client.realtime.connect(model=MODEL) as connection:
            connection.response.create()
            until(connection, "response.done")
    assert not [w for w in seen if "otel_llm_usage" in w.filename]
