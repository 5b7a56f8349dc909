"""Looking into a catalogue: what a file changes, and where each number comes from. Plain data."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from difflib import get_close_matches
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..records import KINDS, PICO, Reading, Request
from . import entries, names
from .cards import Card, Rates
from .catalogue import Catalogue, load_catalogue
from .entries import ANCIENT, FOREVER, TIERS, Entries, Scope

if TYPE_CHECKING:
    from .base import BaseTable

_PLATFORMS = {"openai": "openai-api", "anthropic": "claude-api", "google": "gemini-api"}
_ENDPOINTS = {"openai": "chat.completions", "anthropic": "messages", "google": "generate_content"}


class ShownRate(NamedTuple):
    """One number of a card."""

    sku: str
    price: Decimal
    """US dollars: for a million tokens, or for one unit."""
    unit: str
    """`1M tokens` or `each`."""
    above: int
    """Holds for prompts with more tokens than this; 0 for all."""
    source: str
    derived: bool


class ShownCard(NamedTuple):
    """A rate card, for people."""

    label: str
    vendor: str
    model: str
    platform: str
    tier: str
    region: str | None
    since: float | None
    until: float | None
    reason: str
    """Why there are no rates, if there are none."""
    rates: tuple[ShownRate, ...]
    assumed: tuple[str, ...]


class Difference(NamedTuple):
    """A number that one catalogue has otherwise than another."""

    model: str
    tier: str
    sku: str
    above: int
    before: Decimal | None
    after: Decimal | None
    source: str


class FileReport(NamedTuple):
    """What a price file says and does."""

    file: str
    entries: dict[str, int]
    """How many entries of each kind it has."""
    cards: tuple[ShownCard, ...]
    """The effective card of each model that it names; patterns name none."""
    differences: tuple[Difference, ...]
    """What it changes."""
    warnings: tuple[str, ...] = ()
    """What is valid, but most likely not meant."""


class _Asked(NamedTuple):
    """What a card is asked for, as far as people say it."""

    vendor: str
    model: str
    platform: str | None = None
    tier: str = "standard"
    region: str | None = None

    def card(self, catalogue: Catalogue, at: float) -> Card:
        request = Request(
            provider=self.vendor,
            vendor=self.vendor,
            platform=self.platform or _PLATFORMS.get(self.vendor, self.vendor),
            operation="chat",
            endpoint="batches"
            if self.tier == "batch"
            else _ENDPOINTS.get(self.vendor, "chat.completions"),
            model=self.model,
        )
        return catalogue.card(request, Reading(tier=self.tier, region=self.region), at)

    @property
    def name(self) -> str:
        """The model, and where it is sold if that was told."""
        return " ".join(filter(None, (self.model, self.platform, self.region)))


def show(
    catalogue: Catalogue,
    model: str,
    *,
    vendor: str = "openai",
    platform: str | None = None,
    tiers: Sequence[str] = ("standard",),
    region: str | None = None,
    at: float,
) -> tuple[ShownCard, ...]:
    """The effective cards of a model, one for each tier, each number with its source."""
    vendor, its_platform = names.price_list(vendor)
    if platform is not None:
        its_platform = names.platform_word(platform)
    place = None if its_platform == "*" else its_platform
    return tuple(
        _shown(catalogue, _Asked(vendor, model, place, tier, region), at) for tier in tiers
    )


def owner(catalogue: Catalogue, model: str, *, at: float) -> str:
    """Whose model it is, of those whose names are checked; OpenAI's if nobody knows it."""
    for vendor in _PLATFORMS:
        if _Asked(vendor, model).card(catalogue, at).reason != "unknown_model":
            return vendor
    return "openai"


def models(catalogue: Catalogue, vendor: str) -> frozenset[str]:
    """Every model of a vendor that the layers of a catalogue spell out."""
    compiler = catalogue.compiler()
    scopes = [price.scope for layer in compiler.layers for price in layer.prices]
    own = {name for scope in scopes if scope.provider == vendor for name in scope.models}
    listed = {model for _, model in compiler.base.names(vendor)}
    return frozenset(name for name in own | listed if "*" not in name)


