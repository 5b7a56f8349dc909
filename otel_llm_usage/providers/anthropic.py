"""What Anthropic's messages bill: on its own API, on Bedrock, on Vertex and on Foundry."""

from collections.abc import Mapping
from typing import Any

from ..records import MAPPING, NOTHING, Reading, Request, Usage
from . import tiers
from .reading import BaseReader, error_type, note_once
from .texts import characters
from .values import count, mappings, parsed, section, utf8, word

_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


def usage_of(raw: Mapping[str, Any], notes: list[str]) -> Usage | None:
    """The kinds of one usage object (or iteration); `None` where it counts nothing.

    `input_tokens` stands beside the cached and the written tokens, not around them; thinking is
    inside `output_tokens`.
    """
    if all(raw.get(key) is None for key in _COUNTS):
        return None
    output = count(raw, "output_tokens", notes)
    details = section(raw, ("output_tokens_details",), notes)
    thinking = count(details, "thinking_tokens", notes)
    if output is not None and thinking is not None:
        if thinking > output:
            notes.append("reasoning_exceeds_output")
            thinking = output
        output -= thinking
    untold, five_minutes, hour = _written(raw, notes)
    return Usage(
        input=count(raw, "input_tokens", notes),
        cache_read=count(raw, "cache_read_input_tokens", notes),
        cache_write=untold,
        cache_write_5m=five_minutes,
        cache_write_1h=hour,
        output=output,
        reasoning=thinking,
    )


def _written(raw: Mapping[str, Any], notes: list[str]) -> tuple[int | None, int | None, int | None]:
    """Cache writes whose lifetime is not told, of five minutes, and of an hour."""
    written = count(raw, "cache_creation_input_tokens", notes)
    details = section(raw, ("cache_creation",), notes)
    if not details:
        return written, None, None
    five_minutes = count(details, "ephemeral_5m_input_tokens", notes)
    hour = count(details, "ephemeral_1h_input_tokens", notes)
    if written is None:
        return None, five_minutes, hour
    if (five_minutes or 0) + (hour or 0) > written:
        notes.append("cache_details_exceed_input")
        hour = None if hour is None else min(hour, written)
        five_minutes = None if five_minutes is None else min(five_minutes, written - (hour or 0))
    rest = written - (five_minutes or 0) - (hour or 0)
    untold = rest if rest or (five_minutes is None and hour is None) else None
    return untold, five_minutes, hour


_TEXT_MARK = b'"type":"text_delta","text":"'


