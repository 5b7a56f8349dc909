"""Exact running totals for each set of labels: counted once, read by Prometheus and by OTLP.

A total is an integer (tokens, calls, pico-dollars); it becomes a float only where it is read. Where
several processes count, each change is also written to a mapped file of the process: one of ours,
or in the multi-process mode of prometheus_client one of that.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import metrics as prometheus_metrics
from prometheus_client import values as prometheus_values
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:  # it needs the file locks of Unix
    from .shared import Number, Slot, Theirs, Together

OTHER = "other"
"""What a label says once it has taken all the values that it may."""

_LONGEST = 200
"""Characters of a label value: what is longer is cut."""


Samples = Iterator[tuple[str, dict[str, str], float, Exemplar | None]]
"""Suffix of the name, further labels, value, and an example of what was counted."""

Moment = tuple[str, str | None, float]
"""Trace, span and time at which something was counted: what an exemplar says."""


def clean(text: str) -> str:
    """`text` without what UTF-8 cannot say (half a surrogate pair): all that shows it would fail."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class Values:
    """The values that one label may take: the first `limit` ones, then `other`."""

    __slots__ = ("_known", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def admit(self, value: str) -> str:
        """`value`, or what stands for it."""
        value = clean(value[:_LONGEST])
        if value in self._known:
            return value
        if len(self._known) >= self._limit:
            return OTHER
        self._known.add(value)
        return value


class Family:
    """All series of one metric."""

    kind: str

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], otel: str, unit: str
    ) -> None:
        self.name = name
        """As Prometheus says it, without `_total`."""
        self.otel = otel
        """As OpenTelemetry says it; with the unit, its translation to Prometheus is `name`."""
        self.unit = unit
        self.documentation = documentation
        self.labels = tuple(labels)
        self.series: dict[tuple[str, ...], Any] = {}
        self.together: Together | None = None
        """The other processes that see these totals, if there are any."""

    @property
    def shape(self) -> Any:
        """What has to be the same where totals of several processes are added up."""
        raise NotImplementedError

    def of(self, number: "Number") -> "Samples":
        """The samples of a series that this process has not."""
        raise NotImplementedError

    def share(self, together: "Together | None") -> None:
        """From now on other processes see these totals."""
        self.together = together
        for values, series in self.series.items():
            series.share(self, values)

    def slot(self, values: tuple[str, ...], slots: int, created: float) -> "Slot | None":
        """Where other processes see a series; `None` where nobody looks."""
        if self.together is None:
            return None
        about = (self.name, self.documentation, self.labels, self.shape)
        return self.together.slot(self.kind, about, values, slots, created)

    def describe(self) -> Metric:
        """Name and type, without a sample."""
        return Metric(self.name, self.documentation, self.kind)

    def metric(self, theirs: "Theirs | None" = None) -> Metric:
        """All samples of now; `theirs` is what other processes have counted."""
        metric = self.describe()
        rest = dict(theirs.numbers) if theirs and theirs.shape == self.shape else {}
        for values, series in self.series.items():
            number = rest.pop((self.labels, values), None)
            began = series.created if number is None else min(series.created, number.created)
            self._put(metric, self.labels, values, series.samples(number), began)
        for (names, values), number in rest.items():
            self._put(metric, names, values, self.of(number), number.created)
        return metric

    def _put(
        self,
        metric: Metric,
        names: Sequence[str],
        values: Sequence[str],
        samples: "Samples",
        began: float,
    ) -> None:
        labels = dict(zip(names, values, strict=True))
        for suffix, more, value, exemplar in samples:
            metric.add_sample(self.name + suffix, labels | more, value, None, exemplar)
        # prometheus_client keeps what PROMETHEUS_DISABLE_CREATED_SERIES says here
        if getattr(prometheus_metrics, "_use_created", True):
            metric.add_sample(f"{self.name}_created", labels, began)

    def attributes(self) -> Iterator[tuple[dict[str, str], Any]]:
        """Each series with its labels as OpenTelemetry attributes; an empty one is left out."""
        for values, series in self.series.items():
            pairs = zip(self.labels, values, strict=True)
            yield {name: value for name, value in pairs if value}, series


class Counters(Family):
    """A counter for each set of labels."""

    kind = "counter"

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        otel: str,
        unit: str,
        *,
        scale: int = 1,
    ) -> None:
        super().__init__(name, documentation, labels, otel, unit)
        self.scale = scale
        """How many of what is counted make one of what is shown: 10**12 for pico-dollars."""
        self.series: dict[tuple[str, ...], Total] = {}

    @property
    def shape(self) -> int:
        """See `Family`."""
        return self.scale

    def of(self, number: "Number") -> Samples:
        """See `Family`."""
        yield "_total", {}, number.counts[0] / self.scale, None

    def at(self, *values: str) -> "Total":
        """The counter of these label values."""
        total = self.series.get(values)
        if total is None:
            total = self.series[values] = Total(self, values)
        return total


