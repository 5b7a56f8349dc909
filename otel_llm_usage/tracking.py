"""Usage scopes: what the calls inside a block have used and cost, while it is open and afterwards."""

import json
import os
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, TypeVar, overload

from opentelemetry.context import Context

from . import comparison, files, forks
from .backlog import counting
from .comparison import Comparison, Timing, WhatIf
from .prices import Catalogue
from .records import Record, as_text
from .scope import Block, caller, charged_to, named, scopes, texts
from .sums import By, Gathered, Sum, Sums

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from .charts import Measure

R = TypeVar("R")

MOST_CALLS = 10_000
"""Calls of one scope whose records are kept one by one; the sums hold all."""

SCHEMA = "otel-llm-usage/scope/1"
"""What `UsageScope.to_dict()` looks like: fields may be added under the same name."""


_catalogue: Callable[[], Catalogue]


def use_prices(catalogue: Callable[[], Catalogue]) -> None:
    """Where `what_if` finds the prices of now: told by the runtime when it is imported."""
    global _catalogue
    _catalogue = catalogue


class UsageScope(Block):
    """Gathers every call made inside, in any thread or task that the OpenTelemetry context follows.

    `with track("analysis-123") as usage:` makes one. It may be read while it is open, entered again,
    and by several threads at once. A call belongs to the scopes in which it was made, all of them,
    also if its answer ends when they are left.
    """

    __slots__ = ("__weakref__", "_kept", "_sums", "began", "dropped", "id", "labels")

    def __init__(
        self,
        id: str | None = None,
        labels: Mapping[str, object] | None = None,
        *,
        most_calls: int = MOST_CALLS,
    ) -> None:
        """`labels` become labels of the records, as with `attribute`."""
        if id is not None:
            named("track() takes an id", id)
        self.id = id or uuid.uuid4().hex
        self.labels: Mapping[str, str] = MappingProxyType(texts(labels or {}))
        self.began = time.time()
        """Seconds since the epoch."""
        self._sums = Sums()
        self._kept: deque[Record] = deque(maxlen=most_calls)
        self.dropped = 0
        """How many of the oldest records are not kept any more; the sums hold them."""

    def _inside(self, before: Context) -> Context:
        return charged_to(self, self.labels, before)

    def __repr__(self) -> str:
        return f"<UsageScope {self.id!r}: {self.total!r}>"

    def add(self, record: Record) -> None:
        """Count a record; a sink, called by the thread that counts."""
        self._sums.add(record)
        if len(self._kept) == self._kept.maxlen:
            self.dropped += 1
        self._kept.append(record)

    def reset(self) -> None:
        """Begin anew."""
        self._sums.clear()
        self._kept.clear()
        self.dropped = 0
        self.began = time.time()

    # ------------------------------------------------------------ what it tells

    def _read(self, look: Callable[[], R]) -> R:
        """Look while nothing is counted, after all calls that have ended until now."""
        with counting.alone():
            return look()

    def _gathered(self) -> Gathered:
        return self._read(lambda: Gathered(self._sums.copy(), tuple(self._kept), self.dropped))

    def _by(self, field: str) -> dict[str, Sum]:
        return self._read(lambda: self._sums.by_one(field))

    @property
    def sums(self) -> Sums:
        """The sums of now, by what the calls differ in."""
        return self._read(self._sums.copy)

    @property
    def total(self) -> Sum:
        """The sum of all calls until now."""
        return self._read(lambda: self._sums.total)

    @property
    def records(self) -> tuple[Record, ...]:
        """The records until now, in the order in which the calls ended."""
        return self._read(lambda: tuple(self._kept))

    @property
    def by_call_type(self) -> dict[str, Sum]:
        """Sums by the label `call_type`, the dearest first."""
        return self._by("call_type")

    @property
    def by_agent(self) -> dict[str, Sum]:
        """Sums by agent, the dearest first."""
        return self._by("agent")

    @property
    def by_model(self) -> dict[str, Sum]:
        """Sums by model, the dearest first."""
        return self._by("model")

    @property
    def by_provider(self) -> dict[str, Sum]:
        """Sums by provider, the dearest first."""
        return self._by("provider")

    @property
    def by_agent_and_model(self) -> dict[tuple[str, str], Sum]:
        """Sums by agent and model, the dearest first."""
        pairs = self.sums.by("agent", "model")
        return {(agent, model): found for (agent, model), found in pairs.items()}

    def models_of(self, agent: str) -> tuple[str, ...]:
        """Which models an agent used, the dearest first."""
        return tuple(model for who, model in self.by_agent_and_model if who == agent)

    def agents_of(self, model: str) -> tuple[str, ...]:
        """Which agents used a model, the dearest first."""
        return tuple(who for who, used in self.by_agent_and_model if used == model)

    @property
    def most_expensive_agent(self) -> str | None:
        """The agent whose calls cost most, as far as that is known; `None` without calls."""
        return next(iter(self.by_agent), None)

    def token_summary(self) -> dict[str, Any]:
        """The last item of a stream: what each source used, and all of them together.

        A source is a call type, else an agent, with its model. Prompt, completion and thinking tokens
        add up to the total, in which the tokens of `missing_usage` calls are not known; dollars are
        numbers, and `null` where they are not known.
        """
        sums = self.sums
        sources: dict[tuple[str, str], Sum] = {}
        for group, found in sums:
            source = group.call_type or group.agent, group.model
            sources.setdefault(source, Sum()).merge(found)
        return {
            "type": "token_summary",
            "id": self.id,
            "sources": [
                {"source": source, "model": model, **_tokens(found)}
                for (source, model), found in sorted(sources.items())
            ],
            "grand_total": _tokens(sums.total),
        }

    def token_usage(self) -> list[dict[str, Any]]:
        """One item for each call that is kept, see `call_usage`."""
        return list(map(call_usage, self.records))

    def since(self, ended: int) -> tuple[tuple[Record, ...], int]:
        """The records after the first `ended` ones, as far as they are kept, and how many there are.

        So that somebody may look again and again: `new, ended = usage.since(ended)`.
        """

        def look() -> tuple[tuple[Record, ...], int]:
            kept = len(self._kept)
            new = max(self.dropped + kept - ended, 0)
            return tuple(islice(self._kept, max(kept - new, 0), None)), self.dropped + kept

        return self._read(look)

    @property
    def failures(self) -> tuple[Record, ...]:
        """The kept records of requests that failed, and of streams that broke off."""
        return self._gathered().failures

    @property
    def most_expensive_call(self) -> Record | None:
        """The kept record that cost most, as far as that is known; `None` without calls."""
        return max(self.records, key=lambda record: record.cost.known_pico, default=None)

    @overload
    def timing(self, by: None = None) -> Timing: ...
    @overload
    def timing(self, by: str) -> dict[str, Timing]: ...
    def timing(self, by: str | None = None) -> Timing | dict[str, Timing]:
        """How long the kept calls took, failed ones too: all, or by `agent`, `model`, `call_type`…"""
        if by is None:
            return comparison.timing(self.records)
        return comparison.timing_by(self.records, by)

    def what_if(
        self,
        model: str | None = None,
        tier: str | None = None,
        provider: str | None = None,
        *,
        agent: str | Collection[str] | None = None,
        of_model: str | None = None,
    ) -> WhatIf:
        """What the kept calls would have cost on another model, at another tier, or elsewhere.

        `tier`: `standard`, `batch`, `flex`, `priority`…; `provider`: who sells the model, where this
        is not to be whoever sold it in these calls, or else its maker. `agent` and `of_model` pick
        the calls of an agent, or of several, and of a model. Each call is priced anew with the prices of its time.

        The counts of tokens stay what they were: another tokenizer would count otherwise, and another
        model would answer otherwise.
        """
        return comparison.what_if(
            self._gathered(),
            _catalogue(),
            model=model,
            tier=tier,
            provider=provider,
            agent=agent,
            of_model=of_model,
        )

    def compare_models(self, a: str, b: str) -> Comparison:
        """Two models as they were used, and the traffic of each at the prices of the other.

        A model is named as it answered or as it was asked for; without a date it stands for all its
        snapshots.
        """
        return comparison.compare_models(self._gathered(), _catalogue(), a, b)

    # ------------------------------------------------------------ what it shows
    # rich is imported when somebody looks, not with the package

    def table(self, by: By = ("agent", "model")) -> "Table":
        """A table for `rich`, by one or some of the fields of `Group`; the dearest first."""
        from . import tables  # noqa: PLC0415 (rich)

        return tables.table(self.sums, by)

    def __rich__(self) -> "RenderableType":
        from . import tables  # noqa: PLC0415 (rich)

        return tables.Summary(self.id, self.labels, self._gathered())

    def print_summary(self, file: IO[str] | None = None) -> None:
        """Print what was used and cost, by whom, and what failed; to standard output, or a file."""
        from . import tables  # noqa: PLC0415 (rich)

        tables.show(self, file)

    def print_chart(
        self, of: "Measure" = "cost", file: IO[str] | None = None, *, by: By = ("agent", "model")
    ) -> None:
        """Print bars of `cost`, `tokens` or `calls`."""
        from . import charts, tables  # noqa: PLC0415 (rich)

        tables.show(charts.Bars(self.sums, by, of), file)

    def print_timeline(self, file: IO[str] | None = None, *, by: By = ("agent", "model")) -> None:
        """Print when the kept calls ran: a row for each agent and model."""
        from . import charts, tables  # noqa: PLC0415 (rich)

        tables.show(charts.Lanes(self.records, by), file)

    def bar_chart(
        self,
        path: str | os.PathLike[str],
        by: By = ("agent", "model"),
        of: "Measure" = "cost",
    ) -> None:
        """Draw bars of `cost`, `tokens` or `calls` into a `.png`, `.svg` or `.pdf`.

        A bar for each value of the first field; the second one divides it. Needs the extra `charts`.
        """
        from . import charts  # noqa: PLC0415 (rich)

        charts.bar_chart(path, self.id, self.sums, by, of)

    def timeline(self, path: str | os.PathLike[str], by: By = "agent") -> None:
        """Draw when the kept calls ran, in the colours of their models, as `bar_chart` does."""
        from . import charts  # noqa: PLC0415 (rich)

        charts.timeline(path, self.id, self._gathered(), by)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON: see `SCHEMA`; dollars as text, times in seconds."""
        sums, records, dropped = self._gathered()
        pairs = sums.by("agent", "model").items()
        return {
            "schema": SCHEMA,
            "id": self.id,
            "labels": dict(self.labels),
            "began": self.began,
            "total": sums.total.to_dict(),
            "by_call_type": _shown(sums.by_one("call_type")),
            "by_agent": _shown(sums.by_one("agent")),
            "by_model": _shown(sums.by_one("model")),
            "by_provider": _shown(sums.by_one("provider")),
            "by_agent_and_model": [
                {"agent": agent, "model": model, **found.to_dict()}
                for (agent, model), found in pairs
            ],
            "timing": {
                "all": comparison.timing(records).to_dict(),
                **{
                    f"by_{field}": {
                        value: found.to_dict()
                        for value, found in comparison.timing_by(records, field).items()
                    }
                    for field in ("agent", "model")
                },
            },
            "call_details": list(map(call_detail, records)),
            "calls_dropped": dropped,
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

    def export_json(self, path: str | os.PathLike[str]) -> None:
        """Write `to_json` to a file, in UTF-8: as a whole, in the place of one that may be there.

        `ConfigurationError` if its folder is not there.
        """
        # half of a pair of surrogates has no UTF-8
        files.write(path, (self.to_json(indent=2) + "\n").encode(errors="replace"))


def _tokens(found: Sum) -> dict[str, Any]:
    cost = found.cost_usd
    return {
        "calls": found.calls,
        "prompt_tokens": found.input_tokens,
        "completion_tokens": found.output_tokens - found.reasoning_tokens,
        "thinking_tokens": found.reasoning_tokens,
        "embedding_tokens": found.embedding_tokens,
        "total_tokens": found.total_tokens,
        "missing_usage": found.missing,
        "estimated_cost_usd": None if cost is None else float(cost),
    }


def call_usage(record: Record) -> dict[str, Any]:
    """The item of one call, in the shape of `token_summary`'s sources."""
    found = Sum()
    found.add(record)
    return {
        "type": "token_usage",
        "source": record.labels.get("call_type") or record.agent,
        "model": record.model,
        "success": record.status == "ok",
        **_tokens(found),
    }


