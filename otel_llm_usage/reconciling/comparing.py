"""The ledger beside a statement: what both have, what one of them has alone, and how much is missing."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from ..ledger.daily import Own
from ..prices import names
from ..records import dollars
from .statement import Statement, Unrecognised

USD = "usd"
TOKENS = ("input", "cache_read", "cache_write", "cache_write_5m", "cache_write_1h", "output")
"""What kinds of tokens are compared as: providers tell no finer ones."""

SOLD: Mapping[str, frozenset[tuple[str, str]]] = {
    "openai": frozenset({("openai", "openai-api")}),
    "anthropic": frozenset({("anthropic", "claude-api")}),
    "google": frozenset({("google", "gemini-api"), ("google", "vertex")}),
}
"""Which records a provider's statement speaks of: their vendor and platform."""

SETTLED_AFTER = 2
"""Days until a day counts: of today and yesterday providers may not tell everything yet."""

Number = int | Decimal


class Line(NamedTuple):
    """One kind of one model on one day; `usd` is a kind, too."""

    day: date
    model: str
    kind: str
    ours: Number
    theirs: Number
    settled: bool = True
    """False where the day is too young to count."""

    @property
    def capture(self) -> float | None:
        """The share of theirs that is in the ledger; `None` where they have nothing."""
        return float(self.ours / self.theirs) if self.theirs else None

    @property
    def residual(self) -> Number:
        """What they have more than the ledger; below zero, what they have less."""
        return self.theirs - self.ours


class Total(NamedTuple):
    """All settled days of one kind."""

    kind: str
    ours: Number
    theirs: Number
    residual_ratio: float
    """How much differs, as a share of theirs: differences of models do not cancel each other out."""

    @property
    def capture(self) -> float | None:
        """The share of theirs that is in the ledger; `None` where they have nothing."""
        return float(self.ours / self.theirs) if self.theirs else None


