"""Recorded provider traffic, replayed to the real SDKs: each call counts what it was billed.

The recordings stay where they are, beside the checkout. The SDKs believe that they talk to the
recorded host; a transport takes their requests to the stand-in, which answers with the recording.
"""

import base64
import inspect
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials
from prometheus_client import CollectorRegistry

from otel_llm_usage import instrument, uninstrument
from otel_llm_usage.records import Record, Usage
from otel_llm_usage.standin import StandIn
from otel_llm_usage.testing import Records
from tests.conftest import cassettes

FOLDER = cassettes()
if not (FOLDER / "index.jsonl").exists():
    why = f"the recorded traffic is not at {FOLDER} (OTEL_LLM_USAGE_CASSETTES names another place)"
    if os.environ.get("CI"):
        raise FileNotFoundError(why)
    pytest.skip(why, allow_module_level=True)


class Recording(NamedTuple):
    """One line of the index, with the exchange itself."""

    name: str
    about: dict[str, Any]
    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def expected(self) -> dict[str, Any]:
        return self.about["expected"] or {}

    @property
    def url(self) -> str:
        return self.request["url"].replace("<GOOGLE_CLOUD_LOCATION>", "global")

    @property
    def asked(self) -> dict[str, Any]:
        """The request's fields, as the SDK's method takes them."""
        if "body" in self.request:
            return dict(self.request["body"])
        return _form(base64.b64decode(self.request["body_base64"]), self.request["content_type"])

    @property
    def streamed(self) -> bool:
        return bool(self.about["streaming"])


def _form(body: bytes, content_type: str) -> dict[str, Any]:
    """The fields of a multipart body."""
    parts = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields: dict[str, Any] = {}
    for part in parts.get_payload():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        fields[name] = (part.get_filename(), data) if part.get_filename() else data.decode().strip()
    return fields


def _read() -> dict[str, Recording]:
    found = {}
    for line in (FOLDER / "index.jsonl").read_text().splitlines():
        about = json.loads(line)
        whole = json.loads((FOLDER / about["file"]).read_text())
        name = about["file"].removesuffix(".json")
        found[name] = Recording(name, about, whole["request"], whole["response"])
    return found


ALL = _read()

FREE = {
    "044-responses-input_tokens-not-billed",
    "056-moderation-no-usage",
    "070-messages-count_tokens-not-billed",
    "092-vertex-countTokens-not-billed",
}
"""Calls that nobody bills: no record at all."""

SILENT = {
    "008-chat-stream-no-usage": ("ok", "missing", {}),
    "016-azure-chat-prompt-filtered-error-in-200": ("error", "missing", {}),
    "042-responses-background-queued-null-usage": ("ok", "missing", {}),
    "053-images-dall-e-no-usage": ("ok", "reported", {"images": 1}),
    "087-vertex-prompt-blocked": ("ok", "missing", {}),
    "090-gemini-embeddings-no-usage": ("ok", "missing", {}),
}
"""Successes that report no tokens: one record without any. Status, source, and units."""

AMBIGUOUS = {
    # more from the cache than there was: the prompt stays what the provider says, all of it cached
    "018-azure-grok-more-cached-than-prompt": (
        {"cache_read": 7, "output": 1},
        ("cache_exceeds_input",),
    ),
    # what no field explains is told, and not counted
    "032-cerebras-stream-total-does-not-add-up": (
        {"input": 79, "output": 2},
        ("total_mismatch:2",),
    ),
    # the last numbers as a whole; no earlier chunk fills them up
    "084-gemini-stream-last-chunk-lost-a-count": (
        {"input": 87, "reasoning": 78},
        ("count_lost:candidatesTokenCount",),
    ),
}
"""Fields that contradict each other: how we read them, and how it is marked."""

