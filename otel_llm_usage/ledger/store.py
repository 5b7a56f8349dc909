"""Rows into a database: each once, in batches, whatever is sent twice."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from .database import Database
from .journal import Kept
from .rows import COLUMNS, Row

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
        connection.exec_driver_sql(
            f"INSERT INTO llm_usage ({_NAMES}) VALUES ({marks}) ON CONFLICT DO NOTHING", rows
        )
    if scopes:
        connection.exec_driver_sql(
            "INSERT INTO llm_usage_scope (scope, record) VALUES (?, ?) ON CONFLICT DO NOTHING",
            scopes,
        )


def _into_postgres(connection: Connection, rows: list[Row], scopes: list[tuple[str, str]]) -> None:
    """By COPY into a table of this connection, and from there: COPY itself knows no conflicts."""
    tables: tuple[tuple[str, str, Sequence[Row]], ...] = (
        ("llm_usage", _NAMES, rows),
        ("llm_usage_scope", "scope, record", scopes),
    )
    for table, names, values in tables:
        if not values:
            continue
        incoming = f"{table}_incoming"
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {incoming} (LIKE {table}) ON COMMIT DELETE ROWS"
        )
        cursor: Any = connection.connection.cursor()
        with cursor, cursor.copy(f"COPY {incoming} ({names}) FROM STDIN") as copy:
            for one in values:
                copy.write_row(one)
        connection.exec_driver_sql(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM {incoming} ON CONFLICT DO NOTHING"
        )
