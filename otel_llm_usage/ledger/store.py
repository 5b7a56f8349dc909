"""Rows into a database: each once, in batches, whatever is sent twice; and into the sums."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from .database import ADVISORY, Database
from .journal import Kept
from .rows import COLUMNS, Row
from .schema import ALL_SUMS, VERSION, days, half_hours, people
from .totals import add_from

_INCOMING = f"_incoming_{VERSION}"
"""Behind the name of a table: a pooler may give us a connection that has seen another version."""
_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)


def write(database: Database, rows: Sequence[Kept]) -> None:
    """Keep rows and what scopes they belong to, in one transaction; what is there already stays as it is.

    Raises the database's errors: then nothing of it is kept.
    """
    insert = _into_sqlite if database.is_sqlite else _into_postgres
    scopes = [(scope, row[0]) for row, scopes in rows for scope in scopes]
    with database.writing() as connection:
        insert(connection, [row for row, _ in rows], scopes)


def _into_sqlite(connection: Connection, rows: list[Row], scopes: list[tuple[str, str]]) -> None:
    marks = ", ".join("?" * len(COLUMNS))
    if rows:
        last = connection.exec_driver_sql("SELECT coalesce(max(rowid), 0) FROM llm_usage").scalar()
        connection.exec_driver_sql(
            f"INSERT INTO llm_usage ({_NAMES}) VALUES ({marks}) ON CONFLICT DO NOTHING", rows
        )
        for table in ALL_SUMS:
            # nobody else writes meanwhile: what is behind the last one is new
            source = f"llm_usage WHERE rowid > {last}"
            connection.execute(text(add_from(source, table, sqlite=True)))
    if scopes:
        connection.exec_driver_sql(
            "INSERT INTO llm_usage_scope (scope, record) VALUES (?, ?) ON CONFLICT DO NOTHING",
            scopes,
        )


def _into_postgres(connection: Connection, rows: list[Row], scopes: list[tuple[str, str]]) -> None:
    """By COPY into a table of this connection, and from there: COPY itself knows no conflicts."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock_shared({ADVISORY})")
    if scopes:
        _copy(connection, "llm_usage_scope", "scope, record", scopes)
        connection.exec_driver_sql(
            "INSERT INTO llm_usage_scope (scope, record) SELECT scope, record "
            f"FROM llm_usage_scope{_INCOMING} ORDER BY scope, record ON CONFLICT DO NOTHING"
        )
    if rows:
        _copy(connection, "llm_usage", _NAMES, rows)
        # last, for others wait for the sums of this moment until this has ended
        connection.execute(_FRESH)


def _copy(connection: Connection, table: str, names: str, rows: Sequence[Row]) -> None:
    incoming = table + _INCOMING
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {incoming} (LIKE {table}) ON COMMIT DELETE ROWS"
    )
    cursor: Any = connection.connection.cursor()
    with cursor, cursor.copy(f"COPY {incoming} ({names}) FROM STDIN") as copy:
        for one in rows:
            copy.write_row(one)


_FRESH = text(
    f"WITH fresh AS (INSERT INTO llm_usage ({_NAMES}) SELECT {_NAMES} FROM llm_usage{_INCOMING} "
    f"ORDER BY id ON CONFLICT DO NOTHING RETURNING *), "
    f"of_half_hours AS ({add_from('fresh', half_hours, sqlite=False)}), "
    f"of_days AS ({add_from('fresh', days, sqlite=False)}) "
    f"{add_from('fresh', people, sqlite=False)}"
)
"""Only what was not there is added to the sums."""
