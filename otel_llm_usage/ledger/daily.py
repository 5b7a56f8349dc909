"""What the ledger holds, day by day: tokens, units and dollars of each model."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import Select, case, func, literal_column, select

from ..records import KINDS
from . import calendar, schema
from .database import PORTION
from .ledger import Ledger
from .rows import counted
from .totals import OF_A_RECORD


class Own(NamedTuple):
    """What was counted of one model on one day."""

    day: date
    provider: str
    vendor: str
    platform: str
    model: str
    tokens: Mapping[str, int]
    """By kind, those that are not zero, of every tier."""
    units: Mapping[str, int | Decimal]
    """Billed quantities that are no tokens, by SKU."""
    pico: int
    """Pico-dollars of what has a price."""
    calls: int
    unpriced: int
    """Records of which at least a part has no known price."""


Key = tuple[date, str, str, str, str]


def daily(ledger: Ledger, since: date, until: date, zone: tzinfo = UTC) -> list[Own]:
    """What was counted from one day until another, which is not in it; days of a zone.

    Raises the database's errors, and `ConfigurationError` if the ledger belongs to a newer version.
    """
    sums: dict[Key, list[int]] = {}
    units: dict[Key, dict[str, int | Decimal]] = {}
    with ledger.reading() as connection:
        for slot, *rest in connection.execute(_within(_counts(), since, until, zone)):
            key: Key = (_day(slot, zone), *rest[:4])
            numbers = [int(number or 0) for number in rest[4:]]
            so_far = sums.setdefault(key, [0] * len(numbers))
            sums[key] = [mine + more for mine, more in zip(so_far, numbers, strict=True)]
        portions = connection.execution_options(yield_per=PORTION)
        for slot, *names, found in portions.execute(_within(_units(), since, until, zone)):
            key = (_day(slot, zone), names[0], names[1], names[2], names[3])
            of_key = units.setdefault(key, {})
            for sku, count in found.items():
                of_key[sku] = of_key.get(sku, 0) + counted(count)
    return [_own(key, sums[key], units.get(key, {})) for key in sorted(sums)]


def _own(key: Key, numbers: Sequence[int], units: Mapping[str, int | Decimal]) -> Own:
    calls, unpriced, millions, rest, *tokens = numbers
    counts = {kind: count for kind, count in zip(KINDS, tokens, strict=True) if count}
    return Own(*key, counts, units, millions * schema.MICRO + rest, calls, unpriced)


# a parameter could not be grouped by
_SLOT: Any = literal_column(f"time - time % {schema.HALF_HOUR}")


def _names() -> list[Any]:
    columns = schema.records.c
    return [_SLOT, columns.provider, columns.vendor, columns.platform, columns.model]


def _counts() -> Select[Any]:
    columns = schema.records.c
    incomplete = columns.cost_status.in_(("partial", "unpriced"))
    return select(
        *_names(),
        func.sum(columns.calls),
        func.sum(case((incomplete, 1), else_=0)),
        # in two parts: the sum itself would not fit into 64 bits for long
        func.sum(literal_column(OF_A_RECORD["known_micro"])),
        func.sum(literal_column(OF_A_RECORD["known_rest"])),
        *(func.sum(columns[kind]) for kind in KINDS),
    ).group_by(*_names())


def _units() -> Select[Any]:
    return select(*_names(), schema.records.c.units).where(schema.records.c.units.is_not(None))


def _within(query: Select[Any], since: date, until: date, zone: tzinfo) -> Select[Any]:
    moment = schema.records.c.time
    return query.where(moment >= begin(since, zone), moment < begin(until, zone))


def begin(day: date, zone: tzinfo) -> int:
    """When a day begins, in microseconds since the epoch."""
    return int(datetime.combine(day, time.min, zone).timestamp()) * schema.MICRO


def _day(slot: int, zone: tzinfo) -> date:
    return calendar.moment(slot, zone).date()
