"""Answers that are not what they should be, and faults of our own: the caller never notices.

Each answer goes twice to the real SDKs, once with us and once without: what the caller gets is the
same. What could not be counted is counted as such, and logged once.
"""

import gzip
import json
import logging
import socketserver
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import aiohttp
import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from otel_llm_usage import backlog, guard, instrument, providers, uninstrument
from otel_llm_usage.testing import Records

pytestmark = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")

ABSENT = object()
"""In place of a value: the key is left out."""

BILLED = {"input": 12, "cache_read": 8, "output": 5, "reasoning": 4}
"""What every answer here bills, unless something is wrong with it."""

MESSAGES: Any = [{"role": "user", "content": "Grüße"}]


# a provider that says exactly what it is told, and then hangs up


class Host:
    def __init__(self) -> None:
        self.says = b""
        self.asked = 0
        self._server = socketserver.TCPServer(("127.0.0.1", 0), self._handler(), True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def _handler(self) -> type[socketserver.StreamRequestHandler]:
        host = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                length = 0
                while (line := self.rfile.readline()).strip():
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                self.rfile.read(length)
                host.asked += 1
                self.wfile.write(host.says)

        return Handler

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answered(
    body: bytes,
    content_type: str | None,
    *,
    pieces: list[bytes] | None = None,
    length: int | None = None,
    encoding: str | None = None,
    ended: bool = True,
) -> bytes:
    """A whole HTTP answer. `pieces`: chunked, one chunk each; `ended`: whether the last one comes."""
    head = ["HTTP/1.1 200 OK", "connection: close", "x-request-id: req_1"]
    if content_type is not None:
        head.append(f"content-type: {content_type}")
    if encoding is not None:
        head.append(f"content-encoding: {encoding}")
    if pieces is None:
        head.append(f"content-length: {len(body) if length is None else length}")
    else:
        head.append("transfer-encoding: chunked")
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
        body += b"0\r\n\r\n" if ended else b""
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


# the calls


class Clients(NamedTuple):
    openai: Any
    anthropic: Any
    gemini: Any
    """The `models` of a google-genai client."""


class Shape(NamedTuple):
    """One kind of call, and a right answer to it, with any usage."""

    name: str
    key: str
    usage: Mapping[str, Any]
    answer: Callable[[Any], bytes]
    call: Callable[[Clients], Any]
    counts: tuple[str, str]
    """The names of a count of the input side and one of the output side."""
    details: str | None
    stream: bool = False

    @property
    def content_type(self) -> str:
        return "text/event-stream" if self.stream else "application/json"

    @property
    def billed(self) -> dict[str, int]:
        return {"input": 20} if self.name == "embeddings" else BILLED


def _with(answer: dict[str, Any], key: str, usage: Any) -> dict[str, Any]:
    return answer if usage is ABSENT else {**answer, key: usage}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _sse(*events: Any) -> bytes:
    """Server-sent events; those with a `type` are named by it."""
    lines = []
    for event in events:
        if isinstance(event, bytes):
            lines.append(event)
            continue
        name = f"event: {event['type']}\n".encode() if "type" in event else b""
        lines.append(name + b"data: " + _json(event) + b"\n\n")
    return b"".join(lines)


CHAT_USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
RESPONSES_USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 8},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 29,
}
EMBEDDINGS_USAGE = {"prompt_tokens": 20, "total_tokens": 20}
ANTHROPIC_USAGE = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 8,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 9,
    "output_tokens_details": {"thinking_tokens": 4},
    "service_tier": "standard",
}
GEMINI_USAGE = {
    "promptTokenCount": 20,
    "cachedContentTokenCount": 8,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 4,
    "totalTokenCount": 29,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 20}],
}


def _chat(usage: Any) -> bytes:
    message = {"role": "assistant", "content": "Grüße, 世界"}
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4.1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
    }
    return _json(_with(answer, "usage", usage))


def _chunk(choices: list[Any]) -> dict[str, Any]:
    about = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
    return {**about, "model": "gpt-4.1", "choices": choices}


def _chat_stream(usage: Any) -> bytes:
    def delta(content: str | None, reason: str | None) -> dict[str, Any]:
        said = {} if content is None else {"content": content}
        return _chunk([{"index": 0, "delta": said, "finish_reason": reason}])

    return _sse(
        delta("Grüße, ", None),
        delta("世界", None),
        delta(None, "stop"),
        _with(_chunk([]), "usage", usage),
        b"data: [DONE]\n\n",
    )


