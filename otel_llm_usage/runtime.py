"""Assembly: settings in, a running meter and wrapped SDKs out, and all of it taken off again."""

import atexit
import inspect
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from numbers import Real
from pathlib import Path
from types import BuiltinMethodType, MethodType
from typing import TYPE_CHECKING, Any, Literal

from . import backlog, baggage, forks, guard, prices, providers, scope, tracking
from ._version import __version__
from .budgets import Budget, MemoryStore, Spending, Store
from .budgets.stores import MovingStore
from .callers import Callers
from .errors import ConfigurationError
from .meter import Meter
from .patching import Engine, Meters, Seam, SeamState, observation
from .patching.flushes import Flushes
from .patching.gaos import Gaos
from .patching.genai import GoogleGenAI
from .patching.lineage import Lineage
from .patching.live import GeminiLive
from .patching.observation import settle_live
from .patching.stainless import Stainless
from .patching.threads import Threads
from .patching.websockets import OpenAISockets
from .records import BudgetStatus, Cost, Estimate, PricedLine, Reading, Record, Request, Sink
from .server import MetricsServer, SharedPort, by_default
from .settings import Settings, aside, load, multiprocess_directory, otel_environment
from .telemetry import otlp
from .telemetry.metrics import Metrics
from .telemetry.series import multiprocess
from .telemetry.spans import Spans

if TYPE_CHECKING:
    from .estimation import Learner, Ratios

logger = logging.getLogger("otel_llm_usage")


