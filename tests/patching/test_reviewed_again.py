"""Faults that a second review found, each with the test that failed before its mend."""

import asyncio
import contextlib
import contextvars
import gc
import json
import logging
import sys
import threading
import time
import types
import weakref

import anthropic
import httpx2
import openai
import openai._base_client as base
import pytest

from otel_llm_usage import agent, guard, instrument, uninstrument
from otel_llm_usage.patching import observation, wire
from otel_llm_usage.patching.engine import Engine, Seam
from otel_llm_usage.runtime import current
from otel_llm_usage.scope import current_agent
from otel_llm_usage.standin import Answer
from otel_llm_usage.testing import Records

ASK = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hello"}], "stream": True}


def collected(there):
    """Collect until it is true: a collection does nothing while another thread is inside one."""
    for _ in range(400):
        gc.collect()
        if there():
            return True
        time.sleep(0.01)
    return False


def texts(client, **more):
    return [
        chunk.choices[0].delta.content for chunk in client.chat.completions.create(**ASK, **more)
    ]


# -- nothing of ours reaches the caller


@pytest.mark.faults
def test_a_log_filter_and_a_listener_that_raise_are_not_the_callers(llm_standin, caplog):
    def fail(*_):
        raise ValueError("of the application's logging")

    def sink(record):
        raise RuntimeError("a sink")

    def cancelled(record):
        raise asyncio.CancelledError

    records = Records()
    instrument(sinks=[sink, cancelled, records.append], otlp=False)
    stop = guard.listen(fail)
    logger = logging.getLogger("otel_llm_usage")
    logger.addFilter(fail)
    try:
        with openai.OpenAI() as client:
            assert client.chat.completions.create(**ASK | {"stream": False}).choices
        assert len(records) == 1
    finally:
        logger.removeFilter(fail)
        stop()
    assert guard.errors["guard"] > 0


@pytest.mark.parametrize("leave", ["cancel", "time out"])
async def test_cancelling_a_raw_stream_comes_before_the_bytes_that_we_hold(llm_standin, leave):
    part = b'data: {"id":"1","choices":[]}\n\ndata: {"id":"2","ch'
    llm_standin.reply(part + b" " * 400, chunks=[len(part), 400], pace=30, delay=0)
    instrument(otlp=False)
    seen = []

    async def read():
        async with openai.AsyncOpenAI() as client:
            streaming = client.chat.completions.with_streaming_response
            async with streaming.create(**ASK) as response:
                async for chunk in response.iter_bytes():
                    seen.append(chunk)

    if leave == "cancel":
        task = asyncio.create_task(read())
        while not seen:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await read()
    assert len(seen) == 1


async def test_a_stream_that_is_left_closes_what_it_was_reading(llm_standin):
    closed = []

    class Body(httpx2.AsyncByteStream):
        async def __aiter__(self):
            try:
                for _ in range(9):
                    yield b'data: {"id":"1","choices":[]}\n\n'
            finally:
                closed.append("the transport's iterator")

    class Transport(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request):
            return httpx2.Response(200, stream=Body())

    instrument(otlp=False)
    async with openai.AsyncOpenAI(http_client=httpx2.AsyncClient(transport=Transport())) as client:
        streaming = client.chat.completions.with_streaming_response
        async with streaming.create(**ASK) as response:
            iterator = response.http_response.aiter_bytes()
            await anext(iterator)
            await iterator.aclose()
            assert closed == ["the transport's iterator"]


# -- who pays


def test_an_agent_that_is_left_in_another_context_raises_nothing():
    @contextlib.contextmanager
    def dependency():
        with agent("planner"):
            yield

    manager = dependency()
    contextvars.copy_context().run(manager.__enter__)
    contextvars.copy_context().run(manager.__exit__, None, None, None)
    assert current_agent() is None


