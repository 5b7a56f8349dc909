"""What belongs to the process is left as it was: logging, signals, environment, tracing, threads."""

import asyncio
import contextlib
import contextvars
import json
import logging
import sys
import threading
import warnings
from typing import Any

import pytest

from otel_llm_usage import agent, instrument, uninstrument
from otel_llm_usage.patching.observation import Observation
from otel_llm_usage.standin import StandIn

from .kit import CHAT, CONTENT, KEY, MESSAGE, PROMPT, Clients, instrumented, recorded, twice

SCRIPT = """
import atexit, gc, json, locale, logging, os, signal, sys, threading, time, warnings
import asyncio, contextvars, decimal, random, socket

def look():
    loggers = logging.Logger.manager.loggerDict
    return {
        "handlers": {
            name: [repr(type(h)) for h in logger.handlers]
            for name, logger in [("", logging.root), *loggers.items()]
            if getattr(logger, "handlers", None)
        },
        "levels": {
            name: logger.level
            for name, logger in [("", logging.root), *loggers.items()]
            if getattr(logger, "level", 0)
        },
        "disabled": [n for n, logger in loggers.items() if getattr(logger, "disabled", False)],
        "logging": [logging.root.manager.disable, repr(logging.getLoggerClass()),
                    repr(logging.getLogRecordFactory()), logging.raiseExceptions],
        "environment": dict(os.environ),
        "signals": {s.name: repr(signal.getsignal(s)) for s in signal.valid_signals()
                    if isinstance(s, signal.Signals)},
        "hooks": [repr(sys.excepthook), repr(sys.unraisablehook), repr(threading.excepthook),
                  repr(sys.displayhook), repr(sys.breakpointhook)],
        "tracing": [repr(sys.gettrace()), repr(sys.getprofile()), repr(threading.gettrace())],
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval(), gc.get_threshold(),
                   gc.isenabled(), gc.get_debug(), socket.getdefaulttimeout()],
        "asyncio": repr(type(asyncio.get_event_loop_policy())),
        "async hooks": [repr(h) for h in sys.get_asyncgen_hooks()],
        "warnings": [repr(f) for f in warnings.filters],
        "locale": [repr(locale.setlocale(locale.LC_ALL)), time.tzname],
        "decimal": repr(decimal.getcontext()),
        "random": hash(random.getstate()),
        "directory": os.getcwd(),
        "mask": os.umask(os.umask(0o22)),
        "stdout": [repr(sys.stdout), repr(sys.stderr)],
        "path": list(sys.path),
        "priority": os.nice(0),
    }

import openai, anthropic
from google import genai

def use():
    with openai.OpenAI() as client:
        ask = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "hi"}]}
        client.chat.completions.create(**ask)
        list(client.chat.completions.create(**ask, stream=True))
        next(client.chat.completions.create(**ask, stream=True))
    with anthropic.Anthropic() as client:
        ask = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": ask["messages"]}
        client.messages.create(**ask)
    with genai.Client() as client:
        client.models.generate_content(model="gemini-2.5-flash", contents="hi")
        list(client.models.generate_content_stream(model="gemini-2.5-flash", contents="hi"))

use()  # the SDKs have settled in
random.seed(1)
before = look()
"""


def test_the_process_is_left_as_it_was(python, llm_standin):
    said = python(
        SCRIPT
        + """
import otel_llm_usage
runtime = otel_llm_usage.instrument(otlp=False)
after_start = look()
state = random.getstate()
use()
random.setstate(state)
runtime.flush()
after_calls = look()
threads = [(t.name, t.daemon) for t in threading.enumerate() if t is not threading.main_thread()]
otel_llm_usage.uninstrument()
after_end = look()
print(json.dumps([
    {key: [before[key], seen[key]] for key in before if seen[key] != before[key]}
    for seen in (after_start, after_calls, after_end)
]))
print(json.dumps(threads))
""",
        PYTHONWARNINGS="ignore",
        **llm_standin.environment(),
    )
    changed, threads = (json.loads(line) for line in said.splitlines())
    assert changed == [{}, {}, {}]
    assert all(daemon for _, daemon in threads), threads


