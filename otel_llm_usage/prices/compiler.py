"""From what was called to a rate card: who the model is, and which layer says what it costs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import NamedTuple, TypeVar

from ..records import KINDS, PICO, Reading, Request
from . import names, tiers
from .base import BaseModel, BaseTable, Listed
from .cards import Card, Rate, Rates, UnitRate, per_token
from .entries import ANCIENT, FOREVER, Entries, Fee, Kind, Multiplier, Price, Scope, Tier
from .ladder import Ladder, rescaled
from .names import VERSION, Name

Entry = TypeVar("Entry", Price, Tier, Kind, Fee, Multiplier)


_OTHERWISE = {("google", "web_search")}
"""Units of the table that no reader reports: Gemini's searches are prompts or queries."""


class Rated(NamedTuple):
    """A rate, and where it comes from."""

    rate: Ladder
    source: str
    derived: bool = False


class Identity(NamedTuple):
    """Which model is billed."""

    names: tuple[str, ...]
    """Everything that it is called, the most exact first."""
    base: BaseModel | None
    fallback: str = ""
    """Set when an unknown dated snapshot is priced as its model."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a card is asked for."""

    vendor: str
    platform: str
    tier: str
    region: str | None
    names: tuple[Name, ...]
    at: float


def question(request: Request, reading: Reading, at: float) -> Question:
    """What decides about the prices of this reading."""
    spelled = [name for name in (reading.model, request.model) if name]
    parsed = [names.parse(name, request.platform) for name in spelled]
    if len(parsed) == 2 and parsed[1].tuned and not parsed[0].tuned:
        parsed = parsed[1:]  # a tuned model may answer under the name of its base
    vendor = request.vendor
    if vendor in ("google", "aws") and parsed and "claude" in parsed[0].text:
        vendor = "anthropic"
    regions = [reading.region, *(name.region for name in parsed), request.region]
    region = next((region.lower() for region in regions if region), None)
    tier = tiers.billed(request._replace(vendor=vendor), reading)
    return Question(vendor, request.platform, tier, region, tuple(parsed), at)


