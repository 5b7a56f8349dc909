"""What holds for every bill, whatever was counted."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm_usage.prices import Catalogue, load_catalogue
from otel_llm_usage.records import KINDS, Reading, Request, Usage, dollars

CATALOGUE = load_catalogue(stale_after_days=100_000)
AT = 1_795_000_000.0
MODELS = [
    ("openai", "openai-api", "gpt-6.1-sol"),
    ("openai", "openai-api", "gpt-4o"),
    ("openai", "openai-api", "gpt-realtime"),
    ("anthropic", "claude-api", "claude-opus-4-8"),
    ("anthropic", "claude-api", "claude-haiku-5-5"),
    ("google", "gemini-api", "gemini-2.5-pro"),
    ("google", "gemini-api", "gemini-3.8-flash"),
]
models = st.sampled_from(MODELS)
tiers = st.sampled_from(["standard", "batch", "flex", "priority", "fast"])
counts = st.dictionaries(st.sampled_from(KINDS), st.integers(0, 500_000), max_size=6)


def _price(model: tuple[str, str, str], tier: str, counted: dict[str, int]):
    vendor, platform, name = model
    request = Request(vendor, vendor, platform, "chat", "chat", model=name)
    return CATALOGUE.price(
        request, Reading(Usage(**{"input": 0, "output": 0, **counted}), model=name, tier=tier), AT
    )


@given(models, tiers, counts)
def test_the_lines_add_up_to_the_total_or_to_what_is_known(
    model: tuple[str, str, str], tier: str, counted: dict[str, int]
) -> None:
    cost = _price(model, tier, counted)
    lines = sum((line.amount for line in cost.lines), Decimal())
    assert cost.known == lines
    assert cost.total is None if cost.reasons else cost.total == lines
    assert all(line.quantity * line.unit_price == line.amount for line in cost.lines)


@given(models, tiers, counts)
def test_every_quantity_is_a_line_or_a_reason(
    model: tuple[str, str, str], tier: str, counted: dict[str, int]
) -> None:
    cost = _price(model, tier, counted)
    billed = {kind for kind, count in counted.items() if count}
    lines = {line.sku for line in cost.lines}
    if cost.status != "prepaid" and not {"unknown_tier", "no_usage"} & set(cost.reasons):
        missing = {reason.removeprefix("no_rate:") for reason in cost.reasons}
        assert lines | missing == billed
        assert not lines & missing


@given(models, tiers, counts, st.sampled_from(KINDS), st.integers(1, 300_000))
def test_more_tokens_never_cost_less(
    model: tuple[str, str, str], tier: str, counted: dict[str, int], kind: str, more: int
) -> None:
    before = _price(model, tier, counted)
    after = _price(model, tier, {**counted, kind: counted.get(kind, 0) + more})
    if before.total is not None and after.total is not None:
        assert after.total >= before.total


@given(models, counts)
def test_the_order_of_what_was_counted_does_not_matter(
    model: tuple[str, str, str], counted: dict[str, int]
) -> None:
    turned = dict(reversed(counted.items()))
    assert _price(model, "standard", counted) == _price(model, "standard", turned)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_money_stays_exact_at_any_size(first: int, second: int) -> None:
    cost = _price(MODELS[1], "standard", {"input": first, "output": second})
    assert cost.total == dollars(first * 2_500_000 + second * 10_000_000)


def test_a_batch_never_costs_more_than_the_standard_tier(catalogue: Catalogue) -> None:
    table = catalogue.compiler().base
    usage = Usage(input=1000, output=1000)
    for vendor in ("openai", "anthropic", "google"):
        for _, name in table.names(vendor):
            request = Request(vendor, vendor, "", "chat", "chat", model=name)
            standard = catalogue.price(request, Reading(usage), AT).total
            batch = catalogue.price(request._replace(endpoint="batches"), Reading(usage), AT).total
            if standard is not None and batch is not None:
                assert batch <= standard, name


@pytest.mark.parametrize("order", [1, -1])
def test_prices_of_different_days_do_not_get_mixed_up(order: int) -> None:
    days = [1_752_000_000.0, 1_795_000_000.0, 1_800_000_000.0][::order]
    request = Request("google", "google", "gemini-api", "chat", "generate_content")
    reading = Reading(Usage(input=1_000_000, output=0), model="gemini-3.8-flash")
    wanted = {1_795_000_000.0: "0.75", 1_800_000_000.0: "1.5", 1_752_000_000.0: "0.75"}
    for _ in range(2):
        for day in days:
            assert str(CATALOGUE.price(request, reading, day).total) == wanted[day]