def _shown(parts: Mapping[str, Sum]) -> dict[str, Any]:
    return {name: part.to_dict() for name, part in parts.items()}


def call_detail(record: Record) -> dict[str, Any]:
    """One call, for JSON."""
    usage, cost = record.usage, record.cost
    return {
        "id": record.id,
        "time": record.time,
        "call_type": record.labels.get("call_type", ""),
        "agent": record.agent,
        "provider": record.provider,
        "model": record.model,
        "asked_model": record.request.model,
        "operation": record.operation,
        "tier": record.tier,
        "status": record.status,
        "error_type": record.error_type,
        "error_message": record.error_message,
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "total_tokens": None if usage is None else usage.total_tokens,
        "tokens": {} if usage is None else usage.nonzero(),
        "usage_source": record.usage_source,
        "units": {unit: str(quantity) for unit, quantity in record.units.items()},
        "cost_usd": as_text(cost.total),
        "known_cost_usd": as_text(cost.known),
        "cost_status": cost.status,
        "cost_reasons": list(cost.reasons),
        "seconds": record.duration,
        "seconds_to_first_chunk": record.time_to_first_chunk,
        "labels": dict(record.labels),
    }


process = UsageScope("process", most_calls=0)
"""All calls of this process: sums alone, so it is bounded however long the process lives."""
forks.in_child(process.reset)