class Compiler:
    """The layers of a catalogue: the user's first, then the packaged one, then the base table."""

    def __init__(self, layers: Sequence[Entries], base: BaseTable, version: str) -> None:
        self.layers = tuple(layers)
        self.users = self.layers[:-1]
        self.base = base
        self.version = version

    def card(self, asked: Question) -> Card:
        """The card that answers the question; one without prices where nobody knows any."""
        prepaid = asked.tier == "provisioned"
        model = self.identify(asked)
        if model is None:
            spelled = asked.names[0].text if asked.names else "?"
            label = f"{asked.vendor}/{spelled} {asked.platform}"
            since, until = self._window((self._fitting(asked)), asked.at, None)
            reason = "unknown_model"
            units = _Sheet(self, asked, Identity((spelled,), None)).units() if prepaid else {}
            return Card(
                label, since, until, self.version, reason, spelled, units=units, prepaid=prepaid
            )
        return _Sheet(self, asked, model).card(prepaid)

    def identify(self, asked: Question) -> Identity | None:
        """The model that is billed: the answer's, else one that the user's files name."""
        if not asked.names:
            return None
        found = self._identify(asked.names[0], asked, self.layers)
        if found is None and len(asked.names) == 2:
            named = asked.names[1]
            if any(
                self._knows(layer, [named.text, named.raw], asked) for layer in self.users
            ) or any(self._alias(named.text, asked, (layer,)) for layer in self.users):
                found = self._identify(named, asked, self.layers)
        return found

    def _identify(self, name: Name, asked: Question, layers: Sequence[Entries]) -> Identity | None:
        seen: list[str] = []
        text, fallback = name.text, False
        for _ in range(6):
            alias = self._alias(text, asked, layers)
            if alias and alias not in seen:
                seen.append(text)
                text = alias
                continue
            stem = names.tuned_stem(text)
            base = self.base.find(asked.vendor, text, asked.platform)
            if base is not None or any(
                self._knows(one, [text, stem, name.raw], asked) for one in layers
            ):
                called = [text, stem, *([base.id] if base else []), *seen, name.raw]
                flag = text if fallback else ""
                return Identity(tuple(dict.fromkeys(called)), base, flag)
            cut = None if name.tuned else names.shorter(text)
            if cut is None or (cut[1] and self._snapshots_differ(asked.vendor, cut[0])):
                return None
            seen.append(text)
            text, fallback = cut[0], fallback or cut[1]
        return None

    def _alias(self, text: str, asked: Question, layers: Iterable[Entries]) -> str | None:
        for layer in layers:
            for alias in layer.aliases:
                scope = alias.scope
                if (
                    text in scope.models
                    and scope.active(asked.at)
                    and scope.fits(asked.vendor, asked.platform)
                ):
                    return alias.model
        return None

    def _knows(self, layer: Entries, called: Sequence[str], asked: Question) -> bool:
        """Whether a layer has a price for exactly this model, or a pattern that is not for all."""
        for price in layer.prices:
            if price.scope.fits(asked.vendor, asked.platform) and price.scope.rank(called, ""):
                return True
        return any(
            fee.scope.fits(asked.vendor, asked.platform)
            and any(name in fee.scope.models for name in called)
            for fee in layer.fees
        )

    def _snapshots_differ(self, vendor: str, stem: str) -> bool:
        """Whether the dated snapshots of this model are known to cost different amounts."""
        ids = {
            model
            for text, model in self.base.names(vendor)
            if text == stem or (text.startswith(f"{stem}-") and VERSION.match(text[len(stem) :]))
        }
        return len(ids) > 1

    def _fitting(self, asked: Question) -> list[Scope]:
        return [
            scope
            for layer in self.layers
            for scope in layer.scopes
            if scope.fits(asked.vendor, asked.platform)
        ]

    @staticmethod
    def _window(scopes: Iterable[Scope], at: float, base: BaseModel | None) -> tuple[float, float]:
        moments = [moment for scope in scopes for moment in (scope.since, scope.until)]
        if base is not None:
            moments.extend(base.changes(at))
        return (
            max((moment for moment in moments if moment <= at), default=ANCIENT),
            min((moment for moment in moments if moment > at), default=FOREVER),
        )


