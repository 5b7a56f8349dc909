"""The same numbers for OpenTelemetry: observable instruments over the totals that Prometheus shows.

A call pays nothing for the counters: the exporter's thread reads them. There is no observable
histogram, and recording into a synchronous one costs more than all our counting; so observations
wait in a queue, which the same thread empties.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation

from .. import forks
from .others import Beside
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

    def __init__(self, source: Source) -> None:
        self._source = source
        self._instruments: _Instruments | None = None
        self._reads: dict[str, Read] = {}
        self._queue: deque[tuple[Histogram, float, Mapping[str, str]]] = deque()
        self._histograms: dict[str, Histogram] = {}

    def show_to(self, provider: MeterProvider, version: str) -> None:
        """Have the provider make the instruments. Raises what the provider raises."""
        self._instruments = instruments = _instruments.get(provider) or _Instruments(
            provider.get_meter(SCOPE, version)
        )
        for family in self._source.families:
            if isinstance(family, Histograms):
                self._histograms[family.otel] = instruments.histogram(family)
            elif isinstance(family, Counters):
                self._reads[family.otel] = self._reader(family)
                instruments.counter(family, self._reads[family.otel])
        for gauged in self._source.gauged:
            self._reads[gauged.name] = gauged.read
            instruments.gauge(gauged)
        _instruments.keep(provider, instruments)

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

    def _reader(self, family: Counters) -> Read:
        def read() -> Points:
            points = self._source.snapshot(family)  # which counts, and observes, what was waiting
            self._record_queued()
            return points

        return read

    def _record_queued(self) -> None:
        while self._queue:
            try:
                histogram, value, attributes = self._queue.popleft()
            except IndexError:
                return  # another thread took the last one
            histogram.record(value, attributes)


class _Shown(NamedTuple):
    """What an instrument shows: what closed runtimes have counted, and what the running one reads.

    One value, so that an export sees both before a change or both after it.
    """

    before: Mapping[frozenset[tuple[str, str]], float]
    read: Read

    def total(self) -> Mapping[frozenset[tuple[str, str]], float]:
        """The value for each set of labels."""
        total = dict(self.before)
        for labels, value in self.read():
            key = frozenset(labels.items())
            total[key] = self.before.get(key, 0.0) + value
        return total


class _Instruments:
    """The instruments of one meter. They can't be taken back, so a later runtime reuses them."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._shown: dict[str, _Shown] = {}
        self._histograms: dict[str, Histogram] = {}

    def counter(self, family: Counters, read: Read) -> None:
        known = self._shown.get(family.otel)
        # a total that a receiver has seen never falls: the successor's counts come on top
        self._shown[family.otel] = _Shown(known.before if known else {}, read)
        if known is None:
            self._meter.create_observable_counter(
                family.otel, [self._callback(family.otel)], family.unit, family.documentation
            )

    def gauge(self, gauged: Gauged) -> None:
        known = gauged.name in self._shown
        self._shown[gauged.name] = _Shown({}, gauged.read)
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
        """Keep the last values of what reads like this."""
        for name, read in reads.items():
            shown = self._shown.get(name)
            if shown is not None and shown.read is read:
                self._shown[name] = _Shown(shown.total(), _nothing)

    def forget(self) -> None:
        """A forked process does not repeat what its parent's closed runtimes have counted."""
        for name, shown in self._shown.items():
            self._shown[name] = shown._replace(before={})

    def _callback(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            total = self._shown[name].total()
            return [Observation(value, dict(labels)) for labels, value in total.items()]

        return observe


def _nothing() -> Points:
    return ()


_instruments: Beside[_Instruments] = Beside()
"""By meter provider."""


@forks.in_child
def _after_fork() -> None:
    for instruments in _instruments:
        instruments.forget()
