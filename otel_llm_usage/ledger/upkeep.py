"""What changes records that are there: prices anew, an end to what is old, an end to who it was.

Each is one transaction for a day of records, so that writers wait a moment only; the sums are made anew with
it, and always say what the records say.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from .. import guard
from ..records import KINDS, Cost, Reading, Record, Request
from . import calendar, schema
from .asking import BadQuestion
from .ledger import Ledger
from .rows import COLUMNS, GIVEN, clean, price_columns, record_of, shortened
from .totals import rebuild

Progress = Callable[[int, int], object]
"""Is told how many records are done, of how many."""

Price = Callable[[Request, Reading, float], Cost]


def unheard(done: int, of: int) -> None:
    """Nobody wants to know."""


class Repriced(NamedTuple):
    """What other prices have changed."""

    records: int
    """That were looked at."""
    changed: int
    """Of these, those of whose price anything is different now: the amount, or where it comes from."""
    before_pico: int
    """Pico-dollars of what had a price, of all of them."""
    after_pico: int
    failed: int = 0
    """Of these, those whose price could not be told, and which stay as they are."""

    def plus(self, other: "Repriced") -> "Repriced":
        """Both together."""
        return Repriced(*(mine + its for mine, its in zip(self, other, strict=True)))


NONE_REPRICED = Repriced(0, 0, 0, 0)


def is_priced_by_us(record: Record) -> bool:
    """Whether other prices may change what it cost: it was billed, has usage, and nobody else said what it
    costs."""
    return (
        record.cost.status != "not_billed"
        and record.cost.card != GIVEN
        and not (record.usage is None and not record.units)
    )


_IS_PRICED_BY_US = (
    schema.records.c.cost_status != "not_billed",
    schema.records.c.card != GIVEN,
    or_(*(schema.records.c[name].is_not(None) for name in (*KINDS, "units"))),
)
"""The same of a row."""


def anew(record: Record, price: Price) -> tuple[Cost, Repriced]:
    """What a record costs by other prices; as before where they can't tell."""
    said = guard.call("reprice", price, record.request, record.reading, record.time)
    cost = record.cost if said is None else said
    changed = price_columns(record.cost) != price_columns(cost)
    before, after = record.cost.known_pico, cost.known_pico
    return cost, Repriced(1, int(changed), before, after, int(said is None))


_Change = Callable[[Connection, ColumnElement[bool]], bool]
"""Changes records; whether the sums are to be made anew."""


