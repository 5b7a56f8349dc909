"""Who pays: the block in which a call was made, wherever and whenever its stream is read."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from google import genai
from google.genai import types

from otel_llm_usage import Record, agent, instrument
from otel_llm_usage.scope import current_agent
from otel_llm_usage.standin import Call, StandIn

from .kit import ASK, Caller, drive, each, every

ANSWER = "What is the plan for today?"


@pytest.fixture
def call(llm_standin: StandIn) -> Iterator[Caller]:
    """A sync program."""
    caller = Caller(llm_standin, "sync")
    yield caller
    drive(caller.close(), "sync")


@pytest.fixture
async def call_async(llm_standin: StandIn) -> AsyncIterator[Caller]:
    """An async program."""
    caller = Caller(llm_standin, "async")
    yield caller
    await caller.close()


def _agents(records: list[Record]) -> list[str]:
    return [record.agent for record in records]


def look_up(topic: str) -> str:
    """Look a topic up."""
    return "It is sunny."


def test_nobody_pays_outside_every_block(call: Caller, llm_records: list[Record]) -> None:
    call.openai().embeddings.create(model="text-embedding-3-small", input="plan")
    assert _agents(llm_records) == ["unknown"]


def test_the_inner_block_pays_and_then_the_outer_one_again(
    call: Caller, llm_records: list[Record]
) -> None:
    client = call.openai()
    with agent("outer"):
        with agent("inner"):
            client.chat.completions.create(model="gpt-4.1-mini", messages=ASK)
        client.chat.completions.create(model="gpt-4.1-mini", messages=ASK)
    client.chat.completions.create(model="gpt-4.1-mini", messages=ASK)
    assert _agents(llm_records) == ["inner", "outer", "unknown"]


@pytest.mark.parametrize("where", ["outside", "in another block"])
@pytest.mark.parametrize("kind", ["models", "chats", "openai", "anthropic"])
def test_a_stream_is_paid_by_who_made_it(
    call: Caller, llm_records: list[Record], kind: str, where: str
) -> None:
    with agent("maker"):
        stream = _made(call, kind)
    if where == "outside":
        for _ in stream:
            assert current_agent() is None
    else:
        with agent("reader"):
            for _ in stream:
                assert current_agent() == "reader"
    assert _agents(llm_records) == ["maker"]
    assert current_agent() is None


@pytest.mark.parametrize("where", ["outside", "in another block"])
@pytest.mark.parametrize("kind", ["models", "chats", "openai", "anthropic"])
async def test_an_async_stream_is_paid_by_who_made_it(
    call_async: Caller, llm_records: list[Record], kind: str, where: str
) -> None:
    with agent("maker"):
        stream = await _made(call_async, kind)
    if where == "outside":
        async for _ in stream:
            assert current_agent() is None
    else:
        with agent("reader"):
            async for _ in stream:
                assert current_agent() == "reader"
    assert _agents(llm_records) == ["maker"]
    assert current_agent() is None


def _made(call: Caller, kind: str) -> Any:
    if kind == "models":
        models = call.gemini().models
        return models.generate_content_stream(model="gemini-2.5-flash", contents=ANSWER)
    if kind == "chats":
        return call.gemini().chats.create(model="gemini-2.5-flash").send_message_stream(ANSWER)
    if kind == "openai":
        completions = call.openai().chat.completions
        return completions.create(model="gpt-4.1-mini", messages=ASK, stream=True)
    asked: Any = {"model": "claude-haiku-4-5", "max_tokens": 300, "messages": ASK}
    return call.anthropic().messages.create(**asked, stream=True)


def test_a_stream_that_is_left_early_leaves_no_block_behind(
    call: Caller, llm_records: list[Record]
) -> None:
    with agent("maker"):
        stream = _made(call, "models")
    next(stream)
    stream.close()
    assert current_agent() is None
    assert _agents(llm_records) == ["maker"]


def test_every_turn_of_function_calling_is_paid_by_the_caller(
    call: Caller, llm_records: list[Record]
) -> None:
    models = call.gemini().models
    config = types.GenerateContentConfig(tools=[look_up])
    with agent("planner"):
        stream = models.generate_content_stream(
            model="gemini-2.5-flash", contents=ANSWER, config=config
        )
    list(stream)
    assert _agents(llm_records) == ["planner"] * 3


def test_a_function_may_pay_for_its_own_calls(call: Caller, llm_records: list[Record]) -> None:
    client = call.gemini()

    def ask_somebody(topic: str) -> str:
        """Ask somebody else."""
        with agent("expert"):
            models = client.models
            models.generate_content(model="gemini-2.5-flash-lite", contents=topic)
        return "It is sunny."

    config = types.GenerateContentConfig(tools=[ask_somebody])
    with agent("planner"):
        client.models.generate_content(model="gemini-2.5-flash", contents=ANSWER, config=config)
    assert _agents(llm_records) == ["planner", "expert", "planner", "expert", "planner"]


async def test_tasks_that_run_together_pay_for_themselves(
    call_async: Caller, llm_records: list[Record]
) -> None:
    client, gemini = call_async.openai(), call_async.gemini()

    async def work(name: str) -> None:
        with agent(name):
            async for _ in each(
                client.chat.completions.create(model="gpt-4.1-mini", messages=ASK, stream=True)
            ):
                await asyncio.sleep(0)
            models = gemini.models
            await every(models.generate_content_stream(model="gemini-2.5-flash", contents=ANSWER))

    names = [f"agent {number}" for number in range(6)]
    await asyncio.gather(*map(work, names))
    assert sorted(_agents(llm_records)) == sorted(names * 2)
    assert current_agent() is None


def test_a_thread_pays_in_the_context_that_it_was_given(
    call: Caller, llm_records: list[Record]
) -> None:
    client = call.openai()

    def work() -> None:
        client.embeddings.create(model="text-embedding-3-small", input="plan")

    with agent("planner"):
        given = contextvars.copy_context()
    for target in (lambda: given.run(work), work):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    assert _agents(llm_records) == ["planner", "unknown"]


def test_a_stream_may_be_read_in_another_thread(call: Caller, llm_records: list[Record]) -> None:
    with agent("maker"):
        streams = [_made(call, kind) for kind in ("models", "openai", "anthropic")]
    for stream in streams:
        thread = threading.Thread(target=list, args=(stream,))
        thread.start()
        thread.join()
    assert _agents(llm_records) == ["maker"] * 3


def test_a_tool_of_a_lazy_stream_sees_its_readers_span_and_our_span_the_makers(llm_standin):
    from opentelemetry import baggage, context, trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("application")
    seen = []

    def look_up(topic: str) -> str:
        """Look a topic up."""
        seen.append((trace.get_current_span(), baggage.get_baggage("tenant"), current_agent()))
        return "three facts"

    instrument(otlp=False, tracer_provider=provider)
    client = genai.Client(api_key="key", http_options={"base_url": llm_standin.url})
    llm_standin.script(calls=[Call("look_up", {"topic": "plans"})])
    with tracer.start_as_current_span("maker") as maker, agent("planner"):
        stream = client.models.generate_content_stream(
            model="gemini-2.5-flash", contents="hello", config={"tools": [look_up]}
        )
    with tracer.start_as_current_span("reader") as reader:
        token = context.attach(baggage.set_baggage("tenant", "acme"))
        list(stream)
        context.detach(token)
    client.close()
    assert seen
    assert all(what == (reader, "acme", "planner") for what in seen)
    ours = [span for span in exporter.get_finished_spans() if span.name.startswith("generate")]
    assert {span.parent.span_id for span in ours} == {maker.get_span_context().span_id}
    assert len(ours) == len(seen) + 1
