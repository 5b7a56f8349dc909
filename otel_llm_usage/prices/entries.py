"""What a price file says: its tables, read strictly and kept as exact numbers."""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

from ..errors import ConfigurationError
from ..records import KINDS
from .ladder import Ladder, Rate
from .names import platform_word, price_list

SCHEMA = 1
TIERS = ("standard", "batch", "flex", "priority", "fast", "ultrafast", "provisioned")
ANCIENT = float("-inf")
FOREVER = float("inf")
_SYNONYMS = {"cached_input": "cache_read"}
_PER = {"each": 1, "per_1k": 1000, "per_1m": 10**6, "per_minute": 60, "per_hour": 3600}


@dataclass(frozen=True, slots=True)
class Scope:
    """What an entry is about, and where it stands written."""

    where: str
    """`prices.toml [[price]] 3`: for error messages and provenance."""
    provider: str
    models: tuple[str, ...]
    platform: str
    since: float
    until: float
    source: str

    def active(self, at: float) -> bool:
        """Whether the entry holds at that time."""
        return self.since <= at < self.until

    def fits(self, provider: str, platform: str) -> bool:
        """Whether the entry speaks about this provider and platform."""
        return self.provider in (provider, "*") and self.platform in (platform, "*")

    def rank(self, names: Sequence[str], platform: str) -> tuple[int, ...] | None:
        """How well it fits the model, greater is more specific; `None` if it doesn't."""
        best: tuple[int, ...] | None = None
        for place, name in enumerate(names):
            for pattern in self.models:
                if pattern == name:
                    rank = (1, -place, len(pattern), self.platform == platform)
                elif "*" in pattern and fnmatchcase(name, pattern):
                    rank = (0, len(pattern), -place, self.platform == platform)
                else:
                    continue
                best = rank if best is None else max(best, rank)
        return best


@dataclass(frozen=True, slots=True)
class Price:
    """`[[price]]`: listed rates of a model in one tier."""

    scope: Scope
    tiers: tuple[str, ...]
    rates: Mapping[str, Ladder]
    """US dollars per million tokens, by kind of `Usage`."""
    free: bool = False


@dataclass(frozen=True, slots=True)
class Tier:
    """`[[tier]]`: a tier priced by a factor on the standard rates, where nothing is listed."""

    scope: Scope
    tiers: tuple[str, ...]
    factor: Fraction | None
    factors: Mapping[str, Fraction]


@dataclass(frozen=True, slots=True)
class Kind:
    """`[[kind]]`: kinds of tokens that are billed at another kind's rate, where nothing is listed."""

    scope: Scope
    kinds: tuple[str, ...]
    billed_as: str
    factor: Fraction


@dataclass(frozen=True, slots=True)
class Fee:
    """`[[fee]]`: what a unit that is not a token costs."""

    scope: Scope
    sku: str
    rate: Fraction
    """US dollars each."""
    included: bool = False
    """Charged through another SKU: no line of its own."""
    input_tokens: int = 0
    """Input tokens that each unit is billed besides."""
    assumes: str = ""


@dataclass(frozen=True, slots=True)
class Multiplier:
    """`[[multiplier]]` and `[[discount]]`: a factor on what is listed."""

    scope: Scope
    factor: Fraction
    regions: tuple[str, ...] | None = None
    """Patterns of the regions it is for; `None`: for all, whether the region is known or not."""
    fees: bool = False
    """Whether it holds for fees, too."""
    discount: bool = False

    def for_region(self, region: str) -> bool:
        """Whether it is for requests served there."""
        wanted = self.regions or ()
        refused = any(fnmatchcase(region, one[1:]) for one in wanted if one.startswith("!"))
        return not refused and any(
            one.startswith("!") or fnmatchcase(region, one) for one in wanted
        )


@dataclass(frozen=True, slots=True)
class Alias:
    """`[[alias]]`: another name of a model."""

    scope: Scope
    model: str


