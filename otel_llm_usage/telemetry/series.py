"""Exact running totals for each set of labels: counted once, read by Prometheus and by OTLP.

A total is an integer (tokens, calls, pico-dollars); it becomes a float only where it is read. In the
multi-process mode of prometheus_client each change is also written to the process's mapped file.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client import metrics as prometheus_metrics
from prometheus_client import values as prometheus_values
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

OTHER = "other"
"""What a label says once it has taken all the values that it may."""

_LONGEST = 200
"""Characters of a label value: what is longer is cut."""


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

    def describe(self) -> Metric:
        """Name and type, without a sample."""
        return Metric(self.name, self.documentation, self.kind)

    def metric(self) -> Metric:
        """All samples of now."""
        metric = self.describe()
        # prometheus_client keeps what PROMETHEUS_DISABLE_CREATED_SERIES says here
        created = getattr(prometheus_metrics, "_use_created", True)
        for values, series in self.series.items():
            labels = dict(zip(self.labels, values, strict=True))
            for suffix, more, value, exemplar in series.samples():
                metric.add_sample(self.name + suffix, labels | more, value, None, exemplar)
            if created:
                metric.add_sample(f"{self.name}_created", labels, series.created)
        return metric

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

    def at(self, *values: str) -> "Total":
        """The counter of these label values."""
        total = self.series.get(values)
        if total is None:
            total = self.series[values] = Total(self, values)
        return total


class Total:
    """One counter."""

    __slots__ = ("_amount", "_inherited", "_mapped", "_moment", "_scale", "created", "total")

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

    def add(self, amount: int, moment: Moment | None = None) -> None:
        """Count `amount` more."""
        self.total += amount
        if moment is not None:
            self._moment = moment
            self._amount = amount
        if self._mapped is not None:
            self._mapped.set(self.total / self._scale)

    @property
    def value(self) -> float:
        """The total as it is shown, rounded once."""
        return self.total / self._scale

    @property
    def own(self) -> float:
        """The part of it that was counted here, and not taken over from a mapped file."""
        return (self.total - self._inherited) / self._scale

    def samples(self) -> Iterator[tuple[str, dict[str, str], float, Exemplar | None]]:
        yield "_total", {}, self.value, self._exemplar()

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

    def at(self, *values: str) -> "Distribution":
        """The histogram of these label values."""
        found = self.series.get(values)
        if found is None:
            found = self.series[values] = Distribution(self, values)
        return found


class Distribution:
    """One histogram."""

    __slots__ = ("_bounds", "_counts", "_mapped", "_mapped_sum", "_names", "_sum", "created")

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

    def observe(self, value: float) -> None:
        """One more observation."""
        index = bisect_left(self._bounds, value)
        self._counts[index] += 1
        self._sum += value
        if self._mapped:
            self._mapped[index].inc(1)
            self._mapped_sum.inc(value)

    def samples(self) -> Iterator[tuple[str, dict[str, str], float, Exemplar | None]]:
        so_far = 0
        for name, count in zip(self._names, self._counts, strict=True):
            so_far += count
            yield "_bucket", {"le": name}, so_far, None
        yield "_count", {}, so_far, None
        yield "_sum", {}, self._sum, None


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
