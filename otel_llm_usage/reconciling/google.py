"""Google's record: files of the Cloud Billing export, from BigQuery or from the console.

The fields are those of the standard usage cost export (docs.cloud.google.com/billing); which model and
kind a SKU is, only its description says, and no documentation does.
"""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from .. import rowfiles
from ..errors import ConfigurationError, StatementError
from ..records import NOTHING
from .statement import Charged, Statement, Unrecognised, Used, number
from .statement import day as day_of

PACIFIC: tzinfo = ZoneInfo("America/Los_Angeles")
"""In whose days Google bills."""

_SERVICES = re.compile(r"\b(gemini|generative language|vertex ai|agent platform)\b", re.IGNORECASE)
_COUNTS = frozenset({"count", "counts", "token", "tokens"})
_USAGE = frozenset({"", "regular", "usage"})
_COSTS = ("unrounded_cost", "cost", "unrounded_subtotal", "subtotal")
_MODALITIES = frozenset({"text", "image", "audio", "video", "document", "pdf"})
_ENDS = frozenset(
    {"input", "output", "cached", "caching", "cache", "token", "tokens", "count"}
    | {"batch", "flex", "priority", "short", "long", "thinking", "reasoning", "response"}
    | {"global", "regional", "predictions", "online", "for", "on", "offpeak", "peak", "generation"}
)
_NOISE = frozenset({"ga", "-"})
_SECONDS = re.compile(r"\d{10}(\.\d+)?|\d\.\d+[eE]9")
_WORD = re.compile(r"[a-z0-9.]+|-")


class Sku(NamedTuple):
    """What the description of a SKU says."""

    model: str
    kind: str


def sku(description: str) -> Sku | None:
    """The model and the kind of token that a description names; `None` where it names none.

    >>> sku("Generate content cached input token count gemini 2.5 flash lite text")
    Sku(model='gemini-2.5-flash-lite', kind='cache_read')
    >>> sku("Gemini 2.5 Pro Thinking Text Output - Predictions")
    Sku(model='gemini-2.5-pro', kind='output')
    """
    words = _WORD.findall(description.lower().replace("_", " "))
    if "gemini" not in words or {"storage", "hour", "hours", "search", "grounding"} & set(words):
        return None
    start = words.index("gemini")
    model = ["gemini"]
    for one in words[start + 1 :]:
        if one in _ENDS:
            break
        if one not in _NOISE:
            model.append(one)
    # of `flash image text` only the last word is what was sent; before the model it may stand, too
    if not _MODALITIES & set(words[:start]) and model[-1] in _MODALITIES:
        model.pop()
    cached = bool({"cached", "caching", "cache"} & set(words))
    if "output" in words:
        kind = "output"
    elif "input" in words:
        kind = "cache_read" if cached else "input"
    else:
        return None
    return Sku("-".join(model), kind) if len(model) > 1 else None


def statement(
    paths: Sequence[str | os.PathLike[str]],
    since: date,
    until: date,
    *,
    rates: Mapping[str, Decimal] = NOTHING,
    zone: tzinfo = PACIFIC,
) -> Statement:
    """What the files say: CSV, JSON lines or a list of JSON.

    `rates`: US dollars for one of another currency. Raises `StatementError` where a file has another
    shape, `ConfigurationError` where it can't be read.
    """
    if not paths:
        raise ConfigurationError(
            "say the files of the billing export: Google has no interface that tells the usage"
        )
    read = _Reader(since, until, {name.upper(): rate for name, rate in rates.items()}, zone)
    for path in paths:
        for row in rowfiles.read(path, header="sku_description"):
            if row.problem:
                raise StatementError(f"{path}, line {row.number}: {row.problem}")
            cells = rowfiles.flat(row.values).items()
            read.take({rowfiles.word(name): cell for name, cell in cells}, path, row)
    return read.statement()