def usage_summary() -> dict[str, Any]:
    """All calls of this process until now, see `UsageScope.to_dict`."""
    return process.to_dict()


def usage_by_model() -> dict[str, Sum]:
    """The sums of this process by model, the dearest first."""
    return process.by_model


def usage_by_agent() -> dict[str, Sum]:
    """The sums of this process by agent, the dearest first."""
    return process.by_agent


def agent_models() -> dict[str, tuple[str, ...]]:
    """Which models each agent of this process used, the dearest first."""
    found: dict[str, tuple[str, ...]] = {}
    for agent, model in process.by_agent_and_model:
        found[agent] = (*found.get(agent, ()), model)
    return found


def reset_usage() -> None:
    """Begin the sums of this process anew; metrics and other scopes stay as they are."""
    with counting.alone():
        process.reset()


def track(id: str | None = None, **labels: object) -> UsageScope:
    """A scope for the calls inside a block: `with track("analysis-123", symbol="X") as usage: ...`.

    `id`: its name, a new one if left out. `labels` become labels of the records.
    """
    return UsageScope(id, labels)


def current_usage() -> UsageScope | None:
    """The innermost scope around the caller; `None` outside all of them."""
    around = (one for one in reversed(scopes(caller())) if isinstance(one, UsageScope))
    return next(around, None)