def diff(
    before: Catalogue,
    after: Catalogue,
    models: Iterable[tuple[str, str]],
    *,
    tiers: Sequence[str] = ("standard",),
    at: float,
) -> tuple[Difference, ...]:
    """The numbers of these `(vendor, model)` that differ between two catalogues."""
    asked = (_Asked(vendor, model, tier=tier) for vendor, model in models for tier in tiers)
    return _differences(before, after, asked, at)


def _differences(
    before: Catalogue, after: Catalogue, asked: Iterable[_Asked], at: float
) -> tuple[Difference, ...]:
    found = []
    for one in asked:
        old, new = _numbers(one.card(before, at)), _numbers(one.card(after, at))
        for sku, above in dict.fromkeys([*old, *new]):
            was, now = old.get((sku, above)), new.get((sku, above))
            if (was and was.price) != (now and now.price):
                found.append(
                    Difference(
                        one.name,
                        one.tier,
                        sku,
                        above,
                        was and was.price,
                        now and now.price,
                        now.source if now else "",
                    )
                )
    return tuple(found)


def overlay_differences(*, at: float) -> tuple[Difference, ...]:
    """What the packaged overlay changes in the maintained table, for the three big vendors."""
    full = load_catalogue()
    plain = full.without_overlay()
    overlay, table = full.compiler().layers[-1], full.compiler().base
    models: dict[tuple[str, str], None] = {}
    for vendor in _PLATFORMS:
        models |= {(vendor, model): None for _, model in table.names(vendor)}
    scopes = [price.scope for price in overlay.prices]
    for scope in [*scopes, *(alias.scope for alias in overlay.aliases)]:
        models |= {(scope.provider, model): None for model in scope.models if "*" not in model}
    return diff(plain, full, models, tiers=TIERS[:-1], at=at)


def check_file(path: Path | str, *, at: float) -> FileReport:
    """Check a price file; `ConfigurationError` says what is wrong with it.

    Reports the effective card of each model that the file names, and what the file changes, also in
    the models of the table that its patterns fit. What is valid but cannot be meant is a warning.
    """
    file = Path(path)
    read = entries.read_file(file)
    plain, changed = load_catalogue(), load_catalogue([file])
    table = plain.compiler().base
    named = _named(read, changed, at)
    asked = dict.fromkeys([*named, *_fitting(read, table)])
    return FileReport(
        file.name,
        {
            "price": len(read.prices),
            "tier": len(read.tiers),
            "kind": len(read.kinds),
            "fee": len(read.fees),
            "multiplier": sum(not one.discount for one in read.multipliers),
            "discount": sum(one.discount for one in read.multipliers),
            "alias": len(read.aliases),
        },
        tuple(_shown(changed, one, at) for one in named),
        tuple(dict.fromkeys(_differences(plain, changed, asked, at))),
        tuple(_suspicious(read, table)),
    )


def _named(read: Entries, changed: Catalogue, at: float) -> list[_Asked]:
    """What the entries that name a model are about."""
    named: dict[_Asked, None] = {}
    for alias in read.aliases:
        provider = alias.scope.provider
        vendor = owner(changed, alias.model, at=at) if provider == "*" else provider
        named |= dict.fromkeys(
            _Asked(vendor, model, _place(alias.scope)) for model in alias.scope.models
        )
    for scope, tiers, region in _about(read):
        named |= dict.fromkeys(
            _Asked(scope.provider, model, _place(scope), tier, region)
            for model in scope.models
            if "*" not in model and scope.provider != "*"
            for tier in tiers
        )
    return list(named)


def _fitting(read: Entries, table: "BaseTable") -> Iterable[_Asked]:
    """The models of the table that the patterns of the entries fit."""
    for scope, tiers, region in _about(read):
        vendors = tuple(_PLATFORMS) if scope.provider == "*" else (scope.provider,)
        for vendor in vendors:
            for model in dict.fromkeys(model for _, model in table.names(vendor)):
                if any(fnmatchcase(model, pattern) for pattern in scope.models):
                    for tier in tiers:
                        yield _Asked(vendor, model, _place(scope), tier, region)


