"""What the tests of the providers share: asking, and reading answers, as the seams do."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from otel_llm_usage import providers
from otel_llm_usage.records import KINDS, Reading, Request, Usage


class Played(NamedTuple):
    """An answer as it was read."""

    request: Request
    reader: Any
    readings: tuple[Reading, ...]

    @property
    def reading(self) -> Reading:
        (only,) = self.readings
        return only

    @property
    def usage(self) -> Usage:
        assert self.reading.usage is not None
        return self.reading.usage


_ASKED: Mapping[str, tuple[str, str, str]] = {
    "chat": ("openai", "/chat/completions", "https://api.openai.com/v1"),
    "completions": ("openai", "/completions", "https://api.openai.com/v1"),
    "responses": ("openai", "/responses", "https://api.openai.com/v1"),
    "embeddings": ("openai", "/embeddings", "https://api.openai.com/v1"),
    "images": ("openai", "/images/generations", "https://api.openai.com/v1"),
    "transcriptions": ("openai", "/audio/transcriptions", "https://api.openai.com/v1"),
    "speech": ("openai", "/audio/speech", "https://api.openai.com/v1"),
    "messages": ("anthropic", "/v1/messages", "https://api.anthropic.com"),
    "gemini": (
        "google",
        "models/gemini-2.5-flash:generateContent",
        "https://generativelanguage.googleapis.com/",
    ),
    "gemini-embeddings": (
        "google",
        "models/gemini-embedding-2:batchEmbedContents",
        "https://generativelanguage.googleapis.com/",
    ),
    "caches": ("google", "cachedContents", "https://generativelanguage.googleapis.com/"),
    "interactions": ("google", "interactions", "https://generativelanguage.googleapis.com/"),
}


def events_of(stream: str) -> list[tuple[str, str | None]]:
    """The data and the name of each event of a stream."""
    events = []
    for block in re.split(r"\r?\n\r?\n", stream):
        lines = block.splitlines()
        data = [line[5:].removeprefix(" ") for line in lines if line.startswith("data:")]
        names = [line[6:].strip() for line in lines if line.startswith("event:")]
        if data:
            events.append(("\n".join(data), names[0] if names else None))
    return events


Play = Callable[..., Played]


@pytest.fixture
def play() -> Play:
    """Ask for a shape, and read this answer: a body, or a list of events."""

    def play(
        shape: str,
        answer: Any,
        *,
        host: str | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Played:
        import json

        sdk, path, base_url = _ASKED[shape]
        request = providers.describe(
            sdk, "POST", path, body or {"model": "asked-for"}, base_url=host or base_url
        )
        assert request is not None
        reader = providers.reader(request)
        if headers:
            reader.headers(headers)
        if isinstance(answer, list):
            for event in answer:
                name = event.get("type") if isinstance(event, Mapping) else None
                data = event if isinstance(event, str) else json.dumps(event)
                reader.event(data.encode(), name)
        elif isinstance(answer, bytes | str):
            reader.body(answer)
        else:
            reader.body(json.dumps(answer))
        return Played(request, reader, reader.readings())

    return play


def inclusive(readings: tuple[Reading, ...]) -> dict[str, int]:
    """The inclusive numbers of all readings together, zero where nothing was told."""
    usages = [reading.usage for reading in readings if reading.usage is not None]
    sums = {kind: sum(getattr(usage, kind) or 0 for usage in usages) for kind in KINDS}
    whole = Usage(**sums)
    return {
        "input_tokens": whole.input_tokens or 0,
        "output_tokens": whole.output_tokens or 0,
        "cached_input_tokens": whole.cache_read_tokens or 0,
        "cache_write_tokens": whole.cache_write_tokens or 0,
        "cache_write_1h_tokens": sums["cache_write_1h"],
        "reasoning_tokens": sums["reasoning"],
        "tool_use_prompt_tokens": sums["input_tool_use"],
        "input_audio_tokens": sums["input_audio"] + sums["cache_read_audio"],
        "output_audio_tokens": sums["output_audio"],
        "input_image_tokens": sums["input_image"] + sums["cache_read_image"],
        "output_image_tokens": sums["output_image"],
    }


@pytest.fixture(name="inclusive")
def _inclusive() -> Callable[[tuple[Reading, ...]], dict[str, int]]:
    return inclusive


@pytest.fixture(name="events_of")
def _events_of() -> Callable[[str], list[tuple[str, str | None]]]:
    return events_of
