"""Every way a stream can end, for each of the SDKs: one record, and nothing changes."""

import asyncio
import gc
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from otel_llm_usage import Record
from otel_llm_usage.standin import StandIn

from .kit import (
    ASK,
    Caller,
    Mode,
    Ran,
    Shape,
    block,
    done,
    every,
    is_clean,
    same_for_all,
    with_us,
    without_us,
)
from .plain import plain

# the streams


def chat(call: Caller, timeout: float) -> Any:
    client = call.openai(timeout=timeout, max_retries=0)
    return client.chat.completions.create(model="gpt-4.1-mini", messages=ASK, stream=True)


def responses(call: Caller, timeout: float) -> Any:
    client = call.openai(timeout=timeout, max_retries=0)
    return client.responses.create(model="gpt-4.1-mini", input=ASK[0]["content"], stream=True)


def messages(call: Caller, timeout: float) -> Any:
    client = call.anthropic(timeout=timeout, max_retries=0)
    asked = {"model": "claude-haiku-4-5", "max_tokens": 400, "messages": ASK}
    return client.messages.create(**asked, stream=True)


def gemini(call: Caller, timeout: float) -> Any:
    client = call.gemini(http_options={"timeout": int(timeout * 1000)})
    asked = {"model": "gemini-2.5-flash", "contents": ASK[0]["content"]}
    return client.models.generate_content_stream(**asked)


def interactions(call: Caller, timeout: float) -> Any:
    client = call.gemini(http_options={"timeout": int(timeout * 1000)})
    asked = {"model": "gemini-2.5-flash", "input": ASK[0]["content"]}
    return client.interactions.create(**asked, stream=True)


STREAMS: Mapping[str, Callable[[Caller, float], Any]] = {
    "chat": chat,
    "responses": responses,
    "messages": messages,
    "gemini": gemini,
    "interactions": interactions,
}


COUNT = 6
"""How many chunks are taken from a stream that is left."""

TEXT = "word " * 60
"""What the model says: 300 characters, 75 tokens by the rule of thumb."""


class Oops(Exception):  # noqa: N818 (the caller's own)
    """What goes wrong in the caller's loop."""


# the endings: what the caller does with the stream; they give back what was received


async def read_to_the_end(stream: Any, call: Caller) -> Any:
    return await every(stream)


async def read_until_it_fails(stream: Any, call: Caller) -> Any:
    got: list[Any] = []
    try:
        if call.is_async:
            async for chunk in stream:
                got.append(chunk)
        else:
            for chunk in stream:
                got.append(chunk)  # noqa: PERF402
    except Exception as error:
        got.append(plain(error))
    return got


async def break_off(stream: Any, call: Caller) -> Any:
    got: list[Any] = []
    if call.is_async:
        async for chunk in stream:
            got.append(chunk)
            if len(got) == COUNT:
                break
    else:
        for chunk in stream:
            got.append(chunk)
            if len(got) == COUNT:
                break
    return got


async def step(stream: Any, call: Caller, count: int) -> list[Any]:
    return [await anext(stream) if call.is_async else next(stream) for _ in range(count)]


async def close(stream: Any, call: Caller) -> Any:
    got = await step(stream, call, COUNT)
    await done(stream.aclose() if hasattr(stream, "aclose") else stream.close())
    return got


async def close_twice(stream: Any, call: Caller) -> Any:
    got = await close(stream, call)
    await done(stream.aclose() if hasattr(stream, "aclose") else stream.close())
    return got


async def close_at_once(stream: Any, call: Caller) -> Any:
    await done(stream.aclose() if hasattr(stream, "aclose") else stream.close())
    return []


async def drop(stream: Any, call: Caller) -> Any:
    return await step(stream, call, COUNT)


async def drop_at_once(stream: Any, call: Caller) -> Any:
    return []


async def raise_in_the_loop(stream: Any, call: Caller) -> Any:
    got: list[Any] = []

    def take(chunk: Any) -> None:
        got.append(chunk)
        if len(got) == COUNT:
            raise Oops

    try:
        if call.is_async:
            async for chunk in stream:
                take(chunk)
        else:
            for chunk in stream:
                take(chunk)
    except Oops:
        return got
    raise AssertionError("the stream was too short")