class Runtime:
    """What `instrument()` started. `close()` takes everything off again."""

    def __init__(
        self,
        settings: Settings,
        *,
        sinks: Sequence[Sink] = (),
        tracer_provider: Any = None,
        meter_provider: Any = None,
        registry: Any = None,
    ) -> None:
        self.settings = settings
        self.started = time.time()
        self._port: SharedPort | None = None
        self._mounted = ExitStack()
        self._agent = settings.agent
        self.ended = False
        self._sinks: tuple[tuple[str, Sink], ...] = ()
        self.add_sinks(sinks)
        self._is_child = False
        self.prices = PriceLibrary(settings)
        self.ratios = _ratios(settings)
        self.learner: Learner | None = None
        with ExitStack() as undo:
            self._assemble(undo, tracer_provider, meter_provider, registry)
            undo.pop_all()

    def _assemble(
        self,
        undo: ExitStack,
        tracer_provider: Any,
        meter_provider: Any,
        registry: Any,
    ) -> None:
        settings = self.settings
        _check_registry(registry)
        self.ledger = _ledger(settings)
        if self.ledger is not None:
            undo.callback(self.ledger.close)
        self.telemetry = otlp.set_up(
            otel_environment() if settings.otlp else {},
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
        )
        undo.callback(self.telemetry.shutdown)
        self.together = _together(settings)
        self._spending = Spending(
            settings.budgets,
            _budget_store(self.together),
            on_change=self._budget_changed if settings.budgets else None,
        )
        self.metrics = Metrics(
            registry=registry,
            namespace=settings.namespace,
            labels=settings.metric_labels,
            max_label_values=settings.max_label_values,
            gen_ai=settings.gen_ai_metrics,
            exemplars=settings.exemplars,
            meter_provider=self.telemetry.meter_provider,
            provider_given="metrics" in self.telemetry.given,
            catalogue_age=self._looked_at,
            budgets=self._spending.statuses,
            version=__version__,
            together=self.together,
        )
        undo.callback(self.metrics.close)
        spans = Spans(
            self.telemetry.tracer_provider,
            settings.spans,
            provider_given="traces" in self.telemetry.given,
        )
        self.meter = Meter(
            price=self.prices.price,
            sinks=[
                ("metrics", self.metrics),
                ("usage", tracking.process.add),
                *((("ledger", self.ledger),) if self.ledger is not None else ()),
                *((("budgets", self._spending),) if settings.budgets else ()),
                ("sinks", self._tell),
            ],
            spans=spans,
            touch=self.metrics.touch,
            wake=self._wake,
            attribute=partial(
                scope.attribution,
                self._agent,
                Callers(settings.agents) if settings.agents else None,
            ),
            hush=scope.hush if settings.baggage else None,
        )
        meters = Meters(
            self.meter, settings.on_abort, dict(settings.stream_usage), dict(settings.hosts)
        )
        flushes = Flushes().seams()
        threads = Threads().seams() if settings.threads else []
        self.engine = Engine(
            [*_seams(settings.sdks, meters), *flushes, *Lineage().seams(), *threads],
            self._seam_changed,
        )
        spans.flushing_waits = lambda: all(self.engine.states[one] == "patched" for one in flushes)

    def start(self) -> None:
        """Wrap the SDKs, and open the `/metrics` port if there is to be one."""
        self.engine.install()
        if self.ledger is not None:
            self._mounted.enter_context(_ending_well())
            if self.settings.durability == "sync":
                self._mounted.enter_context(backlog.counting.at_once())
        if self.ratios is not None:
            self.learner = _learner(self.ratios)
            self._mounted.enter_context(_learning(self.learner))
        baggage.share(self.settings.baggage)
        self._mounted.callback(baggage.share, ())
        self._mounted.callback(by_default(self.metrics.registry, self.settings.metrics_token))
        if self.together is not None:
            self.together.begin()
            if self.together.is_child:
                # a worker may be killed at any time: each call is counted before it returns
                backlog.counting.immediate = True
        if self.settings.metrics_port is not None:
            self._port = SharedPort(self._server_at, self.settings.metrics_port)
            self._port.open(self.together)

    def _server_at(self, port: int) -> MetricsServer:
        return MetricsServer(
            host=self.settings.metrics_host,
            port=port,
            token=self.settings.metrics_token,
            registry=self.metrics.registry,
        )

    @property
    def server(self) -> Any:
        """The port of `/metrics`, if this process serves it."""
        return None if self._port is None else self._port.server

    def add_sinks(self, sinks: Sequence[Sink]) -> None:
        """Hand these every finished record, too, from now on; each is called once for a record."""
        backlog.finish()
        for sink in _checked_sinks(sinks):
            if not any(_same(sink, known) for _, known in self._sinks):
                self._sinks = (*self._sinks, (f"sink {_name(sink)}", sink))

    def remove_sink(self, sink: Sink) -> None:
        """Hand it no further record."""
        backlog.finish()
        self._sinks = tuple(one for one in self._sinks if not _same(sink, one[1]))

    def _tell(self, record: Record) -> None:
        if self._sinks:
            backlog.telling.later(self._hand_on, record)

    def _hand_on(self, record: Record) -> None:
        for name, sink in self._sinks:
            guard.call(name, sink, record)

    def close(self) -> None:
        """Leave every SDK as it was, settle what is still being read, flush, and stop."""
        global _runtime
        with _lock:
            if _runtime is self:
                _runtime = None
        guard.call("close", self.engine.remove)
        guard.call("close", settle_live)
        backlog.finish()
        self._mounted.close()
        if self._port is not None:
            guard.call("close", self._port.close)
        guard.call("close", self.telemetry.shutdown)
        guard.call("close", self.metrics.close)
        guard.call("close", self._spending.close)
        if self.ledger is not None:
            guard.call("close", self.ledger.close)
        if self.together is not None:
            guard.call("close", self.together.close)
        backlog.finish()

    def flush(self) -> None:
        """Hand every finished record to the sinks, and push what has not been pushed.

        Streams that are being read go on.
        """
        backlog.finish()
        if self.ledger is not None:
            guard.call("flush", self.ledger.flush)
        guard.call("flush", self.telemetry.force_flush)

    def reload_prices(self) -> bool:
        """Read the price files again; a broken one changes nothing: False, and a log line."""
        backlog.counting.finish()
        return self.prices.reload()

    def budgets(self) -> tuple[BudgetStatus, ...]:
        """How each budget stands now."""
        backlog.counting.finish()
        return self._spending.statuses()

    def status(self) -> dict[str, Any]:
        """What is patched, from where, with which prices of which date."""
        backlog.finish()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "sdks": {
                sdk: {
                    "version": _sdk_version(sdk),
                    "seams": {
                        seam.name: state
                        for seam, state in self.engine.states.items()
                        if seam.sdk == sdk
                    },
                }
                for sdk in self.settings.sdks
            },
            "metrics": None if self.server is None else self.server.url,
            "otlp": self.telemetry.description,
            "spans": self.settings.spans,
            "prices": [layer._asdict() for layer in self.prices.catalogue.layers],
            "errors": dict(guard.errors),
        }

    def _wake(self) -> None:
        """The first call of a process: start what works beside the calls."""
        guard.call("begin", self._watch)
        guard.call("prices", self.prices.warm)
        # last registered runs first: before the providers that the application made meanwhile
        atexit.unregister(_at_exit_first)
        atexit.register(_at_exit_first)
        guard.call("begin", _end_with_pools)
        if self._is_child and self._port is not None:
            guard.call("begin", self._port.wait)

    def _watch(self) -> None:
        """Start the threads; if the system gives none now, the next call asks again."""
        self.meter.wake = self._watch
        backlog.watch()
        self.meter.wake = None

    def _forked(self) -> None:
        """In a child: nothing that works beside the calls has come along."""
        self.meter.wake = self._wake
        self.ended = False
        self._is_child = True
        if self.ratios is not None:
            self.ratios.disown()
        if self._port is not None:
            self._port.renew()

    def _before_fork(self) -> None:
        if self.together is not None:
            self.together.before_fork()

    def _budget_changed(self, status: BudgetStatus) -> None:
        if multiprocess() or (self.together is not None and self.together.shared):
            self.metrics.show_budget(status)

    def _looked_at(self) -> Mapping[str, float]:
        """Somebody looks at the metrics: are we still where they come from?"""
        self.engine.mend()
        return self.prices.ages()

    def _seam_changed(self, seam: Seam, state: SeamState) -> None:
        self.metrics.seam(seam.sdk, seam.name, state)