NOTED = {
    # a part is never more than its whole: 11 reasoning tokens of 10
    "027-openrouter-stream-error-in-200": ({"reasoning_tokens": 10}, ("reasoning_exceeds_output",)),
    "041-responses-stream-incomplete-zero-usage": ({}, ("zero_usage",)),
    # the index has no modality here, the answer has
    "093-gemini-interactions": ({"input_image_tokens": 258}, ()),
}
"""Where a plain reading has notes, or says more: what of the index it changes."""

BROKEN = {"027-openrouter-stream-error-in-200": "400"}
"""Streams with an error inside: the bill is whole, the answer was not."""

UNITS = {
    "052-xai-images-cost-in-ticks": {"images": 1},
    "055-transcription-duration-seconds": {"audio_seconds": 4},
    "060-messages-stream-web-search": {"web_search": 1},
    # one prompt that was grounded (how Gemini 2 bills), by two searches (how Gemini 3 does)
    "088-vertex-tool-use-prompt": {"search_grounding_prompts": 1, "search_grounding_queries": 2},
}
"""What is billed beside tokens."""

PROVIDERS = {
    "openai": "openai",
    "azure": "azure.ai.openai",
    "groq": "groq",
    "deepseek": "deepseek",
    "mistral": "mistral_ai",
    "openrouter": "openrouter",
    "together": "together",
    "huggingface": "huggingface",
    "perplexity": "perplexity",
    "cerebras": "cerebras",
    "databricks": "databricks",
    "alibaba": "alibaba",
    "xai": "x_ai",
    "api.voyageai.com": "voyageai",
    "anthropic": "anthropic",
    "localhost": "anthropic",  # a gateway: it speaks the SDK's own language
    "gemini": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
}
"""Our name for the provider of each host."""

TIERS = {
    "default": "standard",
    "standard": "standard",
    "priority": "priority",
    "ON_DEMAND": "standard",
    "ON_DEMAND_FLEX": "flex",
    1: "standard",
}

REPLAYED = list(ALL)

pytestmark = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")


def test_every_recording_is_accounted_for():
    assert len(ALL) == 94
    grades = {name: recording.about["grade"] for name, recording in ALL.items()}
    assert {n for n, grade in grades.items() if grade == "none"} == FREE | set(SILENT)
    assert {n for n, grade in grades.items() if grade == "ambiguous"} == set(AMBIGUOUS)
    counted = [n for n, grade in grades.items() if grade in ("plain", "derived")]
    failed = [n for n, grade in grades.items() if grade == "error"]
    assert len(counted) + len(failed) + len(AMBIGUOUS) + len(FREE) + len(SILENT) == 94
    assert {*NOTED, *BROKEN, *UNITS} <= set(counted)


# the way to the stand-in


def _there(request: httpx2.Request, to: httpx2.URL) -> httpx2.Request:
    """The same request to the stand-in. The SDK's own one keeps its host."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(scheme=to.scheme, host=to.host, port=to.port),
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions,
    )


class ToStandIn(httpx2.HTTPTransport):
    def __init__(self, url: str) -> None:
        super().__init__(verify=False)  # no TLS on loopback
        self._to = httpx2.URL(url)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return super().handle_request(_there(request, self._to))


class ToStandInAsync(httpx2.AsyncHTTPTransport):
    def __init__(self, url: str) -> None:
        super().__init__(verify=False)  # no TLS on loopback
        self._to = httpx2.URL(url)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await super().handle_async_request(_there(request, self._to))


@pytest.fixture(scope="module")
def provider() -> Iterator[StandIn]:
    with StandIn() as standin:
        yield standin


@pytest.fixture
def replay(provider: StandIn) -> Iterator[Callable[[Recording], None]]:
    def begin(recording: Recording) -> None:
        headers = {"content-type": recording.response["content_type"]}
        provider.reply(
            recording.response["body"],
            status=recording.response["status"],
            headers=headers,
            times=None,
            # no provider writes one event a packet: 97 bytes cut them at odd places
            chunks=97 if recording.streamed else None,
        )

    yield begin
    provider.reset()


# the calls, as a user of the SDK writes them

ENDS = {
    "openai.chat": ("/chat/completions", "chat.completions.create"),
    "openai.responses": ("/responses", "responses.create"),
    "openai.responses.compact": ("/responses/compact", "responses.compact"),
    "openai.responses.input_tokens": ("/responses/input_tokens", "responses.input_tokens.count"),
    "openai.embeddings": ("/embeddings", "embeddings.create"),
    "openai.images": ("/images/generations", "images.generate"),
    "openai.transcriptions": ("/audio/transcriptions", "audio.transcriptions.create"),
    "openai.moderations": ("/moderations", "moderations.create"),
    "openai.completions": ("/completions", "completions.create"),
    "anthropic.messages": ("/v1/messages", "messages.create"),
    "anthropic.count_tokens": ("/v1/messages/count_tokens", "messages.count_tokens"),
}
"""By `api`: the end of the path, and the SDK's method."""

