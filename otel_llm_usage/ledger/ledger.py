"""The ledger: a database, what brings records into it, and what waits while it is away."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, inspect, select

from .. import forks
from .._version import __version__
from ..errors import ConfigurationError
from ..records import Record
from . import schema, store
from .database import PORTION, Database
from .journal import Journal, Kept
from .migrations import migrate
from .rows import COLUMNS, record_of
from .writer import Writer


class Ledger:
    """Keeps every record, each once. A sink; safe to share by threads, processes and machines."""

    def __init__(
        self,
        place: str | os.PathLike[str],
        *,
        service: str = "",
        sync: bool = False,
        journal: str | os.PathLike[str] | None = None,
    ) -> None:
        """`place`: the path of an SQLite file, or `postgresql://user@host/name`. `service`: who calls.

        `sync`: whoever hands over a record waits until it is on the disk; else it is written within
        half a second. `journal`: the folder for what waits while the database is away, with a folder in it
        for each ledger; beside an SQLite file if left out, else `~/.local/state/otel-llm-usage`.

        Nothing is opened before there is something to write. `ConfigurationError` where the place can't
        be one, `MissingExtra` where the driver is missing.
        """
        self.database = Database(place)
        self._migrated = False
        self._closed = False
        self.folder = _journal_folder(self.database, journal)
        self.writer = Writer(
            self._keep,
            Journal(self.folder),
            service,
            unfit=self.database.unfit,
            sync=sync,
        )
        _open.add(self)

    def __call__(self, record: Record) -> None:
        """Take a record."""
        self.writer(record)

    def _keep(self, rows: Sequence[Kept]) -> None:
        try:
            self.migrate()
            store.write(self.database, rows)
        except BaseException:
            self._migrated = False  # somebody may have put an empty one in its place
            raise
        finally:
            if self._closed:
                self.database.close()

    def migrate(self) -> None:
        """Bring the schema up to date, once. Raises the database's errors, and `ConfigurationError` if
        the ledger belongs to a newer version, or somebody has dropped a part of it."""
        if not self._migrated:
            migrate(self.database, __version__)
            with self.database.reading() as connection:
                _check_whole(connection)
            self._migrated = True

    def flush(self) -> None:
        """See what was handed over until now written."""
        self.writer.flush()

    def close(self) -> None:
        """Write what is there, and close the database."""
        self._closed = True
        self.writer.close()
        if not self.writer.asking:  # else whoever asks does it when he has his answer
            self.database.close()
        _open.discard(self)

    def forget(self) -> None:
        """In a forked child: its own records, its own connections."""
        self.database.forget()
        self.writer.forget(hands_over=self.database.left_to_parent)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of everything, with what was handed over until now.

        Raises the database's errors, and `ConfigurationError` as `migrate` does.
        """
        self.flush()
        self.migrate()
        with self.database.reading() as connection:
            yield connection

    def rows(self, *which: ColumnElement[bool]) -> Iterator[Kept]:
        """The rows for which all this holds, the oldest first, as they are at one moment, each with its
        scopes, which are in no order; what a column holds as JSON is decoded.

        Holds few of them in memory, and a transaction open until the end.
        """
        columns = schema.records.c
        query = select(*(columns[name] for name in COLUMNS)).where(*which)
        query = query.order_by(columns.time, columns.id)
        with self.reading() as connection:
            found = connection.execution_options(yield_per=PORTION).execute(query)
            for rows in found.partitions():
                scopes = _scopes(connection, [row.id for row in rows])
                for row in rows:
                    yield tuple(row), scopes.get(row.id, ())

    def records(self) -> Iterator[Record]:
        """Every record, as `rows` gives them."""
        for row, scopes in self.rows():
            yield record_of(row)._replace(scopes=scopes)


def _scopes(connection: Connection, ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """The scopes of each of these records that has any."""
    scope = schema.scopes.c
    found: dict[str, tuple[str, ...]] = {}
    query = select(scope.record, scope.scope).where(scope.record.in_(ids)).order_by(scope.scope)
    for record, name in connection.execute(query):
        found[record] = (*found.get(record, ()), name)
    return found


def _check_whole(connection: Connection) -> None:
    there = inspect(connection)
    gone = [one.name for one in schema.metadata.sorted_tables if not there.has_table(one.name)]
    if gone:
        raise ConfigurationError(
            f"somebody has dropped {', '.join(gone)}, and left the rest: drop every table and view that "
            "begins with llm_usage, then they are made anew; or restore what is gone"
        )


_open: set[Ledger] = set()
_held: list[Callable[[], None]] = []


def _before_fork() -> None:
    _held.extend([ledger.writer.hold() for ledger in tuple(_open)])


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()()


def _after_fork_in_child() -> None:
    _held.clear()
    for ledger in tuple(_open):
        ledger.forget()


forks.around(before=_before_fork, parent=_after_fork_in_parent, child=_after_fork_in_child)


def _journal_folder(database: Database, told: str | os.PathLike[str] | None) -> Path:
    """Where the journal is: on the disk of this machine, one folder for each ledger."""
    file = database.url.database
    if database.is_sqlite and file:
        file = os.fspath(Path(file).resolve())
        if told is None:
            return Path(f"{file}.journal")
    address = database.url.set(password=None, database=file).render_as_string()
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    if told is not None:
        return Path(told).absolute() / digest
    try:
        home = Path.home()
    except RuntimeError:
        raise ConfigurationError(
            "ledger: there is no home folder for its journal: say ledger_journal"
        ) from None
    return home / ".local" / "state" / "otel-llm-usage" / digest
