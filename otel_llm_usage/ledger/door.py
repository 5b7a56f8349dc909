"""Opening a ledger that is there, for whoever asks it; what is wrong with it is said in one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import inspect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..errors import LedgerError
from . import schema
from .database import Database
from .ledger import Ledger


@contextmanager
def opened(
    place: str | os.PathLike[str],
    *,
    journal: str | os.PathLike[str] | None = None,
    new: bool = False,
) -> Iterator[Ledger]:
    """The ledger at a place, as `Ledger` takes it, until the block ends.

    `LedgerError` if there is none (with `new` it is made), and for each error of the database inside.
    """
    if not new:
        _check_there(place)
    ledger = Ledger(place, journal=journal)
    try:
        with _in_one_line(ledger.database):
            yield ledger
    finally:
        ledger.close()


def _check_there(place: str | os.PathLike[str]) -> None:
    """Whoever asks makes no file, and no tables in a database of somebody else's."""
    database = Database(place)
    file = database.url.database or ""
    if database.is_sqlite and not file.startswith("file:") and not os.path.exists(file):
        raise LedgerError(f"there is no ledger {file!r}: say where it is")
    try:
        with _in_one_line(database), database.reading() as connection:
            there = inspect(connection).has_table(schema.records.name)
    finally:
        database.close()
    if not there:
        raise LedgerError(
            f"there is no ledger in {_shown(database)}: nothing was written there yet, or it is another's"
        )


@contextmanager
def _in_one_line(database: Database) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        why = " ".join(str(cause).split())[:_LONGEST]
        hint = (
            "is it a ledger, and may you read and write it and its folder?"
            if database.is_sqlite
            else "does the server run, and are address, user and password right?"
        )
        raise LedgerError(
            f"the ledger {_shown(database)} does not answer: {why.rstrip('?')}; {hint}"
        ) from None


_LONGEST = 300
"""Letters of what a driver says: it tells every address that it has tried."""


def _shown(database: Database) -> str:
    """Where it is, without the password."""
    url = database.url
    if database.is_sqlite:
        return repr(url.database)
    return f"{url.database!r} at {url.host or 'this machine'}"