CLIENTS: dict[str, tuple[Any, Any, Any]] = {
    "openai": (openai.OpenAI, openai.AzureOpenAI, httpx2.Client),
    "async openai": (openai.AsyncOpenAI, openai.AsyncAzureOpenAI, httpx2.AsyncClient),
    "anthropic": (anthropic.Anthropic, None, httpx2.Client),
    "async anthropic": (anthropic.AsyncAnthropic, None, httpx2.AsyncClient),
}


def _stainless(recording: Recording, http: Any, mode: str) -> tuple[Any, Callable[[], Any]]:
    """The client of the openai or anthropic SDK, and the call."""
    api = recording.about["api"]
    plain, azure, _ = CLIENTS[mode + api.partition(".")[0]]
    end, method = ENDS[api]
    parts = urlsplit(recording.url)
    query = dict(parse_qsl(parts.query))
    asked = recording.asked
    common = {"api_key": "key", "http_client": http, "max_retries": 0}
    before, _, deployment = parts.path.removesuffix(end).partition("/deployments/")
    if azure is not None and before == "/openai":
        client = azure(
            azure_endpoint=f"https://{parts.netloc}",
            azure_deployment=deployment or None,
            api_version=query["api-version"],
            **common,
        )
        asked.setdefault("model", recording.about["request_model"])
    else:
        beta = query.pop("beta", None)
        base = f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix(end)}"
        client = plain(base_url=base, default_query=query, **common)
        method = f"beta.{method}" if beta else method
    call: Any = client
    for name in method.split("."):
        call = getattr(call, name)
    known = inspect.signature(call).parameters
    # what the recorded caller sent and this version's method has no argument for
    extra = {name: asked.pop(name) for name in list(asked) if name not in known}
    return client, lambda: call(**asked, **({"extra_body": extra} if extra else {}))


def _google(recording: Recording, http: Any, mode: str) -> tuple[Any, Callable[[], Any]]:
    """The client of the google-genai SDK, and the call."""
    # a client that has both makes no TLS contexts, which take a tenth of a second each
    never = httpx2.MockTransport(lambda request: httpx2.Response(500))
    options = types.HttpOptions(
        httpx_client=httpx2.Client(transport=never) if mode else http,
        httpx_async_client=http if mode else httpx2.AsyncClient(transport=never),
    )
    if recording.about["provider"] == "vertex":
        location = recording.url.partition("/locations/")[2].partition("/")[0]
        client = genai.Client(
            vertexai=True,
            project="example-project",
            location=location,
            credentials=Credentials(token="token"),
            http_options=options,
        )
    else:
        client = genai.Client(api_key="key", http_options=options)
    models = client.aio.models if mode else client.models
    model, body, api = recording.about["request_model"], recording.asked, recording.about["api"]
    call: Callable[[], Any]
    if api in ("gemini.generateContent", "gemini.streamGenerateContent"):
        generate = models.generate_content_stream if recording.streamed else models.generate_content
        contents, config = body.pop("contents"), body.pop("generationConfig", {})
        body.pop("model", None)
        chosen = types.GenerateContentConfig.model_validate({**config, **body})
        call = lambda: generate(model=model, contents=contents, config=chosen)  # noqa: E731
    elif api == "gemini.interactions":
        create = client.aio.interactions.create if mode else client.interactions.create
        call = lambda: create(**body)  # noqa: E731
    elif api == "gemini.countTokens":
        call = lambda: models.count_tokens(model=model, contents=body["contents"])  # noqa: E731
    else:
        texts = [_embedded(one) for one in body.get("instances") or body["requests"]]
        call = lambda: models.embed_content(model=model, contents=texts)  # noqa: E731
    return client, call


