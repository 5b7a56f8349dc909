"""Answers that are not what they should be, and faults of our own: the caller never notices.

Each answer goes twice to the real SDKs, once with us and once without: what the caller gets is the
same. What could not be counted is counted as such, and logged once.
"""

import gzip
import json
import logging
import socketserver
import threading
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
from prometheus_client import CollectorRegistry

from otel_llm_usage import instrument, uninstrument
from otel_llm_usage.records import Record

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
        self.records: list[Record] = []
        self._registry = registry
        self._caplog = caplog

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric over all series with these labels."""
        return sum(
            sample.value
            for metric in self._registry.collect()
            for sample in metric.samples
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
    def count(**options: Any) -> Iterator[Counted]:
        registry = CollectorRegistry()
        counted = Counted(registry, caplog)
        sinks = [*options.pop("sinks", ()), counted.records.append]
        caplog.set_level(logging.WARNING)
        instrument(sinks=sinks, registry=registry, otlp=False, **options)
        try:
            yield counted
        finally:
            uninstrument()

    return count


# what is wrong with the usage itself

WHOLE = {
    "null": None,
    "left out": ABSENT,
    "empty": {},
    "without counts": {"cost": 0.1, "queue_time": 1.5},
    "a list": [],
    "a list of objects": [{"prompt_tokens": 20}],
    "a string": "20",
    "an empty string": "",
    "a number": 20,
    "a float": 2.5,
    "true": True,
}
"""In the place of the whole usage."""

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
"""In the place of the details."""


# what is wrong with the answer around it

HTML = b"<!doctype html><html><body><h1>It works!</h1></body></html>"
BOM = b"\xef\xbb\xbf"


def _deflated(body: bytes, window: int) -> bytes:
    packer = zlib.compressobj(wbits=window)
    return packer.compress(body) + packer.flush()


def _broken_off(body: bytes) -> bytes:
    """The first half, and one byte of the letter that follows it."""
    letter = body.index("世".encode())
    return body[: letter + 1]


def _plain(body: bytes, kind: str, **options: Any) -> bytes:
    return answered(body, kind, **options)


def _pieces(body: bytes, kind: str, **options: Any) -> bytes:
    return answered(b"", kind, pieces=cut(body, 23), **options)


Fault = Callable[[bytes, str], bytes]
"""From the right body and its content type to what the host says instead."""

HARMLESS: dict[str, Fault] = {
    "in small pieces": _pieces,
    "gzip": lambda b, t: _plain(gzip.compress(b, mtime=0), t, encoding="gzip"),
    "gzip in pieces": lambda b, t: _pieces(gzip.compress(b, mtime=0), t, encoding="gzip"),
    "deflate": lambda b, t: _plain(zlib.compress(b), t, encoding="deflate"),
    "deflate in pieces": lambda b, t: _pieces(zlib.compress(b), t, encoding="deflate"),
    "bare deflate": lambda b, t: _plain(_deflated(b, -15), t, encoding="deflate"),
    "bare deflate in pieces": lambda b, t: _pieces(_deflated(b, -15), t, encoding="deflate"),
    "two gzips": lambda b, t: _pieces(
        gzip.compress(b[:50], mtime=0) + gzip.compress(b[50:], mtime=0), t, encoding="gzip"
    ),
    "gzip of gzip": lambda b, t: _plain(
        gzip.compress(gzip.compress(b, mtime=0), mtime=0), t, encoding="gzip, gzip"
    ),
    "as text": lambda b, t: _plain(b, "text/plain"),
    "without a content type": lambda b, t: answered(b, None),
    "with white space around it": lambda b, t: _plain(b"\n\n" + b + b"\n\n", t),
}
"""Odd, but all there."""

FATAL: dict[str, Fault] = {
    "an empty body": lambda b, t: _plain(b"", t),
    "a page of HTML": lambda b, t: _plain(HTML, "text/html"),
    "HTML under a false name": lambda b, t: _plain(HTML, t),
    "not the encoding it says": lambda b, t: _plain(b, t, encoding="gzip"),
    "an unknown encoding": lambda b, t: _plain(b, t, encoding="rot13"),
    "a list": lambda b, t: _plain(b"[1, 2]", t),
    "null": lambda b, t: _plain(b"null", t),
    "deeply nested": lambda b, t: _plain(b'{"a":' * 2000 + b"1" + b"}" * 2000, t),
    "broken off": lambda b, t: _plain(_broken_off(b), t),
    "shorter than it says": lambda b, t: _plain(_broken_off(b), t, length=len(b)),
    "without its last piece": lambda b, t: answered(
        b"", t, pieces=cut(_broken_off(b), 23), ended=False
    ),
    "gzip that breaks off": lambda b, t: _plain(
        gzip.compress(b, mtime=0)[:-20], t, encoding="gzip"
    ),
    "gzip with a wrong middle": lambda b, t: _plain(
        gzip.compress(b, mtime=0)[:60] + b"\xff" * 40, t, encoding="gzip"
    ),
}
"""Nothing, or not all, can be read of it."""


def _events(body: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in body.split(b"\n\n") if event]


def _between(body: bytes, *more: bytes) -> bytes:
    return b"".join(part for event in _events(body) for part in (event, *more))


ODD_EVENTS: dict[str, Callable[[bytes], bytes]] = {
    "CRLF": lambda b: b.replace(b"\n", b"\r\n"),
    "CR": lambda b: b.replace(b"\n", b"\r"),
    "comments": lambda b: b": hello\n\n" + _between(b, b": KEEP ALIVE\n\n", b":\n"),
    "ids and retries": lambda b: _between(b, b"id: 7\nretry: 3000\n\n"),
    "no space after the colon": lambda b: b.replace(b"data: ", b"data:"),
    "events nobody knows": lambda b: _between(
        b, b'event: response.new_thing\ndata: {"type": "response.new_thing", "usage": null}\n\n'
    ),
    "empty events": lambda b: _between(b, b"data:\n\n", b"event: ping\n\n", b"\n\n"),
    "a giant comment": lambda b: b": " + b"x" * 300_000 + b"\n\n" + b,
    "no end of the last event": lambda b: b.rstrip(b"\n"),
    "told twice": lambda b: b + _events(b)[-1],
}
"""Streams that say all that there is to say, in odd ways."""
