"""The schema of a database, brought up to date by whoever opens it first; forwards only."""

import time
from collections.abc import Callable, Mapping

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    inspect,
    select,
)

from ..errors import ConfigurationError
from . import schema
from .database import Database
from .totals import rebuild

_versions = Table(
    "llm_usage_schema",
    MetaData(),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied", BigInteger, nullable=False, comment="microseconds UTC"),
    Column("by", Text, nullable=False, comment="version of the package"),
)


def _add_sums(connection: Connection) -> None:
    """Version 2: sums for reports, former costs, counting periods, savings of caches."""
    connection.exec_driver_sql("ALTER TABLE llm_usage ADD COLUMN saved_pico BIGINT")
    connection.exec_driver_sql("DROP INDEX llm_usage_time")
    connection.exec_driver_sql("DROP VIEW llm_usage_by_scope")
    connection.execute(schema.usage_by_scope(connection.dialect.name))
    for index in schema.records.indexes:
        index.create(connection)
    for table in (*schema.ALL_SUMS, schema.former_costs, schema.periods):
        table.create(connection)
    rebuild(connection)


STEPS: Mapping[int, Callable[[Connection], None]] = {2: _add_sums}
"""What leads to each version from the one before it; the first one is made as the newest is."""

NEWEST = schema.VERSION


def migrate(database: Database, package: str) -> None:
    """Bring the schema up to date, or do nothing; safe when many processes do it at once.

    `ConfigurationError` if a newer version of this package has been here: it would be misread.
    """
    with database.reading() as connection:
        if _version(connection) == NEWEST:
            return  # who only reads need not be allowed to write
    database.make_ready()
    with database.changing() as connection:
        _versions.create(connection, checkfirst=True)
        there = _version(connection)
        if there is None:
            schema.metadata.create_all(connection)
            connection.execute(schema.usage_by_scope(connection.dialect.name))
        for version in range((there or NEWEST) + 1, NEWEST + 1):
            STEPS[version](connection)
        if there != NEWEST:
            now = int(time.time() * 1_000_000)
            connection.execute(_versions.insert().values(version=NEWEST, applied=now, by=package))


def _version(connection: Connection) -> int | None:
    """Which schema is there; `ConfigurationError` if it is a newer one."""
    if not inspect(connection).has_table(_versions.name):
        return None
    there: int | None = connection.scalar(select(func.max(_versions.c.version)))
    if there is not None and there > NEWEST:
        raise ConfigurationError(
            f"the ledger has the schema {there}, and this version knows {NEWEST}: upgrade "
            "otel-llm-usage here, too"
        )
    return there
