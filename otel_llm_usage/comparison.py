"""What the same calls would have cost elsewhere, how two models compare, and how long calls took."""

import math
import time
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from .prices import Catalogue, names, owner
from .prices.cards import Card
from .providers import hosts
from .records import KINDS, Cost, Reading, Record, Request, Usage, as_text, dollars
from .sums import By, Gathered, Group, Sum, fields

if TYPE_CHECKING:
    from .prices.compiler import Question


class WhatIf(NamedTuple):
    """What some calls have cost, and what they would have cost otherwise.

    The same token counts at the prices of the time of each call. Another vendor's tokenizer counts
    the same text otherwise, and another model answers at another length: this says nothing of that.
    """

    model: str | None
    """The other model; `None`: that of each call."""
    provider: str | None
    """Who would have sold it; `None`: several, or nothing was priced."""
    tier: str | None
    """The other tier; `None`: that of each call."""
    calls: int
    """Billed calls that were priced anew; both sums are theirs. What was not billed costs nothing in
    either."""
    actual_usd: Decimal | None
    """US dollars; `None` where any part is not known."""
    other_usd: Decimal | None
    """US dollars; `None` where any part is not known."""
    known_other_usd: Decimal
    """US dollars of what has a price there: the cost, or its lower bound."""
    unpriced: int
    """Answers of which at least a part has no known price there."""
    left_out: int
    """Billed calls that are in neither sum: not kept any more, or nobody said how many tokens."""
    assumed: tuple[str, ...]
    """What was assumed, in words: `cache_read priced as input: it has no rate there`."""

    @property
    def difference_usd(self) -> Decimal | None:
        """How much more it would have cost, negative where less; `None` where not known."""
        if self.other_usd is None or self.actual_usd is None:
            return None
        return self.other_usd - self.actual_usd

    @property
    def ratio(self) -> float | None:
        """0.5 is half the cost; `None` where not known, or where nothing was paid."""
        return _ratio(self.other_usd, self.actual_usd)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; dollars as text, exact."""
        return self._asdict() | {
            "actual_usd": as_text(self.actual_usd),
            "other_usd": as_text(self.other_usd),
            "known_other_usd": as_text(self.known_other_usd),
            "difference_usd": as_text(self.difference_usd),
            "ratio": self.ratio,
            "assumed": list(self.assumed),
        }


class ModelFigures(NamedTuple):
    """What the calls of one model took, on average."""

    model: str
    calls: int
    failures: int
    input_tokens: float | None
    """Of a call, caches included; `None` without calls."""
    output_tokens: float | None
    """Of a call, reasoning included."""
    total_tokens: float | None
    """Of a call."""
    usd_per_call: Decimal | None
    """`None` where the cost is not known."""
    total_usd: Decimal | None
    """Of all its calls; `None` where any part is not known."""
    known_usd: Decimal
    """What is sure of it."""
    average_seconds: float | None

    @classmethod
    def of(cls, model: str, found: Sum) -> "ModelFigures":
        """The figures of a sum."""
        calls = found.calls
        return cls(
            model,
            calls,
            found.failures,
            found.input_tokens / calls if calls else None,
            found.output_tokens / calls if calls else None,
            found.average_tokens,
            found.average_cost_usd,
            found.cost_usd,
            found.known_cost_usd,
            found.average_seconds,
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON; dollars as text."""
        return self._asdict() | {
            "usd_per_call": as_text(self.usd_per_call),
            "total_usd": as_text(self.total_usd),
            "known_usd": as_text(self.known_usd),
        }


