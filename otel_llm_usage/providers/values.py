"""Reading what others wrote: counts, words and JSON that may be anything; nothing here raises."""

import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

from ..records import LARGEST, MAPPING

EMPTY: Mapping[str, Any] = {}

_decoder = json.JSONDecoder()
_scan: Callable[[str, int], tuple[Any, int]] = vars(_decoder)["scan_once"]
_BLANK = " \t\r\n"


def count(raw: Mapping[str, Any], key: str, notes: list[str]) -> int | None:
    """The count under `key`; `None` and, if something is there, a note where it is no count."""
    value = raw.get(key)
    if value.__class__ is int and 0 <= value <= LARGEST:
        return value
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer() and 0 <= value <= LARGEST:
        return int(value)
    notes.append(f"bad_usage:{key}")
    return None


def first_count(raw: Mapping[str, Any], keys: Iterable[str], notes: list[str]) -> int | None:
    """The count under the first of `keys` that holds one."""
    for key in keys:
        value = raw.get(key)
        if value.__class__ is int and 0 <= value <= LARGEST:
            return value
        if value is not None:
            found = count(raw, key, notes)
            if found is not None:
                return found
    return None


def section(raw: Mapping[str, Any], keys: Iterable[str], notes: list[str]) -> Mapping[str, Any]:
    """The mapping under the first of `keys`; an empty one where there is none."""
    for key in keys:
        value = raw.get(key)
        if value is None:
            continue
        if isinstance(value, MAPPING):
            return value
        notes.append(f"bad_usage:{key}")
    return EMPTY


def quantity(value: Any) -> int | Decimal | None:
    """A quantity that may have a fraction, exact: `4`, `Decimal("4.5")`."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if not 0 <= value <= LARGEST:  # also false for NaN
        return None
    return int(value) if value == int(value) else Decimal(str(value))


def word(value: Any) -> str | None:
    """A non-empty string, also out of an `Enum`."""
    if value.__class__ is str:
        return value or None
    if isinstance(value, Enum):
        value = value.value
    return value if isinstance(value, str) and value else None


def header(headers: Mapping[Any, Any], name: str) -> str | None:
    """A header, however it is spelled."""
    found = headers.get(name)
    if found is None:
        for key, value in headers.items():
            if isinstance(key, str) and key.lower() == name:
                return word(value)
    return word(found)


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in a list; none where it is no list."""
    if not isinstance(value, list | tuple):
        return []
    return [item for item in value if isinstance(item, MAPPING)]


def parsed(text: bytes | str) -> Any:
    """The JSON value, or `None` where it is none."""
    try:
        # most are an object in plain UTF-8: that needs a third less than to try everything
        scanned = text if isinstance(text, str) else text.decode()
        value, end = _scan(scanned, 0)
        if end == len(scanned) or not scanned[end:].strip(_BLANK):
            return value
    except (ValueError, StopIteration, RecursionError):
        pass
    try:
        # text, unlike bytes, is not looked through for a mark of its byte order
        return json.loads(text.removeprefix("\ufeff") if isinstance(text, str) else text)
    except (ValueError, RecursionError):
        return None


def parsed_at(text: str, position: int) -> Any:
    """The JSON value that begins at `position`, whatever follows it."""
    try:
        return _decoder.raw_decode(text, position)[0]
    except (ValueError, RecursionError):
        return None


def utf8(data: bytes | str) -> bytes:
    """As bytes."""
    return data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")


def text(data: bytes | str) -> str:
    """As text; what is no UTF-8 is replaced."""
    return data if isinstance(data, str) else data.decode("utf-8", "replace")
