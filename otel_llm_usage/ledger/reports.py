"""What the ledger says: sums by anything and for any time. Every door asks here.

What the sums know is read from them, and the begun slots at both ends from the records; what they don't
know, such as labels and scopes, from the records alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from ..records import KINDS, NOTHING, Record, as_text, dollars
from ..sums import Sum
from . import calendar, schema
from .asking import BadQuestion
from .database import PORTION
from .ledger import Ledger
from .rows import COLUMNS, clean, record_of, shortened
from .schema import MICRO
from .totals import OF_A_RECORD, of_a_record

DIMENSIONS: Mapping[str, str] = {
    **{name: name for name in schema.DIMENSIONS},
    "user": "user_id",
    "session": "session_id",
    **{
        name: name
        for name in (
            "vendor", "platform", "endpoint", "request_model", "request_tier", "region", "error_type",
            "server_address", "card", "catalogue_version",
        )
    },
}  # fmt: skip
"""By what calls can be told apart, and where the ledger has it; `label:<name>` is any other label."""

LABEL = "label:"
MOST_LINES = 10_000
"""Lines of one answer, and pieces of time; further lines are asked for by `offset`."""
MOST_VALUES = 1_000
"""Values in the `where` of one question: a database takes some ten thousand."""


class Question(NamedTuple):
    """What is asked: of which calls, and how they are told apart."""

    since: datetime | None = None
    """From then on; `None`: from the first one."""
    until: datetime | None = None
    """Until then, which is not a part of it; `None`: until the last one."""
    by: tuple[str, ...] = ()
    """Names of `DIMENSIONS`, `label:<name>`, and one of `hour`, `day`, `week`, `month`."""
    where: Mapping[str, Sequence[str]] = NOTHING
    """Which values a dimension may have; empty text: not known."""
    scope: str | None = None
    """Only calls of this usage scope."""
    zone: tzinfo = UTC
    """Whose days, weeks and months."""
    sort: str = ""
    """`cost`, `tokens`, `calls`, `seconds`, each the most first, or `name`; by itself by time if there is
    any in `by`, and then by cost."""
    limit: int = 100
    offset: int = 0

    @property
    def bucket(self) -> str | None:
        """The piece of time that it is told by."""
        return next((name for name in self.by if name in calendar.BUCKETS), None)


_ALL = Question()


class Line(NamedTuple):
    """The sum of the calls that share something."""

    group: tuple[Any, ...]
    """What they share, in the order of `by`: text, empty where not known; of pieces of time the
    beginning, a datetime."""
    sum: Sum
    previous: Sum | None = None
    """Of the same group in the time before."""


class Report(NamedTuple):
    """The answer to a question."""

    question: Question
    lines: tuple[Line, ...]
    groups: int
    """How many lines there are, with those beyond `limit` and before `offset`."""
    total: Sum
    """Of all lines."""
    previous: Sum | None = None
    """Of all calls of the time before, as long as this one."""

    @property
    def others(self) -> Sum | None:
        """What is in no line here, but in the total; `None` if nothing is left."""
        if self.groups <= len(self.lines):
            return None
        return self.total.without(line.sum for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; dollars as text, exact, and times in ISO 8601."""
        asked = self.question
        return {
            "since": _iso(asked.since),
            "until": _iso(asked.until),
            "by": list(asked.by),
            "groups": self.groups,
            "total": _told(self.total, self.previous),
            "lines": [
                {
                    name: _iso(value) if isinstance(value, datetime) else value
                    for name, value in zip(asked.by, line.group, strict=True)
                }
                | _told(line.sum, line.previous)
                for line in self.lines
            ],
        }


def _told(found: Sum, previous: Sum | None) -> dict[str, Any]:
    told = found.to_dict()
    if previous is not None:
        told["previous"] = {
            "calls": previous.calls,
            "total_tokens": previous.total_tokens,
            "known_cost_usd": as_text(previous.known_cost_usd),
            "unpriced": previous.unpriced,
        }
        told["change_usd"] = as_text(dollars(found.pico - previous.pico))
    return told


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


class Place(NamedTuple):
    """Where a page of records or scopes ends: the time and the id of its last one."""

    time: int
    """Microseconds."""
    id: str


class ScopeSum(NamedTuple):
    """A usage scope, and what was used inside."""

    id: str
    began: datetime
    """When its first call was sent."""
    latest: datetime
    sum: Sum

    def to_dict(self) -> dict[str, Any]:
        """For JSON; dollars as text, exact."""
        return {
            "id": self.id,
            "began": _iso(self.began),
            "latest": _iso(self.latest),
            **self.sum.to_dict(),
        }


