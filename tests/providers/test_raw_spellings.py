"""Raw usage as people have it: other names of a call, the SDKs' nesting, and what is not known."""

from decimal import Decimal

import pytest

from otel_llm_usage import price, providers

GEMINI = {"promptTokenCount": 100, "candidatesTokenCount": 5, "totalTokenCount": 105}
CLAUDE = {"input_tokens": 100, "output_tokens": 5}


def only(**arguments):
    request, (reading,) = providers.readings(**arguments)
    return request, reading


@pytest.mark.parametrize(
    "endpoint",
    ["generate_content", "models.generate_content", "generateContent", "google.generate", None],
)
def test_a_gemini_call_of_any_name_is_read(endpoint):
    _, reading = only(provider="google", endpoint=endpoint, usage=GEMINI)
    assert reading.usage.nonzero() == {"input": 100, "output": 5}


@pytest.mark.parametrize("endpoint", ["messages", "messages.create", "messages.stream", "claude"])
def test_a_claude_call_of_any_name_is_read(endpoint):
    _, reading = only(provider="anthropic", endpoint=endpoint, usage=CLAUDE)
    assert reading.usage.nonzero() == {"input": 100, "output": 5}


@pytest.mark.parametrize("endpoint", ["embeddings", "models.embed_content", "embed_content"])
def test_gemini_embeddings_of_any_name_have_no_output(endpoint):
    _, reading = only(provider="google", endpoint=endpoint, usage={"promptTokenCount": 9})
    assert reading.usage.nonzero() == {"input": 9}
    assert reading.usage.output == 0


@pytest.mark.parametrize(
    ("endpoint", "tier"),
    [("batchEmbedContents", None), ("batches.create_embeddings", "batch"), ("batches", "batch")],
)
def test_many_embeddings_in_one_call_are_no_batch_job(endpoint, tier):
    _, reading = only(provider="google", endpoint=endpoint, usage={"promptTokenCount": 9})
    assert reading.tier == tier


def test_gemini_through_openais_door_has_openais_names():
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105}
    _, reading = only(provider="google", endpoint="chat.completions.create", usage=usage)
    assert reading.usage.nonzero() == {"input": 100, "output": 5}


def test_what_the_google_sdk_takes_as_config_is_part_of_the_request():
    request, _ = only(
        provider="google",
        usage=GEMINI,
        request={"config": {"service_tier": "flex", "tools": [{"google_search": {}}]}},
    )
    assert request.tier == "flex"
    assert request.hints["tools"] == ("google_search",)


def test_headers_are_found_where_the_google_sdk_keeps_them():
    _, reading = only(
        provider="google",
        usage=GEMINI,
        response={"sdk_http_response": {"headers": {"X-Gemini-Service-Tier": "priority"}}},
    )
    assert reading.tier == "priority"


@pytest.mark.parametrize("ttl", ["3600s", 3600, {"seconds": 3600}])
@pytest.mark.parametrize("nest", [lambda ttl: {"ttl": ttl}, lambda ttl: {"config": {"ttl": ttl}}])
def test_a_lifetime_is_read_in_every_spelling(ttl, nest):
    _, reading = only(
        provider="google",
        endpoint="caches.create",
        usage={"totalTokenCount": 50},
        request=nest(ttl),
    )
    assert reading.units == {"cache_storage_token_hours": 50}


@pytest.mark.parametrize("usage", [{"type": "duration", "seconds": 4.5}, {"seconds": 4.5}])
@pytest.mark.parametrize("endpoint", ["audio.transcriptions", None])
def test_seconds_are_audio(usage, endpoint):
    _, reading = only(provider="openai", endpoint=endpoint, usage=usage)
    assert reading.units == {"audio_seconds": Decimal("4.5")}


@pytest.mark.parametrize("modality", ["SMELL", 17])
def test_a_modality_that_nobody_knows_makes_the_usage_bad(modality):
    rows = [{"modality": modality, "tokenCount": 40}, {"modality": "TEXT", "tokenCount": 60}]
    _, reading = only(provider="google", usage={**GEMINI, "promptTokensDetails": rows})
    assert reading.notes == ("bad_usage:modality",)


@pytest.mark.parametrize("modality", ["TEXT", "DOCUMENT", "MODALITY_UNSPECIFIED", 0, 1, 5, None])
def test_documents_and_what_is_not_specified_are_text(modality):
    rows = [{"modality": modality, "tokenCount": 100}]
    _, reading = only(provider="google", usage={**GEMINI, "promptTokensDetails": rows})
    assert reading.notes == ()
    assert reading.usage.nonzero() == {"input": 100, "output": 5}


def test_a_part_of_the_usage_may_be_in_the_response():
    _, reading = only(
        provider="anthropic",
        usage=CLAUDE,
        response={"usage": {"inference_geo": "us", "output_tokens": 7}},
    )
    assert reading.region == "us"
    assert reading.usage.output == 5


@pytest.mark.parametrize(("platform", "region"), [("claude-api", "us"), ("bedrock", None)])
def test_where_claude_was_asked_to_run_matters_on_its_own_api_alone(platform, region):
    request, _ = only(
        provider="anthropic", platform=platform, usage=CLAUDE, request={"inference_geo": "us"}
    )
    assert request.region == region


def test_the_body_of_a_live_call_says_where_claude_is_to_run():
    request = providers.describe(
        "anthropic",
        "POST",
        "/v1/messages",
        {"model": "claude-opus-5", "inference_geo": "us"},
        base_url="https://api.anthropic.com",
    )
    assert request is not None
    assert request.region == "us"


REFUSED = {"stop_reason": "refusal", "content": []}


def test_a_refusal_before_any_output_costs_nothing_and_says_so():
    cost = price(
        {"input_tokens": 100, "output_tokens": 1},
        provider="anthropic",
        model="claude-opus-5",
        at="2026-09-15",
        response=REFUSED,
    )
    assert (cost.status, cost.total, cost.reasons) == ("not_billed", Decimal(0), ())


def test_a_refusal_whose_content_is_not_told_is_judged_by_its_output():
    arguments = {"provider": "anthropic", "model": "claude-opus-5", "at": "2026-09-15"}
    some = price(CLAUDE, response={"stop_reason": "refusal"}, **arguments)
    none = price({**CLAUDE, "output_tokens": 0}, response={"stop_reason": "refusal"}, **arguments)
    assert (some.status, none.status) == ("priced", "not_billed")