def _response(usage: Any, status: str = "completed") -> dict[str, Any]:
    said = {"type": "output_text", "text": "Grüße, 世界", "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    answer = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "gpt-4.1",
        "output": [{**message, "content": [said]}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": "default",
    }
    return _with(answer, "usage", usage)


def _responses(usage: Any) -> bytes:
    return _json(_response(usage))


def _responses_stream(usage: Any) -> bytes:
    def event(kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": f"response.{kind}", "sequence_number": 1, **fields}

    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    return _sse(
        event("created", response=_response(None, "in_progress")),
        event("output_text.delta", delta="Grüße, ", **place),
        event("output_text.delta", delta="世界", **place),
        event("completed", response=_response(usage)),
    )


def _embeddings(usage: Any) -> bytes:
    vector = {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}
    answer = {"object": "list", "data": [vector], "model": "text-embedding-3-small"}
    return _json(_with(answer, "usage", usage))


def _message(usage: Any, content: list[Any], stop: str | None) -> dict[str, Any]:
    answer = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
    }
    return _with(answer, "usage", usage)


def _messages(usage: Any) -> bytes:
    return _json(_message(usage, [{"type": "text", "text": "Grüße, 世界"}], "end_turn"))


def _messages_stream(usage: Any) -> bytes:
    def text(said: str) -> dict[str, Any]:
        delta = {"type": "text_delta", "text": said}
        return {"type": "content_block_delta", "index": 0, "delta": delta}

    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    block = {"type": "text", "text": ""}
    return _sse(
        {"type": "message_start", "message": _message(usage, [], None)},
        {"type": "content_block_start", "index": 0, "content_block": block},
        text("Grüße, "),
        text("世界"),
        {"type": "content_block_stop", "index": 0},
        _with({"type": "message_delta", "delta": stop}, "usage", usage),
        {"type": "message_stop"},
    )


def _content(usage: Any, text: str, finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": [{"text": text}]},
        "index": 0,
    }
    if finish is not None:
        candidate["finishReason"] = finish
    answer = {"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "responseId": "r1"}
    return _with(answer, "usageMetadata", usage)


def _gemini(usage: Any) -> bytes:
    return _json(_content(usage, "Grüße, 世界", "STOP"))


def _gemini_stream(usage: Any) -> bytes:
    return _sse(_content(ABSENT, "Grüße, ", None), _content(usage, "世界", "STOP"))


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(
            "chat",
            "usage",
            CHAT_USAGE,
            _chat,
            lambda c: c.openai.chat.completions.create(model="gpt-4.1", messages=MESSAGES),
            ("prompt_tokens", "completion_tokens"),
            "prompt_tokens_details",
        ),
        Shape(
            "chat stream",
            "usage",
            CHAT_USAGE,
            _chat_stream,
            lambda c: c.openai.chat.completions.create(
                model="gpt-4.1",
                messages=MESSAGES,
                stream=True,
                stream_options={"include_usage": True},
            ),
            ("prompt_tokens", "completion_tokens"),
            "prompt_tokens_details",
            True,
        ),
        Shape(
            "responses",
            "usage",
            RESPONSES_USAGE,
            _responses,
            lambda c: c.openai.responses.create(model="gpt-4.1", input="Grüße"),
            ("input_tokens", "output_tokens"),
            "input_tokens_details",
        ),
        Shape(
            "responses stream",
            "usage",
            RESPONSES_USAGE,
            _responses_stream,
            lambda c: c.openai.responses.create(model="gpt-4.1", input="Grüße", stream=True),
            ("input_tokens", "output_tokens"),
            "input_tokens_details",
            True,
        ),
        Shape(
            "embeddings",
            "usage",
            EMBEDDINGS_USAGE,
            _embeddings,
            lambda c: c.openai.embeddings.create(
                model="text-embedding-3-small", input="Grüße", encoding_format="float"
            ),
            ("prompt_tokens", "total_tokens"),
            None,
        ),
        Shape(
            "messages",
            "usage",
            ANTHROPIC_USAGE,
            _messages,
            lambda c: c.anthropic.messages.create(
                model="claude-sonnet-4-5", max_tokens=50, messages=MESSAGES
            ),
            ("input_tokens", "output_tokens"),
            "cache_creation",
        ),
        Shape(
            "messages stream",
            "usage",
            ANTHROPIC_USAGE,
            _messages_stream,
            lambda c: c.anthropic.messages.create(
                model="claude-sonnet-4-5", max_tokens=50, messages=MESSAGES, stream=True
            ),
            ("input_tokens", "output_tokens"),
            "cache_creation",
            True,
        ),
        Shape(
            "gemini",
            "usageMetadata",
            GEMINI_USAGE,
            _gemini,
            lambda c: c.gemini.generate_content(model="gemini-2.5-flash", contents="Grüße"),
            ("promptTokenCount", "candidatesTokenCount"),
            "promptTokensDetails",
        ),
        Shape(
            "gemini stream",
            "usageMetadata",
            GEMINI_USAGE,
            _gemini_stream,
            lambda c: c.gemini.generate_content_stream(model="gemini-2.5-flash", contents="Grüße"),
            ("promptTokenCount", "candidatesTokenCount"),
            "promptTokensDetails",
            True,
        ),
    )
}
STREAMS = [name for name, shape in SHAPES.items() if shape.stream]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


@pytest.fixture(scope="module")
def clients(host: Host) -> Iterator[Clients]:
    with httpx2.Client(verify=False) as http, httpx2.Client(verify=False) as theirs:
        never = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: httpx2.Response(500)))
        options = types.HttpOptions(
            base_url=host.url, httpx_client=theirs, httpx_async_client=never
        )
        google = genai.Client(api_key="key", http_options=options)
        common: dict[str, Any] = {"api_key": "key", "http_client": http, "max_retries": 0}
        yield Clients(
            openai.OpenAI(base_url=f"{host.url}/v1", **common),
            anthropic.Anthropic(base_url=host.url, **common),
            google.models,
        )


@pytest.fixture
async def async_clients(host: Host) -> AsyncIterator[Clients]:
    async with httpx2.AsyncClient(verify=False) as http, aiohttp.ClientSession() as session:
        never = httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(500)))
        options = types.HttpOptions(base_url=host.url, httpx_client=never, aiohttp_client=session)
        google = genai.Client(api_key="key", http_options=options)
        common: dict[str, Any] = {"api_key": "key", "http_client": http, "max_retries": 0}
        yield Clients(
            openai.AsyncOpenAI(base_url=f"{host.url}/v1", **common),
            anthropic.AsyncAnthropic(base_url=host.url, **common),
            google.aio.models,
        )


