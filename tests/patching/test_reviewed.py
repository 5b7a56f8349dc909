"""Faults that a review found, each with the test that failed before its mend."""

import asyncio
import contextvars
import gc
import json
import os
import socket
import threading
import time

import anthropic
import openai
import pytest
from google import genai

from otel_llm_usage import ConfigurationError, agent, guard, instrument, price, uninstrument
from otel_llm_usage.instrumentor import LLMUsageInstrumentor
from otel_llm_usage.patching import wire
from otel_llm_usage.providers.openai import ChatReader
from otel_llm_usage.providers.reading import error_type
from otel_llm_usage.runtime import current
from otel_llm_usage.scope import current_agent
from otel_llm_usage.testing import Records

ASK = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hello"}], "stream": True}


def wait_until(there):
    """Give other threads their time; fails if it never comes true."""
    for _ in range(2000):
        if there():
            return
        time.sleep(0.005)
    raise AssertionError("it never came")


def _chunks(client):
    return [
        chunk.model_dump(exclude={"id", "created"})
        for chunk in client.chat.completions.create(**ASK)
    ]


def test_a_stream_that_a_hook_has_read_is_counted_and_hides_what_we_asked_for(llm_standin):
    hooks = {"response": [lambda response: response.read()]}
    with openai.OpenAI(http_client=openai.DefaultHttpxClient(event_hooks=hooks)) as client:
        plain = _chunks(client)
        llm_standin.reset()
        records = Records()
        instrument(sinks=[records.append], otlp=False)
        assert _chunks(client) == plain
    (record,) = records
    assert record.usage_source == "reported"
    assert record.usage.nonzero() == dict(llm_standin.ledger.last.usage)


@pytest.mark.parametrize("leave", ["flush", "uninstrument"])
def test_what_we_asked_for_stays_hidden_when_we_go_in_mid_stream(llm_standin, leave):
    llm_standin.script(text="word " * 40, pieces=8, pace=0.01, times=None)
    with openai.OpenAI() as client:
        plain = _chunks(client)
        records = Records()
        runtime = instrument(sinks=[records.append], otlp=False)
        stream = client.chat.completions.create(**ASK)
        got = [next(stream)]
        runtime.flush() if leave == "flush" else uninstrument()
        got += list(stream)
    assert [chunk.model_dump(exclude={"id", "created"}) for chunk in got] == plain
    assert [record.usage_source for record in records] == [
        "reported" if leave == "flush" else "estimated"
    ]


async def test_an_agent_object_may_be_entered_again_and_by_many_tasks():
    a, b = agent("planner"), agent("critic")
    with a, b, a:
        assert current_agent() == "planner"
    assert current_agent() is None
    after = []

    async def work(delay):
        with a:
            await asyncio.sleep(delay)
            assert current_agent() == "planner"
        after.append(current_agent())

    await asyncio.gather(*(work(delay) for delay in (0.02, 0.01, 0.03)))
    assert after == [None, None, None]


def test_a_forked_child_does_not_count_its_parents_stream(llm_standin, tmp_path):
    llm_standin.script(text="word " * 40, pieces=8, pace=0.01, times=None)
    file = tmp_path / "records"

    def sink(record):
        with file.open("a") as out:
            out.write(json.dumps([os.getpid(), record.id, record.usage_source]) + "\n")

    instrument(sinks=[sink], otlp=False)
    with openai.OpenAI() as client:
        stream = client.chat.completions.create(**ASK)
        next(stream)
        child = os.fork()
        if child == 0:
            current().close()
            os._exit(0)
        os.waitpid(child, 0)
        list(stream)
        current().flush()
    (line,) = file.read_text().splitlines()
    assert json.loads(line)[0] == os.getpid()


async def test_a_call_that_is_closed_in_another_context_does_not_raise(llm_standin):
    instrument(otlp=False)
    async with openai.AsyncOpenAI() as client:
        call = client.chat.completions.create(**ASK | {"model": "gpt-4.1-slow"})
        contextvars.copy_context().run(call.send, None)
        call.close()  # raised ValueError: the token belongs to the other context


def test_an_async_sink_is_refused_because_nobody_would_await_it():
    async def sink(record):
        raise AssertionError(record)

    with pytest.raises(ConfigurationError, match="plain function"):
        instrument(sinks=[sink], otlp=False)


def test_the_loader_may_pass_what_only_it_knows():
    LLMUsageInstrumentor().instrument(skip_dep_check=True, logger_provider=None, otlp=False)
    assert current() is not None


