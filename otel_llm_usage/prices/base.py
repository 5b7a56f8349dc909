"""The maintained price table (genai-prices), through a private snapshot that nobody else can change."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pydantic
from genai_prices import types
from genai_prices.data_snapshot import DataSnapshot

from ..errors import ConfigurationError
from .ladder import Ladder, rescaled
from .names import VERSION, shorter, tuned_stem

_KINDS = {
    "input_mtok": "input",
    "input_audio_mtok": "input_audio",
    "input_image_mtok": "input_image",
    "input_video_mtok": "input_video",
    "input_tool_mtok": "input_tool_use",
    "cache_read_mtok": "cache_read",
    "cache_audio_read_mtok": "cache_read_audio",
    "cache_image_read_mtok": "cache_read_image",
    "cache_video_read_mtok": "cache_read_video",
    "cache_write_mtok": "cache_write",
    "cache_write_5m_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "output_audio",
    "output_image_mtok": "output_image",
    "output_video_mtok": "output_video",
}
"""The table's spelling of our kinds; what isn't here (citations, pages) no reader reports."""

_UNITS = {
    "input_audio_hours": ("audio_seconds", 3600),
    "audio_hours": ("audio_seconds", 3600),
    "input_mchars": ("characters", 10**6),
    "web_searches_kcount": ("web_search", 1000),
    "storage_searches_kcount": ("file_search", 1000),
    "code_executions_kcount": ("code_execution", 1000),
    "requests_kcount": ("requests", 1000),
}
_CONTEXTS: Mapping[str, Mapping[str, str]] = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"speed": "fast"},
    "ultrafast": {"service_tier": "ultrafast"},
}
GUARDED = frozenset({"openai", "anthropic", "google", "azure", "aws"})
"""Providers whose names are checked beyond the table's own, rather generous, matching."""
_RESOLD = {"azure": "azure", "bedrock": "aws"}
"""Tables of platforms that sell other makers' models, too."""


class Listed(NamedTuple):
    """A rate of the table."""

    rate: Ladder
    derived: bool = False
    """Moved from the time at which it was listed to another price of the same model."""


class BaseModel:
    """One model of the table."""

    def __init__(self, model: types.ModelInfo, typed_in: float) -> None:
        self.id = model.id.lower()
        self._model = model
        self._typed_in = typed_in

    def listed(self, tier: str, at: float) -> Mapping[str, Listed]:
        """The rates of a tier at a time, by kind; a kind that the tier leaves alone is missing."""
        standard = self._ladders(at, None)
        if tier == "standard":
            return {kind: Listed(ladder) for kind, ladder in standard.items()}
        context = _CONTEXTS.get(tier)
        if context is None:
            return {}
        # the table's tiers begin on the day that somebody typed them in, years after the tiers did
        known = max(at, self._typed_in)
        anchor = self._ladders(known, None)
        found = {}
        for kind, ladder in self._ladders(known, context).items():
            base = anchor.get(kind)
            if ladder == base:
                continue
            if base is not None and base.rungs and not ladder.rungs:
                ladder = Ladder(ladder.base, tuple((above, None) for above, _ in base.rungs))
            now = standard.get(kind)
            if now == base or now is None or base is None:
                found[kind] = Listed(ladder)
            else:
                found[kind] = Listed(rescaled(now, base, ladder), derived=True)
        return found

    def units(self, at: float) -> Mapping[str, Fraction]:
        """US dollars for each unit that isn't a token, by SKU."""
        prices = self._model.get_prices(_utc(at)).__dict__
        return {
            sku: Fraction(prices[key]) / per
            for key, (sku, per) in reversed(_UNITS.items())
            if isinstance(prices.get(key), Decimal)
        }

    def changes(self, at: float) -> Iterator[float]:
        """Times at which a price of this model may change, around `at`."""
        yield self._typed_in
        conditions = self._model.prices if isinstance(self._model.prices, list) else []
        for entry in (*conditions, *(self._model.price_variants or ())):
            constraint = entry.constraint
            if isinstance(constraint, types.StartDateConstraint):
                day = constraint.start_date
                yield datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
            elif isinstance(constraint, types.TimeOfDateConstraint):
                for time in (constraint.start_time, constraint.end_time):
                    today = datetime.combine(_utc(at).date(), time, tzinfo=time.tzinfo or UTC)
                    for days in (-1, 0, 1):
                        yield (today + timedelta(days=days)).timestamp()

    def _ladders(self, at: float, context: Mapping[str, str] | None) -> dict[str, Ladder]:
        prices = self._model.get_prices(_utc(at), context).__dict__
        return {
            kind: _ladder(prices[key])
            for key, kind in _KINDS.items()
            if prices.get(key) is not None
        }


