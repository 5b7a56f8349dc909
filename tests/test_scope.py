"""Who pays: blocks and decorated functions, alone."""

import asyncio
import inspect

import openai
import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry, generate_latest

from otel_llm_usage import agent, attribute, instrument
from otel_llm_usage.scope import payer

ASK = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hello"}]}


def who():
    name, labels = payer()
    return name, dict(labels)


NOBODY = (None, {})


@pytest.fixture(autouse=True)
def _nothing_is_left():
    before = context.get_current()
    yield
    assert context.get_current() == before


def test_labels_add_up_and_the_inner_block_wins():
    with attribute(agent="planner", user="u1", team="search"):
        with attribute(call_type="chart", team="ads", user=None):
            assert who() == ("planner", {"user": "u1", "team": "ads", "call_type": "chart"})
        with agent("critic"), attribute(session=9):
            assert who() == ("critic", {"user": "u1", "team": "search", "session": "9"})
        assert who() == ("planner", {"user": "u1", "team": "search"})
    assert who() == NOBODY


def test_nobody_changes_the_labels_of_a_block_from_inside():
    with attribute(team="search"), pytest.raises(TypeError):
        payer()[1]["team"] = "ads"


def test_an_error_passes_and_ends_the_block():
    with pytest.raises(KeyError), attribute(agent="planner", user="u1"):
        raise KeyError
    assert who() == NOBODY


@pytest.mark.parametrize("order", ["first in, first out", "last in, first out"])
def test_overlapping_blocks_leave_nothing(order):
    outer, inner = attribute(agent="outer", team="a"), attribute(user="u1", team="b")
    outer.__enter__()
    inner.__enter__()
    blocks = [outer, inner] if order.startswith("first") else [inner, outer]
    for block in blocks:
        block.__exit__(None, None, None)
    assert who() == NOBODY


def test_of_overlapping_blocks_those_hold_that_are_still_open():
    outer, inner, last = agent("outer"), attribute(team="b"), attribute(user="u1")
    for block in (outer, inner, last):
        block.__enter__()
    outer.__exit__(None, None, None)
    assert who() == (None, {"team": "b", "user": "u1"})
    inner.__exit__(None, None, None)
    assert who() == (None, {"user": "u1"})
    last.__exit__(None, None, None)
    assert who() == NOBODY


def test_a_span_that_is_opened_inside_stays_when_the_block_is_left():
    span = TracerProvider().get_tracer("test").start_span("theirs")
    block = attribute(agent="planner", team="search")
    block.__enter__()
    token = context.attach(trace.set_span_in_context(span))
    block.__exit__(None, None, None)
    assert who() == NOBODY
    assert trace.get_current_span() is span
    context.detach(token)
    context.attach(context.Context())


@pytest.mark.parametrize("bad", ["", 7, b"planner"])
def test_an_agent_is_a_name(bad):
    with pytest.raises(TypeError, match="not empty"):
        attribute(agent=bad)
    with pytest.raises(TypeError, match="not empty"):
        agent(bad)


def test_only_functions_are_decorated():
    with pytest.raises(TypeError, match="decorates functions"):
        agent("planner")(dict)
    with pytest.raises(TypeError, match="decorates functions"):
        agent("planner")("run")


# -- around functions


@agent("planner")
def plan(topic: str, *, deep: bool = False) -> tuple:
    """Make a plan."""
    return who(), topic, deep


def test_each_call_of_a_function_is_a_block_and_the_function_stays_what_it_is():
    assert plan("rain", deep=True) == (("planner", {}), "rain", True)
    assert who() == NOBODY
    assert plan.__name__ == "plan"
    assert plan.__doc__ == "Make a plan."
    assert str(inspect.signature(plan)) == "(topic: str, *, deep: bool = False) -> tuple"


def test_methods_static_methods_and_recursion():
    class Team:
        @agent("member")
        def work(self, deep):
            return [who()[0], *(self.work(deep - 1) if deep else [])]

        @staticmethod
        @attribute(team="static")
        def alone():
            return who()

        @classmethod
        @agent("class")
        def make(cls):
            return cls, who()[0]

        @agent("outside")
        @staticmethod
        def also_alone():
            return who()[0]

        @agent("outside")
        @classmethod
        def also_make(cls):
            return cls, who()[0]

    assert Team().work(2) == ["member"] * 3
    assert Team.alone() == (None, {"team": "static"})
    assert Team.make() == (Team, "class")
    assert Team().also_alone() == Team.also_alone() == "outside"
    assert Team().also_make() == (Team, "outside")


def _passing_on(function):
    """A decorator of somebody: what it makes is a plain function."""
    return lambda *args: function(*args)


async def test_what_a_plain_function_returns_and_runs_later():
    @agent("coder")
    @_passing_on
    async def code():
        await asyncio.sleep(0)
        return who()[0]

    @agent("lister")
    @_passing_on
    def items():
        return (yield who()[0])

    @agent("streamer")
    @_passing_on
    async def stream():
        try:
            yield who()[0]
        finally:
            seen.append(who()[0])

    assert await code() == "coder"
    several = items()
    assert next(several) == "lister"
    with pytest.raises(StopIteration, match="sent"):
        several.send("sent")
    seen = []
    chunks = stream()
    assert await anext(chunks) == "streamer"
    assert who() == NOBODY
    await chunks.aclose()
    assert seen == ["streamer"]
    assert who() == NOBODY