async def cancel(stream: Any, call: Caller) -> Any:
    got: list[Any] = []
    enough = asyncio.Event()

    async def consume() -> None:
        async for chunk in stream:
            got.append(chunk)
            if len(got) == COUNT:
                enough.set()
                # the next chunk is not taken any more, however late the cancellation comes
                await asyncio.Event().wait()

    task = asyncio.create_task(consume())
    await enough.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return got


async def cancel_while_waiting(stream: Any, call: Caller) -> Any:
    """Cancelled inside the SDK, while it waits for the next chunk."""
    got: list[Any] = []

    async def consume() -> None:
        async for chunk in stream:
            got.append(chunk)

    task = asyncio.create_task(consume())
    while not got:
        await asyncio.sleep(0.002)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return []


async def leave_the_block(stream: Any, call: Caller) -> Any:
    if not hasattr(stream, "__enter__") and not hasattr(stream, "__aenter__"):
        return await close(stream, call)  # generators have no block of their own
    async with block(stream) as inside:
        return await step(inside, call, COUNT)


async def raise_in_the_block(stream: Any, call: Caller) -> Any:
    got: list[Any] = []
    if not hasattr(stream, "__enter__") and not hasattr(stream, "__aenter__"):
        return await raise_in_the_loop(stream, call)
    try:
        async with block(stream) as inside:
            got += await step(inside, call, COUNT)
            raise Oops
    except Oops:
        return got


# how the provider behaves meanwhile


def slowly(standin: StandIn) -> None:
    # many pieces: who leaves after a few of them is sooner than the last, also on a slow machine
    standin.script(text=TEXT, pace=0.01, pieces=30, times=None)


def very_slowly(standin: StandIn) -> None:
    standin.script(text=TEXT, pace=0.05, pieces=12, times=None)


def cut(standin: StandIn) -> None:
    standin.script(ending="cut", after=7, text=TEXT, pace=0.01, pieces=12, times=None)


def silent(standin: StandIn) -> None:
    standin.script(ending="silent", text=TEXT, pieces=6, times=None)


def fault(standin: StandIn) -> None:
    said = [
        {"type": "response.created", "response": {"id": "resp_1", "output": []}},
        *({"type": "response.output_text.delta", "delta": "word "} for _ in range(3)),
        {"type": "error", "code": "server_error", "message": "Overloaded.", "param": None},
    ]
    events = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in said)
    standin.reply(events, match="/responses", usage={"input": 9, "output": 3}, chunks=60)
    standin.script(ending="error", after=7, text=TEXT, pieces=12, times=None)


def stalls(standin: StandIn) -> None:
    standin.script(text=TEXT, pace=1.2, pieces=3, times=None)


