"""What goes wrong goes wrong as it would without us: the same exception, as often, as soon."""

import asyncio
import gc
import random
import signal
import threading
import time
import traceback
import types
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai

import otel_llm_usage

from .kit import CHAT, CONTENT, KEY, MESSAGE, PROMPT, Clients, instrumented, recorded, twice

PACKAGE = str(Path(otel_llm_usage.__file__).parent / "patching")

CALLS: dict[str, Any] = {
    "chat": lambda c: c.gpt.chat.completions.create(**CHAT),
    "chat stream": lambda c: list(c.gpt.chat.completions.create(**CHAT, stream=True)),
    "chat raw": lambda c: c.gpt.chat.completions.with_raw_response.create(**CHAT),
    "messages": lambda c: c.claude.messages.create(**MESSAGE),
    "messages stream": lambda c: list(c.claude.messages.create(**MESSAGE, stream=True)),
    "gemini": lambda c: c.gemini.models.generate_content(**CONTENT),
    "gemini stream": lambda c: list(c.gemini.models.generate_content_stream(**CONTENT)),
}
ASYNC_CALLS: dict[str, Any] = {
    "chat": lambda c: c.async_gpt.chat.completions.create(**CHAT),
    "chat stream": lambda c: c.async_gpt.chat.completions.create(**CHAT, stream=True),
    "messages": lambda c: c.async_claude.messages.create(**MESSAGE),
    "messages stream": lambda c: c.async_claude.messages.create(**MESSAGE, stream=True),
    "gemini": lambda c: c.gemini.aio.models.generate_content(**CONTENT),
    "gemini stream": lambda c: c.gemini.aio.models.generate_content_stream(**CONTENT),
}
FAULTS: dict[str, Any] = {
    "400": lambda s: s.script(status=400),
    "429": lambda s: s.script(status=429),
    "500": lambda s: s.script(status=500),
    "no JSON": lambda s: s.reply(b"<html>", headers={"content-type": "application/json"}),
    "hung up": lambda s: s.reply(b'{"id"', chunks=3, cut_after=1),
}


def chain(error: BaseException | None) -> list[Any]:
    """An exception and those that it came from."""
    seen: list[Any] = []
    while error is not None and len(seen) < 9:
        seen.append(
            (
                type(error),
                str(error).replace(str(id(error)), "id"),
                len(error.args),
                getattr(error, "__notes__", None),
                error.__suppress_context__,
                type(error.__cause__),
                type(error.__context__),
                sorted(vars(error)),
            )
        )
        error = error.__cause__ or error.__context__
    return seen


def frames(error: BaseException) -> list[Any]:
    """The frames of a traceback: ours, and those of others, by file and name."""
    return [
        (frame.f_code.co_filename, frame.f_code.co_name, frame)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    ]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
def test_an_exception_is_the_same_and_its_traceback_goes_through_few_frames_of_ours(call, fault):
    said: list[Any] = []

    def program(clients):
        FAULTS[fault](clients.standin)
        try:
            answer = CALLS[call](clients)
        except Exception as error:
            found = frames(error)
            ours = [frame for file, _, frame in found if file.startswith(PACKAGE)]
            said.append([repr(frame.f_locals) for frame in ours])
            assert len(ours) <= 4
            theirs = [(file, name) for file, name, _ in found if not file.startswith(PACKAGE)]
            return [theirs[1:], chain(error)]
        return type(answer)

    both = twice(program)
    url = "http://127.0.0.1"
    assert str(both.with_us).partition(url)[0] == str(both.without).partition(url)[0]
    if isinstance(both.without, list):
        assert both.with_us[0] == both.without[0]
    assert len(both.records) == 1


@pytest.mark.parametrize("call", CALLS)
def test_our_frames_add_no_copy_of_the_prompt_or_the_key(call):
    """A reporter of errors that shows local variables shows nothing of ours that tells a secret."""
    shown: list[str] = []

    def program(clients):
        clients.standin.script(status=400)
        with pytest.raises(Exception) as caught:  # noqa: PT011 (each SDK has its own)
            CALLS[call](clients)
        for file, _, frame in frames(caught.value):
            if file.startswith(PACKAGE):
                # `args` and `kwargs` are what the SDK's own frames below hold, too
                own = {k: v for k, v in frame.f_locals.items() if k not in ("args", "kwargs")}
                shown.append(repr(own))

    twice(program)
    assert shown
    assert not any(PROMPT in one or KEY in one for one in shown)