def test_no_thread_is_started_before_the_first_call(python, llm_standin):
    said = python(
        """
import threading
import otel_llm_usage
runtime = otel_llm_usage.instrument(otlp=False)
print(threading.active_count())
import openai
with openai.OpenAI() as client:
    client.models.list()
    print(threading.active_count())
""",
        PYTHONWARNINGS="ignore",
        **llm_standin.environment(),
    )
    assert said.split() == ["1", "1"]


def test_a_program_ends_as_soon_as_it_would(python, llm_standin):
    """No thread of ours holds it up, and what it has to say at its end, it says."""
    said = python(
        """
import atexit, threading
import otel_llm_usage
records = []
otel_llm_usage.instrument(otlp=False, sinks=[records.append])
import openai
client = openai.OpenAI()
stream = client.chat.completions.create(
    model="gpt-4.1-mini", messages=[{"role": "user", "content": "x"}], stream=True
)
next(stream)
print("end", all(t.daemon for t in threading.enumerate() if t is not threading.main_thread()))
""",
        PYTHONWARNINGS="ignore",
        **llm_standin.environment(),
    )
    assert said.split() == ["end", "True"]


# logging

WAYS: dict[str, Any] = {
    "chat": lambda c: c.gpt.chat.completions.create(**CHAT),
    "chat stream": lambda c: list(c.gpt.chat.completions.create(**CHAT, stream=True)),
    "chat stream, left": lambda c: next(c.gpt.chat.completions.create(**CHAT, stream=True)),
    "messages stream": lambda c: list(c.claude.messages.create(**MESSAGE, stream=True)),
    "gemini stream": lambda c: list(c.gemini.models.generate_content_stream(**CONTENT)),
    "gemini": lambda c: c.gemini.models.generate_content(**CONTENT),
}
FAULTS: dict[str, Any] = {
    "nothing": lambda s: None,
    "refused": lambda s: s.script(status=400, message=f"bad: {PROMPT}", times=2),
    "not JSON": lambda s: s.reply(f"<html>{PROMPT}</html>", times=2),
    "bad usage": lambda s: s.reply(
        {"id": "1", "object": "x", "choices": [], "usage": {"prompt_tokens": PROMPT}}, times=2
    ),
    "error in it": lambda s: s.reply({"error": {"type": PROMPT, "message": PROMPT}}, times=2),
    "hung up": lambda s: s.reply(PROMPT.encode(), chunks=3, cut_after=2, times=2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_log_record_of_ours_tells_a_prompt_or_a_key(fault, llm_standin, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("otel_llm_usage").setLevel(logging.DEBUG)
    try:
        with instrumented() as records, agent("planner"):
            for number, way in enumerate(WAYS.values()):
                FAULTS[fault](llm_standin)
                clients = Clients(llm_standin)
                with contextlib.suppress(Exception):
                    way(clients)
                clients.close()
                llm_standin.reset()
                recorded(records, number + 1)
    finally:
        logging.getLogger("otel_llm_usage").setLevel(logging.NOTSET)
    ours = [one for one in caplog.records if one.name.startswith("otel_llm_usage")]
    told = [one.getMessage() + repr(one.args) + (one.exc_text or "") for one in ours]
    told += [repr(record._replace(response_id=None)) for record in records]
    assert len(records) >= len(WAYS)
    for secret in (PROMPT, KEY, "secret"):
        assert not any(secret in one for one in told)


@pytest.mark.faults
def test_a_fault_of_ours_is_logged_without_what_was_asked(llm_standin, caplog, monkeypatch):
    def fail(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a fault of ours")

    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(Observation, "_outcome", fail)
    with instrumented() as records:
        clients = Clients(llm_standin)
        for way in WAYS.values():
            way(clients)
        clients.close()
        recorded(records, len(WAYS))
    said = [one for one in caplog.records if one.name == "otel_llm_usage" and one.exc_info]
    assert said
    for one in said:
        formatted = logging.Formatter("%(message)s").format(one)
        assert PROMPT not in formatted
        assert KEY not in formatted


def test_a_good_call_logs_nothing_and_warns_of_nothing(llm_standin, caplog):
    caplog.set_level(logging.DEBUG, logger="otel_llm_usage")
    with warnings.catch_warnings(record=True) as warned, instrumented() as records:
        warnings.simplefilter("always")
        clients = Clients(llm_standin)
        for way in WAYS.values():
            way(clients)
        clients.close()
        recorded(records, len(WAYS))
    assert [one for one in caplog.records if one.name.startswith("otel_llm_usage")] == []
    ours = [one for one in warned if "otel_llm_usage" in one.filename]
    assert ours == []


# tracing


def test_a_tracer_of_the_application_is_called_as_before():
    """`settrace` is what debuggers and coverage use: it sees the application's lines as it did."""

    def program(clients):
        lines: list[int] = []

        def trace(frame, event, argument):
            if frame.f_code is traced.__code__:
                lines.append((event, frame.f_lineno))
                return trace
            return None

        def traced():
            answer = clients.gpt.chat.completions.create(**CHAT)
            stream = clients.claude.messages.create(**MESSAGE, stream=True)
            for _ in stream:
                pass
            return answer

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            traced()
            assert sys.gettrace() is trace
        finally:
            sys.settrace(before)
        return [(event, line - traced.__code__.co_firstlineno) for event, line in lines]

    both = twice(program)
    assert both.with_us == both.without
    assert len(both.without) > 5


# asyncio


def test_the_debug_mode_of_asyncio_has_nothing_to_complain_of(caplog):
    caplog.set_level(logging.DEBUG, logger="asyncio")
    complaints: list[Any] = []

    async def main(standin):
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 60  # how slow this machine is is not our affair
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        clients = Clients(standin)
        await clients.async_gpt.chat.completions.create(**CHAT)
        stream = await clients.async_gpt.chat.completions.create(**CHAT, stream=True)
        assert [one async for one in stream]
        stream = await clients.async_claude.messages.create(**MESSAGE, stream=True)
        await anext(stream)
        await stream.close()
        for content in (
            await clients.gemini.aio.models.generate_content_stream(**CONTENT),
            await clients.gemini.aio.models.generate_content_stream(**CONTENT),
        ):
            await anext(content)
            await content.aclose()
        standin.script(status=400)
        with pytest.raises(Exception, match="400"):
            await clients.async_gpt.chat.completions.create(**CHAT)
        await clients.aclose()

    with warnings.catch_warnings(), instrumented() as records:
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Inheritance class Aiohttp")
        with StandIn() as standin:
            asyncio.run(main(standin), debug=True)
        recorded(records, 6)
    assert complaints == []
    assert [one.getMessage() for one in caplog.records if one.levelno > logging.DEBUG] == []


def test_a_loop_that_is_not_asyncios_default_and_one_per_call(llm_standin):
    """An application that runs a new loop for each call."""
    with instrumented() as records:
        for _ in range(5):

            async def once():
                clients = Clients(llm_standin)
                stream = await clients.async_gpt.chat.completions.create(**CHAT, stream=True)
                got = [one async for one in stream]
                await clients.aclose()
                return got

            assert asyncio.run(once())
        recorded(records, 5)
    assert {record.usage_source for record in records} == {"reported"}


def test_a_context_of_the_applications_is_passed_on_untouched():
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="none")

    def program(clients):
        seen = []
        token = mine.set("outer")
        clients.gpt.chat.completions.create(**CHAT)
        stream = clients.gpt.chat.completions.create(**CHAT, stream=True)
        mine.set("inner")
        list(stream)
        seen.append(mine.get())
        mine.reset(token)
        seen.append(mine.get())
        names = {
            variable.name
            for variable, value in contextvars.copy_context().items()
            if value is not None and variable.name.startswith("otel_llm_usage")
        }
        return seen, names

    both = twice(program)
    assert both.without[0] == ["inner", "none"]
    assert both.with_us == both.without


def test_instrumenting_from_a_thread_and_calling_from_others_is_the_same(llm_standin):
    records: list[Any] = []
    failures: list[BaseException] = []

    def guarded(work):
        def run():
            try:
                work()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    def call():
        clients = Clients(llm_standin)
        clients.gpt.chat.completions.create(**CHAT)
        clients.close()

    guarded(lambda: instrument(sinks=[records.append], otlp=False))
    try:
        guarded(call)
        recorded(records, 1)
    finally:
        guarded(uninstrument)
    assert failures == []
    assert len(records) == 1