def _embedded(one: Any) -> str:
    content = one["content"]
    return content if isinstance(content, str) else content["parts"][0]["text"]


def _dump(value: Any) -> Any:
    """All that an SDK's object holds, as text: a vector may hold NaN, which equals nothing."""
    dump = value.model_dump(warnings=False) if hasattr(value, "model_dump") else value
    return type(value), repr(dump)


def _raised(error: Exception) -> Any:
    return "raised", type(error), str(error), getattr(error, "body", None)


def _outcome(call: Callable[[], Any], streamed: bool) -> Any:
    """All that the caller gets."""
    got = []
    try:
        answer = call()
        got = [_dump(answer)] if not streamed else got
        if streamed:
            got.extend(_dump(chunk) for chunk in answer)
    except Exception as error:
        return got, _raised(error)
    return got, "returned"


async def _outcome_async(call: Callable[[], Any], streamed: bool) -> Any:
    got = []
    try:
        answer = await call()
        got = [_dump(answer)] if not streamed else got
        if streamed:
            async for chunk in answer:
                got.append(_dump(chunk))
    except Exception as error:
        return got, _raised(error)
    return got, "returned"


@contextmanager
def _counting() -> Iterator[list[Record]]:
    records = Records()
    instrument(sinks=[records.append], registry=CollectorRegistry(), otlp=False)
    try:
        yield records
    finally:
        uninstrument()


@pytest.mark.parametrize("name", REPLAYED)
def test_a_recording_counts_what_it_was_billed(name, provider, replay):
    recording = ALL[name]
    replay(recording)
    make = _google if recording.about["api"].startswith("gemini") else _stainless
    with httpx2.Client(transport=ToStandIn(provider.url)) as http:
        client, call = make(recording, http, "")
        alone = _outcome(call, recording.streamed)
        with _counting() as records:
            counted = _outcome(call, recording.streamed)
        client.close()
    assert counted == alone
    _went_there(recording, provider)
    _right(recording, records)


@pytest.mark.parametrize("name", REPLAYED)
async def test_a_recording_counts_the_same_in_async(name, provider, replay):
    recording = ALL[name]
    replay(recording)
    make = _google if recording.about["api"].startswith("gemini") else _stainless
    async with httpx2.AsyncClient(transport=ToStandInAsync(provider.url)) as http:
        client, call = make(recording, http, "async ")
        alone = await _outcome_async(call, recording.streamed)
        with _counting() as records:
            counted = await _outcome_async(call, recording.streamed)
        await (client.aio.aclose() if make is _google else client.close())
    assert counted == alone
    _went_there(recording, provider)
    _right(recording, records)


def _went_there(recording: Recording, provider: StandIn) -> None:
    """The SDK asked what was asked when it was recorded."""
    assert len(provider.requests) == 2
    for seen in provider.requests:
        end = urlsplit(recording.url).path.rpartition("/")[2]
        assert seen.path.rpartition("/")[2] == end


