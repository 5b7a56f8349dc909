"""One catalogue for all, and a short way to ask it."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from otel_llm_usage.prices import Catalogue, load_catalogue
from otel_llm_usage.records import KINDS, Cost, Reading, Request, Usage

PLATFORMS = {"openai": "openai-api", "anthropic": "claude-api", "google": "gemini-api"}
ENDPOINTS = {"openai": "chat.completions", "anthropic": "messages", "google": "generate_content"}

Ask = Callable[..., Cost]


def noon(day: str) -> float:
    """12:00 UTC of a day."""
    when = date.fromisoformat(day)
    return datetime(when.year, when.month, when.day, 12, tzinfo=UTC).timestamp()


def asking(catalogue: Catalogue) -> Ask:
    def ask(
        model: str | None,
        day: str = "2026-11-20",
        *,
        platform: str | None = None,
        tier: str | None = None,
        asked_tier: str | None = None,
        endpoint: str | None = None,
        region: str | None = None,
        requested: str | None = None,
        vendor: str | None = None,
        notes: tuple[str, ...] = (),
        final: bool = True,
        **counts: Any,
    ) -> Cost:
        name = (model or requested or "").lower()
        vendor = vendor or (
            "anthropic" if "claude" in name else "google" if "gem" in name else "openai"
        )
        request = Request(
            vendor,
            vendor,
            platform or PLATFORMS.get(vendor, vendor),
            "chat",
            endpoint or ENDPOINTS.get(vendor, "chat.completions"),
            model=requested or model,
            tier=asked_tier,
        )
        kinds = {kind: count for kind, count in counts.items() if kind in KINDS}
        if any(count is not None for count in kinds.values()):
            kinds = {"input": 0, "output": 0, **kinds}  # an answer tells both sides
        units = {sku: count for sku, count in counts.items() if sku not in KINDS}
        reading = Reading(
            Usage(**kinds) if kinds else None,
            units,
            model=model,
            tier=tier,
            region=region,
            notes=notes,
            final=final,
        )
        return catalogue.price(request, reading, noon(day))

    return ask


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    loaded = load_catalogue(stale_after_days=100_000)
    loaded.warm()
    return loaded


@pytest.fixture(scope="session")
def ask(catalogue: Catalogue) -> Ask:
    return asking(catalogue)


@pytest.fixture
def usd() -> Callable[..., Decimal]:
    """Dollars of `(tokens, dollars per million)` pairs."""

    def total(*parts: tuple[int, str]) -> Decimal:
        return sum((Decimal(count) * Decimal(rate) / 10**6 for count, rate in parts), Decimal())

    return total
