"""The forty worked cases: raw usage in, exact dollars out."""

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
    for line in (Path(__file__).parent.parent / "data" / "cost-open.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_every_worked_case_is_exact(case: dict[str, Any], catalogue: Catalogue) -> None:
    request, found = readings(
        provider=case["provider"],
        endpoint=case["endpoint"],
        usage=case["usage"],
        platform=case["platform"],
        model=case["model"],
        service_tier=case["service_tier"],
        request=case.get("request"),
        response=case.get("response"),
    )
    costs = [catalogue.price(request, reading, noon(case["date"])) for reading in found]
    assert [cost.reasons for cost in costs] == [()] * len(costs)
    assert sum(cost.total or 0 for cost in costs) == Decimal(case["expected_usd"])
