"""Records of the ledger as they are, to a file and back: no number is changed on the way."""

import json
import re
from collections.abc import Mapping
from datetime import date
from itertools import islice
from typing import Any

from ..ledger import Ledger
from ..ledger.bulk import REQUIRED, TYPES, read
from ..ledger.journal import Kept
from ..ledger.rows import COLUMNS
from ..records import KINDS, LARGEST
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
    if not isinstance(scopes, list) or not all(isinstance(one, str) for one in scopes):
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
        return None if decoded is None else sheets.compact(decoded)
    if kind is str and isinstance(value, str):
        return value
    if kind is bool:
        if isinstance(value, bool):
            return value
        if from_csv and value in ("true", "false"):
            return value == "true"
    if kind is int:
        if from_csv and _WHOLE.fullmatch(value):
            value = int(value)
        most = LARGEST if name in KINDS else _MOST
        if isinstance(value, int) and not isinstance(value, bool) and -most <= value <= most:
            return value
    raise Unfit(f"{name} is not what such a column holds")


def _decoded(name: str, value: Any) -> Any:
    if not isinstance(value, str) or not value:
        return value or None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Unfit(f"{name} is no JSON") from None