class _Sheet:
    """The work of compiling one card."""

    def __init__(self, compiler: Compiler, asked: Question, model: Identity) -> None:
        self.asked = asked
        self.model = model
        self.compiler = compiler
        self.layers = compiler.layers
        base = model.base
        self._listed_base: dict[str, dict[str, Listed]] = {}
        if base is not None:
            for tier in dict.fromkeys(("standard", asked.tier)):
                self._listed_base[tier] = dict(base.listed(tier, asked.at))
        self._base_source = f"genai-prices {compiler.base.version}"
        self._prices = [self._chosen(layer.prices) for layer in self.layers]
        self._tiers = [rule for layer in self.layers for rule in self._chosen(layer.tiers)]
        self._kinds = [rule for layer in self.layers for rule in self._chosen(layer.kinds)]
        self._fees = [fee for layer in self.layers for fee in self._chosen(layer.fees)]
        self._multipliers = [
            one for layer in self.layers for one in self._chosen(layer.multipliers)
        ]

    # ------------------------------------------------------------ choosing entries

    def _chosen(self, entries: Sequence[Entry]) -> list[Entry]:
        """The active entries about this model, the most specific first; of equals the later one."""
        asked = self.asked
        ranked: list[tuple[int, ...]] = []
        for place, entry in enumerate(entries):
            scope = entry.scope
            if scope.active(asked.at) and scope.fits(asked.vendor, asked.platform):
                fit: tuple[int, ...] | None = scope.rank(self.model.names, asked.platform)
                if fit is not None:
                    ranked.append(fit + (int(scope.provider != "*"), place))  # noqa: RUF005
        ranked.sort(reverse=True)
        return [entries[key[-1]] for key in ranked]

    # ------------------------------------------------------------ rates

    def listed(self, kind: str, tier: str, depth: int = 0) -> Rated | None:
        """What the layers from `depth` down list for a kind in a tier.

        A layer that lists another standard rate moves the tiers listed below it in proportion.
        """
        if depth == len(self.layers):
            entry = self._listed_base.get(tier, {}).get(kind)
            return entry and Rated(entry.rate, self._base_source, entry.derived)
        own = self._row(depth, kind, tier)
        if own is not None:
            return own
        lower = self.listed(kind, tier, depth + 1)
        if tier == "standard" or lower is None:
            return lower
        standard = self._row(depth, kind, "standard")
        theirs = self.listed(kind, "standard", depth + 1)
        if standard is None or theirs is None or standard.rate == theirs.rate:
            return lower
        moved = rescaled(standard.rate, theirs.rate, lower.rate)
        return Rated(moved, f"{standard.source}, in proportion to {lower.source}", derived=True)

    def _row(self, depth: int, kind: str, tier: str) -> Rated | None:
        for row in self._prices[depth]:
            if tier in row.tiers and kind in row.rates:
                return Rated(row.rates[kind], f"{self.layers[depth].name}: {row.scope.source}")
        return None

    def rate(self, kind: str, tier: str, seen: frozenset[str] = frozenset()) -> Rated | None:
        """What a kind costs in a tier: listed, else by a tier's factor, else as another kind."""
        if found := self.listed(kind, tier):
            return found
        if tier != "standard" and (found := self._by_factor(kind, tier)):
            return found
        rule = next((rule for rule in self._kinds if kind in rule.kinds), None)
        if rule is None or rule.billed_as in seen:
            return None
        found = self.rate(rule.billed_as, tier, seen | {kind})
        if found is None:
            return None
        if rule.factor == 1:
            return found._replace(source=f"{found.source}, as {rule.billed_as}")
        source = f"{found.source} x {_show(rule.factor)} ({rule.scope.source})"
        return Rated(found.rate.times(rule.factor), source, derived=True)

    def _by_factor(self, kind: str, tier: str) -> Rated | None:
        standard = self.listed(kind, "standard")
        if standard is None:
            return None
        rule = next(
            (
                rule
                for rule in self._tiers
                if tier in rule.tiers and (kind in rule.factors or rule.factor is not None)
            ),
            None,
        )
        if rule is None:
            return None
        factor = rule.factors.get(kind, rule.factor)
        if factor is None:
            return None
        source = f"{standard.source} x {_show(factor)} ({rule.scope.source})"
        return Rated(standard.rate.times(factor), source, derived=True)

    # ------------------------------------------------------------ factors

    def multipliers(self) -> tuple[list[Multiplier], str]:
        """The factors that hold, and why the region makes the price unknown, if it does."""
        found = self._multipliers
        held = []
        for discount in (False, True):
            general = [one for one in found if one.regions is None and one.discount == discount]
            held += general[:1]
        region = self.asked.region
        regional = [one for one in found if one.regions is not None]
        if region is None or not regional:
            return held, ""
        there = [one for one in regional if one.for_region(region)]
        return held + there[:1], "" if there else "unknown_region"

    def assumed(self) -> tuple[str, ...]:
        """What was taken for granted about the place and the name."""
        words = []
        if self.model.fallback:
            words.append(f"priced as {self.model.fallback}: this snapshot is not in the price list")
        if self.asked.platform == "azure":
            words.append("a global deployment")
        elif self.asked.region is None and any(
            one.regions is not None and one.factor != 1 for one in self._multipliers
        ):
            words.append("the global endpoint")
        return tuple(words)

    # ------------------------------------------------------------ the card

    def card(self, prepaid: bool) -> Card:
        asked, model = self.asked, self.model
        held, unknown = self.multipliers()
        label = f"{asked.vendor}/{model.names[0]} {asked.platform} {asked.tier}"
        if asked.region:
            label += f" {asked.region}"
        since, until = self._valid()
        version = self.compiler.version
        units = self.units(_product(entry.factor for entry in held if entry.fees))
        if unknown:
            return Card(
                label, since, until, version, unknown, model.names[0], units=units, prepaid=prepaid
            )
        tier = "standard" if prepaid else asked.tier
        rated = {kind: self.rate(kind, tier) for kind in KINDS}
        if tier != "standard" and not any(rated.values()):
            return Card(label, since, until, version, "unknown_tier", model.names[0])
        factor = _product(entry.factor for entry in held)
        note = "".join(f" x {_show(one.factor)} ({one.scope.source})" for one in held)
        rates, steps, scale = _scaled(rated, factor, note if factor != 1 else "")
        return Card(
            label,
            since,
            until,
            version,
            model=model.names[0],
            rates=rates,
            scale=scale,
            steps=steps,
            units=units,
            assumed=self.assumed(),
            prepaid=prepaid,
            free=all(
                found is not None and not found.rate.base and not found.rate.rungs
                for found in (rated["input"], rated["output"])
            ),
        )

    def _valid(self) -> tuple[float, float]:
        scopes = [
            scope
            for layer in self.layers
            for scope in layer.scopes
            if scope.rank(self.model.names, self.asked.platform) is not None
        ]
        # an alias may move the name to another model and back
        spelled = {name.text for name in self.asked.names}
        scopes += [
            alias.scope
            for layer in self.layers
            for alias in layer.aliases
            if spelled & set(alias.scope.models)
        ]
        return Compiler._window(scopes, self.asked.at, self.model.base)

    def units(self, factor: Fraction = Fraction(1)) -> dict[str, UnitRate]:
        """What each unit costs that is not a token."""
        units = {}
        if self.model.base is not None:
            for sku, rate in self.model.base.units(self.asked.at).items():
                if (self.asked.vendor, sku) in _OTHERWISE:
                    continue
                units[sku] = UnitRate(per_unit(rate * factor), self._base_source)
        for fee in reversed(self._fees):
            units[fee.sku] = UnitRate(
                per_unit(fee.rate * factor),
                fee.scope.source,
                fee.assumes,
                fee.included,
                fee.input_tokens,
            )
        return units


