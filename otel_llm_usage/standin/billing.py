"""What the stand-in tells an administrator: its bills by day, in the shapes of OpenAI and Anthropic."""

import base64
import binascii
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from . import tariff
from .answers import Seen
from .ledger import Bill

DAY = 86_400
ADMIN_KEY = "standin-admin"
"""The key that it takes for this; with any other one the answer is 401."""

_CACHED = ("cache_read",)
_WRITTEN = ("cache_write",)


class Told(NamedTuple):
    """An answer."""

    status: int
    body: Any


def answer(seen: Seen, bills: Sequence[Bill], now: float) -> Told | None:
    """What an administrator asked for; `None` where it is another question."""
    path = seen.path.removeprefix("/v1")
    found = _REPORTS.get(path)
    if found is None or seen.method != "GET":
        return None
    key = seen.headers.get("authorization", "").removeprefix("Bearer ")
    if ADMIN_KEY not in (key, seen.headers.get("x-api-key")):
        return Told(401, {"error": {"message": f"Incorrect API key provided: {key}"}})
    return Told(200, _page(found, parse_qs(seen.query), bills, now))


class _Report(NamedTuple):
    provider: str
    results: Callable[[Iterable[Bill], Sequence[str]], list[dict[str, Any]]]
    about: Callable[[Bill], bool]
    most: int = 31


def _page(
    report: _Report, query: Mapping[str, list[str]], bills: Sequence[Bill], now: float
) -> dict[str, Any]:
    openai = report.provider == "openai"
    asked = {name: values[0] for name, values in query.items()}
    if openai:
        start, end = float(asked["start_time"]), float(asked.get("end_time", now))
    else:
        start = _seconds(asked["starting_at"])
        end = _seconds(asked["ending_at"]) if "ending_at" in asked else now
    first = int(start // DAY) if "page" not in asked else _place(asked["page"])
    limit = int(asked.get("limit", 7))
    if not 1 <= limit <= report.most:
        raise ValueError(f"limit {limit}")
    last = int(-(-end // DAY))
    group = query.get("group_by[]", []) + query.get("group_by", [])
    mine = [bill for bill in bills if bill.provider == report.provider and report.about(bill)]
    data = []
    for day in range(first, min(first + limit, last)):
        of_day = [bill for bill in mine if day * DAY <= bill.time < (day + 1) * DAY]
        results = report.results(of_day, group)
        if openai:
            bucket: dict[str, Any] = {"object": "bucket", "start_time": day * DAY}
            bucket["end_time"] = (day + 1) * DAY
        else:
            bucket = {"starting_at": _text(day), "ending_at": _text(day + 1)}
        data.append({**bucket, "results": results})
    more = first + limit < last
    page: dict[str, Any] = {"object": "page"} if openai else {}
    page |= {"data": data, "has_more": more, "next_page": _cursor(first + limit) if more else None}
    return page


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _text(day: int) -> str:
    return datetime.fromtimestamp(day * DAY, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _cursor(day: int) -> str:
    return "page_" + base64.urlsafe_b64encode(str(day).encode()).decode()


def _place(cursor: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor.removeprefix("page_")))
    except binascii.Error as error:
        raise ValueError("page") from error


def _by_model(bills: Iterable[Bill], group: Sequence[str]) -> dict[str | None, list[Bill]]:
    found: defaultdict[str | None, list[Bill]] = defaultdict(list)
    for bill in bills:
        found[bill.model if "model" in group else None].append(bill)
    return found


def _sum(bills: Iterable[Bill], *prefixes: str) -> int:
    return sum(
        count for bill in bills for kind, count in bill.usage.items() if kind.startswith(prefixes)
    )


def _units(bills: Iterable[Bill], unit: str) -> int:
    return int(sum(Decimal(bill.units.get(unit, 0)) for bill in bills))


# ------------------------------------------------------------ OpenAI


def _completions(bills: Iterable[Bill], group: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "object": "organization.usage.completions.result",
            "input_tokens": _sum(of_model, "input", *_CACHED, *_WRITTEN),
            "input_cached_tokens": _sum(of_model, *_CACHED),
            "input_cache_write_tokens": _sum(of_model, *_WRITTEN),
            "input_uncached_tokens": _sum(of_model, "input"),
            "output_tokens": _sum(of_model, "output", "reasoning"),
            "num_model_requests": len(of_model),
            "model": model,
            "project_id": None,
            "batch": None,
            "service_tier": None,
        }
        for model, of_model in _by_model(bills, group).items()
    ]


def _embeddings(bills: Iterable[Bill], group: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "object": "organization.usage.embeddings.result",
            "input_tokens": _sum(of_model, "input"),
            "num_model_requests": len(of_model),
            "model": model,
        }
        for model, of_model in _by_model(bills, group).items()
    ]


def _counted(
    name: str, field: str, unit: str
) -> Callable[[Iterable[Bill], Sequence[str]], list[dict[str, Any]]]:
    def results(bills: Iterable[Bill], group: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {
                "object": f"organization.usage.{name}.result",
                field: _units(of_model, unit),
                "num_model_requests": len(of_model),
                "model": model,
            }
            for model, of_model in _by_model(bills, group).items()
        ]

    return results


_ITEMS = {"input": "input", "cache_read": "cached input", "output": "output", "reasoning": "output"}


def _costs(bills: Iterable[Bill], group: Sequence[str]) -> list[dict[str, Any]]:
    items: defaultdict[str | None, Decimal] = defaultdict(Decimal)
    for bill in bills:
        for what, usd in _lines(bill).items():
            items[f"{bill.model}, {what}" if "line_item" in group else None] += usd
    return [
        {
            "object": "organization.costs.result",
            "amount": {"value": float(usd), "currency": "usd"},
            "line_item": item,
            "project_id": None,
        }
        for item, usd in items.items()
    ]


def _lines(bill: Bill) -> dict[str, Decimal]:
    """The dollars of a bill by line; their sum is what was billed."""
    if bill.usd is None:
        return {}
    found: defaultdict[str, Decimal] = defaultdict(Decimal)
    for kind, count in bill.usage.items():
        usd = tariff.charge(bill.model, {kind: count}, tier=bill.tier)
        found[_ITEMS.get(kind, "input")] += usd or 0
    found["input"] += bill.usd - sum(found.values())
    return found


# ------------------------------------------------------------ Anthropic


def _messages(bills: Iterable[Bill], group: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "uncached_input_tokens": _sum(of_model, "input"),
            "cache_read_input_tokens": _sum(of_model, *_CACHED),
            "cache_creation": {
                "ephemeral_1h_input_tokens": _sum(of_model, "cache_write_1h"),
                "ephemeral_5m_input_tokens": _sum(of_model, *_WRITTEN)
                - _sum(of_model, "cache_write_1h"),
            },
            "output_tokens": _sum(of_model, "output", "reasoning"),
            "server_tool_use": {"web_search_requests": _units(of_model, "web_search")},
            "model": model,
            "api_key_id": None,
            "workspace_id": None,
            "service_tier": None,
            "context_window": None,
        }
        for model, of_model in _by_model(bills, group).items()
    ]


