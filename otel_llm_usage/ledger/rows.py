"""Records as rows of plain values, and back: the same for the database, the journal and exports.

A row is a tuple in the order of `COLUMNS`: text, numbers, and JSON as text where a column holds lists or
mappings.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from ..records import KINDS, LARGEST, NOTHING, Cost, PricedLine, Record, Request, Usage

Row = tuple[Any, ...]

COLUMNS = (
    "id", "time", "service", "agent", "call_type", "user_id", "session_id", "team", "labels",
    "provider", "vendor", "platform", "operation", "endpoint", "model", "request_model", "stream",
    "server_address", "server_port", "request_tier", "tier", "request_region", "region",
    "status", "http_status", "error_type", "error_message", "calls",
    *KINDS,
    "units", "usage_source", "estimated_kinds",
    "cost_status", "cost_pico", "known_pico", "saved_pico", "cost_lines", "cost_reasons", "cost_assumed",
    "catalogue_version", "card", "price_stale",
    "response_id", "entry", "finish_reasons", "duration", "time_to_first_chunk",
    "trace_id", "span_id", "notes",
)  # fmt: skip
"""What a row holds, in this order."""

JSON = frozenset(
    {"labels", "units", "estimated_kinds", "cost_lines", "cost_reasons", "cost_assumed"}
    | {"finish_reasons", "notes"}
)
"""Columns that hold JSON."""

_OWN = {"call_type": "call_type", "user": "user_id", "session": "session_id", "team": "team"}
"""Labels that have columns of their own."""

GIVEN = "import"
"""The card of a record whose cost somebody else has said."""

_MICRO = 10**6
_NO_USAGE = Usage()
_encoded = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def row_of(record: Record, service: str) -> Row:
    """The row of a record."""
    request, cost = record.request, record.cost
    call_type = user = session = team = labels = None
    if record.labels:
        others = dict(record.labels)
        call_type, user = others.pop("call_type", None), others.pop("user", None)
        session, team = others.pop("session", None), others.pop("team", None)
        labels = _json(others)
    pico = cost.pico
    return (
        record.id, round(record.time * _MICRO), service, record.agent,
        call_type, user, session, team, labels,
        request.provider, request.vendor, request.platform, request.operation, request.endpoint,
        record.model, request.model, request.stream,
        request.server_address, request.server_port,
        request.tier, record.tier, request.region, record.region,
        record.status, record.http_status, record.error_type, record.error_message,
        0 if record.later_entry else 1,
        *(record.usage or _NO_USAGE),
        _json({sku: _quantity(count) for sku, count in record.units.items()})
        if record.units else None,
        record.usage_source, _json(record.estimated_kinds),
        cost.status, pico, cost.known_pico if pico is None else pico, cost.saved_pico,
        _json(_by_sku(cost.priced_lines)), _json(cost.reasons), _json(cost.assumed),
        cost.catalogue_version, cost.card, cost.stale,
        record.response_id, record.entry, _json(record.finish_reasons),
        _micro(record.duration), _micro(record.time_to_first_chunk),
        record.trace_id, record.span_id, _json(record.notes),
    )  # fmt: skip


def price_columns(cost: Cost) -> dict[str, Any]:
    """The columns that say what a record cost, as SQLAlchemy takes them: with lists and mappings."""
    return {
        "cost_status": cost.status,
        "cost_pico": clean(cost.pico),
        "known_pico": clean(cost.known_pico),
        "saved_pico": clean(cost.saved_pico),
        "cost_lines": _by_sku(cost.priced_lines) or None,
        "cost_reasons": list(cost.reasons) or None,
        "cost_assumed": list(cost.assumed) or None,
        "catalogue_version": cost.catalogue_version,
        "card": cost.card,
        "price_stale": cost.stale,
    }


_PLAIN = frozenset({type(None), bool, int, float, str})


def plain(row: Row) -> Row:
    """The row of nothing but plain values; what a provider has put in their place is told as text."""
    if _PLAIN.issuperset(map(type, row)):
        return row
    return tuple(value if type(value) in _PLAIN else str(value) for value in row)


def cleaned(row: Row) -> Row:
    """The row as every database takes it: without what is no text, and without numbers beyond 64 bits."""
    return tuple(_cleaned(name, value) for name, value in zip(COLUMNS, row, strict=True))


def _cleaned(name: str, value: Any) -> Any:
    if name in JSON:
        return _cleaned_json(value)
    if name in KINDS and beyond(value):
        return LARGEST
    return clean(value)


def clean(value: Any) -> Any:
    """One value of a row."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if beyond(value):
        return _MOST if value > 0 else -_MOST
    return value