class Comparison(NamedTuple):
    """Two models, as they were used, and the traffic of each at the prices of the other."""

    a: ModelFigures
    b: ModelFigures
    a_on_b: WhatIf
    """The calls of `a`, had they been made on `b`."""
    b_on_a: WhatIf

    @property
    def ratio(self) -> float | None:
        """Dollars of a call, `a` to `b`; `None` where not known."""
        return _ratio(self.a.usd_per_call, self.b.usd_per_call)

    @property
    def tokens_ratio(self) -> float | None:
        """Tokens of a call, `a` to `b`; `None` where one of them has no calls."""
        return _ratio(self.a.total_tokens, self.b.total_tokens)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; dollars as text."""
        return {
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "ratio": self.ratio,
            "tokens_ratio": self.tokens_ratio,
            "a_on_b": self.a_on_b.to_dict(),
            "b_on_a": self.b_on_a.to_dict(),
        }


def _ratio(one: Decimal | float | None, other: Decimal | float | None) -> float | None:
    return float(one) / float(other) if one is not None and other else None


class Timing(NamedTuple):
    """How long calls took, in seconds; `None` without calls."""

    calls: int
    """Whose duration is known."""
    total: float
    mean: float | None
    median: float | None
    p95: float | None
    """Of a hundred calls, 95 took no longer."""
    shortest: float | None
    longest: float | None

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Timing":
        """The statistics of these durations."""
        ordered = sorted(seconds)
        if not ordered:
            return cls(0, 0.0, None, None, None, None, None)
        total = math.fsum(ordered)
        return cls(
            len(ordered),
            total,
            total / len(ordered),
            (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2,
            ordered[math.ceil(0.95 * len(ordered)) - 1],
            ordered[0],
            ordered[-1],
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict()


def timing(records: Iterable[Record]) -> Timing:
    """How long these calls took."""
    return Timing.of(seconds for _, seconds in _durations(records))


def timing_by(records: Iterable[Record], field: By) -> dict[str, Timing]:
    """The same for each value of a field of `Group`, the longest in all first."""
    asked = fields(field)
    if len(asked) != 1:
        raise ValueError(f"by={field!r}: this takes one field")
    parts: dict[str, list[float]] = {}
    for record, seconds in _durations(records):
        parts.setdefault(getattr(Group.of(record), asked[0]), []).append(seconds)
    found = {value: Timing.of(part) for value, part in parts.items()}
    return dict(sorted(found.items(), key=lambda one: (-one[1].total, one[0])))


def _durations(records: Iterable[Record]) -> Iterable[tuple[Record, float]]:
    for record in records:
        # several billed entries of one answer took their time together
        if record.duration is not None and not record.later_entry:
            yield record, record.duration


# ------------------------------------------------------------ which calls


class _Picked(NamedTuple):
    """Calls of some agents, of a model, or of both."""

    agents: Collection[str] | None
    model: str | None

    def agent(self, name: str) -> bool:
        return self.agents is None or name in self.agents

    def record(self, record: Record) -> bool:
        return self.agent(record.agent) and (self.model is None or is_of(record, self.model))

    def sum_of(self, gathered: Gathered, picked: Sequence[Record]) -> Sum:
        """All of them, also those that are not kept any more."""
        if not gathered.dropped:
            return _sum_of(picked)
        # groups tell who answered; who was asked, the records that are kept
        answered = {(record.provider, record.model) for record in picked}
        found = Sum()
        for group, part in gathered.sums:
            if self.agent(group.agent) and (
                self.model is None
                or (group.provider, group.model) in answered
                or is_named(group.model, hosts.named(group.provider).platform, self.model)
            ):
                found.merge(part)
        return found


def _sum_of(records: Iterable[Record]) -> Sum:
    found = Sum()
    for record in records:
        found.add(record)
    return found


def is_of(record: Record, model: str) -> bool:
    """Whether a call asked for a model, or was answered by it."""
    request = record.request
    return any(
        name is not None and is_named(name, request.platform, model)
        for name in (record.response_model, request.model)
    )


def is_named(name: str, platform: str, model: str) -> bool:
    """Whether a model of this name is meant: one without a date stands for all its snapshots."""
    if name == model:
        return True
    spelled, meant = names.parse(name, platform).text, names.parse(model, platform).text
    undated = names.shorter(spelled)
    return meant in (spelled, undated and undated[0])


# ------------------------------------------------------------ elsewhere


def _asked_then(record: Record, catalogue: Catalogue) -> "Question":
    """Under which vendor, tier and region the answer was priced."""
    catalogue.warm()
    # only after the table is loaded, see `Catalogue`
    from .prices.compiler import question  # noqa: PLC0415

    return question(record.request, record.reading, record.time)


class _Seller(NamedTuple):
    """Who sells a model, and where."""

    host: hosts.Host
    region: str | None = None
    by_name: bool = False
    """Nobody said so, and it was found by the model's name: who buys of this vendor elsewhere, on
    Azure or Vertex, say, would buy it there."""


def _seller(
    catalogue: Catalogue, model: str | None, provider: str | None, sold: Record | None, at: float
) -> _Seller | None:
    """Who was named, else whoever sold it in these calls, else whose model it is by its name."""
    if provider is not None:
        return _Seller(hosts.named(provider))
    if model is None:
        return None
    if sold is not None:
        theirs = sold.request
        host = hosts.Host(theirs.provider, theirs.vendor, theirs.platform)
        return _Seller(host, _asked_then(sold, catalogue).region)
    return _Seller(hosts.named(owner(catalogue, model, at=at)), by_name=True)


def latest_of(records: Sequence[Record], model: str | None) -> Record | None:
    """The last of these that is of a model: it tells who sells it."""
    if model is None:
        return None
    return next((record for record in reversed(records) if is_of(record, model)), None)


class Elsewhere:
    """Calls that pass by, one after the other, at the prices of another model, tier or seller."""

    def __init__(
        self,
        catalogue: Catalogue,
        model: str | None = None,
        tier: str | None = None,
        provider: str | None = None,
        *,
        sold: Record | None = None,
        at: float | None = None,
    ) -> None:
        """`sold`: a call of that model, by which it is known who sells it; else `provider` says so, or
        the model's name at a time (`at`, now if left out). `TypeError` if nothing is to be different.
        """
        if model is None and tier is None and provider is None:
            raise TypeError(
                "what_if() takes a model, a tier or a provider: what is to be different?"
            )
        at = time.time() if at is None else at
        self._model = model
        self._tier = tier
        self._there = _There(catalogue, model, tier, _seller(catalogue, model, provider, sold, at))
        self._calls = self._unpriced = self._known = self._billed = 0
        self._actual: int | None = 0

    def add(self, record: Record) -> None:
        """Price one call anew."""
        if record.cost.status == "not_billed":
            return
        first = not record.later_entry
        self._billed += first
        if record.usage is None and not record.units:
            return
        self._calls += first
        pico = record.cost.pico
        self._actual = None if self._actual is None or pico is None else self._actual + pico
        cost = self._there.cost(record)
        self._known += cost.known_pico
        self._unpriced += cost.pico is None

    def told(self, billed: int | None = None) -> WhatIf:
        """What it came to; `billed`: how many billed calls there are in all, if more than passed by."""
        there = self._there
        return WhatIf(
            model=self._model,
            provider=next(iter(there.providers)) if len(there.providers) == 1 else None,
            tier=self._tier,
            calls=self._calls,
            actual_usd=None if self._actual is None else dollars(self._actual),
            other_usd=None if self._unpriced else dollars(self._known),
            known_other_usd=dollars(self._known),
            unpriced=self._unpriced,
            left_out=max(0, (self._billed if billed is None else billed) - self._calls),
            assumed=tuple(there.assumed),
        )


def what_if(
    gathered: Gathered,
    catalogue: Catalogue,
    *,
    model: str | None,
    tier: str | None,
    provider: str | None,
    agent: str | Collection[str] | None,
    of_model: str | None,
) -> WhatIf:
    """The calls of some agents and of a model, or all, priced anew; see `UsageScope.what_if`."""
    records = gathered.records
    elsewhere = Elsewhere(
        catalogue,
        model,
        tier,
        provider,
        sold=latest_of(records, model),
        at=records[-1].time if records else None,
    )
    picked = _Picked((agent,) if isinstance(agent, str) else agent, of_model)
    kept = [record for record in records if picked.record(record)]
    for record in kept:
        elsewhere.add(record)
    return elsewhere.told(picked.sum_of(gathered, kept).billed)


def compare_models(gathered: Gathered, catalogue: Catalogue, a: str, b: str) -> Comparison:
    """Two models as they were used; see `UsageScope.compare_models`."""
    records = gathered.records
    compared = Compared(
        catalogue,
        a,
        b,
        sold=[latest_of(records, model) for model in (a, b)],
        at=records[-1].time if records else None,
    )
    for record in records:
        compared.add(record)

    def whole(model: str) -> Sum | None:
        if not gathered.dropped:
            return None
        picked = _Picked(None, model)
        kept = [record for record in records if picked.record(record)]
        return picked.sum_of(gathered, kept)

    return compared.told(whole(a), whole(b))


class Compared:
    """Two models, of whose calls one after the other passes by."""

    def __init__(
        self,
        catalogue: Catalogue,
        a: str,
        b: str,
        *,
        sold: Sequence[Record | None],
        at: float | None = None,
    ) -> None:
        """`sold`: a call of each, or `None`; see `Elsewhere`."""
        sold_a, sold_b = sold
        self._sides = (
            _Side(a, Sum(), Elsewhere(catalogue, b, sold=sold_b, at=at)),
            _Side(b, Sum(), Elsewhere(catalogue, a, sold=sold_a, at=at)),
        )

    def add(self, record: Record) -> None:
        """Take one call, if it is of one of them."""
        for side in self._sides:
            if is_of(record, side.model):
                side.found.add(record)
                side.elsewhere.add(record)

    def told(self, *whole: Sum | None) -> Comparison:
        """What it came to; `whole`: of each model the sum of all its calls, if more than passed by."""
        (a, on_b), (b, on_a) = (
            (
                ModelFigures.of(side.model, found := all_ or side.found),
                side.elsewhere.told(found.billed),
            )
            for side, all_ in zip(self._sides, whole or (None, None), strict=True)
        )
        return Comparison(a, b, on_b, on_a)


class _Side(NamedTuple):
    """One of two models: its calls as they were, and on the other one."""

    model: str
    found: Sum
    elsewhere: Elsewhere


_INSTEAD = {
    "input_tool_use": "input",
    "cache_read": "input",
    "cache_write": "input",
    "cache_write_5m": "input",
    "cache_write_30m": "input",
    "cache_write_1h": "input",
    "cache_write_12h": "input",
    "reasoning": "output",
}
"""As what a kind is priced that the other model does not tell apart. Audio, pictures and films are
not here: a model without a rate for them may not take them at all."""

_EVERYWHERE = ("standard", "batch")
"""Tiers that mean the same with every vendor."""


class _There:
    """Another model, tier or seller, and what answers would cost there."""

    def __init__(
        self, catalogue: Catalogue, model: str | None, tier: str | None, seller: _Seller | None
    ) -> None:
        self._catalogue = catalogue
        self._model = model
        self._tier = tier
        self._seller = seller
        self._cards: dict[tuple[str | None, ...], Card] = {}
        self.assumed: dict[str, None] = {}
        self.providers: set[str] = set()

    def cost(self, record: Record) -> Cost:
        """What the answer would have cost."""
        request, reading = self._asked(record)
        card = self._card(request, reading, record.time)
        if reading.usage is not None and not card.reason:
            reading = reading._replace(usage=self._with_rates(reading.usage, card))
        cost = self._catalogue.price(request, reading, record.time)
        self._assume(*cost.assumed)
        if cost.status == "prepaid":
            self._assume("the tokens are paid in advance")
        return cost

    def _asked(self, record: Record) -> tuple[Request, Reading]:
        """The same call there."""
        own, was = record.request, _asked_then(record, self._catalogue)
        host = hosts.Host(own.provider, own.vendor, own.platform)
        tier, region = was.tier, was.region
        seller = self._seller
        if seller is not None and not (seller.by_name and seller.host.vendor == was.vendor):
            if seller.host.platform != was.platform:
                region = seller.region
                if self._tier is None and tier not in _EVERYWHERE:
                    self._assume(
                        f"what was {tier} priced as standard: another seller's tiers differ"
                    )
                    tier = "standard"
            host = seller.host
        tier = self._tier or tier
        self.providers.add(host.provider)
        request = own._replace(
            provider=host.provider,
            vendor=host.vendor,
            platform=host.platform,
            endpoint="",  # that of a batch would be billed as one, whatever the tier says
            model=self._model or own.model,
            tier=tier,
            region=region,
        )
        # the region stands in the request alone: one in the other model's name wins
        return request, record.reading._replace(
            model=self._model or record.response_model, tier=tier, region=None
        )

    def _card(self, request: Request, reading: Reading, at: float) -> Card:
        key = (*request[:3], request.model, request.region, reading.model, reading.tier)
        card = self._cards.get(key)
        if card is None or not card.since <= at < card.until:
            card = self._cards[key] = self._catalogue.card(request, reading, at)
        return card

    def _with_rates(self, usage: Usage, card: Card) -> Usage:
        """The usage, with the kinds that have no rate there among those that have one."""
        rates = dict(zip(KINDS, card.rates, strict=True))
        moved: dict[str, int] = {}
        for kind, count in usage.nonzero().items():
            target = _INSTEAD.get(kind)
            if target is not None and rates[kind] is None and rates[target] is not None:
                moved[kind] = 0
                moved[target] = moved.get(target, getattr(usage, target) or 0) + count
                self._assume(f"{kind} priced as {target}: it has no rate there")
        return usage._replace(**moved) if moved else usage

    def _assume(self, *words: str) -> None:
        self.assumed.update(dict.fromkeys(words))
