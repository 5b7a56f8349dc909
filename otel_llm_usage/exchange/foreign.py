"""Rows that others have written down, as records: which column is what, and what the counts mean."""

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal, NamedTuple

from ..errors import ConfigurationError
from ..ledger.rows import GIVEN
from ..prices import Catalogue
from ..providers.hosts import NAMED, Host
from ..records import KINDS, LARGEST, PICO, Cost, Reading, Record, Request, Usage
from ..rowfiles import number, word
from .raw import Unfit

Counts = Literal["auto", "totals", "disjoint"]

FIELDS: Mapping[str, tuple[str, ...]] = {
    "time": (
        "timestamp", "time", "created_at", "created", "started_at", "start_time", "request_time",
        "datetime", "date", "ts",
    ),
    "provider": ("provider", "provider_name", "llm_provider", "custom_llm_provider", "vendor"),
    "model": ("model", "model_name", "model_id", "response_model", "request_model"),
    "input": (
        "input", "prompt_tokens", "input_tokens", "prompt_token_count", "tokens_input",
        "tokens_in", "tokens_prompt",
    ),
    "cache_read": (
        "cache_read", "cached_tokens", "cache_read_input_tokens", "cached_input_tokens",
        "cache_read_tokens", "cached_content_token_count", "cached_prompt_tokens", "cached",
    ),
    "cache_write": (
        "cache_write", "cache_creation_input_tokens", "cache_write_tokens",
        "cache_creation_tokens",
    ),
    "output": (
        "output", "completion_tokens", "output_tokens", "candidates_token_count",
        "tokens_output", "tokens_out", "tokens_completion", "generated_tokens",
    ),
    "reasoning": ("reasoning", "reasoning_tokens", "thoughts_token_count", "thinking_tokens"),
    "total_tokens": ("total_tokens", "total_token_count", "tokens_total"),
    "cost_usd": ("cost_usd", "total_cost_usd", "cost", "total_cost", "spend", "response_cost"),
    "agent": ("agent", "agent_name", "feature", "component"),
    "call_type": ("call_type", "request_type", "task"),
    "user": ("user", "user_id", "end_user", "end_user_id"),
    "session": ("session", "session_id", "conversation_id", "thread_id"),
    "team": ("team", "team_id", "team_name"),
    "service": ("service", "service_name", "app", "application"),
    "tier": ("service_tier", "tier"),
    "response_id": ("response_id", "request_id", "generation_id", "id"),
    "duration_ms": ("duration_ms", "latency_ms", "response_time_ms"),
    "status": ("status", "success"),
    **{kind: (kind,) for kind in KINDS if kind not in ("input", "cache_read", "cache_write", "output", "reasoning")},
}  # fmt: skip
"""What a row may say, and the names under which that is found: the first of them wins."""

LABEL = "label."
"""What a column of theirs may become, too: `label.project`."""