class Total:
    """One counter."""

    __slots__ = (
        "_amount",
        "_inherited",
        "_mapped",
        "_moment",
        "_scale",
        "_slot",
        "created",
        "total",
    )

    def __init__(self, family: Counters, values: tuple[str, ...]) -> None:
        self.created = time.time()
        self.total = 0
        self._scale = family.scale
        self._moment: Moment | None = None
        self._amount = 0
        self._mapped = None
        if multiprocess():
            self._mapped = _mapped(family, "_total", family.labels, values)
            # a process that had our id before us, or the same series before it was closed
            self.total = round(self._mapped.get() * self._scale)
        self._inherited = self.total
        self._slot = family.slot(values, 1, self.created)

    def share(self, family: Counters, values: tuple[str, ...]) -> None:
        """Show other processes what was counted until now."""
        self._slot = family.slot(values, 1, self.created)
        if self._slot is not None:
            self._slot.count(self.total)

    def add(self, amount: int, moment: Moment | None = None) -> None:
        """Count `amount` more."""
        self.total += amount
        if moment is not None:
            self._moment = moment
            self._amount = amount
        if self._slot is not None:
            self._slot.count(self.total)
        elif self._mapped is not None:
            self._mapped.set(self.total / self._scale)

    @property
    def value(self) -> float:
        """The total as it is shown, rounded once."""
        return self.total / self._scale

    @property
    def own(self) -> float:
        """The part of it that was counted here, and not taken over from a mapped file."""
        return (self.total - self._inherited) / self._scale

    def samples(self, theirs: "Number | None" = None) -> Samples:
        total = self.total if theirs is None else self.total + theirs.counts[0]
        yield "_total", {}, total / self._scale, self._exemplar()

    def _exemplar(self) -> Exemplar | None:
        if self._moment is None:
            return None
        trace_id, span_id, when = self._moment
        labels = {"trace_id": trace_id}
        if span_id is not None:
            labels["span_id"] = span_id
        return Exemplar(labels, self._amount / self._scale, round(when, 3))


class Histograms(Family):
    """A histogram for each set of labels."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        otel: str,
        unit: str,
        *,
        bounds: Sequence[float],
    ) -> None:
        super().__init__(name, documentation, labels, otel, unit)
        self.bounds = tuple(float(bound) for bound in bounds)
        self.names = tuple(_go(bound) for bound in (*self.bounds, float("inf")))
        self.series: dict[tuple[str, ...], Distribution] = {}

    @property
    def shape(self) -> tuple[str, ...]:
        """See `Family`."""
        return self.names

    def of(self, number: "Number") -> Samples:
        """See `Family`."""
        return _histogram(self.names, number.counts, number.value)

    def at(self, *values: str) -> "Distribution":
        """The histogram of these label values."""
        found = self.series.get(values)
        if found is None:
            found = self.series[values] = Distribution(self, values)
        return found


class Distribution:
    """One histogram."""

    __slots__ = (
        "_bounds",
        "_counts",
        "_mapped",
        "_mapped_sum",
        "_names",
        "_slot",
        "_sum",
        "created",
    )

    def __init__(self, family: Histograms, values: tuple[str, ...]) -> None:
        self.created = time.time()
        self._bounds = family.bounds
        self._names = family.names
        self._counts = [0] * len(family.names)
        self._sum = 0.0
        self._mapped: list[Any] = []
        if multiprocess():
            labels = (*family.labels, "le")
            self._mapped_sum = _mapped(family, "_sum", family.labels, values)
            self._mapped = [
                _mapped(family, "_bucket", labels, (*values, name)) for name in family.names
            ]
        self._slot = family.slot(values, len(self._names) + 1, self.created)

    def share(self, family: Histograms, values: tuple[str, ...]) -> None:
        """Show other processes what was observed until now."""
        self._slot = family.slot(values, len(self._names) + 1, self.created)
        if self._slot is not None:
            for index, count in enumerate(self._counts):
                self._slot.count(count, index)
            self._slot.say(self._sum, len(self._names))

    def observe(self, value: float) -> None:
        """One more observation."""
        index = bisect_left(self._bounds, value)
        self._counts[index] += 1
        self._sum += value
        if self._slot is not None:
            self._slot.count(self._counts[index], index)
            self._slot.say(self._sum, len(self._names))
        elif self._mapped:
            self._mapped[index].inc(1)
            self._mapped_sum.inc(value)

    def samples(self, theirs: "Number | None" = None) -> Samples:
        if theirs is None:
            return _histogram(self._names, self._counts, self._sum)
        counts = [a + b for a, b in zip(self._counts, theirs.counts, strict=True)]
        return _histogram(self._names, counts, self._sum + theirs.value)


def _histogram(names: Sequence[str], counts: Sequence[int], total: float) -> Samples:
    so_far = 0
    for name, count in zip(names, counts, strict=True):
        so_far += count
        yield "_bucket", {"le": name}, so_far, None
    yield "_count", {}, so_far, None
    yield "_sum", {}, total, None


def foreign(name: str, theirs: "Theirs") -> Iterator[Metric]:
    """What only other processes count: they were told other things than this one."""
    family: Family
    if isinstance(theirs.shape, int):
        family = Counters(name, theirs.documentation, (), "", "", scale=theirs.shape)
    elif isinstance(theirs.shape, tuple):
        bounds = [float(bound) for bound in theirs.shape[:-1]]
        family = Histograms(name, theirs.documentation, (), "", "", bounds=bounds)
    else:
        return
    yield family.metric(theirs)


def multiprocess() -> bool:
    """Whether prometheus_client was imported with `PROMETHEUS_MULTIPROC_DIR` set."""
    return bool(getattr(prometheus_values.ValueClass, "_multiprocess", False))


def _mapped(family: Family, suffix: str, labels: Sequence[str], values: Sequence[str]) -> Any:
    return prometheus_values.ValueClass(
        family.kind, family.name, family.name + suffix, labels, values, family.documentation
    )


def _go(number: float) -> str:
    """As prometheus_client spells the bound of a bucket."""
    return str(floatToGoString(number))  # type: ignore[no-untyped-call]
