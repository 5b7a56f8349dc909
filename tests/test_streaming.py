"""Streams that end with what they used: real SDK streams inside, checked against the stand-in's ledger."""

import asyncio
import gc
import inspect
import json
import logging
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai
import pytest
from google import genai
from opentelemetry import context

from otel_llm_usage import (
    UsageScope,
    attribute,
    current_usage,
    guard,
    instrument,
    stream_with_usage,
    track,
)
from otel_llm_usage.standin import Answer
from otel_llm_usage.streaming import sse

from .witness import billed, counted

HELLO = [{"role": "user", "content": "hello"}]
CHAT = {"model": "gpt-4.1", "messages": HELLO}
CLAUDE = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": HELLO}
EMBED = {"model": "text-embedding-3-small", "input": ["one", "two"]}


@pytest.fixture(autouse=True)
def _instrumented(llm_standin):
    instrument(otlp=False)
    yield
    assert current_usage() is None
    assert context.get_current() == {}


@pytest.fixture
def client():
    with openai.OpenAI() as client:
        yield client


def said(item):
    assert item["type"] == "token_summary"
    total = item["grand_total"]
    return total["calls"], total["total_tokens"], total["estimated_cost_usd"]


def as_said(calls, tokens, usd):
    return calls, tokens, float(usd)


async def read_into(items, made):
    async for item in made:
        items.append(item)


async def orchestrate():
    """An answer of Gemini, and what OpenAI makes of it."""
    gemini = genai.Client()
    async with openai.AsyncOpenAI() as client:
        with attribute(call_type="answer"):
            stream = await gemini.aio.models.generate_content_stream(
                model="gemini-2.5-flash", contents="hello"
            )
            async for chunk in stream:
                yield chunk
        with attribute(call_type="index"):
            yield len((await client.embeddings.create(**EMBED)).data)
    await gemini.aio.aclose()
    gemini.close()


# -- to the end


async def test_an_async_stream_ends_with_its_summary(llm_standin):
    made = stream_with_usage(orchestrate())
    assert inspect.isasyncgen(made)
    *chunks, last = [chunk async for chunk in made]
    assert type(chunks[0]).__name__ == "GenerateContentResponse"
    assert chunks[-1] == 2
    assert said(last) == as_said(*billed(llm_standin))
    assert [source["source"] for source in last["sources"]] == ["answer", "index"]
    assert last["sources"][1]["embedding_tokens"] == sum(list(llm_standin.ledger)[1].usage.values())


def test_a_sync_stream_ends_with_its_summary(llm_standin, client):
    def words():
        yield from client.chat.completions.create(**CHAT, stream=True)
        with anthropic.Anthropic() as other:
            yield other.messages.create(**CLAUDE)

    ended = []
    made = stream_with_usage(words(), on_end=ended.append)
    assert inspect.isgenerator(made)
    *chunks, last = made
    assert len(chunks) > 2
    assert said(last) == as_said(*billed(llm_standin))
    (usage,) = ended
    assert counted(usage) == billed(llm_standin)
    assert last["id"] == usage.id


def test_the_stream_of_an_sdk_itself(llm_standin, client):
    with track("mine") as usage:
        made = client.chat.completions.create(**CHAT, stream=True)
    *_, last = stream_with_usage(made, usage)
    assert said(last) == as_said(*billed(llm_standin))
    assert last["id"] == "mine"


async def test_the_stream_of_an_sdk_itself_is_closed_when_it_is_left(client):
    left = []
    with track() as usage:
        made = client.chat.completions.create(**CHAT, stream=True)
    reading = stream_with_usage(made, usage, on_end=lambda scope: left.append(scope.total.aborted))
    next(reading)
    reading.close()
    async with openai.AsyncOpenAI() as asyncs:
        with track() as usage:
            made = await asyncs.chat.completions.create(**CHAT, stream=True)
        reading = stream_with_usage(
            made, usage, on_end=lambda scope: left.append(scope.total.aborted)
        )
        await anext(reading)
        await reading.aclose()
    assert left == [1, 1]


class Plain:
    """What can be iterated over, and is no iterator itself."""

    def __iter__(self):
        assert current_usage() is not None
        return iter([1, 2])


class AsyncPlain:
    def __aiter__(self):
        assert current_usage() is not None
        return orchestrate()