_DISJOINT = frozenset({"candidates_token_count"})
"""Counts of the output without what was thought, besides those that are named as ours."""
_MOST_DOLLARS = 9_000_000  # of pico-dollars, 64 bits hold no more
_ENDPOINTS = {"anthropic": "messages", "google": "generate_content"}
_FAILED = frozenset({"error", "failed", "failure", "false", "0"})
_HTTP_ERROR = re.compile(r"[45]\d\d")
_EARLIEST, _LATEST = datetime(2015, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_PER_SECOND = ((10**17, 10**9), (10**14, 10**6), (10**11, 10**3), (0, 1))


def checked(columns: Mapping[str, str]) -> Mapping[str, str]:
    """The columns that the user named; `ConfigurationError` where one becomes nothing that there is."""
    for their, our in columns.items():
        if our not in FIELDS and not (our.startswith(LABEL) and len(our) > len(LABEL)):
            raise ConfigurationError(
                f"the column {their!r} can't become {our!r}: say one of {', '.join(sorted(FIELDS))}, or "
                f"{LABEL}NAME"
            )
    return columns


class _Columns(NamedTuple):
    """Which column is what, among those of a row."""

    of: Mapping[str, str]
    """Our field, and their name."""
    labels: Mapping[str, str]
    ignored: Collection[str]


class Foreign:
    """Makes records of rows."""

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        columns: Mapping[str, str],
        counts: Counts,
        provider: str | None,
        zone: tzinfo,
    ) -> None:
        self._catalogue = catalogue
        self._chosen = checked(columns)
        self._counts = counts
        self._provider = provider
        self._zone = zone
        self._known: dict[tuple[str, ...], _Columns] = {}
        self._sellers: dict[str, Host] = {}
        self.ignored: dict[str, None] = {}
        """Columns that nothing is made of."""

    def record(self, id_: str, values: Mapping[str, Any]) -> tuple[Record, str]:
        """The record of a row, and the service that it names; `Unfit` where there can be none."""
        columns = self._columns(tuple(values))
        said = {ours: values[theirs] for ours, theirs in columns.of.items()}
        model = _word(said, "model")
        if model is None:
            raise Unfit("there is no model")
        if "time" not in said:
            raise Unfit("there is no time")
        at = _time(said["time"], columns.of["time"], self._zone)
        host = self._host(_word(said, "provider") or self._provider, model)
        usage, notes = self._usage(said, columns.of, host)
        cost = _dollars(said, columns.of)
        if usage is None and cost is None:
            raise Unfit("there are neither tokens nor a cost")
        embeds = "embedding" in model.lower()
        request = Request(
            provider=host.provider,
            vendor=host.vendor,
            platform=host.platform,
            operation="embeddings" if embeds else "chat",
            endpoint="embeddings" if embeds else _ENDPOINTS.get(host.vendor, "chat.completions"),
            model=model,
        )
        tier = _word(said, "tier")
        if cost is None:
            reading = Reading(usage, model=model, tier=tier)
            bill = self._catalogue.price(request, reading, at)
        else:
            bill = Cost("priced", int((cost * PICO).to_integral_value(ROUND_HALF_EVEN)), card=GIVEN)
            notes = (*notes, "cost_given")
        status = str(said.get("status", "")).strip().lower()
        failed = status in _FAILED or _HTTP_ERROR.fullmatch(status) is not None
        labels = {name: _word(said, name) for name in ("call_type", "user", "session", "team")}
        labels |= {name: _word(values, theirs) for name, theirs in columns.labels.items()}
        duration = _number(said.get("duration_ms"), columns.of.get("duration_ms", ""))
        made = Record(
            id=id_,
            time=at,
            request=request,
            status="error" if failed else "ok",
            usage=usage,
            usage_source="missing" if usage is None else "reported",
            cost=bill,
            response_id=_word(said, "response_id"),
            tier=tier,
            agent=_word(said, "agent") or "unknown",
            labels={name: value for name, value in labels.items() if value is not None},
            duration=None if duration is None else float(duration) / 1000,
            notes=("imported", *notes),
        )
        return made, _word(said, "service") or ""

    # ------------------------------------------------------------ which column is what

    def _columns(self, names: tuple[str, ...]) -> _Columns:
        found = self._known.get(names)
        if found is None:
            found = self._find(names)
            if len(self._known) < 1000:
                self._known[names] = found
            self.ignored |= dict.fromkeys(found.ignored)
        return found

    def _find(self, names: Iterable[str]) -> _Columns:
        of: dict[str, str] = {}
        labels: dict[str, str] = {}
        left: dict[str, str] = {}
        for name in names:
            our = self._chosen.get(name)
            if our is None:
                left[name] = word(name)
            elif our.startswith(LABEL):
                labels[our.removeprefix(LABEL)] = name
            else:
                of[our] = name
        # `usage.prompt_tokens` is known by its last word, unless another one has the whole name
        last = {name: word(name.rpartition(".")[2]) for name in left}
        for our, known in FIELDS.items():
            for spelled in known if our not in of else ():
                exact = [name for name, whole in left.items() if whole == spelled]
                alike = exact or [name for name in left if last[name] == spelled]
                if alike and alike[0] not in of.values():
                    of[our] = alike[0]
                    break
        used = {*of.values(), *labels.values()}
        return _Columns(of, labels, [name for name in names if name not in used])

    # ------------------------------------------------------------ who sold it

    def _host(self, provider: str | None, model: str) -> Host:
        if provider is not None:
            name = provider.strip().lower()
            return NAMED.get(name) or Host(name, name, name)
        found = self._sellers.get(model)
        if found is None:
            found = self._sellers[model] = self._seller(model)
        return found

    def _seller(self, model: str) -> Host:
        """Whose model it is, of those whose price lists are checked."""
        for name in ("openai", "anthropic", "google"):
            host = NAMED[name]
            asked = Request(*host, "chat", "chat.completions", model)
            card = self._catalogue.card(asked, Reading(), datetime.now(UTC).timestamp())
            if card.reason != "unknown_model":
                return host
        return Host("unknown", "unknown", "unknown")

    # ------------------------------------------------------------ what the counts mean

    def _usage(
        self, said: Mapping[str, Any], names: Mapping[str, str], host: Host
    ) -> tuple[Usage | None, tuple[str, ...]]:
        counts = {kind: _count(said[kind], names[kind]) for kind in KINDS if kind in said}
        total = _count(said.get("total_tokens"), names.get("total_tokens", ""))
        if all(count is None for count in counts.values()):
            return None, ()
        if not self._apart("input", names, host):
            _take_out(counts, "input", ("cache_read", *_writes(counts)))
        if not self._apart("output", names, host):
            _take_out(counts, "output", ("reasoning",))
        found = sum(count or 0 for count in counts.values())
        notes = (f"total_mismatch:{found - total}",) if total not in (None, found) else ()
        return Usage(**counts), notes if total is not None else ()

    def _apart(self, side: str, names: Mapping[str, str], host: Host) -> bool:
        """Whether the count of a side leaves out what has a count of its own."""
        if self._counts != "auto":
            return self._counts == "disjoint"
        spelled = word(names.get(side, "").rpartition(".")[2])
        if spelled in KINDS or spelled in _DISJOINT:
            return True
        return side == "input" and spelled == "input_tokens" and host.vendor == "anthropic"


