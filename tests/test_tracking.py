"""Usage scopes: each equals the stand-in's ledger for exactly its calls."""

import asyncio
import gc
import json
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from decimal import Decimal

import anthropic
import openai
import pytest
from google import genai
from opentelemetry import context

from otel_llm_usage import (
    agent,
    attribute,
    close_tracker,
    get_or_create_tracker,
    instrument,
    track,
)
from otel_llm_usage.standin import Answer
from otel_llm_usage.sums import Sums
from otel_llm_usage.tracking import Trackers, UsageScope

HELLO = [{"role": "user", "content": "hello"}]
CHAT = {"model": "gpt-4.1", "messages": HELLO}
CLAUDE = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": HELLO}


@pytest.fixture
def gpt(llm_standin):
    instrument(otlp=False)
    with openai.OpenAI() as client:
        yield lambda **more: client.chat.completions.create(**CHAT, **more)


@pytest.fixture
def claude(llm_standin):
    with anthropic.Anthropic() as client:
        yield lambda: client.messages.create(**CLAUDE)


def tagged(llm_standin, tag):
    return [bill for bill in llm_standin.ledger if bill.tag == tag]


def test_a_scope_tells_what_its_calls_used_and_cost(llm_standin, gpt, claude):
    gpt()
    before = len(llm_standin.ledger)
    with track("analysis-123", symbol="RELIANCE") as usage:
        with agent("planner"), attribute(call_type="plan"):
            gpt()
            assert usage.total.calls == 1  # read while it is open
        with agent("writer"):
            claude()
            claude()
    gpt()
    bills = list(llm_standin.ledger)[before:-1]
    total = usage.total
    assert (total.calls, total.successes, total.failures, total.aborted) == (3, 3, 0, 0)
    assert total.total_tokens == sum(sum(bill.usage.values()) for bill in bills)
    assert total.cost_usd == sum((bill.usd for bill in bills), Decimal(0))
    assert total.average_tokens == total.total_tokens / 3
    assert usage.by_agent.keys() == {"planner", "writer"}
    assert usage.by_agent["writer"].cost_usd == bills[1].usd + bills[2].usd
    assert usage.by_call_type["plan"].calls == 1
    assert usage.by_call_type[""].calls == 2
    assert usage.by_provider.keys() == {"openai", "anthropic"}
    (gpt_name,) = usage.models_of("planner")
    assert usage.agents_of(gpt_name) == ("planner",)
    assert usage.by_agent_and_model["planner", gpt_name].calls == 1
    dearest = max(usage.by_agent, key=lambda name: usage.by_agent[name].cost_usd)
    assert usage.most_expensive_agent == dearest
    assert [dict(record.labels).get("symbol") for record in usage.records] == ["RELIANCE"] * 3
    parts = sum(part.pico for part in usage.by_agent.values())
    assert parts == total.pico


def test_a_child_counts_in_its_parent_and_the_same_scope_once(gpt):
    with track("outer") as outer:
        gpt()
        with track("inner") as inner:
            gpt()
            with outer:
                gpt()
    assert (outer.total.calls, inner.total.calls) == (3, 2)


def test_failures_and_streams_that_are_left(llm_standin, gpt):
    with track() as usage:
        llm_standin.script(Answer(status=400))
        with pytest.raises(openai.BadRequestError):
            gpt()
        with gpt(stream=True, stream_options={"include_usage": True}) as stream:
            next(iter(stream))
        gpt()
    total = usage.total
    assert (total.calls, total.successes, total.failures, total.aborted) == (3, 1, 1, 1)
    assert usage.to_dict()["call_details"][0]["error_type"] == "400"


def test_a_stream_belongs_to_the_scope_in_which_it_was_made(gpt):
    with track() as usage:
        stream = gpt(stream=True)
    for _ in stream:
        pass
    assert usage.total.calls == 1
    assert usage.total.cost_usd > 0


def test_a_call_without_a_price_makes_the_cost_unknown_and_not_zero(llm_standin):
    instrument(otlp=False)
    with openai.OpenAI() as client, track() as usage:
        client.chat.completions.create(**CHAT)
        known = usage.total.cost_usd
        client.chat.completions.create(model="nobody-knows-1", messages=HELLO)
    total = usage.total
    assert (total.cost_usd, total.known_cost_usd, total.unpriced) == (None, known, 1)
    assert total.cost_text == f"at least ${known:f} (1 unpriced)"