def test_blocks_that_overlap_leave_the_agent_of_the_one_that_is_open():
    def work(name):
        with agent(name):
            yield
            yield

    first, second = work("first"), work("second")
    next(first)
    next(second)
    assert current_agent() == "second"
    first.close()
    assert current_agent() == "second"
    second.close()
    assert current_agent() is None
    with agent("outer"):
        third = work("third")
        next(third)
        with agent("inner"):
            third.close()
            assert current_agent() == "inner"
        assert current_agent() == "outer"
    assert current_agent() is None


# -- seams


def test_a_wrapper_that_was_left_behind_idle_is_not_taken_for_a_working_one(llm_standin):
    names = (
        "SyncAPIClient.request",
        "BaseClient._build_request",
        "SyncAPIClient._process_response",
    )
    places = [(getattr(base, name.split(".")[0]), name.split(".")[1]) for name in names]
    plain = [vars(owner)[name] for owner, name in places]
    instrument(otlp=False)
    ours = [vars(owner)[name] for owner, name in places]
    for (owner, name), wrapper in zip(places, ours, strict=True):
        setattr(owner, name, lambda self, *a, _w=wrapper, **k: _w.__get__(self)(*a, **k))
    uninstrument()
    for (owner, name), wrapper in zip(places, ours, strict=True):
        setattr(owner, name, wrapper)  # the other package puts back what it found: our idle ones
    records = Records()
    try:
        instrument(sinks=[records.append], otlp=False)
        with openai.OpenAI() as client:
            client.chat.completions.create(**ASK | {"stream": False})
        assert len(records) == 1
        uninstrument()
    finally:
        for (owner, name), function in zip(places, plain, strict=True):
            setattr(owner, name, function)


def test_a_module_that_vanished_from_its_package_is_missing_and_said_so(monkeypatch, caplog):
    package = types.ModuleType("package_without_it")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "package_without_it", package)
    seam = Seam("sdk", "package_without_it._base_client", "Client.send", lambda *a: None)
    engine = Engine([seam], lambda seam, state: None)
    engine.install()
    assert engine.states[seam] == "missing"
    assert "package_without_it._base_client.Client.send" in caplog.text


def test_instrumenting_while_another_thread_imports_the_sdk_finds_its_seams(python):
    out = python(
        """
import sys, threading
from otel_llm_usage import instrument

begun = threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "openai._base_client":
            begun.set()
        return None

sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=lambda: __import__("openai"))
thread.start()
assert begun.wait(60)
while "openai._base_client" not in sys.modules:
    pass
runtime = instrument(otlp=False)
thread.join()
seams = runtime.status()["sdks"]["openai"]["seams"]
print({state for seam, state in seams.items() if "._base_client." in seam})
""",
        PYTHONWARNINGS="ignore",
    )
    assert out.strip() == "{'patched'}"


# -- attempts


async def test_two_attempts_at_once_are_two_records(llm_standin, llm_records):
    async def hedge(request, call_next):
        first, _ = await asyncio.gather(call_next(request), call_next(request))
        return first

    async with anthropic.AsyncAnthropic(middleware=[hedge], max_retries=0) as client:
        await client.messages.create(
            model="claude-opus-4-5", max_tokens=9, messages=ASK["messages"]
        )
    assert len(llm_standin.ledger) == 2
    assert [record.status for record in llm_records] == ["ok", "ok"]


def test_what_could_not_even_be_built_costs_nothing(llm_records):
    with openai.OpenAI(api_key="key") as client, pytest.raises(TypeError):
        client.chat.completions.create(model="gpt-4.1", messages=[{"role": object()}])
    (record,) = llm_records
    assert (record.status, record.cost.status) == ("error", "not_billed")


def _echoes(seen):
    """What servers answer that show the request in their errors."""
    return Answer(status=400, message=f"temperature must be at most 2, input: {seen.body}")


def test_an_error_that_only_shows_our_question_does_not_end_the_metering(llm_standin, llm_records):
    with openai.OpenAI(max_retries=0) as client:
        llm_standin.script(
            _echoes, match=lambda seen: seen.body.get("temperature") == 9, times=None
        )
        for _ in range(2):
            with pytest.raises(openai.BadRequestError, match="temperature"):
                texts(client, temperature=9)
        assert texts(client)
    assert [record.status for record in llm_records] == ["error", "error", "ok"]
    assert llm_records[-1].usage_source == "reported"