Told = tuple[str, str]
"""Status and usage source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """One way to end, and what the record says of it, by stream."""

    name: str
    consume: Callable[[Any, Caller], Any]
    provider: Callable[[StandIn], None] = slowly
    chat: Told = ("aborted", "estimated")
    messages: Told = ("aborted", "estimated")
    gemini: Told | None = ("aborted", "partial")
    modes: tuple[Mode, ...] = ("sync", "async")
    timeout: float = 30
    policy: Literal["estimate", "drain", "ignore"] = "estimate"
    started: bool = True
    """Whether a chunk arrived."""
    errors: bool = False
    """Whether the record names an error."""
    streams: tuple[str, ...] = field(default=tuple(STREAMS))

    def told(self, stream: str) -> Told | None:
        """What the record of this stream says; `None`: nothing was sent, there is no record."""
        return {"gemini": self.gemini, "messages": self.messages}.get(stream, self.chat)


REPORTED: Told = ("ok", "reported")
BROKEN: Mapping[str, Any] = {
    "chat": ("broken", "estimated"),
    "messages": ("broken", "estimated"),
    "gemini": ("broken", "partial"),
    "errors": True,
}
DRAINED: Mapping[str, Any] = {"policy": "drain", "chat": REPORTED, "messages": REPORTED}
IGNORED: Mapping[str, Any] = {
    "policy": "ignore",
    "chat": ("aborted", "missing"),
    "messages": ("aborted", "missing"),
}

ENDINGS = [
    Ending(name="read to the end", consume=read_to_the_end, chat=REPORTED, messages=REPORTED, gemini=REPORTED),
    Ending(name="broken off", consume=break_off),
    Ending(name="closed", consume=close),
    Ending(name="closed twice", consume=close_twice),
    Ending(name="dropped", consume=drop),
    Ending(name="left by an exception", consume=raise_in_the_loop),
    Ending(name="block left", consume=leave_the_block),
    Ending(name="block left by an exception", consume=raise_in_the_block),
    Ending(name="never read, closed", consume=close_at_once, gemini=None, started=False),
    Ending(name="never read, dropped", consume=drop_at_once, gemini=None, started=False),
    Ending(name="cancelled", consume=cancel, modes=("async",)),
    Ending(name="cancelled while waiting", consume=cancel_while_waiting, provider=very_slowly, modes=("async",), errors=True),
    Ending(name="connection cut", consume=read_until_it_fails, provider=cut, **BROKEN),
    Ending(name="no last event", consume=read_until_it_fails, provider=silent, **BROKEN),
    Ending(name="error event", consume=read_until_it_fails, provider=fault, **BROKEN),
    Ending(name="read timeout", consume=read_until_it_fails, provider=stalls, timeout=0.5, **BROKEN),
    Ending(name="closed, drained", consume=close, streams=("chat", "responses", "messages", "interactions"), **DRAINED),
    Ending(name="broken off, drained", consume=break_off, streams=("messages",), **DRAINED),
    # openai's streams are cycles: the garbage collector ends them, and takes their connection with them
    Ending(name="broken off, not to be drained", consume=break_off, policy="drain", streams=("chat", "responses")),
    Ending(name="block left, drained", consume=leave_the_block, streams=("chat", "responses", "messages"), **DRAINED),
    Ending(name="closed, ignored", consume=close, **IGNORED),
    Ending(name="dropped, ignored", consume=drop, **IGNORED),
]  # fmt: skip

CASES = [
    pytest.param(ending, stream, mode, id=f"{ending.name}-{stream}-{mode}")
    for ending in ENDINGS
    for stream in ending.streams
    for mode in ending.modes
]


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """What is there before the tests is no garbage: looking through it takes most of the time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize(("ending", "stream", "mode"), CASES)
def test_each_ending_of_a_stream_is_one_record(ending: Ending, stream: str, mode: Mode) -> None:
    told = ending.told(stream)
    shape = _shape(ending, stream, records=0 if told is None else 1)
    before, after = without_us(shape, mode), with_us(shape, mode)
    if told is None:
        assert after.requests == before.requests == ()
        assert after.records == ()
        return
    same_for_all(shape, before, after)
    (record,) = after.records
    assert (record.status, record.usage_source) == told
    assert (record.error_type is not None) == ending.errors
    assert (record.time_to_first_chunk is not None) == ending.started
    assert record.agent == "contract"
    assert record.request.stream
    _exact_usage(ending, record, after, stream)
    assert is_clean()


# helpers, whose own blocks end the stream


def chat_helper(call: Caller) -> Any:
    return call.openai().chat.completions.stream(model="gpt-4.1-mini", messages=ASK)


def responses_helper(call: Caller) -> Any:
    return call.openai().responses.stream(model="gpt-4.1-mini", input=ASK[0]["content"])


def messages_helper(call: Caller) -> Any:
    asked = {"model": "claude-haiku-4-5", "max_tokens": 400, "messages": ASK}
    return call.anthropic().messages.stream(**asked)


def chat_lines(call: Caller) -> Any:
    resource = call.openai().chat.completions.with_streaming_response
    return resource.create(model="gpt-4.1-mini", messages=ASK, stream=True)


def messages_lines(call: Caller) -> Any:
    resource = call.anthropic().messages.with_streaming_response
    asked = {"model": "claude-haiku-4-5", "max_tokens": 400, "messages": ASK}
    return resource.create(**asked, stream=True)