def test_to_dict_is_json_and_adds_up(gpt):
    with track("a1", team="search") as usage, agent("a"):
        gpt()
        gpt()
    said = json.loads(json.dumps(usage.to_dict()))
    assert said["schema"] == "otel-llm-usage/scope/1"
    assert (said["id"], said["labels"]) == ("a1", {"team": "search"})
    assert said["total"]["calls"] == len(said["call_details"]) == 2
    assert Decimal(said["total"]["cost_usd"]) == sum(
        Decimal(call["cost_usd"]) for call in said["call_details"]
    )
    assert said["total"]["total_tokens"] == sum(said["total"]["tokens"].values())
    assert said["by_agent_and_model"][0]["agent"] == "a"


def test_the_records_of_a_scope_are_bounded_and_its_sums_are_not(gpt):
    usage = UsageScope("small", most_calls=2)
    with usage:
        for _ in range(5):
            gpt()
    assert (usage.total.calls, len(usage.records), usage.dropped) == (5, 2, 3)
    assert usage.to_dict()["calls_dropped"] == 3


def test_groups_are_bounded(gpt, llm_records):
    for number in range(10):
        with agent(f"agent {number}"):
            gpt()
    sums = Sums(most=3)
    for record in llm_records:
        sums.add(record)
    assert sums.total.calls == 10
    assert sums.by_one("agent")["other"].calls == 7


async def test_concurrent_scopes_do_not_bleed(llm_standin):
    """Two hundred: threads and tasks mixed, nested, with streams that are finished elsewhere."""
    instrument(otlp=False)
    left: list[threading.Thread] = []
    expected: dict[int, int] = {}
    found: dict[int, UsageScope] = {}
    everything = track("everything")
    client = openai.OpenAI(max_retries=0)
    asyncs = openai.AsyncOpenAI(max_retries=0)

    def of(number):
        return {"model": "gpt-4.1", "messages": HELLO, "extra_headers": {"x-tag": str(number)}}

    def in_thread(number):
        with track(str(number)) as usage, agent(f"agent {number % 7}"):
            found[number] = usage
            for _ in range(number % 3 + 1):
                client.chat.completions.create(**of(number))
            stream = client.chat.completions.create(**of(number), stream=True)
            expected[number] = number % 3 + 2
        reading = threading.Thread(target=lambda: [None for _ in stream])
        left.append(reading)
        reading.start()

    async def in_task(number):
        with track(str(number)) as usage, agent(f"agent {number % 7}"):
            found[number] = usage
            calls = [asyncs.chat.completions.create(**of(number)) for _ in range(number % 3)]
            await asyncio.gather(*calls)
            with track() as inner:
                stream = await asyncs.chat.completions.create(**of(number), stream=True)
            expected[number] = number % 3 + 1

        async def read():
            async for _ in stream:
                pass

        await asyncio.create_task(read(), context=copy_context())
        assert inner.total.calls == 1

    with everything, ThreadPoolExecutor(16) as pool:
        loop = asyncio.get_running_loop()
        places = [copy_context() for _ in range(100)]
        threads = [
            loop.run_in_executor(pool, place.run, in_thread, number)
            for number, place in enumerate(places)
        ]
        tasks = [in_task(number) for number in range(100, 200)]
        await asyncio.gather(*threads, *tasks)
    for thread in left:
        thread.join()
    client.close()
    await asyncs.close()
    assert {number: usage.total.calls for number, usage in found.items()} == expected
    total = everything.total
    assert total.calls == sum(expected.values()) == len(llm_standin.ledger)
    assert total.cost_usd == llm_standin.ledger.usd()
    assert total.pico == sum(usage.total.pico for usage in found.values())
    assert total.pico == sum(part.pico for part in everything.by_agent.values())
    assert total.total_tokens == sum(llm_standin.ledger.usage().values())


def test_a_scope_that_nobody_holds_is_gone(gpt):
    def once():
        with track() as usage:
            gpt()
        assert usage.total.calls == 1
        return weakref.ref(usage)

    gone = once()
    gc.collect()
    assert gone() is None
    assert context.get_current() == {}


