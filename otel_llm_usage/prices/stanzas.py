"""What to paste: the entry that would give an unpriced answer its price."""

import json

from ..records import KINDS, Cost, Reading, Request

_LONGEST = 200
_HEAD = 'source = "…"                  # where you read it'


def shown(name: str) -> str:
    """A name that somebody else chose, fit for a log line."""
    return "".join(char if char.isprintable() else "?" for char in name)[:_LONGEST]


def stanza(model: str, request: Request, reading: Reading, cost: Cost) -> str:
    """The missing entries of a price file; empty where prices are not what is missing."""
    model = shown(model)
    if model == "?":
        return ""
    missing = [reason[8:] for reason in cost.reasons if reason.startswith("no_rate:")]
    kinds = [sku for sku in missing if sku in KINDS]
    parts = []
    if kinds or {"unknown_model", "unknown_tier"} & set(cost.reasons):
        parts.append(_price(request, reading, model, kinds or _billed(reading)))
    if "unknown_region" in cost.reasons:
        parts.append(_multiplier(request, reading))
    parts.extend(_fee(request, model, sku) for sku in missing if sku not in KINDS)
    return "\n\n".join(parts)


def _billed(reading: Reading) -> list[str]:
    billed = list(reading.usage.nonzero()) if reading.usage is not None else []
    return billed or ["input", "output"]


def _price(request: Request, reading: Reading, model: str, kinds: list[str]) -> str:
    tier = shown(reading.tier or request.tier or "standard")
    rates = [f'{kind} = "…"' for kind in kinds]
    rates[0] = f"{rates[0]:<30}# US dollars per million tokens"
    return "\n".join(
        [
            "[[price]]",
            f"provider = {_quoted(request.vendor)}",
            f"model = {_quoted(model)}",
            *([] if tier == "standard" else [f"tier = {_quoted(tier)}"]),
            *rates,
            _HEAD,
        ]
    )


def _fee(request: Request, model: str, sku: str) -> str:
    return "\n".join(
        [
            "[[fee]]",
            f"provider = {_quoted(request.vendor)}",
            f"models = [{_quoted(model)}]",
            f"sku = {_quoted(sku)}",
            'per_1k = "…"                  # US dollars for a thousand',
            _HEAD,
        ]
    )


def _multiplier(request: Request, reading: Reading) -> str:
    region = shown(reading.region or request.region or "…")
    return "\n".join(
        [
            "[[multiplier]]",
            f"provider = {_quoted(request.vendor)}",
            f"platform = {_quoted(request.platform)}",
            f"when = {{ region = {_quoted(region)} }}",
            'factor = "…"                  # on the list price of the global endpoint',
            _HEAD,
        ]
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