def _right(recording: Recording, records: list[Record]) -> None:
    """The records are what was billed."""
    grade = recording.about["grade"]
    if recording.name in FREE:
        assert records == []
        return
    assert len(records) == recording.expected.get("iterations", 1)
    for record in records:
        _known(recording, record)
    if grade == "error":
        _nothing_billed(recording, records[0])
    elif grade == "none":
        _nothing_told(recording, records[0])
    elif grade == "ambiguous":
        _marked(recording, records[0])
    else:
        _exact(recording, records)


def _known(recording: Recording, record: Record) -> None:
    about, url = recording.about, urlsplit(recording.url)
    sells_all = "/models/chat/" in url.path  # Azure's door to other vendors' models
    assert record.provider == ("azure.ai.inference" if sells_all else PROVIDERS[about["provider"]])
    assert record.request.server_address == url.hostname
    assert record.request.stream == recording.streamed
    assert record.request.model == about["request_model"]
    assert record.agent == "unknown"
    assert (record.time_to_first_chunk is not None) == (
        recording.streamed and about["status"] == 200
    )


def _nothing_billed(recording: Recording, record: Record) -> None:
    assert record.status == "error"
    assert record.usage is None
    assert not record.units
    assert record.cost.status == "not_billed"
    assert record.http_status == recording.about["status"]


def _nothing_told(recording: Recording, record: Record) -> None:
    status, source, units = SILENT[recording.name]
    assert (record.status, record.usage_source, dict(record.units)) == (status, source, units)
    assert record.usage is None or not any(record.usage)


def _marked(recording: Recording, record: Record) -> None:
    usage, notes = AMBIGUOUS[recording.name]
    assert record.status == "ok"
    assert record.usage is not None
    assert record.usage.nonzero() == usage
    assert record.notes == notes


def _exact(recording: Recording, records: list[Record]) -> None:
    name, expected = recording.name, recording.expected
    changes, notes = NOTED.get(name, ({}, ()))
    assert tuple(note for record in records for note in record.notes) == notes
    said = {part: number for part, number in {**expected, **changes}.items() if part in _PARTS}
    assert {part: _sum(records, *_PARTS[part]) for part in said} == said
    for modality, number in expected.get("input_modalities", {}).items():
        if modality in ("AUDIO", "IMAGE", "VIDEO"):
            kind = modality.lower()
            assert _sum(records, f"input_{kind}", f"cache_read_{kind}") == number
    for record in records:
        assert (record.status, record.error_type) == (
            ("broken", BROKEN[name]) if name in BROKEN else ("ok", None)
        )
        assert record.usage_source == "reported"
        assert record.tier == TIERS.get(recording.about["service_tier"], record.tier)
    units = {unit: number for record in records for unit, number in record.units.items()}
    assert units == UNITS.get(name, {})
    others = expected.get("of_which_billed_to_other_models", {})
    own = [record for record in records if record.response_model not in others]
    assert {record.response_model for record in own} == {recording.about["response_model"]}
    for model, share in others.items():
        elsewhere = [record for record in records if record.response_model == model]
        assert _sum(elsewhere, "input_tokens") == share["input_tokens"]
        assert _sum(elsewhere, "output_tokens") == share["output_tokens"]


_PARTS: dict[str, tuple[str, ...]] = {
    "input_tokens": ("input_tokens",),
    "output_tokens": ("output_tokens",),
    "cached_input_tokens": ("cache_read_tokens",),
    "cache_write_tokens": ("cache_write_tokens",),
    "cache_write_1h_tokens": ("cache_write_1h",),
    "reasoning_tokens": ("reasoning",),
    "tool_use_prompt_tokens": ("input_tool_use",),
    "input_audio_tokens": ("input_audio", "cache_read_audio"),
    "output_audio_tokens": ("output_audio",),
    "input_image_tokens": ("input_image", "cache_read_image"),
    "output_image_tokens": ("output_image",),
}
"""Which kinds make up each inclusive number of the index."""


def _sum(records: list[Record], *kinds: str) -> int:
    usages = [record.usage or Usage() for record in records]
    return sum(getattr(usage, kind) or 0 for usage in usages for kind in kinds)