@pytest.mark.parametrize("chunks", [[1, 2], (1, 2), Plain()], ids=["list", "tuple", "iterable"])
def test_any_iterable(chunks):
    *given, last = stream_with_usage(chunks)
    assert given == [1, 2]
    assert said(last) == (0, 0, 0.0)


async def test_any_async_iterable(llm_standin):
    *_, last = [chunk async for chunk in stream_with_usage(AsyncPlain())]
    assert said(last) == as_said(*billed(llm_standin))
    assert billed(llm_standin)[0] == 2


async def test_what_the_reader_does_is_the_readers(llm_standin, client):
    mine = {"extra_headers": {"x-standin-tag": "stream"}}

    def words():
        for _ in range(3):
            client.chat.completions.create(**CHAT, **mine)
            yield current_usage()

    async def async_words():
        async with openai.AsyncOpenAI() as asyncs:
            for _ in range(3):
                await asyncs.chat.completions.create(**CHAT, **mine)
                yield current_usage()

    usage = track("stream")
    with track("reader") as reader:
        for chunk in stream_with_usage(words(), usage):
            assert isinstance(chunk, dict) or chunk is usage
            assert current_usage() is reader
            client.chat.completions.create(**CHAT)
        async for chunk in stream_with_usage(async_words(), usage):
            assert isinstance(chunk, dict) or chunk is usage
            assert current_usage() is reader
            client.chat.completions.create(**CHAT)
    assert counted(usage) == billed(llm_standin, "stream")
    assert usage.total.calls == 6
    assert counted(reader) == billed(llm_standin)  # it is around the stream, too


def test_the_scope_that_was_entered_last_is_the_current_one():
    outer, inner = track("outer"), track("inner")
    with outer, inner:
        assert current_usage() is inner
        with outer:
            assert current_usage() is outer
        assert current_usage() is inner


def test_a_call_without_a_price_is_null_and_not_zero(client):
    def words():
        yield client.chat.completions.create(model="nobody-knows-1", messages=HELLO).id

    *_, last = stream_with_usage(words())
    assert last["grand_total"]["calls"] == 1
    assert last["grand_total"]["estimated_cost_usd"] is None


# -- each call


def test_each_call_follows_the_chunk_before_which_it_ended(llm_standin, client):
    def words():
        yield "nothing yet"
        with attribute(call_type="plan"):
            client.chat.completions.create(**CHAT)
        yield "one"
        client.chat.completions.create(**CHAT)
        llm_standin.script(Answer(status=400))
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**CHAT)
        yield "three"
        client.embeddings.create(**EMBED)

    with track() as usage:
        client.chat.completions.create(**CHAT)  # before: no item
    items = list(stream_with_usage(words(), usage, each_call=True))
    kinds = [item if isinstance(item, str) else item["type"] for item in items]
    assert kinds == [
        "nothing yet", "one", "token_usage", "three", "token_usage", "token_usage", "token_usage",
        "token_summary",
    ]  # fmt: skip
    calls = [item for item in items if isinstance(item, dict) and item["type"] == "token_usage"]
    assert [call["source"] for call in calls] == ["plan", "unknown", "unknown", "unknown"]
    assert [call["success"] for call in calls] == [True, True, False, True]
    bills = list(llm_standin.ledger)[1:]
    told = [call["total_tokens"] for call in calls if call["success"]]
    assert told == [sum(bill.usage.values()) for bill in bills]
    assert calls == usage.token_usage()[1:]


async def test_each_call_of_an_async_stream(llm_standin):
    made = stream_with_usage(orchestrate(), each_call=True, render=sse)
    items = [item async for item in made]
    ours = [json.loads(item.removeprefix("data: ")) for item in items if isinstance(item, str)]
    assert [item["type"] for item in ours] == ["token_usage", "token_usage", "token_summary"]
    told = [item["estimated_cost_usd"] for item in ours[:2]]
    assert told == [float(bill.usd) for bill in llm_standin.ledger]
    # Gemini's call ended before the chunk that is the embeddings' number, and so its item
    assert [isinstance(item, str) for item in items[-4:]] == [False, True, True, True]