# what the caller gets


def _dump(value: Any) -> Any:
    dump = value.model_dump(warnings=False) if hasattr(value, "model_dump") else value
    return type(value), repr(dump)


def _raised(error: Exception) -> Any:
    return type(error), str(error), type(error.__cause__), getattr(error, "body", None)


def got(shape: Shape, clients: Clients) -> Any:
    """All that the caller gets, up to the end or the exception."""
    seen = []
    try:
        answer = shape.call(clients)
        if not shape.stream:
            return [_dump(answer)], None
        for chunk in answer:
            seen.append(_dump(chunk))
    except Exception as error:
        return seen, _raised(error)
    return seen, None


async def got_async(shape: Shape, clients: Clients) -> Any:
    seen = []
    try:
        answer = await shape.call(clients)
        if not shape.stream:
            return [_dump(answer)], None
        async for chunk in answer:
            seen.append(_dump(chunk))
    except Exception as error:
        return seen, _raised(error)
    return seen, None


class Counted:
    """What was counted: the records, the metrics, the log."""

    def __init__(self, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture) -> None:
        self.records = Records()
        self._registry = registry
        self._samples: list[Any] = []
        self._caplog = caplog

    def read(self) -> None:
        """Look at the metrics, while they are there."""
        backlog.finish()
        metrics = self._registry.collect()
        self._samples = [sample for metric in metrics for sample in metric.samples]

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series with these labels."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @property
    def said(self) -> list[str]:
        """What we logged, but for missing prices."""
        return [
            entry.getMessage()
            for entry in self._caplog.records
            if entry.name == "otel_llm_usage" and not entry.getMessage().startswith("No price")
        ]


@pytest.fixture
def counting(caplog: pytest.LogCaptureFixture) -> Callable[[], Any]:
    @contextmanager
    def count(*sinks: Any) -> Iterator[Counted]:
        registry = CollectorRegistry()
        counted = Counted(registry, caplog)
        caplog.clear()
        caplog.set_level(logging.WARNING)
        instrument(sinks=[*sinks, counted.records.append], registry=registry, otlp=False)
        try:
            yield counted
            counted.read()
        finally:
            uninstrument()

    return count


def twice(shape: Shape, clients: Clients, counting: Callable[[], Any]) -> Counted:
    """Call once without us and twice with us: the caller gets the same, we get one record each."""
    alone = got(shape, clients)
    with counting() as counted:
        for calls in (1, 2):
            assert got(shape, clients) == alone
            assert len(counted.records) == calls
    return counted


async def twice_async(shape: Shape, clients: Clients, counting: Callable[[], Any]) -> Counted:
    alone = await got_async(shape, clients)
    with counting() as counted:
        for calls in (1, 2):
            assert await got_async(shape, clients) == alone
            assert len(counted.records) == calls
    return counted


def exact(shape: Shape, counted: Counted, *, chunks: bool = True) -> None:
    """Nothing is wrong, and everything is counted."""
    for record in counted.records:
        assert (record.status, record.usage_source, record.notes) == ("ok", "reported", ())
        assert record.usage is not None
        assert record.usage.nonzero() == shape.billed
        assert record.cost.status == "priced"
        assert (record.time_to_first_chunk is not None) == (shape.stream and chunks)
    assert counted.total("llm_tokens_total") == 2 * sum(shape.billed.values())
    assert counted.total("llm_usage_missing_total") == 0
    assert counted.said == []


def told(counted: Counted, source: str, reason: str) -> None:
    """Both calls are in the metrics, and one of them in the log."""
    assert {record.usage_source for record in counted.records} == {source}
    assert counted.total("llm_usage_missing_total", reason=reason) == 2
    assert counted.total("llm_usage_missing_total") == 2
    (line,) = counted.said
    assert line.startswith("The usage of an answer cannot be counted in full")


def ended(counted: Counted, ending: tuple[str, str]) -> None:
    """The records have this status and this source, and it shows."""
    status, source = ending
    assert {(record.status, record.usage_source) for record in counted.records} == {ending}
    assert counted.total("llm_requests_total", status=status) == 2
    if source in ("missing", "bad"):
        assert counted.total("llm_tokens_total") == 0
        assert counted.total("llm_usage_missing_total") == 2
    elif source == "estimated":
        assert counted.total("llm_estimated_tokens_total") > 0
        assert counted.total("llm_usage_missing_total") == 0
    # who leaves a stream early is no fault
    assert len(counted.said) == (0 if status == "aborted" else 1)


# what is wrong with the usage itself

WHOLE: dict[str, tuple[Any, str]] = {
    "null": (None, "no_usage"),
    "left out": (ABSENT, "no_usage"),
    "empty": ({}, "no_usage"),
    "without counts": ({"cost": 0.1, "queue_time": 1.5}, "no_usage"),
    "a list": ([], "bad_usage"),
    "a list of objects": ([{"prompt_tokens": 20}], "bad_usage"),
    "a string": ("20", "bad_usage"),
    "an empty string": ("", "bad_usage"),
    "a number": (20, "bad_usage"),
    "a float": (2.5, "bad_usage"),
    "true": (True, "bad_usage"),
}
"""In the place of the whole usage, and what we say of it."""

