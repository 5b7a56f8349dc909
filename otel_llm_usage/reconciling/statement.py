"""What a provider says was used and charged, in the words of this room."""

from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

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
    try:
        exact = Decimal(found.replace(",", "") if isinstance(found, str) else found)
    except (InvalidOperation, TypeError, ValueError):
        raise StatementError(f"{where} is no number: this is not the documented shape") from None
    if not exact.is_finite():
        raise StatementError(f"{where} is no number: this is not the documented shape")
    return exact


def moment(found: Any, where: str) -> datetime:
    """The time of a field, in RFC 3339; `StatementError` where it is none."""
    try:
        if isinstance(found, str):
            text = found.strip().removesuffix("UTC").strip()
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise StatementError(f"{where} is no time: this is not the documented shape")
