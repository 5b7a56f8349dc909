"""What a provider says was used and charged, in the words of this room."""

from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple

from .. import rowfiles
from ..errors import StatementError


class Used(NamedTuple):
    """A quantity on one day."""

    day: date
    model: str
    """As the provider spells it; empty where it does not say."""
    kind: str
    """`input`, `cache_read`, `cache_write…`, `output`, or a unit that is no token."""
    quantity: int | Decimal


class Charged(NamedTuple):
    """An amount on one day."""

    day: date
    model: str
    """Empty where the amount is of no model."""
    usd: Decimal


class Unrecognised(NamedTuple):
    """Lines of which nobody knows which model and kind they are."""

    what: str
    lines: int
    quantity: Decimal
    usd: Decimal | None


class Statement(NamedTuple):
    """A provider's record of some days."""

    provider: str
    """`openai`, `anthropic`, `google`."""
    used: tuple[Used, ...] = ()
    charged: tuple[Charged, ...] | None = ()
    """`None`: the dollars are not known."""
    unrecognised: tuple[Unrecognised, ...] = ()
    credits_usd: Decimal = Decimal(0)
    """What was taken off afterwards, as a negative number; it is in no amount."""
    notes: tuple[str, ...] = ()


def number(found: Any, where: str) -> Decimal:
    """The number of a field, exact; `StatementError` where it is none."""
    exact = rowfiles.number(found)
    if exact is None:
        raise StatementError(f"{where} is no number: this is not the documented shape")
    return exact


def count(found: Any, where: str) -> int:
    """The whole number of a field; `StatementError` where it is none."""
    exact = number(found, where)
    if exact != int(exact):
        raise StatementError(f"{where} is no whole number: this is not the documented shape")
    return int(exact)


def day(found: Any, where: str, zone: tzinfo = UTC) -> date:
    """The day of a zone in which a time lies; `StatementError` where it is none.

    A time is text as in RFC 3339, of UTC where it has no zone, or seconds since 1970. A day is that day.
    """
    try:
        if isinstance(found, str):
            text = found.strip().removesuffix("UTC").strip()
            if len(text) == len("2026-01-31"):
                return date.fromisoformat(text)
            at = datetime.fromisoformat(text)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(zone).date()
        if isinstance(found, int):
            return datetime.fromtimestamp(found, UTC).astimezone(zone).date()
    except (ValueError, OverflowError, OSError):
        pass
    raise StatementError(f"{where} is no time: this is not the documented shape")
