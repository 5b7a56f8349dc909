"""A provider that says anything, the real SDKs in front of it, and what is recorded of it."""

import gzip
import itertools
import json
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai
from google.genai import _api_client, types
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from otel_llm_usage import Record
from otel_llm_usage.runtime import current

quickly = settings(
    max_examples=settings().max_examples // 3,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

NEWLINES = (b"\n", b"\r\n", b"\r")


# what goes over the wire


class Body(httpx2.SyncByteStream):
    """Pieces of an answer, and how it ends."""

    def __init__(self, pieces: Sequence[bytes], error: Exception | None) -> None:
        self._pieces = pieces
        self._error = error
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.closed += 1


class Said(NamedTuple):
    """An answer: its bytes as they come, and what its head says."""

    pieces: Sequence[bytes]
    content_type: str | None = None
    encoding: str | None = None
    error: Exception | None = None


class Transport(httpx2.BaseTransport):
    """Says what it is told."""

    def __init__(self) -> None:
        self.said = Said(())
        self.asked: Any = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked = json.loads(request.content)
        headers = {}
        if self.said.content_type is not None:
            headers["content-type"] = self.said.content_type
        if self.said.encoding is not None:
            headers["content-encoding"] = self.said.encoding
        return httpx2.Response(200, headers=headers, stream=Body(self.said.pieces, self.said.error))


class Rig:
    """The three SDKs in front of one transport."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self.transport = Transport()
        http = httpx2.Client(transport=self.transport)
        common: dict[str, Any] = {"api_key": "key", "http_client": http, "max_retries": 0}
        self.openai = openai.OpenAI(base_url="http://127.0.0.1:1/v1", **common)
        self.anthropic = anthropic.Anthropic(base_url="http://127.0.0.1:1", **common)
        self.google = _api_client.BaseApiClient(
            api_key="key",
            http_options=types.HttpOptions(base_url="http://127.0.0.1:1", httpx_client=http),
        )

    def close(self) -> None:
        self.openai.close()

    def ask(self, shape: "Shape", said: Said, *, asks: bool = True) -> "Heard":
        """Ask for this shape, and hear this: what the caller got, and the records.

        `asks`: the caller asks for the usage of a chat stream; else we do, unseen.
        """
        self.hear()
        self.transport.said = said
        got = self._google(shape) if shape.sdk == "google" else self._raw(shape, asks)
        return Heard(got, self.hear())

    def hear(self) -> list[Record]:
        """What was recorded since the last time."""
        runtime = current()
        if runtime is not None:
            runtime.flush()
        heard = [timeless(record) for record in self.records]
        self.records.clear()
        return heard

    def _raw(self, shape: "Shape", asks: bool) -> Any:
        client = self.openai if shape.sdk == "openai" else self.anthropic
        module = openai if shape.sdk == "openai" else anthropic
        options: Any = {"headers": {"X-Stainless-Raw-Response": "stream"}}
        asked: dict[str, Any] = {"model": shape.model}
        if shape.stream:
            asked["stream"] = True
            if asks and shape.endpoint in ("chat.completions", "completions"):
                asked["stream_options"] = {"include_usage": True}
        answer: Any = client.post(
            shape.path,
            body=asked,
            cast_to=object,
            options=options,
            stream=shape.stream,
            stream_cls=module.Stream[object],
        )
        got = bytearray()
        error = None
        try:
            for piece in answer.http_response.iter_raw():
                got += piece
        except Exception as failed:
            error = failed
        answer.http_response.close()
        return bytes(got), error

    def _google(self, shape: "Shape") -> Any:
        got: list[Any] = []
        asked: dict[str, Any] = {"contents": []}
        try:
            if shape.stream:
                for chunk in self.google.request_streamed("post", shape.path, asked, None):
                    got.append(chunk.body)
            else:
                got.append(self.google.request("post", shape.path, asked, None).body)
        except Exception as failed:
            return got, type(failed), str(failed)
        return got, None


class Heard(NamedTuple):
    """What the caller got, and what we recorded, but for the times."""

    got: Any
    records: list[Record]

    @property
    def record(self) -> Record:
        return self.records[0]


def timeless(record: Record) -> Record:
    """A record without what differs from run to run."""
    return record._replace(id="", time=0.0, duration=None, time_to_first_chunk=None)


# shapes of answers


class Shape(NamedTuple):
    """One endpoint, whole or streamed, and an answer to it with any usage."""

    endpoint: str
    sdk: str
    path: str
    model: str
    keys: tuple[str, ...]
    """What the usage object may hold."""
    parts: Callable[[str], list[str | bytes]]
    """From a usage as JSON to the events of the stream, or to the one body."""
    stream: bool = False

    @property
    def id(self) -> str:
        return f"{self.endpoint}{', streamed' if self.stream else ''}"

    def events(self, usage: str) -> list[bytes]:
        """Each event without its end, or the one body."""
        found = [
            part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
            for part in self.parts(usage)
        ]
        if not self.stream:
            return found
        return [_named(event) + b"data: " + event for event in found]

    def body(self, usage: str, newline: bytes = b"\n") -> bytes:
        """The answer as bytes."""
        events = self.events(usage)
        if not self.stream:
            return b"".join(events)
        return b"".join(event.replace(b"\n", newline) + newline * 2 for event in events)

    @property
    def content_type(self) -> str:
        return "text/event-stream" if self.stream else "application/json"


def _named(event: bytes) -> bytes:
    if not event.startswith(b'{"type":"'):
        return b""
    return b"event: " + event[9:].partition(b'"')[0] + b"\n"


def _chat(usage: str) -> list[str | bytes]:
    choice = '{"index":0,"message":{"role":"assistant","content":"Grüße"},"finish_reason":"stop"}'
    return [
        '{"id":"c1","object":"chat.completion","created":1,"model":"gpt-4.1",'
        f'"choices":[{choice}],"usage":{usage}}}'
    ]


def _chunks(key: str) -> Callable[[str], list[str | bytes]]:
    said = '"text":"Grüße"' if key == "text" else '"delta":{"content":"Grüße"}'
    head = '{"id":"c1","object":"chunk","created":1,"model":"gpt-4.1","choices":'
    return lambda usage: [
        f'{head}[{{"index":0,{said},"finish_reason":null}}]}}',
        f'{head}[{{"index":0,{said},"finish_reason":null}}]}}',
        f'{head}[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}',
        f'{head}[],"usage":{usage}}}',
        "[DONE]",
    ]


def _response(usage: str, status: str = "completed") -> str:
    return (
        f'{{"id":"r1","object":"response","status":"{status}","model":"gpt-4.1","output":[],'
        f'"usage":{usage}}}'
    )


def _response_events(usage: str) -> list[str | bytes]:
    created = _response("null", "in_progress")
    return [
        f'{{"type":"response.created","response":{created}}}',
        '{"type":"response.output_text.delta","delta":"Grüße"}',
        f'{{"type":"response.completed","response":{_response(usage)}}}',
    ]


def _message(usage: str) -> str:
    return (
        '{"id":"m1","type":"message","role":"assistant","model":"claude-sonnet-4-5",'
        '"content":[{"type":"text","text":"Grüße"}],"stop_reason":"end_turn",'
        f'"usage":{usage}}}'
    )


def _message_events(usage: str) -> list[str | bytes]:
    start = _message(usage).replace('"end_turn"', "null")
    return [
        f'{{"type":"message_start","message":{start}}}',
        '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        '{"type":"ping"}',
        '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Grüße"}}',
        '{"type":"content_block_stop","index":0}',
        f'{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{usage}}}',
        '{"type":"message_stop"}',
    ]


def _content(usage: str, finish: str = ',"finishReason":"STOP"') -> str:
    return (
        '{"candidates":[{"content":{"role":"model","parts":[{"text":"Grüße"}]}' + finish + "}],"
        f'"usageMetadata":{usage},"modelVersion":"gemini-2.5-flash","responseId":"g1"}}'
    )


_INTERACTION = '{"id":"i1","status":"completed","model":"gemini-2.5-flash","usage":'

_DETAILS = ("prompt_tokens_details", "completion_tokens_details")
_CHAT_KEYS = (
    *("prompt_tokens", "completion_tokens", "total_tokens", *_DETAILS),
    *(
        "cached_tokens",
        "reasoning_tokens",
        "audio_tokens",
        "cache_write_tokens",
        "num_sources_used",
    ),
)
_RESPONSE_KEYS = (
    *("input_tokens", "output_tokens", "total_tokens", "input_tokens_details"),
    *("output_tokens_details", "cached_tokens", "reasoning_tokens", "cache_write_tokens_details"),
)
_AUDIO_KEYS = (*_RESPONSE_KEYS, "type", "seconds", "input_token_details")
_MESSAGE_KEYS = (
    *("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
    *("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "iterations"),
    *("output_tokens_details", "thinking_tokens", "server_tool_use", "web_search_requests"),
    *("service_tier", "speed", "inference_geo"),
)
_GEMINI_KEYS = (
    *("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount"),
    *("cachedContentTokenCount", "toolUsePromptTokenCount", "promptTokensDetails", "modality"),
    *("candidatesTokensDetails", "cacheTokensDetails", "tokenCount", "trafficType", "serviceTier"),
)
_INTERACTION_KEYS = (
    *("total_input_tokens", "total_output_tokens", "total_thought_tokens", "total_cached_tokens"),
    *("total_tokens", "total_tool_use_tokens", "input_tokens_by_modality", "tokens", "modality"),
    "grounding_tool_count",
)

_O, _A, _G = "openai", "anthropic", "google"
_GPT, _FLASH = "gpt-4.1", "models/gemini-2.5-flash"
SHAPES: tuple[Shape, ...] = (
    Shape("chat.completions", _O, "/chat/completions", _GPT, _CHAT_KEYS, _chat),
    Shape("chat.completions", _O, "/chat/completions", _GPT, _CHAT_KEYS, _chunks("delta"), True),
    Shape("completions", _O, "/completions", _GPT, _CHAT_KEYS, _chat),
    Shape("completions", _O, "/completions", _GPT, _CHAT_KEYS, _chunks("text"), True),
    Shape("responses", _O, "/responses", _GPT, _RESPONSE_KEYS, lambda u: [_response(u)]),
    Shape("responses", _O, "/responses", _GPT, _RESPONSE_KEYS, _response_events, True),
    Shape("decisions", _O, "/decisions", _GPT, _RESPONSE_KEYS, lambda u: [_response(u)]),
    Shape(
        "embeddings", _O, "/embeddings", "text-embedding-3-small", _CHAT_KEYS,
        lambda u: [f'{{"object":"list","data":[{{"embedding":[0.1]}}],'
                   f'"model":"text-embedding-3-small","usage":{u}}}'],
    ),
    Shape(
        "images", _O, "/images/generations", "gpt-image-1", _RESPONSE_KEYS,
        lambda u: [f'{{"created":1,"data":[{{"b64_json":"AAAA"}}],"usage":{u}}}'],
    ),
    Shape(
        "images", _O, "/images/generations", "gpt-image-1", _RESPONSE_KEYS,
        lambda u: ['{"type":"image_generation.partial_image","b64_json":"AA"}',
                   f'{{"type":"image_generation.completed","b64_json":"AA","usage":{u}}}'],
        True,
    ),
    Shape(
        "audio.transcriptions", _O, "/audio/transcriptions", "gpt-4o-transcribe", _AUDIO_KEYS,
        lambda u: [f'{{"text":"Grüße","usage":{u}}}'],
    ),
    Shape(
        "audio.transcriptions", _O, "/audio/transcriptions", "gpt-4o-transcribe", _AUDIO_KEYS,
        lambda u: ['{"type":"transcript.text.delta","delta":"Grüße"}',
                   f'{{"type":"transcript.text.done","text":"Grüße","usage":{u}}}'],
        True,
    ),
    Shape(
        "audio.translations", _O, "/audio/translations", "whisper-1", _AUDIO_KEYS,
        lambda u: [f'{{"text":"Grüße","duration":3.5,"usage":{u}}}'],
    ),
    Shape("audio.speech", _O, "/audio/speech", "tts-1", _RESPONSE_KEYS, lambda u: [b"\0RIFF\xff"]),
    Shape(
        "audio.speech", _O, "/audio/speech", "gpt-4o-mini-tts", _RESPONSE_KEYS,
        lambda u: ['{"type":"speech.audio.delta","audio":"AA"}',
                   f'{{"type":"speech.audio.done","usage":{u}}}'],
        True,
    ),
    Shape("messages", _A, "/v1/messages", "claude-sonnet-4-5", _MESSAGE_KEYS, lambda u: [_message(u)]),
    Shape("messages", _A, "/v1/messages", "claude-sonnet-4-5", _MESSAGE_KEYS, _message_events, True),
    Shape("complete", _A, "/v1/complete", "claude-2", _MESSAGE_KEYS, lambda u: [f'{{"usage":{u}}}']),
    Shape("generate_content", _G, f"{_FLASH}:generateContent", "", _GEMINI_KEYS, lambda u: [_content(u)]),
    Shape(
        "generate_content", _G, f"{_FLASH}:streamGenerateContent?alt=sse", "", _GEMINI_KEYS,
        lambda u: [_content("null", ""), _content(u, ""), _content(u)],
        True,
    ),
    Shape(
        "embed_content", _G, "models/gemini-embedding-2:batchEmbedContents", "", _GEMINI_KEYS,
        lambda u: [f'{{"embeddings":[{{"values":[0.1]}}],"usageMetadata":{u}}}'],
    ),
    Shape(
        "generate_images", _G, "models/imagen-4.0-generate-001:predict", "", _GEMINI_KEYS,
        lambda u: [f'{{"predictions":[{{"bytesBase64Encoded":"AA"}}],"usageMetadata":{u}}}'],
    ),
    Shape(
        "caches.create", _G, "cachedContents", "", _GEMINI_KEYS,
        lambda u: [f'{{"name":"cachedContents/1","model":"{_FLASH}","ttl":"60s","usageMetadata":{u}}}'],
    ),
    Shape("interactions", _G, "interactions", "", _INTERACTION_KEYS, lambda u: [f"{_INTERACTION}{u}}}"]),
)  # fmt: skip
BY_ID = {shape.id: shape for shape in SHAPES}
STREAMS = [shape.id for shape in SHAPES if shape.stream]


# anything that may stand in a usage


class Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, in order; names may repeat."""


def rendered(value: Any) -> str:
    """As JSON, or nearly: NaN, infinities and lone surrogates as careless servers write them."""
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(k)}:{rendered(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(rendered, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Raw):
        return value.text
    return json.dumps(value)


class Raw(NamedTuple):
    """Text that is put where a value was due."""

    text: str


ODD = (
    *("12", "", "\ud800", "\0", "\ufeff7", "NaN", "1e400", "AUDIO", "flex", "batch", "duration"),
    *(True, False, None, 3.0, 3.5, -1, -0.0, 1e300, 2**40, 2**40 + 1, 2**53 + 1, 2**63, 10**40),
    *(float("nan"), float("inf"), float("-inf"), Raw("1e5"), Raw("-0"), Raw("12.0e0")),
    *(Raw("[" * 90 + "]" * 90), Raw('{"a":' * 90 + "1" + "}" * 90), Raw('"\\u0000"')),
    *(Raw("1" * 4000), Raw('"\\ud800\\udc00"'), Raw("{}"), Raw("[[],{},null]")),
)
counts = st.one_of(st.integers(0, 3000), st.integers(-3, 3), st.sampled_from(ODD))


def usages(keys: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Usage objects of these keys, as JSON: every value may be anything."""

    def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        member = st.tuples(st.sampled_from(keys) | st.text(max_size=3), counts | inner)
        return st.lists(member, max_size=8).map(Pairs) | st.lists(counts | inner, max_size=3)

    whole = st.recursive(objects(counts), objects, max_leaves=8)
    return (whole | st.sampled_from(ODD)).map(rendered)


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """The data in pieces; empty ones are among them if a place repeats."""
    at = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(at)]


places = st.lists(st.integers(0, 1 << 16), max_size=12)


def packed(data: bytes, encoding: str | None) -> bytes:
    """With a content encoding."""
    if encoding == "gzip":
        return gzip.compress(data, 1, mtime=0)
    if encoding == "deflate":
        return zlib.compress(data, 1)
    return data


# what must hold of every record

FREE = ("free", "prepaid", "not_billed")


def sound(heard: Heard) -> None:
    """No count is negative or no count at all, no cost is below zero or nothing for something."""
    assert heard.records
    for record in heard.records:
        for count in record.usage or ():
            assert count is None or (type(count) is int and 0 <= count <= 2**54)
        for quantity in record.units.values():
            assert quantity >= 0
        total = record.cost.total
        assert total is None or (total.is_finite() and total >= 0)
        assert record.cost.known.is_finite()
        assert record.cost.known >= 0
        if total == 0 and record.usage is not None and record.usage.total_tokens:
            assert record.cost.status in FREE, record.cost
        assert record.status in ("ok", "error", "aborted", "broken")
        assert record.usage_source in ("reported", "partial", "estimated", "missing", "bad")
        for word in (record.response_model, record.response_id, record.tier, record.error_type):
            assert word is None or isinstance(word, str)
        assert all(isinstance(word, str) for word in (*record.notes, *record.finish_reasons))
