"""How each agent calls each model: what is remembered of the calls that pass by, not the calls."""

import heapq
from array import array
from collections import Counter, deque
from datetime import UTC, datetime
from fractions import Fraction
from typing import NamedTuple

from ..comparison import Elsewhere
from ..prices import Catalogue
from ..records import CACHE_WRITE_KINDS, KINDS, Reading, Record, dollars
from ..sums import Sum
from .family import cheaper

CACHED_FOR = 300.0
"""Seconds that a provider keeps a prompt for, at least; what comes later is written again."""
_EXAMPLES = 3
_SMALLER = 2
"""How many smaller models are tried."""


class Who(NamedTuple):
    """Whose calls."""

    agent: str
    call_type: str
    provider: str
    vendor: str
    model: str

    @classmethod
    def of(cls, record: Record) -> "Who":
        """Whose call a record is."""
        request = record.request
        call_type = record.labels.get("call_type", "")
        return cls(record.agent, call_type, request.provider, request.vendor, record.model)


class Rates(NamedTuple):
    """Pico-dollars of an input token; `None` where there is no such rate."""

    plain: Fraction | None
    cached: Fraction | None
    written: Fraction | None

    @property
    def spared(self) -> Fraction:
        """By reading a token from a cache."""
        if self.plain is None or self.cached is None:
            return Fraction(0)
        return self.plain - self.cached

    @property
    def premium(self) -> Fraction:
        """Of writing a token into a cache."""
        if self.plain is None or self.written is None:
            return Fraction(0)
        return max(self.written - self.plain, Fraction(0))


class Habit:
    """The calls of one agent to one model: sums, and a number or two of each call."""

    def __init__(self, catalogue: Catalogue, first: Record) -> None:
        self._catalogue = catalogue
        self.sum = Sum()
        self.costs = array("q")
        """Pico-dollars of each answer that came to its end and has a price."""
        self.inputs = array("q")
        """Input tokens of each answer that came to its end."""
        self.soon_after = 0
        """Answers to what was asked within `CACHED_FOR` of the one before."""
        self.reasoning_pico = 0
        self.wasted: dict[str, Sum] = {}
        """By status, those that did not come to their end and were paid for."""
        self.unpriced_tokens = 0
        self.reasons: Counter[str] = Counter()
        self.waited_for = 0
        """Calls that somebody waits for, or that say whose they are: streams, users, sessions."""
        self.cheap_tier = 0
        """Calls that are batched already, or at a tier that makes them wait."""
        self.hours = [0] * 24
        """Calls by hour of the day, UTC."""
        self.days: set[int] = set()
        self.last = first
        self.latest: deque[str] = deque(maxlen=_EXAMPLES)
        self._dearest: list[tuple[int, str]] = []
        self._lost: list[tuple[int, str]] = []
        self._unseen: list[str] = []
        self._asked_at: float | None = None
        self.smaller = {
            model: Elsewhere(catalogue, model, at=first.time)
            for model in cheaper(catalogue, first)[:_SMALLER]
        }
        self.batched = Elsewhere(catalogue, tier="batch") if self._has_batches(first) else None

    def _has_batches(self, first: Record) -> bool:
        request = first.request._replace(tier="batch", endpoint="")
        return not self._catalogue.card(request, Reading(tier="batch"), first.time).reason

    def add(self, record: Record) -> None:
        """Remember one record; they come in the order of their times."""
        self.sum.add(record)
        self.last = record
        cost, usage = record.cost, record.usage
        pico = cost.known_pico
        self.reasoning_pico += sum(
            line.pico for line in cost.priced_lines if line.sku == "reasoning"
        )
        if cost.incomplete:
            self.unpriced_tokens += (usage and usage.total_tokens) or 0
            self.reasons.update(cost.reasons)
            if len(self._unseen) < _EXAMPLES:
                self._unseen.append(record.id)
        if record.status != "ok" and pico:
            self.wasted.setdefault(record.status, Sum()).add(record)
            _keep(self._lost, pico, record.id)
        for elsewhere in self.smaller.values():
            elsewhere.add(record)
        if self.batched is not None:
            self.batched.add(record)
        if record.later_entry:
            return
        self.latest.append(record.id)
        self._add_manner(record)
        if record.status == "ok" and usage is not None:
            self.inputs.append(usage.input_tokens or 0)
            if cost.pico is not None:
                self.costs.append(pico)
                _keep(self._dearest, pico, record.id)
            if self._asked_at is not None and record.time - self._asked_at <= CACHED_FOR:
                self.soon_after += 1
            self._asked_at = record.time

    def _add_manner(self, record: Record) -> None:
        at = datetime.fromtimestamp(record.time, UTC)
        self.hours[at.hour] += 1
        self.days.add(at.toordinal())
        labels = record.labels
        self.waited_for += record.request.stream or "user" in labels or "session" in labels
        tier = record.tier or record.request.tier
        self.cheap_tier += tier in ("batch", "flex") or "batch" in record.request.endpoint

    # ------------------------------------------------------------ what it tells

    @property
    def cache_share(self) -> float:
        """How much of the input was read from caches."""
        return self.sum.cached_tokens / self.sum.input_tokens if self.sum.input_tokens else 0.0

    @property
    def writes(self) -> int:
        """Tokens that were written into caches."""
        return sum(getattr(self.sum.usage, kind) or 0 for kind in CACHE_WRITE_KINDS)

    def dearest(self, above: int) -> tuple[str, ...]:
        """The dearest answers of those that cost more."""
        return tuple(id_ for pico, id_ in sorted(self._dearest, reverse=True) if pico > above)

    @property
    def lost(self) -> tuple[str, ...]:
        """The dearest of those that did not come to their end."""
        return tuple(id_ for _, id_ in sorted(self._lost, reverse=True))

    @property
    def unseen(self) -> tuple[str, ...]:
        """Some that have no price."""
        return tuple(self._unseen)

    def rates(self) -> Rates:
        """Those of the last call."""
        record = self.last
        card = self._catalogue.card(record.request, record.reading, record.time)

        def of(kind: str) -> Fraction | None:
            rate = card.rates[KINDS.index(kind)]
            return None if rate is None else Fraction(rate.pico, card.scale)

        return Rates(of("input"), of("cache_read"), of("cache_write_5m"))


def _keep(most: list[tuple[int, str]], pico: int, id_: str) -> None:
    """Among the few that cost most."""
    if len(most) < _EXAMPLES:
        heapq.heappush(most, (pico, id_))
    else:
        heapq.heappushpop(most, (pico, id_))


def usd(pico: int | Fraction) -> str:
    """Dollars for the evidence: exact to the pico-dollar."""
    return f"{dollars(round(pico)):f}"