# retries


@pytest.mark.parametrize("status", [408, 409, 429, 500])
@pytest.mark.parametrize("call", ["chat", "chat stream", "messages"])
def test_the_sdk_tries_again_as_often_and_waits_as_long(call, status, monkeypatch):
    def program(clients):
        waited: list[float] = []
        monkeypatch.setattr(time, "sleep", waited.append)
        random.seed(7)
        clients._options["max_retries"] = 3
        clients.standin.script(status=status, times=None)
        with pytest.raises(Exception) as caught:  # noqa: PT011
            CALLS[call](clients)
        monkeypatch.undo()
        told = [seen.headers.get("x-stainless-retry-count") for seen in clients.standin.requests]
        return type(caught.value), waited, told

    both = twice(program)
    assert both.with_us == both.without
    assert both.with_us[2] == ["0", "1", "2", "3"]
    assert len(both.with_us[1]) == 3
    assert len(both.records) == 1


def test_a_connection_that_breaks_is_tried_again_as_often(monkeypatch):
    def program(clients):
        waited: list[float] = []
        monkeypatch.setattr(time, "sleep", waited.append)
        random.seed(7)
        clients._options["max_retries"] = 2
        clients.standin.reply(b"{}", chunks=1, cut_after=0, times=2)
        answer = clients.gpt.chat.completions.with_raw_response.create(**CHAT)
        monkeypatch.undo()
        return answer.retries_taken, len(clients.standin.requests), waited

    both = twice(program)
    assert both.with_us == both.without
    assert both.records[-1].status == "ok"


# cancellation


@types.coroutine
def _cancelled_at(work: Any, point: int) -> Any:
    """Run a coroutine, and cancel its task where it waits for the `point`th time."""
    step, value, waits = work.send, None, 0
    while True:
        try:
            future = step(value)
        except StopIteration as end:
            return end.value
        waits += 1
        if waits == point:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            value = yield future
            step = work.send
        except BaseException as error:
            step, value = work.throw, error


@pytest.mark.parametrize("call", ASYNC_CALLS)
async def test_a_task_may_be_cancelled_wherever_it_waits(call, llm_standin):
    """It ends as cancelled, what was sent is recorded once, and the next call is as good as ever."""
    llm_standin.script(pace=0.001, times=None, pieces=3)
    clients = Clients(llm_standin)
    loop = asyncio.get_running_loop()
    complaints: list[Any] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    with instrumented() as records:
        for point in range(1, 200):
            before = len(records)
            task = asyncio.create_task(_cancelled_at(_whole(ASYNC_CALLS[call](clients)), point))
            await asyncio.wait([task])
            if not task.cancelled():
                answer = task.result()
                break
            with pytest.raises(asyncio.CancelledError):
                task.result()
            del task
            if call == "gemini stream":
                gc.collect()
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.001)
            # the provider may see a request only now that was cancelled some turns ago
            recorded(records, len(llm_standin.requests))
            assert len(records) - before <= 1
        else:
            raise AssertionError("it waits for ever")
        assert answer
        assert point > 3
        recorded(records, before + 1)
        assert records[-1].status == "ok"
        assert {record.status for record in records} == {"ok", "aborted"}
    await clients.aclose()
    assert complaints == []


async def _whole(call: Any) -> Any:
    answer = await call
    if not hasattr(answer, "__aiter__") or hasattr(answer, "model_dump"):
        return answer
    return [one async for one in answer]


async def _timed_out(stream: Any) -> None:
    async with asyncio.timeout(0.1):
        async for _ in stream:
            pass


@pytest.mark.parametrize("call", ["chat stream", "messages stream", "gemini stream"])
async def test_a_time_out_of_the_applications_is_a_time_out(call, llm_standin):
    llm_standin.script(pace=60, pieces=3, times=None)
    clients = Clients(llm_standin)

    async def late():
        stream = await ASYNC_CALLS[call](clients)
        got = [type(await anext(stream))]
        with pytest.raises(TimeoutError) as caught:
            await _timed_out(stream)
        return got, chain(caught.value), asyncio.current_task().cancelling()

    without = await late()
    with instrumented() as records:
        with_us = await late()
        gc.collect()
        await asyncio.sleep(0.05)
        recorded(records, 1)
    assert with_us == without
    assert [record.status for record in records] == ["aborted"]
    await clients.aclose()


