"""Raw usage as the SDKs' objects have it, and what else people mean when they ask for a price."""

import dataclasses
import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
from google.genai import types

from otel_llm_usage import ConfigurationError, price, providers

NOW = dt.datetime(2026, 9, 15, 10, tzinfo=dt.UTC)
USAGE = types.GenerateContentResponseUsageMetadata(
    prompt_token_count=500, candidates_token_count=400, total_token_count=900
)
GROUNDED = types.GenerateContentResponse(
    candidates=[
        types.Candidate(
            grounding_metadata=types.GroundingMetadata(
                web_search_queries=["a"],
                grounding_chunks=[types.GroundingChunk(web=types.GroundingChunkWeb(uri="u"))],
            )
        )
    ],
    usage_metadata=USAGE,
)
TOOLS = types.GenerateContentConfig(
    tools=[types.Tool(google_maps=types.GoogleMaps())], service_tier="flex"
)


def asked(**arguments: Any) -> Any:
    request, readings = providers.readings(**{"provider": "google", **arguments})
    return request, next(iter(readings), None)


@pytest.mark.parametrize("shown", [lambda told: told, lambda told: told.model_dump()])
def test_what_an_object_does_not_have_was_not_used(shown):
    _, reading = asked(usage=shown(USAGE), response=shown(GROUNDED))
    assert reading.units == {"search_grounding_prompts": 1, "search_grounding_queries": 1}


@pytest.mark.parametrize(
    "request_",
    [
        TOOLS,
        TOOLS.model_dump(),
        {"model": "gemini-2.5-flash", "config": TOOLS},
        {"config": TOOLS.model_dump()},
        {"config": {"tools": TOOLS.tools, "service_tier": "flex"}},
    ],
    ids=["object", "dump", "nested object", "nested dump", "objects in a dict"],
)
def test_a_request_of_objects_asks_for_what_they_say(request_):
    request, _ = asked(usage=USAGE, request=request_)
    assert request.hints["tools"] == ("google_maps",)
    assert request.tier == "flex"


def test_a_null_in_the_body_of_a_live_call_is_no_tool():
    request = providers.describe(
        "google",
        "POST",
        "models/gemini-2.5-flash:generateContent",
        {"tools": [{"googleSearch": None, "googleMaps": {}}]},
        base_url="https://generativelanguage.googleapis.com/",
    )
    assert request is not None
    assert request.hints["tools"] == ("google_maps",)


@dataclasses.dataclass
class Details:
    cached_tokens: int | None = None
    audio_tokens: int | None = None


@dataclasses.dataclass
class Counts:
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: Details


def test_dataclasses_are_read_through_and_through():
    _, reading = asked(provider="openai", usage=Counts(10, 2, Details(cached_tokens=4)))
    assert reading.usage.nonzero() == {"input": 6, "cache_read": 4, "output": 2}


def test_what_holds_itself_has_an_end():
    endless: dict[str, Any] = {"prompt_tokens": 1, "completion_tokens": 2}
    endless["prompt_tokens_details"] = endless
    _, reading = asked(provider="openai", usage=endless)
    assert reading.usage.total_tokens == 3


CACHE = types.CachedContent(
    name="cachedContents/x",
    model="models/gemini-2.5-pro",
    create_time=NOW,
    expire_time=NOW + dt.timedelta(hours=2),
    usage_metadata=types.CachedContentUsageMetadata(total_token_count=1000),
)


@pytest.mark.parametrize(
    "told",
    [
        {"usage": CACHE},
        {"usage": CACHE.usage_metadata, "response": CACHE},
        {"usage": {"totalTokenCount": 1000}, "response": CACHE.model_dump()},
        {"usage": {"totalTokenCount": 1000}, "request": {"ttl": dt.timedelta(hours=2)}},
        {
            "usage": {"totalTokenCount": 1000},
            "request": {"config": types.CreateCachedContentConfig(ttl="7200s")},
        },
        {
            "usage": {"totalTokenCount": 1000},
            "request": {"config": {"expire_time": "2026-09-15T12:00:00Z"}},
            "response": {"createTime": "2026-09-15T10:00:00Z"},
        },
    ],
)
def test_a_cache_of_objects_is_stored_for_as_long_as_they_say(told):
    _, reading = asked(endpoint="caches.create", **told)
    assert reading.units == {"cache_storage_token_hours": 2000}


