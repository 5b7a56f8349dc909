"""The ledger: a database, what brings records into it, and what waits while it is away."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sqlalchemy import select

from .. import forks
from .._version import __version__
from ..errors import ConfigurationError
from ..records import Record
from . import schema, store
from .database import Database
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
        half a second. `journal`: the folder for what waits while the database is away; beside an SQLite
        file if left out, else in `~/.local/state/otel-llm-usage`.

        Nothing is opened before there is something to write. `ConfigurationError` where the place can't
        be one, `MissingExtra` where the driver is missing.
        """
        self.database = Database(place)
        self._migrated = False
        self._closed = False
        self.folder = Path(journal).absolute() if journal is not None else _beside(self.database)
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
        the ledger belongs to a newer version."""
        if not self._migrated:
            migrate(self.database, __version__)
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
        self.writer.forget()

    def records(self) -> Iterable[Record]:
        """Every record, the oldest first."""
        self.flush()
        self.migrate()
        columns = [schema.records.c[name] for name in COLUMNS]
        query = select(*columns).order_by(schema.records.c.time, schema.records.c.id)
        with self.database.reading() as connection:
            for row in connection.execute(query):
                yield record_of(row)


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


def _beside(database: Database) -> Path:
    """Where the journal is if nobody says: on the disk of this machine, one folder for each ledger."""
    file = database.url.database
    if database.is_sqlite and file:
        return Path(f"{Path(file).resolve()}.journal")
    address = database.url.set(password=None).render_as_string()
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    try:
        home = Path.home()
    except RuntimeError:
        raise ConfigurationError(
            "ledger: there is no home folder for its journal: say ledger_journal"
        ) from None
    return home / ".local" / "state" / "otel-llm-usage" / digest
