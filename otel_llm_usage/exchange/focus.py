"""The ledger for FinOps tools: FOCUS 1.2, a row for each day, model, kind and price.

What the rows say are estimates from list prices, not invoices.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from ..ledger import Ledger
from ..ledger.bulk import read
from ..ledger.rows import record_of
from ..records import KINDS, Record, dollars
from . import sheets
from .sheets import Column, Kind, Target

VERSION = "1.2"

TAGS = ("agent", "call_type", "team")
"""Labels that become tags; users and sessions do not, unless they are asked for."""

_KINDS: Mapping[str, Kind] = {
    "BilledCost": "decimal",
    "BillingAccountId": "text",
    "BillingAccountName": "text",
    "BillingCurrency": "text",
    "BillingPeriodEnd": "time",
    "BillingPeriodStart": "time",
    "ChargeCategory": "text",
    "ChargeClass": "text",
    "ChargeDescription": "text",
    "ChargeFrequency": "text",
    "ChargePeriodEnd": "time",
    "ChargePeriodStart": "time",
    "ConsumedQuantity": "decimal",
    "ConsumedUnit": "text",
    "ContractedCost": "decimal",
    "ContractedUnitPrice": "decimal",
    "EffectiveCost": "decimal",
    "InvoiceId": "text",
    "InvoiceIssuerName": "text",
    "ListCost": "decimal",
    "ListUnitPrice": "decimal",
    "PricingCategory": "text",
    "PricingQuantity": "decimal",
    "PricingUnit": "text",
    "ProviderName": "text",
    "PublisherName": "text",
    "RegionId": "text",
    "RegionName": "text",
    "ResourceId": "text",
    "ResourceName": "text",
    "ResourceType": "text",
    "ServiceCategory": "text",
    "ServiceName": "text",
    "ServiceSubcategory": "text",
    "SkuId": "text",
    "SkuMeter": "text",
    "SkuPriceId": "text",
    "SubAccountId": "text",
    "SubAccountName": "text",
    "Tags": "json",
}
COLUMNS = tuple(Column(name, kind) for name, kind in _KINDS.items())

_SOLD: Mapping[str, tuple[str, str]] = {
    "openai-api": ("OpenAI", "OpenAI API"),
    "azure": ("Microsoft", "Azure OpenAI"),
    "claude-api": ("Anthropic", "Claude API"),
    "bedrock": ("AWS", "Amazon Bedrock"),
    "gemini-api": ("Google", "Gemini API"),
    "vertex": ("Google Cloud", "Vertex AI"),
}
"""Who sells it, and what it is called there, by platform."""
_MADE: Mapping[str, str] = {"openai": "OpenAI", "anthropic": "Anthropic", "google": "Google"}
_MILLION = 10**6
_TOTAL = "total"
"""The SKU of a cost that was given as a whole."""
_EXACT = Context(prec=60)
_LAST = Decimal(1).scaleb(-sheets.DECIMALS)


class LeftOut(NamedTuple):
    """What has no known price: FOCUS has no cost that is not known."""

    day: date
    model: str
    kind: str
    quantity: int | Decimal


class FocusExport(NamedTuple):
    """What was written, and what was not."""

    rows: int
    left_out: tuple[LeftOut, ...]


class _Group(NamedTuple):
    """What the charges of a row have in common."""

    day: date
    platform: str
    vendor: str
    model: str
    sku: str
    tier: str
    region: str | None
    tags: tuple[tuple[str, str], ...]
    price: Fraction | None
    """Pico-dollars of one; `None` where the charges of a row need not agree in it."""


def export_focus(
    ledger: Ledger,
    to: Target,
    *,
    since: date | None = None,
    until: date | None = None,
    billing_account: str = "unknown",
    tags: Sequence[str] = TAGS,
    form: str | None = None,
    overwrite: bool = False,
) -> FocusExport:
    """Write the charges of days of UTC, `until` not among them.

    `billing_account`: the account that pays, which nobody but you knows. `tags`: which labels become
    tags. See `sheets.sheet` for the rest; also raises the database's errors.
    """
    left_out: dict[tuple[date, str, str], int | Decimal] = {}
    records = (record_of(row) for row, _ in read(ledger, since, until))
    with sheets.sheet(to, COLUMNS, form=form, overwrite=overwrite) as write:
        rows = focus_rows(records, billing_account=billing_account, tags=tags, left_out=left_out)
        write(rows)
    return FocusExport(
        len(rows), tuple(LeftOut(*key, count) for key, count in sorted(left_out.items()))
    )


def focus_rows(
    records: Iterable[Record],
    *,
    billing_account: str = "unknown",
    tags: Sequence[str] = TAGS,
    left_out: dict[tuple[date, str, str], int | Decimal] | None = None,
) -> list[list[Any]]:
    """The rows, with values in the order of `COLUMNS`. What has no known price is added to `left_out`."""
    groups: dict[_Group, tuple[Decimal, int]] = {}
    for record in records:
        for group, quantity, pico in _charges(record, tags):
            so_far, cost = groups.get(group, (Decimal(0), 0))
            groups[group] = (_EXACT.add(so_far, quantity), cost + pico)
        for kind, count in _unknown(record):
            if left_out is not None:
                key = (_day(record), record.model, kind)
                left_out[key] = left_out.get(key, 0) + count
    ordered = sorted(groups.items(), key=lambda one: (*map(str, one[0][:-1]), one[0].price or 0))
    return [_row(group, quantity, pico, billing_account) for group, (quantity, pico) in ordered]


def _quantities(record: Record) -> dict[str, int | Decimal]:
    return {**({} if record.usage is None else record.usage.nonzero()), **record.units}


def _charges(record: Record, tags: Sequence[str]) -> Iterator[tuple[_Group, int | Decimal, int]]:
    cost = record.cost
    if cost.status == "not_billed":
        return
    request = record.request
    said = {"agent": record.agent, **record.labels}
    common = (_day(record), request.platform, request.vendor, record.model)
    more = (
        record.tier or request.tier or "standard",
        record.region or request.region,
        tuple((name, said[name]) for name in tags if said.get(name)),
    )
    told: set[str] = set()
    for sku, quantity, pico, _ in cost.priced_lines:
        told.add(sku)
        if quantity:
            yield _Group(*common, sku, *more, Fraction(pico) / Fraction(quantity)), quantity, pico
        else:
            yield _Group(*common, sku, *more, None), 1, pico
    if cost.pico and not told:
        yield _Group(*common, _TOTAL, *more, None), 1, cost.pico
    elif not cost.incomplete:
        for sku, quantity in _quantities(record).items():
            if sku not in told:
                yield _Group(*common, sku, *more, Fraction(0)), quantity, 0


def _unknown(record: Record) -> Iterator[tuple[str, int | Decimal]]:
    if record.cost.incomplete:
        priced = {line.sku for line in record.cost.priced_lines}
        found = {k: count for k, count in _quantities(record).items() if k not in priced}
        yield from found.items() if found or priced else (("requests", 1),)


def _day(record: Record) -> date:
    return datetime.fromtimestamp(record.time, UTC).date()


def _row(group: _Group, quantity: Decimal, pico: int, billing_account: str) -> list[Any]:
    cost = dollars(pico)
    seller, service = _SOLD.get(group.platform, (group.platform, group.platform))
    quantity = _held(quantity)
    tokens = group.sku in KINDS
    meter = f"{group.sku.replace('_', ' ').capitalize()}{' tokens' if tokens else ''}"
    priced = _EXACT.divide(quantity, _MILLION) if tokens else quantity
    price = _exact(Fraction(pico) / Fraction(priced) / 10**12) if priced else None
    sku = f"{group.platform}/{group.model}/{group.sku}"
    month = group.day.replace(day=1)
    unit = "Tokens" if tokens else "Requests" if group.price is None else "Units"
    return list(
        {
            "BilledCost": cost,
            "BillingAccountId": billing_account,
            "BillingAccountName": None,
            "BillingCurrency": "USD",
            "BillingPeriodEnd": _begin((month + timedelta(days=31)).replace(day=1)),
            "BillingPeriodStart": _begin(month),
            "ChargeCategory": "Usage",
            "ChargeClass": None,
            "ChargeDescription": f"{meter} of {group.model} ({group.tier}), estimated from list prices",
            "ChargeFrequency": "Usage-Based",
            "ChargePeriodEnd": _begin(group.day + timedelta(days=1)),
            "ChargePeriodStart": _begin(group.day),
            "ConsumedQuantity": quantity,
            "ConsumedUnit": unit,
            "ContractedCost": cost,
            "ContractedUnitPrice": price,
            "EffectiveCost": cost,
            "InvoiceId": None,
            "InvoiceIssuerName": seller,
            "ListCost": cost,
            "ListUnitPrice": price,
            "PricingCategory": "Standard",
            "PricingQuantity": priced,
            "PricingUnit": f"{_MILLION} Tokens" if tokens else unit,
            "ProviderName": seller,
            "PublisherName": _MADE.get(group.vendor, group.vendor),
            "RegionId": group.region,
            "RegionName": None,
            "ResourceId": None,
            "ResourceName": None,
            "ResourceType": None,
            "ServiceCategory": "AI and Machine Learning",
            "ServiceName": service,
            "ServiceSubcategory": "Generative AI",
            "SkuId": sku,
            "SkuMeter": meter,
            "SkuPriceId": "/".join(filter(None, (sku, group.tier, group.region))),
            "SubAccountId": None,
            "SubAccountName": None,
            "Tags": dict(group.tags),
        }.values()
    )


def _begin(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _exact(value: Fraction) -> Decimal | None:
    """As a decimal number; `None` where it has no end, or a later one than a sheet holds."""
    rest = value.denominator
    for factor in (2, 5):
        while rest % factor == 0:
            rest //= factor
    if rest != 1:
        return None
    exact = _EXACT.divide(Decimal(value.numerator), Decimal(value.denominator)).normalize(_EXACT)
    return exact if exact == _held(exact) else None


def _held(exact: Decimal) -> Decimal:
    """As a sheet holds it."""
    rounded = _EXACT.quantize(exact, _LAST)
    return exact if exact == rounded else rounded