class _Reader:
    """Takes line after line."""

    def __init__(
        self, since: date, until: date, rates: Mapping[str, Decimal], zone: tzinfo
    ) -> None:
        self._since, self._until = since, until
        self._rates = rates
        self._zone = zone
        self._used: defaultdict[tuple[date, str, str], Decimal] = defaultdict(Decimal)
        self._charged: defaultdict[tuple[date, str], Decimal] = defaultdict(Decimal)
        self._unrecognised: dict[str, list[Any]] = {}
        self._foreign: set[str] = set()
        self._credits = Decimal(0)
        self._no_currency = False
        self._others = 0

    def take(self, row: Mapping[str, Any], path: object, at: rowfiles.FileRow) -> None:
        where = f"{path}, line {at.number}"
        if not _SERVICES.search(str(row.get("service_description") or "")):
            self._others += 1
            return
        day = self._day(row, where)
        if not self._since <= day < self._until:
            return
        usd = self._dollars(row, _cost(row, where), where)
        taken_off = self._dollars(row, _credits(row, where), where)
        self._credits += taken_off or 0
        described = str(row.get("sku_description") or "")
        found = sku(described)
        amount = number(row.get("usage_amount") or 0, f"{where}: usage.amount")
        unit = str(row.get("usage_unit") or "").strip().lower()
        usual = str(row.get("cost_type") or "").strip().lower() in _USAGE
        if found is None or unit not in _COUNTS or not usual:
            told = described if usual else f"{row['cost_type']}: {described}"
            lines = self._unrecognised.setdefault(told, [0, Decimal(0), Decimal(0)])
            lines[0] += 1
            lines[1] += amount
            lines[2] = None if usd is None or lines[2] is None else lines[2] + usd
            if usual and usd is not None:  # a fee: of no model, but a part of the bill
                self._charged[day, ""] += usd
            return
        self._used[day, found.model, found.kind] += amount
        if usd is not None:
            self._charged[day, found.model] += usd

    def _day(self, row: Mapping[str, Any], where: str) -> date:
        """When it was used, in Google's days; what has no zone is UTC, as BigQuery writes it."""
        began = row.get("usage_start_time") or row.get("usage_start_date")
        if _SECONDS.fullmatch(str(began)):  # as the interface of BigQuery has it
            began = int(float(str(began)))
        return day_of(began, f"{where}: usage_start_time", self._zone)

    def _dollars(self, row: Mapping[str, Any], amount: Decimal, where: str) -> Decimal | None:
        currency = str(row.get("currency") or "").strip().upper()
        self._no_currency |= not currency
        if currency in ("", "USD"):
            return amount
        if currency in self._rates:
            return amount * self._rates[currency]
        told = number(
            row.get("currency_conversion_rate") or 0, f"{where}: currency_conversion_rate"
        )
        if told > 0:
            return amount / told
        self._foreign.add(currency)
        return None

    def statement(self) -> Statement:
        notes = []
        if self._foreign:
            notes.append(
                f"the dollars are not compared: there are amounts in {', '.join(sorted(self._foreign))} "
                "and no rate for them"
            )
        if self._no_currency:
            notes.append("no currency is told: the amounts are taken as US dollars")
        if self._others:
            notes.append(f"{self._others:,} lines of other services are left out")
        return Statement(
            "google",
            tuple(Used(*key, count) for key, count in sorted(self._used.items()) if count),
            None
            if self._foreign
            else tuple(Charged(*key, usd) for key, usd in sorted(self._charged.items())),
            tuple(Unrecognised(what, *told) for what, told in sorted(self._unrecognised.items())),
            self._credits,
            tuple(notes),
        )


def _cost(row: Mapping[str, Any], where: str) -> Decimal:
    for name in _COSTS:
        if row.get(name) not in (None, ""):
            return number(row[name], f"{where}: {name}")
    raise StatementError(f"{where}: there is no cost: this is not the documented shape")


def _credits(row: Mapping[str, Any], where: str) -> Decimal:
    listed = row.get("credits")
    if isinstance(listed, list):
        if not all(isinstance(one, dict) for one in listed):
            raise StatementError(f"{where}: credits: this is not the documented shape")
        return sum(
            (number(one.get("amount") or 0, f"{where}: credits.amount") for one in listed),
            Decimal(0),
        )
    return number(row.get("credits_amount") or 0, f"{where}: credits.amount")