HELPERS = (chat_helper, responses_helper, messages_helper, chat_lines, messages_lines)


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("how", ["left", "left by an exception", "never read"])
@pytest.mark.parametrize("helper", HELPERS, ids=lambda helper: helper.__name__)
def test_each_ending_of_a_helper_is_one_record(
    helper: Callable[[Caller], Any], how: str, mode: Mode
) -> None:
    async def run(call: Caller) -> Any:
        got: list[Any] = []
        try:
            async with block(helper(call)) as inside:
                stream = inside.iter_lines() if hasattr(inside, "iter_lines") else inside
                if how != "never read":
                    got += await step(stream, call, COUNT)
                if how == "left by an exception":
                    raise Oops
        except Oops:
            pass
        return got

    asks = helper in (chat_helper, chat_lines)
    shape = Shape(
        id=how, run=run, provider="any", endpoint="any", asked=None, script=slowly, asks=asks
    )
    before, after = without_us(shape, mode), with_us(shape, mode)
    same_for_all(shape, before, after)
    (record,) = after.records
    assert (record.status, record.usage_source) == ("aborted", "estimated")
    assert is_clean()


def _shape(ending: Ending, stream: str, records: int) -> Shape:
    async def run(call: Caller) -> Any:
        opened = [await done(STREAMS[stream](call, ending.timeout))]
        got = await ending.consume(opened.pop(), call)
        gc.collect()
        await call.recorded(records)
        return {"chunks": got, "text": _text(got), "usage": _said(got)}

    return Shape(
        id=ending.name,
        run=run,
        provider=stream,
        endpoint=stream,
        asked=None,
        script=ending.provider,
        asks=stream == "chat",
        settings={"on_abort": ending.policy},
    )


def _text(chunks: list[Any]) -> str:
    """The text that the caller was given."""
    said = ""
    for chunk in chunks:
        if getattr(chunk, "choices", None):
            said += chunk.choices[0].delta.content or ""
        elif getattr(chunk, "type", None) in ("response.output_text.delta", "content_block_delta"):
            said += chunk.delta if isinstance(chunk.delta, str) else chunk.delta.text
        elif getattr(chunk, "candidates", None):
            said += chunk.text
        elif getattr(chunk, "event_type", None) == "step.delta":
            said += chunk.delta.text
    return said


def _said(chunks: list[Any]) -> dict[str, int]:
    """Gemini's running numbers, as the caller saw them last."""
    told = [chunk.usage_metadata for chunk in chunks if hasattr(chunk, "usage_metadata")]
    if not told:
        return {}
    counts = {
        "input": told[-1].prompt_token_count,
        "output": told[-1].candidates_token_count,
        "reasoning": told[-1].thoughts_token_count,
    }
    return {kind: count for kind, count in counts.items() if count}


def _exact_usage(ending: Ending, record: Record, ran: Ran, stream: str) -> None:
    """Reported numbers are the stand-in's, partial ones the last that came, estimates are near."""
    (bill,) = ran.bills
    usage = record.usage
    if record.usage_source == "missing":
        assert usage is None
        assert record.cost.status == "unpriced"
        assert record.cost.reasons == ("stream_aborted",)
        return
    assert usage is not None
    assert record.cost.status in ("priced", "derived")
    received = ran.received[0]["items"]
    if record.usage_source == "reported":
        assert usage.nonzero() == dict(bill.usage)
    elif record.usage_source == "partial":
        if received["chunks"]["items"]:
            assert usage.nonzero() == received["usage"]["items"]
        assert usage.input == bill.usage["input"]
    else:
        assert record.estimated
        least, most = math.ceil(len(received["text"]) / 4), math.ceil(len(TEXT) / 4)
        assert usage.output is not None
        # what came in one piece with the last chunk that the caller took was delivered, too
        assert least <= usage.output <= (least if ending.errors and received["text"] else most)
        if stream == "messages" and ending.started:
            assert usage.input == bill.usage["input"]
        else:
            assert usage.input == math.ceil(len(ASK[0]["content"]) / 4)
