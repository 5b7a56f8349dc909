"""One database: SQLite in a file, or PostgreSQL; what differs between them is here and nowhere else."""

import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    IntegrityError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.pool import NullPool

from ..errors import ConfigurationError, LLMUsageError, MissingExtra

DatabaseError = SQLAlchemyError
"""What reading and writing raise where the database is away, locked or refuses."""

PORTION = 1_000
"""Rows that are read at once."""

BUSY = 30.0
"""Seconds that a writer of an SQLite file waits for the others."""
_TOO_LARGE = "54000"
"""What PostgreSQL says of a row that is too large for one of its indexes or types."""
ADVISORY = 0x6C6C6D75
"""What PostgreSQL's writers share, and whoever changes what is there has alone ("llmu")."""


def parse(place: str | os.PathLike[str]) -> URL:
    """The address of a database: a path of a file, `sqlite:///usage.db`, `postgresql://host/name`."""
    text = os.fspath(place)
    if "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        url = make_url(text)
    except ArgumentError:
        raise ConfigurationError(
            f"ledger={_shown(text)!r} is no address of a database: say a path, sqlite:///usage.db or "
            "postgresql://user@host/name"
        ) from None
    kind = url.get_backend_name()
    if kind in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if kind == "sqlite":
        return url.set(drivername="sqlite")
    raise ConfigurationError(
        f"ledger={kind!r}: the ledger is kept in SQLite or PostgreSQL: say sqlite:///usage.db or "
        "postgresql://user@host/name"
    )


def _shown(text: str) -> str:
    """Without what may be a password."""
    scheme, separator, rest = text.rpartition("://")
    return f"{scheme}{separator}…{rest.rpartition('@')[2]}" if "@" in rest else text


class Database:
    """Connections to one database, made when they are needed, and given up in a forked child."""

    def __init__(self, place: str | os.PathLike[str]) -> None:
        """`ConfigurationError` where the place can't be one, `MissingExtra` without its driver."""
        self.url = parse(place)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.url = self.url.set(database=_checked_file(self.url.database))
        self._opened: set[int] = set()
        """Connections to an SQLite file that are open."""
        self._parents: list[Engine] = []
        self.left_to_parent = False
        """Whether this process must not open the file: it was forked while its parent had it open, and
        what SQLite then knows of locks and sharing is not true here."""
        self.engine = self._engine()

    def __repr__(self) -> str:
        return f"<Database {self.url.render_as_string(hide_password=True)}>"

    def _engine(self) -> Engine:
        if not self.is_sqlite:
            try:
                return sqlalchemy.create_engine(
                    self.url,
                    pool_pre_ping=True,
                    pool_size=2,
                    hide_parameters=True,
                    connect_args={
                        "application_name": "otel-llm-usage",
                        "connect_timeout": 5,
                        "client_encoding": "utf8",  # whatever the server's default is
                        # a pooler in between may go on with another connection of the server's
                        "prepare_threshold": None,
                    },
                )
            except ImportError:
                raise MissingExtra("a ledger in PostgreSQL", "postgres") from None
        # a connection is opened for each batch: none is there when a process forks
        engine = sqlalchemy.create_engine(
            self.url,
            connect_args={"timeout": BUSY},
            poolclass=NullPool,
            hide_parameters=True,  # whose calls these are is nothing for a log
        )
        event.listen(engine, "do_connect", self._opening)
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "close", self._closing)
        event.listen(engine, "begin", _begin)
        return engine

    def _opening(self, *_: Any) -> None:
        if self.left_to_parent:
            raise LLMUsageError(
                "this process was forked while its parent had the ledger's file open, so only others can "
                "use it"
            )
        file = self.url.database
        if file and not file.startswith("file:"):
            _make_private(Path(file).resolve())

    def _connected(self, connection: Any, _: Any) -> None:
        _prepare(connection)
        self._opened.add(id(connection))

    def _closing(self, connection: Any, _: Any) -> None:
        self._opened.discard(id(connection))

    def make_ready(self) -> None:
        """Have readers and a writer of an SQLite file not wait for each other; a file remembers that."""
        if not self.is_sqlite:
            return
        until = time.monotonic() + BUSY
        while True:
            try:
                with self.engine.connect() as connection:
                    raw: Any = connection.connection
                    raw.execute("PRAGMA journal_mode = WAL")
                return
            except OperationalError as error:
                # SQLite itself does not wait for the others here
                code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
                if code != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.05)

    @property
    def unfit(self) -> tuple[type[Exception], ...]:
        """The errors that say that a row itself is at fault."""
        driver: Any = self.engine.dialect.loaded_dbapi
        return (
            DataError,
            IntegrityError,
            driver.DataError,
            driver.IntegrityError,
            UnicodeError,
            OverflowError,
        )

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; each statement sees what others have written until then, so that
        whoever has waited for them knows what they did. Raises the database's errors."""
        level = {} if self.is_sqlite else {"isolation_level": "READ COMMITTED"}
        with self.engine.connect() as connection:
            connection = connection.execution_options(writes=True, **level)
            try:
                with connection.begin():
                    yield connection
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) != _TOO_LARGE or error.orig is None:
                    raise
                # the row is at fault, not the server
                raise DataError(error.statement, None, error.orig, hide_parameters=True) from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of everything."""
        level = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with self.engine.connect() as connection:
            connection = connection.execution_options(**level)
            with connection.begin():
                yield connection

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """A transaction that changes the schema, or what is there: nobody else writes meanwhile."""
        with self.writing() as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY})")
            yield connection

    def forget(self) -> None:
        """Leave the connections to the parent: we are its forked child."""
        self.left_to_parent = self.left_to_parent or bool(self._opened)
        self._parents.append(self.engine)  # nobody is to take down what the parent speaks through
        self.engine = self._engine()  # of the old one somebody may have held locks

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _checked_file(file: str | None) -> str:
    """Its path, wherever the process goes later."""
    if not file or file == ":memory:":
        raise ConfigurationError(
            "ledger: a database in memory would keep nothing: say the path of a file"
        )
    folder = Path(file).resolve().parent
    if not folder.is_dir():
        raise ConfigurationError(
            f"ledger={_shown(file)!r}: there is no folder {_shown(str(folder))!r}: make it, or say another"
        )
    return file if file.startswith("file:") else os.path.abspath(file)


def _make_private(file: Path) -> None:
    """See that a new file is for nobody else, and with it those that SQLite puts beside it."""
    # not in its place: to close a file that SQLite has open gives up all the locks that it holds
    new = file.with_name(f".{file.name[:100]}.{uuid.uuid4().hex}")
    with suppress(OSError):  # SQLite will say what is wrong
        if file.exists():
            return
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            os.link(new, file)
        finally:
            new.unlink()


def _prepare(connection: Any) -> None:
    # SQLAlchemy begins, not Python's driver: a writer has to say so at once
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = NORMAL")  # in this mode whole after any crash


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