class BaseTable:
    """The table, and how its models are found."""

    def __init__(
        self,
        providers: list[types.Provider],
        version: str,
        as_of: float | None,
        typed_in: Iterable[float],
    ) -> None:
        self.version = version
        self.as_of = as_of
        # the snapshot's own search takes `openai-proxy` for OpenAI
        snapshot = DataSnapshot(providers=providers, from_auto_update=False)
        self._providers = {provider.id: provider for provider in snapshot.providers}
        self._typed_in = max(typed_in, default=float("-inf"))

    def find(self, vendor: str, name: str, platform: str = "") -> BaseModel | None:
        """The model of that name; a name that only looks like it finds nothing."""
        for table in dict.fromkeys((vendor, _RESOLD.get(platform))):
            model = self._find(table, name) if table else None
            if model is not None:
                return BaseModel(model, self._typed_in)
        return None

    @property
    def vendors(self) -> Iterable[str]:
        """Whose prices it has."""
        return self._providers.keys()

    def names(self, vendor: str) -> Iterator[tuple[str, str]]:
        """Every name that is spelled out in the table, with the id of its model."""
        provider = self._providers.get(vendor)
        for model in provider.models if provider else ():
            yield model.id.lower(), model.id.lower()
            for word, text in _literals(model.match):
                if word == "equals":
                    yield text, model.id.lower()

    def _find(self, vendor: str, name: str) -> types.ModelInfo | None:
        provider = self._providers.get(vendor)
        if provider is None:
            return None
        for model in provider.models:
            if model.id.lower() == name:
                return model
        found = provider.find_model(name)
        if found is None or (provider.id in GUARDED and not _is_really(found, name)):
            return None
        return found


def load(data: Path | None, releases: Mapping[str, float], typed_in: Iterable[float]) -> BaseTable:
    """The installed table, or the one of a `data.json` (version 2 of its format)."""
    if data is not None:
        return BaseTable(_read(data), f"{data.name}", data.stat().st_mtime, typed_in)
    # 1.6 MB of Python: only the installed table needs it
    from genai_prices.data import providers  # noqa: PLC0415

    installed = version("genai-prices")
    return BaseTable(providers, installed, releases.get(installed), typed_in)


def _read(path: Path) -> list[types.Provider]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        found = _PROVIDERS.validate_python(_with_prices(raw))
        if not found:
            raise ValueError("it lists no provider")
        return found
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"price data {path}: cannot be used: {error}") from None


_PROVIDERS = pydantic.TypeAdapter(
    list[types.Provider], config=pydantic.ConfigDict(defer_build=True, arbitrary_types_allowed=True)
)
_RATES = pydantic.TypeAdapter(dict[str, Decimal | types.TieredPrices | None])


def _with_prices(value: Any) -> Any:
    """The document with its prices as the table's own objects, and without its extractors."""
    if isinstance(value, list):
        return [_with_prices(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: _with_prices(item) for key, item in value.items() if key != "extractors"}
    if isinstance(value.get("prices"), dict):
        made["prices"] = types.ModelPrice(**_RATES.validate_python(value["prices"]))
    return made


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _ladder(price: Decimal | types.TieredPrices) -> Ladder:
    if isinstance(price, types.TieredPrices):
        steps = tuple((tier.start, Fraction(tier.price)) for tier in price.tiers)
        return Ladder(Fraction(price.base), steps)
    return Ladder(Fraction(price))


def _literals(clause: Any) -> Iterator[tuple[str, str]]:
    for word in ("equals", "starts_with", "ends_with", "contains", "regex"):
        if (text := getattr(clause, word, None)) is not None:
            yield word, text if word == "regex" else text.lower()
    for part in (*getattr(clause, "or_", ()), *getattr(clause, "and_", ())):
        yield from _literals(part)


def _is_really(model: types.ModelInfo, name: str) -> bool:
    """Whether a matched name is the model's, and not a look-alike with more behind or before it."""
    if name.startswith("ft:") != model.id.startswith("ft:"):
        return False
    if not model.is_match(name):
        return True  # found by its date in another spelling
    if name.startswith("ft:"):
        name = tuned_stem(name)  # what follows it is its owner's
    undated = shorter(name)
    for word, text in _literals(model.match):
        if word == "equals" and text in (name, undated and undated[0]):
            return True
        if word == "regex" and text.startswith("^") and text.endswith("$"):
            if re.search(text, name):
                return True
        elif word in ("starts_with", "ends_with", "contains") and name.startswith(text):
            rest = name[len(text) :]
            if VERSION.match(rest if not text.endswith("-") else f"-{rest}"):
                return True
    # what follows the mark of Azure's tuned models is their owner's
    return ".ft-" in model.id