class Trackers:
    """Scopes by their ids, for code that cannot use one block; bounded, and they expire."""

    def __init__(
        self,
        *,
        most: int = 10_000,
        seconds: float = 86_400.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`seconds`: how long a scope that nobody asks for stays."""
        self._most = most
        self._seconds = seconds
        self._now = now
        self._begin_anew()

    def _begin_anew(self) -> None:
        # whoever was asked for last stands last
        self._known: OrderedDict[str, tuple[UsageScope, float]] = OrderedDict()
        self._lock = threading.Lock()

    def get_or_create(self, id: str, labels: Mapping[str, object]) -> UsageScope:
        """The scope of this id, a new one with these labels if there is none."""
        named("get_or_create_tracker() takes an id", id)
        with self._lock:
            now = self._now()
            found, _ = self._known.pop(id, (None, 0.0))
            while self._known:
                _, asked = self._known[next(iter(self._known))]
                if asked >= now - self._seconds and len(self._known) < self._most:
                    break
                self._known.popitem(last=False)
            scope = found or UsageScope(id, labels)
            self._known[id] = (scope, now)
            return scope

    def close(self, id: str) -> UsageScope | None:
        """Forget the scope of this id, and give it back; `None` if there is none."""
        with self._lock:
            return self._known.pop(id, (None, 0.0))[0]

    def __len__(self) -> int:
        return len(self._known)


_trackers = Trackers()
# a forked process makes its own calls, and its parent may be in the middle of this
forks.in_child(_trackers._begin_anew)


def get_or_create_tracker(id: str, **labels: object) -> UsageScope:
    """The scope of this id, wherever in the process: `with get_or_create_tracker("a1"): ...`.

    At most 10,000 are known, and each for a day after it was asked for last; `close_tracker` forgets
    it before. Nothing is lost for who holds it.
    """
    return _trackers.get_or_create(id, labels)


def close_tracker(id: str) -> UsageScope | None:
    """Forget the scope of this id, and give it back; `None` if there is none."""
    return _trackers.close(id)
