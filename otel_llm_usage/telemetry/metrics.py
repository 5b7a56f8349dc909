"""What is counted from each record: the metrics, natively on prometheus_client and over OTLP.

The types of `llm_tokens_total` are disjoint, so their sum is what was billed. Tokens that are our
estimate are part of it; `llm_estimated_tokens_total` says how many they are.
"""

import platform
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, CollectorRegistry, Gauge
from prometheus_client.metrics_core import Metric

from .. import forks, guard
from ..backlog import counting
from ..errors import ConfigurationError
from ..records import KINDS, NOTHING, PICO, BudgetStatus, Record, Request
from . import definitions, others
from .definitions import Definition
from .gen_ai import GenAI
from .otel_metrics import Export, Gauged, Points, Read
from .series import (
    Counters,
    Distribution,
    Family,
    Histograms,
    Moment,
    Total,
    Values,
    clean,
    foreign,
    multiprocess,
)

if TYPE_CHECKING:  # it needs the file locks of Unix
    from .shared import About, Slot, Theirs, Together

_USUAL: Mapping[str, tuple[str, ...]] = {
    "embeddings": ("input",),
    "text_completion": ("input", "output"),
}
_CONVERSATION = ("input", "cache_read", "output", "reasoning")
_WRITES_CACHES = frozenset({"anthropic", "aws.bedrock"})
"""Providers whose answers say what was written to a cache, and for how long."""

_NO_SOURCE = frozenset({"missing", "bad"})
_UNKNOWN = "unknown"
_POOLS = "multiprocessing.context"
"""Who has loaded it may start children anew, and nothing tells of that but they themselves."""
_AGE_EVERY = 60.0
"""Seconds between two updates of the price table's age, where no scrape asks this process."""

Key = tuple[str, ...]
"""Provider, model, agent, operation and the further labels."""