def test_a_lifetime_that_is_not_told_is_the_reason_by_itself():
    cost = price(
        {"totalTokenCount": 1000},
        provider="google",
        endpoint="caches.create",
        model="gemini-2.5-pro",
    )
    assert cost.reasons == ("no_count:cache_storage_token_hours",)


@pytest.mark.parametrize(
    ("endpoint", "usage"),
    [
        ("audio.transcriptions", {"type": "duration", "seconds": 0}),
        ("caches.create", {"totalTokenCount": 0}),
    ],
)
def test_somebody_said_zero(endpoint, usage):
    provider, model = (
        ("openai", "whisper-1") if "audio" in endpoint else ("google", "gemini-2.5-pro")
    )
    cost = price(usage, provider=provider, endpoint=endpoint, model=model, at="2026-09-15")
    assert (cost.total, cost.reasons) == (0, ())


# What was called, and whose it is


@pytest.mark.parametrize(
    ("provider", "endpoint"),
    [
        ("anthropic", "messages.count_tokens"),
        ("anthropic", "beta.messages.count_tokens"),
        ("google", "countTokens"),
        ("google", "models.count_tokens"),
        ("openai", "responses.input_tokens"),
        ("openai", "responses.input_tokens.count"),
        ("openai", "moderations.create"),
    ],
)
def test_calls_that_only_count_are_not_billed(provider, endpoint):
    cost = price({"input_tokens": 9}, provider=provider, endpoint=endpoint, model="any")
    assert (cost.status, cost.total, cost.reasons) == ("not_billed", 0, ())


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"endpoint": "batch_embed_contents", "provider": "google"}, "embed_content"),
        ({"model": "models/gemini-embedding-001", "provider": "google"}, "embed_content"),
        ({"model": "text-embedding-3-small"}, "embeddings"),
        ({"model": "mistral-embed", "provider": "mistral", "endpoint": "batches"}, "embeddings"),
        ({"model": "ft:gpt-4.1-2025-04-14:embed:x"}, "chat.completions"),
        ({"model": "gpt-image-1.5", "endpoint": "batches"}, "images"),
        ({"model": "chatgpt-image-latest"}, "images"),
        ({"model": "gpt-imagery"}, "chat.completions"),
    ],
)
def test_what_was_called_is_told_by_the_models_name_too(arguments, shape):
    google = arguments.get("provider") == "google"
    usage = {"promptTokenCount" if google else "prompt_tokens": 9}
    request, _ = asked(**{"provider": "openai", "usage": usage, **arguments})
    assert request.endpoint == shape


@pytest.mark.parametrize(
    ("provider", "platform", "whose"),
    [
        ("aws", None, ("aws.bedrock", "anthropic", "bedrock")),
        ("google", None, ("gcp.vertex_ai", "anthropic", "vertex")),
        ("vertex", None, ("gcp.vertex_ai", "anthropic", "vertex")),
        ("azure", None, ("azure.ai.inference", "anthropic", "azure")),
        ("openai", "foundry", ("azure.ai.inference", "anthropic", "azure")),
        ("openrouter", None, ("openrouter", "openrouter", "openrouter")),
    ],
)
def test_claude_is_anthropics_wherever_it_is_sold(provider, platform, whose):
    usage = {"input_tokens": 100, "cache_read_input_tokens": 5000, "output_tokens": 200}
    request, reading = asked(
        provider=provider, platform=platform, usage=usage, model="anthropic.claude-sonnet-4-5"
    )
    assert request[:3] == whose
    if provider != "openrouter":
        assert reading.usage.nonzero() == {"input": 100, "cache_read": 5000, "output": 200}


