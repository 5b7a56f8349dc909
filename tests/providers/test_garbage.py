"""Whatever an answer holds: nothing is raised, no count is negative, and the sums stay true."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_llm_usage import providers
from otel_llm_usage.records import Request, Usage

ENDPOINTS = (
    "chat.completions",
    "completions",
    "responses",
    "decisions",
    "embeddings",
    "images",
    "audio.transcriptions",
    "audio.speech",
    "messages",
    "generate_content",
    "live",
    "embed_content",
    "generate_images",
    "caches.create",
    "interactions",
    "never heard of it",
)
VENDORS = {"messages": "anthropic", "generate_content": "google", "live": "google"}

COUNT_KEYS = (
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "thinking_tokens",
    "audio_tokens",
    "image_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "ephemeral_5m_input_tokens",
    "ephemeral_1h_input_tokens",
    "ttl_12h_tokens",
    "ttl_30m_tokens",
    "promptTokenCount",
    "candidatesTokenCount",
    "responseTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "cachedContentTokenCount",
    "totalTokenCount",
    "total_input_tokens",
    "total_output_tokens",
    "tokenCount",
    "tokens",
    "num_requests",
    "web_search_requests",
    "seconds",
    "count",
)
OBJECT_KEYS = (
    "usage",
    "usageMetadata",
    "prompt_tokens_details",
    "completion_tokens_details",
    "input_tokens_details",
    "input_token_details",
    "output_tokens_details",
    "cached_tokens_details",
    "cache_write_tokens_details",
    "cache_creation",
    "server_tool_use",
    "tool_usage",
    "image_gen",
    "web_search",
    "x_groq",
    "svg_usage",
    "response",
    "message",
    "delta",
    "error",
    "incomplete_details",
    "groundingMetadata",
    "content",
    "interaction",
    "promptFeedback",
    "action",
)
LIST_KEYS = (
    "iterations",
    "choices",
    "candidates",
    "output",
    "tools",
    "data",
    "predictions",
    "promptTokensDetails",
    "cacheTokensDetails",
    "candidatesTokensDetails",
    "webSearchQueries",
    "groundingChunks",
    "parts",
    "grounding_tool_count",
    "tool_calls",
)
WORD_KEYS = (
    "type",
    "model",
    "modelVersion",
    "id",
    "status",
    "service_tier",
    "serviceTier",
    "trafficType",
    "speed",
    "inference_geo",
    "finish_reason",
    "finishReason",
    "stop_reason",
    "modality",
    "index",
    "ttl",
)

numbers = st.one_of(
    st.integers(-5, 2000),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.booleans(),
    st.none(),
    st.sampled_from(["12", "many", "", "3.0", 3.0, 3.5, -1, 2**40, 2**40 + 1]),
)
words = st.one_of(
    numbers,
    st.sampled_from(
        [
            "message",
            "message_start",
            "message_delta",
            "message_stop",
            "error",
            "response.completed",
            "duration",
            "tokens",
            "refusal",
            "stop",
            "AUDIO",
            "IMAGE",
            "batch",
            "fast",
            "web_search_call",
            "completed",
            "in_progress",
            "claude",
            "7200s",
        ]
    ),
    st.text(max_size=5),
)


def _objects(inner):
    lists = st.lists(st.one_of(inner, words), max_size=3)
    members = st.one_of(
        st.tuples(st.sampled_from(COUNT_KEYS), numbers),
        st.tuples(st.sampled_from(COUNT_KEYS), st.one_of(inner, words)),
        st.tuples(st.sampled_from(OBJECT_KEYS), st.one_of(inner, words, lists)),
        st.tuples(st.sampled_from(LIST_KEYS), st.one_of(lists, inner, words)),
        st.tuples(st.sampled_from(WORD_KEYS), st.one_of(words, inner)),
    )
    return st.lists(members, max_size=8).map(dict)


garbage = st.recursive(st.just({}), _objects, max_leaves=12)
requests = st.sampled_from(ENDPOINTS).map(
    lambda endpoint: Request(
        "p", VENDORS.get(endpoint, "openai"), "p", "chat", endpoint, "asked-for"
    )
)
quickly = settings(suppress_health_check=list(HealthCheck))


def sound(readings):
    for reading in readings:
        for count in reading.usage or ():
            assert count is None or (type(count) is int and count >= 0)
        for quantity in reading.units.values():
            assert quantity >= 0
        assert reading.model is None or isinstance(reading.model, str)
        assert reading.tier is None or isinstance(reading.tier, str)
        assert all(isinstance(reason, str) for reason in reading.finish_reasons)
        assert all(isinstance(note, str) for note in reading.notes)


@quickly
@given(requests, st.lists(garbage, max_size=3))
def test_no_answer_makes_a_reader_raise(request, answers):
    whole = providers.reader(request)
    streamed = providers.reader(request)
    for answer in answers:
        whole.body(json.dumps(answer))
        streamed.event(json.dumps(answer).encode(), None)
        sound(whole.readings())
        sound(streamed.readings())


@quickly
@given(requests, st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_no_bytes_make_a_reader_raise(request, raw):
    for feed in ("body", "event"):
        reader = providers.reader(request)
        getattr(reader, feed)(raw)
        sound(reader.readings())


@quickly
@given(requests, garbage, st.data())
def test_no_truncated_answer_makes_a_reader_raise(request, answer, data):
    raw = json.dumps({"model": "m", **answer})
    cut = data.draw(st.integers(0, len(raw)))
    reader = providers.reader(request)
    reader.event(raw[:cut])
    reader.body(raw[:cut].encode())
    sound(reader.readings())


@quickly
@given(
    st.sampled_from(["openai", "anthropic", "google", "bedrock", "gcp.vertex_ai", "groq", "?"]),
    st.one_of(st.none(), st.sampled_from([*ENDPOINTS, "batches", "messages.batches", ""])),
    st.one_of(garbage, words, st.binary(max_size=20)),
    st.one_of(st.none(), garbage),
    st.one_of(st.none(), garbage, st.just({"headers": {1: 2, "X-Gemini-Service-Tier": 3}})),
)
def test_no_raw_usage_makes_readings_raise(provider, endpoint, usage, request, response):
    described, readings = providers.readings(
        provider=provider, endpoint=endpoint, usage=usage, request=request, response=response
    )
    assert isinstance(described, Request)
    sound(readings)


@quickly
@given(garbage, st.sampled_from(["openai", "anthropic", "google"]))
def test_no_body_makes_describe_raise(body, sdk):
    url = {"openai": "/responses", "anthropic": "/v1/messages", "google": "m:generateContent"}[sdk]
    assert providers.describe(sdk, "POST", url, body, base_url="http://127.0.0.1:1") is not None
    providers.stream_usage_policy("http://x", "/chat/completions", {**body, "stream": True})


counts = st.integers(0, 5000)
maybe = st.one_of(st.none(), counts)


@quickly
@given(counts, counts, maybe, maybe, maybe, maybe, maybe, maybe)
def test_kinds_add_up_to_what_openai_said(
    prompt, answer, cached, written, audio, image, thought, out
):
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {
            "cached_tokens": cached,
            "cache_write_tokens": written,
            "audio_tokens": audio,
            "image_tokens": image,
        },
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": out},
    }
    _, (reading,) = providers.readings(provider="openai", endpoint="chat.completions", usage=usage)
    assert reading.usage is not None
    assert reading.usage.input_tokens == prompt
    assert reading.usage.output_tokens == answer
    inside = (cached or 0) + (written or 0) <= prompt and (audio or 0) + (image or 0) <= prompt
    if inside:
        assert (reading.usage.cache_read_tokens or 0) == (cached or 0)
        assert (reading.usage.cache_write_tokens or 0) == (written or 0)


@quickly
@given(
    counts,
    counts,
    maybe,
    maybe,
    maybe,
    st.lists(st.tuples(st.sampled_from(["TEXT", "IMAGE", "AUDIO", "VIDEO"]), counts), max_size=4),
    st.one_of(
        st.none(), st.lists(st.tuples(st.sampled_from(["TEXT", "AUDIO"]), counts), max_size=3)
    ),
)
def test_kinds_add_up_to_what_gemini_said(
    prompt, answer, cached, thoughts, tools, rows, cache_rows
):
    def listed(pairs):
        return [{"modality": name, "tokenCount": count} for name, count in pairs]

    usage = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": answer,
        "cachedContentTokenCount": cached,
        "thoughtsTokenCount": thoughts,
        "toolUsePromptTokenCount": tools,
        "totalTokenCount": prompt + answer + (thoughts or 0) + (tools or 0),
        "promptTokensDetails": listed(rows),
        "candidatesTokensDetails": listed(rows),
    }
    if cache_rows is not None:
        usage["cacheTokensDetails"] = listed(cache_rows)
    _, (reading,) = providers.readings(provider="google", endpoint="generate_content", usage=usage)
    assert reading.usage is not None
    assert reading.usage.input_tokens == prompt + (tools or 0)
    assert reading.usage.output_tokens == answer + (thoughts or 0)
    assert reading.usage.total_tokens == usage["totalTokenCount"]


@quickly
@given(counts, counts, counts, counts, maybe, maybe, maybe)
def test_kinds_add_up_to_what_anthropic_said(input_, output, read, written, five, hour, thought):
    usage = {
        "input_tokens": input_,
        "output_tokens": output,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation": {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour},
        "output_tokens_details": {"thinking_tokens": thought},
    }
    _, (reading,) = providers.readings(provider="anthropic", endpoint="messages", usage=usage)
    assert reading.usage is not None
    assert reading.usage.input_tokens == input_ + read + written
    assert reading.usage.cache_write_tokens == written
    assert reading.usage.output_tokens == output


@pytest.mark.parametrize(
    "bad", ["12", "3.0", True, False, -1, 3.5, float("nan"), float("inf"), 2**40 + 1, {}, [], "x"]
)
def test_a_count_that_is_none_is_unknown_and_noted(bad):
    usage = {"prompt_tokens": bad, "completion_tokens": 5, "total_tokens": 15}
    _, (reading,) = providers.readings(provider="openai", endpoint="chat.completions", usage=usage)
    assert reading.usage == Usage(output=5)
    assert reading.notes == ("bad_usage:prompt_tokens",)


def test_a_whole_float_is_a_count():
    usage = {"input_tokens": 12.0, "output_tokens": 5.0}
    _, (reading,) = providers.readings(provider="anthropic", endpoint="messages", usage=usage)
    assert reading.usage == Usage(input=12, output=5)
    assert reading.notes == ()


@pytest.mark.parametrize("body", ["", "{", "<html>502</html>", "[" * 100_000, b"\xff\xfe"])
def test_a_body_that_is_no_json_is_noted(play, body):
    for shape in ("chat", "responses", "messages", "gemini"):
        reading = play(shape, body).reading
        assert reading.usage is None
        assert reading.notes == ("bad_json",)
