"""Usage from files into the ledger: what was written down elsewhere, and what was exported from here."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, tzinfo
from itertools import islice
from typing import Any, NamedTuple

from .. import rowfiles
from ..errors import ConfigurationError
from ..ledger import Ledger
from ..ledger.bulk import keep
from ..ledger.journal import Kept
from ..ledger.rows import COLUMNS, clean, cleaned, plain, row_of
from ..prices import Catalogue, load_catalogue
from ..records import NOTHING
from ..rowfiles import FileRow
from . import parquet, raw
from .foreign import Counts, Foreign
from .raw import Unfit

_BATCH = 2000
_MOST_PROBLEMS = 1000
_MOST_IGNORED = 100
_COST_STATUS = COLUMNS.index("cost_status")
_INCOMPLETE = ("partial", "unpriced")


class Problem(NamedTuple):
    """A row that was not taken."""

    number: int
    """Its line; of a list of JSON and of Parquet, its place in it. The first is 1."""
    reason: str


class Imported(NamedTuple):
    """What became of a file."""

    rows: int
    """How many it has."""
    new: int
    """How many were not in the ledger before."""
    rejected: int
    problems: tuple[Problem, ...]
    """The first thousand of those that were rejected."""
    unpriced: int
    """How many have no known cost, or only a part of it."""
    ignored: tuple[str, ...]
    """Columns that nothing was made of."""


def import_usage(
    ledger: Ledger,
    path: str | os.PathLike[str],
    *,
    catalogue: Catalogue | None = None,
    columns: Mapping[str, str] = NOTHING,
    counts: Counts = "auto",
    provider: str | None = None,
    zone: tzinfo = UTC,
    strict: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Imported:
    """Take the rows of a CSV, of JSON (lines, or a list) or of Parquet into the ledger, each once.

    A row that `export_records` has written becomes the record that it was. Of other rows the columns
    are found by their usual names, or by `columns`: their name, and what it is (see `foreign.FIELDS`).
    `counts`: whether the input and output of a row have what was cached and reasoned in them; if not
    said, the names of the columns and the provider tell. `provider`: whose they are where a row does
    not say; else the model tells. `zone`: of times without one. What has no cost is priced as at its
    time by `catalogue`, the shipped one if left out; a cost that is given stays as it is.

    A row is known by what it says, so a file may be imported again. `strict`: nothing is taken if a row
    can't be. `progress` is told how many rows were read, from time to time.

    `ConfigurationError` where the file can't be read, or (`strict`) a row; the database's errors.
    """
    if counts not in ("auto", "totals", "disjoint"):
        raise ConfigurationError(f"counts={counts!r}: choose one of auto, totals, disjoint")
    foreign = Foreign(
        catalogue or load_catalogue(), columns=columns, counts=counts, provider=provider, zone=zone
    )
    if strict:
        for _, found in _read(path, foreign):
            if isinstance(found, Problem):
                raise ConfigurationError(f"{path}, row {found.number}: {found.reason}")
    return _Import(ledger, path, progress).run(_read(path, foreign), foreign)


class _Import:
    def __init__(
        self,
        ledger: Ledger,
        path: str | os.PathLike[str],
        progress: Callable[[int], object] | None,
    ) -> None:
        self._ledger = ledger
        self._path = path
        self._progress = progress
        self._rejected = 0
        self._problems: list[Problem] = []

    def run(self, rows: Iterator[tuple[int, "Kept | Problem"]], foreign: Foreign) -> Imported:
        count = new = unpriced = 0
        while batch := list(islice(rows, _BATCH)):
            count += len(batch)
            fit = [(number, found) for number, found in batch if not isinstance(found, Problem)]
            self._reject(found for _, found in batch if isinstance(found, Problem))
            unpriced += sum(row[_COST_STATUS] in _INCOMPLETE for _, (row, _) in fit)
            new += self._keep(fit)
            if self._progress is not None:
                self._progress(count)
        ignored = tuple(islice(foreign.ignored, _MOST_IGNORED))
        return Imported(count, new, self._rejected, tuple(self._problems), unpriced, ignored)

    def _keep(self, rows: list[tuple[int, Kept]]) -> int:
        if not rows:
            return 0
        try:
            return keep(self._ledger, [kept for _, kept in rows])
        except self._ledger.database.unfit:
            number, (row, scopes) = rows[0]
            fit = cleaned(row), tuple(map(clean, scopes))
            if len(rows) == 1 and fit != (row, scopes):
                return self._keep([(number, fit)])
            if len(rows) == 1:
                self._reject([Problem(number, "the database does not take it")])
                return 0
            middle = len(rows) // 2
            return self._keep(rows[:middle]) + self._keep(rows[middle:])

    def _reject(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._rejected += 1
            if len(self._problems) < _MOST_PROBLEMS:
                self._problems.append(problem)


def _read(path: str | os.PathLike[str], foreign: Foreign) -> Iterator[tuple[int, "Kept | Problem"]]:
    """Each row as the ledger keeps it, or what is wrong with it."""
    rows = parquet.read(path) if parquet.is_one(path) else rowfiles.read(path)
    with closing(_Occurrences()) as occurrences:
        for row in rows:
            try:
                yield row.number, _kept(row, foreign, occurrences)
            except Unfit as error:
                yield row.number, Problem(row.number, str(error))


def _kept(row: FileRow, foreign: Foreign, occurrences: "_Occurrences") -> Kept:
    if row.problem is not None:
        raise Unfit(row.problem)
    if raw.is_ours(row.values):
        return raw.kept_of(row.values, from_csv=row.from_csv)
    values = rowfiles.flat(row.values)
    record, service = foreign.record(occurrences.id_of(values), values)
    return plain(row_of(record, service)), ()


class _Occurrences:
    """Ids of rows: of what they say, and of how many of the same there were before. On the disk, where
    there are many."""

    def __init__(self) -> None:
        self._counts = sqlite3.connect("", isolation_level=None)
        self._counts.execute("PRAGMA journal_mode = OFF")
        self._counts.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, times INT) WITHOUT ROWID")
        self._counts.execute("BEGIN")

    def id_of(self, values: Mapping[str, Any]) -> str:
        said = json.dumps(values, sort_keys=True, default=str, separators=(",", ":")).encode()
        digest = hashlib.blake2b(said, digest_size=16).digest()
        ((times,),) = self._counts.execute(
            "INSERT INTO seen VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1 "
            "RETURNING times",
            (digest,),
        )
        return hashlib.blake2b(digest + b"%d" % times, digest_size=16).hexdigest()

    def close(self) -> None:
        self._counts.close()