@dataclass(frozen=True, slots=True)
class Entries:
    """One file, or one layer of a catalogue."""

    name: str
    prices: tuple[Price, ...] = ()
    tiers: tuple[Tier, ...] = ()
    kinds: tuple[Kind, ...] = ()
    fees: tuple[Fee, ...] = ()
    multipliers: tuple[Multiplier, ...] = ()
    aliases: tuple[Alias, ...] = ()
    as_of: float | None = None
    digest: str = ""
    base_releases: Mapping[str, float] | None = None
    base_typed_in: tuple[float, ...] = ()
    """Days on which the base table's tiers were typed in, not the days on which they began."""

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scope of every entry."""
        entries: tuple[Price | Tier | Kind | Fee | Multiplier | Alias, ...] = (
            *self.prices,
            *self.tiers,
            *self.kinds,
            *self.fees,
            *self.multipliers,
            *self.aliases,
        )
        return tuple(entry.scope for entry in entries)


def read_file(path: Path, *, name: str | None = None, strict: bool = False) -> Entries:
    """Read a TOML or JSON price file; `ConfigurationError` says what is wrong with it."""
    shown = name or path.name
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"price file {path}: cannot be read: {error}") from None
    try:
        document = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ConfigurationError(f"price file {path}: not valid {kind}: {error}") from None
    return parse(document, shown, strict=strict)


def parse(document: Mapping[str, Any], name: str, *, strict: bool = False) -> Entries:
    """Check a price document and take its entries; `strict` wants a source and a date everywhere."""
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"{name}: a price file is a table with [[price]] entries")
    known = {"schema", "currency", "as_of", "base", *_TABLES}
    for key in document:
        if key not in known:
            _wrong(name, f"unknown key {key!r}", f"known are: {', '.join(sorted(known))}")
    if document.get("schema", SCHEMA) != SCHEMA:
        _wrong(name, f"schema {document['schema']!r} is not known", f"write: schema = {SCHEMA}")
    if document.get("currency", "USD") != "USD":
        _wrong(name, f"currency {document['currency']!r} is not supported", "give prices in USD")
    taken: dict[str, list[Any]] = {table: [] for table in _TABLES}
    for table, read in _TABLES.items():
        rows = document.get(table, [])
        if not isinstance(rows, list):
            _wrong(name, f"{table!r} is not a list of tables", f"write [[{table}]]")
        for number, row in enumerate(rows, 1):
            taken[table].append(read(_Row(row, name, table, number, strict)))
    _no_overlap(
        (price.scope, f"{tier} {kind}")
        for price in taken["price"]
        for tier in price.tiers
        for kind in price.rates
    )
    _no_overlap((fee.scope, fee.sku) for fee in taken["fee"])
    base = _table(document, "base", name)
    releases, typed_in = _table(base, "releases", name), base.get("typed_in", [])
    if not isinstance(typed_in, list):
        _wrong(name, "base.typed_in is not a list of dates", "write typed_in = [2026-11-20]")
    as_of = document.get("as_of")
    return Entries(
        name,
        prices=tuple(taken["price"]),
        tiers=tuple(taken["tier"]),
        kinds=tuple(taken["kind"]),
        fees=tuple(taken["fee"]),
        multipliers=(*taken["multiplier"], *taken["discount"]),
        aliases=tuple(taken["alias"]),
        as_of=None if as_of is None else _moment(as_of, name, "as_of"),
        base_releases={
            version: _moment(day, name, "base.releases") for version, day in releases.items()
        },
        base_typed_in=tuple(_moment(day, name, "base.typed_in") for day in typed_in),
    )


def _table(document: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    found = document.get(key, {})
    if not isinstance(found, Mapping):
        _wrong(name, f"{key} is not a table", f"write [{key}] and its keys below, or remove it")
    return found


def _wrong(where: str, what: str, fix: str) -> NoReturn:
    raise ConfigurationError(f"{where}: {what}; {fix}")


def _moment(value: Any, where: str, key: str) -> float:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value) if len(value) > 10 else date.fromisoformat(value)
        except ValueError:
            _wrong(where, f"{key} {value!r} is not a date", "write it as 2026-11-20")
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    return _wrong(where, f"{key} {value!r} is not a date", "write it as 2026-11-20")


class _Row:
    """One entry while it is read: every key has to be asked for, what is left over is unknown."""

    def __init__(self, row: Any, file: str, table: str, number: int, strict: bool) -> None:
        self.where = f"{file} [[{table}]] {number}"
        self.file = file
        self.strict = strict
        if not isinstance(row, Mapping):
            self.wrong(f"{row!r} is not a table", f"write [[{table}]] and its keys below")
        self._row = dict(row)
        named = self._row.get("model", self._row.get("name", self._row.get("provider")))
        if named is not None:
            self.where += f" ({named})"

    def wrong(self, what: str, fix: str) -> NoReturn:
        _wrong(self.where, what, fix)

    def take(self, key: str, default: Any = None) -> Any:
        return self._row.pop(key, default)

    def has(self, *keys: str) -> list[str]:
        return [key for key in keys if key in self._row]

    def text(self, key: str, default: str | None = None) -> str:
        value = self.take(key, default)
        if not isinstance(value, str) or not value:
            self.wrong(f"{key} is missing or not text", f'write {key} = "…"')
        return value

    def words(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        value = self.take(key, default)
        if isinstance(value, str):
            value = [value]
        if (
            not isinstance(value, list | tuple)
            or not value
            or not all(isinstance(word, str) and word for word in value)
        ):
            self.wrong(f"{key} is missing or not text", f'write {key} = "…" or ["…", "…"]')
        return tuple(value)

    def flag(self, key: str) -> bool:
        value = self.take(key, False)
        if not isinstance(value, bool):
            self.wrong(f"{key} = {value!r} is not true or false", f"write {key} = true")
        return value

    def number(self, key: str, value: Any) -> Fraction:
        if isinstance(value, Decimal):
            value = str(value)
        if value is None:
            self.wrong(f"{key} is missing", f'write {key} = "…"')
        if not isinstance(value, str):
            self.wrong(
                f"{key} = {value!r} is not a string, and a price has to be exact",
                f'write {key} = "{value}"',
            )
        try:
            exact = Decimal(value)
        except InvalidOperation:
            self.wrong(f"{key} = {value!r} is not a number", f'write {key} = "2.50"')
        if not exact.is_finite() or exact < 0:
            self.wrong(f"{key} = {value!r} is not a price", "a price is finite and not negative")
        # an exponent of millions would be written out in full before anybody could compare it
        if not _WRITTEN.fullmatch(value) or (exact and abs(exact.adjusted()) > _MOST_DIGITS):
            self.wrong(f"{key} = {value[:40]!r} is not a price", f'write it like {key} = "2.50"')
        return Fraction(exact)

    def numbers(self, allowed: Iterable[str]) -> dict[str, Fraction]:
        if len(self.has("cached_input", "cache_read")) > 1:
            self.wrong("both cached_input and cache_read are given", "keep one: they are the same")
        return {
            _SYNONYMS.get(key, key): self.number(key, self.take(key)) for key in self.has(*allowed)
        }

    def tiers(self, default: Sequence[str] | None) -> tuple[str, ...]:
        tiers = self.words("tier", default)
        for tier in tiers:
            if tier not in TIERS:
                self.wrong(f"tier {tier!r} is not known", f"known are: {', '.join(TIERS)}")
        return tiers

    def scope(self, *, provider: str | None = None, models: Sequence[str] | None = None) -> Scope:
        if len(self.has("model", "models")) > 1:
            self.wrong("both model and models are given", "keep one of them")
        key = "models" if self.has("models") else "model"
        names = self.words(key, models)
        since, until = self.take("valid_from"), self.take("valid_until")
        source = self.take("source", self.file)
        checked = self.take("checked_on")
        if not isinstance(source, str) or not source.strip():
            self.wrong("source is empty", 'write source = "contract 2026-014"')
        if self.strict and (checked is None or source == self.file):
            self.wrong("source or checked_on is missing", "every packaged row names them")
        if checked is not None:
            _moment(checked, self.where, "checked_on")
        vendor, its_platform = price_list(self.text("provider", provider))
        scope = Scope(
            where=self.where,
            provider=vendor,
            models=tuple(name.lower() for name in names),
            platform=platform_word(self.text("platform", its_platform)),
            since=ANCIENT if since is None else _moment(since, self.where, "valid_from"),
            until=FOREVER if until is None else _moment(until, self.where, "valid_until"),
            source=source,
        )
        if scope.since >= scope.until:
            self.wrong("valid_until is not after valid_from", "swap them or drop one")
        return scope

    def done(self) -> None:
        for key in self._row:
            self.wrong(f"unknown key {key!r}", "remove it, or check its spelling")


_RATE_KEYS = (*KINDS, *_SYNONYMS)
_MOST_DIGITS = 30
_WRITTEN = re.compile(r"[0-9.eE+-]{1,60}")


def _price(row: _Row) -> Price:
    if not row.has("source"):
        row.wrong("source is missing", 'say where the price comes from: source = "…"')
    tiers = row.tiers(["standard"])
    free = row.flag("free")
    base = row.numbers(_RATE_KEYS)
    steps = row.take("tiers", [])
    scope = row.scope()
    row.done()
    rungs = _rungs(row, steps)
    if free:
        if base or rungs:
            row.wrong("free = true and rates are given", "keep one of them")
        return Price(scope, tiers, dict.fromkeys(KINDS, Ladder(Fraction(0))), free=True)
    if not base:
        row.wrong("no rate is given", 'write at least input = "…", or free = true')
    for _, rates in [(0, base), *rungs]:
        _sane(row, {**base, **(rates or {})})
    return Price(scope, tiers, {kind: _ladder(kind, base, rungs) for kind in _kinds(base, rungs)})


_Rungs = list[tuple[int, dict[str, Fraction] | None]]


def _rungs(row: _Row, steps: Any) -> _Rungs:
    if not isinstance(steps, list):
        row.wrong("tiers is not a list", 'write tiers = [{ above = 200000, input = "6.00" }]')
    rungs: _Rungs = []
    for step in steps:
        if not isinstance(step, Mapping):
            row.wrong("a step of tiers is not a table", 'write { above = 200000, input = "6.00" }')
        left = dict(step)
        above = left.pop("above", None)
        if not isinstance(above, int) or isinstance(above, bool) or above <= 0:
            row.wrong("a step of tiers has no size", "write above = 200000 (a whole number)")
        unlisted = left.pop("unlisted", False)
        if not isinstance(unlisted, bool):
            row.wrong(f"unlisted = {unlisted!r} is not true or false", "write unlisted = true")
        if unlisted and left:
            row.wrong("a step of tiers is unlisted and has rates", "keep one of them")
        if {"cached_input", "cache_read"} <= left.keys():
            row.wrong("both cached_input and cache_read are given", "keep one: they are the same")
        if unlisted:
            rungs.append((above, None))
            continue
        rates = {}
        for key, value in left.items():
            if key not in _RATE_KEYS:
                row.wrong(f"unknown key {key!r} in tiers", "remove it, or check its spelling")
            rates[_SYNONYMS.get(key, key)] = row.number(key, value)
        rungs.append((above, rates))
    sizes = [above for above, _ in rungs]
    if sizes != sorted(set(sizes)):
        row.wrong("the steps of tiers do not ascend", "order them by above, each size once")
    return rungs


def _kinds(base: Mapping[str, Fraction], rungs: _Rungs) -> list[str]:
    return list(dict.fromkeys([*base, *(kind for _, rates in rungs for kind in rates or ())]))


def _ladder(kind: str, base: Mapping[str, Fraction], rungs: _Rungs) -> Ladder:
    rate: Rate = base.get(kind)
    steps: list[tuple[int, Rate]] = []
    for above, rates in rungs:
        step = None if rates is None else rates.get(kind, rate)
        steps.append((above, step))
        rate = rate if rates is None else step
    return Ladder(base.get(kind), tuple(steps))


def _sane(row: _Row, rates: Mapping[str, Fraction]) -> None:
    for kind, rate in rates.items():
        if not rate:
            row.wrong(f"{kind} is zero", "if it is free, write free = true instead of rates")
    for cached, plain in (("cache_read", "input"), ("cache_read_audio", "input_audio")):
        if cached in rates and plain in rates and rates[cached] > rates[plain]:
            row.wrong(
                f"{cached} costs more than {plain}", "a cache makes it cheaper: are they swapped?"
            )


def _tier(row: _Row) -> Tier:
    tiers = row.tiers(None)
    factor = row.take("factor")
    entry = Tier(
        scope=row.scope(models=["*"]),
        tiers=tiers,
        factor=None if factor is None else row.number("factor", factor),
        factors=row.numbers(_RATE_KEYS),
    )
    row.done()
    if entry.factor is None and not entry.factors:
        row.wrong("no factor is given", 'write factor = "0.5", or one for a kind: input = "0.5"')
    return entry


def _kind(row: _Row) -> Kind:
    kinds = row.words("kind")
    billed_as = row.text("as")
    for kind in (*kinds, billed_as):
        if kind not in KINDS:
            row.wrong(f"{kind!r} is not a kind of token", f"known are: {', '.join(KINDS)}")
    factor = row.number("factor", row.take("factor", "1"))
    entry = Kind(row.scope(models=["*"]), kinds, billed_as, factor)
    row.done()
    return entry


def _fee(row: _Row) -> Fee:
    sku = row.text("sku")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", sku):
        row.wrong(f"sku {sku!r} is not a word", 'write it like sku = "web_search"')
    free, included = row.flag("free"), row.flag("included")
    given = row.has(*_PER)
    if len(given) + free + included != 1:
        row.wrong("the price is missing or given twice", f"write one of {', '.join(_PER)}, free")
    rate = Fraction(0)
    if given:
        rate = row.number(given[0], row.take(given[0])) / _PER[given[0]]
        if not rate:
            row.wrong("the fee is zero", "if it is free, write free = true")
    tokens = row.take("input_tokens", 0)
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
        row.wrong(f"input_tokens = {tokens!r} is not a count", "write a whole number")
    counts_as = row.take("counts_as", 1)
    if not isinstance(counts_as, int) or isinstance(counts_as, bool) or counts_as < 1:
        row.wrong(f"counts_as = {counts_as!r} is not a count", "write a whole number")
    assumes = row.take("assumes", "")
    entry = Fee(row.scope(models=["*"]), sku, rate * counts_as, included, tokens, str(assumes))
    row.done()
    return entry


def _multiplier(row: _Row) -> Multiplier:
    factor = row.number("factor", row.take("factor"))
    if not factor:
        row.wrong("factor is zero", "what is free has free = true in its [[price]]")
    scope_word = row.take("scope", "tokens")
    if scope_word not in ("tokens", "all"):
        row.wrong(f"scope {scope_word!r} is not known", 'write scope = "tokens" or "all"')
    when = row.take("when", {})
    if not isinstance(when, Mapping) or not set(when) <= {"region", "inference_geo"}:
        row.wrong("when is not understood", 'write when = { region = "us" } (or inference_geo)')
    regions: tuple[str, ...] = ()
    for value in when.values():
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            row.wrong("when names no regions", 'write when = { region = ["us", "eu"] }')
        regions += tuple(word.lower() for word in words)
    entry = Multiplier(row.scope(models=["*"]), factor, regions or None, scope_word == "all")
    row.done()
    return entry


def _discount(row: _Row) -> Multiplier:
    factor = row.number("factor", row.take("factor"))
    if not 0 < factor <= 1:
        row.wrong(f"factor {factor} is not a discount", 'write factor = "0.85" for 15 % off')
    scope_word = row.take("scope", "all")
    if scope_word not in ("tokens", "all"):
        row.wrong(f"scope {scope_word!r} is not known", 'write scope = "tokens" or "all"')
    entry = Multiplier(row.scope(models=["*"]), factor, None, scope_word == "all", discount=True)
    row.done()
    return entry


def _alias(row: _Row) -> Alias:
    names = row.words("name")
    model = row.text("model").lower()
    entry = Alias(row.scope(provider="*", models=names), model)
    row.done()
    return entry


_TABLES: Mapping[str, Callable[[_Row], Any]] = {
    "price": _price,
    "tier": _tier,
    "kind": _kind,
    "fee": _fee,
    "multiplier": _multiplier,
    "discount": _discount,
    "alias": _alias,
}


def _no_overlap(entries: Iterable[tuple[Scope, str]]) -> None:
    """Refuse two entries about the same thing at the same time: one of them is a mistake."""
    seen: dict[tuple[str, ...], list[Scope]] = {}
    for scope, what in entries:
        for model in scope.models:
            others = seen.setdefault((scope.provider, model, scope.platform, what), [])
            for other in others:
                _check_windows(scope, other, f"{what} of {model}")
            others.append(scope)


def _check_windows(one: Scope, other: Scope, what: str) -> None:
    if one.since < other.until and other.since < one.until:
        _wrong(
            one.where,
            f"the {what} has another price in {other.where} at the same time",
            "give them valid_from and valid_until that do not overlap, or remove one",
        )