def _about(read: Entries) -> Iterable[tuple[Scope, Sequence[str], str | None]]:
    """The scope of each entry that changes numbers, the tiers and a region in which it does."""
    for price in read.prices:
        yield price.scope, price.tiers, None
    for tier in read.tiers:
        yield tier.scope, tier.tiers, None
    for kind in read.kinds:
        yield kind.scope, ("standard",), None
    for fee in read.fees:
        yield fee.scope, ("standard",), None
    for factor in read.multipliers:
        region = None if factor.regions is None else factor.regions[0]
        if region is not None and (region.startswith("!") or "*" in region):
            region = "elsewhere"  # a pattern is no place: any that it fits will do
        if region is None or factor.for_region(region):
            yield factor.scope, ("standard",), region


def _place(scope: Scope) -> str | None:
    return None if scope.platform == "*" else scope.platform


def _suspicious(read: Entries, table: "BaseTable") -> Iterable[str]:
    """Names of price lists and platforms that nobody else has: most likely misspelled."""
    for word, known in (
        ("provider", {"*", *table.vendors}),
        ("platform", {"*", *names.PLATFORMS, *table.vendors}),
    ):
        for scope in read.scopes:
            said = getattr(scope, word)
            if said not in known:
                like = get_close_matches(said, known, 1)
                yield f"{scope.where}: no {word} {said!r} is known" + (
                    f": did you mean {like[0]!r}?" if like else ""
                )


def _shown(catalogue: Catalogue, asked: _Asked, at: float) -> ShownCard:
    card = asked.card(catalogue, at)
    since, until = _validity(catalogue, asked, card)
    return ShownCard(
        label=card.label,
        vendor=asked.vendor,
        model=card.model,
        platform=card.label.split(" ")[1] if " " in card.label else "",
        tier=asked.tier,
        region=asked.region,
        since=None if since == ANCIENT else since,
        until=None if until == FOREVER else until,
        reason=card.reason,
        rates=tuple(_rates(card)),
        assumed=card.assumed,
    )


def _validity(catalogue: Catalogue, asked: _Asked, card: Card) -> tuple[float, float]:
    """From when to when the card's numbers hold: a card also ends where nothing of it changes."""
    numbers = {key: rate.price for key, rate in _numbers(card).items()}

    def same(other: Card) -> bool:
        return {key: rate.price for key, rate in _numbers(other).items()} == numbers

    first = last = card
    for _ in range(_MOST_CHANGES):  # what changes by the time of the day never stops doing so
        if first.since == ANCIENT or not same(earlier := asked.card(catalogue, first.since - 1)):
            break
        first = earlier
    for _ in range(_MOST_CHANGES):
        if last.until == FOREVER or not same(later := asked.card(catalogue, last.until)):
            break
        last = later
    return first.since, last.until


_MOST_CHANGES = 100


def _rates(card: Card) -> Iterable[ShownRate]:
    tables: list[tuple[int, Rates]] = [(0, card.rates), *card.steps]
    for above, table in tables:
        for kind, rate in zip(KINDS, table, strict=True):
            if rate is not None:
                price = _exact(Fraction(rate.pico * 10**6, card.scale * PICO))
                yield ShownRate(kind, price, "1M tokens", above, rate.source, rate.derived)
    for sku, unit in sorted(card.units.items()):
        if not unit.included:
            yield ShownRate(sku, _exact(Fraction(unit.pico) / PICO), "each", 0, unit.source, False)


def _numbers(card: Card) -> dict[tuple[str, int], ShownRate]:
    return {(rate.sku, rate.above): rate for rate in _rates(card)}


def _exact(value: Fraction) -> Decimal:
    """The fraction as a decimal: exact if it has an end, else to 28 digits."""
    return (Decimal(value.numerator) / Decimal(value.denominator)).normalize() + 0
