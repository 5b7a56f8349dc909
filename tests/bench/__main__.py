"""Paired measurements: each round runs the plain client and the instrumented one, in turn.

The provider is a transport inside the process, so that what is measured is code and not the
network. Figures are medians over the rounds; the span of the OpenTelemetry SDK, measured in the same
run, is the yardstick that travels between machines.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager

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


def _time(action: Callable[[], None], number: int) -> float:
    gc.collect()
    begun = time.thread_time()  # what this thread computed: a busy machine disturbs it less
    for _ in range(number):
        action()
    return (time.thread_time() - begun) / number * 1e6


def paired(action: Callable[[], None], number: int, rounds: int, **options) -> tuple[float, float]:
    """Microseconds of the plain call, and what the instrumentation adds to it (medians)."""
    plain, added = [], []
    with watched(**options) as runtime:
        action()  # the first sight of a model loads the prices, in the background
        while runtime.prices.ages() == {}:
            time.sleep(0.05)
        time.sleep(0.3)
        for _ in range(rounds):
            runtime.engine.remove()
            without = _time(action, number)
            runtime.engine.install()
            action()
            with_it = _time(action, number)
            plain.append(without)
            added.append(with_it - without)
    return statistics.median(plain), statistics.median(added)


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

    alone = [_time(lambda: span(lambda: None), number * 10) for _ in range(rounds)]
    around = []
    for _ in range(rounds):
        without = _time(action, number)
        around.append(_time(lambda: span(action), number) - without)
    return statistics.median(alone), statistics.median(around)


def start_up() -> tuple[float, float]:
    """Milliseconds of `import otel_llm_usage; instrument()` and of Python alone, best of seven."""
    script = (
        "import time; t = time.perf_counter()\n"
        "import otel_llm_usage; otel_llm_usage.instrument()\n"
        "import sys; print((time.perf_counter() - t) * 1e3)\n"
        "assert not {'openai', 'anthropic', 'google.genai', 'genai_prices'} & set(sys.modules)"
    )
    times = [
        float(
            subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
        )
        for _ in range(7)
    ]
    return min(times), statistics.median(times)


def throughput(action: Callable[[], None], threads: int, seconds: float) -> float:
    """Calls a second over all threads."""
    done = [0] * threads
    stop = threading.Event()

    def work(index: int) -> None:
        while not stop.is_set():
            action()
            done[index] += 1

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    time.sleep(seconds)
    stop.set()
    for worker in workers:
        worker.join()
    return sum(done) / seconds


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--number", type=int, default=150)
    options = parser.parse_args()
    rounds, number = options.rounds, options.number
    clients = Clients()
    alone, span = recorded_span(clients.chat, rounds, number)
    print(f"one recorded OpenTelemetry SDK span of 12 attributes: {alone:.1f} µs in a loop, "
          f"{span:.1f} µs around a call (the yardstick)")  # fmt: skip
    for name, action in (
        ("openai chat", clients.chat),
        ("anthropic messages", clients.messages),
        ("gemini generate_content", clients.generate),
    ):
        plain, added = paired(action, number, rounds, spans="never")
        print(
            f"{name:26} plain {plain:8.1f} µs   + {added:6.1f} µs without a span "
            f"({added / span:.2f} of a span)"
        )
    tracer_provider = TracerProvider()
    exporter = InMemorySpanExporter()
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    plain, added = paired(
        clients.chat, number, rounds, spans="always", tracer_provider=tracer_provider
    )
    print(f"{'openai chat':26} plain {plain:8.1f} µs   + {added:6.1f} µs with a span "
          f"({added / span:.2f} of a span)")  # fmt: skip
    for name, action in (
        ("stream, usage asked", clients.stream),
        ("stream, usage hidden", clients.stream_unasked),
    ):
        plain, added = paired(action, max(4, number // 20), rounds, spans="never")
        print(f"{name:26} plain {plain / EVENTS:8.2f} µs   + {added / EVENTS:6.2f} µs an event")
    best, median = start_up()
    print(f"import and instrument()    best {best:.0f} ms, median {median:.0f} ms")
    ratios = []
    for _ in range(3):
        without = throughput(clients.chat, 8, 1.5)
        with watched(spans="never"):
            clients.chat()
            time.sleep(1)
            ratios.append(throughput(clients.chat, 8, 1.5) / without)
    print(f"8 threads keep             {statistics.median(ratios):.1%} of the plain throughput")


if __name__ == "__main__":
    main()