def rehearse(settings: Settings, environment: Mapping[str, str]) -> None:
    """Whether a program can start with these settings: `ConfigurationError` says why it can't.

    Touches no SDK and leaves nothing behind.
    """
    multiprocess_directory(environment)
    with aside():
        runtime = Runtime(replace(settings, otlp=False))
        try:
            if settings.metrics_port is not None:
                MetricsServer(settings.metrics_host, settings.metrics_port).rehearse()
        finally:
            runtime.close()


def catalogue(settings: Settings) -> prices.Catalogue:
    """The prices that these settings name."""
    return prices.load_catalogue(
        user_files=settings.prices[::-1],  # of ours the last one wins, of the room's the first
        base_data=settings.price_data or None,
        stale_after_days=settings.stale_after_days,
    )


class PriceLibrary:
    """The catalogue, loaded when the first call is under way rather than at start-up."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._holder: prices.CatalogueHolder | None = None
        # a broken file is an error at start-up, never during a call
        if settings.prices or settings.price_data:
            self._load()
        if settings.price_data:
            self.catalogue.warm()

    @property
    def catalogue(self) -> prices.Catalogue:
        """The catalogue, loaded now if it has to be."""
        return (self._holder or self._load()).catalogue

    def _load(self) -> prices.CatalogueHolder:
        with prices.loading.lock:
            if self._holder is None:
                self._holder = prices.CatalogueHolder(
                    catalogue(self._settings), on_error=_reload_failed
                )
            return self._holder

    def reload(self) -> bool:
        """Read all price files again; False, a log line and a count if one is broken now."""
        return self._load().reload()

    def price(self, request: Request, reading: Reading, at: float) -> Cost:
        """See `Pricer`."""
        return self.catalogue.price(request, reading, at)

    def warm(self) -> None:
        """Load the tables while the provider is thinking."""
        threading.Thread(target=self._warm, name="otel-llm-usage-prices", daemon=True).start()

    def _warm(self) -> None:
        with guard.guarded("prices"):
            self.catalogue.warm()

    def ages(self) -> Mapping[str, float]:
        """Seconds since each layer of the catalogue was made; nothing before it is loaded."""
        if self._holder is None:
            return {}
        catalogue = self._holder.catalogue
        now = time.time()
        ages = {layer.name: catalogue.age_seconds(layer.name, now) for layer in catalogue.layers}
        return {name: age for name, age in ages.items() if age is not None}


def _reload_failed() -> None:
    guard.count("prices.reload")


_runtime: Runtime | None = None
_lock = threading.RLock()


def instrument(
    *,
    sinks: Sequence[Sink] = (),
    config: str | os.PathLike[str] | None = None,
    tracer_provider: Any = None,
    meter_provider: Any = None,
    registry: Any = None,
    sdks: Sequence[str] | None = None,
    agent: str | None = None,
    agents: Mapping[str, str] | None = None,
    baggage: Sequence[str] | None = None,
    namespace: str | None = None,
    metric_labels: Sequence[str] | None = None,
    max_label_values: int | None = None,
    exemplars: bool | None = None,
    gen_ai_metrics: bool | None = None,
    spans: Literal["auto", "always", "never"] | None = None,
    on_abort: Literal["estimate", "drain", "ignore"] | None = None,
    stream_usage: Mapping[str, str] | str | None = None,
    hosts: Mapping[str, str] | None = None,
    prices: Sequence[str | os.PathLike[str]] | None = None,
    price_data: str | None = None,
    stale_after_days: int | None = None,
    metrics_host: str | None = None,
    metrics_port: int | None = None,
    metrics_token: str | None = None,
    application: str | None = None,
    ledger: str | os.PathLike[str] | None = None,
    ledger_journal: str | os.PathLike[str] | None = None,
    durability: Literal["interval", "sync"] | None = None,
    estimate_learning: str | os.PathLike[str] | None = None,
    threads: bool | None = None,
    budgets: Sequence[Budget | Mapping[str, Any]] | None = None,
    otlp: bool | None = None,
) -> Runtime:
    """Start counting: from now on each billed response of the SDKs becomes one record.

    Works before and after the SDKs are imported, and without them; imports none of them. A second
    call returns the running runtime: its sinks are added to those that are called, its settings
    have no effect.

    `sinks` are called with every finished `Record`, by one thread at a time, soon after the call;
    `flush()` of the runtime waits for them. `tracer_provider`, `meter_provider` and
    `registry` (a Prometheus registry) replace the global ones. All other arguments are the settings
    of `Settings`, and win over the environment and the file.

    Raises `ConfigurationError` when a setting or a price file is wrong.
    """
    global _runtime
    arguments = {
        "sdks": sdks,
        "agent": agent,
        "agents": agents,
        "baggage": baggage,
        "namespace": namespace,
        "metric_labels": metric_labels,
        "max_label_values": max_label_values,
        "exemplars": exemplars,
        "gen_ai_metrics": gen_ai_metrics,
        "spans": spans,
        "on_abort": on_abort,
        "stream_usage": stream_usage,
        "hosts": hosts,
        "prices": prices,
        "price_data": price_data,
        "stale_after_days": stale_after_days,
        "metrics_host": metrics_host,
        "metrics_port": metrics_port,
        "metrics_token": metrics_token,
        "application": application,
        "ledger": None if ledger is None else os.fspath(ledger),
        "ledger_journal": None if ledger_journal is None else os.fspath(ledger_journal),
        "durability": durability,
        "estimate_learning": None if estimate_learning is None else os.fspath(estimate_learning),
        "threads": threads,
        "budgets": budgets,
        "otlp": otlp,
    }
    with _lock:
        if _runtime is not None:
            _runtime.add_sinks(sinks)
            others = (config, tracer_provider, meter_provider, registry, *arguments.values())
            if any(value is not None for value in others):
                logger.warning(
                    "instrument() was called before: the settings of this call have no effect. "
                    "Call uninstrument() first to change them."
                )
            return _runtime
        runtime = Runtime(
            load(arguments, config=config),
            sinks=sinks,
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
            registry=registry,
        )
        try:
            runtime.start()
        except BaseException:
            runtime.close()
            raise
        _runtime = runtime
        return runtime


def uninstrument() -> None:
    """Stop counting, and leave every SDK as it was. Does nothing when nothing is instrumented."""
    runtime = _runtime
    if runtime is not None:
        runtime.close()


def current() -> Runtime | None:
    """The running runtime."""
    return _runtime


def price(
    usage: Any,
    *,
    provider: str,
    model: str | None = None,
    endpoint: str | None = None,
    platform: str | None = None,
    service_tier: str | None = None,
    at: datetime | date | float | str | None = None,
    request: Any = None,
    response: Any = None,
) -> Cost:
    """The dollars of any raw provider usage, on the same path that live calls take.

    `usage` is the provider's own usage object: a dict in its JSON spelling, JSON text, or an SDK
    object. `provider` is `openai`, `anthropic`, `google` or another provider's name. `endpoint`
    tells the shape where that matters: `chat.completions`, `responses`, `messages`, `batches`…
    `at` is the time of the call: a datetime (naive means UTC), a date (12:00 UTC), an ISO string or
    seconds since the epoch; now if left out. `service_tier` is the tier that was billed; without
    it, `request` and `response` (raw bodies or SDK objects, or the parts of them that matter: tier, tools,
    grounding, `headers`) say it.

    Several billed entries (Anthropic's `iterations`) are added up into one cost.
    """
    asked, readings = providers.readings(
        provider=provider,
        endpoint=endpoint,
        usage=usage,
        platform=platform,
        model=model,
        service_tier=service_tier,
        request=request,
        response=response,
    )
    moment = _moment(at)
    return _added([price_now(asked, reading, moment) for reading in readings or (Reading(),)])


def estimate(
    model: str,
    contents: Any,
    *,
    system: Any = None,
    tools: Any = None,
    max_output_tokens: int | None = None,
    provider: str | None = None,
    service_tier: str | None = None,
) -> Estimate:
    """What a call would use and cost, before it is made; nothing is asked of anybody.

    `contents` is what the SDK's method is given: a text, OpenAI's `messages` or `input`, Anthropic's
    `messages`, Gemini's `contents`, a list of texts for embeddings; or a whole request as a dict
    (`{"messages": [...], "tools": [...], "max_tokens": 500}`). `system` is the system prompt, the
    instructions or the system instruction. Without `max_output_tokens`, here or in the request, there
    is no `max_usd`. `provider` says who sells it (`azure`, `vertex`, `groq`…), where that is not
    whose model it is; `service_tier` the tier, such as `batch`.

    A model that nobody knows is counted, and has no price: `reasons` says so. `ConfigurationError` where
    an argument can't be meant, or nothing is asked.
    """
    # what only those need who ask for it is not there from the start
    from . import estimation  # noqa: PLC0415

    return estimation.estimate(
        _library().catalogue,
        _runtime.ratios if _runtime is not None else _default_ratios(),
        model,
        contents,
        system=system,
        tools=tools,
        max_output_tokens=max_output_tokens,
        provider=provider,
        service_tier=service_tier,
    )


def price_now(request: Request, reading: Reading, at: float) -> Cost:
    """See `Pricer`: with the prices of now."""
    return _library().price(request, reading, at)


def _library() -> PriceLibrary:
    """The prices of `instrument()`, or the packaged ones."""
    return _runtime.prices if _runtime is not None else _default_prices()


tracking.use_prices(lambda: _library().catalogue)


_default: PriceLibrary | None = None


def _default_prices() -> PriceLibrary:
    global _default
    with _lock:
        if _default is None:
            _default = PriceLibrary(load({}))
        return _default


def _ratios(settings: Settings) -> "Ratios | None":
    """What calls teach about tokens, if that is kept."""
    path = settings.estimate_learning
    if path is None:
        return None
    if not Path(path).resolve().parent.is_dir():
        raise ConfigurationError(
            f"estimate_learning={path!r}: there is no such folder; make it first"
        )
    from .estimation import Ratios  # noqa: PLC0415 (as in `estimate`)

    return Ratios(path)


def _learner(ratios: "Ratios") -> "Learner":
    from .estimation import Learner  # noqa: PLC0415 (as in `estimate`)

    return Learner(ratios)


_given: "list[Ratios | None]" = []


def _default_ratios() -> "Ratios | None":
    """Those of the settings, in a process that only estimates."""
    with _lock:
        if not _given:
            _given.append(_ratios(load({})))
        return _given[0]


@contextmanager
def _learning(learner: "Learner") -> Iterator[None]:
    """In the block, calls teach how their models count tokens."""
    observation.learner = learner.heed
    try:
        yield
    finally:
        observation.learner = None
        backlog.counting.finish()  # what is being learned now
        learner.save()


def _moment(at: Any) -> float:
    if at is None:
        return time.time()
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at) if len(at) > 10 else date.fromisoformat(at)
        except ValueError:
            raise ConfigurationError(f"at={at!r} is not an ISO date or time") from None
    if isinstance(at, datetime):
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if isinstance(at, date):
        return datetime(at.year, at.month, at.day, 12, tzinfo=UTC).timestamp()
    seconds: Any = at if not isinstance(at, bool) and isinstance(at, Real) else math.nan
    if not _FIRST <= seconds < _LAST:
        raise ConfigurationError(
            f"at={at!r} is no time: say a date, a datetime, or seconds since the epoch (of 2015 to "
            "2100; milliseconds are too many)"
        )
    return float(seconds)


_FIRST = datetime(2015, 1, 1, tzinfo=UTC).timestamp()
_LAST = datetime(2101, 1, 1, tzinfo=UTC).timestamp()
"""Between these a number is meant as seconds: nobody sold tokens earlier."""


_WORST_FIRST = ("unpriced", "partial", "derived", "priced", "prepaid", "free", "not_billed")


def _added(costs: Sequence[Cost]) -> Cost:
    if len(costs) == 1:
        return costs[0]
    lines: list[PricedLine] = []
    for cost in costs:
        lines.extend(cost.priced_lines)
    status = min((cost.status for cost in costs), key=_WORST_FIRST.index)
    if status == "unpriced" and lines:
        status = "partial"
    pico = [cost.pico for cost in costs]
    return Cost(
        status=status,
        pico=None if None in pico else sum(amount for amount in pico if amount is not None),
        priced_lines=tuple(lines),
        reasons=tuple(dict.fromkeys(reason for cost in costs for reason in cost.reasons)),
        assumed=tuple(dict.fromkeys(word for cost in costs for word in cost.assumed)),
        catalogue_version=costs[0].catalogue_version,
        card=" + ".join(dict.fromkeys(cost.card for cost in costs if cost.card)),
        stale=any(cost.stale for cost in costs),
        notes=tuple(dict.fromkeys(note for cost in costs for note in cost.notes)),
    )


def _together(settings: Settings) -> Any:
    """The processes of this application; `None` where prometheus_client sees to them, or nobody can."""
    if multiprocess() or not hasattr(os, "fork"):
        return None
    # file locks of Unix
    from .telemetry.shared import Together  # noqa: PLC0415

    return guard.call("processes", Together, settings.application, settings.metrics_port or 0)


def _ledger(settings: Settings) -> Any:
    """The ledger, if there is to be one; it brings the SQL library along."""
    if settings.ledger is None:
        return None
    if not hasattr(os, "fork"):
        raise ConfigurationError("ledger: it needs the file locks of Unix; leave it out here")
    from .ledger import Ledger  # noqa: PLC0415 (a fifth of a second, for those who want one)

    return Ledger(
        settings.ledger,
        service=otel_environment().get("OTEL_SERVICE_NAME", ""),
        sync=settings.durability == "sync",
        journal=settings.ledger_journal,
    )


def _budget_store(together: Any) -> Store:
    if multiprocess():
        directory = multiprocess_directory()
        return MemoryStore() if directory is None else _shared_store(directory)
    if together is None:
        return MemoryStore()
    store = MovingStore(lambda: _shared_store(together.directory))
    together.on_share(store.move)
    return store


def _shared_store(directory: Path) -> Store:
    # file locks of Unix: for those alone who have several processes
    from .budgets.shared import SharedFileStore  # noqa: PLC0415

    return SharedFileStore(directory)


def _seams(sdks: Sequence[str], meters: Meters) -> list[Seam]:
    return [seam for sdk in sdks for patches in _PATCHES[sdk](meters) for seam in patches.seams()]


_PATCHES: Mapping[str, Callable[[Meters], Sequence[Any]]] = {
    "openai": lambda meters: (Stainless("openai", meters), OpenAISockets(meters)),
    "anthropic": lambda meters: (Stainless("anthropic", meters),),
    "google": lambda meters: (
        GoogleGenAI(meters),
        GeminiLive(meters),
        Gaos(meters),
        Stainless("google", meters),
    ),
}


_DISTRIBUTIONS = {"google": "google-genai", "openai": "openai", "anthropic": "anthropic"}


def _sdk_version(sdk: str) -> str | None:
    # reads package metadata from disk: for `status` alone
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version(_DISTRIBUTIONS[sdk])
    except PackageNotFoundError:
        return None


def _name(sink: Sink) -> str:
    return getattr(sink, "__qualname__", type(sink).__qualname__)


def _same(one: Sink, other: Sink) -> bool:
    """A method is made anew at each look; other objects may be equal without being the same."""
    return one is other or (isinstance(one, MethodType | BuiltinMethodType) and one == other)


def _checked_sinks(sinks: Any) -> tuple[Sink, ...]:
    if not isinstance(sinks, Iterable):
        raise ConfigurationError(f"sinks={sinks!r}: this takes a list of functions")
    checked: tuple[Sink, ...] = tuple(sinks)
    for sink in checked:
        if not callable(sink):
            raise ConfigurationError(f"sinks: {sink!r} can't be called with a record")
        if inspect.iscoroutinefunction(sink):
            raise ConfigurationError(
                f"sinks: {sink!r} is async, and nobody would await it: take a plain function"
            )
    return checked


def _check_registry(registry: Any) -> None:
    needed = ("register", "unregister", "collect")
    if registry is not None and not all(callable(getattr(registry, n, None)) for n in needed):
        raise ConfigurationError(f"registry={registry!r} is no registry of prometheus_client")


def _at_exit() -> None:
    """May be called again: what the application itself does at its end is counted, too."""
    runtime = _runtime
    if runtime is None:
        return
    settle_live()
    backlog.close()
    if not runtime.ended:
        runtime.ended = True
        if runtime.learner is not None:
            runtime.learner.save()
        # the last push of what we started; providers of the application end by themselves
        guard.call("close", runtime.telemetry.shutdown)
        guard.call("close", runtime._spending.close)
        if runtime.ledger is not None:
            guard.call("close", runtime.ledger.close)


@contextmanager
def _ending_well() -> Iterator[None]:
    """In the block a SIGTERM that nobody handles ends the process as an exit does: all is written first.

    Whoever sets a handler of his own is not disturbed.
    """

    def end(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        # whatever was interrupted may hold a lock that is needed now
        late = threading.Timer(_ENDING, _die, (number,))
        late.daemon = True
        guard.call("close", late.start)
        _at_exit()
        _die(number)

    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        there = threading.current_thread() is threading.main_thread()
        if there and signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _die(number: int) -> None:
    """End as by this signal, whose handler is the default one."""
    os.kill(os.getpid(), number)
    # to the first process of a container the system does nothing by default
    os._exit(128 + number)


_ENDING = 15.0
"""Seconds after which a SIGTERM ends the process whatever is still to be written."""


def _at_exit_first() -> None:
    _at_exit()


def _leave() -> None:
    if _runtime is not None and _runtime.together is not None:
        guard.call("close", _runtime.together.leave)


# the last registered runs first: this one after those who wait for the children
atexit.register(_leave)
atexit.register(_at_exit)


def _end_with_pools() -> None:
    """The children of a process pool end by os._exit: atexit does not run there, this does."""
    for pools in ("multiprocessing", "billiard"):
        process, util = (sys.modules.get(f"{pools}.{name}") for name in ("process", "util"))
        if process is None or util is None:
            continue
        if getattr(process.current_process(), "_parent_pid", None) is not None:
            util.Finalize(None, _at_exit, exitpriority=_LATE)


_LATE = -100


def _before_fork() -> None:
    if _runtime is not None:
        guard.call("processes", _runtime._before_fork)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    if _runtime is not None:
        _runtime._forked()


forks.around(before=_before_fork, parent=lambda: None, child=_after_fork)