class MessagesReader(BaseReader):
    """Messages, whole or streamed, and the lines of a batch."""

    __slots__ = ("_content", "_output_told", "_raw")
    text_mark = _TEXT_MARK

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._raw: dict[str, Any] = {}
        self._output_told = False
        self._content = False

    def answer(self, answer: Mapping[str, Any]) -> None:
        """A whole message."""
        if answer.get("type") == "error":
            self.failed = error_type(answer.get("error"))
            self.billed = False
            return
        self._about(answer)
        self._output_told = True
        # without the content, the count is all that tells whether there was any
        self._content = bool(answer.get("content", self._raw.get("output_tokens")))
        self._stopped(answer.get("stop_reason"))

    def event(self, data: bytes | str, name: str | None = None) -> bool | None:
        """One event of a stream; those with content are not parsed."""
        data = utf8(data)
        if name == "content_block_delta" or b'"content_block_delta"' in data:
            self._content = True
            start = data.find(b'"delta"', data.find(b'"delta"') + 7)
            self.delivered += characters(data, max(start, 0))
            return data.count(_TEXT_MARK) == 1
        if name == "content_block_start" or b'"content_block_start"' in data:
            self._content = True
        elif name not in ("content_block_stop", "ping"):
            event = parsed(data)
            if isinstance(event, MAPPING):
                self._event(event)
        return None

    def _event(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind == "message_start":
            message = event.get("message")
            if isinstance(message, MAPPING):
                self._about(message)
        elif kind == "message_delta":
            usage = event.get("usage")
            if isinstance(usage, MAPPING):
                self._overlay(usage)
                self._output_told = usage.get("output_tokens") is not None or self._output_told
            delta = event.get("delta")
            if isinstance(delta, MAPPING):
                self._stopped(delta.get("stop_reason"))
        elif kind == "message_stop":
            self.complete = True
        elif kind == "error":
            self.failed = error_type(event.get("error"))
        elif kind == "message":  # a whole body where a stream was due
            self.answer(event)
            self.complete = True

    def _about(self, message: Mapping[str, Any]) -> None:
        self.model = word(message.get("model")) or self.model
        self.response_id = word(message.get("id")) or self.response_id
        usage = message.get("usage")
        if isinstance(usage, MAPPING):
            self._overlay(usage)
        elif usage is not None:
            note_once(self.notes, "bad_usage:usage")

    def _overlay(self, usage: Mapping[str, Any]) -> None:
        """Later numbers are totals too: each one that is told replaces the earlier one."""
        for key, value in usage.items():
            if value is not None:
                self._raw[key] = value

    def _stopped(self, reason: Any) -> None:
        said = word(reason)
        if said is None:
            return
        self.finish_reasons = (said,)
        # documented: a refusal before any output is not billed though it shows counts
        self.billed = said != "refusal" or self._content

    @property
    def final(self) -> bool:
        """Whoever leaves a stream once it said why it stopped has seen its last numbers."""
        return self.complete or (self._output_told and bool(self.finish_reasons))

    def readings(self) -> tuple[Reading, ...]:
        """One reading; or one for each iteration, which the numbers on top partly leave out."""
        raw = self._raw
        self.tier = _tier(raw)
        geo = word(raw.get("inference_geo"))
        self.region = None if geo == "not_available" else geo
        if not self.billed:
            return super().readings()
        notes = list(self.notes)
        told = raw if self._output_told else {**raw, **_NOT_YET}
        usage = usage_of(told, notes)
        units = _units(raw, notes)
        parts = self._iterations(raw, notes) if self._output_told else ()
        if parts:
            return self._each(parts, usage, units, notes)
        if usage is None and not (self.model or self.response_id or notes):
            return ()
        reading = self._reading(usage, units)
        return (reading._replace(notes=tuple(notes)),)

    def _iterations(
        self, raw: Mapping[str, Any], notes: list[str]
    ) -> tuple[Mapping[str, Any], ...]:
        said = raw.get("iterations")
        if not said:
            return ()
        parts = mappings(said)
        if not isinstance(said, list) or len(parts) != len(said):
            notes.append("bad_usage:iterations")
            return ()
        return tuple(parts)

    def _each(
        self,
        parts: tuple[Mapping[str, Any], ...],
        top: Usage | None,
        units: dict[str, int],
        notes: list[str],
    ) -> tuple[Reading, ...]:
        readings = []
        if not _agree(parts, self._raw):
            # what is not in the numbers on top is billed besides them, never instead of them
            notes.append("iterations_mismatch")
            readings.append(self._reading(top, NOTHING)._replace(entry="message", notes=()))
            parts = tuple(part for part in parts if word(part.get("type")) not in _ON_TOP)
        thinking = top.reasoning if top is not None else None
        five_minutes, hour = (top.cache_write_5m, top.cache_write_1h) if top else (None, None)
        for part in parts:
            own: list[str] = []
            usage = usage_of(part, own)
            kind = word(part.get("type"))
            model = word(part.get("model")) or self.model
            if usage is not None and thinking and kind in _ON_TOP and usage.reasoning is None:
                # only the sum of the thinking is told; which iteration it was changes no price
                share = min(thinking, usage.output or 0)
                thinking -= share
                usage = usage._replace(
                    output=None if usage.output is None else usage.output - share, reasoning=share
                )
            if (
                usage is not None
                and kind in _ON_TOP
                and usage.cache_write
                and (five_minutes or hour)
            ):
                # as with the thinking: the lifetimes of the writes are told for the sum alone
                long = min(hour or 0, usage.cache_write)
                short = min(five_minutes or 0, usage.cache_write - long)
                hour, five_minutes = (hour or 0) - long, (five_minutes or 0) - short
                usage = usage._replace(
                    cache_write=usage.cache_write - long - short or None,
                    cache_write_5m=_plus(usage.cache_write_5m, short),
                    cache_write_1h=_plus(usage.cache_write_1h, long),
                )
            reading = self._reading(usage, NOTHING)
            readings.append(reading._replace(model=model, entry=kind, notes=tuple(own)))
        readings[0] = readings[0]._replace(
            units=units or NOTHING, notes=(*notes, *readings[0].notes)
        )
        return tuple(readings)


def _agree(parts: tuple[Mapping[str, Any], ...], top: Mapping[str, Any]) -> bool:
    """Whether the iterations that the numbers on top include add up to them."""
    included = [part for part in parts if word(part.get("type")) in _ON_TOP]
    return all(
        sum(count(part, key, []) or 0 for part in included) == count(top, key, [])
        for key in _COUNTS
        if top.get(key) is not None
    )


def _plus(one: int | None, other: int) -> int | None:
    return (one or 0) + other if other else one


_ON_TOP = ("message", "fallback_message")
"""The types of iterations whose tokens the numbers on top include."""


_NOT_YET = {"output_tokens": None, "output_tokens_details": None}
"""What the beginning of a stream says of its output is a placeholder."""


def _tier(raw: Mapping[str, Any]) -> str | None:
    speed = tiers.canonical(tiers.ANTHROPIC, raw.get("speed"))
    tier = tiers.canonical(tiers.ANTHROPIC, raw.get("service_tier"))
    return tier if speed in (None, "standard") or tier == "batch" else speed


def _units(raw: Mapping[str, Any], notes: list[str]) -> dict[str, int]:
    """`{"web_search_requests": 2}` is `{"web_search": 2}`: unknown tools keep their name."""
    said = section(raw, ("server_tool_use",), notes)
    units = {}
    for key in map(str, said):
        if key.endswith("_requests"):
            number = count(said, key, notes)
            if number:
                units[key.removesuffix("_requests")] = number
    return units
