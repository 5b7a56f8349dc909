"""What is measured, each against the same without us, in turn."""

import gc
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import openai
import wrapt
from openai._models import FinalRequestOptions
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry

from otel_llm_usage import agent, attribute, instrument, providers, track, uninstrument
from otel_llm_usage.patching import wire
from otel_llm_usage.patching.observation import observe
from otel_llm_usage.patching.tee import Tap, _SyncTee
from otel_llm_usage.runtime import Runtime

from .clients import ASKED, BODIES, EVENTS, UNASKED, Clients


@contextmanager
def watched(spans: str, **options: Any) -> Iterator[Runtime]:
    """The instrumentation, on for the block, with its prices loaded."""
    runtime = instrument(spans=spans, otlp=False, registry=CollectorRegistry(), **options)
    try:
        runtime.prices.catalogue.warm()
        time.sleep(0.3)
        yield runtime
    finally:
        uninstrument()


class _Nowhere(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def tracing() -> TracerProvider:
    """Spans in batches, as production has them, that go nowhere."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    return provider


def timed(
    action: Callable[[], None], number: int, after: Callable[[], None] = lambda: None
) -> tuple[float, float]:
    """Microseconds of one action: what this thread computed, and what the whole process did.

    `after` ends what threads of ours have yet to do.
    """
    gc.collect()
    # computing time, not the clock's: a busy machine disturbs it less
    thread, process = time.thread_time(), time.process_time()
    for _ in range(number):
        action()
    thread = time.thread_time() - thread
    after()
    process = time.process_time() - process
    return thread / number * 1e6, process / number * 1e6


class Paired(NamedTuple):
    """Microseconds of one action: plain, and what is added to it (medians)."""

    plain: float
    caller: float
    """Added for whoever makes the call."""
    all: float
    """Added with what threads of ours do afterwards."""


def paired(action: Callable[[], None], number: int, rounds: int, **options: Any) -> Paired:
    """The action without and with us, in turn."""
    plain, caller, everything = [], [], []
    with watched(**options) as runtime:
        action()
        for _ in range(rounds):
            runtime.engine.remove()
            without, without_all = timed(action, number)
            runtime.engine.install()
            action()
            with_it, with_all = timed(action, number, runtime.flush)
            plain.append(without)
            caller.append(with_it - without)
            everything.append(with_all - without_all)
    median = statistics.median
    return Paired(median(plain), median(caller), median(everything))


Added = dict[str, list[float]]
"""Microseconds that a ledger in SQLite adds to one call, in each round, by whose they are."""


def ledger(action: Callable[[], None], number: int, rounds: int) -> Added:
    """The same instrumentation with and without it around real calls without a pause, in turn.

    The blocks last longer than what its thread waits between two batches. `caller` is what he computes,
    `clock` the time that passes for him, also where threads of ours have Python's lock, and `all` what the
    process computes until all is written.
    """
    with _kept() as runtime:
        return _in_turn(action, number, rounds, runtime)


def ledger_in_a_loop(rounds: int) -> Added:
    """The same where nothing but our wrappers runs: what they take for a call, with and without it."""
    with _kept() as runtime:
        _, ours = _bare(runtime)
        return _in_turn(ours, 180, rounds, runtime)


@contextmanager
def _kept() -> Iterator[Runtime]:
    with (
        tempfile.TemporaryDirectory() as folder,
        watched("never", ledger=Path(folder) / "usage.db") as runtime,
    ):
        yield runtime


def _in_turn(action: Callable[[], None], number: int, rounds: int, runtime: Runtime) -> Added:
    added: Added = {"caller": [], "clock": [], "all": []}
    ours = runtime.meter._sinks
    others = tuple(one for one in ours if one[0] != "ledger")
    assert len(others) == len(ours) - 1
    for place in range(rounds + 1):
        found: dict[bool, dict[str, float]] = {}
        for kept in (True, False) if place % 2 else (False, True):
            runtime.meter._sinks = ours if kept else others
            found[kept] = _spent(action, number, runtime)
        if place:  # in the first one everything is new
            for name, values in added.items():
                values.append(found[True][name] - found[False][name])
    return added


def _spent(action: Callable[[], None], number: int, runtime: Runtime) -> dict[str, float]:
    process, thread, clock = time.process_time(), time.thread_time(), time.perf_counter()
    for _ in range(number):
        action()
    thread, clock = time.thread_time() - thread, time.perf_counter() - clock
    runtime.flush()
    spent = {"caller": thread, "clock": clock, "all": time.process_time() - process}
    return {name: each / number * 1e6 for name, each in spent.items()}


def between(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and between what it is in 95 of 100 drawings with repetition."""
    drawn = random.Random(0)
    many = sorted(statistics.median(drawn.choices(values, k=len(values))) for _ in range(2000))
    return statistics.median(values), many[50], many[-51]


def _span(tracer: Tracer, inside: Callable[[], None]) -> None:
    with tracer.start_as_current_span("chat gpt-4.1") as one:
        inside()
        for index in range(12):
            one.set_attribute(f"gen_ai.attribute.{index}", index)


def recorded_span(action: Callable[[], None], number: int, rounds: int) -> tuple[float, float]:
    """Microseconds of one recorded span of the SDK with a dozen attributes: in a loop, around a call.

    Around a call it costs what it costs an application, whose caches are full of other things.
    """
    tracer = tracing().get_tracer("bench")
    loop = min(timed(lambda: _span(tracer, lambda: None), 1000)[0] for _ in range(rounds))
    around = []
    for _ in range(rounds):
        without, _ = timed(action, number)
        around.append(timed(lambda: _span(tracer, action), number)[0] - without)
    return loop, statistics.median(around)


class _Base:
    """What our wrappers see of an SDK's client, and nothing else."""

    _base_url = httpx2.URL("https://api.openai.com/v1/")
    _request = httpx2.Request("POST", "https://api.openai.com/v1/chat/completions", json={})
    _response = httpx2.Response(
        200, headers={"content-type": "application/json"}, content=BODIES["chat"], request=_request
    )

    def _build_request(self, options: Any, retries_taken: int = 0) -> Any:
        self._request.extensions = {}
        return self._request

    def _process_response(self, **_: Any) -> None: ...

    def request(self, cast_to: Any, options: Any, stream: bool = False) -> None:
        self._build_request(options, retries_taken=0)
        self._process_response(options=options, response=self._response, stream=False)


def in_a_loop(
    rounds: int, inside: Callable[[], AbstractContextManager[Any]] = nullcontext, **options: Any
) -> float:
    """Microseconds that our wrappers take for one call, in a loop with nothing else.

    `inside`: a block around all of the calls.
    """
    with watched(**options) as runtime:
        best = []
        for action in _bare(runtime):
            with inside():
                action()
                best.append(min(timed(action, 180, runtime.flush)[0] for _ in range(rounds * 5)))
    return best[1] - best[0]


def _bare(runtime: Runtime) -> tuple[Callable[[], None], Callable[[], None]]:
    """A call of nothing, and the same inside our wrappers."""
    asked = FinalRequestOptions.construct(
        method="post", url="/chat/completions", json_data={"model": "gpt-4.1", "messages": []}
    )
    wrappers = {
        seam.path.rpartition(".")[2]: seam.wrapper
        for seam in runtime.engine.states
        if seam.module == "openai._base_client" and not seam.path.startswith("Async")
    }
    wrapped = {
        name: wrapt.FunctionWrapper(vars(_Base)[name], wrapper)
        for name, wrapper in wrappers.items()
    }
    plain, ours = type("OpenAI", (_Base,), {})(), type("OpenAI", (_Base,), wrapped)()
    return partial(plain.request, None, asked), partial(ours.request, None, asked)


@contextmanager
def charged() -> Iterator[None]:
    """An open scope, and in it who pays."""
    with track("analysis", symbol="X"), attribute(agent="planner", call_type="plan", user="u1"):
        yield


def block(rounds: int) -> float:
    """Microseconds of making, entering and leaving one block."""

    def one() -> None:
        with agent("planner"):
            pass

    return min(timed(one, 1000)[0] for _ in range(rounds * 5))


def events_in_a_loop(rounds: int, *, hidden: bool) -> float:
    """Microseconds that we take for one event of a stream, in a loop with nothing else."""
    place: dict[str, Any] = {"base_url": "https://api.openai.com/v1/", "client": "OpenAI"}
    body = {"model": "gpt-4.1", "stream": True}
    request = providers.describe("openai", "post", "/chat/completions", body, **place)
    keep = providers.usage_filter(
        place["base_url"], "/chat/completions", body, client="OpenAI", override={}
    )
    pieces = UNASKED if hidden else ASKED

    def read() -> None:
        observation = observe(runtime.meter.begin(request), "estimate", None)
        tap = Tap(
            observation,
            wire.Plain(),
            splitter=wire.SseSplitter(),
            keep=keep if hidden else None,
        )
        for _ in _SyncTee(pieces, tap):
            pass

    with watched(spans="never") as runtime:
        read()
        best = min(timed(read, 20, runtime.flush)[0] for _ in range(rounds * 5))
    return best / EVENTS


def start_up() -> tuple[float, float]:
    """Milliseconds of `import otel_llm_usage; instrument()` and of Python alone, best of seven."""
    script = (
        "import time; t = time.perf_counter()\n"
        "import otel_llm_usage; otel_llm_usage.instrument()\n"
        "import sys; print((time.perf_counter() - t) * 1e3)\n"
        "assert not {'openai', 'anthropic', 'google.genai', 'genai_prices'} & set(sys.modules)"
    )
    with tempfile.TemporaryDirectory() as compiled:
        # as installed packages are: compiled once
        environment = os.environ | {
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": compiled,
        }
        times = [
            float(
                subprocess.run(
                    [sys.executable, "-c", script],
                    env=environment,
                    capture_output=True,
                    check=True,
                ).stdout
            )
            for _ in range(8)
        ][1:]
    return min(times), statistics.median(times)


def resident() -> float:
    """MiB that this process holds in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def held() -> tuple[float, float]:
    """MiB that `instrument()` takes beside an imported SDK: at once, and with the price table."""
    script = (
        "import os, openai, pathlib\n"
        "def resident():\n"
        "    pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])\n"
        "    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20\n"
        "before = resident()\n"
        "import otel_llm_usage\n"
        "runtime = otel_llm_usage.instrument(otlp=False)\n"
        "at_once = resident() - before\n"
        "runtime.prices.catalogue.warm()\n"
        "print(at_once, resident() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    at_once, with_prices = map(float, done.stdout.split())
    return at_once, with_prices


WARMING = 10_000
"""Calls and dropped streams, each, before memory is looked at."""


def growth(instrumented: bool, calls: int, streams: int) -> tuple[float, float, int]:
    """MiB that calls and dropped streams leave behind, and how many objects of ours.

    Counted from where the allocator and our bounded queues have taken what they take: after the first
    thousands.
    """
    clients = Clients()

    def drop() -> None:
        stream = clients.openai.chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        next(iter(stream))

    def settled() -> float:
        if instrumented:
            runtime.flush()
        gc.collect()
        return resident()

    if instrumented:
        runtime = instrument(spans="never", otlp=False, registry=CollectorRegistry())
        runtime.prices.catalogue.warm()
    for action in (clients.chat, drop):
        for _ in range(WARMING):
            action()
    before, ours = settled(), _ours()
    for _ in range(calls):
        clients.chat()
    after_calls = settled()
    for _ in range(streams):
        drop()
    after_streams = settled()
    return after_calls - before, after_streams - after_calls, _ours() - ours


def _ours() -> int:
    gc.collect()
    return sum(str(type(one).__module__).startswith("otel_llm_usage") for one in gc.get_objects())


_SERVER = """
import asyncio, sys
body, wait = sys.stdin.buffer.read(), float(sys.argv[1])
answer = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\n"
answer += b"content-length: %d\\r\\n\\r\\n" % len(body) + body

class Provider(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.got = transport, b""

    def data_received(self, data):
        self.got += data
        head, end, rest = self.got.partition(b"\\r\\n\\r\\n")
        if end and len(rest) >= int(head.lower().partition(b"content-length:")[2].split()[0]):
            self.got = b""
            asyncio.get_running_loop().call_later(wait, self.transport.write, answer)

async def main():
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def kept(threads: int, wait: float, rounds: int, seconds: float) -> float:
    """The share of the plain throughput that is left, with a provider in another process.

    It answers after `wait` seconds; without any, this process does nothing but compute.
    """
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(wait)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(BODIES["chat"])
        server.stdin.close()
        address = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        client = openai.OpenAI(api_key="bench", base_url=address)

        def chat() -> None:
            client.chat.completions.create(
                model="gpt-4.1", messages=[{"role": "user", "content": "hello"}]
            )

        chat()
        ratios = []
        with watched(spans="never") as runtime:
            for _ in range(rounds):
                runtime.engine.remove()
                without = throughput(chat, threads, seconds)
                runtime.engine.install()
                ratios.append(throughput(chat, threads, seconds) / without)
        client.close()
        server.kill()
    return statistics.median(ratios)


def throughput(action: Callable[[], None], threads: int, seconds: float) -> float:
    """Calls a second over all threads."""
    done = [0] * threads
    stop = threading.Event()

    def work(index: int) -> None:
        while not stop.is_set():
            action()
            done[index] += 1

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    begun = time.perf_counter()
    for worker in workers:
        worker.start()
    time.sleep(seconds)
    stop.set()
    for worker in workers:
        worker.join()
    # busy threads let this one oversleep
    return sum(done) / (time.perf_counter() - begun)
