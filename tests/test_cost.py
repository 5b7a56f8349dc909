"""What watching costs, in numbers that a busy machine does not change: calls, allocations, parses.

Times are for `make bench`. Here a bound is what was counted plus little: who adds a step to the path
of every call is to notice it.
"""

import gc
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from prometheus_client import CollectorRegistry

from otel_llm_usage import backlog, instrument
from otel_llm_usage.providers import values
from otel_llm_usage.testing import Records

from .bench.clients import EVENTS, Clients


@pytest.fixture
def clients() -> Iterator[Clients]:
    made = Clients()
    yield made
    made.close()


def _calls(action: Callable[[], Any]) -> Counter[str]:
    """How often each function of ours is called in this thread."""
    found: Counter[str] = Counter()

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            name = frame.f_globals.get("__name__", "")
            if name.startswith("otel_llm_usage."):
                found[f"{name.removeprefix('otel_llm_usage.')}.{frame.f_code.co_qualname}"] += 1

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize(("call", "most"), [("chat", 40), ("messages", 40), ("generate", 34)])
def test_the_caller_of_a_plain_call_runs_few_functions_of_ours(
    clients: Clients, call: str, most: int
) -> None:
    instrument(spans="never", otlp=False, registry=CollectorRegistry())
    action = getattr(clients, call)
    action()
    backlog.finish()
    found = _calls(action)
    assert 0 < found.total() <= most, found.most_common()
    # what an answer says is nobody's business who waits for it
    assert not [name for name in found if "Reader" in name or "cards" in name], found


@pytest.mark.parametrize("call", ["chat", "messages", "generate"])
def test_a_ledger_is_nothing_that_a_caller_runs(
    clients: Clients, call: str, tmp_path: Path
) -> None:
    for durability, his in (("interval", False), ("sync", True)):
        runtime = instrument(
            spans="never",
            otlp=False,
            registry=CollectorRegistry(),
            ledger=tmp_path / f"{durability}.db",
            durability=durability,
        )
        action = getattr(clients, call)
        action()
        runtime.flush()
        assert any(name.startswith("ledger.") for name in _calls(action)) is his
        runtime.close()


@pytest.mark.parametrize(("stream", "most"), [("stream", 10), ("stream_unasked", 10)])
def test_an_event_of_a_stream_runs_few_functions_of_ours(
    clients: Clients, stream: str, most: int
) -> None:
    instrument(spans="never", otlp=False, registry=CollectorRegistry())
    action = getattr(clients, stream)
    action()
    found = _calls(action)
    assert EVENTS < found.total() <= most * EVENTS, found.most_common()


@pytest.mark.parametrize("call", ["chat", "messages", "generate", "stream", "stream_unasked"])
def test_calls_leave_no_memory_behind(clients: Clients, call: str) -> None:
    runtime = instrument(spans="never", otlp=False, registry=CollectorRegistry())
    action = getattr(clients, call)

    def blocks() -> int:
        backlog.finish()
        runtime.metrics._export._record_queued()  # what an exporter empties: it is bounded
        gc.collect()
        return sys.getallocatedblocks()

    for _ in range(60):
        action()
    blocks()
    for _ in range(60):
        action()
    before = blocks()
    for _ in range(400):
        action()
    # caches of the interpreter and of the SDK still grow a little; a leak is one for each call
    assert blocks() - before < 200


class _Parsed:
    """The sizes of what we parse."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        monkeypatch.setattr(values.json, "loads", self._loads(json.loads))

    def _loads(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def loads(text: Any, *more: Any, **options: Any) -> Any:
            if sys._getframe(1).f_globals.get("__name__", "").startswith("otel_llm_usage"):
                self.sizes.append(len(text))
            return real(text, *more, **options)

        return loads


LARGE = {
    "embeddings": (
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": i, "embedding": [0.0123456789] * 1536}
                for i in range(100)
            ],
            "model": "text-embedding-3-small",
            "usage": {"prompt_tokens": 800, "total_tokens": 800},
        },
        lambda client: client.embeddings.create(
            model="text-embedding-3-small", input=["x"] * 100, encoding_format="float"
        ),
        800,
    ),
    "image": (
        {
            "created": 1,
            "data": [{"b64_json": "iVBORw0K" * 250_000}],
            "usage": {
                "input_tokens": 50,
                "output_tokens": 4160,
                "total_tokens": 4210,
                "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
            },
        },
        lambda client: client.images.generate(model="gpt-image-1", prompt="x"),
        4210,
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_body_is_not_parsed_a_second_time(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, call, tokens = LARGE[name]
    raw = json.dumps(body).encode()
    assert len(raw) > 1_500_000

    def provider(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=raw)

    records = Records()
    instrument(sinks=[records.append], otlp=False, registry=CollectorRegistry())
    parsed = _Parsed(monkeypatch)
    with openai.OpenAI(
        api_key="key", http_client=httpx2.Client(transport=httpx2.MockTransport(provider))
    ) as client:
        call(client)
    (record,) = records
    assert record.usage is not None
    assert record.usage.total_tokens == tokens
    assert max(parsed.sizes, default=0) < 100_000
