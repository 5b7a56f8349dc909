"""The tables: what is kept of each record, of which scopes it is a part, and the sums for reports.

Times are microseconds since the epoch, UTC; money is whole pico-dollars; what is unknown is NULL, never
zero. The kinds of tokens are columns named as the fields of `Usage`.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TextClause,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from ..records import INPUT_KINDS, KINDS, OUTPUT_KINDS

VERSION = 2
"""Which one this is; it changes with the tables."""

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

metadata = MetaData()


def _where_known(column: str) -> dict[str, Any]:
    """For an index of those that have it."""
    known = text(f"{column} IS NOT NULL")
    return {"sqlite_where": known, "postgresql_where": known}


records = Table(
    "llm_usage",
    metadata,
    Column("id", Text, primary_key=True, comment="unique; the same record is written once"),
    Column("time", BigInteger, nullable=False, comment="when it was sent, microseconds UTC"),
    Column("service", Text, nullable=False, comment="which service called"),
    Column("agent", Text, nullable=False),
    Column("call_type", Text),
    Column("user_id", Text),
    Column("session_id", Text),
    Column("team", Text),
    Column("labels", Json, comment="all other labels"),
    Column("provider", Text, nullable=False),
    Column("vendor", Text, nullable=False, comment="whose price list applies"),
    Column("platform", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False, comment="that answered, else that was asked for"),
    Column("request_model", Text),
    Column("stream", Boolean, nullable=False),
    Column("server_address", Text),
    Column("server_port", Integer),
    Column("request_tier", Text),
    Column("tier", Text, comment="that was used"),
    Column("request_region", Text),
    Column("region", Text),
    Column("status", Text, nullable=False, comment="ok, error, aborted, broken"),
    Column("http_status", Integer),
    Column("error_type", Text),
    Column("error_message", Text, comment="said by hand"),
    Column("calls", SmallInteger, nullable=False, comment="0: a further entry of an answer"),
    *(Column(kind, BigInteger) for kind in KINDS),
    Column("units", Json, comment="billed quantities that are no tokens, by SKU"),
    Column("usage_source", Text, nullable=False),
    Column("estimated_kinds", Json),
    Column("cost_status", Text, nullable=False),
    Column("cost_pico", BigInteger, comment="NULL: not known"),
    Column("known_pico", BigInteger, nullable=False, comment="of all that has a price"),
    Column("saved_pico", BigInteger, comment="by caches"),
    Column("cost_lines", Json, comment="pico-dollars by SKU"),
    Column("cost_reasons", Json, comment="why the cost is not known"),
    Column("cost_assumed", Json),
    Column("catalogue_version", Text, nullable=False),
    Column("card", Text, nullable=False),
    Column("price_stale", Boolean, nullable=False),
    Column("response_id", Text),
    Column("entry", Text),
    Column("finish_reasons", Json),
    Column("duration", BigInteger, comment="microseconds"),
    Column("time_to_first_chunk", BigInteger, comment="microseconds"),
    Column("trace_id", Text),
    Column("span_id", Text),
    Column("notes", Json),
    Index("llm_usage_time", "time"),
    Index("llm_usage_user", "user_id", "time", **_where_known("user_id")),
    Index("llm_usage_session", "session_id", "time", **_where_known("session_id")),
)
"""One row for each record."""

scopes = Table(
    "llm_usage_scope",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("record", Text, primary_key=True, comment="llm_usage.id"),
    Index("llm_usage_scope_record", "record"),
)
"""Which records belong to which scopes: all that were open around the call."""

HALF_HOUR = 1_800_000_000
DAY = 48 * HALF_HOUR
"""Microseconds of the slots of the sums. The hours of nearly every zone are whole half-hours of UTC."""

MICRO = 1_000_000
"""A sum of money is two numbers, of whole millions of pico-dollars and of what is left: SQLite adds no
more than 64 bits."""

FATE = ("operation", "status", "cost_status", "usage_source")
"""By what all sums differ, for it says what they count: embeddings, failures, unpriced, estimated…"""

DIMENSIONS = ("service", "agent", "call_type", "team", "provider", "model", "tier", *FATE)
"""By what the sums of all calls differ; empty where it is not known."""

PEOPLE = ("user_id", "session_id", *FATE)
"""By what the sums of people differ."""

SUMS = (
    "records", "calls", "missing", *KINDS, "known_micro", "known_rest", "saved_micro", "saved_rest",
    "duration", "timed",
)  # fmt: skip
"""What is added up; `duration` in microseconds, of `timed` calls."""


def _sums(name: str, slot: int, dimensions: tuple[str, ...], *more: Index) -> Table:
    return Table(
        name,
        metadata,
        Column("slot", BigInteger, primary_key=True, comment="when it began, microseconds UTC"),
        *(Column(one, Text, primary_key=True) for one in dimensions),
        *(Column(one, BigInteger, nullable=False) for one in SUMS),
        Column("shortest", BigInteger, comment="microseconds"),
        Column("longest", BigInteger, comment="microseconds"),
        *more,
        sqlite_with_rowid=False,
        info={"slot": slot, "dimensions": dimensions},
    )


half_hours = _sums("llm_usage_half_hour", HALF_HOUR, DIMENSIONS)
days = _sums("llm_usage_day", DAY, DIMENSIONS)
people = _sums(
    "llm_usage_people",
    DAY,
    PEOPLE,
    Index("llm_usage_people_user", "user_id"),
    Index("llm_usage_people_session", "session_id"),
)
ALL_SUMS = (half_hours, days, people)
"""Sums of all records, by slot and dimensions; after every transaction what the records say."""

PRICES = (
    "cost_status", "cost_pico", "known_pico", "saved_pico", "cost_lines", "cost_reasons",
    "cost_assumed", "catalogue_version", "card", "price_stale",
)  # fmt: skip
"""The columns of a record that other prices change."""

former_costs = Table(
    "llm_usage_former_cost",
    metadata,
    Column("record", Text, primary_key=True, comment="llm_usage.id"),
    Column("until", BigInteger, primary_key=True, comment="when it was priced anew"),
    *(records.c[name]._copy() for name in PRICES),
)
"""What records cost before they were priced anew."""

periods = Table(
    "llm_usage_period",
    metadata,
    Column("began", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text),
)
"""When counting began anew, for those who ask what it has been since."""

_INPUT, _OUTPUT = (
    " + ".join(f"coalesce(u.{kind}, 0)" for kind in kinds) for kinds in (INPUT_KINDS, OUTPUT_KINDS)
)
_BY_SCOPE = (
    ("calls", "u.calls"),
    ("failures", "CASE WHEN u.status IN ('error', 'broken') THEN u.calls ELSE 0 END"),
    ("input_tokens", _INPUT),
    ("output_tokens", _OUTPUT),
    ("unpriced", "CASE WHEN u.cost_status IN ('partial', 'unpriced') THEN 1 ELSE 0 END"),
)
_MONEY = (("known_micro", f"u.known_pico / {MICRO}"), ("known_rest", f"u.known_pico % {MICRO}"))
_PARTS = ("call_type", "agent", "model")


def usage_by_scope(dialect: str) -> TextClause:
    """The statement that makes `llm_usage_by_scope`: a row for each scope, for tables of users to join.

    `breakdown` is JSON, with the same sums for each call type, agent and model.
    """
    array, item = (
        ("json_group_array", "json_object")
        if dialect == "sqlite"
        else ("jsonb_agg", "jsonb_build_object")
    )
    counts = [name for name, _ in _BY_SCOPE]
    inner = ", ".join(f"sum({what}) AS {name}" for name, what in (*_BY_SCOPE, *_MONEY))
    outer = ", ".join(f"sum(part.{name}) AS {name}" for name in counts)
    parts = ", ".join(f"u.{name}" for name in _PARTS)
    told = ", ".join(f"'{name}', part.{name}" for name in (*_PARTS, *counts))
    pico = f"part.known_micro * {MICRO} + part.known_rest"
    all_pico = f"sum(part.known_micro) * {MICRO} + sum(part.known_rest)"
    return text(
        f"CREATE VIEW llm_usage_by_scope AS SELECT part.scope AS scope, min(part.began) AS began, "
        f"max(part.began) AS latest, {outer}, {all_pico} AS known_pico, "
        f"{array}({item}({told}, 'known_pico', {pico})) AS breakdown FROM "
        f"(SELECT s.scope, {parts}, min(u.time) AS began, {inner} FROM llm_usage_scope s "
        f"JOIN llm_usage u ON u.id = s.record GROUP BY s.scope, {parts}) AS part GROUP BY part.scope"
    )