COUNTS = {
    "a string": "20",
    "a float": 12.5,
    "negative": -3,
    "huge": 10**30,
    "a list": [20],
    "an object": {"tokens": 20},
    "true": True,
    "not a number": float("nan"),
    "endless": float("inf"),
}
"""In the place of one count."""

DETAILS = {
    "a string": "none",
    "a number": 8,
    "true": True,
    "an object of strings": {"cached_tokens": "8", "ephemeral_5m_input_tokens": "3"},
    "an object of lists": {"cached_tokens": [8], "ephemeral_5m_input_tokens": [3]},
    "a list of numbers": [1, 2],
}
"""In the place of the details of the prompt, or of what was written to the cache."""


@pytest.mark.parametrize("fault", WHOLE)
@pytest.mark.parametrize("name", SHAPES)
def test_a_usage_that_is_none_is_counted_as_missing(name, fault, host, clients, counting):
    usage, reason = WHOLE[fault]
    shape = SHAPES[name]
    host.says = answered(shape.answer(usage), shape.content_type)
    counted = twice(shape, clients, counting)
    for record in counted.records:
        assert record.usage is None
        assert record.status == "ok"
        assert (record.cost.status, record.cost.reasons) == ("unpriced", (reason,))
        assert record.notes == ((f"bad_usage:{shape.key}",) if reason == "bad_usage" else ())
    told(counted, "missing" if reason == "no_usage" else "bad", reason)


@pytest.mark.parametrize("fault", COUNTS)
@pytest.mark.parametrize("side", [0, 1], ids=["input", "output"])
@pytest.mark.parametrize("name", SHAPES)
def test_a_count_that_is_none_leaves_the_others_alone(name, side, fault, host, clients, counting):
    shape = SHAPES[name]
    key = shape.counts[side]
    usage = {**shape.usage, key: COUNTS[fault]}
    host.says = answered(shape.answer(usage), shape.content_type)
    counted = twice(shape, clients, counting)
    for record in counted.records:
        assert f"bad_usage:{key}" in record.notes
        assert record.usage is not None
        assert record.usage.nonzero().items() <= shape.billed.items()
        assert record.cost.total is None
        assert "bad_usage" in record.cost.reasons
    told(counted, "bad", "bad_usage")


@pytest.mark.parametrize("fault", DETAILS)
@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.details])
def test_details_that_are_none_leave_the_totals_alone(name, fault, host, clients, counting):
    shape = SHAPES[name]
    usage = {**shape.usage, shape.details: DETAILS[fault]}
    host.says = answered(shape.answer(usage), shape.content_type)
    counted = twice(shape, clients, counting)
    for record in counted.records:
        assert record.usage is not None
        assert (record.usage.input_tokens, record.usage.output_tokens) == (20, 9)
        assert record.cost.total is None
        assert "bad_usage" in record.cost.reasons
    told(counted, "bad", "bad_usage")


@pytest.mark.parametrize("fault", [None, ABSENT], ids=["null", "left out"])
@pytest.mark.parametrize("side", [0, 1], ids=["input", "output"])
@pytest.mark.parametrize("name", SHAPES)
def test_a_count_that_is_not_told_is_unknown_or_what_the_total_says(
    name, side, fault, host, clients, counting
):
    shape = SHAPES[name]
    key = shape.counts[side]
    usage = {**shape.usage, key: fault}
    if fault is ABSENT:
        del usage[key]
    host.says = answered(shape.answer(usage), shape.content_type)
    counted = twice(shape, clients, counting)
    for record in counted.records:
        assert record.usage is not None
        assert record.status == "ok"
        assert (record.usage.nonzero(), record.notes) == _without(shape, side)


def _without(shape: Shape, side: int) -> tuple[dict[str, int], tuple[str, ...]]:
    """What an answer tells that leaves out a count, and how it is marked."""
    kind = ("input", "output")[side]
    rest = {other: count for other, count in shape.billed.items() if other != kind}
    if "messages" in shape.name:  # Anthropic tells no total
        if shape.stream and kind == "output":  # what the start says of it is a placeholder
            del rest["reasoning"]
        return rest, ()
    if "gemini" in shape.name and kind == "output":  # where a zero is left out too
        return rest, ("total_mismatch:5",)
    return shape.billed, ()


@pytest.mark.parametrize("name", SHAPES)
def test_a_whole_number_with_a_point_is_a_count(name, host, clients, counting):
    shape = SHAPES[name]
    usage = {**shape.usage, shape.counts[0]: float(shape.usage[shape.counts[0]])}
    host.says = answered(shape.answer(usage), shape.content_type)
    exact(shape, twice(shape, clients, counting))


# what is wrong with the answer around it

HTML = b"<!doctype html><html><body><h1>It works!</h1></body></html>"