# interrupts


@pytest.mark.parametrize("call", ["chat stream", "messages stream", "gemini stream"])
def test_an_interrupt_in_the_middle_of_a_stream_is_the_callers(call, llm_standin):
    llm_standin.script(text="word " * 40, pace=60, pieces=6, times=None)
    clients = Clients(llm_standin)
    kinds = {"chat": clients.gpt, "messages": clients.claude, "gemini": clients.gemini}

    def interrupted():
        client = kinds[call.partition(" ")[0]]
        if call == "chat stream":
            stream: Any = client.chat.completions.create(**CHAT, stream=True)
        elif call == "messages stream":
            stream = client.messages.create(**MESSAGE, stream=True)
        else:
            stream = client.models.generate_content_stream(**CONTENT)
        got = [type(next(iter(stream)))]
        main = threading.main_thread().ident
        assert main is not None
        # it waits for the next chunk, for a minute, or it is about to
        timer = threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT))
        try:
            timer.start()
            for chunk in stream:
                got.append(type(chunk))
        except KeyboardInterrupt as error:
            return got[:1], chain(error)
        finally:
            timer.join()
        raise AssertionError("it was not interrupted")

    without = interrupted()
    with instrumented() as records:
        assert interrupted() == without
        gc.collect()
        recorded(records, 1)
    (record,) = records
    assert (record.status, record.error_type) == ("aborted", "KeyboardInterrupt")
    clients.close()


def _ask(client: Any) -> Any:
    if isinstance(client, openai.OpenAI):
        return client.chat.completions.create(**CHAT)
    return client.messages.create(**MESSAGE)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_before_the_answer_is_the_callers(kind, llm_standin):
    def leave(response):
        raise kind

    with instrumented() as records:
        for client in (openai.OpenAI, anthropic.Anthropic):
            module = openai if client is openai.OpenAI else anthropic
            http = module.DefaultHttpxClient(event_hooks={"response": [leave]})
            with client(http_client=http, max_retries=2) as one, pytest.raises(kind):
                _ask(one)
        recorded(records, 2)
    assert [record.status for record in records] == ["aborted", "aborted"]
    assert len(llm_standin.requests) == 2


# what an application's own hook raises


def test_a_hook_that_raises_is_heard():
    class OwnError(Exception):
        pass

    own = OwnError("of the application")

    def program(clients):
        def fail(response):
            raise own

        http = openai.DefaultHttpxClient(event_hooks={"response": [fail]})
        url = f"{clients.standin.url}/v1"
        with openai.OpenAI(base_url=url, api_key="key", http_client=http, max_retries=0) as client:
            with pytest.raises(Exception) as caught:  # noqa: PT011
                client.chat.completions.create(**CHAT)
            return chain(caught.value), caught.value is own or caught.value.__cause__ is own

    both = twice(program)
    assert both.with_us == both.without
    assert both.with_us[1]


def test_the_very_exception_of_a_streams_transport_reaches_the_caller():
    own = RuntimeError("of the transport")

    class Body(httpx2.SyncByteStream):
        def __iter__(self):
            yield b'data: {"id":"1","choices":[]}\n\n'
            raise own

    class Transport(httpx2.BaseTransport):
        def handle_request(self, request):
            return httpx2.Response(200, stream=Body())

    def program(clients):
        http = httpx2.Client(transport=Transport())
        with openai.OpenAI(api_key="key", http_client=http, max_retries=0) as client:
            with pytest.raises(RuntimeError) as caught:
                list(client.chat.completions.create(**CHAT, stream=True))
            return caught.value is own, chain(own)

    both = twice(program)
    assert both.with_us == both.without
    assert both.with_us[0] is True


def test_google_raises_the_same_for_a_client_that_was_closed():
    def program(clients):
        client = genai.Client(api_key="key", http_options={"base_url": clients.standin.url})
        client.close()
        with pytest.raises(RuntimeError) as caught:
            client.models.generate_content(**CONTENT)
        return chain(caught.value)

    both = twice(program)
    assert both.with_us == both.without