LONGEST = 200
"""Bytes of a text by which sums differ: together they are a key, and PostgreSQL takes no key of more than
2,704 bytes."""


def shortened(text: str) -> str:
    """The text; of one that is longer than `LONGEST` its beginning and a digest, so that two stay two."""
    whole = text.encode()
    if len(whole) <= LONGEST:
        return text
    digest = hashlib.sha256(whole).hexdigest()[:16]
    return f"{whole[: LONGEST - 19].decode(errors='ignore')}…{digest}"


def beyond(value: Any) -> bool:
    """Whether it is a number beyond 64 bits."""
    return isinstance(value, int) and not -_MOST <= value <= _MOST


_MOST = 2**63 - 1


def _cleaned_json(value: Any) -> Any:
    """JSON whose texts are clean; what is none, as it is."""
    try:
        return _encoded(_cleaned_inside(json.loads(value)))
    except (ValueError, TypeError):
        return clean(value)


def _cleaned_inside(value: Any) -> Any:
    if isinstance(value, dict):
        return {clean(name): _cleaned_inside(one) for name, one in value.items()}
    if isinstance(value, list):
        return list(map(_cleaned_inside, value))
    return clean(value) if isinstance(value, str) else value


def record_of(row: Sequence[Any]) -> Record:
    """The record of a row; of the lines of its bill the source is not kept."""
    kept: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    for name in JSON:
        if isinstance(kept[name], str):
            kept[name] = json.loads(kept[name])
    usage = Usage(*(kept[kind] for kind in KINDS))
    labels = {label: kept[column] for label, column in _OWN.items() if kept[column] is not None}
    units = {sku: counted(count) for sku, count in (kept["units"] or {}).items()}
    return Record(
        id=kept["id"],
        time=kept["time"] / _MICRO,
        request=Request(
            provider=kept["provider"],
            vendor=kept["vendor"],
            platform=kept["platform"],
            operation=kept["operation"],
            endpoint=kept["endpoint"],
            model=kept["request_model"],
            stream=bool(kept["stream"]),
            server_address=kept["server_address"],
            server_port=kept["server_port"],
            tier=kept["request_tier"],
            region=kept["request_region"],
        ),
        status=kept["status"],
        usage=None if usage == _NO_USAGE else usage,
        usage_source=kept["usage_source"],
        cost=_cost(kept, usage.nonzero() | units),
        units=units or NOTHING,
        response_model=kept["model"] if kept["model"] != kept["request_model"] else None,
        response_id=kept["response_id"],
        tier=kept["tier"],
        region=kept["region"],
        entry=kept["entry"],
        finish_reasons=tuple(kept["finish_reasons"] or ()),
        duration=_seconds(kept["duration"]),
        time_to_first_chunk=_seconds(kept["time_to_first_chunk"]),
        error_type=kept["error_type"],
        http_status=kept["http_status"],
        agent=kept["agent"],
        labels={**(kept["labels"] or {}), **labels},
        trace_id=kept["trace_id"],
        span_id=kept["span_id"],
        notes=tuple(kept["notes"] or ()),
        estimated_kinds=tuple(kept["estimated_kinds"] or ()),
        error_message=kept["error_message"],
    )


def _cost(kept: Mapping[str, Any], quantities: Mapping[str, int | Decimal]) -> Cost:
    return Cost(
        status=kept["cost_status"],
        pico=kept["cost_pico"],
        priced_lines=tuple(
            PricedLine(sku, quantities.get(sku, 0), pico, kept["card"])
            for sku, pico in (kept["cost_lines"] or {}).items()
        ),
        reasons=tuple(kept["cost_reasons"] or ()),
        assumed=tuple(kept["cost_assumed"] or ()),
        catalogue_version=kept["catalogue_version"],
        card=kept["card"],
        stale=bool(kept["price_stale"]),
        notes=tuple(kept["notes"] or ()),
        saved_pico=kept["saved_pico"] or 0,
    )


def _by_sku(lines: Sequence[PricedLine]) -> dict[str, int]:
    found: dict[str, int] = {}
    for sku, _, pico, _ in lines:
        found[sku] = found.get(sku, 0) + pico
    return found


def _json(value: Mapping[str, Any] | Sequence[Any]) -> str | None:
    """Nothing instead of an empty list or mapping."""
    return _encoded(value) if value else None


def _quantity(count: int | Decimal) -> int | str:
    """Exact in JSON."""
    return count if isinstance(count, int) else f"{count:f}"


def counted(count: int | str) -> int | Decimal:
    """A quantity as JSON has it."""
    return Decimal(count) if isinstance(count, str) else count


def _micro(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * _MICRO)


def _seconds(micro: int | None) -> float | None:
    return None if micro is None else micro / _MICRO
