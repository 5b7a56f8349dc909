"""Nothing of ours is left of a call: no object, no cycle, no connection, no task, no open file."""

import asyncio
import gc
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otel_llm_usage.standin import wire

from .kit import CHAT, CONTENT, MESSAGE, Clients, flush, instrumented, recorded, twice

OURS = "otel_llm_usage."
NOT_OURS = ("otel_llm_usage.standin",)


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """What is there before the tests is no garbage: looking through it takes most of the time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _is_ours(kind: type) -> bool:
    module = getattr(kind, "__module__", "") or ""
    return isinstance(module, str) and module.startswith(OURS) and not module.startswith(NOT_OURS)


def ours() -> Counter[str]:
    """How many objects of each of our types there are."""
    return Counter(type(one).__qualname__ for one in gc.get_objects() if _is_ours(type(one)))


# the ways to end a call


def _chat(stream: bool) -> Callable[[Clients], Any]:
    return lambda c: c.gpt.chat.completions.create(**CHAT, stream=stream)


def _fails(call: Callable[[Clients], Any]) -> Callable[[Clients], Any]:
    def failing(clients: Clients) -> None:
        clients.standin.script(status=400)
        with pytest.raises(Exception):  # noqa: B017, PT011 (each SDK has its own)
            call(clients)

    return failing


def _streaming(clients: Clients) -> None:
    with clients.gpt.chat.completions.with_streaming_response.create(**CHAT) as answer:
        answer.read()


CALLS: dict[str, Callable[[Clients], Any]] = {
    "chat": _chat(False),
    "chat raw": lambda c: c.gpt.chat.completions.with_raw_response.create(**CHAT),
    "chat streaming response": _streaming,
    "chat stream": lambda c: list(_chat(True)(c)),
    "chat stream, closed": lambda c: _closed(_chat(True)(c)),
    "chat stream, dropped": lambda c: next(_chat(True)(c)),
    "chat stream, never read": _chat(True),
    "embeddings": lambda c: c.gpt.embeddings.create(model="text-embedding-3-small", input="x"),
    "responses stream": lambda c: list(
        c.gpt.responses.create(model="gpt-4.1", input="x", stream=True)
    ),
    "messages": lambda c: c.claude.messages.create(**MESSAGE),
    "messages stream": lambda c: list(c.claude.messages.create(**MESSAGE, stream=True)),
    "messages stream, dropped": lambda c: next(c.claude.messages.create(**MESSAGE, stream=True)),
    "gemini": lambda c: c.gemini.models.generate_content(**CONTENT),
    "gemini stream": lambda c: list(c.gemini.models.generate_content_stream(**CONTENT)),
    "gemini stream, dropped": lambda c: next(c.gemini.models.generate_content_stream(**CONTENT)),
    "gemini stream, never begun": lambda c: c.gemini.models.generate_content_stream(**CONTENT),
}
FAILING: dict[str, Callable[[Clients], Any]] = {
    f"{name}, refused": _fails(CALLS[name])
    for name in ("chat", "chat stream", "messages", "messages stream", "gemini", "gemini stream")
}


def _closed(stream: Any) -> None:
    next(stream)
    stream.close()


# memory


@pytest.mark.parametrize("name", [*CALLS, *FAILING])
def test_calls_leave_no_object_of_ours(name, llm_standin):
    call = {**CALLS, **FAILING}[name]
    clients = Clients(llm_standin)
    counted = 0 if "never begun" in name else 1
    with instrumented() as records:

        def after(calls: int) -> Counter[str]:
            nonlocal clients
            if "never read" in name:
                # its response is held by the client's pool as long as there is a client
                clients.close()
                clients = Clients(llm_standin)
            records.clear()
            for _ in range(calls):
                call(clients)
            recorded(records, calls * counted)
            records.clear()
            if "never read" in name:
                clients.close()
            for _ in range(3):
                gc.collect()
                flush()
            return ours()

        first = after(3)
        assert after(12) == first
    clients.close()


def test_two_thousand_dropped_streams_leave_nothing(llm_standin):
    """A stream that is taken and forgotten, again and again, as `any()` and `next()` do."""
    clients = Clients(llm_standin)
    kept: list[weakref.ref[Any]] = []
    with instrumented() as records:

        def drop(count: int) -> Counter[str]:
            for number in range(count):
                stream = clients.claude.messages.create(**MESSAGE, stream=True)
                next(stream)
                if number % 50 == 0:
                    kept.append(weakref.ref(stream.response))
                    kept.append(weakref.ref(stream.response.stream))
                    kept.append(weakref.ref(stream.response.request))
                del stream
            recorded(records, count)
            assert len(records) == count
            records.clear()
            gc.collect()
            flush()
            return ours()

        first = drop(20)
        assert drop(2000) == first
        assert [one for one in kept if one() is not None] == []
    clients.close()


@pytest.mark.parametrize("name", CALLS)
def test_a_call_leaves_nothing_of_ours_to_the_collector(name, llm_standin):
    assert _garbage(CALLS[name], llm_standin) == ([], [])


def _garbage(call: Callable[[Clients], Any], standin: Any) -> tuple[list[str], list[str]]:
    """Our objects in what only the collector finds, and those of them that reach themselves."""
    clients = Clients(standin)
    with instrumented() as records:
        call(clients)
        recorded(records, 0)
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(3):
                call(clients)
            gc.collect()
            mine = [one for one in gc.garbage if _is_ours(type(one))]
            names = sorted(type(one).__qualname__ for one in mine)
            cycles = sorted(type(one).__qualname__ for one in mine if _reaches_itself(one))
            del mine
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
            gc.collect()
    clients.close()
    return names, cycles


def _reaches_itself(start: Any) -> bool:
    """Whether an object can be reached from itself through objects of ours and plain containers."""
    seen: set[int] = set()
    left = [start]
    while left:
        for one in gc.get_referents(left.pop()):
            if one is start:
                return True
            if id(one) not in seen and (
                _is_ours(type(one)) or type(one) in (list, dict, tuple, set)
            ):
                seen.add(id(one))
                left.append(one)
    return False


# connections


@pytest.fixture
def connections(monkeypatch) -> list[int]:
    """The connections that providers of these tests have seen, by number of requests on each."""
    seen: list[int] = []
    made, handled = wire.Connection.connection_made, wire.Connection._next

    def connected(self, transport):
        self.number = len(seen)
        seen.append(0)
        made(self, transport)

    def asked(self):
        incoming = handled(self)
        if incoming is not None:
            seen[self.number] += 1
        return incoming

    monkeypatch.setattr(wire.Connection, "connection_made", connected)
    monkeypatch.setattr(wire.Connection, "_next", asked)
    return seen


def _read_early(stream: Any) -> None:
    for _, _ in zip(range(2), stream, strict=False):
        pass
    stream.close()


def _in_a_block(stream: Any) -> None:
    with stream:
        next(stream)


def _dropped(streams: list[Any]) -> None:
    next(streams[0])
    streams.clear()
    gc.collect()


ENDINGS: dict[str, Callable[[list[Any]], Any]] = {
    "drained": lambda streams: list(streams[0]),
    "closed early": lambda streams: _read_early(streams[0]),
    "closed at once": lambda streams: streams[0].close(),
    "block left": lambda streams: _in_a_block(streams[0]),
    "dropped": _dropped,
    "drained and closed": lambda streams: (list(streams[0]), streams[0].close()),
}
STREAMS: dict[str, Callable[[Clients], Any]] = {
    "chat": _chat(True),
    "responses": lambda c: c.gpt.responses.create(model="gpt-4.1", input="x", stream=True),
    "messages": lambda c: c.claude.messages.create(**MESSAGE, stream=True),
    "gemini": lambda c: c.gemini.models.generate_content_stream(**CONTENT),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", STREAMS)
def test_a_connection_is_used_again_or_closed_as_without_us(name, ending, connections):
    if name == "gemini" and ending == "block left":
        ending = "closed early"  # a generator has no block

    def program(clients):
        connections.clear()
        # the rest of a stream that is left has not come yet, whoever is quicker
        pace = 0 if "drained" in ending else 0.02
        clients.standin.script(text="word " * 30, pieces=10, pace=pace, times=None)
        for _ in range(4):
            ENDINGS[ending]([STREAMS[name](clients)])
        return list(connections)

    both = twice(program)
    assert both.with_us == both.without
    if name == "gemini" and ending == "closed at once":
        assert both.with_us == []  # nothing was asked
    elif "drained" in ending and name != "chat":  # after `[DONE]` openai hangs up
        assert both.with_us == [4]
    else:
        assert both.with_us == [1] * 4


@pytest.mark.parametrize("name", ["chat", "messages"])
async def test_a_connection_is_used_again_or_closed_in_async(name, connections, llm_standin):
    async def program(how):
        connections.clear()
        llm_standin.reset()
        pace = {"drained": 0, "cancelled": 60}.get(how, 0.01)
        llm_standin.script(text="word " * 30, pieces=10, pace=pace, times=None)
        clients = Clients(llm_standin)
        resource = (
            clients.async_gpt.chat.completions if name == "chat" else clients.async_claude.messages
        )
        asked = CHAT if name == "chat" else MESSAGE
        for _ in range(3):
            stream = await resource.create(**asked, stream=True)
            if how == "drained":
                assert [one async for one in stream]
            elif how == "closed":
                await anext(stream)
                await stream.close()
            elif how == "cancelled":
                await anext(stream)
                task = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
                await asyncio.sleep(0.01)
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled()
                del task
                await stream.close()
            else:
                async with stream:
                    await anext(stream)
            del stream
        pool = resource._client._client._transport._pool
        held = [len(pool.connections), len(pool._requests)]
        await clients.aclose()
        return list(connections), held

    for how in ("drained", "closed", "cancelled", "block"):
        without = await program(how)
        with instrumented() as records:
            assert await program(how) == without
            recorded(records, 3)


def test_plain_calls_share_one_connection(connections):
    def program(clients):
        connections.clear()
        for _ in range(5):
            clients.gpt.chat.completions.create(**CHAT)
        with clients.gpt.chat.completions.with_streaming_response.create(**CHAT) as answer:
            answer.read()
        clients.gpt.chat.completions.create(**CHAT)
        return list(connections)

    both = twice(program)
    assert both.with_us == both.without == [7]


# what else a process has


def test_no_descriptor_thread_or_task_is_left_over(llm_standin):
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    with instrumented() as records:
        warm = Clients(llm_standin)
        for call in CALLS.values():
            call(warm)
        warm.close()
        recorded(records, len(CALLS) - 1)
        gc.collect()
        before = descriptors(), threading.active_count()
        for _ in range(3):
            clients = Clients(llm_standin)
            for call in CALLS.values():
                call(clients)
            clients.close()
        del clients
        recorded(records, 4 * (len(CALLS) - 1))
        gc.collect()
        assert threading.active_count() <= before[1]
    assert llm_standin.settled()
    for _ in range(200):
        if descriptors() <= before[0]:
            break
        threading.Event().wait(0.01)  # the stand-in's side of a connection closes a little later
    assert descriptors() <= before[0]


async def test_a_loop_has_no_task_of_ours(llm_standin):
    clients = Clients(llm_standin)
    with instrumented() as records:
        stream = await clients.async_gpt.chat.completions.create(**CHAT, stream=True)
        await anext(stream)
        assert len(asyncio.all_tasks()) == 1
        await stream.close()
        message = await clients.async_claude.messages.create(**MESSAGE, stream=True)
        assert [one async for one in message]
        assert len(asyncio.all_tasks()) == 1
        recorded(records, 2)
    await clients.aclose()