def _deflated(body: bytes, window: int) -> bytes:
    packer = zlib.compressobj(wbits=window)
    return packer.compress(body) + packer.flush()


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def _broken_off(body: bytes) -> bytes:
    """Up to the middle of a letter, where there is one."""
    letter = body.find("世".encode())
    return body[: letter + 1 if letter >= 0 else len(body) // 2]


def _pieces(body: bytes, kind: str, **options: Any) -> bytes:
    size = 23 if len(body) < 10_000 else 4096
    return answered(b"", kind, pieces=cut(body, size), **options)


Fault = Callable[[bytes, str], bytes]
"""From the right body and its content type to what the host says instead."""

HARMLESS: dict[str, Fault] = {
    "in small pieces": _pieces,
    "gzip": lambda b, t: answered(_gzip(b), t, encoding="gzip"),
    "gzip in pieces": lambda b, t: _pieces(_gzip(b), t, encoding="gzip"),
    "deflate": lambda b, t: answered(zlib.compress(b), t, encoding="deflate"),
    "deflate in pieces": lambda b, t: _pieces(zlib.compress(b), t, encoding="deflate"),
    "bare deflate": lambda b, t: answered(_deflated(b, -15), t, encoding="deflate"),
    "bare deflate in pieces": lambda b, t: _pieces(_deflated(b, -15), t, encoding="deflate"),
    "gzip of gzip": lambda b, t: answered(_gzip(_gzip(b)), t, encoding="gzip, gzip"),
    "an encoding that nobody knows": lambda b, t: answered(b, t, encoding="rot13"),
    "called text": lambda b, t: answered(b, "text/plain"),
    "without a content type": lambda b, t: answered(b, None),
    "with white space around it": lambda b, t: answered(b"\n\n" + b + b"\n\n", t),
}
"""Odd, but all there."""

Ending = tuple[str, str]
"""Status and source of the record."""

UNREAD, EMPTY, LOST = ("ok", "bad"), ("ok", "missing"), ("error", "missing")
GUESSED = ("broken", "estimated")

FATAL: dict[str, tuple[Fault, Ending, Ending, Ending]] = {
    "an empty body": (lambda b, t: answered(b"", t), UNREAD, EMPTY, EMPTY),
    "a page of HTML": (lambda b, t: answered(HTML, "text/html"), UNREAD, EMPTY, UNREAD),
    "HTML with a false name": (lambda b, t: answered(HTML, t), UNREAD, EMPTY, UNREAD),
    "null": (lambda b, t: answered(b"null", t), UNREAD, EMPTY, GUESSED),
    "a list": (lambda b, t: answered(b"[1, 2]", t), EMPTY, EMPTY, GUESSED),
    "deeply nested": (
        lambda b, t: answered(b'{"a":' * 5000 + b"1" + b"}" * 5000, t),
        UNREAD,
        UNREAD,
        LOST,
    ),
    "broken off": (lambda b, t: answered(_broken_off(b), t), UNREAD, GUESSED, GUESSED),
    "shorter than it says": (
        lambda b, t: answered(_broken_off(b), t, length=len(b)),
        LOST,
        GUESSED,
        GUESSED,
    ),
    "without its last piece": (
        lambda b, t: _pieces(_broken_off(b), t, ended=False),
        LOST,
        GUESSED,
        GUESSED,
    ),
    "not in the encoding that it says": (
        lambda b, t: answered(b, t, encoding="gzip"),
        LOST,
        EMPTY,
        LOST,
    ),
    "gzip that breaks off": (
        lambda b, t: answered(_gzip(b)[:-20], t, encoding="gzip"),
        UNREAD,
        GUESSED,
        GUESSED,
    ),
    "gzip with nonsense in it": (
        lambda b, t: answered(_gzip(b)[:60] + b"\xff" * 40, t, encoding="gzip"),
        LOST,
        EMPTY,
        LOST,
    ),
    # the SDKs' HTTP library stops at the end of the first one
    "gzip in two parts": (
        lambda b, t: _pieces(_gzip(b[:50]) + _gzip(b[50:]), t, encoding="gzip"),
        UNREAD,
        GUESSED,
        GUESSED,
    ),
}
"""What cannot be read, or not all of it: the record of a plain answer, of a stream, of Gemini's."""

OF_EMBEDDINGS = {"a list": UNREAD, "gzip that breaks off": EMPTY}
"""Their vectors are never parsed: only the place where the usage should be."""


OF_AIOHTTP = {
    "gzip of gzip": LOST,  # raises
    "broken off": LOST,  # decodes the text itself, and raises
    "gzip in two parts": ("ok", "reported"),  # reads all of them
}
"""What google-genai's other HTTP library makes of an answer."""


def ending(shape: Shape, fault: str) -> Ending:
    _, plain, stream, gemini = FATAL[fault]
    if shape.name == "embeddings":
        return OF_EMBEDDINGS.get(fault, plain)
    return (gemini if "gemini" in shape.name else stream) if shape.stream else plain


@pytest.mark.parametrize("fault", HARMLESS)
@pytest.mark.parametrize("name", SHAPES)
def test_an_odd_answer_is_counted_exactly(name, fault, host, clients, counting):
    shape = SHAPES[name]
    host.says = HARMLESS[fault](shape.answer(shape.usage), shape.content_type)
    exact(shape, twice(shape, clients, counting))


@pytest.mark.parametrize("fault", HARMLESS)
@pytest.mark.parametrize("name", SHAPES)
async def test_an_odd_answer_is_counted_exactly_in_async(
    name, fault, host, async_clients, counting
):
    shape = SHAPES[name]
    host.says = HARMLESS[fault](shape.answer(shape.usage), shape.content_type)
    counted = await twice_async(shape, async_clients, counting)
    if "gemini" in name and fault in OF_AIOHTTP:
        ended(counted, OF_AIOHTTP[fault])
    else:
        exact(shape, counted)


@pytest.mark.parametrize("fault", FATAL)
@pytest.mark.parametrize("name", SHAPES)
def test_an_unreadable_answer_is_counted_as_such(name, fault, host, clients, counting):
    shape = SHAPES[name]
    host.says = FATAL[fault][0](shape.answer(shape.usage), shape.content_type)
    counted = twice(shape, clients, counting)
    ended(counted, ending(shape, fault))


@pytest.mark.parametrize("fault", FATAL)
@pytest.mark.parametrize("name", SHAPES)
async def test_an_unreadable_answer_is_counted_as_such_in_async(
    name, fault, host, async_clients, counting
):
    shape = SHAPES[name]
    host.says = FATAL[fault][0](shape.answer(shape.usage), shape.content_type)
    counted = await twice_async(shape, async_clients, counting)
    expected = ending(shape, fault)
    if "gemini" in name and not (shape.stream and fault == "broken off"):
        expected = OF_AIOHTTP.get(fault, expected)
    if expected == ("ok", "reported"):
        exact(shape, counted)
    else:
        ended(counted, expected)


# what is odd about the events of a stream


def _events(body: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in body.split(b"\n\n") if event]


def _between(body: bytes, *more: bytes) -> bytes:
    return b"".join(part for event in _events(body) for part in (event, *more))


UNKNOWN = b'event: response.new_thing\ndata: {"type": "response.new_thing", "n": [1]}\n\n'

ODD_EVENTS: dict[str, Callable[[bytes], bytes]] = {
    "CRLF": lambda b: b.replace(b"\n", b"\r\n"),
    "CR": lambda b: b.replace(b"\n", b"\r"),
    "a byte order mark": lambda b: b"\xef\xbb\xbf" + b,
    "comments": lambda b: b": hello\n\n" + _between(b, b": KEEP ALIVE\n\n", b":\n"),
    "ids and retries": lambda b: _between(b, b"id: 7\nretry: 3000\n\n"),
    "no space after the colon": lambda b: b.replace(b"data: ", b"data:"),
    "events nobody knows": lambda b: _between(b, UNKNOWN),
    "events without data": lambda b: _between(b, b"data:\n\n", b"event: ping\n\n", b"\n\n"),
    "a giant comment": lambda b: b": " + b"x" * 300_000 + b"\n\n" + b,
    "a giant event": lambda b: b.replace("世".encode(), "世".encode() * 100_000),
    "no end of the last event": lambda b: b.rstrip(b"\n"),
    "its end told twice": lambda b: b + _events(b)[-1],
}
"""Streams that say all that there is to say, in odd ways."""

UNREADABLE: dict[tuple[str, str], Ending] = {
    ("gemini stream", "a byte order mark"): UNREAD,
    ("gemini stream", "comments"): UNREAD,
    ("gemini stream", "no space after the colon"): UNREAD,
    ("gemini stream", "a giant comment"): UNREAD,
    ("gemini stream", "ids and retries"): GUESSED,
    ("gemini stream", "events nobody knows"): GUESSED,
    ("gemini stream", "events without data"): GUESSED,
    # the SDK raises in its own loop, and closes the stream as a caller would who leaves
    ("chat stream", "ids and retries"): ("aborted", "estimated"),
    ("chat stream", "events without data"): ("aborted", "estimated"),
    ("responses stream", "ids and retries"): ("aborted", "estimated"),
    ("responses stream", "events without data"): ("aborted", "estimated"),
}
"""What the SDKs cannot read themselves."""


@pytest.mark.parametrize("odd", ODD_EVENTS)
@pytest.mark.parametrize("name", STREAMS)
def test_odd_events_are_read_as_the_sdk_reads_them(name, odd, host, clients, counting):
    shape = SHAPES[name]
    host.says = _pieces(ODD_EVENTS[odd](shape.answer(shape.usage)), shape.content_type)
    counted = twice(shape, clients, counting)
    if (name, odd) in UNREADABLE:
        ended(counted, UNREADABLE[name, odd])
    else:
        exact(shape, counted)


LAST = {"chat stream": 2, "responses stream": 1, "messages stream": 2, "gemini stream": 1}
"""How many events at the end tell the usage and that this was all."""


@pytest.mark.parametrize("name", STREAMS)
def test_of_two_usages_the_last_one_counts(name, host, clients, counting):
    shape = SHAPES[name]
    less = {**shape.usage, shape.counts[1]: 7}
    before, after = _events(shape.answer(less)), _events(shape.answer(shape.usage))
    last = LAST[name]
    events = before[: len(before) + 1 - last] + after[-last:]
    host.says = answered(b"".join(events), shape.content_type)
    exact(shape, twice(shape, clients, counting))


WITHOUT_END = {
    "chat stream": ("ok", "reported"),  # no [DONE], but the usage and why it ended
    "responses stream": GUESSED,
    "messages stream": ("ok", "reported"),  # it said why it stopped, and its last numbers
    "gemini stream": GUESSED,
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_without_its_last_event_is_what_it_told_until_then(name, host, clients, counting):
    shape = SHAPES[name]
    events = _events(shape.answer(shape.usage))[:-1]
    host.says = answered(b"".join(events), shape.content_type)
    counted = twice(shape, clients, counting)
    if WITHOUT_END[name] == ("ok", "reported"):
        exact(shape, counted)
    else:
        ended(counted, WITHOUT_END[name])


@pytest.mark.parametrize("name", STREAMS)
def test_a_plain_answer_to_a_stream_is_counted(name, host, clients, counting):
    shape, plain = SHAPES[name], SHAPES[name.removesuffix(" stream")]
    host.says = answered(plain.answer(plain.usage), plain.content_type)
    # google-genai takes it for the only chunk
    exact(shape, twice(shape, clients, counting), chunks=name == "gemini stream")


# the usage that we ask for and hide

UNASKED = SHAPES["chat stream"]._replace(
    name="chat stream, unasked",
    call=lambda c: c.openai.chat.completions.create(
        model="gpt-4.1", messages=MESSAGES, stream=True
    ),
)


def _asked(body: bytes) -> bytes:
    """The same stream from a host that was asked for usage: null in every chunk but the last."""
    usage = b', "usage": ' + _json(CHAT_USAGE)
    chunk = _sse(_chunk([])).replace(b"}\n", usage + b"}\n")
    *others, done = _events(body)
    nulls = [event.replace(b"}\n\n", b', "usage": null}\n\n') for event in others]
    return b"".join([*nulls, chunk, done])


def _unasked() -> bytes:
    *others, _, done = _events(_chat_stream(ABSENT))
    return b"".join([*others, done])


# one of the events that nobody knows would come after the hidden chunk, and is not hidden
@pytest.mark.parametrize(
    "odd", [None, *(odd for odd in ODD_EVENTS if odd != "events nobody knows")]
)
def test_what_we_ask_for_is_hidden_in_odd_events_too(odd, host, clients, counting):
    change = ODD_EVENTS[odd] if odd else bytes
    host.says = _pieces(change(_unasked()), "text/event-stream")
    alone = got(UNASKED, clients)
    host.says = _pieces(change(_asked(_unasked())), "text/event-stream")
    with counting() as counted:
        assert got(UNASKED, clients) == alone
    (record,) = counted.records
    if ("chat stream", odd) in UNREADABLE:
        assert (record.status, record.usage_source) == UNREADABLE["chat stream", odd]
    else:
        assert record.usage is not None
        assert record.usage.nonzero() == BILLED


@pytest.mark.parametrize("size", [None, 1, 7, 64])
def test_what_we_ask_for_is_hidden_wherever_the_stream_breaks_off(size, host, clients, counting):
    whole, alone = _asked(_unasked()), _events(_unasked())
    for at in range(1, len(whole), 41):
        ends = whole[:at].count(b"\n\n")
        seen = alone if ends > len(alone) else alone[: min(ends, len(alone) - 1)]
        host.says = answered(b"", "text/event-stream", pieces=seen, ended=False)
        without_us = got(UNASKED, clients)
        pieces = cut(whole[:at], size or at)
        host.says = answered(b"", "text/event-stream", pieces=pieces, ended=False)
        with counting() as counted:
            assert got(UNASKED, clients) == without_us
        assert len(counted.records) == 1


# faults of our own


class OurFaultError(Exception):
    """What nobody but us may ever see."""


def _fails(*args: Any, **kwargs: Any) -> Any:
    raise OurFaultError


class _FailsAt:
    """A reader that fails in one place."""

    def __init__(self, place: str, reader: Any) -> None:
        self._place = place
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        if name == self._place:
            return _fails
        return getattr(self._reader, name)


class _FailsToTell(_FailsAt):
    """A reader that cannot even say whether it is complete."""

    def __getattr__(self, name: str) -> Any:
        if name == self._place:
            raise OurFaultError
        return super().__getattr__(name)


def _reader(place: str, kind: type[_FailsAt] = _FailsAt) -> Callable[[pytest.MonkeyPatch], None]:
    def put(monkeypatch: pytest.MonkeyPatch) -> None:
        made = providers.reader
        monkeypatch.setattr(providers, "reader", lambda request: kind(place, made(request)))

    return put


def _failing(target: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: monkeypatch.setattr(f"otel_llm_usage.{target}", _fails)


class Ours(NamedTuple):
    """A fault of ours: how it is put in, which shapes have it, and what is left of the record."""

    put: Callable[[pytest.MonkeyPatch], None]
    where: Callable[[Shape], bool] = lambda shape: True
    left: str = "all"
    """`all` of the usage, the `record` without it, or `nothing`."""


def _plain(shape: Shape) -> bool:
    return not shape.stream


def _streamed(shape: Shape) -> bool:
    return shape.stream


def _in_bytes(shape: Shape) -> bool:
    return shape.stream and "gemini" not in shape.name


OURS = {
    "the request is not understood": Ours(_failing("providers.describe"), left="nothing"),
    "nobody knows the agent": Ours(_failing("scope._current"), left="nothing"),
    "there is no reader": Ours(_failing("providers.reader"), left="record"),
    "the headers are not read": Ours(_reader("headers")),
    "the body is not read": Ours(_reader("body"), _plain, "record"),
    "an event is not read": Ours(_reader("event"), _streamed, "record"),
    "there are no readings": Ours(_reader("readings"), left="record"),
    "the end is not seen": Ours(_reader("complete", _FailsToTell), left="record"),
    "the bytes do not pass": Ours(_failing("patching.tee.Tap.feed"), _in_bytes, "record"),
    "the bytes are not cut": Ours(_failing("patching.wire.SseSplitter.feed"), _in_bytes, "record"),
    "there is no price": Ours(_failing("runtime.PriceLibrary.price")),
    "there are no prices": Ours(_failing("prices.load_catalogue")),
    "the zero is not shown": Ours(_failing("telemetry.metrics.Metrics.touch")),
    "the metrics do not count": Ours(_failing("telemetry.metrics.Metrics.__call__")),
    "the span is not begun": Ours(_failing("telemetry.spans.Spans.start")),
    "the span is not ended": Ours(_failing("telemetry.spans.Spans.finish")),
}


def _stopped(counted: Counted) -> None:
    """What went wrong was counted each time, and logged once for each place."""
    for _ in range(1000):  # the thread that loads the prices may be about to log it
        lines = [line for line in counted.said if line.startswith("otel-llm-usage failed in")]
        if len(lines) == len(guard.errors):
            break
        time.sleep(0.01)
    assert len(lines) == len(guard.errors)
    assert counted.total("llm_instrumentation_errors_total") == guard.errors.total()


def _left(counted: Counted, shape: Shape, fault: Ours) -> None:
    assert len(counted.records) == (0 if fault.left == "nothing" else 2)
    for record in counted.records:
        if fault.left == "all":
            assert record.usage is not None
            assert record.usage.nonzero() == shape.billed
        else:
            assert record.usage_source != "reported"


@pytest.mark.faults
@pytest.mark.parametrize("fault", OURS)
@pytest.mark.parametrize("name", SHAPES)
def test_our_own_fault_never_reaches_the_caller(name, fault, host, clients, counting, monkeypatch):
    shape, ours = SHAPES[name], OURS[fault]
    host.says = answered(shape.answer(shape.usage), shape.content_type)
    alone = got(shape, clients)
    ours.put(monkeypatch)
    with counting() as counted:
        for _ in range(2):
            assert got(shape, clients) == alone
    if ours.where(shape):
        assert guard.errors.total() >= 2
        _left(counted, shape, ours)
    else:
        assert not guard.errors
        exact(shape, counted)
    _stopped(counted)


@pytest.mark.faults
@pytest.mark.parametrize("fault", OURS)
@pytest.mark.parametrize("name", SHAPES)
async def test_our_own_fault_never_reaches_the_caller_in_async(
    name, fault, host, async_clients, counting, monkeypatch
):
    shape, ours = SHAPES[name], OURS[fault]
    host.says = answered(shape.answer(shape.usage), shape.content_type)
    alone = await got_async(shape, async_clients)
    ours.put(monkeypatch)
    with counting() as counted:
        for _ in range(2):
            assert await got_async(shape, async_clients) == alone
    if ours.where(shape):
        assert guard.errors.total() >= 2
        _left(counted, shape, ours)
    else:
        assert not guard.errors
        exact(shape, counted)
    _stopped(counted)


@pytest.mark.faults
@pytest.mark.parametrize("name", SHAPES)
def test_a_sink_that_fails_keeps_no_other_from_its_records(name, host, clients, counting):
    shape = SHAPES[name]
    host.says = answered(shape.answer(shape.usage), shape.content_type)
    before = Records()
    alone = got(shape, clients)
    with counting(before.append, _fails) as counted:
        for _ in range(2):
            assert got(shape, clients) == alone
    assert before == counted.records
    assert guard.errors.total() == 2
    assert counted.total("llm_tokens_total") == 2 * sum(shape.billed.values())
    _left(counted, shape, Ours(lambda _: None))
    _stopped(counted)


# anything at all

KEYS = sorted(
    {
        *(key for shape in SHAPES.values() for key in shape.usage),
        *("iterations", "server_tool_use", "cached_tokens", "reasoning_tokens", "audio_tokens"),
        *("input_tokens_details", "tokenCount", "modality", "service_tier", "trafficType"),
    }
)
COUNT = st.integers(-5, 50) | st.floats(allow_nan=False) | st.integers(2**50, 2**80)
LEAF = st.none() | st.booleans() | COUNT | st.text(max_size=5) | st.sampled_from(["AUDIO", "20"])
USAGE = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=8)
    ),
    max_leaves=25,
)
RANDOM = settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", SHAPES)
@given(usage=USAGE)
@RANDOM
def test_any_usage_makes_one_record_and_no_difference(name, usage, host, clients, counting):
    shape = SHAPES[name]
    host.says = answered(shape.answer(usage), shape.content_type)
    alone = got(shape, clients)
    with counting() as counted:
        assert got(shape, clients) == alone
    first, *others = counted.records
    assert not others or "iterations" in usage
    for record in counted.records:
        if record.usage is not None:
            assert all(count is None or count >= 0 for count in record.usage)
        assert record.cost.total is None or record.cost.total >= 0
    assert first.usage_source in ("reported", "missing", "bad")


@pytest.mark.parametrize("odd", [None, "CRLF", "CR", "comments", "no end of the last event"])
@pytest.mark.parametrize("name", STREAMS)
@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=60))
@RANDOM
def test_the_record_is_the_same_however_the_stream_is_cut(
    name, odd, sizes, host, clients, counting
):
    shape = SHAPES[name]
    body = (ODD_EVENTS[odd] if odd else bytes)(shape.answer(shape.usage))
    pieces, at = [], 0
    for size in sizes:
        pieces.append(body[at : at + size])
        at += size
    host.says = answered(b"", shape.content_type, pieces=[*pieces, body[at:]])
    alone = got(shape, clients)
    with counting() as counted:
        assert got(shape, clients) == alone
    (record,) = counted.records
    if (name, odd) in UNREADABLE:
        assert (record.status, record.usage_source) == UNREADABLE[name, odd]
    else:
        assert (record.status, record.usage_source, record.notes) == ("ok", "reported", ())
        assert record.usage is not None
        assert record.usage.nonzero() == BILLED
