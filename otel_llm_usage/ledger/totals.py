"""The sums for reports, kept up to date by whoever writes: in the transaction of the records themselves.

So a report reads thousands of rows instead of millions, and says what the records say.
"""

from sqlalchemy import Connection, Table, text

from ..records import KINDS
from .schema import ALL_SUMS, DAY, MICRO, SUMS

_CALLS_TIME = "CASE WHEN calls > 0 THEN duration END"
_NO_TOKENS = f"coalesce({', '.join(KINDS)}) IS NULL AND units IS NULL"
_UNPRICED = "cost_status IN ('partial', 'unpriced')"

OF_A_RECORD = {
    "records": "1",
    "calls": "calls",
    "missing": f"CASE WHEN {_UNPRICED} AND {_NO_TOKENS} THEN calls ELSE 0 END",
    **{kind: f"coalesce({kind}, 0)" for kind in KINDS},
    "known_micro": f"known_pico / {MICRO}",
    "known_rest": f"known_pico % {MICRO}",
    "saved_micro": f"coalesce(saved_pico, 0) / {MICRO}",
    "saved_rest": f"coalesce(saved_pico, 0) % {MICRO}",
    "duration": f"coalesce({_CALLS_TIME}, 0)",
    "timed": f"CASE WHEN {_CALLS_TIME} IS NULL THEN 0 ELSE 1 END",
    "shortest": _CALLS_TIME,
    "longest": _CALLS_TIME,
}
"""What one row of `llm_usage` adds to each sum, in SQL."""


def _slot(table: Table) -> str:
    return f"time - time % {table.info['slot']}"


def of_a_record(dimension: str) -> str:
    """What a row of `llm_usage` has for a dimension, in SQL."""
    return f"coalesce({dimension}, '')"


def add_from(source: str, table: Table, *, sqlite: bool) -> str:
    """The statement that adds the rows of `source` to the sums in `table`.

    `source` is what follows FROM. In PostgreSQL the rows are added in one order, so that two writers
    never wait for each other.
    """
    dimensions = table.info["dimensions"]
    keys = ", ".join(("slot", *dimensions))
    groups = ", ".join((_slot(table), *map(of_a_record, dimensions)))
    sums = ", ".join(f"sum({OF_A_RECORD[name]})" for name in SUMS)
    told = f"{groups}, {sums}, min({_CALLS_TIME}), max({_CALLS_TIME})"
    more = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in SUMS)
    extremes = ", ".join(
        f"{name} = {_of_two(which, f'{table.name}.{name}', f'excluded.{name}', sqlite)}"
        for name, which in (("shortest", "least"), ("longest", "greatest"))
    )
    return (
        f"INSERT INTO {table.name} ({keys}, {', '.join(SUMS)}, shortest, longest) "
        f"SELECT {told} FROM {source} GROUP BY {groups}{'' if sqlite else f' ORDER BY {groups}'} "
        f"ON CONFLICT ({keys}) DO UPDATE SET {more}, {extremes}"
    )


def _of_two(which: str, one: str, other: str, sqlite: bool) -> str:
    """The least or greatest of two that may be NULL."""
    if not sqlite:
        return f"{which}({one}, {other})"
    function = "min" if which == "least" else "max"
    return f"coalesce({function}({one}, {other}), {one}, {other})"


def rebuild(connection: Connection, day: int | None = None) -> None:
    """Add up anew what the records say: all, or one day. In a transaction that nobody writes beside."""
    sqlite = connection.dialect.name == "sqlite"
    which = "1 = 1" if day is None else f"{{0}} >= {day:d} AND {{0}} < {day + DAY:d}"
    for table in ALL_SUMS:
        connection.execute(text(f"DELETE FROM {table.name} WHERE {which.format('slot')}"))
        source = f"llm_usage WHERE {which.format('time')}"
        connection.execute(text(add_from(source, table, sqlite=sqlite)))