class Upkeep:
    """Changes what is in a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def purge(
        self,
        *,
        before: datetime | None = None,
        user: str | None = None,
        progress: Progress = unheard,
    ) -> int:
        """Delete the records from before a moment, those of a user, or what is both; how many.

        `BadQuestion` if neither is said: that would be all.
        """

        def delete_them(connection: Connection, picked: ColumnElement[bool]) -> bool:
            ids = select(schema.records.c.id).where(picked)
            for column in (schema.scopes.c.record, schema.former_costs.c.record):
                connection.execute(delete(column.table).where(column.in_(ids)))
            connection.execute(delete(schema.records).where(picked))
            return True

        return self._change(before, user, delete_them, progress)

    def anonymise(
        self,
        *,
        before: datetime | None = None,
        user: str | None = None,
        progress: Progress = unheard,
    ) -> int:
        """Forget who called, in the records from before a moment, in those of a user, or in what is both:
        user, session, labels, messages of errors, and the ids of answers and traces. How many records.

        What they cost stays. `BadQuestion` if neither is said.
        """
        gone = dict.fromkeys(_PERSONAL, None)
        someone = or_(*(schema.records.c[name].is_not(None) for name in _PERSONAL))

        def forget(connection: Connection, picked: ColumnElement[bool]) -> bool:
            connection.execute(update(schema.records).where(picked).values(gone))
            return True

        return self._change(before, user, forget, progress, someone)

    def _change(
        self,
        before: datetime | None,
        user: str | None,
        change: _Change,
        progress: Progress,
        *more: ColumnElement[bool],
    ) -> int:
        if before is None and user is None:
            raise BadQuestion("say which records: before a moment, or of a user")
        records = schema.records
        which = list(more)
        if before is not None:
            which.append(records.c.time < calendar.micro(before))
        if user is not None:
            which.append(records.c.user_id == shortened(clean(user)))
        return self._day_by_day(which, change, progress)

    def _day_by_day(
        self,
        which: Sequence[ColumnElement[bool]],
        change: _Change,
        progress: Progress,
    ) -> int:
        """Change these records, and their sums; of how many there were at first."""
        done = 0
        days = self._days(which)
        of = sum(days.values())
        time_ = schema.records.c.time
        for day, many in days.items():
            picked = and_(*which, time_ >= day, time_ < day + schema.DAY)
            with self._ledger.database.changing() as connection:
                if change(connection, picked):
                    rebuild(connection, day)
            done += many
            progress(done, of)
        return done

    def _days(self, which: Sequence[ColumnElement[bool]]) -> dict[int, int]:
        """In which days there are such records, and how many."""
        time_ = schema.records.c.time
        day = (time_ - time_ % schema.DAY).label("day")
        query = select(day, func.count()).where(*which).group_by("day").order_by("day")
        with self._ledger.reading() as connection:
            return {int(row[0]): int(row[1]) for row in connection.execute(query)}

    def reprice(
        self,
        price: Price,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        progress: Progress = unheard,
    ) -> Repriced:
        """Price records anew, as of the time of each; what they cost before is kept in
        `llm_usage_former_cost`. `price` is `Catalogue.price`.

        What was not billed, has no usage, or was brought in with its cost stays as it is.
        """
        time_ = schema.records.c.time
        which: list[ColumnElement[bool]] = [*_IS_PRICED_BY_US]
        if since is not None:
            which.append(time_ >= calendar.micro(since))
        if until is not None:
            which.append(time_ < calendar.micro(until))
        found = NONE_REPRICED

        def price_them(connection: Connection, picked: ColumnElement[bool]) -> bool:
            nonlocal found
            part = _price_anew(connection, picked, price)
            found = found.plus(part)
            return part.changed > 0

        self._day_by_day(which, price_them, progress)
        return found

    def begin_period(self, note: str | None = None) -> datetime:
        """Begin to count anew, for those who ask since then; nothing is deleted. When it began."""
        self._ledger.flush()
        self._ledger.migrate()
        with self._ledger.database.writing() as connection:
            last = connection.scalar(select(func.max(schema.periods.c.began))) or 0
            began = max(time.time_ns() // 1_000, last + 1)
            connection.execute(insert(schema.periods).values(began=began, note=clean(note)))
        return calendar.moment(began)

    def period(self) -> datetime | None:
        """When the present counting period began; `None`: with the first record."""
        self._ledger.migrate()
        with self._ledger.database.reading() as connection:
            began = connection.scalar(select(func.max(schema.periods.c.began)))
        return None if began is None else calendar.moment(began)


_PERSONAL = (
    "user_id", "session_id", "labels", "error_message", "response_id", "trace_id", "span_id",
)  # fmt: skip

_CHUNK = 5_000


def _price_anew(connection: Connection, picked: ColumnElement[bool], price: Price) -> Repriced:
    records = schema.records
    now = time.time_ns() // 1_000
    found = NONE_REPRICED
    last = ""
    while True:
        query = select(*(records.c[name] for name in COLUMNS)).where(picked, records.c.id > last)
        rows = connection.execute(query.order_by(records.c.id).limit(_CHUNK)).all()
        if not rows:
            return found
        last = rows[-1].id
        former: list[Mapping[str, Any]] = []
        fresh: list[Mapping[str, Any]] = []
        for record in map(record_of, rows):
            cost, told = anew(record, price)
            found = found.plus(told)
            if told.changed:
                former.append({"record": record.id, "until": now} | price_columns(record.cost))
                fresh.append({"of": record.id} | price_columns(cost))
        if fresh:
            connection.execute(insert(schema.former_costs), former)
            connection.execute(update(records).where(records.c.id == bindparam("of")), fresh)
