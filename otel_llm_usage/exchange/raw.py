"""Records of the ledger as they are, to a file and back: no number is changed on the way."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import date
from itertools import islice
from typing import Any, get_args

from ..ledger import Ledger
from ..ledger.bulk import REQUIRED, TYPES, read
from ..ledger.journal import Kept
from ..ledger.rows import COLUMNS
from ..records import KINDS, LARGEST, CostStatus, UsageSource
from ..rowfiles import number
from . import sheets
from .sheets import Column, Kind, Target

_KINDS: Mapping[type, Kind] = {str: "text", int: "integer", bool: "boolean", dict: "json"}
SHEET = (
    *(Column(name, _KINDS[TYPES[name]]) for name in COLUMNS),
    Column("scopes", "json"),
)
"""The columns of the ledger, and the scopes of the record."""

_PORTION = 1000
_MOST = 2**63 - 1
"""What a database holds, and what can be counted: beyond, the sums of the ledger would not hold it."""
_YEAR_2100 = 4_102_444_800_000_000
_BETWEEN: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(KINDS, (0, LARGEST)),
    "time": (0, _YEAR_2100),
    "calls": (0, LARGEST),
    "cost_pico": (0, _MOST),
    "known_pico": (0, _MOST),
}
"""The least and the most of numbers that may not be any."""

_WORDS: Mapping[str, tuple[str, ...]] = {
    "status": ("ok", "error", "aborted", "broken"),
    "cost_status": get_args(CostStatus),
    "usage_source": get_args(UsageSource),
}
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_NAMES = frozenset(column.name for column in SHEET)
_OURS = frozenset({"id", "time", "provider", "cost_status", "known_pico", "usage_source"})
"""Columns by which a row of ours is known."""


def export_records(
    ledger: Ledger,
    to: Target,
    *,
    since: date | None = None,
    until: date | None = None,
    form: str | None = None,
    overwrite: bool = False,
) -> int:
    """Write every record, the oldest first, days of UTC; how many. A million of them need no memory.

    `until` is not in it. See `sheets.sheet` for the rest; also raises the database's errors.
    """
    count = 0
    with sheets.sheet(to, SHEET, form=form, overwrite=overwrite) as write:
        found = read(ledger, since, until)
        while portion := [(*row, list(scopes) or None) for row, scopes in islice(found, _PORTION)]:
            write(portion)
            count += len(portion)
    return count


def is_ours(values: Mapping[str, Any]) -> bool:
    """Whether a row is one that `export_records` has written."""
    return values.keys() >= _OURS


class Unfit(ValueError):  # noqa: N818 (it reads as what is wrong)
    """A row that can't be taken; the message says why, without what stands in it."""


def kept_of(values: Mapping[str, Any], *, from_csv: bool) -> Kept:
    """The row of the ledger again; `Unfit` where it is none."""
    unknown = values.keys() - _NAMES
    if unknown:
        raise Unfit(f"there is no column {min(unknown)!r} here: a newer version has written it")
    row = tuple(_value(name, values.get(name), from_csv) for name in COLUMNS)
    scopes = _decoded("scopes", values.get("scopes")) or []
    if not _texts(scopes):
        raise Unfit("scopes is no list of texts")
    return row, tuple(scopes)


def _value(name: str, value: Any, from_csv: bool) -> Any:
    kind = TYPES[name]
    required = name in REQUIRED
    # in a CSV nothing stands for what is unknown, and for an empty text where nothing is unknown
    if value is None or (value == "" and (kind is not str or (from_csv and not required))):
        if required:
            raise Unfit(f"{name} is missing")
        return None
    if kind is dict:
        decoded = _decoded(name, value)
        if decoded is None:
            return None
        if _SHAPES.get(name, _texts)(decoded):
            return sheets.compact(decoded)
    if kind is str and isinstance(value, str) and value in _WORDS.get(name, (value,)):
        return sheets.unquoted(value) if from_csv else value
    if kind is bool:
        if isinstance(value, bool):
            return value
        if from_csv and value in ("true", "false"):
            return value == "true"
    if kind is int:
        if from_csv and _WHOLE.fullmatch(value):
            value = int(value)
        least, most = _BETWEEN.get(name, (-_MOST, _MOST))
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
    raise Unfit(f"{name} is not what such a column holds")


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def _is_quantity(value: Any) -> bool:
    found = number(value) if isinstance(value, str) else None
    return _is_whole(value) or (found is not None and found >= 0)


_SHAPES: Mapping[str, Callable[[Any], bool]] = {
    "labels": _of(lambda value: isinstance(value, str)),
    "units": _of(_is_quantity),
    "cost_lines": _of(_is_whole),
}
"""What is in JSON that is no list of texts: the ledger is read as if it were so."""


def _decoded(name: str, value: Any) -> Any:
    if not isinstance(value, str) or not value:
        return value or None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Unfit(f"{name} is no JSON") from None