class Reports:
    """Answers questions from a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def report(self, question: Question, *, previous: bool = False) -> Report:
        """The answer; with `previous` also that of the time before, as long as this one.

        Raises `BadQuestion`, and the database's errors.
        """
        _check(question)
        before = _time_before(question) if previous else None
        with self._ledger.reading() as connection:
            asked = _Asked(question, connection)
            lines, groups = asked.lines() if question.by else ((), 0)
            total = asked.total() if len(lines) < groups or not lines else _together(lines)
            if before is None:
                return Report(question, lines, groups, total)
            earlier = _Asked(before, connection)
            if lines and not question.bucket:
                lines = earlier.beside(lines)
            return Report(question, lines, groups, total, earlier.total())

    def latest(
        self, question: Question = _ALL, *, before: Place | None = None
    ) -> tuple[list[Record], Place | None]:
        """The latest records, the newest first, and where the next page begins, if there may be one.

        Of the question `since`, `until`, `where`, `scope` and `limit` hold.
        """
        _check(question)
        time, id_ = schema.records.c.time, schema.records.c.id
        query = _query(question).order_by(time.desc(), id_.desc()).limit(question.limit)
        if before is not None:
            query = query.where(time <= before.time, or_(time < before.time, id_ < before.id))
        with self._ledger.reading() as connection:
            rows = connection.execute(query).all()
        last = Place(rows[-1].time, rows[-1].id) if len(rows) == question.limit else None
        return [record_of(row) for row in rows], last

    def records(self, question: Question = _ALL) -> Iterator[Record]:
        """Every record of the question (`since`, `until`, `where`, `scope`), the oldest first.

        Holds few of them in memory, and a transaction open until the end, or until it is closed.
        """
        _check(question)
        query = _query(question).order_by(schema.records.c.time, schema.records.c.id)
        with (
            self._ledger.reading() as connection,
            connection.execution_options(yield_per=PORTION).execute(query) as found,
        ):
            for rows in found.partitions():
                yield from map(record_of, rows)

    def scope(self, id: str) -> Mapping[str, Report]:
        """All of one scope, by each of `SCOPE_PARTS`; each has the total. Without records there is none."""
        return {part: self.report(Question(scope=id, by=(part,))) for part in SCOPE_PARTS}

    def scopes(
        self, limit: int = 20, *, before: Place | None = None
    ) -> tuple[list[ScopeSum], Place | None]:
        """The scopes that were called in last, those first, and where the next page begins, if there may
        be one."""
        _check(Question(limit=limit))
        time, scope = schema.records.c.time, schema.scopes.c.scope
        query = (
            select(scope, time)
            .join_from(schema.records, schema.scopes, schema.scopes.c.record == schema.records.c.id)
            .order_by(time.desc(), scope.desc())
            .where(time < _NEVER)
        )
        if before is not None:
            query = query.where(time <= before.time, or_(time < before.time, scope < before.id))
        met: set[str] = set()
        listed: list[ScopeSum] = []
        with (
            self._ledger.reading() as connection,
            connection.execution_options(yield_per=PORTION).execute(query) as found,
        ):
            for id_, at in found:
                if id_ in met:
                    continue
                met.add(id_)
                told = _scope_sum(connection, id_)
                if calendar.micro(told.latest) == at:  # else it was on an earlier page
                    listed.append(told)
                if len(listed) == limit:
                    return listed, Place(at, id_)
        return listed, None


SCOPE_PARTS = ("call_type", "agent", "model")
"""By what a scope is told."""

_NEVER = 2**63 - 1
"""Microseconds. Where no end is said, SQLite would read all scopes and sort them, instead of using its index."""


def _scope_sum(connection: Connection, id: str) -> ScopeSum:
    time = schema.records.c.time
    query = select(func.min(time), func.max(time)).select_from(_records(id))
    began, latest = connection.execute(query).one()
    total = _Asked(Question(scope=id), connection).total()
    return ScopeSum(id, calendar.moment(began), calendar.moment(latest), total)


# ------------------------------------------------------------ what may be asked


def _check(question: Question) -> None:
    buckets = [name for name in question.by if name in calendar.BUCKETS]
    for name in {*question.by, *question.where} - {*buckets}:
        if name not in DIMENSIONS and not (name.startswith(LABEL) and name != LABEL):
            raise BadQuestion(
                f"{name!r} is nothing that calls are told apart by: it takes "
                f"{', '.join(DIMENSIONS)} and label:<name>, and for `by` {', '.join(calendar.BUCKETS)}"
            )
    if len(set(question.by)) < len(question.by) or len(buckets) > 1:
        raise BadQuestion("by takes each name once, and one of hour, day, week and month")
    if question.sort not in ("", *_SORTS, "name"):
        raise BadQuestion(f"sort={question.sort!r}: it takes {', '.join(_SORTS)} and name")
    if not 1 <= question.limit <= MOST_LINES:
        raise BadQuestion(f"limit={question.limit}: it takes 1 to {MOST_LINES}")
    if not 0 <= question.offset < 2**31:
        raise BadQuestion(f"offset={question.offset}: it takes 0 to {2**31 - 1}")
    said = [value for values in question.where.values() for value in values]
    if len(said) > MOST_VALUES:
        raise BadQuestion(f"where has {len(said)} values: it takes {MOST_VALUES}")
    for text in (*question.by, *question.where, *said, question.scope or ""):
        if clean(text) != text:
            raise BadQuestion(f"{text!r} has a character that no text in a ledger has")
    for name, moment in (("since", question.since), ("until", question.until)):
        if moment is None:
            continue
        if moment.tzinfo is None:
            raise BadQuestion(f"{name}={moment}: say in which time zone it is")
        if not _EARLIEST <= moment <= _LATEST:
            raise BadQuestion(f"{name}={moment}: it takes {_EARLIEST.year} to {_LATEST.year}")
    since, until = calendar.micro(question.since), calendar.micro(question.until)
    if since is not None and until is not None and since >= until:
        raise BadQuestion("since is not before until: nothing lies between them")


_EARLIEST, _LATEST = calendar.moment(0), calendar.moment(calendar.LATEST)


def _time_before(question: Question) -> Question:
    if question.since is None:
        raise BadQuestion("since is missing: there is no time before the beginning")
    until = question.until or datetime.now(UTC)
    length = until - question.since
    if length <= timedelta():
        raise BadQuestion("since lies in the future")
    since = question.since - min(length, question.since - _EARLIEST)
    return question._replace(since=since, until=question.since, offset=0)


# ------------------------------------------------------------ from where

_KEYS = frozenset({*schema.DIMENSIONS, *schema.PEOPLE})
_IN_SHORT = frozenset(schema.DIMENSIONS)
"""Of these there are few values."""
_BASE = (*schema.SUMS, "shortest", "longest")


class _Label(FunctionElement[str]):
    """The label of a name: `_Label(labels, name)`."""

    type = Text()
    inherit_cache = True


@compiles(_Label)
def _of_jsonb(element: _Label, compiler: SQLCompiler, **how: Any) -> str:
    labels, name = element.clauses
    return f"({compiler.process(labels, **how)} ->> {compiler.process(name, **how)})"


@compiles(_Label, "sqlite")
def _of_json(element: _Label, compiler: SQLCompiler, **how: Any) -> str:
    # a path knows no name with a quotation mark in it
    labels, name = element.clauses
    return (
        f"(SELECT value FROM json_each({compiler.process(labels, **how)}) "
        f"WHERE key = {compiler.process(name, **how)})"
    )


def _of_record(name: str) -> ColumnElement[Any]:
    """A dimension of a record."""
    if name.startswith(LABEL):
        found = _Label(schema.records.c.labels, literal(name.removeprefix(LABEL)))
        return func.coalesce(found, "")
    return literal_column(of_a_record(f"llm_usage.{DIMENSIONS[name]}"))


def _query(question: Question) -> Select[Any]:
    """The rows of a question, in no order."""
    time = schema.records.c.time
    return (
        select(*(schema.records.c[name] for name in COLUMNS))
        .select_from(_records(question.scope))
        .where(*_between(time, question.since, question.until), *_those(question))
    )


def _records(scope: str | None) -> FromClause:
    if scope is None:
        return schema.records
    scopes = schema.scopes
    here = and_(scopes.c.record == schema.records.c.id, scopes.c.scope == shortened(scope))
    return schema.records.join(scopes, here)


def _those(question: Question, table: Table = schema.records) -> list[ColumnElement[bool]]:
    """What `where` says of the rows of a table."""
    return [_is_one_of(table, name, values) for name, values in question.where.items()]


def _is_one_of(table: Table, name: str, values: Sequence[str]) -> ColumnElement[bool]:
    if name.startswith(LABEL):
        return _of_record(name).in_(values)
    column = table.c[DIMENSIONS[name]]
    if column.name in _KEYS:
        values = [*map(shortened, values)]
    found = column.in_(values)
    # only of a plain column an index knows
    return or_(found, column.is_(None)) if "" in values else found


def _between(
    column: ColumnElement[int], since: datetime | int | None, until: datetime | int | None
) -> list[ColumnElement[bool]]:
    first, end = (
        calendar.micro(one) if isinstance(one, datetime) else one for one in (since, until)
    )
    found = []
    if first is not None:
        found.append(column >= first)
    if end is not None:
        found.append(column < end)
    return found


class _Asked:
    """One question, in one transaction."""

    def __init__(self, question: Question, connection: Connection) -> None:
        self._question = question
        self._connection = connection
        self._names = [name for name in question.by if name not in calendar.BUCKETS]
        self._known_ends: tuple[datetime, datetime] | None = None

    # -------------------------------------------------------- answers

    def total(self) -> Sum:
        """All calls together."""
        facts = self._facts(())
        return _sum_of(self._connection.execute(select(*_sums_of(facts))).one())

    def lines(self) -> tuple[tuple[Line, ...], int]:
        """The lines that were asked for, and how many there are."""
        question = self._question
        if question.by == (question.bucket,):
            return self._series()
        facts = self._facts(self._names)
        keys, sums = self._keys(facts), _sums_of(facts)
        order = self._order(keys, sums)
        # of a hundred thousand people only those of the page are added up in full
        first_rank = not question.bucket and not _IN_SHORT.issuperset(self._names)
        query = (
            select(*keys, *(() if first_rank else sums), func.count().over().label("groups"))
            .group_by(*self._grouped(keys))
            .order_by(*order)
            .limit(question.limit)
            .offset(question.offset)
        )
        rows = self._connection.execute(query).all()
        if not rows and question.offset:
            groups = select(*keys).group_by(*self._grouped(keys)).subquery()
            return (), self._connection.scalar(select(func.count()).select_from(groups)) or 0
        if not first_rank or not rows:
            return tuple(self._line(row) for row in rows), rows[0].groups if rows else 0
        picked = [tuple(row[: len(keys)]) for row in rows]
        found = self._of_groups(picked)
        return tuple(Line(group, found[group]) for group in picked), rows[0].groups

    def _series(self) -> tuple[tuple[Line, ...], int]:
        """By time alone: also the pieces in which nobody called."""
        question = self._question
        facts = self._facts(())
        keys = self._keys(facts)
        if not keys:
            return (), 0
        rows = self._connection.execute(
            select(*keys, *_sums_of(facts)).group_by(*self._grouped(keys))
        ).all()
        found = {line.group: line for line in (self._line(row) for row in rows)}
        since, until = self._ends()
        pieces = [
            found.pop((start,), Line((start,), Sum()))
            for start in calendar.starts(str(question.bucket), since, until, question.zone)
        ]
        pieces = sorted([*pieces, *found.values()], key=lambda line: line.group)
        if question.sort not in ("", "name"):
            pieces.sort(key=lambda line: _SORTED_BY[question.sort](line.sum), reverse=True)
        page = pieces[question.offset : question.offset + question.limit]
        return tuple(page), len(pieces)

    def beside(self, lines: Sequence[Line]) -> tuple[Line, ...]:
        """The lines, each with the sum of its group here."""
        found = self._of_groups([line.group for line in lines])
        return tuple(line._replace(previous=found.get(line.group, Sum())) for line in lines)

    def _of_groups(self, groups: Sequence[tuple[Any, ...]]) -> Mapping[tuple[Any, ...], Sum]:
        """The sums of these groups, and maybe of others."""
        facts = self._facts(self._names)
        keys = self._keys(facts)
        query = select(*keys, *_sums_of(facts)).group_by(*self._grouped(keys))
        # of the key that tells most: of all together there may be more than a database takes
        columns = [set(values) for values in zip(*groups, strict=True)]
        most = max(range(len(keys)), key=lambda place: len(columns[place]))
        query = query.where(keys[most].in_(columns[most]))
        rows = self._connection.execute(query)
        return {line.group: line.sum for line in (self._line(row) for row in rows)}

    def _line(self, row: Any) -> Line:
        group = list(row[: len(self._question.by)])
        bucket = self._question.bucket
        if bucket is not None:
            place = self._question.by.index(bucket)
            group[place] = calendar.start(bucket, int(group[place]), self._question.zone)
        return Line(tuple(group), _sum_of(row))

    # -------------------------------------------------------- in SQL

    def _keys(self, facts: FromClause) -> list[ColumnElement[Any]]:
        """What the lines are told apart by; nothing where there is no time to be told by."""
        question = self._question
        keys: list[ColumnElement[Any]] = [
            facts.c[f"key{number}"] for number in range(len(self._names))
        ]
        bucket = question.bucket
        if bucket is not None:
            since, until = self._ends()
            piece = calendar.column(bucket, facts.c.at, since, until, question.zone)
            keys.insert(question.by.index(bucket), piece.label("piece"))
        return keys

    @staticmethod
    def _grouped(keys: Sequence[ColumnElement[Any]]) -> list[Any]:
        """For GROUP BY: a calculated one by its name, for PostgreSQL groups by no constant."""
        return [literal_column("piece") if key.name == "piece" else key for key in keys]

    def _ends(self) -> tuple[datetime, datetime]:
        """Since when and until when; of what was not said, the first and the last call."""
        question = self._question
        if self._known_ends is None:
            since, until, bucket = question.since, question.until, question.bucket
            time, now = schema.records.c.time, datetime.now(UTC)
            # one by one: of both together SQLite would read every record
            if since is None:
                first = self._connection.scalar(select(func.min(time)))
                since = now if first is None else calendar.moment(first)
            if until is None:
                last = self._connection.scalar(select(func.max(time)))
                until = max(now if last is None else calendar.moment(last), since)
                until += timedelta(microseconds=1)
            if bucket is not None and (until - since) / _WIDTH[bucket] > MOST_LINES:
                raise BadQuestion(
                    f"by={bucket}: more than {MOST_LINES} between {since:%Y-%m-%d} and {until:%Y-%m-%d}; "
                    "say a shorter time or longer pieces"
                )
            self._known_ends = since, until
        return self._known_ends

    def _order(
        self, keys: Sequence[ColumnElement[Any]], sums: Sequence[ColumnElement[Any]]
    ) -> list[ColumnElement[Any]]:
        question = self._question
        by_name: list[ColumnElement[Any]] = [key.asc() for key in self._grouped(keys)]
        if question.sort == "name":
            return by_name
        named = {column.name: column for column in sums}
        most = [one.desc() for one in _SORTS[question.sort or "cost"](named)]
        if question.bucket and not question.sort:
            most.insert(0, literal_column("piece").asc())
        return [*most, *by_name]

    def _facts(self, names: Sequence[str]) -> FromClause:
        """What is to be added up: rows with `at`, a key for each name, and the sums."""
        question = self._question
        tables = [] if question.scope is not None else self._tables({*names, *question.where})
        since, until = calendar.micro(question.since), calendar.micro(question.until)
        parts = self._parts(tables, names, since, until)
        together: Any = parts[0] if len(parts) == 1 else union_all(*parts)
        facts: FromClause = together.subquery()
        return facts

    def _tables(self, names: set[str]) -> list[Table]:
        """The sums that know all this and whose slots are whole parts of what is asked, the longest first."""
        columns = {DIMENSIONS.get(name, name) for name in names}
        for tables in ((schema.days, schema.half_hours), (schema.people,)):
            if columns <= {*tables[0].info["dimensions"]}:
                return [table for table in tables if self._fits(table.info["slot"])]
        return []

    def _fits(self, slot: int) -> bool:
        """Whether no slot belongs to two pieces of time."""
        bucket = self._question.bucket
        if bucket is None:
            return True
        hour = 2 * schema.HALF_HOUR
        if slot > hour and bucket == "hour":
            return False
        since, until = self._ends()
        return calendar.whole(slot, since, until, self._question.zone)

    def _parts(
        self, tables: Sequence[Table], names: Sequence[str], since: int | None, until: int | None
    ) -> list[Any]:
        """From the first table what has whole slots there, and the rest from the others."""
        if not tables:
            return [self._of_records(names, since, until)]
        table, *others = tables
        slot = table.info["slot"]
        first = None if since is None else -(-since // slot) * slot
        end = None if until is None else until // slot * slot
        if first is not None and end is not None and first >= end:
            return self._parts(others, names, since, until)
        parts = [self._of_sums(table, names, first, end)]
        if since != first:
            parts += self._parts(others, names, since, first)
        if until != end:
            parts += self._parts(others, names, end, until)
        return parts

    def _of_sums(
        self, table: Table, names: Sequence[str], first: int | None, end: int | None
    ) -> Any:
        def dimension(name: str) -> ColumnElement[Any]:
            return table.c[DIMENSIONS[name]]

        return select(
            table.c.slot.label("at"),
            *(dimension(name).label(f"key{number}") for number, name in enumerate(names)),
            *(table.c[name] for name in (*schema.FATE, *_BASE)),
        ).where(*_between(table.c.slot, first, end), *_those(self._question, table))

    def _of_records(self, names: Sequence[str], since: Any, until: Any) -> Any:
        records = schema.records
        return (
            select(
                records.c.time.label("at"),
                *(_of_record(name).label(f"key{number}") for number, name in enumerate(names)),
                *(records.c[name] for name in schema.FATE),
                *(literal_column(OF_A_RECORD[name]).label(name) for name in _BASE),
            )
            .select_from(_records(self._question.scope))
            .where(
                *_between(records.c.time, since, until),
                *_those(self._question),
            )
        )


_WIDTH = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=28),
}


# ------------------------------------------------------------ sums


def _sums_of(facts: FromClause) -> list[ColumnElement[Any]]:
    """What a `Sum` is made of, added up."""
    c = facts.c
    tokens = sum((c[kind] for kind in KINDS[1:]), c[KINDS[0]])
    failed = c.status != "ok"
    ours = c.usage_source == "estimated"

    def where(condition: ColumnElement[bool], value: ColumnElement[Any]) -> ColumnElement[Any]:
        return case((condition, value), else_=0)

    added: dict[str, ColumnElement[Any]] = {
        **{name: c[name] for name in schema.SUMS},
        "successes": where(c.status == "ok", c.calls),
        "aborted": where(c.status == "aborted", c.calls),
        "billed": where(c.cost_status != "not_billed", c.calls),
        "unpriced": where(c.cost_status.in_(("partial", "unpriced")), c.records),
        "embedding_tokens": where(c.operation == "embeddings", tokens),
        "wasted_micro": where(failed, c.known_micro),
        "wasted_rest": where(failed, c.known_rest),
        "estimated": where(ours, c.records),
        "estimated_micro": where(ours, c.known_micro),
        "estimated_rest": where(ours, c.known_rest),
    }
    return [
        *(func.sum(value).label(f"sum_{name}") for name, value in added.items()),
        func.min(c.shortest).label("sum_shortest"),
        func.max(c.longest).label("sum_longest"),
    ]


def _together(lines: Sequence[Line]) -> Sum:
    total = Sum()
    for line in lines:
        total.merge(line.sum)
    return total


def _money(sums: Mapping[str, ColumnElement[Any]]) -> Sequence[ColumnElement[Any]]:
    micro, rest = sums["sum_known_micro"], sums["sum_known_rest"]
    return micro + rest // MICRO, rest % MICRO


_SORTS: Mapping[str, Callable[[Mapping[str, ColumnElement[Any]]], Sequence[ColumnElement[Any]]]] = {
    "cost": _money,
    "tokens": lambda sums: [
        sum((sums[f"sum_{kind}"] for kind in KINDS[1:]), sums[f"sum_{KINDS[0]}"])
    ],
    "calls": lambda sums: [sums["sum_calls"]],
    "seconds": lambda sums: [sums["sum_duration"]],
}
"""By what lines are sorted, in SQL."""
_SORTED_BY: Mapping[str, Any] = {
    "cost": lambda found: found.pico,
    "tokens": lambda found: found.total_tokens,
    "calls": lambda found: found.calls,
    "seconds": lambda found: found.seconds,
}


def _sum_of(row: Any) -> Sum:
    told = row._mapping

    def count(name: str) -> int:
        return int(told[f"sum_{name}"] or 0)

    def money(name: str) -> int:
        return count(f"{name}_micro") * MICRO + count(f"{name}_rest")

    found = Sum()
    for name in ("calls", "records", "successes", "aborted", "billed", "unpriced", "missing"):
        setattr(found, name, count(name))
    found.failures = found.calls - found.successes - found.aborted
    found.tokens = [count(kind) for kind in KINDS]
    found.embedding_tokens = count("embedding_tokens")
    found.pico, found.saved_pico = money("known"), money("saved")
    found.wasted_pico, found.estimated_pico = money("wasted"), money("estimated")
    found.estimated = count("estimated")
    found.seconds, found.timed = count("duration") / 1e6, count("timed")
    shortest, longest = told["sum_shortest"], told["sum_longest"]
    found.shortest = None if shortest is None else shortest / 1e6
    found.longest = None if longest is None else longest / 1e6
    return found