def test_a_sentence_of_the_provider_is_no_error_type():
    assert error_type({"code": "my password is hunter2"}) == "_OTHER"
    assert error_type({"type": "overloaded_error"}) == "overloaded_error"


def test_a_fork_while_prices_load_leaves_the_child_able_to_price(python):
    # the SDKs have locks of their own that a fork breaks: here is only ours
    out = python(
        """
import os, threading, time
from otel_llm_usage import price
from otel_llm_usage.prices import catalogue

loading = threading.Event()
described = catalogue.Catalogue._described
def slow(self, table):
    loading.set()
    time.sleep(0.3)  # another thread is in the middle of loading
    return described(self, table)
catalogue.Catalogue._described = slow

def ask():
    return price({"prompt_tokens": 5, "completion_tokens": 1}, provider="openai", model="gpt-4.1")

thread = threading.Thread(target=ask)
thread.start()
assert loading.wait(60)
child = os.fork()
if child == 0:
    os._exit(0 if ask().status == "priced" else 1)
for _ in range(300):
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        break
    time.sleep(0.1)
else:
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise SystemExit("the child hangs")
thread.join()
print(os.waitstatus_to_exitcode(status), ask().status)
""",
        PYTHONWARNINGS="error,ignore:This process:DeprecationWarning",
    )
    assert out.split() == ["0", "priced"]


def test_a_stream_that_the_collector_ends_calls_no_sink_inside_the_collection(llm_standin):
    llm_standin.script(text="word " * 40, pieces=8, pace=0.01, times=None)
    mine = threading.Lock()  # a sink's own: it cannot be taken twice by one thread
    records = []

    def sink(record):
        assert mine.acquire(timeout=10)
        try:
            records.append(record)
        finally:
            mine.release()

    instrument(sinks=[sink], otlp=False)
    with openai.OpenAI() as client:
        stream = client.chat.completions.create(**ASK)
        next(stream)
        with mine:  # the sink was at work in this thread when the collector ran
            del stream
            gc.collect()
            assert records == []
        # a collection of another thread at that moment makes ours do nothing
        wait_until(lambda: gc.collect() >= 0 and records)
    (record,) = records
    assert (record.status, record.usage_source) == ("aborted", "estimated")


def test_a_plain_call_that_is_under_way_when_we_go_has_its_record(llm_standin):
    llm_standin.script(delay=0.5)
    records, answers = [], []
    instrument(sinks=[records.append], otlp=False)
    with openai.OpenAI() as client:
        ask = {**ASK, "stream": False}
        thread = threading.Thread(
            target=lambda: answers.append(client.chat.completions.create(**ask))
        )
        thread.start()
        wait_until(lambda: llm_standin.requests)
        uninstrument()
        (record,) = records
        thread.join()
    assert answers[0].choices[0].message.content
    assert (record.status, record.usage_source) == ("aborted", "estimated")
    assert records == [record]


def test_a_background_response_is_not_free_because_its_bill_comes_later(llm_standin, llm_records):
    with openai.OpenAI() as client:
        client.responses.create(model="gpt-4.1", input="hello", background=True)
    uninstrument()  # nobody has looked whether it ended
    (record,) = llm_records
    assert (record.usage_source, record.cost.status, record.cost.reasons) == (
        "missing",
        "unpriced",
        ("background",),
    )


def _ask_openai(url):
    with openai.OpenAI(base_url=url, api_key="key", max_retries=0) as client:
        client.chat.completions.create(**ASK)


def _ask_anthropic(url):
    with anthropic.Anthropic(base_url=url, api_key="key", max_retries=0) as client:
        client.messages.create(model="claude-opus-4-5", max_tokens=9, messages=ASK["messages"])


def _ask_gemini(url):
    client = genai.Client(api_key="key", http_options={"base_url": url})
    try:
        client.models.generate_content(model="gemini-2.5-flash", contents="hello")
    finally:
        client.close()


@pytest.mark.parametrize("ask", [_ask_openai, _ask_anthropic, _ask_gemini])
def test_a_request_that_reached_nobody_costs_nothing(ask, llm_records):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and listening never
        with pytest.raises(Exception, match="onnect"):
            ask(f"http://127.0.0.1:{nobody.getsockname()[1]}")
    (record,) = llm_records
    assert (record.status, record.cost.status, record.cost_usd) == ("error", "not_billed", 0)


