"""OpenAI's record: the usage and the costs of an organisation.

The shapes are those of `openai.types.admin.organization` (openai 3.54) and of the API reference.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from ..errors import StatementError
from .api import Api, results
from .statement import Charged, Statement, Used, count, number
from .statement import day as day_of

BASE_URL = "https://api.openai.com/v1"
KEY = "OPENAI_ADMIN_KEY"
_DAYS = 31
_COST_DAYS = 180


def statement(
    since: date, until: date, *, admin_key: str, base_url: str | None = None
) -> Statement:
    """What OpenAI says; raises `StatementError`."""
    api = Api(base_url or BASE_URL, {"authorization": f"Bearer {admin_key}"}, KEY)
    used: list[Used] = []
    notes: dict[str, None] = {}
    for name, read in _USAGES.items():
        path = f"/organization/usage/{name}"
        asked = (*_period(since, until, _DAYS), ("group_by[]", "model"))
        for page in api.pages(path, asked):
            for bucket, result in results(page, path):
                day, model = _day(bucket, path), str(result.get("model") or "")
                for kind, quantity in read(result, path):
                    if quantity < 0:
                        notes[f"{path}: the parts of {model} are more than its whole"] = None
                    elif quantity:
                        used.append(Used(day, model, kind, quantity))
    charged, unreadable = _costs(api, since, until)
    return Statement("openai", tuple(used), charged, notes=(*notes, *unreadable))


def _period(since: date, until: date, days: int) -> tuple[tuple[str, str | int], ...]:
    return (
        ("start_time", _seconds(since)),
        ("end_time", _seconds(until)),
        ("bucket_width", "1d"),
        ("limit", days),
    )


def _seconds(day: date) -> int:
    return int(datetime.combine(day, time.min, UTC).timestamp())


def _day(bucket: Mapping[str, Any], path: str) -> date:
    return day_of(bucket.get("start_time"), f"{path}: start_time")


Read = Callable[[Mapping[str, Any], str], Iterator[tuple[str, int]]]


def _count(result: Mapping[str, Any], name: str, path: str) -> int:
    found = result.get(name)
    return 0 if found is None else count(found, f"{path}: {name}")


def _tokens(result: Mapping[str, Any], path: str) -> Iterator[tuple[str, int]]:
    """Disjoint: `input_tokens` has what was cached and what was written to a cache in it."""
    whole, cached = (_count(result, name, path) for name in ("input_tokens", "input_cached_tokens"))
    written = _count(result, "input_cache_write_tokens", path) or sum(
        _count(result, f"input_cache_write_{time}_tokens", path) for time in ("30m", "12h")
    )
    yield "input", whole - cached - written
    yield "cache_read", cached
    yield "cache_write", written
    yield "output", _count(result, "output_tokens", path)


def _unit(field: str, kind: str) -> Read:
    def read(result: Mapping[str, Any], path: str) -> Iterator[tuple[str, int]]:
        yield kind, _count(result, field, path)

    return read


_USAGES: Mapping[str, Read] = {
    "completions": _tokens,
    "embeddings": _unit("input_tokens", "input"),
    "images": _unit("images", "images"),
    "audio_speeches": _unit("characters", "characters"),
    "audio_transcriptions": _unit("seconds", "audio_seconds"),
}


def _costs(
    api: Api, since: date, until: date
) -> tuple[tuple[Charged, ...] | None, tuple[str, ...]]:
    path = "/organization/costs"
    charged: list[Charged] = []
    foreign: dict[str, None] = {}
    for page in api.pages(path, (*_period(since, until, _COST_DAYS), ("group_by[]", "line_item"))):
        for bucket, result in results(page, path):
            amount = result.get("amount")
            if amount is None:  # as the types allow it
                continue
            if not isinstance(amount, dict):
                raise StatementError(f"{path}: amount: this is not the documented shape")
            currency = str(amount.get("currency") or "usd").upper()
            usd = number(amount.get("value") or Decimal(0), f"{path}: amount.value")
            if currency == "USD":
                # "gpt-4.1-2025-04-14, cached input"; others ("web search") are of no model
                model, comma, _ = str(result.get("line_item") or "").partition(", ")
                charged.append(Charged(_day(bucket, path), model if comma else "", usd))
            else:
                foreign[currency] = None
    if foreign:
        return None, (f"the dollars are not compared: there are amounts in {', '.join(foreign)}",)
    return tuple(charged), ()