_TOKENS = {
    "input": "uncached_input_tokens",
    "cached input": "cache_read_input_tokens",
    "output": "output_tokens",
}


def _cost_report(bills: Iterable[Bill], group: Sequence[str]) -> list[dict[str, Any]]:
    items: defaultdict[tuple[str | None, ...], Decimal] = defaultdict(Decimal)
    for bill in bills:
        searches = {unit: count for unit, count in bill.units.items() if unit == "web_search"}
        fee = tariff.charge(bill.model, {}, searches) or Decimal(0)
        lines = _lines(bill._replace(usd=None if bill.usd is None else bill.usd - fee))
        for what, usd in lines.items():
            items["tokens", bill.model, _TOKENS[what]] += usd
        if fee and bill.usd is not None:
            items["web_search", None, None] += fee
    if "description" not in group:
        items = defaultdict(Decimal, {(None, None, None): sum(items.values(), Decimal(0))})
    return [
        {
            "currency": "USD",
            "amount": f"{usd * 100:f}",
            "workspace_id": None,
            "description": cost_type and f"{model} {token_type}",
            "cost_type": cost_type,
            "context_window": None,
            "model": model,
            "service_tier": None,
            "token_type": token_type,
        }
        for (cost_type, model, token_type), usd in items.items()
    ]


def _endpoint(*names: str) -> Callable[[Bill], bool]:
    return lambda bill: bill.endpoint.startswith(names)


_embedded = _endpoint("embeddings")


def _all(bill: Bill) -> bool:
    return True


_REPORTS: Mapping[str, _Report] = {
    "/organization/usage/completions": _Report(
        "openai", _completions, lambda bill: bool(bill.usage) and not _embedded(bill)
    ),
    "/organization/usage/embeddings": _Report("openai", _embeddings, _embedded),
    "/organization/usage/images": _Report(
        "openai", _counted("images", "images", "images"), _endpoint("images")
    ),
    "/organization/usage/audio_speeches": _Report(
        "openai", _counted("audio_speeches", "characters", "characters"), _endpoint("audio.speech")
    ),
    "/organization/usage/audio_transcriptions": _Report(
        "openai",
        _counted("audio_transcriptions", "seconds", "audio_seconds"),
        _endpoint("audio.transcriptions"),
    ),
    "/organization/costs": _Report("openai", _costs, _all, most=180),
    "/organizations/usage_report/messages": _Report("anthropic", _messages, _all),
    "/organizations/cost_report": _Report("anthropic", _cost_report, _all),
}
