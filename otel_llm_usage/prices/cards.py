"""A rate card: the prices of one model in one place, tier and time, in whole numbers."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import compress
from typing import NamedTuple

from ..records import (
    CACHE_READ_KINDS,
    CACHE_WRITE_KINDS,
    KINDS,
    PICO,
    Cost,
    CostStatus,
    PricedLine,
    Reading,
    Usage,
)

_UNCACHED = {
    kind: KINDS.index(kind.replace("cache_read", "input")) for kind in CACHE_READ_KINDS
} | dict.fromkeys(CACHE_WRITE_KINDS, 0)
"""Which kind the tokens of a cache would have been without it."""

_TOOL_USE = KINDS.index("input_tool_use")
_INPUTS = KINDS.index("output")
_PREPAID = "the tokens are paid in advance"
_PER_TOKEN = PICO // 10**6
"""From dollars per million tokens to pico-dollars per token."""


class Rate(NamedTuple):
    """What one token costs."""

    pico: int
    """Pico-dollars, times the card's `scale`."""
    source: str
    derived: bool


class UnitRate(NamedTuple):
    """What one unit costs."""

    pico: int | Fraction
    source: str
    assumes: str = ""
    included: bool = False
    input_tokens: int = 0


_line = tuple.__new__
"""Makes a `PricedLine` in half the time of its own constructor."""

Rates = tuple[Rate | None, ...]
"""One rate for each kind of `Usage`, in its order."""