def test_an_instrument_that_fails_leaves_nothing_behind(llm_standin):
    for wrong in ({"meter_provider": object()}, {"tracer_provider": object()}):
        with pytest.raises(ConfigurationError, match="provider"):
            instrument(otlp=False, **wrong)
    records = Records()
    instrument(sinks=[records.append], otlp=False)


def test_a_missing_directory_of_the_multiprocess_mode_is_said_in_one_line(python, tmp_path):
    out = python(
        """
from otel_llm_usage import ConfigurationError, instrument
try:
    instrument(otlp=False)
except ConfigurationError as error:
    print(error)
""",
        PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "nowhere"),
    )
    assert "PROMETHEUS_MULTIPROC_DIR" in out


def test_an_answer_that_leaves_out_one_side_is_not_priced_as_if_it_were_nothing():
    cost = price({"completion_tokens": 5}, provider="openai", model="gpt-4.1")
    assert (cost.status, cost.total, cost.reasons) == ("partial", None, ("no_count:input",))
    assert cost.known > 0
    nothing_out = price({"prompt_tokens": 5}, provider="openai", model="gpt-4.1")
    assert nothing_out.reasons == ("no_count:output",)


def test_a_client_that_is_closed_while_we_drain_is_no_fault_of_ours(llm_standin):
    llm_standin.script(text="word " * 200, pieces=40, pace=0.05, times=None)
    records = Records()
    instrument(sinks=[records.append], otlp=False, on_abort="drain")
    with openai.OpenAI() as client:
        stream = client.chat.completions.create(**ASK)
        next(stream)
        stream.close()
    wait_until(lambda: records)  # a fault of ours would be raised: the guard is strict
    (record,) = records
    assert record.status in ("aborted", "broken", "ok")
    assert guard.errors.total() == 0


def test_the_audio_of_a_streamed_speech_is_not_kept(llm_standin, llm_records):
    with openai.OpenAI() as client:
        speech = client.audio.speech.with_streaming_response
        with speech.create(model="tts-1", voice="alloy", input="The plan.") as response:
            tap = response.http_response.stream._tap
            for _ in response.iter_bytes(10):
                assert tap._body == []
    (record,) = llm_records
    assert dict(record.units) == {"characters": 9}


def test_what_came_of_an_event_before_the_cut_is_not_lost(llm_standin):
    parts = [b'data: {"id":"1","choices":[]}\n\n', b'data: {"id":"2","cho']
    llm_standin.reply(b"".join(parts), chunks=parts, cut_after=2, pace=0.2, times=2)

    def got(client):
        read = []
        streaming = client.chat.completions.with_streaming_response
        with streaming.create(**ASK) as response:
            error = guard.theirs(lambda: read.extend(response.iter_bytes()))
        assert error is not None
        return b"".join(read), type(error)

    with openai.OpenAI(max_retries=0) as client:
        plain = got(client)
        instrument(otlp=False)
        assert got(client) == plain


@pytest.mark.faults
def test_if_we_fail_to_read_an_event_what_we_asked_for_stays_hidden(
    llm_standin, monkeypatch, caplog
):
    with openai.OpenAI() as client:
        plain = _chunks(client)
        instrument(otlp=False)

        def fail(self, data, name=None):
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr(ChatReader, "event", fail)
        assert _chunks(client) == plain
    assert guard.errors["read"] > 0


def test_a_large_frame_in_small_pieces_is_put_together_once():
    payload = bytes(3_000_000)
    frame = (len(payload) + 16).to_bytes(4, "big") + bytes(8) + payload + bytes(4)
    splitter = wire.FrameSplitter()
    data = frame + frame[:500]
    pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
    assert [found for piece in pieces for found in splitter.feed(piece)] == [frame]
    assert splitter.rest() == frame[:500]


def test_a_stream_that_is_open_at_exit_has_its_span_though_the_provider_came_late(
    llm_standin, python
):
    out = python(
        """
import openai
from otel_llm_usage import instrument

instrument(otlp=False)  # before the application sets up its tracing
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
client = openai.OpenAI()
stream = client.chat.completions.create(
    model="gpt-4.1", messages=[{"role": "user", "content": "hello"}], stream=True
)
next(stream)
""",
        PYTHONWARNINGS="ignore",
        **llm_standin.environment(),
    )
    assert '"name": "chat gpt-4.1"' in out
    assert '"gen_ai.usage.estimated": true' in out
