"""A program that is run without us and with us, and what it saw both times."""

import asyncio
import contextlib
import gc
import importlib
import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import anthropic
import openai
from google import genai
from google.genai import types

from otel_llm_usage import Record, instrument, uninstrument
from otel_llm_usage.runtime import current
from otel_llm_usage.standin import StandIn

PROMPT = "The secret of the lake house"
KEY = "key-of-the-application"
MESSAGES: Any = [{"role": "user", "content": PROMPT}]
CHAT: dict[str, Any] = {"model": "gpt-4.1-mini", "messages": MESSAGES}
MESSAGE: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": MESSAGES}
CONTENT: dict[str, Any] = {"model": "gemini-2.5-flash", "contents": PROMPT}


class Clients:
    """The SDKs' clients, sync and async, made when they are asked for and closed at the end."""

    def __init__(self, standin: StandIn, **options: Any) -> None:
        self.standin = standin
        self._options = {"api_key": KEY, "max_retries": 0, **options}
        self._made: dict[str, Any] = {}

    def _one(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _stainless(self, kind: Any, path: str = "") -> Any:
        url = self.standin.url + path
        return self._one(kind.__name__, lambda: kind(base_url=url, **self._options))

    @property
    def gpt(self) -> openai.OpenAI:
        return self._stainless(openai.OpenAI, "/v1")

    @property
    def async_gpt(self) -> openai.AsyncOpenAI:
        return self._stainless(openai.AsyncOpenAI, "/v1")

    @property
    def claude(self) -> anthropic.Anthropic:
        return self._stainless(anthropic.Anthropic)

    @property
    def async_claude(self) -> anthropic.AsyncAnthropic:
        return self._stainless(anthropic.AsyncAnthropic)

    @property
    def gemini(self) -> genai.Client:
        options = types.HttpOptions(base_url=self.standin.url)
        return self._one("genai", lambda: genai.Client(api_key=KEY, http_options=options))

    def close(self) -> None:
        for client in self._made.values():
            closed = client.close()
            assert not inspect.isawaitable(closed), "an async client is closed by `aclose`"
        self._made.clear()

    async def aclose(self) -> None:
        for client in self._made.values():
            if isinstance(client, genai.Client):
                await client.aio.aclose()
            closed = client.close()
            if inspect.isawaitable(closed):
                await closed


class Both(NamedTuple):
    """What a program saw, and what we recorded of it."""

    without: Any
    with_us: Any
    records: list[Record]


@contextmanager
def instrumented(**settings: Any) -> Iterator[list[Record]]:
    """With us, and everything recorded at the end."""
    records: list[Record] = []
    instrument(sinks=[records.append], otlp=False, **settings)
    try:
        yield records
    finally:
        flush()
        uninstrument()


def flush() -> None:
    """Let our own threads hand over what they have."""
    runtime = current()
    if runtime is not None:
        runtime.flush()


def recorded(records: list[Record], count: int) -> list[Record]:
    """Wait until there are so many records; collect what nobody holds any more."""
    for turn in range(1000):
        flush()
        if len(records) >= count:
            return records
        if turn % 20 == 0:
            gc.collect()
        time.sleep(0.005)
    raise AssertionError(f"{len(records)} of {count} records came")


def twice(program: Callable[[Clients], Any], **settings: Any) -> Both:
    """Run a program without us, then with us, each time with clients and a provider of its own."""
    without = _run(program)
    with instrumented(**settings) as records:
        with_us = _run(program)
    return Both(without, with_us, records)


def _run(program: Callable[[Clients], Any]) -> Any:
    with StandIn() as standin:
        clients = Clients(standin)
        if not inspect.iscoroutinefunction(program):
            try:
                return program(clients)
            finally:
                clients.close()

        async def main() -> Any:
            try:
                return await program(clients)
            finally:
                await clients.aclose()

        return asyncio.run(main())


def places() -> dict[str, tuple[Any, str]]:
    """Every place that is patched: the class or module, and the name of what stands in it."""
    runtime = current()
    assert runtime is not None
    for seam in runtime.engine.states:
        with contextlib.suppress(ModuleNotFoundError):  # this version has it not
            importlib.import_module(seam.module)
    found = {}
    for seam, state in runtime.engine.states.items():
        if state == "patched":
            owner: Any = importlib.import_module(seam.module)
            *parents, name = seam.path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            found[seam.name] = (owner, name)
    return found