class Metrics:
    """Counts records; a sink. `touch` shows the zero before the first one.

    All of it is work of one lane (`backlog.counting`), so nothing here needs a lock: records are
    handed over there, and whoever reads does it alone.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry | None = None,
        namespace: str = "llm",
        labels: Sequence[str] = (),
        max_label_values: int = 200,
        exemplars: bool = True,
        gen_ai: bool = False,
        meter_provider: Any = None,
        provider_given: bool = False,
        catalogue_age: Callable[[], Mapping[str, float]] = lambda: NOTHING,
        budgets: Callable[[], Iterable[BudgetStatus]] = tuple,
        version: str = "",
        together: "Together | None" = None,
    ) -> None:
        """`labels`: which labels of the records become labels of tokens, cost and requests.

        `meter_provider`: an OpenTelemetry `MeterProvider` that is shown the same numbers;
        `provider_given`: the user chose it, so it has to work.
        `catalogue_age`: seconds since each layer of the price table was made. `budgets`: how each
        budget stands now. `together`: the processes whose sum is shown.
        """
        clash = sorted(definitions.RESERVED.intersection(labels))
        if clash:
            raise ConfigurationError(
                f"the metrics have a label {clash[0]!r} already: name yours differently"
            )
        self.registry: CollectorRegistry = REGISTRY if registry is None else registry
        self._extra = tuple(labels)
        self._limit = max_label_values
        self._exemplars = exemplars and not multiprocess()
        self._age = catalogue_age
        self._budgets = budgets
        # a scrape of this process asks for the age anyway
        self._age_due = 0.0 if multiprocess() else float("inf")
        self._build = (version, platform.python_version())
        self._seams: dict[tuple[str, str], float] = {}
        self._residuals: dict[tuple[str, str], float] = {}
        self._bundles: dict[Key, _Bundle] = {}
        self._names: dict[tuple[str, str | None], str] = {}
        self._admit = [Values(max_label_values) for _ in range(4 + len(self._extra))]
        self._skus, self._reasons, self._places = (Values(max_label_values) for _ in range(3))
        self._together = together
        self._sharing = False
        self._about: dict[Gauge, tuple[str, About]] = {}
        self._slots: dict[tuple[Gauge, tuple[str, ...]], Slot | None] = {}
        self._make_families(namespace)
        self._gen_ai = GenAI(max_label_values) if gen_ai else None
        own = [family for family in vars(self).values() if isinstance(family, Family)]
        self.families = (*own, *(self._gen_ai.families if self._gen_ai else ()))
        self._export: Export | None = None
        try:
            self._set_gauges()
        except OSError as error:
            raise ConfigurationError(
                f"PROMETHEUS_MULTIPROC_DIR: {error}. It names a directory that has to be there, "
                "writable and empty, before the program starts"
            ) from None
        self._register()
        if together is not None:
            together.on_share(self.share)
        self._stop_listening = guard.listen(self._failed)
        _living.add(self)
        if meter_provider is not None:
            self._show_to(meter_provider, version, given=provider_given)

    def _show_to(self, provider: Any, version: str, *, given: bool) -> None:
        self._export = export = Export(self)
        try:
            shown = others.attempt(
                "meter_provider", lambda: export.show_to(provider, version), given=given
            )
        except ConfigurationError:
            self.close()
            raise
        if not shown:
            export.close()
            self._export = None

    def _make_families(self, namespace: str) -> None:
        def described(what: Definition) -> tuple[str, str, tuple[str, ...], str, str]:
            labels = what.all_labels(self._extra)
            name = what.family(namespace)
            return name, what.documentation, labels, what.otel(namespace), what.unit

        def counters(what: Definition) -> Counters:
            scale = PICO if what is definitions.COST else 1
            return Counters(*described(what), scale=scale)

        def histograms(what: Definition) -> Histograms:
            return Histograms(*described(what), bounds=definitions.DURATIONS)

        def gauge(what: Definition, read: Read) -> Gauge:
            self.gauged.append(Gauged(what.otel(namespace), what.unit, what.documentation, read))
            name = what.family(namespace)
            made = Gauge(
                name,
                what.documentation,
                what.labels,
                registry=None,
                multiprocess_mode=what.mode or "all",
            )
            self._about[made] = (what.mode, (name, what.documentation, what.labels, None))
            return made

        self.gauged: list[Gauged] = []
        self.tokens = counters(definitions.TOKENS)
        self.cost = counters(definitions.COST)
        self.requests = counters(definitions.REQUESTS)
        self.estimated = counters(definitions.ESTIMATED)
        self.unpriced_requests = counters(definitions.UNPRICED_REQUESTS)
        self.unpriced_tokens = counters(definitions.UNPRICED_TOKENS)
        self.missing = counters(definitions.MISSING)
        self.errors = counters(definitions.ERRORS)
        self.duration = histograms(definitions.DURATION)
        self.first_token = histograms(definitions.FIRST_TOKEN)
        self.catalogue_age = gauge(definitions.CATALOGUE_AGE, self._age_points)
        self.seam_patched = gauge(definitions.SEAM_PATCHED, self._seam_points)
        self.build_info = gauge(definitions.BUILD_INFO, self._build_points)
        self.budget_gauges = tuple(
            (gauge(what, self._budget_points(value)), value) for what, value in _OF_BUDGETS
        )
        self.residual = gauge(definitions.RECONCILE_RESIDUAL, self._residual_points)

    def _age_points(self) -> Points:
        return [({"layer": layer}, seconds) for layer, seconds in self.ages().items()]

    def _seam_points(self) -> Points:
        return [({"sdk": sdk, "seam": name}, v) for (sdk, name), v in list(self._seams.items())]

    def _residual_points(self) -> Points:
        return [
            ({"provider": provider, "kind": kind}, ratio)
            for (provider, kind), ratio in list(self._residuals.items())
        ]

    def _budget_points(self, value: Callable[[BudgetStatus], float]) -> Read:
        def read() -> Points:
            return [
                ({"budget": clean(one.budget), "period": one.period}, value(one))
                for one in self.budgets()
            ]

        return read

    def _build_points(self) -> Points:
        version, python = self._build
        return [({"version": version, "python": python}, 1.0)]

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """What is not counted but set."""
        budgets = (gauge for gauge, _ in self.budget_gauges)
        return self.catalogue_age, self.seam_patched, self.build_info, *budgets, self.residual

    def _register(self) -> None:
        try:
            self.registry.register(self)
        except ValueError as error:
            raise ConfigurationError(
                "these metrics are registered already (is there another runtime?): close it, or "
                f"give this one a namespace or a registry of its own. {error}"
            ) from None

    # -- counting

    def touch(self, request: Request, agent: str, labels: Mapping[str, str]) -> None:
        """A call begins: show its series at zero, so that a scrape can see the zero."""
        provider = request.provider
        model = self._names.get((provider, request.model)) or request.model or _UNKNOWN
        key: Key = (provider, model, agent, request.operation)
        if self._extra:
            key += tuple([labels.get(name, "") for name in self._extra])
        if key not in self._bundles:
            counting.later(guard.call, "metrics", self._bundle, key)

    def seam(self, sdk: str, name: str, state: str) -> None:
        """Show whether a seam is patched; one whose SDK is not imported yet is not shown."""
        if state == "waiting":
            return
        value = float(state == "patched")
        self._seams[sdk, name] = value
        self._set(self.seam_patched, (sdk, name), value)

    def show_residuals(self, provider: str, residuals: Mapping[str, float]) -> None:
        """Show how much a reconciliation with a provider's record has found to differ, by kind."""
        for kind, ratio in residuals.items():
            labels = (clean(provider), clean(kind))
            self._residuals[labels] = ratio
            self._set(self.residual, labels, ratio)

    def close(self) -> None:
        """Take the metrics out of the registry."""
        if self not in _living:
            return
        _living.discard(self)
        self._sharing = False
        self._stop_listening()
        if self._export is not None:
            self._export.close()
        self.registry.unregister(self)

    def _failed(self, where: str) -> None:
        counting.later(self._count_failure, where)

    def _count_failure(self, where: str) -> None:
        # what fails here must not be told to the guard: it would come back as the next failure
        guard.theirs(lambda: self.errors.at(self._places.admit(where)).add(1))

    def __call__(self, record: Record) -> None:
        """Count a finished record."""
        if not self._sharing and self._together is not None and _POOLS in sys.modules:
            self._together.share()
        request = record.request
        model = record.response_model or request.model or _UNKNOWN
        key: Key = (request.provider, model, record.agent, request.operation)
        if self._extra:
            labels = record.labels
            key += tuple([labels.get(name, "") for name in self._extra])
        bundle = self._bundles.get(key) or self._bundle(key)
        if model != request.model:
            self._remember(request, model)
        moment: Moment | None = None
        # an exemplar of a trace that nobody keeps would lead nowhere
        if self._exemplars and record.trace_id is not None and record.trace_sampled:
            moment = (record.trace_id, record.span_id, record.time + (record.duration or 0.0))
        if record.usage is not None:
            tokens = bundle.tokens
            for index, count in enumerate(record.usage):
                if count:
                    (tokens[index] or bundle.token(index)).add(count, moment)
        cost = record.cost
        if cost.pico or cost.status == "partial":
            self._count_cost(bundle, record, moment)
        if not record.later_entry:
            bundle.request(record.status).add(1)
            self._time(bundle, record)
        if cost.incomplete or record.usage_source != "reported":
            self._count_faults(bundle, record)
        if self._gen_ai is not None:
            self._gen_ai.count(record, self._export)
        if self._age_due < record.time:
            self._show_age()

    def _count_cost(self, bundle: "_Bundle", record: Record, moment: Moment | None) -> None:
        cost = record.cost
        if cost.status == "prepaid":
            return
        for line in cost.priced_lines:
            if line.pico:
                (bundle.cost.get(line.sku) or bundle.price(line.sku)).add(line.pico, moment)
        if cost.pico and not cost.priced_lines:
            # a price function of the user's that gives no lines
            bundle.price("total").add(cost.pico, moment)

    def _time(self, bundle: "_Bundle", record: Record) -> None:
        if record.duration is not None:
            bundle.duration.observe(record.duration)
            if self._export is not None:
                self._export.observe(self.duration.otel, record.duration, bundle.attributes)
        if record.time_to_first_chunk is not None:
            seconds = record.time_to_first_chunk
            bundle.first_token.observe(seconds)
            if self._export is not None:
                self._export.observe(self.first_token.otel, seconds, bundle.attributes)

    def _count_faults(self, bundle: "_Bundle", record: Record) -> None:
        cost = record.cost
        provider, model = bundle.key[:2]
        counts = {} if record.usage is None else record.usage.nonzero()
        if cost.incomplete:
            reason = self._reasons.admit(_word(cost.reasons[0]) if cost.reasons else _UNKNOWN)
            self.unpriced_requests.at(provider, model, reason).add(1)
            for kind in counts.keys() - {line.sku for line in cost.priced_lines}:
                self.unpriced_tokens.at(kind, provider, model).add(counts[kind])
        if record.usage_source == "estimated":
            for kind in record.estimated_kinds:
                if kind in counts:
                    self.estimated.at(kind, *bundle.who).add(counts[kind])
        elif record.usage_source in _NO_SOURCE and cost.status != "not_billed" and not record.units:
            reason = self._reasons.admit(_why_missing(record))
            self.missing.at(provider, model, reason).add(1)

    def _remember(self, request: Request, model: str) -> None:
        """Which model answers for a name, so that the next zero stands at the right series."""
        asked = (request.provider, request.model)
        if self._names.get(asked) != model and len(self._names) < self._limit * 4:
            self._names[asked] = model

    def _bundle(self, key: Key) -> "_Bundle":
        admitted = tuple(
            [admit.admit(value) for admit, value in zip(self._admit, key, strict=True)]
        )
        bundle = self._bundles.get(admitted)
        if bundle is None:
            if not self._bundles:
                self._set_gauges()
            bundle = self._bundles[admitted] = _Bundle(self, admitted)
            bundle.show_zeros()
        return bundle

    # -- showing

    def describe(self) -> Iterable[Metric]:
        """The names, for the registry."""
        yield from (family.describe() for family in self.families)
        for gauge in self.gauges:
            yield from gauge.describe()

    def collect(self) -> Iterable[Metric]:
        """All samples, for a scrape."""
        counting.finish()
        self.refresh()
        theirs = {} if self._together is None else self._together.others()
        with counting.alone():
            metrics = [family.metric(theirs.pop(family.name, None)) for family in self.families]
        for gauge in self.gauges:
            for metric in gauge.collect():
                self._complete(metric, gauge, theirs.pop(metric.name, None))
                metrics.append(metric)
        for name, numbers in theirs.items():
            metrics.extend(foreign(name, numbers))
        return metrics

    def _complete(self, metric: Metric, gauge: Gauge, theirs: "Theirs | None") -> None:
        """Add what other processes are: one value for each set of labels, the latest or the largest."""
        if theirs is None:
            return
        mine = {tuple(sample.labels.items()): sample for sample in metric.samples}
        for (names, values), number in theirs.numbers.items():
            labels = dict(zip(names, values, strict=True))
            known = mine.get(tuple(labels.items()))
            value = number.value
            if gauge is self.catalogue_age:
                value += time.time() - number.moment
            if known is None:
                metric.add_sample(metric.name, labels, value)
            elif self._about[gauge][0] == "livemax" and known.value < value:
                metric.samples.remove(known)
                metric.add_sample(metric.name, labels, value)

    def refresh(self) -> None:
        """Set what changes by itself, with the time: ages and budgets."""
        self._show_age()
        for status in self.budgets():
            self.show_budget(status)

    def budgets(self) -> Iterable[BudgetStatus]:
        """How each budget stands now."""
        return guard.call("budgets", self._budgets) or ()

    def show_budget(self, status: BudgetStatus) -> None:
        """Show how a budget stands."""
        for gauge, value in self.budget_gauges:
            self._set(gauge, (clean(status.budget), status.period), value(status))

    def snapshot(self, family: Counters) -> Points:
        """The labels and values of one family, for OTLP."""
        with counting.alone():
            return [(labels, total.own) for labels, total in family.attributes()]

    def ages(self) -> Mapping[str, float]:
        """Seconds since each layer of the price table was made."""
        ages = guard.call("price_age", self._age) or NOTHING
        return {clean(layer): seconds for layer, seconds in ages.items()}

    def _show_age(self) -> None:
        if multiprocess() or self._sharing:
            self._age_due = time.time() + _AGE_EVERY
        for layer, seconds in self.ages().items():
            self._set(self.catalogue_age, (layer,), seconds)

    def _set_build_info(self) -> None:
        self._set(self.build_info, self._build, 1.0)

    def _set_gauges(self) -> None:
        """Say again what a forked process has to say in its own file."""
        self._set_build_info()
        for status in self.budgets():
            self.show_budget(status)
        for seam, value in self._seams.items():
            self._set(self.seam_patched, seam, value)
        for labels, ratio in self._residuals.items():
            self._set(self.residual, labels, ratio)

    def share(self) -> None:
        """From now on other processes see what is counted here. To be called while nothing is counted."""
        self._sharing = True
        for family in self.families:
            family.share(self._together)
        self._age_due = 0.0
        self._set_gauges()

    def _set(self, gauge: Gauge, values: tuple[str, ...], value: float) -> None:
        gauge.labels(*values).set(value)
        if not self._sharing or self._together is None:
            return
        moment = time.time()
        slot = self._slots.get((gauge, values))
        if slot is None:
            mode, about = self._about[gauge]
            slot = self._together.slot(mode, about, values, 1, moment)
            self._slots[gauge, values] = slot
        if slot is not None:
            slot.say(value, moment=moment)

    def _begin_anew(self) -> None:
        """A forked process counts its own calls: what its parent counted, its parent shows."""
        self._bundles = {}
        self._slots = {}
        self._sharing = self._together is not None
        if self._export is not None:
            self._export.forget()
        for family in self.families:
            family.series = {}
            family.together = self._together


