"""Anthropic's record: the usage report and the cost report of an organisation.

The shapes are those of the reference of the Admin API (platform.claude.com).
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from .api import Api, results
from .statement import Charged, Statement, Used, count, day, number

BASE_URL = "https://api.anthropic.com"
KEY = "ANTHROPIC_ADMIN_KEY"
_DAYS = 31
_USAGE, _COST = "/v1/organizations/usage_report/messages", "/v1/organizations/cost_report"


def statement(
    since: date, until: date, *, admin_key: str, base_url: str | None = None
) -> Statement:
    """What Anthropic says; raises `StatementError`."""
    headers = {"x-api-key": admin_key, "anthropic-version": "2023-06-01"}
    api = Api(base_url or BASE_URL, headers, KEY)
    asked = (
        ("starting_at", f"{since}T00:00:00Z"),
        ("ending_at", f"{until}T00:00:00Z"),
        ("bucket_width", "1d"),
        ("limit", _DAYS),
    )
    used = [
        Used(_day(bucket, _USAGE), str(result.get("model") or ""), kind, quantity)
        for page in api.pages(_USAGE, (*asked, ("group_by[]", "model")))
        for bucket, result in results(page, _USAGE)
        for kind, quantity in _counts(result)
        if quantity
    ]
    charged: list[Charged] = []
    foreign: dict[str, None] = {}
    for page in api.pages(_COST, (*asked, ("group_by[]", "description"))):
        for bucket, result in results(page, _COST):
            currency = str(result.get("currency") or "USD").upper()
            if currency != "USD":
                foreign[currency] = None
            # "123.45" is cents
            usd = number(result.get("amount"), f"{_COST}: amount") / 100
            charged.append(Charged(_day(bucket, _COST), str(result.get("model") or ""), usd))
    notes = (f"the dollars are not compared: there are amounts in {', '.join(foreign)}",)
    if foreign:
        return Statement("anthropic", tuple(used), None, notes=notes)
    return Statement("anthropic", tuple(used), tuple(charged))


def _day(bucket: Mapping[str, Any], path: str) -> date:
    return day(bucket.get("starting_at"), f"{path}: starting_at")


def _counts(result: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for place, field, kind in _FIELDS:
        found: Any = result.get(place) if place else result
        value = found.get(field) if isinstance(found, dict) else None
        if value is not None:
            yield kind, count(value, f"{_USAGE}: {field}")


_FIELDS = (
    ("", "uncached_input_tokens", "input"),
    ("", "cache_read_input_tokens", "cache_read"),
    ("cache_creation", "ephemeral_5m_input_tokens", "cache_write_5m"),
    ("cache_creation", "ephemeral_1h_input_tokens", "cache_write_1h"),
    ("", "output_tokens", "output"),
    ("server_tool_use", "web_search_requests", "web_search"),
)
