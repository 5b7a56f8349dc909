"""Agents that no block names: from the spans of frameworks, and from whose code makes the call."""

import asyncio
import sys
from types import ModuleType

import anthropic
import openai
import pytest
from google import genai
from google.genai import types
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_llm_usage import ConfigurationError, agent, instrument
from otel_llm_usage.callers import Callers

ASK = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def ask(llm_standin):
    with openai.OpenAI() as client:
        yield lambda: client.chat.completions.create(**ASK)


def agents(records):
    return [record.agent for record in records]


# ------------------------------------------------------------ spans


@pytest.mark.parametrize("sampler", [None, ALWAYS_OFF], ids=["sampled", "not sampled"])
@pytest.mark.parametrize(
    "named",
    [
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "researcher"},
        {"openinference.span.kind": "AGENT", "agent.name": "researcher"},
        {"crewai.agent.role": "researcher"},
        {"traceloop.span.kind": "agent", "traceloop.entity.name": "researcher"},
    ],
    ids=["conventions", "openinference", "crewai", "openllmetry"],
)
def test_spans_inside_an_agents_span_are_the_agents(ask, llm_records, named, sampler):
    # as LangChain's and CrewAI's instrumentations do: agent > task > step > the call
    tracer = TracerProvider(sampler=sampler).get_tracer("framework")
    with tracer.start_as_current_span("crew"):
        ask()
        with tracer.start_as_current_span("invoke_agent", attributes=named):
            with (
                tracer.start_as_current_span("task", attributes={"traceloop.span.kind": "task"}),
                tracer.start_as_current_span("step"),
            ):
                ask()
                with agent("block"):
                    ask()
            inner = {"gen_ai.agent.name": "coder"}
            with (
                tracer.start_as_current_span("invoke_agent", attributes=inner),
                tracer.start_as_current_span("step"),
            ):
                ask()
            ask()
        ask()
    assert agents(llm_records) == [
        "unknown",
        "researcher",
        "block",
        "coder",
        "researcher",
        "unknown",
    ]


def test_a_span_that_is_given_its_parent_has_that_ones_agent(ask, llm_records):
    tracer = TracerProvider().get_tracer("framework")
    outer = tracer.start_span("invoke_agent", attributes={"gen_ai.agent.name": "researcher"})
    step = tracer.start_span("step", trace.set_span_in_context(outer))
    with trace.use_span(step):
        ask()
    assert agents(llm_records) == ["researcher"]


def test_an_entity_that_is_no_agent_names_none(ask, llm_records):
    tracer = TracerProvider().get_tracer("framework")
    named = {"traceloop.span.kind": "workflow", "traceloop.entity.name": "shop"}
    with tracer.start_as_current_span("shop", attributes=named):
        ask()
    assert agents(llm_records) == ["unknown"]


def test_nothing_is_left_of_us_in_tracers(llm_standin):
    runtime = instrument(otlp=False)
    tracer = TracerProvider().get_tracer("framework")
    assert hasattr(type(tracer).start_span, "__wrapped__")
    runtime.close()
    assert not hasattr(type(tracer).start_span, "__wrapped__")


# ------------------------------------------------------------ work that outlives its block


async def test_a_task_that_outlives_the_block_is_its_makers(llm_standin, llm_records):
    go = asyncio.Event()
    async with openai.AsyncOpenAI() as client:

        async def later(name):
            await go.wait()
            await client.chat.completions.create(**ASK)
            return name

        with agent("planner"):
            tasks = [asyncio.create_task(later("a"))]
            with agent("critic"):
                tasks.append(asyncio.create_task(later("b")))
        go.set()
        await asyncio.gather(*tasks, client.chat.completions.create(**ASK))
    assert sorted(agents(llm_records)) == ["critic", "planner", "unknown"]


async def test_gathered_agents_do_not_mix(llm_standin, llm_records):
    async with openai.AsyncOpenAI() as client:

        @agent("planner")
        async def plan():
            return await client.chat.completions.create(**ASK)

        async def play(name):
            with agent(name):
                await asyncio.sleep(0)
                await client.chat.completions.create(**ASK)

        await asyncio.gather(plan(), play("critic"), plan(), play("writer"))
    assert sorted(agents(llm_records)) == ["critic", "planner", "planner", "writer"]


async def test_work_of_an_executor_is_whose_it_was(ask, llm_records):
    loop = asyncio.get_running_loop()
    with agent("planner"):
        await asyncio.gather(loop.run_in_executor(None, ask), asyncio.to_thread(ask))
    await loop.run_in_executor(None, ask)
    assert agents(llm_records) == ["planner", "planner", "unknown"]


