"""From a provider's inclusive counts to disjoint kinds: every token in exactly one field.

Where counts contradict each other the total stays what the provider said: parts are cut to fit,
never negative, and a note tells.
"""

from typing import NamedTuple


class Modal(NamedTuple):
    """Counts by modality other than text; `None` is not told."""

    audio: int | None = None
    image: int | None = None
    video: int | None = None

    @property
    def sum(self) -> int:
        return (self.audio or 0) + (self.image or 0) + (self.video or 0)


NOT_TOLD = Modal()


class InputKinds(NamedTuple):
    """The input side, disjoint. In the order of `Usage`, without tool use and cache writes."""

    text: int | None
    special: Modal
    cache_read: int | None
    cached: Modal
    written: int | None


class OutputKinds(NamedTuple):
    """The output side, disjoint, in the order of `Usage`."""

    text: int | None
    reasoning: int | None
    special: Modal


def split_input(
    total: int | None,
    special: Modal,
    cached: int | None,
    cached_special: Modal | None,
    written: int | None,
    notes: list[str],
) -> InputKinds:
    """Split a prompt that includes its cached, written and non-text tokens.

    `cached_special` is `None` where the modalities of the cached tokens were not told: then a hit is
    text as far as there was text, which is noted if the prompt had anything else.
    """
    if not any(special) and (cached_special is None or not any(cached_special)):
        # most prompts are nothing but text
        if not cached and not written:
            return InputKinds(total, special, cached, cached_special or NOT_TOLD, written)
        if total is not None and (text := total - (cached or 0) - (written or 0)) >= 0:
            return InputKinds(text, special, cached, cached_special or NOT_TOLD, written)
    if total is not None:
        if (cached or 0) + (written or 0) > total:
            notes.append("cache_exceeds_input")
            cached = None if cached is None else min(cached, total)
            written = None if written is None else min(written, total - (cached or 0))
        if special.sum > total:
            notes.append("input_details_exceed_input")
            special = _fit(special, total)
    if cached and cached_special is None and special.sum:
        notes.append("cache_modality_unknown")
        cached_special = _forced(total, special, cached, written)
    told = _fit(cached_special or NOT_TOLD, cached or 0)
    if told != (cached_special or NOT_TOLD):
        notes.append("cache_details_exceed_input")
    cache_read = None if cached is None else cached - told.sum
    uncached = _minus(special, told, notes)
    if total is None:
        return InputKinds(None, uncached, cache_read, told, written)
    room = total - (cached or 0) - (written or 0)
    if uncached.sum > room:
        if not (cached or written):
            notes.append("input_details_exceed_input")
        uncached = _fit(uncached, room)
    return InputKinds(room - uncached.sum, uncached, cache_read, told, written)


def split_output(
    total: int | None, reasoning: int | None, special: Modal, notes: list[str]
) -> OutputKinds:
    """Split an answer that includes its reasoning and its non-text tokens."""
    if total is None:
        return OutputKinds(None, reasoning, special)
    if not any(special) and (text := total - (reasoning or 0)) >= 0:
        return OutputKinds(text, reasoning, special)
    if reasoning is not None and reasoning > total:
        notes.append("reasoning_exceeds_output")
        reasoning = total
    room = total - (reasoning or 0)
    if special.sum > room:
        notes.append("output_details_exceed_output")
        special = _fit(special, room)
    return OutputKinds(room - special.sum, reasoning, special)


def _forced(total: int | None, special: Modal, cached: int, written: int | None) -> Modal:
    """What must be of the one other modality, because there was not enough text to be cached."""
    if total is None or sum(1 for part in special if part) != 1:
        return NOT_TOLD
    text = max(0, total - special.sum - (written or 0))
    forced = max(0, cached - text)
    return Modal(*(min(forced, part) if part else None for part in special))


def _fit(parts: Modal, room: int) -> Modal:
    """The parts, cut so that they fit."""
    if parts.sum <= room:
        return parts
    fitted: list[int | None] = []
    for part in parts:
        fits = None if part is None else min(part, room)
        room -= fits or 0
        fitted.append(fits)
    return Modal(*fitted)


def _minus(special: Modal, cached: Modal, notes: list[str]) -> Modal:
    if not cached.sum:
        return special
    left: list[int | None] = []
    for part, hit in zip(special, cached, strict=True):
        if part is not None and (hit or 0) > part:
            notes.append("cache_details_exceed_input")
        left.append(None if part is None else max(0, part - (hit or 0)))
    return Modal(*left)
