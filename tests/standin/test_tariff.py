"""The stand-in's own price list, worked by hand."""

from decimal import Decimal

import pytest

from otel_llm_usage.records import KINDS
from otel_llm_usage.standin import tariff
from otel_llm_usage.standin.answers import spoken


@pytest.mark.parametrize(
    ("model", "usage", "dollars"),
    [
        ("gemini-2.5-flash-lite", {"input": 1200, "output": 350}, "0.00026"),
        ("gemini-2.5-pro", {"input": 200_000, "output": 1}, "0.25001"),
        ("gemini-2.5-pro", {"input": 100_000, "cache_read": 100_001, "output": 1}, "0.27501525"),
        ("models/gemini-embedding-001", {"input": 1000}, "0.00015"),
        ("gemini-embedding-2", {"input": 1000}, "0.0002"),
        ("gpt-4.1-2025-04-14", {"input": 1000, "cache_read": 500}, "0.00225"),
        ("text-embedding-3-small", {"input": 18_000}, "0.00036"),
        ("claude-sonnet-4-5@20250929", {"input": 100, "cache_write_5m": 1000}, "0.00405"),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", {"cache_write_1h": 10}, "0.0001"),
        ("claude-sonnet-4-5", {"input": 200_001, "output": 2000}, "1.245006"),
    ],
)
def test_dollars_are_exact(model, usage, dollars):
    assert tariff.charge(model, usage) == Decimal(dollars)


@pytest.mark.parametrize(
    "model", ["gpt-4.1-fish", "gemini-2.5-flash-8b", "ft:gpt-4.1-2025-04-14:acme::x", ""]
)
def test_lookalikes_have_no_price(model):
    assert tariff.charge(model, {"input": 1}) is None


def test_kind_unit_or_tier_without_a_rate_has_no_price():
    assert tariff.charge("gpt-4.1", {"output_audio": 1}) is None
    assert tariff.charge("gpt-4.1", {"input": 1}, {"web_search": 1}) is None
    assert tariff.charge("gpt-4.1", {"input": 1}, tier="flex") is None


def test_every_kind_is_spelled_as_in_the_records():
    kinds = {kind for rates in tariff.RATES.values() for kind in (*rates.kinds, *rates.above)}
    assert kinds <= set(KINDS)


def test_snapshots_are_listed_under_their_short_name():
    assert {tariff.listed(dated) for dated in tariff.SNAPSHOTS.values()} == set(tariff.SNAPSHOTS)


def test_no_name_on_the_list_holds_a_magic_word():
    names = {*tariff.RATES, *tariff.SNAPSHOTS.values(), *(model for model, _ in tariff.UNITS)}
    assert {spoken(name) for name in names} == {(name, frozenset()) for name in names}
    assert spoken("gpt-4.1-mini-slow-cut") == ("gpt-4.1-mini", {"slow", "cut"})
    assert spoken("fish-9-unknown") == ("fish-9-unknown", frozenset())
