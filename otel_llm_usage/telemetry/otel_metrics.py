"""The same numbers for OpenTelemetry: observable instruments over the totals that Prometheus shows.

A call pays nothing for the counters: the exporter's thread reads them. There is no observable
histogram, and recording into a synchronous one costs more than all our counting; so observations
wait in a queue, which the same thread empties.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation

from .series import Counters, Family, Histograms

SCOPE = "otel_llm_usage"
"""The instrumentation scope of our metrics and spans."""

_QUEUE = 4096
"""Observations that may wait; then a call empties the queue itself."""

Points = Iterable[tuple[Mapping[str, str], float]]
Read = Callable[[], Points]


class Gauged(NamedTuple):
    """Something that is set, not counted."""

    name: str
    unit: str
    documentation: str
    read: Read


class Source(Protocol):
    """What is exported."""

    @property
    def families(self) -> Iterable[Family]: ...
    @property
    def gauged(self) -> Iterable[Gauged]: ...
    def snapshot(self, family: Counters) -> Points: ...


class Export:
    """Shows a source to a meter provider."""

    def __init__(self, provider: MeterProvider, source: Source, version: str) -> None:
        self._instruments = _instruments.get(provider)
        if self._instruments is None:
            meter = provider.get_meter(SCOPE, version)
            self._instruments = _instruments[provider] = _Instruments(meter)
        self._reads: dict[str, Read] = {}
        self._queue: deque[tuple[Histogram, float, Mapping[str, str]]] = deque()
        self._histograms: dict[str, Histogram] = {}
        for family in source.families:
            if isinstance(family, Histograms):
                self._histograms[family.otel] = self._instruments.histogram(family)
            elif isinstance(family, Counters):
                self._reads[family.otel] = self._reader(source, family)
                self._instruments.counter(family, self._reads[family.otel])
        for gauged in source.gauged:
            self._instruments.gauge(gauged)
            self._reads[gauged.name] = gauged.read

    def observe(self, name: str, value: float, attributes: Mapping[str, str]) -> None:
        """Queue one observation of the histogram `name`."""
        self._queue.append((self._histograms[name], value, attributes))
        if len(self._queue) >= _QUEUE:
            self._record_queued()

    def close(self) -> None:
        """Let go of the source. Its last totals stay, so that the next export has them."""
        self._record_queued()
        if self._instruments is not None:
            self._instruments.freeze(self._reads)

    def forget(self) -> None:
        """A forked process does not repeat what its parent observed."""
        self._queue.clear()

    def _reader(self, source: Source, family: Counters) -> Read:
        def read() -> Points:
            self._record_queued()
            return source.snapshot(family)

        return read

    def _record_queued(self) -> None:
        while self._queue:
            try:
                histogram, value, attributes = self._queue.popleft()
            except IndexError:
                return  # another thread took the last one
            histogram.record(value, attributes)


class _Instruments:
    """The instruments of one meter. They can't be taken back, so a later runtime reuses them."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._reads: dict[str, Read] = {}
        self._histograms: dict[str, Histogram] = {}

    def counter(self, family: Counters, read: Read) -> None:
        known = family.otel in self._reads
        self._reads[family.otel] = read
        if not known:
            self._meter.create_observable_counter(
                family.otel, [self._callback(family.otel)], family.unit, family.documentation
            )

    def gauge(self, gauged: Gauged) -> None:
        known = gauged.name in self._reads
        self._reads[gauged.name] = gauged.read
        if not known:
            self._meter.create_observable_gauge(
                gauged.name, [self._callback(gauged.name)], gauged.unit, gauged.documentation
            )

    def histogram(self, family: Histograms) -> Histogram:
        if family.otel not in self._histograms:
            self._histograms[family.otel] = self._meter.create_histogram(
                family.otel,
                family.unit,
                family.documentation,
                explicit_bucket_boundaries_advisory=family.bounds,
            )
        return self._histograms[family.otel]

    def freeze(self, reads: Mapping[str, Read]) -> None:
        for name, read in reads.items():
            if self._reads.get(name) is read:
                last = list(read())
                self._reads[name] = _constant(last)

    def _callback(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, labels) for labels, value in self._reads[name]()]

        return observe


def _constant(points: Points) -> Read:
    return lambda: points


_instruments: "WeakKeyDictionary[MeterProvider, _Instruments]" = WeakKeyDictionary()
