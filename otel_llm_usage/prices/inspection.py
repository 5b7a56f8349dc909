"""Looking into a catalogue: what a file changes, and where each number comes from. Plain data."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from ..records import KINDS, PICO, Reading, Request
from . import entries
from .cards import Card, Rates
from .catalogue import Catalogue, load_catalogue
from .entries import ANCIENT, FOREVER, TIERS, Entries

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
    """The effective card of each model that it names."""
    differences: tuple[Difference, ...]
    """What it changes."""


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
    return tuple(
        _shown(_card(catalogue, vendor, platform, model, tier, region, at), vendor, tier, region)
        for tier in tiers
    )


def diff(
    before: Catalogue,
    after: Catalogue,
    models: Iterable[tuple[str, str]],
    *,
    tiers: Sequence[str] = ("standard",),
    at: float,
) -> tuple[Difference, ...]:
    """The numbers of these `(vendor, model)` that differ between two catalogues."""
    found = []
    for vendor, model in models:
        for tier in tiers:
            old = _numbers(_card(before, vendor, None, model, tier, None, at))
            new = _numbers(_card(after, vendor, None, model, tier, None, at))
            for key in dict.fromkeys([*old, *new]):
                was, now = old.get(key), new.get(key)
                if (was and was.price) != (now and now.price):
                    found.append(
                        Difference(
                            model,
                            tier,
                            key[0],
                            key[1],
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

    Reports the effective card of each model that the file names (patterns are left out: they name
    no single model), and what the file changes in them.
    """
    file = Path(path)
    read = entries.read_file(file)
    plain, changed = load_catalogue(), load_catalogue([file])
    cards: list[ShownCard] = []
    differences: list[Difference] = []
    for vendor, platform, model, tier in _named(read):
        card = _card(changed, vendor, platform, model, tier, None, at)
        cards.append(_shown(card, vendor, tier, None))
        differences += diff(plain, changed, [(vendor, model)], tiers=[tier], at=at)
    return FileReport(
        file.name,
        {
            "price": len(read.prices),
            "tier": len(read.tiers),
            "kind": len(read.kinds),
            "fee": len(read.fees),
            "multiplier": len(read.multipliers),
            "alias": len(read.aliases),
        },
        tuple(cards),
        tuple(dict.fromkeys(differences)),
    )


def _named(read: Entries) -> list[tuple[str, str | None, str, str]]:
    named: dict[tuple[str, str | None, str, str], None] = {}
    for price in read.prices:
        scope = price.scope
        platform = None if scope.platform == "*" else scope.platform
        for model in scope.models:
            if "*" not in model:
                for tier in price.tiers:
                    named[(scope.provider, platform, model, tier)] = None
    for alias in read.aliases:
        vendor = "openai" if alias.scope.provider == "*" else alias.scope.provider
        for model in alias.scope.models:
            named[(vendor, None, model, "standard")] = None
    for fee in read.fees:
        for model in fee.scope.models:
            if "*" not in model:
                named[(fee.scope.provider, None, model, "standard")] = None
    return list(named)


def _card(
    catalogue: Catalogue,
    vendor: str,
    platform: str | None,
    model: str,
    tier: str,
    region: str | None,
    at: float,
) -> Card:
    request = Request(
        provider=vendor,
        vendor=vendor,
        platform=platform or _PLATFORMS.get(vendor, vendor),
        operation="chat",
        endpoint="batches" if tier == "batch" else _ENDPOINTS.get(vendor, "chat.completions"),
        model=model,
    )
    return catalogue.card(request, Reading(tier=tier, region=region), at)


def _shown(card: Card, vendor: str, tier: str, region: str | None) -> ShownCard:
    platform = card.label.split(" ")[1] if " " in card.label else ""
    return ShownCard(
        label=card.label,
        vendor=vendor,
        model=card.model,
        platform=platform,
        tier=tier,
        region=region,
        since=None if card.since == ANCIENT else card.since,
        until=None if card.until == FOREVER else card.until,
        reason=card.reason,
        rates=tuple(_rates(card)),
        assumed=card.assumed,
    )


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
