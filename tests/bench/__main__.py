"""Paired measurements: each round runs the plain client and the instrumented one, in turn.

The provider is a transport inside the process, so that what is measured is code and not the
network. Figures are medians over the rounds; the span of the OpenTelemetry SDK, measured in the same
run, is the yardstick that travels between machines.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import anthropic
import httpx2
import openai
from google import genai
from google.genai import types
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from otel_llm_usage import instrument, uninstrument

EVENTS = 200
TEXT = "the quick brown fox jumps over the lazy dog " * 10

CHAT = {
    "id": "chatcmpl-bench",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4.1-2025-04-14",
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": None,
            "message": {"role": "assistant", "content": TEXT, "refusal": None},
        }
    ],
    "usage": {
        "prompt_tokens": 120,
        "completion_tokens": 80,
        "total_tokens": 200,
        "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
}
MESSAGE = {
    "id": "msg_bench",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [{"type": "text", "text": TEXT}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 40,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 80,
        "output_tokens": 80,
        "service_tier": "standard",
    },
}
GEMINI = {
    "candidates": [
        {"content": {"parts": [{"text": TEXT}], "role": "model"}, "finishReason": "STOP"}
    ],
    "usageMetadata": {
        "promptTokenCount": 120,
        "candidatesTokenCount": 80,
        "thoughtsTokenCount": 40,
        "totalTokenCount": 240,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 120}],
    },
    "modelVersion": "gemini-2.5-flash",
}


def _chunk(content: str | None, finish: str | None = None) -> dict[str, object]:
    delta = {} if content is None else {"content": content}
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4.1-2025-04-14",
        "service_tier": "default",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }


def _sse(asked: bool) -> list[bytes]:
    chunks = [_chunk("word ") for _ in range(EVENTS - 2)]
    chunks.append(_chunk(None, "stop"))
    if asked:
        chunks = [chunk | {"usage": None} for chunk in chunks]
        chunks.append(_chunk(None) | {"choices": [], "usage": CHAT["usage"]})
    # as OpenAI writes them, with the padding that hides the length of the text
    padded = [chunk | {"obfuscation": "aZ9"[: i % 4] * 2} for i, chunk in enumerate(chunks)]
    lines = [
        b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n" for chunk in padded
    ]
    return [*lines, b"data: [DONE]\n\n"]


class _Pieces(httpx2.SyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self):
        return iter(self._pieces)


ASKED, UNASKED = _sse(True), _sse(False)
BODIES = {name: json.dumps(body).encode() for name, body in
          (("chat", CHAT), ("messages", MESSAGE), ("gemini", GEMINI))}  # fmt: skip


def provider(request: httpx2.Request) -> httpx2.Response:
    """Answers like the three providers do, from memory."""
    path = request.url.path
    kind = {"content-type": "application/json"}
    if path.endswith("/messages"):
        return httpx2.Response(200, headers=kind, content=BODIES["messages"])
    if "generateContent" in path:
        return httpx2.Response(200, headers=kind, content=BODIES["gemini"])
    if b'"stream": true' in request.content or b'"stream":true' in request.content:
        pieces = ASKED if b"include_usage" in request.content else UNASKED
        return httpx2.Response(
            200, headers={"content-type": "text/event-stream"}, stream=_Pieces(pieces)
        )
    return httpx2.Response(200, headers=kind, content=BODIES["chat"])


class Clients:
    """The three SDKs on the transport inside the process."""

    def __init__(self) -> None:
        http = httpx2.Client(transport=httpx2.MockTransport(provider))
        self.openai = openai.OpenAI(api_key="bench", http_client=http)
        self.anthropic = anthropic.Anthropic(api_key="bench", http_client=http)
        self.gemini = genai.Client(
            api_key="bench", http_options=types.HttpOptions(httpx_client=http)
        )

    def close(self) -> None:
        """Close them."""
        self.gemini.close()
        self.anthropic.close()
        self.openai.close()

    def chat(self) -> None:
        self.openai.chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": "hello"}]
        )

    def messages(self) -> None:
        self.anthropic.messages.create(
            model="claude-sonnet-5",
            max_tokens=100,
            messages=[{"role": "user", "content": "hello"}],
        )

    def generate(self) -> None:
        self.gemini.models.generate_content(model="gemini-2.5-flash", contents="hello")

    def stream(self) -> None:
        for _ in self.openai.chat.completions.create(
            model="gpt-4.1",
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            stream_options={"include_usage": True},
        ):
            pass

    def stream_unasked(self) -> None:
        for _ in self.openai.chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": "hello"}], stream=True
        ):
            pass


@contextmanager
def watched(spans: str, tracer_provider: TracerProvider | None = None):
    """The instrumentation, on for the block."""
    runtime = instrument(
        spans=spans, otlp=False, registry=CollectorRegistry(), tracer_provider=tracer_provider
    )
    try:
        yield runtime
    finally:
        uninstrument()


def _time(
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


def paired(action: Callable[[], None], number: int, rounds: int, **options) -> Paired:
    """The action without and with us, in turn."""
    plain, caller, everything = [], [], []
    with watched(**options) as runtime:
        action()  # the first sight of a model loads the prices, in the background
        while runtime.prices.ages() == {}:
            time.sleep(0.05)
        time.sleep(0.3)
        for _ in range(rounds):
            runtime.engine.remove()
            without, without_all = _time(action, number)
            runtime.engine.install()
            action()
            with_it, with_all = _time(action, number, runtime.flush)
            plain.append(without)
            caller.append(with_it - without)
            everything.append(with_all - without_all)
    median = statistics.median
    return Paired(median(plain), median(caller), median(everything))


def recorded_span(action: Callable[[], None], rounds: int, number: int) -> tuple[float, float]:
    """Microseconds of one recorded span of the SDK with a dozen attributes: alone, and around a call.

    Around a call it costs what it costs an application, whose caches are full of other things; that
    is what our own figures, which are taken around calls too, compare with.
    """
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    tracer = tracer_provider.get_tracer("bench")

    def span(inside: Callable[[], None]) -> None:
        with tracer.start_as_current_span("chat gpt-4.1") as one:
            inside()
            for index in range(12):
                one.set_attribute(f"gen_ai.attribute.{index}", index)

    alone = [_time(lambda: span(lambda: None), number * 10)[0] for _ in range(rounds)]
    around = []
    for _ in range(rounds):
        without, _ = _time(action, number)
        around.append(_time(lambda: span(action), number)[0] - without)
    return statistics.median(alone), statistics.median(around)


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


def growth(clients: "Clients", calls: int, streams: int) -> tuple[float, float, int]:
    """MiB that calls and dropped streams leave behind, and how many objects of ours."""
    with watched(spans="never") as runtime:

        def drop() -> None:
            stream = clients.openai.chat.completions.create(
                model="gpt-4.1", messages=[{"role": "user", "content": "hello"}], stream=True
            )
            next(iter(stream))

        def settle() -> float:
            gc.collect()
            runtime.flush()
            gc.collect()
            return resident()

        for _ in range(1000):
            clients.chat()
            drop()
        ours = _ours()
        before = settle()
        for _ in range(calls):
            clients.chat()
        after_calls = settle()
        for _ in range(streams):
            drop()
        after_streams = settle()
        return after_calls - before, after_streams - after_calls, _ours() - ours


def _ours() -> int:
    gc.collect()
    return sum(str(type(one).__module__).startswith("otel_llm_usage") for one in gc.get_objects())


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


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--number", type=int, default=150)
    parser.add_argument("--calls", type=int, default=100_000, help="for growth; 0 leaves it out")
    options = parser.parse_args()
    rounds, number = options.rounds, options.number
    clients = Clients()
    alone, span = recorded_span(clients.chat, rounds, number)
    print(f"one recorded OpenTelemetry SDK span of 12 attributes: {alone:.1f} µs in a loop, "
          f"{span:.1f} µs around a call (the yardstick)")  # fmt: skip
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    for name, action, how in (
        ("openai chat", clients.chat, {"spans": "never"}),
        ("anthropic messages", clients.messages, {"spans": "never"}),
        ("gemini generate_content", clients.generate, {"spans": "never"}),
        (
            "openai chat, with a span",
            clients.chat,
            {"spans": "always", "tracer_provider": tracer_provider},
        ),
    ):
        one = paired(action, number, rounds, **how)
        print(
            f"{name:26} plain {one.plain:8.1f} µs   + {one.caller:6.1f} µs for the caller "
            f"({one.caller / span:.2f} of a span), + {one.all:6.1f} µs in all"
        )
    for name, action in (
        ("stream, usage asked", clients.stream),
        ("stream, usage hidden", clients.stream_unasked),
    ):
        one = paired(action, max(4, number // 20), rounds, spans="never")
        print(
            f"{name:26} plain {one.plain / EVENTS:8.2f} µs   + {one.caller / EVENTS:6.2f} µs an event"
        )
    best, median = start_up()
    print(f"import and instrument()    best {best:.0f} ms, median {median:.0f} ms")
    at_once, with_prices = held()
    print(f"resident memory            {at_once:.1f} MiB, {with_prices:.1f} MiB with the prices")
    ratios = []
    for _ in range(5):
        without = throughput(clients.chat, 8, 1.5)
        with watched(spans="never"):
            clients.chat()
            time.sleep(1)
            ratios.append(throughput(clients.chat, 8, 1.5) / without)
    print(f"8 threads keep             {statistics.median(ratios):.1%} of the plain throughput")
    if options.calls:
        calls, streams = options.calls, options.calls // 10
        by_calls, by_streams, objects = growth(clients, calls, streams)
        print(f"growth                     {by_calls:+.1f} MiB by {calls:,} calls, {by_streams:+.1f} "
              f"MiB by {streams:,} dropped streams, {objects:+d} objects of ours")  # fmt: skip


if __name__ == "__main__":
    main()