def test_a_refusal_is_remembered_for_its_model_alone(llm_standin, llm_records, caplog):
    def refuses(seen):
        return Answer(status=400, message="Unknown parameter: stream_options")

    llm_standin.script(
        refuses,
        match=lambda seen: seen.body["model"] == "gpt-4" and "stream_options" in seen.body,
        times=None,
    )
    with openai.OpenAI(max_retries=0) as client:
        for model in ("gpt-4", "gpt-4", "gpt-4.1"):
            list(client.chat.completions.create(**ASK | {"model": model}))
    assert [record.usage_source for record in llm_records] == ["missing", "missing", "reported"]
    assert ["stream_options" in seen.body for seen in llm_standin.requests] == [
        True,
        False,
        False,
        True,
    ]
    assert "of gpt-4 used" in caplog.text


def test_where_another_package_holds_the_request_we_do_not_ask_and_count_failures(
    llm_standin, monkeypatch
):
    original = base.SyncAPIClient.request
    monkeypatch.setattr(openai.OpenAI, "request", lambda self, *a, **k: original(self, *a, **k))
    records = Records()
    instrument(sinks=[records.append], otlp=False)
    with openai.OpenAI(max_retries=1) as client:
        assert texts(client)
        assert "stream_options" not in llm_standin.requests[-1].body
        llm_standin.script(status=429, times=2)
        with pytest.raises(openai.RateLimitError):
            texts(client)
    assert collected(lambda: len(records) == 2)
    assert [record.status for record in records] == ["ok", "error"]


def test_there_openai_itself_is_asked_because_it_takes_the_question(monkeypatch):
    original = base.SyncAPIClient.request
    monkeypatch.setattr(openai.OpenAI, "request", lambda self, *a, **k: original(self, *a, **k))
    usage = b'{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}'
    sent = []

    def answer(request):
        sent.append(json.loads(request.content))
        choice = b'{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}'
        parts = (b'"choices":[' + choice + b'],"usage":null', b'"choices":[],"usage":' + usage)
        body = b"".join(b'data: {"id":"1",' + part + b"}\n\n" for part in parts)
        return httpx2.Response(200, content=body + b"data: [DONE]\n\n")

    records = Records()
    instrument(sinks=[records.append], otlp=False)
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    url = "https://api.openai.com/v1"
    with openai.OpenAI(base_url=url, api_key="key", http_client=http) as client:
        assert texts(client) == ["hi"]
    assert sent[0]["stream_options"] == {"include_usage": True}
    assert records[0].usage.nonzero() == {"input": 1, "output": 2}


# -- what we asked for stays hidden


@pytest.mark.parametrize("insist", ["the server", "a hook of the application"])
def test_a_stream_that_is_compressed_all_the_same_hides_what_we_asked_for(llm_standin, insist):
    hooks = {"request": [lambda request: request.headers.update({"accept-encoding": "gzip"})]}
    llm_standin.script(gzip=True, text="word " * 9, times=None)
    with openai.OpenAI(http_client=openai.DefaultHttpxClient(event_hooks=hooks)) as client:
        plain = texts(client)
        records = Records()
        instrument(sinks=[records.append], otlp=False)
        assert texts(client) == plain
    assert records[0].usage_source == "reported"


def test_a_stream_whose_answer_comes_after_we_left_hides_what_we_asked_for(llm_standin):
    llm_standin.script(delay=0.5, times=None)
    with openai.OpenAI() as client:
        plain = texts(client)
        instrument(otlp=False)
        threading.Timer(0.2, uninstrument).start()
        assert texts(client) == plain
        while current() is not None:
            time.sleep(0.01)


def test_an_error_beside_the_usage_is_not_hidden(llm_standin):
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    chunk = {"id": "1", "choices": [], "usage": usage, "error": {"message": "overloaded"}}
    llm_standin.reply(
        f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n",
        headers={"content-type": "text/event-stream"},
    )
    instrument(otlp=False)
    with openai.OpenAI() as client, pytest.raises(openai.APIError, match="overloaded"):
        texts(client)


