"""Who pays, carried into threads and pools; everything else of the context stays where it is."""

import asyncio
import gc
import inspect
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider

from otel_llm_usage import agent, attribute, instrument, track, uninstrument
from otel_llm_usage.scope import payer, scopes


def who(*_):
    name, labels = payer()
    return name, dict(labels)


NOBODY = (None, {})


@pytest.fixture
def _instrumented():
    instrument(otlp=False)


def in_a_thread(make=threading.Thread):
    seen = []
    thread = make(target=lambda: seen.append(who()))
    thread.start()
    thread.join()
    return seen[0]


@pytest.mark.usefixtures("_instrumented")
def test_a_thread_is_charged_to_who_starts_it():
    thread = threading.Thread(target=lambda: None)
    with attribute(agent="planner", user="u1"):
        assert in_a_thread() == ("planner", {"user": "u1"})
        thread.start()
    thread.join()
    assert in_a_thread() == NOBODY
    assert "run" not in vars(thread)


@pytest.mark.usefixtures("_instrumented")
def test_a_timer_and_a_thread_with_a_run_of_its_own():
    seen = []

    class Mine(threading.Thread):
        def run(self):
            seen.append(who())

    with agent("planner"):
        timer = threading.Timer(0.001, lambda: seen.append(who()))
        mine = Mine()
        timer.start()
        mine.start()
    timer.join()
    mine.join()
    assert seen == [("planner", {})] * 2


@pytest.mark.usefixtures("_instrumented")
def test_the_threads_of_a_pool_work_for_whoever_hands_in_the_work():
    with ThreadPoolExecutor(1) as pool:
        with agent("first"):
            assert pool.submit(who).result() == ("first", {})
        assert pool.submit(who).result() == NOBODY
        with attribute(agent="second", team="a"):
            assert list(pool.map(who, range(3))) == [("second", {"team": "a"})] * 3
            assert pool.submit(who, 1).result()[0] == "second"
        assert pool.submit(who).result() == NOBODY
        with pytest.raises(TypeError):
            pool.submit()


@pytest.mark.usefixtures("_instrumented")
async def test_an_event_loops_executors():
    loop = asyncio.get_running_loop()
    with agent("planner"), ThreadPoolExecutor(2) as pool:
        assert await loop.run_in_executor(None, who) == ("planner", {})
        assert await loop.run_in_executor(pool, who) == ("planner", {})
        assert await asyncio.to_thread(who) == ("planner", {})
    assert await loop.run_in_executor(None, who) == NOBODY


@pytest.mark.usefixtures("_instrumented")
def test_errors_and_results_are_those_of_the_work():
    def fail(word, *, loud):
        raise KeyError(word, loud)

    with agent("planner"), ThreadPoolExecutor(1) as pool:
        failed = pool.submit(fail, "word", loud=True)
        assert failed.exception().args == ("word", True)


@pytest.mark.usefixtures("_instrumented")
def test_nothing_but_who_pays_is_carried():
    key = context.create_key("theirs")
    span = TracerProvider().get_tracer("test").start_span("theirs")
    token = context.attach(context.set_value(key, 1, trace.set_span_in_context(span)))
    try:
        with agent("planner"), ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: context.get_value(key)).result() is None
            seen = pool.submit(trace.get_current_span).result()
            assert seen is not span
    finally:
        context.detach(token)


@pytest.mark.usefixtures("_instrumented")
def test_a_scope_goes_along_and_is_not_kept():
    def once():
        with track() as usage, ThreadPoolExecutor(1) as pool:
            found = pool.submit(lambda: scopes(context.get_current())).result()
            assert found == (usage,)
            thread = threading.Thread(target=lambda: None)
            thread.start()
        thread.join()
        return weakref.ref(usage)

    gone = once()
    gc.collect()
    assert gone() is None


def test_it_can_be_left_to_others_and_ends_with_us():
    instrument(otlp=False, threads=False)
    with agent("planner"):
        assert in_a_thread() == NOBODY
    uninstrument()
    instrument(otlp=False)
    with agent("planner"):
        assert in_a_thread() == ("planner", {})
    uninstrument()
    with agent("planner"):
        assert in_a_thread() == NOBODY
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(who).result() == NOBODY


@pytest.mark.usefixtures("_instrumented")
def test_the_methods_stay_what_they_are():
    assert str(inspect.signature(ThreadPoolExecutor.submit)) == "(self, fn, /, *args, **kwargs)"
    assert pickle.loads(pickle.dumps(ThreadPoolExecutor.submit)) is not None
    assert threading.Thread.start.__name__ == "start"
