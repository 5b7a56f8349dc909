"""What Gemini bills: on its own API and on Vertex; content, embeddings, caches, interactions."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ..records import MAPPING, Reading, Request, Usage
from . import tiers
from .kinds import Modal, split_input, split_output
from .reading import BaseReader, error_type, last_object, note_once
from .values import (
    count,
    first_count,
    header,
    mappings,
    parsed,
    parsed_at,
    quantity,
    section,
    text,
    utf8,
    word,
)

_ANSWER = ("candidatesTokenCount", "responseTokenCount", "total_output_tokens")
_PROMPT = ("promptTokenCount", "total_input_tokens")
_TOOL_USE = ("toolUsePromptTokenCount", "total_tool_use_tokens")
_CACHED = ("cachedContentTokenCount", "total_cached_tokens")
_THOUGHTS = (
    "thoughtsTokenCount",
    "total_thought_tokens",
    "total_reasoning_tokens",  # google-genai 1.55
)
_TOTAL = ("totalTokenCount", "total_tokens")
_COUNTS = (*_ANSWER, *_PROMPT, *_TOOL_USE, *_CACHED, *_THOUGHTS, *_TOTAL)
_PROMPT_ROWS = ("promptTokensDetails", "promptTokenDetails", "input_tokens_by_modality")
_TOOL_USE_ROWS = ("toolUsePromptTokensDetails", "tool_use_tokens_by_modality")
_CACHE_ROWS = ("cacheTokensDetails", "cached_tokens_by_modality")
_ANSWER_ROWS = ("candidatesTokensDetails", "responseTokensDetails", "output_tokens_by_modality")

_SPECIAL: Mapping[Any, int] = {
    "AUDIO": 0,
    "IMAGE": 1,
    "VIDEO": 2,
    4: 0,  # Vertex with `enum-encoding=int`
    2: 1,
    3: 2,
}
"""Which place of `Modal` a modality has."""

_TEXT: frozenset[Any] = frozenset({"TEXT", "DOCUMENT", "MODALITY_UNSPECIFIED", 0, 1, 5, None})
"""What is billed as text: documents, and what is not specified. Others nobody has a price for."""


def usage_of(
    raw: Mapping[str, Any], notes: list[str], *, live: bool = False, whole: bool = False
) -> Usage | None:
    """The kinds of a `usageMetadata` (or of an interaction's `usage`); `None` without any count.

    The prompt includes what was cached; tool use stands beside the prompt, thoughts beside the
    answer. A zero is not sent. `live`: the total may leave thoughts out, so nothing is taken from it.
    `whole`: all of the answer is there, so that an answer that is not counted has no tokens.
    """
    if raw.get("promptTokenCount") is None and all(raw.get(key) is None for key in _COUNTS):
        return None
    prompt = first_count(raw, _PROMPT, notes)
    tool_use = first_count(raw, _TOOL_USE, notes)
    answer = first_count(raw, _ANSWER, notes)
    thoughts = first_count(raw, _THOUGHTS, notes)
    total = first_count(raw, _TOTAL, notes)
    if total is not None and not live:
        prompt, answer = _explain_total(raw, prompt, tool_use, answer, thoughts, total, notes)
    if whole and answer is None and prompt is not None and not _present(raw, _ANSWER):
        known = prompt + (tool_use or 0) + (thoughts or 0)
        answer = 0 if total is None or total <= known else None
    cached_rows = _rows(raw, _CACHE_ROWS, notes)
    cached = first_count(raw, _CACHED, notes)
    if cached is None and cached_rows is not None:
        cached = sum(_row_counts(raw, _CACHE_ROWS))
    into = split_input(
        prompt, _rows(raw, _PROMPT_ROWS, notes) or Modal(), cached, cached_rows, None, notes
    )
    out = split_output(answer, None, _rows(raw, _ANSWER_ROWS, notes) or Modal(), notes)
    # what a tool put in is billed at the rate of its modality; only its text has a kind of its own
    tools = split_input(
        tool_use, _rows(raw, _TOOL_USE_ROWS, notes) or Modal(), None, None, None, notes
    )
    special = Modal(*map(_plus, into.special, tools.special))
    return Usage(
        into.text,
        *special,
        tools.text,
        into.cache_read,
        *into.cached,
        output=out.text,
        reasoning=thoughts,
        output_audio=out.special.audio,
        output_image=out.special.image,
        output_video=out.special.video,
    )


def _plus(one: int | None, other: int | None) -> int | None:
    return one if other is None else (one or 0) + other


def _present(raw: Mapping[str, Any], keys: tuple[str, ...]) -> bool:
    return any(raw.get(key) is not None for key in keys)


def _explain_total(
    raw: Mapping[str, Any],
    prompt: int | None,
    tool_use: int | None,
    answer: int | None,
    thoughts: int | None,
    total: int,
    notes: list[str],
) -> tuple[int | None, int | None]:
    gap = total - sum(part or 0 for part in (prompt, tool_use, answer, thoughts))
    if prompt is None and all(raw.get(key) is None for key in _PROMPT):
        prompt = max(0, gap)  # a file by URL: only the total has its tokens
        gap = min(0, gap)
    if gap:
        notes.append(f"total_mismatch:{gap}")
    elif answer is None and all(raw.get(key) is None for key in _ANSWER):
        answer = 0  # a zero is not sent, and the total says that it is one
    return prompt, answer


def _rows(raw: Mapping[str, Any], keys: tuple[str, ...], notes: list[str]) -> Modal | None:
    """The counts of the rows by modality; `None` where there are no rows."""
    for key in keys:
        said = raw.get(key)
        if said is None:
            continue
        rows = mappings(said)
        if not isinstance(said, list | tuple) or len(rows) != len(said):
            notes.append(f"bad_usage:{key}")
            return None
        counts: list[int | None] = [None, None, None]
        for row in rows:
            number = _row_count(row)
            place, known = _place(row.get("modality"))
            if place is None:
                if number and not known:
                    notes.append("bad_usage:modality")
                continue
            if number is None:
                notes.append(f"bad_usage:{key}")
            else:
                counts[place] = (counts[place] or 0) + number
        return Modal(*counts)
    return None


def _place(modality: Any) -> tuple[int | None, bool]:
    """The place of a modality in `Modal` (text has none), and whether it is known at all."""
    told = modality if type(modality) is int else word(modality)
    if isinstance(told, str):
        told = told.upper()
    return _SPECIAL.get(told), told in _TEXT or told in _SPECIAL


def _row_count(row: Mapping[str, Any]) -> int | None:
    """The count of a row: one that is left out is zero."""
    bad: list[str] = []
    number = first_count(row, ("tokenCount", "tokens"), bad)
    return None if bad else number or 0


def _row_counts(raw: Mapping[str, Any], keys: tuple[str, ...]) -> list[int]:
    for key in keys:
        if raw.get(key) is not None:
            return [_row_count(row) or 0 for row in mappings(raw[key])]
    return []


class GeminiReader(BaseReader):
    """Generated content, whole or streamed, and turns of a live session."""

    __slots__ = ("_data", "_header_tier", "_last", "_lost", "_maps", "_queries", "_retrievals")

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._header_tier: str | None = None
        self._queries: dict[int, tuple[int, frozenset[int]]] = {}
        self._retrievals = 0
        self._maps = False
        self._data = False
        self._last: Mapping[str, Any] | None = None
        self._lost: list[str] = []

    def headers(self, headers: Mapping[str, str]) -> None:
        """The tier that was used may differ from the one asked for."""
        said = header(headers, "x-gemini-service-tier")
        self._header_tier = tiers.gemini(said) or self._header_tier

    def answer(self, answer: Mapping[str, Any]) -> None:
        """A whole body, or one chunk as a mapping."""
        self.model = word(answer.get("modelVersion")) or self.model
        self.response_id = word(answer.get("responseId")) or self.response_id
        self._count(answer.get("usageMetadata"))
        for number, candidate in enumerate(mappings(answer.get("candidates"))):
            self._finished(candidate.get("finishReason"))
            grounding = candidate.get("groundingMetadata")
            if isinstance(grounding, MAPPING):
                index = candidate.get("index")
                self._grounded(index if isinstance(index, int) else number, grounding)
            self._text(candidate)
        feedback = answer.get("promptFeedback")
        if isinstance(feedback, MAPPING):
            self._finished(feedback.get("blockReason"))
        error = answer.get("error")
        if error:
            self.failed = error_type(error)

    def _text(self, candidate: Mapping[str, Any]) -> None:
        content = candidate.get("content")
        if isinstance(content, MAPPING):
            for part in mappings(content.get("parts")):
                if isinstance(part.get("text"), str):
                    self.delivered += len(part["text"])

    def event(self, data: bytes | str, name: str | None = None) -> None:
        """One chunk. Only its usage is parsed, unless something rare is in it."""
        said = text(data)
        if self.unacquainted() or _RARE.search(said) is not None:
            chunk = parsed(said)
            if isinstance(chunk, MAPPING):
                self.answer(chunk)
            return
        found = said.rfind('"usageMetadata"')
        if found >= 0:
            value = _VALUE.match(said, found + 15)
            if value is not None:
                self._count(parsed_at(said, value.end()))
        for piece in _PARTS.findall(said):
            self.delivered += len(piece) if "\\" not in piece else _unescaped(piece)
        finish = _FINISH.search(said)
        if finish is not None:
            self._finished(finish[1] or int(finish[2]))

    def _count(self, raw: Any) -> None:
        """Keep the last usage that counts anything, as a whole: its numbers are running totals."""
        if not isinstance(raw, MAPPING):
            if raw is not None:
                note_once(self.notes, "bad_usage:usageMetadata")
            return
        if any(raw.get(key) is not None for key in _COUNTS):
            if self._last is not None:
                self._lost = [
                    key
                    for key in _ANSWER
                    if self._last.get(key) is not None and raw.get(key) is None
                ]
            self._last = raw
        self.tier = tiers.gemini(raw.get("serviceTier") or raw.get("trafficType")) or self.tier

    def _settle(self) -> None:
        """Work out the kinds, once they are asked for."""
        if self._last is not None:
            notes: list[str] = []
            self.usage = usage_of(
                self._last,
                notes,
                live=self.request.endpoint == "live",
                # text that came, or a count that was there before, is no answer of nothing
                whole=self.complete and not self.delivered and not self._lost,
            )
            self.notes = [*notes, *(f"count_lost:{key}" for key in self._lost)]

    def _finished(self, reason: Any) -> None:
        said = _FINISH_NUMBERS.get(reason, str(reason)) if type(reason) is int else word(reason)
        if said is not None and said != "FINISH_REASON_UNSPECIFIED":
            self.complete = True
            if said not in self.finish_reasons:
                self.finish_reasons = (*self.finish_reasons, said)

    def _grounded(self, index: int, grounding: Mapping[str, Any]) -> None:
        """Count the searches; chunks may repeat them."""
        queries = [
            hash(query)
            for key in ("webSearchQueries", "imageSearchQueries")
            for query in _listed(grounding.get(key))
            if isinstance(query, str) and query
        ]
        most, seen = self._queries.get(index, (0, frozenset()))
        seen = seen.union(queries)
        self._queries[index] = max(most, len(queries), len(seen)), seen
        for chunk in mappings(grounding.get("groundingChunks")):
            if chunk.get("maps") is not None:
                self._maps = True
            elif chunk.get("retrievedContext") is not None and self.request.platform == "vertex":
                self._data = True  # elsewhere file search bills tokens only

    def _grounding(self) -> dict[str, int | Decimal]:
        tools = self.request.hints.get("tools", ())
        searches = [tool for tool in tools if "search" in tool and tool != "file_search"]
        only_maps = "google_maps" in tools and not searches
        queries = sum(most for most, _ in self._queries.values())
        units: dict[str, int | Decimal] = {}
        if queries and not only_maps:
            search = "enterprise" if searches == ["enterprise_web_search"] else "search"
            units[f"{search}_grounding_prompts"] = 1
            units[f"{search}_grounding_queries"] = queries
        if self._data:
            units["data_grounding_prompts"] = 1
        if self._maps or (queries and only_maps):
            units["maps_grounding_prompts"] = 1
            # how often it asked is only told where it did nothing else
            units["maps_grounding_queries"] = queries if only_maps and queries else 1
        return units

    def readings(self) -> tuple[Reading, ...]:
        """One reading."""
        self._settle()
        self.tier = self._header_tier or self.tier
        self.units = self._grounding()
        return super().readings()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


_RARE = re.compile(
    r'"(?:functionCall|groundingMetadata|executableCode|codeExecutionResult|error|promptFeedback)"'
)
"""What makes a chunk worth parsing: searches, and objects that the model writes."""
_VALUE = re.compile(r"\s*:\s*")
_PARTS = re.compile(r'"text"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_FINISH = re.compile(r'"finishReason"\s*:\s*(?:"([^"]+)"|(\d+))')
_FINISH_NUMBERS: Mapping[int, str] = {
    0: "FINISH_REASON_UNSPECIFIED",
    1: "STOP",
    2: "MAX_TOKENS",
    3: "SAFETY",
    4: "RECITATION",
    5: "OTHER",
    6: "BLOCKLIST",
    7: "PROHIBITED_CONTENT",
    8: "SPII",
    9: "MALFORMED_FUNCTION_CALL",
}
"""Vertex with `enum-encoding=int`."""


def _unescaped(piece: str) -> int:
    string = parsed(f'"{piece}"')
    return len(string) if isinstance(string, str) else len(piece)


class EmbeddingsReader(GeminiReader):
    """Embeddings of both APIs, and images by `:predict`. Vectors and images are never parsed."""

    __slots__ = ()

    def body(self, raw: bytes | str, headers: Mapping[str, str] | None = None) -> None:
        """A whole body."""
        if headers is not None:
            self.headers(headers)
        self.complete = True
        data, position = last_object(raw, b"usageMetadata")
        if position >= 0:
            self._count(parsed_at(text(data[position : position + 65536]), 0))
        if self._last is None:
            self._predictions(data)

    def answer(self, answer: Mapping[str, Any]) -> None:
        """A parsed body."""
        self._count(answer.get("usageMetadata"))
        if self._last is None:
            counts = [
                first_count(
                    section(section(one, ("embeddings",), self.notes), ("statistics",), self.notes),
                    ("token_count", "tokenCount"),  # the wire's, and the one of the SDK's objects
                    self.notes,
                )
                for one in mappings(answer.get("predictions"))
            ]
            self._sum([number for number in counts if number is not None])

    def _predictions(self, data: bytes) -> None:
        found = _TOKEN_COUNTS.findall(data)
        if not found:
            if data.lstrip()[:1] != b"{":
                self.notes.append("bad_json")
            return
        counts = []
        for number in found:
            value = quantity(parsed(number))
            if isinstance(value, int):
                counts.append(value)
            else:
                note_once(self.notes, "bad_usage:token_count")
        self._sum(counts)

    def _sum(self, counts: list[int]) -> None:
        if counts:
            self.usage = Usage(input=sum(counts), output=0)

    def _settle(self) -> None:
        super()._settle()
        if self.usage is not None and self.usage.output is None:
            self.usage = self.usage._replace(output=0)  # embeddings have no output side


_TOKEN_COUNTS = re.compile(rb'"token_?[cC]ount"\s*:\s*([^\s,}]+)')


class ImagenReader(BaseReader):
    """Images by `:predict`: billed by their number."""

    __slots__ = ()

    def body(self, raw: bytes | str, headers: Mapping[str, str] | None = None) -> None:
        """A whole body: each image that passed the filters has a `mimeType`."""
        self.complete = True
        images = utf8(raw).count(b'"bytesBase64Encoded"') or utf8(raw).count(b'"gcsUri"')
        if images:
            self.units["images"] = images


class CacheReader(BaseReader):
    """The making of an explicit cache: what it stores, for as long as it was asked to."""

    __slots__ = ()

    def answer(self, answer: Mapping[str, Any]) -> None:
        """The cache as it was made."""
        self.response_id = word(answer.get("name"))
        self.model = model_name(word(answer.get("model")))
        raw = section(answer, ("usageMetadata",), self.notes)
        tokens = count(raw, "totalTokenCount", self.notes)
        if tokens is None:
            return
        self.usage = Usage()
        asked = self.request.hints
        told = (_seconds(asked.get("ttl")), _seconds(answer.get("ttl")))
        seconds = next((one for one in told if one is not None), None)
        if seconds is None:
            end = answer.get("expireTime") or asked.get("expires")
            seconds = _seconds_between(answer.get("createTime"), end)
        if seconds is None and tokens:
            self.notes.append("cache_lifetime_unknown")
        else:
            stored = Decimal(tokens * (seconds or 0)) / 3600
            whole = quantity(stored)
            self.units["cache_storage_token_hours"] = stored if whole is None else whole


def _seconds(ttl: Any) -> int | Decimal | None:
    """`"7200s"`, a number of seconds, `{"seconds": 7200}` or a `timedelta`."""
    if isinstance(ttl, timedelta):
        return quantity(_in_seconds(ttl))
    if isinstance(ttl, MAPPING):
        ttl = ttl.get("seconds")
    if isinstance(ttl, str):
        ttl = parsed(ttl.removesuffix("s"))
    return quantity(ttl)


def _seconds_between(start: Any, end: Any) -> int | Decimal | None:
    try:
        between = _moment(end) - _moment(start)
    except (TypeError, ValueError):
        return None
    return quantity(_in_seconds(between))


def _moment(said: Any) -> datetime:
    return said if isinstance(said, datetime) else datetime.fromisoformat(said)


def _in_seconds(time: timedelta) -> Decimal:
    return Decimal(time // timedelta(microseconds=1)) / 10**6


class InteractionsReader(GeminiReader):
    """Interactions, decisions and voices: their usage has names of its own; a stream tells it last."""

    __slots__ = ()

    def answer(self, answer: Mapping[str, Any]) -> None:
        """A whole interaction."""
        # one that an agent worked on names that instead of a model
        self.model = word(answer.get("model")) or self.model or word(answer.get("agent"))
        self.response_id = word(answer.get("id")) or self.response_id
        status = word(answer.get("status"))
        self.pending = status in ("queued", "in_progress")
        self.billed = not self.pending
        self._count(answer.get("usage"))
        self.tier = tiers.gemini(answer.get("service_tier")) or self.tier
        if status is not None and not self.pending:
            self.finish_reasons = (status,)
        if status == "failed" or answer.get("error"):
            self.failed = error_type(answer.get("error"))
        raw = answer.get("usage")
        if isinstance(raw, MAPPING):
            self._tools(raw)

    def event(self, data: bytes | str, name: str | None = None) -> None:
        """One event. The first says which interaction it is, `interaction.completed` what it used."""
        said = text(data)
        if self.response_id is None and (
            '"interaction.created"' in said or '"interaction.start"' in said
        ):
            self._begun(parsed(said))
            return
        if '"interaction.complete' in said or '"error"' in said:
            event = parsed(said)
            interaction = event.get("interaction") if isinstance(event, MAPPING) else None
            if isinstance(interaction, MAPPING):
                self.answer(interaction)
                self.complete = not self.pending
            elif isinstance(event, MAPPING) and event.get("error"):
                self.failed = error_type(event["error"])
            return
        for piece in _PARTS.findall(said):
            self.delivered += len(piece) if "\\" not in piece else _unescaped(piece)

    def _begun(self, event: Any) -> None:
        interaction = event.get("interaction") if isinstance(event, MAPPING) else None
        if isinstance(interaction, MAPPING):
            self.response_id = word(interaction.get("id"))
            self.model = word(interaction.get("model")) or word(interaction.get("agent"))
            # what runs in the background goes on without who reads its stream
            self.pending = self.request.hints.get("background") is True
            self.billed = not self.pending

    def _tools(self, raw: Mapping[str, Any]) -> None:
        for row in mappings(raw.get("grounding_tool_count")):
            number = count(row, "count", self.notes)
            if number and row.get("type") == "google_search":
                self._queries[0] = number, frozenset()
            elif number and row.get("type") == "google_maps":
                self._retrievals = number

    def _grounding(self) -> dict[str, int | Decimal]:
        units = super()._grounding()
        if self._retrievals:
            units["maps_grounding_prompts"] = 1
            units["maps_grounding_queries"] = self._retrievals
        return units


def model_name(path: str | None) -> str | None:
    """`models/gemini-2.5-pro` and `publishers/google/models/gemini-2.5-pro` are the same model."""
    if path is None:
        return None
    for prefix in ("publishers/google/models/", "models/"):
        _, found, name = path.rpartition(prefix)
        if found and "/" not in name:
            return name
    return path