@pytest.mark.parametrize("ends", [b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\n\n", b"\r\r", b"\r\n\r"])
def test_events_end_with_any_two_ends_of_lines(ends):
    events = [b"data: 1" + ends, b"data: 2" + ends, b"data: 3" + ends]
    splitter = wire.SseSplitter()
    found = splitter.feed(b"".join(events))
    rest = splitter.rest()
    assert b"".join(found) + rest == b"".join(events)
    data = [wire.sse_data(event)[0] for event in (*found, rest) if event.strip()]
    assert data == [b"1", b"2", b"3"]


def test_what_is_too_long_for_an_event_is_still_the_callers(monkeypatch):
    monkeypatch.setattr(wire, "MAX_EVENT", 100)
    splitter = wire.SseSplitter()
    assert b"".join(splitter.feed(b"x" * 150)) + splitter.rest() == b"x" * 150


# -- what was read to its end counts


def test_a_body_that_was_read_whole_is_reported_though_its_end_was_not_looked_for(
    llm_standin, llm_records
):
    ask = {**ASK, "stream": False}
    with openai.OpenAI() as client:
        streaming = client.chat.completions.with_streaming_response
        with streaming.create(**ask) as response:
            length, got = int(response.headers["content-length"]), 0
            for chunk in response.iter_bytes():
                got += len(chunk)
                if got == length:
                    break
    (record,) = llm_records
    assert record.usage_source == "reported"


def test_a_stream_that_comes_where_none_was_asked_for_is_read(llm_standin, llm_records):
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    chunk = {"id": "1", "model": "gpt-4.1", "choices": [], "usage": usage}
    llm_standin.reply(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n")
    with openai.OpenAI() as client:
        client.chat.completions.with_raw_response.create(**ASK | {"stream": False})
    (record,) = llm_records
    assert record.usage.nonzero() == {"input": 10, "output": 5}


# -- going while others come


def test_settling_what_is_under_way_while_streams_begin_and_end():
    class Reading:
        def finish(self, how):
            """Nothing."""

    stop = threading.Event()

    def churn():
        while not stop.is_set():
            one = Reading()
            observation.live[id(one)] = weakref.ref(one)
            observation.live.pop(id(one), None)

    threads = [threading.Thread(target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2000):
            observation.settle_live()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_no_thread_for_draining_is_no_error_of_the_callers(llm_standin, monkeypatch):
    llm_standin.script(text="word " * 40, pieces=8, pace=0.01)
    records = Records()
    instrument(sinks=[records.append], otlp=False, on_abort="drain")
    with openai.OpenAI() as client:
        stream = client.chat.completions.create(**ASK)
        next(stream)

        def start(self):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", start)
        stream.close()
        monkeypatch.undo()
    assert [record.status for record in records] == ["aborted"]


def test_a_client_class_of_the_applications_is_not_kept_alive(llm_standin):
    instrument(otlp=False)

    def once():
        class Client(openai.OpenAI):
            """Made for one request."""

        with Client() as client:
            client.chat.completions.create(**ASK | {"stream": False})
        return weakref.ref(Client)

    kept = once()
    assert collected(lambda: kept() is None)


def test_a_retry_after_another_call_in_between_is_still_one_call(llm_standin, llm_records):
    with openai.OpenAI(max_retries=0) as other:

        def ask_another(request, call_next):
            answer = call_next(request)
            other.embeddings.create(model="text-embedding-3-small", input="a note")
            return answer

        llm_standin.script(status=529, match=lambda seen: "/messages" in seen.path)
        with anthropic.Anthropic(middleware=[ask_another], max_retries=1) as client:
            client.messages.create(model="claude-opus-4-5", max_tokens=9, messages=ASK["messages"])
    messages = [record for record in llm_records if record.request.endpoint == "messages"]
    assert [record.status for record in messages] == ["ok"]
