"""Questions as people write them: `7d`, `2026-11-01`, `agent,model`; the same at every door."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import LLMUsageError


class BadQuestion(LLMUsageError, ValueError):  # noqa: N818 (as said to whoever asks)
    """What is asked cannot be answered; the message says what can."""


_UNITS = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_AGO = re.compile(r"(\d{1,6})([mhdw])")
_MOMENTS = "today, yesterday, week, month, year, 90m, 24h, 7d, 4w, 2026-11-24 or 2026-11-24T10:00Z"


def moment(text: str, zone: tzinfo = UTC, *, now: datetime | None = None) -> datetime:
    """A moment in words: a time ago (`7d`), the beginning of a day, week, month or year (`month`: of this
    one), a date, or a time in ISO 8601; without an offset in `zone`.

    `BadQuestion` if it is none of these.
    """
    now = (now or datetime.now(UTC)).astimezone(zone)
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            # not by what the clock says: it may have been changed meanwhile
            return (now.astimezone(UTC) - int(ago[1]) * _UNITS[ago[2]]).astimezone(zone)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        begun = {
            "now": now,
            "today": midnight,
            "yesterday": midnight - timedelta(days=1),
            "week": midnight - timedelta(days=midnight.weekday()),
            "month": midnight.replace(day=1),
            "year": midnight.replace(month=1, day=1),
        }.get(text)
        found = begun or datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=zone)
        found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadQuestion(f"{text!r} is no moment: say {_MOMENTS}") from None
    return found


def time_zone(name: str) -> tzinfo:
    """A time zone by its name, such as `Europe/Berlin`; `BadQuestion` if there is none of that name."""
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):  # there is none, or there can't be one
        raise BadQuestion(f"there is no time zone {name!r}: say one like Europe/Berlin") from None


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def filters(texts: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """`name=value` each; of one name several values may hold. `BadQuestion` without a `=`."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise BadQuestion(f"{text!r} is no filter: say name=value, such as agent=planner")
        found[name] = (*found.get(name, ()), value)
    return found