def test_since_tells_what_is_new_and_still_kept(client):
    with track("small") as usage:
        client.chat.completions.create(**CHAT)
        assert usage.since(0) == (usage.records, 1)
        assert usage.since(1) == ((), 1)
        client.chat.completions.create(**CHAT)
        new, ended = usage.since(1)
    assert ended == 2
    assert new == usage.records[1:]


def test_since_with_records_that_are_not_kept(client):
    with UsageScope("small", most_calls=2) as usage:
        for _ in range(5):
            client.chat.completions.create(**CHAT)
    assert usage.since(0) == (usage.records, 5)
    assert usage.since(4) == (usage.records[1:], 5)
    assert usage.since(9) == ((), 5)


# -- rendered


def test_an_item_is_rendered_as_the_application_likes(llm_standin, client):
    def words():
        yield f"data: {client.chat.completions.create(**CHAT).id}\n\n"

    first, last = stream_with_usage(words(), render=sse)
    assert first.startswith("data: ")
    assert last.endswith("}\n\n")
    assert last.count("\n") == 2
    assert said(json.loads(last.removeprefix("data: "))) == as_said(*billed(llm_standin))


@pytest.mark.faults
def test_what_cannot_be_rendered_is_left_out_and_counted(caplog):
    assert list(stream_with_usage([1], render=lambda item: item["nothing"])) == [1]
    assert guard.errors["stream"] == 1
    assert "KeyError" in caplog.text


# -- left early


def leaving(client, closed):
    """A stream of chat, and a finished call before it."""
    try:
        client.chat.completions.create(**CHAT)
        with client.chat.completions.create(**CHAT, stream=True) as stream:
            yield from stream
    finally:
        closed.append(current_usage())


def by_close(made):
    made.close()


def by_forgetting(made):
    del made
    gc.collect()


def by_throwing(made):
    with pytest.raises(KeyError, match="thrown"):
        made.throw(KeyError("thrown"))


@pytest.mark.parametrize("leave", [by_close, by_forgetting, by_throwing])
def test_a_stream_that_is_left(llm_standin, client, leave):
    closed, ended = [], []
    usage = track()

    def on_end(scope):
        assert closed == [usage]  # first the stream is closed, in its scope
        assert current_usage() is None
        ended.append((scope, scope.total.calls, scope.total.aborted))

    holder = [stream_with_usage(leaving(client, closed), usage, on_end=on_end)]
    next(holder[0])
    leave(holder.pop())
    assert ended == [(usage, 2, 1)]
    assert llm_standin.settled()
    assert usage.total.calls == len(llm_standin.ledger)


def test_a_summary_that_nobody_takes_ends_nothing_twice():
    ended = []
    made = stream_with_usage([1], on_end=ended.append)
    assert next(made) == 1
    assert next(made)["type"] == "token_summary"
    made.close()
    assert len(ended) == 1


async def async_leaving(closed):
    async with openai.AsyncOpenAI() as client:
        try:
            await client.chat.completions.create(**CHAT)
            async with await client.chat.completions.create(**CHAT, stream=True) as stream:
                async for chunk in stream:
                    yield chunk
        finally:
            await asyncio.sleep(0)
            closed.append(current_usage())


async def by_aclose(made):
    await made.aclose()


async def by_async_forgetting(made):
    del made
    gc.collect()
    await asyncio.sleep(0.2)


async def by_async_throwing(made):
    with pytest.raises(KeyError, match="thrown"):
        await made.athrow(KeyError("thrown"))


async def by_break(made):
    async for _ in made:
        break
    await made.aclose()


@pytest.mark.parametrize("leave", [by_aclose, by_async_forgetting, by_async_throwing, by_break])
async def test_an_async_stream_that_is_left(llm_standin, leave):
    closed, ended = [], []
    usage = track()

    async def on_end(scope):
        assert closed == [usage]
        await asyncio.sleep(0)
        ended.append((scope, scope.total.calls, scope.total.aborted))

    holder = [stream_with_usage(async_leaving(closed), usage, on_end=on_end)]
    await anext(holder[0])
    await leave(holder.pop())
    assert ended == [(usage, 2, 1)]
    assert llm_standin.settled()
    assert usage.total.calls == len(llm_standin.ledger)


