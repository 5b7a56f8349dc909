"""What OpenAI's API and its many cousins bill: chat, completions, responses, images, audio."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..records import MAPPING, Reading, Request, Usage
from . import tiers
from .kinds import NOT_TOLD, Modal, split_input, split_output
from .reading import BaseReader, error_type, last_object, note_once
from .texts import characters
from .values import (
    EMPTY,
    count,
    first_count,
    mappings,
    parsed,
    parsed_at,
    quantity,
    section,
    text,
    utf8,
    word,
)

_PROMPT = ("prompt_tokens", "input_tokens")
_ANSWER = ("completion_tokens", "output_tokens")
_PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_ANSWER_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_CACHED = (
    "cached_tokens",  # Together, Moonshot; OpenAI has it inside the details
    "prompt_cache_hit_tokens",  # DeepSeek
    "num_cached_tokens",  # Mistral
    "cache_read_input_tokens",  # Databricks
)
_WRITTEN = ("cache_write_tokens", "cache_creation_input_tokens", "cache_creation_tokens")
_COUNTS = (*_PROMPT, *_ANSWER, "total_tokens", *_CACHED)


class _Counts(NamedTuple):
    """An OpenAI-shaped usage as it says, inclusive."""

    prompt: int | None
    answer: int | None
    total: int | None
    cached: int | None
    written: int | None
    reasoning: int | None
    special: Modal


def usage_of(
    raw: Mapping[str, Any], notes: list[str], *, thoughts_in_total: bool = False
) -> Usage | None:
    """The kinds of an OpenAI-shaped usage object; `None` where it counts nothing.

    `thoughts_in_total`: this host (Gemini's OpenAI-compatible one) shows thinking in the total only.
    """
    if raw.get("prompt_tokens") is None and all(raw.get(key) is None for key in _COUNTS):
        return None
    prompt_details = section(raw, _PROMPT_DETAILS, notes)
    answer_details = section(raw, _ANSWER_DETAILS, notes)
    said = _Counts(
        first_count(raw, _PROMPT, notes),
        first_count(raw, _ANSWER, notes),
        count(raw, "total_tokens", notes),
        _told(prompt_details, _CACHED, raw, notes),
        _told(prompt_details, _WRITTEN, raw, notes),
        _told(answer_details, ("reasoning_tokens",), raw, notes),
        _modal(prompt_details, notes),
    )
    said = _explain_total(said, raw, notes, thoughts_in_total)
    written_details = section(prompt_details, ("cache_write_tokens_details",), notes)
    into = split_input(
        said.prompt,
        said.special,
        said.cached,
        _cached_special(prompt_details, raw, notes),
        said.written,
        notes,
    )
    out = split_output(said.answer, said.reasoning, _modal(answer_details, notes), notes)
    untold, half_hour, half_day = _lifetimes(into.written, written_details, notes)
    return Usage(
        into.text,
        *into.special,
        None,
        into.cache_read,
        *into.cached,
        untold,
        None,
        half_hour,
        None,
        half_day,
        out.text,
        out.reasoning,
        *out.special,
    )


def _told(
    details: Mapping[str, Any], keys: tuple[str, ...], raw: Mapping[str, Any], notes: list[str]
) -> int | None:
    found = first_count(details, keys, notes) if details else None
    return found if found is not None else first_count(raw, keys, notes)


def _modal(details: Mapping[str, Any], notes: list[str]) -> Modal:
    if not details or _MODALITIES.isdisjoint(details):
        return NOT_TOLD
    return Modal(
        count(details, "audio_tokens", notes),
        count(details, "image_tokens", notes),
        count(details, "video_tokens", notes),
    )


_MODALITIES = frozenset({"audio_tokens", "image_tokens", "video_tokens"})


def _cached_special(
    details: Mapping[str, Any], raw: Mapping[str, Any], notes: list[str]
) -> Modal | None:
    if "cached_tokens_details" not in details and "cached_tokens_details" not in raw:
        return None
    rows = section(details, ("cached_tokens_details",), notes) or section(
        raw, ("cached_tokens_details",), notes
    )
    if not rows:
        return None
    return Modal(
        first_count(rows, ("audio_tokens", "cached_audio_tokens"), notes),
        first_count(rows, ("image_tokens", "cached_image_tokens"), notes),
        first_count(rows, ("video_tokens", "cached_video_tokens"), notes),
    )


def _lifetimes(
    written: int | None, details: Mapping[str, Any], notes: list[str]
) -> tuple[int | None, int | None, int | None]:
    """Cache writes whose lifetime is not told, of half an hour, and of twelve hours."""
    if written is None or not details:
        return written, None, None
    half_day = count(details, "ttl_12h_tokens", notes)
    half_hour = count(details, "ttl_30m_tokens", notes)
    if (half_day or 0) + (half_hour or 0) > written:
        notes.append("cache_details_exceed_input")
        half_day = None if half_day is None else min(half_day, written)
        half_hour = None if half_hour is None else min(half_hour, written - (half_day or 0))
    rest = written - (half_day or 0) - (half_hour or 0)
    untold = rest if rest or (half_hour is None and half_day is None) else None
    return untold, half_hour, half_day


def _explain_total(
    said: _Counts, raw: Mapping[str, Any], notes: list[str], thoughts_in_total: bool
) -> _Counts:
    """Use the total for what stands outside of prompt and answer; note what it does not explain."""
    prompt, answer, total = said.prompt, said.answer, said.total
    if total is None:
        return said
    if prompt is None and not _present(raw, _PROMPT):  # Voyage counts a total only
        rest = total - (answer or 0)
        if rest < 0:
            notes.append(f"total_mismatch:{rest}")
        return said._replace(prompt=max(0, rest))
    if prompt is None:
        return said
    if answer is None:
        known = total >= prompt and not _present(raw, _ANSWER)
        return said._replace(answer=total - prompt) if known else said
    gap = total - prompt - answer
    if gap == 0:
        return said
    reasoning, audio = said.reasoning or 0, said.special.audio or 0
    if reasoning and gap == reasoning:  # xAI's chat
        return said._replace(answer=answer + gap)
    if audio and gap == audio:  # Mistral's audio
        return said._replace(prompt=prompt + gap)
    cache = (said.cached or 0) + (said.written or 0)
    if cache and gap == cache:  # Claude behind a host that kept Anthropic's meaning of "input"
        return said._replace(prompt=prompt + gap)
    if gap > 0 and thoughts_in_total and said.reasoning is None:
        return said._replace(answer=answer + gap, reasoning=gap)
    notes.append(f"total_mismatch:{gap}")
    return said


def _present(raw: Mapping[str, Any], keys: tuple[str, ...]) -> bool:
    return any(raw.get(key) is not None for key in keys)


class OpenAIReader(BaseReader):
    """What the OpenAI-shaped answers share."""

    __slots__ = ()

    def count_usage(self, raw: Any) -> None:
        """Take this usage; one without counts does not replace an earlier one."""
        if not isinstance(raw, MAPPING):
            if raw is not None:
                note_once(self.notes, "bad_usage:usage")
            return
        notes: list[str] = []
        usage = usage_of(raw, notes, thoughts_in_total=self._thoughts_in_total())
        if usage is not None:
            self.usage, self.notes = usage, notes
        sources = count(raw, "num_sources_used", notes)  # xAI's live search
        if sources:
            self.units["search_sources"] = sources
        if self.tier is None:
            self.tier = tiers.canonical(tiers.OPENAI, raw.get("service_tier"))  # Mistral

    def _thoughts_in_total(self) -> bool:
        return self.request.vendor == "google"

    def about(self, answer: Mapping[str, Any]) -> None:
        """Model, id and tier of an answer or chunk."""
        self.model = word(answer.get("model")) or self.model
        self.response_id = word(answer.get("id")) or self.response_id
        tier = answer.get("service_tier")
        if tier is not None:
            self.tier = tiers.canonical(tiers.OPENAI, tier) or self.tier

    def fail(self, error: Any) -> None:
        """An error where an answer was due."""
        self.failed = error_type(error)


_USAGE = re.compile(rb'"usage"\s*:\s*(?=[^\sn])')
"""A usage that is not null."""
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"([^"]+)"')
_SEARCH_MODELS = (("-search-preview", "web_search_preview"), ("-search-api", "web_search"))
"""Chat models that search the web on every request, and the fee that this is."""


_TEXT_MARK = b'"delta":{"content":"'


def _only_text(chunk: bytes) -> bool:
    """Whether the delta of a chunk says nothing but its content."""
    mark = chunk.find(_TEXT_MARK)
    begin = mark + len(_TEXT_MARK)
    return mark >= 0 and chunk.startswith(b'"}', chunk.find(b'"', begin))


class ChatReader(OpenAIReader):
    """Chat completions and legacy completions."""

    __slots__ = ("_done", "_key")
    text_mark = _TEXT_MARK

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._key = b'"text"' if request.endpoint == "completions" else b'"delta"'
        self._done = False

    def answer(self, answer: Mapping[str, Any]) -> None:
        """A whole body, or one chunk as a mapping."""
        self.about(answer)
        choices = mappings(answer.get("choices"))
        for choice in choices:
            self._finished(choice.get("finish_reason"))
        found = _usage_in(answer, choices)
        if found is not None:
            self.count_usage(found)
        error = answer.get("error")
        if error is not None and error is not False:
            self.fail(error)
            if self.usage is None and not choices and not self.delivered:
                self.billed = False  # after some output nobody says what is billed
        if self.usage is None and found is None:
            for choice in choices:
                self.delivered += _characters_of(choice)

    def event(self, data: bytes | str, name: str | None = None) -> bool | None:
        """One chunk. Only the first ones and those with usage are parsed."""
        data = utf8(data)
        if b'"error"' in data or (self.model is None and self.unacquainted()):
            self._parse(data)
            return None
        usual = True
        at = data.find(b'"usage"')
        if at >= 0:
            found = _USAGE.search(data, at)
            if found is not None:
                usual = False
                self._usage_chunk(data, found.end())
        if b'"finish_reason":null' not in data:
            usual = False
            for reason in _FINISH.findall(data):
                self._finished(reason.decode("utf-8", "replace"))
        if data == b"[DONE]":
            self._done = True
            self._settle()
        start = data.find(self._key)
        if start >= 0:
            self.delivered += characters(data, start)
        return usual and data.count(b'"delta"') == 1 and _only_text(data)

    def _parse(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._done = True
            self._settle()
            return
        chunk = parsed(data)
        if not isinstance(chunk, MAPPING):
            return
        delivered = self.delivered
        self.answer(chunk)
        start = data.find(self._key)
        self.delivered = delivered + (characters(data, start) if start >= 0 else 0)
        self._settle()

    def _usage_chunk(self, data: bytes, position: int) -> None:
        self.count_usage(parsed_at(text(data[position:]), 0))
        tier = _TIER.search(data)
        if tier is not None:
            self.tier = tiers.canonical(tiers.OPENAI, tier[1].decode()) or self.tier
        self._settle()

    def _finished(self, reason: Any) -> None:
        said = word(reason)
        if said is not None:
            if said not in self.finish_reasons:
                self.finish_reasons = (*self.finish_reasons, said)
            self._settle()

    def _settle(self) -> None:
        self.complete = self._done or (self.usage is not None and bool(self.finish_reasons))

    def readings(self) -> tuple[Reading, ...]:
        """One reading; models that always search have their fee."""
        if self.usage is not None and self.request.vendor == "openai":
            model = self.model or self.request.model or ""
            for mark, unit in _SEARCH_MODELS:
                if mark in model:
                    self.units.setdefault(unit, 1)
        return super().readings()


_TIER = re.compile(rb'"service_tier"\s*:\s*"([A-Za-z_]+)"')


def _usage_in(answer: Mapping[str, Any], choices: list[Mapping[str, Any]]) -> Any:
    """Where hosts put it: on top, under `x_groq` (Groq), or in a choice (Moonshot)."""
    found = answer.get("usage")
    if found is None:
        groq = answer.get("x_groq")
        if isinstance(groq, MAPPING):
            found = groq.get("usage")
    if found is None:
        for choice in choices:
            found = choice.get("usage")
            if found is not None:
                break
    return found


def _characters_of(choice: Mapping[str, Any]) -> int:
    """Characters of a whole choice without usage."""
    if isinstance(choice.get("text"), str):
        return len(choice["text"])
    message = choice.get("message")
    if not isinstance(message, MAPPING):
        return 0
    total = sum(
        len(message[key])
        for key in ("content", "reasoning_content", "reasoning", "refusal")
        if isinstance(message.get(key), str)
    )
    for call in mappings(message.get("tool_calls")):
        function = call.get("function")
        if isinstance(function, MAPPING) and isinstance(function.get("arguments"), str):
            total += len(function["arguments"])
    return total


_TERMINAL = re.compile(
    rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed|cancelled)|error)"'
)


class ResponsesReader(OpenAIReader):
    """The Responses API, its compaction, and decisions."""

    __slots__ = ("_extra",)

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._extra: list[Reading] = []

    def answer(self, answer: Mapping[str, Any]) -> None:
        """A whole response object."""
        self.about(answer)
        status = word(answer.get("status"))
        self.pending = status in ("queued", "in_progress")
        self.billed = not self.pending
        if self.pending:
            return
        self._ended(answer, status)
        self.count_usage(answer.get("usage"))
        self._tools(answer)
        if self.usage is not None and self.usage.total_tokens == 0 and self.delivered:
            note_once(self.notes, "zero_usage")
        if self.usage is None and status == "failed":
            self.billed = False

    def _ended(self, answer: Mapping[str, Any], status: str | None) -> None:
        details = answer.get("incomplete_details")
        reason = word(details.get("reason")) if isinstance(details, MAPPING) else None
        if reason or status:
            self.finish_reasons = (reason or status or "",)
        error = answer.get("error")
        if error:
            self.fail(error)
        elif status == "failed":
            self.failed = "response.failed"

    def event(self, data: bytes | str, name: str | None = None) -> None:
        """One event; only the first, and those that end the stream, are parsed."""
        if name is not None and name.endswith(".delta"):
            self._delta(utf8(data))
            return
        data = utf8(data)
        if _TERMINAL.search(data) is not None:
            self._terminal(parsed(data))
        elif self.response_id is None:
            self._first(data)
        elif b".delta" in data:
            self._delta(data)

    def _delta(self, data: bytes) -> None:
        start = data.find(b'"delta"')
        if start >= 0:
            self.delivered += characters(data, start)

    def _first(self, data: bytes) -> None:
        event = parsed(data)
        response = event.get("response") if isinstance(event, MAPPING) else None
        if isinstance(response, MAPPING):
            self.about(response)
            self.pending = response.get("background") is True  # goes on if the stream is cut
            self.billed = not self.pending
            self.tier = None  # it says what was asked for, not yet what was used

    def _terminal(self, event: Any) -> None:
        if not isinstance(event, MAPPING):
            return
        kind = event.get("type")
        response = event.get("response")
        if kind == "error":
            error = event.get("error")
            self.fail(error if isinstance(error, MAPPING) else event)
        elif isinstance(response, MAPPING):
            self.complete = True
            self.answer(response)
            if kind == "response.failed" and self.failed is None:
                self.failed = "response.failed"

    def _tools(self, answer: Mapping[str, Any]) -> None:
        """What hosted tools bill besides the tokens of the model."""
        units: dict[str, int] = {}
        kinds = [word(tool.get("type")) or "" for tool in mappings(answer.get("tools"))]
        kinds = kinds or list(self.request.hints.get("tools", ()))
        facts = {**self.request.hints, **tool_facts(answer.get("tools"))}
        preview = any(kind.startswith("web_search_preview") for kind in kinds)
        images = 0
        containers: set[str] = set()  # the fee is for the container, not for the call
        for item in mappings(answer.get("output")):
            kind = item.get("type")
            if kind == "web_search_call":
                if _is_search(item):
                    sku = "web_search_preview" if preview else "web_search"
                    units[sku] = units.get(sku, 0) + 1
            elif kind == "image_generation_call":
                images += 1
            elif kind == "file_search_call":
                units["file_search"] = units.get("file_search", 0) + 1
            elif kind == "code_interpreter_call":
                containers.add(word(item.get("container_id")) or str(len(containers)))
        memory = facts.get("container_memory")
        units[f"code_interpreter_{memory}" if memory else "code_interpreter"] = len(containers)
        told = section(answer, ("tool_usage",), self.notes)
        searches = count(section(told, ("web_search",), self.notes), "num_requests", self.notes)
        if searches is not None:
            units.pop("web_search", None)
            units.pop("web_search_preview", None)
            units["web_search_preview" if preview else "web_search"] = searches
        self.units.update({sku: number for sku, number in units.items() if number})
        # unknown is loud: the answer's own model is not the one that drew
        model = word(facts.get("image_model")) or "image_generation"
        self._images(model, section(told, ("image_gen",), self.notes), images)

    def _images(self, model: str, told: Mapping[str, Any], calls: int) -> None:
        """Tokens of the image tool: they are billed to its own model."""
        notes: list[str] = []
        usage = image_usage(told, notes) if told else None
        if usage is None:
            if calls:
                self.units["image_generation"] = calls
            return
        if not usage.total_tokens:
            return
        self._extra = [
            Reading(
                usage,
                model=model,
                tier=self.tier,
                response_id=self.response_id,
                entry="image_generation",
                notes=tuple(notes),
            )
        ]

    def readings(self) -> tuple[Reading, ...]:
        """The model's reading, and that of the image tool if it was used."""
        return (*super().readings(), *(self._extra if self.billed else ()))


def tool_facts(tools: Any) -> dict[str, str]:
    """What of the tools that were asked for their price depends on."""
    facts: dict[str, str] = {}
    for tool in mappings(tools):
        container, model = tool.get("container"), word(tool.get("model"))
        if tool.get("type") == "image_generation" and model is not None:
            facts["image_model"] = model
        elif tool.get("type") == "code_interpreter" and isinstance(container, MAPPING):
            memory = word(container.get("memory_limit"))
            if memory is not None and _MEMORY.fullmatch(memory) and memory != "1g":
                facts["container_memory"] = memory
    return facts


_MEMORY = re.compile(r"[1-9]\d{0,2}g")
"""Containers of the smallest size, 1 GB, are what is assumed where nothing is told."""


def _is_search(item: Mapping[str, Any]) -> bool:
    """Opening a page or finding in it is not a search; a call that does not tell is one."""
    action = item.get("action")
    kind = action.get("type") if isinstance(action, MAPPING) else None
    return kind in (None, "search")


def image_usage(raw: Mapping[str, Any], notes: list[str]) -> Usage | None:
    """The usage of an image model: what it puts out are images unless it says otherwise."""
    usage = usage_of(raw, notes)
    if usage is None:
        return None
    if not section(raw, _ANSWER_DETAILS, notes) and usage.output_image is None:
        return usage._replace(output=None, output_image=usage.output)
    return usage


class EmbeddingsReader(OpenAIReader):
    """Embeddings: the vectors are never parsed."""

    __slots__ = ()

    def body(self, raw: bytes | str, headers: Mapping[str, str] | None = None) -> None:
        """A whole body: model and usage stand at its end, or at its start."""
        self.complete = True
        data, position = last_object(raw, b"usage")
        if position < 0:
            self._without_usage(data)
            return
        self.count_usage(parsed_at(text(data[position : position + 65536]), 0))
        found = _MODEL.search(data, max(0, position - 512)) or _MODEL.search(data, 0, 512)
        if found is not None:
            self.model = text(found[1])

    def _without_usage(self, data: bytes) -> None:
        if len(data) < 65536:
            answer = parsed(data)
            if isinstance(answer, MAPPING):
                self.answer(answer)
            else:
                self.notes.append("bad_json")

    def answer(self, answer: Mapping[str, Any]) -> None:
        """A parsed body."""
        self.about(answer)
        self.count_usage(answer.get("usage"))
        if answer.get("error"):
            self.fail(answer["error"])
            self.billed = self.usage is not None

    def count_usage(self, raw: Any) -> None:
        """Embeddings have no output side: nobody needs to say that it is zero."""
        super().count_usage(raw)
        if self.usage is not None and self.usage.output is None:
            self.usage = self.usage._replace(output=0)


_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]+)"')


