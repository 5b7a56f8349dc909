"""What every reader of answers has in common."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol

from ..records import MAPPING, NOTHING, Reading, Request, Usage
from .values import parsed

NOT_BILLED = "not_billed"
"""The note of a reading whose answer says that it costs nothing."""


_WORD = re.compile(r"[\w.:-]{1,64}", re.ASCII)


class Reader(Protocol):
    """Reads along with one answer. Cheap to make; nothing it is given makes it raise."""

    complete: bool
    """The answer said its own end: `[DONE]`, `message_stop`, `response.completed`…"""
    failed: str | None
    """The type of an error inside a successful answer."""
    delivered: int
    """Characters of the answer (text, visible thinking, tool arguments) seen in passing."""
    billed: bool
    """False where the answer says that it is not billed (or not yet, see `pending`)."""
    pending: bool
    """The provider goes on in the background; the bill comes with a later answer."""
    needs_body: bool
    """False where a body that is no stream of events tells nothing: nobody need keep it."""
    text_mark: bytes | None
    """What stands before the text in an event that holds nothing else, up to the quote that opens it."""
    response_id: str | None

    def body(self, raw: bytes | str, headers: Mapping[str, str] | None = None) -> None:
        """A whole body."""

    def event(self, data: bytes | str, name: str | None = None) -> bool | None:
        """The data of one event of a stream.

        True if it held nothing but a piece of text: another one with the same bytes around its text
        tells nothing else either.
        """

    def headers(self, headers: Mapping[str, str]) -> None:
        """The response's headers."""

    def readings(self) -> tuple[Reading, ...]:
        """What is known so far; nothing where nothing was reported."""


class BaseReader:
    """A reader for answers without usage; the others say what differs."""

    __slots__ = (
        "_introductions",
        "billed",
        "complete",
        "delivered",
        "failed",
        "finish_reasons",
        "model",
        "notes",
        "pending",
        "region",
        "request",
        "response_id",
        "tier",
        "units",
        "usage",
    )
    needs_body = True
    text_mark: bytes | None = None

    def __init__(self, request: Request) -> None:
        self.request = request
        self.complete = False
        self.failed: str | None = None
        self.delivered = 0
        self.billed = True
        self.pending = False
        self.model: str | None = None
        self.tier: str | None = None
        self.region: str | None = None
        self.response_id: str | None = None
        self.finish_reasons: tuple[str, ...] = ()
        self.usage: Usage | None = None
        self.units: dict[str, int | Decimal] = {}
        self.notes: list[str] = []
        self._introductions = 3

    def headers(self, headers: Mapping[str, str]) -> None:
        """Most providers say nothing about the bill in their headers."""

    def body(self, raw: bytes | str, headers: Mapping[str, str] | None = None) -> None:
        """A whole JSON body."""
        if headers is not None:
            self.headers(headers)
        answer = parsed(raw)
        if isinstance(answer, MAPPING):
            self.answer(answer)
        elif isinstance(answer, list):
            for part in answer:  # Gemini streams without `alt=sse` are one array
                if isinstance(part, MAPPING):
                    self.answer(part)
        else:
            self.notes.append("bad_json")
        self.complete = True

    def event(self, data: bytes | str, name: str | None = None) -> bool | None:
        """One event: by default a body of its own."""
        answer = parsed(data)
        if isinstance(answer, MAPPING):
            self.answer(answer)
        return None

    def answer(self, answer: Mapping[str, Any]) -> None:
        """A parsed body."""

    def unacquainted(self) -> bool:
        """Whether the model is not known yet and this chunk is worth parsing for it."""
        if self.model is not None or self._introductions == 0:
            return False
        self._introductions -= 1
        return True

    @property
    def final(self) -> bool:
        """Whether the numbers will not change any more."""
        return self.complete

    def readings(self) -> tuple[Reading, ...]:
        """One reading of all that is known."""
        if not self.billed:
            return (self._reading(None, {}),) if self.model or self.response_id else ()
        if self.usage is None and not (
            self.units or self.notes or self.model or self.response_id or self.finish_reasons
        ):
            return ()
        return (self._reading(self.usage, self.units),)

    def _reading(self, usage: Usage | None, units: Mapping[str, int | Decimal]) -> Reading:
        return Reading(
            usage,
            units or NOTHING,
            self.model,
            self.tier,
            self.region,
            self.response_id,
            self.finish_reasons,
            None,
            self.final,
            tuple(self.notes),
        )


def note_once(notes: list[str], note: str) -> None:
    """A note that repeated chunks do not repeat."""
    if note not in notes:
        notes.append(note)


def error_type(error: Any) -> str:
    """The type of an error object inside an answer."""
    if isinstance(error, MAPPING):
        for key in ("type", "code", "status"):
            value = error.get(key)
            if isinstance(value, str | int) and value not in ("", True, False):
                # a word is a type; a sentence may be somebody's text
                return str(value) if _WORD.fullmatch(str(value)) else "_OTHER"
    return "error"


def last_object(raw: bytes | str, key: bytes) -> tuple[bytes, int]:
    """The bytes of a body and where the value of its last `"key":` begins; -1 where there is none.

    Quotes inside JSON strings are escaped, so `"key"` followed by a colon is a key.
    """
    data = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass")
    quoted = b'"' + key + b'"'
    end = len(data)
    while (found := data.rfind(quoted, 0, end)) >= 0:
        after = data[found + len(quoted) : found + len(quoted) + 64].lstrip()
        if after.startswith(b":"):
            value = data.index(b":", found + len(quoted)) + 1
            while data[value : value + 1].isspace():
                value += 1
            return data, value
        end = found
    return data, -1