def per_unit(rate: Fraction) -> int | Fraction:
    """From US dollars to pico-dollars."""
    pico = rate * PICO
    return pico.numerator if pico.denominator == 1 else pico


def _product(factors: Iterable[Fraction]) -> Fraction:
    total = Fraction(1)
    for factor in factors:
        total *= factor
    return total


def _show(factor: Fraction) -> str:
    return f"{float(factor):g}"


def _scaled(
    rated: dict[str, Rated | None], factor: Fraction, note: str
) -> tuple[Rates, tuple[tuple[int, Rates], ...], int]:
    """The rates as whole numbers over one scale: for small prompts, and above each step."""
    sizes = sorted({above for found in rated.values() if found for above, _ in found.rate.rungs})
    exact = [[_at(found, size, factor) for found in rated.values()] for size in (0, *sizes)]
    picos = [[None if rate is None else per_token(rate) for rate in row] for row in exact]
    scale = lcm(*(pico.denominator for row in picos for pico in row if pico is not None))
    tables: list[Rates] = [
        tuple(
            None
            if pico is None or found is None
            else Rate(int(pico * scale), found.source + note, found.derived)
            for pico, found in zip(row, rated.values(), strict=True)
        )
        for row in picos
    ]
    return tables[0], tuple(zip(sizes, tables[1:], strict=True)), scale


def _at(found: Rated | None, size: int, factor: Fraction) -> Fraction | None:
    rate = None if found is None else found.rate.over(size)
    return None if rate is None else rate * factor
