"""Files of rows: CSV, JSON lines and lists of JSON, read one row after the other."""

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

from .errors import ConfigurationError

_CHUNK = 1 << 16
_SEPARATORS = (",", ";", "\t")
_DEEPEST = 50
"""Objects in objects that are looked into."""
_LARGEST = 1 << 24
"""Characters of one item of a list."""


class FileRow(NamedTuple):
    """One row of a file."""

    number: int
    """Its line; of a list of JSON, its place in it. The first is 1."""
    values: Mapping[str, Any]
    """What it says. Numbers with a fraction are `Decimal`."""
    problem: str | None = None
    """Why it can't be read. It does not say what stands there, which may be anything."""
    from_csv: bool = False
    """Whether every value is text, and nothing may stand for what is unknown."""


def read(path: str | os.PathLike[str], *, header: str | None = None) -> Iterator[FileRow]:
    """Every row of a file; whether it is CSV or JSON, its first sign tells.

    `header`: the column, as `word` spells it, by which the names of a CSV are found, where other lines
    may come before them. `ConfigurationError` where the file can't be read or is no such file.
    """
    try:
        # what is no UTF-8 shows as surrogates, and fails the row that it stands in
        with Path(path).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            begin = file.read(_CHUNK).lstrip()
            file.seek(0)
            if begin.startswith("["):
                rows = _listed(path, file)
            elif begin.startswith("{"):
                rows = _lines(file)
            else:
                rows = _csv(path, file, header, _separator(begin))
            for row in rows:
                yield row if row.problem else _checked(row)
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror or error}") from None


@lru_cache(maxsize=4096)
def word(name: str) -> str:
    """The name of a column as a word: `Usage start date` and `usage.start_date` are the same."""
    return re.sub(r"[^a-z0-9]+", "_", _humps(name).lower()).strip("_")


_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?")


def number(value: Any) -> Decimal | None:
    """The number that a value says, exact; `None` where it says none, or one beyond all sense.

    A comma stands between thousands or nowhere: `0,25` is no number, for it may be a quarter or 25.
    """
    if isinstance(value, str):
        text = value.strip()
        if _GROUPED.fullmatch(text):
            text = text.replace(",", "")
        elif not _NUMBER.fullmatch(text):
            return None
        exact = Decimal(text)
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        exact = Decimal(str(value) if isinstance(value, float) else value)
    else:
        return None
    return exact if exact.is_finite() and abs(exact.adjusted()) < _MOST_DIGITS else None


_MOST_DIGITS = 100
"""Before the point, or zeros behind it: whoever wrote out `1e999999999` would need a gigabyte."""


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """What lies in objects under dotted names: `{"usage": {"amount": 1}}` is `{"usage.amount": 1}`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value and prefix.count(".") < _DEEPEST:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _humps(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)


def _checked(row: FileRow) -> FileRow:
    try:
        for name, value in flat(row.values).items():
            name.encode()
            if isinstance(value, str):
                value.encode()
    except UnicodeEncodeError:
        return row._replace(problem="it is not UTF-8")
    return row


def _separator(begin: str) -> str:
    """What stands most often between the names of the columns."""
    first = re.sub('"[^"]*"', "", begin.partition("\n")[0])
    return max(_SEPARATORS, key=first.count)


def _csv(path: object, file: IO[str], header: str | None, separator: str) -> Iterator[FileRow]:
    # strict: a quote that is never closed would take all rows behind it into its cell
    lines = csv.reader(file, delimiter=separator, strict=True)
    names: list[str] | None = None
    while True:
        try:
            cells = next(lines)
        except StopIteration:
            break
        except csv.Error as error:
            yield FileRow(lines.line_num, {}, f"it is no CSV: {error}")
            continue
        if names is None:
            if any(cells) and (header is None or header in map(word, cells)):
                names = [cell.strip() for cell in cells]
                twice = next((name for name in names if name and names.count(name) > 1), None)
                if twice is not None:
                    raise ConfigurationError(
                        f"{path}: two columns are called {twice!r}: give them different names"
                    )
            continue
        if not any(cells):
            continue
        problem = None
        if len(cells) != len(names):
            problem = f"it has {len(cells)} cells, and there are {len(names)} columns"
        yield FileRow(lines.line_num, dict(zip(names, cells, strict=False)), problem, True)
    if names is None:
        raise ConfigurationError(f"{path}: there is no line with the names of the columns")


def _lines(file: IO[str]) -> Iterator[FileRow]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield _object(number, line)


def _object(number: int, line: str) -> FileRow:
    try:
        found = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError):
        return FileRow(number, {}, "it is no JSON")
    return _row(number, found)


def _row(number: int, found: Any) -> FileRow:
    if not isinstance(found, dict):
        return FileRow(number, {}, "it is no JSON object")
    return FileRow(number, found)


def _listed(path: object, file: IO[str]) -> Iterator[FileRow]:
    decoder = json.JSONDecoder(parse_float=Decimal)
    buffer, number = file.read(_CHUNK).lstrip()[1:].lstrip(), 0
    while True:
        if not buffer:
            buffer = file.read(_CHUNK).lstrip()
            if not buffer:
                break
        if buffer[0] in ",]":
            if buffer[0] == "]":
                if buffer[1:].strip() or file.read(_CHUNK).strip():
                    raise ConfigurationError(
                        f"{path}: something stands behind the list, after its item {number}"
                    )
                return
            buffer = buffer[1:].lstrip()
            continue
        try:
            found, end = decoder.raw_decode(buffer)
        except (ValueError, RecursionError):
            more = file.read(max(_CHUNK, len(buffer)))
            if not more or len(buffer) > _LARGEST:
                break
            buffer += more
            continue
        number += 1
        buffer = buffer[end:].lstrip()
        yield _row(number, found)
    # nobody knows where the next one begins
    raise ConfigurationError(f"{path}: the list is no JSON after its item {number}")