class Card(NamedTuple):
    """Everything that the price of an answer depends on, but its numbers."""

    label: str
    since: float
    until: float
    version: str
    reason: str = ""
    """Why this card has no prices: `unknown_model`, `unknown_tier`, `unknown_region`."""
    model: str = ""
    rates: Rates = (None,) * len(KINDS)
    scale: int = 1
    """All rates are whole numbers of pico-dollars divided by this."""
    steps: tuple[tuple[int, Rates], ...] = ()
    """`(above, rates)`: for prompts with more tokens than `above`."""
    units: Mapping[str, UnitRate] = {}
    assumed: tuple[str, ...] = ()
    prepaid: bool = False
    free: bool = False
    """Every token is free: the cost is known even where no usage was reported."""

    def bill(self, reading: Reading, stale: bool = False) -> Cost:
        """The cost of one reading."""
        usage, units, notes = reading.usage, reading.units, reading.notes
        lines: list[PricedLine] = []
        reasons: list[str] = []
        if notes:
            if "not_billed" in notes:
                return Cost("not_billed", 0, (), (), (), self.version, self.label, stale, notes)
            reasons = _unread(notes)
        if self.reason:
            return self._unknown(reading, reasons, stale)
        total, saved, derived = 0, 0, False
        rates, scale, assumed = self.rates, self.scale, self.assumed
        if usage is not None and not self.prepaid:
            if not (self.free or (usage[0] is not None and usage[_INPUTS] is not None)):
                reasons += _untold(usage)
            if self.steps:
                size = _size(usage)
                for above, upper in self.steps:
                    if size > above:
                        rates = upper
            # most kinds are empty: compress leaves them out without running any of our code
            counted: Iterable[tuple[str, int, Rate | None]] = compress(
                zip(KINDS, usage, rates, strict=True),  # type: ignore[arg-type]
                usage,
            )
            for kind, quantity, rate in counted:
                if rate is None:
                    reasons.append(f"no_rate:{kind}")
                    continue
                price, source, by_factor = rate
                pico = quantity * price
                if scale != 1:
                    pico = _rounded(pico, scale)
                if by_factor:
                    derived = True
                total += pico
                if kind in _UNCACHED:
                    plain = rates[_UNCACHED[kind]]
                    if plain is not None:
                        saved += _rounded(quantity * plain.pico, scale) - pico
                lines.append(_line(PricedLine, (kind, quantity, pico, source)))
        if units or "requests" in self.units:
            assumed += self._add_units(reading, rates, lines, reasons)
            total = sum([line.pico for line in lines])
        if not lines and not reasons and not self._is_said(usage, reading):
            reasons.append("no_usage" if reading.final else "stream_aborted")
        status: CostStatus
        if total and not reasons:
            status = "derived" if derived else "priced"
            if self.prepaid:
                assumed += (_PREPAID,)
        else:
            status = self._status(lines, reasons, derived)
        known = None if reasons else total
        return Cost(
            status,
            known,
            tuple(lines),
            tuple(reasons),
            assumed,
            self.version,
            self.label,
            stale,
            notes,
            saved,
        )

    def _is_said(self, usage: Usage | None, reading: Reading) -> bool:
        """Whether a bill without lines is a bill of zero rather than an unknown one."""
        if self.prepaid or self.free:
            return True
        return bool(reading.units) or (usage is not None and usage.total_tokens is not None)

    def _status(self, lines: list[PricedLine], reasons: list[str], derived: bool) -> CostStatus:
        if reasons:
            return "partial" if lines else "unpriced"
        if self.prepaid:
            return "prepaid"
        if (lines or self.free) and not any(line.pico for line in lines):
            return "free"
        return "derived" if derived else "priced"

    def _add_units(
        self, reading: Reading, rates: Rates, lines: list[PricedLine], reasons: list[str]
    ) -> tuple[str, ...]:
        assumed: dict[str, None] = {}
        units = reading.units
        if "requests" in self.units and (reading.usage is not None or units):
            units = {**units, "requests": units.get("requests", 1)}
        for sku, quantity in units.items():
            if not quantity:
                continue
            unit = self.units.get(sku)
            if unit is None:
                reasons.append(f"no_rate:{sku}")
                continue
            if unit.included:
                continue
            exact = quantity if isinstance(quantity, int) else Fraction(quantity)
            pico = _whole(unit.pico * exact)
            lines.append(PricedLine(sku, quantity, pico, unit.source))
            if unit.input_tokens:
                self._add_block(unit, quantity, rates, lines, reasons)
            if unit.assumes and pico:
                assumed[unit.assumes] = None
        return tuple(assumed)

    def _add_block(
        self,
        unit: UnitRate,
        quantity: int | Decimal,
        rates: Rates,
        lines: list[PricedLine],
        reasons: list[str],
    ) -> None:
        """The fixed input tokens that come with a unit, such as a search's content."""
        rate = rates[0]
        if rate is None:
            reasons.append("no_rate:input")
            return
        tokens = int(quantity * unit.input_tokens)
        pico = _rounded(tokens * rate.pico, self.scale)
        lines.append(PricedLine("input", tokens, pico, f"{rate.source}; {unit.source}"))

    def _unknown(self, reading: Reading, unread: list[str], stale: bool) -> Cost:
        """The cost where the card has no prices: of prepaid tokens nothing more, fees if known."""
        lines: list[PricedLine] = []
        assumed: tuple[str, ...] = ()
        reasons = [self.reason]
        if self.prepaid:
            assumed = self._add_units(reading, self.rates, lines, [])
            if not any(reading.units.values()):
                reasons = []
        elif reading.usage is None and not reading.units:
            reasons = [] if unread else ["no_usage" if reading.final else "stream_aborted"]
        reasons += unread
        return Cost(
            self._status(lines, reasons, derived=False),
            None if reasons else 0,
            tuple(lines),
            tuple(reasons),
            assumed,
            self.version,
            self.label,
            stale,
            reading.notes,
        )


def _unread(notes: Iterable[str]) -> list[str]:
    """The reasons that a reading itself gives: what of it could not be read, or was not told."""
    reasons = ["bad_usage"] if any(note.startswith("bad_") for note in notes) else []
    if "cache_lifetime_unknown" in notes:
        reasons.append("no_count:cache_storage_token_hours")
    return reasons


def _untold(usage: Usage) -> list[str]:
    """Which side of an answer that counts tokens was not told: it is unknown, not free."""
    sides = (("input", usage.input_tokens), ("output", usage.output_tokens))
    untold = [f"no_count:{side}" for side, tokens in sides if tokens is None]
    return untold if len(untold) == 1 else []


def _size(usage: Usage) -> int:
    """The size of the prompt that long-context prices look at: caches included, tools not."""
    return sum(filter(None, usage[:_INPUTS])) - (usage[_TOOL_USE] or 0)


def _rounded(numerator: int, scale: int) -> int:
    return numerator if scale == 1 else _whole(Fraction(numerator, scale))


def _whole(pico: int | Fraction) -> int:
    """Whole pico-dollars; half of a pico-dollar goes to the even side."""
    return round(pico)


def per_token(rate: Fraction) -> Fraction:
    """From US dollars per million tokens to pico-dollars per token."""
    return rate * _PER_TOKEN