class ImagesReader(OpenAIReader):
    """Images: by tokens where the answer counts them, else by their number."""

    __slots__ = ("_extra", "_images")

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._extra: list[Reading] = []
        self._images: list[Usage] = []

    def body(self, raw: bytes | str, headers: Mapping[str, str] | None = None) -> None:
        """A whole body: the images are never parsed."""
        self.complete = True
        answer: dict[str, Any] = {}
        whole = utf8(raw)
        for part in (whole[-16384:], whole):
            for key in ("usage", "svg_usage"):
                data, position = last_object(part, key.encode())
                if position >= 0:
                    answer[key] = parsed_at(text(data[position : position + 65536]), 0)
            if answer:
                break
        if not answer and len(raw) < 65536:
            small = parsed(raw)
            if not isinstance(small, MAPPING):
                self.notes.append("bad_json")
                return
            answer = dict(small)
        self.answer(answer)

    def answer(self, answer: Mapping[str, Any]) -> None:
        """A parsed body, or what of it tells the bill."""
        if answer.get("error"):
            self.fail(answer["error"])
            self.billed = False
            return
        raw = answer.get("usage")
        if isinstance(raw, MAPPING):
            self.usage = image_usage(raw, self.notes)
        elif raw is not None:
            note_once(self.notes, "bad_usage:usage")
        if self.usage is None:
            self.units["images"] = len(mappings(answer.get("data"))) or self._asked_for()
        self._svg(answer.get("svg_usage"))

    def _asked_for(self) -> int:
        asked = self.request.hints.get("n")
        return asked if isinstance(asked, int) and asked > 0 else 1

    def _svg(self, raw: Any) -> None:
        if not isinstance(raw, MAPPING):
            return
        notes: list[str] = []
        usage = usage_of(raw, notes)
        if usage is not None:
            model = word(raw.get("model")) or "svg"
            self._extra = [Reading(usage, model=model, entry="svg", notes=tuple(notes))]

    def event(self, data: bytes | str, name: str | None = None) -> None:
        """One event: each `*.completed` is an image with its own usage."""
        raw = utf8(data)
        head = raw[:256] if name is None else utf8(name)
        if b".completed" not in head and b'.completed"' not in raw[-512:]:
            if b'"error"' in raw[:256]:
                event = parsed(raw)
                if isinstance(event, MAPPING) and event.get("error"):
                    self.fail(event["error"])
            return
        self.complete = True
        body, position = last_object(raw, b"usage")
        found = parsed_at(text(body[position:]), 0) if position >= 0 else None
        usage = image_usage(found, self.notes) if isinstance(found, MAPPING) else None
        if usage is None:
            self.units["images"] = int(self.units.get("images", 0)) + 1
        else:
            self._images.append(usage)

    def readings(self) -> tuple[Reading, ...]:
        """One reading for each streamed image, or one of the whole; SVG authoring apart."""
        if self._images:
            streamed = tuple(self._reading(usage, EMPTY) for usage in self._images)
            return (*streamed, *self._extra)
        return (*super().readings(), *self._extra)