def _writes(counts: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(kind for kind in counts if kind.startswith("cache_write"))


def _take_out(counts: dict[str, int | None], whole: str, parts: Iterable[str]) -> None:
    taken = sum(counts.get(part) or 0 for part in parts)
    found = counts.get(whole)
    if found is None or not taken:
        return
    if taken > found:
        raise Unfit(
            f"its parts are more than the whole {whole}: if they are counted apart, say "
            "counts='disjoint'"
        )
    counts[whole] = found - taken


# ------------------------------------------------------------ single values


def _word(said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    if value is None or value == "" or isinstance(value, list | dict):
        return None
    return str(value).strip() or None


def _number(value: Any, name: str) -> Decimal | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    found = number(value.strip().removeprefix("$") if isinstance(value, str) else value)
    if found is None:
        raise Unfit(f"{name} is no number")
    if found < 0 or found > LARGEST:
        raise Unfit(f"{name} is no number of this kind")
    return found


def _count(value: Any, name: str) -> int | None:
    found = _number(value, name)
    if found is not None and found != found.to_integral_value():
        raise Unfit(f"{name} is no whole number")
    return None if found is None else int(found)


def _dollars(said: Mapping[str, Any], names: Mapping[str, str]) -> Decimal | None:
    name = names.get("cost_usd", "")
    found = _number(said.get("cost_usd"), name)
    if found is not None and found >= _MOST_DOLLARS:
        raise Unfit(f"{name} is more than a call can cost")
    return found


def _time(value: Any, name: str, zone: tzinfo) -> float:
    """Seconds since the epoch, of a time in ISO 8601 or a number of seconds or of parts of them."""
    if isinstance(value, datetime):
        found = value
    else:
        since = number(value)
        try:
            if since is None:
                found = datetime.fromisoformat(str(value).strip().removesuffix(" UTC"))
            else:
                per = next((per for least, per in _PER_SECOND if since >= least), 1)
                found = datetime.fromtimestamp(float(since / per), UTC)
        except (OverflowError, OSError, ValueError):
            raise Unfit(f"{name} is no time: ISO 8601 and seconds are known") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=zone)
    if not _EARLIEST <= found <= _LATEST:
        raise Unfit(f"{name} is no time at which models were called")
    return found.timestamp()
