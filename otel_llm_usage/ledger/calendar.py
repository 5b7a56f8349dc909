"""Pieces of time: hours, days, weeks and months of a zone, and how a database finds them."""

from collections.abc import Iterator, Sequence
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
LATEST = 220_000_000_000 * _SECOND
"""The last moment that may be asked for, with room for what is added to it: in the year 8941."""


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
    if bucket == "hour":
        at = _hour(since, zone)
        while at < until:
            yield _fixed(at.astimezone(zone))
            at = _hour(at + timedelta(hours=1), zone)
        return
    here = since.astimezone(zone)
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
    if bucket == "hour":
        return _hours(at, since, until, zone)
    local = at + _by_time(at, _offsets(since, until, zone))
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


def _hour(moment: datetime, zone: tzinfo) -> datetime:
    """When its hour began, or, if the clock was changed by half an hour within it, when that was."""
    here = moment.astimezone(zone)
    moment = moment.astimezone(UTC)
    whole = moment - timedelta(
        minutes=here.minute, seconds=here.second, microseconds=here.microsecond
    )
    changed = _ahead(whole, zone) - _ahead(moment, zone)
    return _change(whole, moment, zone) if changed % timedelta(hours=1) else whole


def _hours(
    at: ColumnElement[int], since: datetime, until: datetime, zone: tzinfo
) -> ColumnElement[int]:
    """As `_hour` says."""
    hours: list[tuple[int, ColumnElement[int]]] = []
    last = None
    for began, offset in _offsets(since - timedelta(hours=1), until, zone):
        whole: ColumnElement[int] = at - (at + offset) % _HOUR
        if last is not None and (offset - last) % _HOUR:  # on Lord Howe Island
            whole = case((whole < began, began), else_=whole)
        hours.append((began, whole))
        last = offset
    return _by_time(at, hours)


def _offsets(since: datetime, until: datetime, zone: tzinfo) -> list[tuple[int, int]]:
    """From when on the zone's clock is ahead how far, in microseconds."""
    offsets = []
    last: timedelta | None = None
    # of moments in one zone Python compares what the clocks say, and one of two equal hours is lost
    moment, until = since.astimezone(UTC), until.astimezone(UTC)
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


def _by_time(
    at: ColumnElement[int], values: Sequence[tuple[int, int | ColumnElement[int]]]
) -> ColumnElement[int]:
    """Of values that hold from a time on, the one of `at`."""
    if len(values) == 1:
        only = values[0][1]
        return literal(only, literal_execute=True) if isinstance(only, int) else only
    whens = [(at < following[0], value[1]) for value, following in pairwise(values)]
    return case(*whens, else_=values[-1][1])
