"""What the stand-in billed: an append-only list, the provider's side of the account."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple


class Bill(NamedTuple):
    """One billed answer."""

    id: str
    """The answer's own id on the wire, where its shape has one."""
    time: float
    """Seconds since the epoch, UTC."""
    provider: str
    """`openai`, `azure.ai.openai`, `anthropic`, `aws.bedrock`, `gcp.gemini`, `gcp.vertex_ai`."""
    endpoint: str
    """`chat.completions`, `responses`, `messages`, `generate_content`…"""
    model: str
    """The model that answered."""
    asked: str
    """The model that was asked for, as the request spelled it."""
    stream: bool
    usage: Mapping[str, int]
    """Disjoint kinds of tokens, those that are not zero, under the names of `records.Usage`."""
    units: Mapping[str, int | Decimal]
    usd: Decimal | None
    """`None`: the stand-in has no price for it."""
    reported: bool
    """Whether the wire carried all of this to the client.

    Who leaves a stream that is not paced may do so after all of it was sent: then this is true.
    """
    tier: str = "standard"
    tag: str | None = None
    """The request's `x-standin-tag`."""
    ending: str = "complete"
    """`complete`, `left` (the client went), `cut`, `silent`, `error` (we failed, as scripted)."""

    def as_json(self) -> dict[str, Any]:
        """The bill as JSON can hold it: decimals as strings."""
        return self._asdict() | {
            "usage": dict(self.usage),
            "units": {unit: str(quantity) for unit, quantity in self.units.items()},
            "usd": None if self.usd is None else str(self.usd),
        }


class Ledger:
    """Every bill since the start or the last reset, in order."""

    def __init__(self) -> None:
        self._bills: list[Bill] = []
        self._lock = threading.Lock()

    def add(self, bill: Bill) -> None:
        """Append one bill."""
        with self._lock:
            self._bills.append(bill)

    @property
    def bills(self) -> tuple[Bill, ...]:
        """All bills, oldest first."""
        with self._lock:
            return tuple(self._bills)

    @property
    def last(self) -> Bill:
        """The newest bill."""
        with self._lock:
            return self._bills[-1]

    def __iter__(self) -> Iterator[Bill]:
        return iter(self.bills)

    def __len__(self) -> int:
        return len(self._bills)

    def usage(self, *, reported: bool | None = None) -> dict[str, int]:
        """Tokens by kind; `reported` picks those that the wire carried, or did not."""
        total: defaultdict[str, int] = defaultdict(int)
        for bill in self._pick(reported):
            for kind, count in bill.usage.items():
                total[kind] += count
        return dict(total)

    def usd(self, *, reported: bool | None = None) -> Decimal:
        """US dollars of the bills that have a price."""
        return sum((b.usd for b in self._pick(reported) if b.usd is not None), Decimal(0))

    def as_json(self) -> list[dict[str, Any]]:
        """All bills as JSON can hold them."""
        return [bill.as_json() for bill in self.bills]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._bills.clear()

    def _pick(self, reported: bool | None) -> Iterator[Bill]:
        return (b for b in self.bills if reported is None or b.reported is reported)