class TranscriptionReader(OpenAIReader):
    """Audio to text: by tokens or by seconds; plain text and subtitles say nothing."""

    __slots__ = ()

    def body(self, raw: bytes | str, headers: Mapping[str, str] | None = None) -> None:
        """A body that need not be JSON."""
        self.complete = True
        answer = parsed(raw)
        if isinstance(answer, MAPPING):
            self.answer(answer)

    def answer(self, answer: Mapping[str, Any]) -> None:
        """A parsed body or the last event of a stream."""
        raw = answer.get("usage")
        if isinstance(raw, MAPPING) and (
            raw.get("type") == "duration" or ("seconds" in raw and not _present(raw, _COUNTS))
        ):
            self._seconds(raw.get("seconds"))
        elif raw is not None:
            self.count_usage(raw)
        elif "duration" in answer:  # verbose JSON of older models
            self._seconds(answer["duration"])
        if answer.get("error"):
            self.fail(answer["error"])

    def _seconds(self, said: Any) -> None:
        seconds = quantity(said)
        if seconds is None:
            note_once(self.notes, "bad_usage:seconds")
            return
        self.usage = Usage()
        self.units["audio_seconds"] = seconds

    def event(self, data: bytes | str, name: str | None = None) -> None:
        """One event; `transcript.text.done` has the usage."""
        raw = utf8(data)
        if b'"transcript.text.done"' in raw:
            self.complete = True
            super().event(raw)
        elif b'"error"' in raw:
            super().event(raw)
        else:
            start = raw.find(b'"delta"')
            if start >= 0:
                self.delivered += characters(raw, start)


class SpeechReader(OpenAIReader):
    """Text to audio: by the characters of the request, or by tokens where a stream tells them."""

    __slots__ = ()
    needs_body = False

    def body(self, raw: bytes | str, headers: Mapping[str, str] | None = None) -> None:
        """The audio itself, which nobody looks at."""
        self.complete = True

    def event(self, data: bytes | str, name: str | None = None) -> None:
        """One event; `speech.audio.done` has the usage, what it counts as output is audio."""
        raw = utf8(data)
        if b'"speech.audio.done"' not in raw:
            return
        self.complete = True
        event = parsed(raw)
        if isinstance(event, MAPPING):
            self.answer(event)

    def answer(self, answer: Mapping[str, Any]) -> None:
        """The event that ends a stream."""
        self.count_usage(answer.get("usage"))
        if self.usage is not None and self.usage.output_audio is None:
            self.usage = self.usage._replace(output=None, output_audio=self.usage.output)

    def readings(self) -> tuple[Reading, ...]:
        """Where no tokens were told, the characters that were sent."""
        sent = self.request.hints.get("characters")
        if self.usage is None and isinstance(sent, int) and sent > 0:
            self.units["characters"] = sent
        return super().readings()