class _Bundle:
    """The series of one provider, model, agent and operation, at hand without a search."""

    __slots__ = (
        "_metrics",
        "attributes",
        "cost",
        "duration",
        "first_token",
        "key",
        "requests",
        "tokens",
        "who",
    )

    def __init__(self, metrics: Metrics, key: Key) -> None:
        provider, model, agent, operation, *extra = key
        self._metrics = metrics
        self.key = key
        self.who = (provider, model, agent, *extra)
        self.tokens: list[Total | None] = [None] * len(KINDS)
        self.cost: dict[str, Total] = {}
        self.requests: dict[str, Total] = {}
        self.duration: Distribution = metrics.duration.at(provider, model, operation)
        self.first_token: Distribution = metrics.first_token.at(provider, model, operation)
        self.attributes = {"provider": provider, "model": model, "operation": operation}

    def show_zeros(self) -> None:
        """Make the series that such a call usually has."""
        provider, _, _, operation, *_ = self.key
        kinds = _USUAL.get(operation, _CONVERSATION)
        if provider in _WRITES_CACHES and kinds is _CONVERSATION:
            kinds += ("cache_write_5m", "cache_write_1h")
        for kind in kinds:
            self.token(KINDS.index(kind))
            self.price(kind)
        self.request("ok")

    def token(self, index: int) -> Total:
        total = self.tokens[index] = self._metrics.tokens.at(KINDS[index], *self.who)
        return total

    def price(self, sku: str) -> Total:
        metrics = self._metrics
        total = self.cost[sku] = metrics.cost.at(metrics._skus.admit(sku), *self.who)
        return total

    def request(self, status: str) -> Total:
        total = self.requests.get(status)
        if total is None:
            total = self.requests[status] = self._metrics.requests.at(
                *self.who, self.key[3], status
            )
        return total


def _word(reason: str) -> str:
    """`no_rate:cache_write_1h` is `no_rate`."""
    return reason.partition(":")[0]


def _why_missing(record: Record) -> str:
    if record.usage_source == "bad":
        return "bad_usage"
    return _word(record.cost.reasons[0]) if record.cost.reasons else "no_usage"


_OF_BUDGETS: tuple[tuple[Definition, Callable[[BudgetStatus], float]], ...] = (
    (definitions.BUDGET_LIMIT, lambda status: float(status.limit_usd)),
    (definitions.BUDGET_SPENT, lambda status: float(status.spent_usd)),
    (definitions.BUDGET_UTILIZATION, lambda status: status.utilization),
    (definitions.BUDGET_START, lambda status: status.start),
    (definitions.BUDGET_END, lambda status: status.end),
)


def refresh_all() -> None:
    """Before the files of several processes are read: this one's are of now."""
    counting.finish()
    for metrics in list(_living):
        metrics.refresh()


_living: "weakref.WeakSet[Metrics]" = weakref.WeakSet()


@forks.in_child
def _after_fork() -> None:
    for metrics in list(_living):
        metrics._begin_anew()
