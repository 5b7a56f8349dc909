"""Calendar periods: when the one around a moment began, and when it ends."""

from datetime import UTC, date, datetime, timedelta, tzinfo
from math import floor
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import ConfigurationError

Period = Literal["minute", "hour", "day", "week", "month", "quarter", "year"]
PERIODS: tuple[Period, ...] = get_args(Period)

_SECONDS = {"minute": 60, "hour": 3600}


def zone(name: str) -> tzinfo:
    """The time zone of this name (IANA's, such as `Europe/Berlin`)."""
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(
            f"timezone={name!r} is not known here: take a name such as Europe/Berlin; a machine "
            "without time zones needs the package tzdata"
        ) from None


def bounds(period: Period, moment: float, where: tzinfo) -> tuple[float, float]:
    """Beginning and end (seconds since the epoch) of the calendar period around `moment`.

    Weeks begin on Monday. The end belongs to the next period.
    """
    seconds = _SECONDS.get(period)
    if seconds is not None:
        offset = datetime.fromtimestamp(moment, where).utcoffset() or timedelta()
        whole = floor(moment)  # in whole seconds: fractions would not meet the period before
        start = whole - (whole + int(offset.total_seconds())) % seconds
        return float(start), float(start + seconds)
    today = datetime.fromtimestamp(moment, where).date()
    first = _first_day(period, today)
    return _midnight(first, where), _midnight(_next(period, first), where)


def _first_day(period: Period, day: date) -> date:
    match period:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
        case "year":
            return day.replace(month=1, day=1)
        case _:
            return day


def _next(period: Period, first: date) -> date:
    """The first day of the period after the one that begins on `first`."""
    longest = {"day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}[period]
    return _first_day(period, first + timedelta(days=longest))


def _midnight(day: date, where: tzinfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=where).timestamp()
