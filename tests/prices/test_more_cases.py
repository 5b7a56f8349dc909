"""A second set of worked cases, of every kind of bill; each with its tier told, and left to be found."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from otel_llm_usage.prices import Catalogue
from otel_llm_usage.providers import readings

from .conftest import noon

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "data" / "cost-more.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize("told", [True, False], ids=["tier-told", "tier-found"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_every_further_case_is_exact(
    case: dict[str, Any], told: bool, catalogue: Catalogue
) -> None:
    request, found = readings(
        provider=case["provider"],
        endpoint=case["endpoint"],
        usage=case["usage"],
        platform=case["platform"],
        model=case["model"],
        service_tier=case["service_tier"] if told else None,
        request=case.get("request"),
        response=case.get("response"),
    )
    costs = [catalogue.price(request, reading, noon(case["date"])) for reading in found]
    assert [cost.reasons for cost in costs] == [()] * len(costs)
    assert None not in [cost.total for cost in costs]
    assert sum(cost.total or 0 for cost in costs) == Decimal(case["expected_usd"])


def test_no_case_is_there_twice() -> None:
    assert len({case["id"] for case in CASES}) == len(CASES)