@pytest.mark.parametrize(
    ("provider", "said", "platform"),
    [
        ("google", "gcp.vertex_ai", "vertex"),
        ("google", "vertexai", "vertex"),
        ("google", "google", "gemini-api"),
        ("openai", "azure.ai.openai", "azure"),
        ("openai", "OpenAI", "openai-api"),
        ("anthropic", "aws.bedrock", "bedrock"),
        ("anthropic", "aws", "bedrock"),
        ("anthropic", "anthropic", "claude-api"),
        ("Nobody", "nobody", "Nobody"),
    ],
)
def test_a_platform_goes_by_its_providers_names(provider, said, platform):
    request, _ = asked(provider=provider, platform=said, usage={})
    assert request.platform == platform


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"provider": None}, "provider="),
        ({"provider": " "}, "provider="),
        ({"endpoint": 5}, "endpoint='chat.completions'"),
        ({"model": 5}, "model="),
        ({"service_tier": 5}, "service_tier='batch'"),
        ({"platform": 5}, "platform='azure'"),
        ({"platform": "azur"}, "vertex"),
    ],
)
def test_an_argument_that_cannot_be_meant_says_what_to_write(wrong, says):
    with pytest.raises(ConfigurationError, match=says):
        price({}, **{"provider": "openai", **wrong})


@pytest.mark.parametrize("usage", [5, "hello", b"\xff", [{"prompt_tokens": 3}], "[1]"])
def test_what_is_no_usage_at_all_is_bad_usage(usage):
    cost = price(usage, provider="openai", model="gpt-4.1")
    assert (cost.status, cost.reasons) == ("unpriced", ("bad_usage",))


# Endings of Gemini


def read(*chunks: dict[str, Any], endpoint: str = "generate_content") -> Any:
    request, _ = asked(usage={}, endpoint=endpoint)
    reader = providers.reader(request)
    for chunk in chunks:
        reader.event(json.dumps(chunk))
    (reading,) = reader.readings()
    return reading


PROMPT = {"promptTokenCount": 10}
TEXT = {"content": {"parts": [{"text": "hello"}]}}


def test_a_stream_that_ended_without_a_count_had_no_answer():
    blocked = {"candidates": [{"finishReason": "SAFETY"}], "usageMetadata": PROMPT}
    assert read(blocked).usage.output == 0


def test_a_count_that_is_missing_is_no_zero_while_the_stream_runs_or_where_text_came():
    running = {"candidates": [{}], "usageMetadata": PROMPT}
    assert read(running).usage.output is None
    spoken = {"candidates": [{**TEXT, "finishReason": "STOP"}], "usageMetadata": PROMPT}
    assert read(spoken).usage.output is None
    earlier = {"usageMetadata": {**PROMPT, "candidatesTokenCount": 3}}
    last = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": PROMPT}
    assert read(earlier, last).usage.output is None


def test_a_total_that_says_more_is_no_answer_of_nothing():
    _, reading = asked(usage={**PROMPT, "totalTokenCount": 15}, endpoint="live")
    assert reading.usage.output is None
    _, reading = asked(usage={**PROMPT, "totalTokenCount": 10}, endpoint="live")
    assert reading.usage.output == 0


def test_tool_use_tokens_are_billed_as_what_they_are():
    rows = [{"modality": kind, "tokenCount": count} for kind, count in
            (("AUDIO", 4), ("IMAGE", 3), ("VIDEO", 2), ("TEXT", 1))]  # fmt: skip
    usage = {
        "promptTokenCount": 10,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}],
        "candidatesTokenCount": 1,
        "toolUsePromptTokenCount": 10,
        "toolUsePromptTokensDetails": rows,
        "totalTokenCount": 21,
    }
    _, reading = asked(usage=usage)
    assert reading.usage.nonzero() == {
        "input": 5,
        "input_audio": 9,
        "input_image": 3,
        "input_video": 2,
        "input_tool_use": 1,
        "output": 1,
    }