async def test_coroutines():
    @attribute(agent="coder", user="u1")
    async def code(seconds):
        await asyncio.sleep(seconds)
        return who()

    assert inspect.iscoroutinefunction(code)
    assert (
        await asyncio.gather(*(code(0.001 * n) for n in range(20)))
        == [("coder", {"user": "u1"})] * 20
    )
    assert who() == NOBODY


@agent("writer")
def write(n):
    """Yield what is sent, and who pays."""
    got = None
    try:
        for _ in range(n):
            try:
                got = yield who()[0], got
            except KeyError as error:
                got = error.args[0]
        return "done"
    finally:
        ENDED.append(who()[0])


ENDED: list = []


def test_a_generator_pays_for_its_own_steps_and_its_reader_for_his():
    assert inspect.isgeneratorfunction(write)
    seen = []
    for name, _ in write(3):
        seen.append((name, who()[0]))
    assert seen == [("writer", None)] * 3
    with agent("reader"):
        for name, _ in write(2):
            assert (name, who()[0]) == ("writer", "reader")


def test_a_generator_is_sent_to_thrown_into_left_and_asked_for_its_result():
    made = write(5)
    assert next(made) == ("writer", None)
    assert made.send("word") == ("writer", "word")
    assert made.throw(KeyError("thrown")) == ("writer", "thrown")
    with pytest.raises(ValueError, match="theirs"):
        made.throw(ValueError("theirs"))
    ENDED.clear()
    left = write(5)
    next(left)
    left.close()
    assert ENDED == ["writer"]

    def result():
        return (yield from write(1))

    reading = result()
    next(reading)
    with pytest.raises(StopIteration) as end:
        next(reading)
    assert end.value.value == "done"


async def test_async_generators():
    @attribute(agent="writer", call_type="draft")
    async def write(n):
        got = None
        try:
            for _ in range(n):
                try:
                    got = yield who(), got
                except KeyError as error:
                    got = error.args[0]
        finally:
            await asyncio.sleep(0)
            ended.append(who())

    mine = ("writer", {"call_type": "draft"})
    ended = []
    assert inspect.isasyncgenfunction(write)
    async for one, _ in write(3):
        assert (one, who()) == (mine, NOBODY)
    made = write(5)
    await anext(made)
    assert await made.asend("word") == (mine, "word")
    assert await made.athrow(KeyError("thrown")) == (mine, "thrown")
    await made.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(made)
    failing = write(5)
    await anext(failing)
    with pytest.raises(ValueError, match="theirs"):
        await failing.athrow(ValueError("theirs"))
    assert ended == [mine] * 3


async def test_an_async_generator_that_is_read_in_other_tasks():
    @agent("writer")
    async def write():
        for _ in range(3):
            yield who()[0]

    made = write()
    seen = [await asyncio.create_task(anext(made)) for _ in range(3)]
    assert seen == ["writer"] * 3


# -- and what comes of it


def test_records_tell_who_paid(llm_standin, llm_records):
    instrument(otlp=False)

    @attribute(agent="analyst", call_type="chart_analysis", user="u1", session="s9")
    def analyse(client):
        client.chat.completions.create(**ASK)

    with openai.OpenAI() as client:
        analyse(client)
        with attribute(team="search"):
            client.chat.completions.create(**ASK)
        client.chat.completions.create(**ASK)
    assert [(record.agent, dict(record.labels)) for record in llm_records] == [
        ("analyst", {"call_type": "chart_analysis", "user": "u1", "session": "s9"}),
        ("unknown", {"team": "search"}),
        ("unknown", {}),
    ]


def test_a_label_that_is_allowed_is_on_the_metrics(llm_standin):
    registry = CollectorRegistry()
    runtime = instrument(otlp=False, registry=registry, metric_labels=("call_type",))
    with openai.OpenAI() as client, attribute(agent="a", call_type="chart", user="u1"):
        client.chat.completions.create(**ASK)
    runtime.flush()
    text = generate_latest(registry).decode()
    assert 'agent="a",call_type="chart"' in text
    assert "u1" not in text


def test_the_span_of_an_agent_framework_names_the_agent(llm_standin, llm_records):
    tracer = TracerProvider().get_tracer("framework")
    with openai.OpenAI() as client:
        with tracer.start_as_current_span("invoke_agent") as span:
            client.chat.completions.create(**ASK)
            span.set_attribute("gen_ai.agent.name", "researcher")
            client.chat.completions.create(**ASK)
            with agent("block"):
                client.chat.completions.create(**ASK)
        client.chat.completions.create(**ASK)
    assert [record.agent for record in llm_records] == [
        "unknown", "researcher", "block", "unknown",
    ]  # fmt: skip