async def test_a_reader_that_is_cancelled(llm_standin):
    closed, ended = [], []
    usage = track()
    items = []

    async def slow():
        async for chunk in async_leaving(closed):
            yield chunk
            await asyncio.sleep(60)

    made = stream_with_usage(slow(), usage, on_end=ended.append)
    reading = asyncio.create_task(read_into(items, made))
    while not items:
        await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert ended == [usage]
    assert len(items) == 1


# -- that fails


class TheirError(Exception):
    """The application's."""


def test_an_error_passes_unchanged(llm_standin, client):
    theirs = TheirError()

    def words():
        yield client.chat.completions.create(**CHAT).id
        client.chat.completions.create(**CHAT)
        raise theirs

    items, ended = [], []
    with pytest.raises(TheirError) as raised:
        items.extend(stream_with_usage(words(), on_end=ended.append))
    assert raised.value is theirs
    assert len(items) == 1
    assert counted(ended[0]) == billed(llm_standin)
    assert billed(llm_standin)[0] == 2


async def test_an_async_error_passes_unchanged(llm_standin):
    theirs = TheirError()

    async def words():
        async for chunk in orchestrate():
            yield chunk
        raise theirs

    items, ended = [], []
    with pytest.raises(TheirError) as raised:
        await read_into(items, stream_with_usage(words(), on_end=ended.append))
    assert raised.value is theirs
    assert items[-1] == 2
    assert counted(ended[0]) == billed(llm_standin)


@pytest.mark.faults
async def test_what_on_end_raises_is_counted_and_logged(caplog):
    def fails(usage):
        raise TheirError

    async def fails_later(usage):
        await asyncio.sleep(0)
        raise TheirError

    async def words():
        yield 1

    with caplog.at_level(logging.ERROR):
        assert len(list(stream_with_usage([1], on_end=fails))) == 2
        made = stream_with_usage(words(), on_end=fails_later)
        first, last = [item async for item in made]
    assert first == 1
    assert said(last)
    assert guard.errors["on_end"] == 2
    assert "TheirError" in caplog.text


async def never_awaited(usage):
    """A coroutine function."""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (((lambda: (yield)),), "what it returns"),
        ((7,), "what can be iterated over"),
        (([], "a1"), "as track"),
        (([], None, never_awaited), "not async"),
    ],
    ids=["a function", "a number", "an id", "a coroutine function"],
)
def test_what_is_wrong_is_said_at_once(arguments, says):
    chunks, usage, on_end = (*arguments, None, None)[:3]
    with pytest.raises(TypeError, match=says):
        stream_with_usage(chunks, usage, on_end=on_end)


# -- many at once


async def test_streams_at_once_do_not_bleed(llm_standin):
    async with openai.AsyncOpenAI() as client:

        async def words(number):
            ask = {**CHAT, "extra_headers": {"x-standin-tag": str(number)}}
            for _ in range(number % 3 + 1):
                await client.chat.completions.create(**ask)
                async for chunk in await client.chat.completions.create(**ask, stream=True):
                    yield chunk

        async def read(number):
            made = stream_with_usage(words(number))
            return [item async for item in made][-1]

        lasts = await asyncio.gather(*map(read, range(40)))
    told = [said(last) for last in lasts]
    assert told == [as_said(*billed(llm_standin, str(number))) for number in range(40)]
    assert [calls for calls, _, _ in told] == [2 * (number % 3 + 1) for number in range(40)]


def test_a_stream_whose_steps_are_made_in_several_threads(llm_standin, client):
    """As web frameworks read generators: each step in a thread of a pool."""

    def words():
        yield "first"
        yield from client.chat.completions.create(**CHAT, stream=True)
        yield client.chat.completions.create(**CHAT)

    made = stream_with_usage(words())
    items = []
    with ThreadPoolExecutor(4) as pool:
        while not isinstance(item := pool.submit(next, made).result(), dict):
            items.append(item)
    assert len(items) > 3
    assert said(item) == as_said(*billed(llm_standin))
    made.close()


def test_a_stream_that_was_opened_before_is_in_the_scope_that_opened_it(llm_standin, client):
    with track() as usage:
        stream = client.chat.completions.create(**CHAT, stream=True)
    *chunks, last = stream_with_usage(stream, usage)
    assert chunks
    assert said(last) == as_said(*billed(llm_standin))
    assert usage.total.calls == 1
