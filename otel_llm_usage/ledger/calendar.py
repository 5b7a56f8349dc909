"""Pieces of time: hours, days, weeks and months of a zone, and how a database finds them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import pairwise

from sqlalchemy import ColumnElement, case, literal

BUCKETS = ("hour", "day", "week", "month")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000
_HOUR = 3_600 * _SECOND
_DAY = 24 * _HOUR
_WEEK = 7 * _DAY
_TO_MONDAY = 3 * _DAY
"""The first of January 1970 was a Thursday."""
_LOCAL = ("day", "week")


def micro(moment: datetime | None) -> int | None:
    """Microseconds since the epoch."""
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)


def moment(micro: int, zone: tzinfo = UTC) -> datetime:
    """The datetime of microseconds since the epoch, with the zone's offset at that time."""
    return _fixed((_EPOCH + timedelta(microseconds=micro)).astimezone(zone))


def _fixed(moment: datetime) -> datetime:
    """With an offset instead of a zone: Python takes the two hours of a clock that goes back for one."""
    return moment.replace(tzinfo=timezone(moment.utcoffset() or timedelta()), fold=0)


def starts(bucket: str, since: datetime, until: datetime, zone: tzinfo) -> Iterator[datetime]:
    """When each piece of time begins that has a part between these, as the database tells it."""
    here = since.astimezone(zone)
    if bucket == "hour":
        at = here.astimezone(UTC) - timedelta(
            minutes=here.minute, seconds=here.second, microseconds=here.microsecond
        )
        while at < until:
            yield _fixed(at.astimezone(zone))
            at += timedelta(hours=1)
        return
    day = here.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if bucket == "week":
        day -= timedelta(days=day.weekday())
    elif bucket == "month":
        day = day.replace(day=1)
    while day < until:
        yield _fixed(day)
        if bucket == "month":
            day = (day + timedelta(days=32)).replace(day=1)
        else:
            # of local days: some have 23 hours
            day += timedelta(days=7 if bucket == "week" else 1)


def column(
    bucket: str, at: ColumnElement[int], since: datetime, until: datetime, zone: tzinfo
) -> ColumnElement[int]:
    """In which piece of time `at` lies, as a number that `start` reads. Between `since` and `until`."""
    if bucket == "month":
        months = [micro(one) for one in starts(bucket, since, until, zone)]
        return _by_time(at, [(one, one) for one in months if one is not None])
    local = at + _offset(at, since, until, zone)
    if bucket == "hour":
        return at - local % _HOUR
    if bucket == "day":
        return local - local % _DAY
    return local - (local + _TO_MONDAY) % _WEEK


def whole(slot: int, since: datetime, until: datetime, zone: tzinfo) -> bool:
    """Whether the zone's clock is ahead by whole slots all the time."""
    return all(offset % slot == 0 for _, offset in _offsets(since, until, zone))


def start(bucket: str, number: int, zone: tzinfo) -> datetime:
    """When a piece of time begins."""
    if bucket not in _LOCAL:
        return moment(number, zone)
    local = moment(number)
    return _fixed(local.replace(tzinfo=zone))


def _offset(
    at: ColumnElement[int], since: datetime, until: datetime, zone: tzinfo
) -> ColumnElement[int]:
    """How far the zone's clock is ahead, in microseconds."""
    return _by_time(at, _offsets(since, until, zone))


def _offsets(since: datetime, until: datetime, zone: tzinfo) -> list[tuple[int, int]]:
    """From when on it is ahead how far, in microseconds."""
    offsets = []
    last: timedelta | None = None
    moment = since
    while True:
        offset = _ahead(moment, zone)
        if offset != last:
            began = moment if last is None else _change(moment - _STEP, moment, zone)
            offsets.append((micro(began) or 0, offset // timedelta(microseconds=1)))
            last = offset
        if moment >= until:
            break
        moment = min(moment + _STEP, until)
    return offsets


_STEP = timedelta(days=7)
"""No zone has changed its clock twice in it."""


def _ahead(moment: datetime, zone: tzinfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The second at which the offset changes between these."""
    old = _ahead(before, zone)
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if _ahead(middle, zone) == old:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)


def _by_time(at: ColumnElement[int], values: list[tuple[int, int]]) -> ColumnElement[int]:
    """Of values that hold from a time on, the one of `at`."""
    if len(values) == 1:
        return literal(values[0][1], literal_execute=True)
    whens = [(at < following[0], value[1]) for value, following in pairwise(values)]
    return case(*whens, else_=values[-1][1])