# -- scopes by their ids


def test_a_tracker_is_found_by_its_id_until_it_is_closed(gpt):
    first = get_or_create_tracker("a1", symbol="X")
    with first:
        gpt()
    again = get_or_create_tracker("a1", symbol="ignored")
    assert again is first
    with again:
        gpt()
    closed = close_tracker("a1")
    assert closed is first
    assert closed.total.calls == 2
    assert close_tracker("a1") is None
    assert get_or_create_tracker("a1") is not first
    close_tracker("a1")


def test_trackers_are_bounded_and_expire():
    clock = [0.0]
    trackers = Trackers(most=3, seconds=10.0, now=lambda: clock[0])
    first = trackers.get_or_create("0", {})
    for number in range(1, 5):
        trackers.get_or_create(str(number), {})
    assert len(trackers) == 3
    assert trackers.get_or_create("0", {}) is not first
    kept = trackers.get_or_create("4", {})
    clock[0] = 9.0
    assert trackers.get_or_create("4", {}) is kept
    clock[0] = 18.0
    assert trackers.get_or_create("4", {}) is kept
    clock[0] = 40.0
    assert trackers.get_or_create("new", {}) is not None
    assert len(trackers) == 1


def test_a_full_registry_is_not_gone_through_each_time():
    def lines(trackers):
        """How many lines of Python one question runs."""
        counted = [0]

        def trace(frame, event, argument):
            counted[0] += event == "line"
            return trace

        sys.settrace(trace)
        try:
            trackers.get_or_create("a5", {})
        finally:
            sys.settrace(None)
        return counted[0]

    few, many = Trackers(), Trackers()
    for number in range(9_999):
        many.get_or_create(f"a{number}", {})
    for number in range(9):
        few.get_or_create(f"a{number}", {})
    assert lines(many) == lines(few)


def test_threads_that_ask_for_the_same_id_get_the_same_scope():
    trackers = Trackers()
    with ThreadPoolExecutor(8) as pool:
        got = set(pool.map(lambda _: trackers.get_or_create("a", {}), range(200)))
    assert len(got) == 1


@pytest.mark.parametrize("bad", ["", 7])
def test_an_id_is_a_name(bad):
    with pytest.raises(TypeError, match="not empty"):
        track(bad)
    with pytest.raises(TypeError, match="not empty"):
        get_or_create_tracker(bad)


def test_a_tracker_without_an_id_is_refused():
    with pytest.raises(TypeError, match="get_or_create_tracker"):
        get_or_create_tracker(None)


def test_a_scope_that_overlaps_another_one_gathers_nothing_when_it_is_left(llm_standin, gpt):
    def steps(usage):
        with usage:
            gpt()
            yield

    first, second = track("first"), track("second")
    one, other = steps(first), steps(second)
    next(one)
    next(other)
    list(one)
    gpt()  # the second is still open
    list(other)
    gpt()
    assert (first.total.calls, second.total.calls) == (2, 2)


def test_a_scope_around_a_generator_gathers_its_steps_in_whatever_contexts(llm_standin, gpt):
    # as web frameworks do, which run each step in a thread of a pool
    usage = track("stream")

    @usage
    def steps():
        for _ in range(3):
            gpt()
            yield

    made = steps()
    for _ in range(3):
        copy_context().run(next, made)
    assert list(made) == []
    gpt()
    assert usage.total.calls == 3


def test_a_summary_says_of_how_many_calls_nobody_told_the_tokens(llm_standin):
    instrument(otlp=False)
    with genai.Client() as client, track() as usage:
        client.models.embed_content(model="gemini-embedding-001", contents="hello")
        client.models.embed_content(model="gemini-embedding-2", contents="hello")
    silent, told = llm_standin.ledger
    assert (silent.reported, told.reported) == (False, True)
    total = usage.token_summary()["grand_total"]
    assert (total["calls"], total["missing_usage"]) == (2, 1)
    assert total["total_tokens"] == told.usage["input"]
    assert total["estimated_cost_usd"] is None
    assert [one["missing_usage"] for one in usage.token_usage()] == [1, 0]