def test_a_tool_that_calls_a_model_again_is_whose_turn_it_is(ask, llm_standin, llm_records):
    @agent("tool")
    def look_up(topic: str) -> str:
        """Look a topic up."""
        ask()
        return f"facts about {topic}"

    def note(topic: str) -> str:
        """Note a topic."""
        ask()
        return "noted"

    with genai.Client() as client:
        for tool, expected in ((look_up, "tool"), (note, "researcher")):
            llm_records.clear()
            chat = client.chats.create(
                model="gemini-2.5-flash", config=types.GenerateContentConfig(tools=[tool])
            )
            with agent("researcher"):
                chat.send_message("Find out.")
            inside = [one.agent for one in llm_records if one.provider == "openai"]
            assert inside
            assert set(inside) == {expected}
            turns = [one.agent for one in llm_records if one.provider == "gcp.gemini"]
            assert len(turns) > 1
            assert set(turns) == {"researcher"}


# ------------------------------------------------------------ whose code it is


def module(name, source, monkeypatch, **names):
    made = ModuleType(name)
    vars(made).update(names)
    exec(compile(source, f"{name}.py", "exec"), vars(made))
    monkeypatch.setitem(sys.modules, name, made)
    return made


CODE = """
def plan():
    return ask()

class Writer:
    def write(self):
        return [ask() for _ in range(1)][0]

    async def write_later(self):
        return await ask_async()

def make():
    def inside():
        return ask()
    return inside

def delegate(function):
    return function()
"""


async def test_calls_of_named_code_are_its_agents(ask, llm_standin, monkeypatch):
    records = []
    runtime = instrument(
        otlp=False,
        agent="nobody",
        agents={
            "shop": "shop",
            "shop.plans.plan": "planner",
            "shop.plans.Writer": "writer",
            "shop.plans.make.inside": "maker",
        },
        sinks=[records.append],
    )
    async with anthropic.AsyncAnthropic() as client:
        shop = module(
            "shop.plans",
            CODE,
            monkeypatch,
            ask=ask,
            ask_async=lambda: client.messages.create(
                model="claude-haiku-4-5", max_tokens=10, messages=ASK["messages"]
            ),
        )
        shop.plan()
        shop.Writer().write()
        await shop.Writer().write_later()
        await asyncio.create_task(shop.Writer().write_later())
        shop.make()()
        shop.delegate(ask)
        shop.delegate(shop.plan)
        with agent("block"):
            shop.plan()
        tracer = TracerProvider().get_tracer("framework")
        named = {"gen_ai.agent.name": "framework"}
        with tracer.start_as_current_span("invoke_agent", attributes=named):
            shop.plan()
            ask()
        ask()
    runtime.flush()
    assert agents(records) == [
        "planner", "writer", "writer", "writer", "maker", "shop", "planner",
        "block", "planner", "framework", "nobody",
    ]  # fmt: skip


def test_a_name_that_only_begins_alike_is_another(monkeypatch):
    callers = Callers({"shop": "shop"})
    other = module("shopping", "def look(): return callers.agent()", monkeypatch, callers=callers)
    assert other.look() is None


def test_code_of_two_modules_that_is_alike_has_two_agents(monkeypatch):
    callers = Callers({"shop.plan": "planner", "shop.write": "writer"})
    made = [
        module(name, "def look(): return callers.agent()", monkeypatch, callers=callers)
        for name in ("shop.plan", "shop.write", "shop.read")
    ]
    assert [one.look() for one in made] == ["planner", "writer", None]


def test_functions_made_without_end_are_forgotten(monkeypatch):
    callers = Callers({"shop": "shop"})
    for place in range(5_000):
        made = module(
            f"shop.m{place}", "def look(): return callers.agent()", monkeypatch, callers=callers
        )
        assert made.look() == "shop"
    assert len(callers._known) < 5_000


@pytest.mark.parametrize(
    "agents", [{"": "a"}, {"a b": "a"}, {"shop.": "a"}, {"shop": ""}, {1: "a"}]
)
def test_names_of_code_that_cannot_be(agents):
    with pytest.raises(ConfigurationError, match="agents: "):
        instrument(otlp=False, agents=agents)
    assert not context.get_current()


def test_names_of_code_from_the_environment(monkeypatch, ask):
    monkeypatch.setenv("OTEL_LLM_USAGE_AGENTS", f"{__name__}=tests")
    records = []
    runtime = instrument(otlp=False, sinks=[records.append])
    ask()
    runtime.flush()
    assert agents(records) == ["tests"]
