"""The tables: what is kept of each record, and of which scopes it is a part.

Times are microseconds since the epoch, UTC; money is whole pico-dollars; what is unknown is NULL, never
zero. The kinds of tokens are columns named as the fields of `Usage`.
"""

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
)
from sqlalchemy.dialects.postgresql import JSONB

from ..records import INPUT_KINDS, KINDS, OUTPUT_KINDS

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

metadata = MetaData()

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
    Index("llm_usage_time", "time", postgresql_using="brin"),
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

_INPUT, _OUTPUT = (
    " + ".join(f"coalesce(u.{kind}, 0)" for kind in kinds) for kinds in (INPUT_KINDS, OUTPUT_KINDS)
)
_SUMS = (
    ("calls", "u.calls"),
    ("failures", "CASE WHEN u.status IN ('error', 'broken') THEN u.calls ELSE 0 END"),
    ("input_tokens", _INPUT),
    ("output_tokens", _OUTPUT),
    ("known_pico", "u.known_pico"),
    ("unpriced", "CASE WHEN u.cost_status IN ('partial', 'unpriced') THEN 1 ELSE 0 END"),
)
_PARTS = ("call_type", "agent", "model")


def usage_by_scope(dialect: str) -> str:
    """The statement that makes `llm_usage_by_scope`: a row for each scope, for tables of users to join.

    `breakdown` is JSON, with the same sums for each call type, agent and model.
    """
    array, item = (
        ("json_group_array", "json_object")
        if dialect == "sqlite"
        else ("jsonb_agg", "jsonb_build_object")
    )
    inner = ", ".join(f"sum({what}) AS {name}" for name, what in _SUMS)
    outer = ", ".join(f"sum(part.{name}) AS {name}" for name, _ in _SUMS)
    parts = ", ".join(f"u.{name}" for name in _PARTS)
    told = ", ".join(f"'{name}', part.{name}" for name in (*_PARTS, *(one for one, _ in _SUMS)))
    return (
        f"CREATE VIEW llm_usage_by_scope AS SELECT part.scope AS scope, min(part.began) AS began, "
        f"max(part.began) AS latest, {outer}, {array}({item}({told})) AS breakdown FROM "
        f"(SELECT s.scope, {parts}, min(u.time) AS began, {inner} FROM llm_usage_scope s "
        f"JOIN llm_usage u ON u.id = s.record GROUP BY s.scope, {parts}) AS part GROUP BY part.scope"
    )
