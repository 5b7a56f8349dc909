"""A table that is written row by row: as JSON lines, CSV or Parquet."""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from .. import files
from ..errors import ConfigurationError
from . import parquet

Kind = Literal["text", "integer", "boolean", "decimal", "time", "json"]
Target = str | os.PathLike[str] | BinaryIO
"""A path, or what is open for writing bytes."""

Write = Callable[[Sequence[Sequence[Any]]], None]
"""Writes some rows."""

_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
FORMS = ("jsonl", "csv", "parquet")


DECIMALS = parquet.DECIMALS
"""How many a number may have."""


class Column(NamedTuple):
    """One column."""

    name: str
    kind: Kind


@contextmanager
def sheet(
    to: Target, columns: Sequence[Column], *, form: str | None = None, overwrite: bool = False
) -> Iterator[Write]:
    """What writes rows into a table. A file is there as a whole, when the block has ended well.

    `form`: one of `FORMS`; else the end of the path tells. `ConfigurationError` where it does not, where
    there is such a file already (without `overwrite`) or no such folder; `MissingExtra` for Parquet
    without its library; `OSError` where the system can't write.
    """
    writer = _WRITERS[_form(to, form)]
    if isinstance(to, str | os.PathLike):
        with files.writing(to, overwrite=overwrite) as file, writer(file, columns) as write:
            yield write
    else:
        with writer(to, columns) as write:
            yield write


def _form(to: Target, form: str | None) -> str:
    if form is None and isinstance(to, str | os.PathLike):
        form = _SUFFIXES.get(Path(to).suffix.lower())
    if form not in FORMS:
        raise ConfigurationError(f"in which form? Say one of {', '.join(FORMS)}")
    return form


def compact(value: Any) -> str:
    """JSON as text."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _text(value: Any) -> Any:
    """As JSON and CSV have it; money stays exact."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return value


@contextmanager
def _jsonl(file: BinaryIO, columns: Sequence[Column]) -> Iterator[Write]:
    names = [column.name for column in columns]

    def write(rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            told = dict(zip(names, map(_text, row), strict=True))
            file.write(compact(told).encode("utf-8", "replace") + b"\n")

    yield write


_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""A text that a spreadsheet takes for a formula, once a quote before it is gone."""


def unquoted(cell: str) -> str:
    """The text of a cell of a CSV: without the quote that keeps spreadsheets from running it."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


@contextmanager
def _csv(file: BinaryIO, columns: Sequence[Column]) -> Iterator[Write]:
    text = io.TextIOWrapper(file, "utf-8", "replace", newline="", write_through=True)
    # as RFC 4180 has it; and Python quotes a "\r" only where lines end with one
    lines = csv.writer(text, lineterminator="\r\n")
    lines.writerow([column.name for column in columns])

    def cell(value: Any, column: Column) -> Any:
        if value is None:
            return None
        if column.kind == "json":
            return compact(value)
        if column.kind == "text" and _FORMULA.match(value):
            return f"'{value}"
        return str(value).lower() if isinstance(value, bool) else _text(value)

    def write(rows: Sequence[Sequence[Any]]) -> None:
        lines.writerows([cell(*one) for one in zip(row, columns, strict=True)] for row in rows)

    try:
        yield write
    finally:
        text.detach()  # the file stays open: it is somebody else's


@contextmanager
def _parquet(file: BinaryIO, columns: Sequence[Column]) -> Iterator[Write]:
    with parquet.writer(file, columns) as put:

        def write(rows: Sequence[Sequence[Any]]) -> None:
            if not rows:
                return
            put(
                [
                    [
                        compact(value) if column.kind == "json" and value is not None else value
                        for value in values
                    ]
                    for column, values in zip(columns, zip(*rows, strict=True), strict=True)
                ]
            )

        yield write


_WRITERS = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}
