"""Rows in bulk: read one after the other, and written in batches, whatever their number."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, tzinfo

from sqlalchemy import select

from . import schema, store
from .daily import begin
from .journal import Kept
from .ledger import Ledger
from .rows import COLUMNS, JSON

TYPES: Mapping[str, type] = {
    name: dict if name in JSON else schema.records.c[name].type.python_type for name in COLUMNS
}
"""What each column of a row holds: `str`, `int`, `bool`, or `dict` for anything of JSON."""

REQUIRED = frozenset(name for name in COLUMNS if not schema.records.c[name].nullable)
"""The columns that are never unknown."""


def read(
    ledger: Ledger, since: date | None = None, until: date | None = None, zone: tzinfo = UTC
) -> Iterator[Kept]:
    """Each row with its scopes, the oldest first; what a column holds as JSON is decoded.

    Raises the database's errors, and `ConfigurationError` if the ledger belongs to a newer version.
    """
    time = schema.records.c.time
    which = []
    if since is not None:
        which.append(time >= begin(since, zone))
    if until is not None:
        which.append(time < begin(until, zone))
    return ledger.rows(*which)


def keep(ledger: Ledger, rows: Sequence[Kept]) -> int:
    """Write rows, each once; how many were not there before. Raises the database's errors."""
    ledger.migrate()
    ids = {row[0] for row, _ in rows}
    query = select(schema.records.c.id).where(schema.records.c.id.in_(ids))
    with ledger.database.reading() as connection:
        there = len(list(connection.execute(query)))
    store.write(ledger.database, rows)
    return len(ids) - there