# OpenAI's tools

RAN = {"output": [{"type": "code_interpreter_call", "container_id": "c"}]}


@pytest.mark.parametrize(
    ("memory", "dollars"), [("1g", "0.03"), ("4g", "0.12"), ("16g", "0.48"), ("64g", "1.92")]
)
@pytest.mark.parametrize("told", ["request", "response"])
def test_a_container_costs_what_its_memory_does(told, memory, dollars):
    tool = {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": memory}}
    bodies = {"request": {}, "response": RAN}
    bodies[told] = {**bodies[told], "tools": [tool]}
    usage = {"input_tokens": 0, "output_tokens": 0}
    cost = price(usage, provider="openai", endpoint="responses", model="gpt-5.4", **bodies)
    assert cost.total == Decimal(dollars)


def test_a_container_of_a_size_that_nobody_sells_has_no_price():
    tool = {"type": "code_interpreter", "container": {"memory_limit": "2g"}}
    cost = price(
        {"input_tokens": 0, "output_tokens": 0},
        provider="openai",
        endpoint="responses",
        model="gpt-5.4",
        request={"tools": [tool]},
        response=RAN,
    )
    assert cost.reasons == ("no_rate:code_interpreter_2g",)


def test_the_image_tools_model_may_be_told_by_the_request_alone():
    _, readings = providers.readings(
        provider="openai",
        endpoint="responses",
        usage={"input_tokens": 1, "output_tokens": 1},
        request={"tools": [{"type": "image_generation", "model": "gpt-image-2"}]},
        response={"tool_usage": {"image_gen": {"input_tokens": 50, "output_tokens": 9}}},
    )
    assert [reading.model for reading in readings] == [None, "gpt-image-2"]


# Iterations


def test_iterations_that_do_not_add_up_to_the_top_are_billed_besides_it():
    usage = {
        "input_tokens": 50,
        "output_tokens": 14,
        "iterations": [
            {"type": "message", "input_tokens": 30, "output_tokens": 14},
            {"type": "advisor_message", "model": "wise", "input_tokens": 7, "output_tokens": 2},
        ],
    }
    _, readings = providers.readings(provider="anthropic", usage=usage, model="claude-x")
    assert [(one.entry, one.model, one.usage.nonzero()) for one in readings] == [
        ("message", "claude-x", {"input": 50, "output": 14}),
        ("advisor_message", "wise", {"input": 7, "output": 2}),
    ]
    assert [one.notes for one in readings] == [("iterations_mismatch",), ()]


def test_lifetimes_told_for_the_top_alone_are_those_of_its_iterations():
    usage = {
        "input_tokens": 0,
        "output_tokens": 2,
        "cache_creation_input_tokens": 160,
        "cache_creation": {"ephemeral_1h_input_tokens": 120, "ephemeral_5m_input_tokens": 40},
        "iterations": [
            {"type": "message", "output_tokens": 1, "cache_creation_input_tokens": written}
            for written in (100, 60)
        ],
    }
    _, readings = providers.readings(provider="anthropic", usage=usage)
    writes = [
        {kind: count for kind, count in one.usage.nonzero().items() if "write" in kind}
        for one in readings
    ]
    assert writes == [{"cache_write_1h": 100}, {"cache_write_5m": 40, "cache_write_1h": 20}]


@pytest.mark.parametrize("key", ["token_count", "tokenCount"])
def test_predictions_of_vertex_count_their_tokens_in_both_spellings(key):
    told = {"predictions": [{"embeddings": {"statistics": {key: 7}}}]}
    request, _ = asked(provider="vertex", usage=None, endpoint="embed_content")
    reader = providers.reader(request)
    reader.answer(told)
    assert reader.readings()[0].usage.input == 7
