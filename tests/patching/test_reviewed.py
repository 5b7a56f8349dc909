"""Faults that a review found, each with the test that failed before its mend."""

import asyncio
import contextvars
import json
import os

import openai
import pytest

from otel_llm_usage import ConfigurationError, agent, instrument, uninstrument
from otel_llm_usage.instrumentor import LLMUsageInstrumentor
from otel_llm_usage.providers.reading import error_type
from otel_llm_usage.runtime import current
from otel_llm_usage.scope import current_agent

ASK = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hello"}], "stream": True}


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
        records = []
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
        records = []
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