class Reconciliation(NamedTuple):
    """The ledger beside a statement."""

    provider: str
    since: date
    until: date
    """The first day that is not in it."""
    lines: tuple[Line, ...]
    """Tokens and units."""
    dollars: tuple[Line, ...] | None
    """`None`: the provider's are not known."""
    matched: Mapping[str, str]
    """Names in the ledger that were taken as another one of theirs."""
    only_theirs: tuple[str, ...]
    """Models that the ledger has never seen: somebody calls them without being counted."""
    only_ours: tuple[str, ...]
    unrecognised: tuple[Unrecognised, ...]
    credits_usd: Decimal
    unpriced: int
    """Records whose dollars are not known, or not all of them."""
    notes: tuple[str, ...]
    settled_until: date
    """The first day that is too young to count."""

    def totals(self) -> tuple[Total, ...]:
        """Each kind of token, units, all tokens and the dollars, over the settled days."""
        kinds = sorted({line.kind for line in self.lines}, key=_order)
        found = [_total(kind, [one for one in self.lines if one.kind == kind]) for kind in kinds]
        found.append(_total("tokens", [one for one in self.lines if one.kind in TOKENS]))
        if self.dollars is not None:
            # their lines name no model for some fees: only the sum can be compared
            found.append(_total(USD, [one._replace(model="") for one in self.dollars]))
        return tuple(found)

    @property
    def residuals(self) -> Mapping[str, float]:
        """The residual ratio by kind."""
        return {total.kind: total.residual_ratio for total in self.totals()}

    @property
    def share(self) -> float:
        """The larger of the residual ratios of all tokens and of the dollars."""
        residuals = self.residuals
        return max(residuals["tokens"], residuals.get(USD, 0.0))

    def exit_code(self, threshold: float = 0.01) -> int:
        """For a command: 0, or 2 if more than this share differs, or 1 if no day is settled."""
        if self.settled_until <= self.since:
            return 1
        return 2 if self.share > threshold else 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON: quantities with a fraction, and dollars, as text."""
        return {
            "provider": self.provider,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "settled_until": self.settled_until.isoformat(),
            "share": self.share,
            "totals": [
                {
                    "kind": total.kind,
                    "ours": _plain(total.ours),
                    "theirs": _plain(total.theirs),
                    "capture": total.capture,
                    "residual_ratio": total.residual_ratio,
                }
                for total in self.totals()
            ],
            "lines": [_line(line) for line in self.lines],
            "dollars": None if self.dollars is None else [_line(line) for line in self.dollars],
            "matched": dict(self.matched),
            "only_theirs": list(self.only_theirs),
            "only_ours": list(self.only_ours),
            "unrecognised": [
                {
                    "what": one.what,
                    "lines": one.lines,
                    "quantity": _plain(one.quantity),
                    "usd": None if one.usd is None else _plain(one.usd),
                }
                for one in self.unrecognised
            ],
            "credits_usd": _plain(self.credits_usd),
            "unpriced": self.unpriced,
            "notes": list(self.notes),
        }


def _line(line: Line) -> dict[str, Any]:
    return {
        "day": line.day.isoformat(),
        "model": line.model,
        "kind": line.kind,
        "ours": _plain(line.ours),
        "theirs": _plain(line.theirs),
        "capture": line.capture,
        "residual": _plain(line.residual),
        "settled": line.settled,
    }


def _plain(number: Number) -> int | str:
    return number if isinstance(number, int) else f"{number:f}"


def _order(kind: str) -> tuple[int, str]:
    return (TOKENS.index(kind), "") if kind in TOKENS else (len(TOKENS), kind)


def _total(kind: str, lines: Sequence[Line]) -> Total:
    """Days may take from each other, as a call that passes midnight does; models and kinds may not."""
    ours: Number = 0
    theirs: Number = 0
    apart: dict[tuple[str, str], Decimal] = {}
    for line in lines:
        if line.settled:
            ours += line.ours
            theirs += line.theirs
            key = (line.model, line.kind)
            apart[key] = apart.get(key, Decimal(0)) + line.residual
    differ = sum((abs(residual) for residual in apart.values()), Decimal(0))
    # no share of what they owe, after a refund
    ratio = float(differ / theirs) if theirs > 0 else float(bool(differ))
    return Total(kind, ours, theirs, ratio)


# ------------------------------------------------------------ one beside the other


def compare(
    own: Iterable[Own], statement: Statement, since: date, until: date, *, now: datetime
) -> Reconciliation:
    """The days from `since` until `until`, which is not in them. `now`: in the zone of the days."""
    sold = SOLD[statement.provider]
    mine = [one for one in own if (one.vendor, one.platform) in sold]
    of_theirs = {one.model for one in statement.used if one.quantity}
    of_theirs |= {one.model for one in statement.charged or () if one.usd}
    of_theirs.discard("")
    called = _matched({one.model for one in mine}, of_theirs)
    settled = now.date() - timedelta(days=SETTLED_AFTER - 1)
    by_lifetime = statement.provider == "anthropic"
    ours: dict[tuple[date, str, str], Number] = {}
    paid: dict[tuple[date, str], Number] = {}
    for one in mine:
        model = called[one.model]
        for kind, count in (*one.tokens.items(), *one.units.items()):
            key = (one.day, model, _compared(kind, by_lifetime) if kind in one.tokens else kind)
            ours[key] = ours.get(key, 0) + count
        paid[one.day, model] = paid.get((one.day, model), Decimal(0)) + dollars(one.pico)
    theirs: dict[tuple[date, str, str], Number] = {}
    for day, model, kind, quantity in statement.used:
        if since <= day < until:
            theirs[day, model, kind] = theirs.get((day, model, kind), 0) + quantity
    lines = tuple(
        Line(*key, ours.get(key, 0), theirs.get(key, 0), key[0] < settled)
        for key in sorted(ours.keys() | theirs.keys(), key=lambda key: (*key[:2], _order(key[2])))
    )
    seen = {called[one.model] for one in mine if one.tokens or one.units or one.pico}
    return Reconciliation(
        statement.provider,
        since,
        until,
        lines,
        _dollars(paid, statement, since, until, settled),
        {name: to for name, to in sorted(called.items()) if name != to},
        tuple(sorted(of_theirs - seen)),
        tuple(sorted(seen - of_theirs)),
        statement.unrecognised,
        statement.credits_usd,
        sum(one.unpriced for one in mine),
        statement.notes,
        min(settled, until),
    )


def _dollars(
    paid: Mapping[tuple[date, str], Number],
    statement: Statement,
    since: date,
    until: date,
    settled: date,
) -> tuple[Line, ...] | None:
    if statement.charged is None:
        return None
    charged: dict[tuple[date, str], Number] = {}
    for day, model, usd in statement.charged:
        if since <= day < until:
            charged[day, model] = charged.get((day, model), Decimal(0)) + usd
    return tuple(
        Line(*key, USD, paid.get(key, Decimal(0)), charged.get(key, Decimal(0)), key[0] < settled)
        for key in sorted(paid.keys() | charged.keys())
        if paid.get(key) or charged.get(key)
    )


def _compared(kind: str, by_lifetime: bool) -> str:
    """What a kind of ours is compared as."""
    if kind.startswith("cache_read"):
        return "cache_read"
    if kind.startswith("cache_write"):
        if not by_lifetime:
            return "cache_write"
        # whose lifetime was not told was written for the usual five minutes
        return "cache_write_1h" if kind == "cache_write_1h" else "cache_write_5m"
    return "input" if kind.startswith("input") else "output"


def _matched(ours: Iterable[str], theirs: Iterable[str]) -> dict[str, str]:
    """What each name of ours is called by them: the same, or the only one that differs by a version."""
    spelled = {one: names.parse(one).text for one in theirs}
    called = {}
    for name in ours:
        text = names.parse(name).text
        same = [one for one, its in spelled.items() if its == text]
        alike = same or [one for one, its in spelled.items() if _version_of(its, text)]
        called[name] = alike[0] if len(alike) == 1 else name
    return called


def _version_of(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    return longer.startswith(shorter) and bool(names.VERSION.match(longer[len(shorter) :]))
