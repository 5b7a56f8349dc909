"""What Gemini's answers bill: one test for each thing that surprises."""

import json
from decimal import Decimal

import pytest

from otel_llm_usage import providers
from otel_llm_usage.records import Usage


def answer(usage, text="hi", finish="STOP", **candidate):
    return {
        "candidates": [
            {
                "content": {"parts": [{"text": text}]},
                "finishReason": finish,
                "index": 0,
                **candidate,
            }
        ],
        "usageMetadata": usage,
        "modelVersion": "gemini-x",
        "responseId": "r1",
    }


def chunk(usage, text="hi", finish=None):
    whole = answer(usage, text)
    if finish is None:
        del whole["candidates"][0]["finishReason"]
    else:
        whole["candidates"][0]["finishReason"] = finish
    return json.dumps(whole)


def rows(**counts):
    return [{"modality": name, "tokenCount": count} for name, count in counts.items()]


def test_thoughts_and_tool_use_stand_beside_and_the_cache_inside(play):
    usage = {
        "promptTokenCount": 1000,
        "cachedContentTokenCount": 700,
        "candidatesTokenCount": 50,
        "thoughtsTokenCount": 200,
        "toolUsePromptTokenCount": 60,
        "totalTokenCount": 1310,
    }
    played = play("gemini", answer(usage))
    assert played.usage.nonzero() == {
        "input": 300,
        "input_tool_use": 60,
        "cache_read": 700,
        "output": 50,
        "reasoning": 200,
    }
    assert played.usage.total_tokens == 1310
    assert played.reading.notes == ()
    assert (played.reading.model, played.reading.response_id) == ("gemini-x", "r1")
    assert played.reading.finish_reasons == ("STOP",)


def test_rows_split_the_prompt_by_modality(play):
    usage = {
        "promptTokenCount": 1518,
        "candidatesTokenCount": 2,
        "totalTokenCount": 1520,
        "promptTokensDetails": rows(TEXT=43, VIDEO=1315, AUDIO=160),
    }
    assert play("gemini", answer(usage)).usage.nonzero() == {
        "input": 43,
        "input_audio": 160,
        "input_video": 1315,
        "output": 2,
    }


def test_rows_may_be_repeated_unfinished_numbers_or_of_a_document(play):
    usage = {
        "promptTokenCount": 100,
        "candidatesTokenCount": 0,
        "totalTokenCount": 100,
        "promptTokensDetails": [
            {"modality": "AUDIO", "tokenCount": 10},
            {"modality": "audio", "tokenCount": 5},
            {"modality": 4, "tokenCount": 1},
            {"modality": "DOCUMENT", "tokenCount": 30},
            {"modality": "IMAGE"},
            {"tokenCount": 3},
        ],
    }
    assert play("gemini", answer(usage)).usage.nonzero() == {"input": 84, "input_audio": 16}


def test_text_is_what_the_other_rows_leave_even_if_its_row_says_less(play):
    usage = {
        "promptTokenCount": 257,
        "candidatesTokenCount": 1216,
        "totalTokenCount": 1473,
        "promptTokensDetails": rows(TEXT=196),
        "candidatesTokensDetails": rows(IMAGE=1120),
    }
    assert play("gemini", answer(usage)).usage.nonzero() == {
        "input": 257,
        "output": 96,
        "output_image": 1120,
    }


def test_cached_audio_is_told_by_the_rows_of_the_cache(play):
    usage = {
        "promptTokenCount": 1000,
        "cachedContentTokenCount": 500,
        "candidatesTokenCount": 0,
        "totalTokenCount": 1000,
        "promptTokensDetails": rows(TEXT=400, AUDIO=600),
        "cacheTokensDetails": rows(TEXT=200, AUDIO=300),
    }
    played = play("gemini", answer(usage))
    assert played.usage.nonzero() == {
        "input": 200,
        "input_audio": 300,
        "cache_read": 200,
        "cache_read_audio": 300,
    }
    assert played.reading.notes == ()


def test_a_cache_of_text_only_leaves_the_audio_at_its_full_rate(play):
    usage = {
        "promptTokenCount": 10000,
        "cachedContentTokenCount": 5000,
        "totalTokenCount": 10000,
        "promptTokensDetails": rows(TEXT=6000, AUDIO=4000),
        "cacheTokensDetails": rows(TEXT=5000),
    }
    assert play("gemini", answer(usage)).usage.nonzero() == {
        "input": 1000,
        "input_audio": 4000,
        "cache_read": 5000,
    }


def test_a_hit_of_untold_modality_is_text_as_far_as_there_is_text(play):
    usage = {
        "promptTokenCount": 1000,
        "cachedContentTokenCount": 300,
        "totalTokenCount": 1000,
        "promptTokensDetails": rows(TEXT=400, AUDIO=600),
    }
    played = play("gemini", answer(usage))
    assert played.usage.nonzero() == {"input": 100, "input_audio": 600, "cache_read": 300}
    assert played.reading.notes == ("cache_modality_unknown",)
    forced = play("gemini", answer({**usage, "cachedContentTokenCount": 500}))
    assert forced.usage.nonzero() == {
        "input_audio": 500,
        "cache_read": 400,
        "cache_read_audio": 100,
    }
    assert forced.usage.input_tokens == 1000


def test_cached_audio_is_never_more_than_there_was_audio(play):
    usage = {
        "promptTokenCount": 1000,
        "cachedContentTokenCount": 900,
        "totalTokenCount": 1000,
        "promptTokensDetails": rows(TEXT=900, AUDIO=100),
        "cacheTokensDetails": rows(AUDIO=300, TEXT=600),
    }
    played = play("gemini", answer(usage))
    assert played.usage.input_tokens == 1000
    assert played.usage.input_audio == 0
    assert played.reading.notes == ("cache_details_exceed_input",)


def test_a_prompt_count_that_is_missing_is_what_the_total_leaves(play):
    usage = {"candidatesTokenCount": 1, "thoughtsTokenCount": 41, "totalTokenCount": 338}
    played = play("gemini", answer(usage))
    assert played.usage == Usage(input=296, output=1, reasoning=41)
    assert played.reading.notes == ()


@pytest.mark.parametrize("thoughts", [None, 2])
def test_an_answer_count_that_is_missing_is_zero_if_the_total_agrees(play, thoughts):
    usage = {"promptTokenCount": 14, "thoughtsTokenCount": thoughts}
    usage["totalTokenCount"] = 14 + (thoughts or 0)
    played = play("gemini", answer(usage, finish="SAFETY"))
    assert played.usage == Usage(input=14, output=0, reasoning=thoughts)


def test_a_total_that_no_field_explains_is_noted(play):
    usage = {"promptTokenCount": 14, "candidatesTokenCount": 2, "totalTokenCount": 20}
    played = play("gemini", answer(usage))
    assert played.usage == Usage(input=14, output=2)
    assert played.reading.notes == ("total_mismatch:4",)


@pytest.mark.parametrize(
    "usage", [None, {}, {"trafficType": "ON_DEMAND"}, {"promptTokenCount": None}]
)
def test_usage_without_counts_is_no_usage(play, usage):
    played = play("gemini", answer(usage))
    assert played.reading.usage is None


def test_a_blocked_prompt_tells_why(play):
    played = play("gemini", {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "g"})
    assert played.reading.finish_reasons == ("SAFETY",)


# Tiers


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        ({"trafficType": "ON_DEMAND"}, "standard"),
        ({"trafficType": "ON_DEMAND_FLEX"}, "flex"),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, "provisioned"),
        ({"trafficType": 1}, "standard"),
        ({"trafficType": 2}, "provisioned"),
        ({"trafficType": 0}, None),
        ({"trafficType": 9}, "traffic_type_9"),
        ({"trafficType": "MOONLIGHT"}, "moonlight"),
        ({"trafficType": True}, None),
        ({"serviceTier": "flex"}, "flex"),
        ({"serviceTier": "unspecified"}, "standard"),
        ({}, None),
    ],
)
def test_the_tier_is_in_our_words_and_an_unknown_one_stays_unknown(play, said, tier):
    assert play("gemini", answer({"promptTokenCount": 1, **said})).reading.tier == tier


def test_the_header_has_the_last_word_on_the_tier(play):
    usage = {"promptTokenCount": 1, "serviceTier": "priority"}
    headers = {"X-Gemini-Service-Tier": "standard"}
    assert play("gemini", answer(usage), headers=headers).reading.tier == "standard"


# Streams


def test_the_last_running_total_counts_as_a_whole(play):
    events = [
        chunk({"promptTokenCount": 160, "totalTokenCount": 160}, "Hel"),
        chunk({"promptTokenCount": 85, "candidatesTokenCount": 3, "totalTokenCount": 88}, "lo"),
        chunk(
            {"promptTokenCount": 85, "candidatesTokenCount": 14, "totalTokenCount": 99}, "!", "STOP"
        ),
    ]
    played = play("gemini", events)
    assert played.usage == Usage(input=85, output=14)
    assert played.reader.complete
    assert played.reader.delivered == 6
    halfway = play("gemini", events[:2])
    assert halfway.usage == Usage(input=85, output=3)
    assert not halfway.reading.final


def test_an_empty_usage_at_the_end_does_not_hide_an_earlier_one(play):
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}
    events = [chunk(usage), chunk({"trafficType": "ON_DEMAND_FLEX"}, "", "STOP")]
    played = play("gemini", events)
    assert played.usage == Usage(input=5, output=3)
    assert played.reading.tier == "flex"


def test_a_count_that_gets_lost_on_the_way_is_noted(play):
    events = [
        chunk({"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}),
        chunk({"promptTokenCount": 5, "totalTokenCount": 5}, "", "STOP"),
    ]
    played = play("gemini", events)
    assert played.usage == Usage(input=5, output=0)
    assert played.reading.notes == ("count_lost:candidatesTokenCount",)


def test_text_and_arguments_that_talk_about_usage_are_only_that(play):
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}
    said = '"usageMetadata": {"promptTokenCount": 99999} "finishReason":"STOP"'
    call = json.loads(chunk(usage))
    lie = {"usageMetadata": {"promptTokenCount": 99999}}
    call["candidates"][0]["content"]["parts"] = [{"functionCall": {"name": "f", "args": lie}}]
    moved = {"usageMetadata": call.pop("usageMetadata"), **call}  # the lie comes last
    played = play("gemini", [chunk(usage, "x"), chunk(usage, said), json.dumps(moved)])
    assert played.usage == Usage(input=5, output=3)
    assert played.reader.delivered == 1 + len(said)
    assert not played.reader.complete


def test_an_array_of_chunks_is_a_stream_too(play):
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}
    body = [json.loads(chunk({"promptTokenCount": 5})), json.loads(chunk(usage, "", "STOP"))]
    assert play("gemini", json.dumps(body)).usage == Usage(input=5, output=3)


def test_numbers_for_finish_reasons_are_understood(play):
    played = play("gemini", answer({"promptTokenCount": 5}, finish=2))
    assert played.reading.finish_reasons == ("MAX_TOKENS",)


def test_an_error_in_a_stream_is_seen(play):
    error = json.dumps({"error": {"code": 503, "status": "UNAVAILABLE"}})
    played = play("gemini", [chunk({"promptTokenCount": 5}), error])
    assert played.reader.failed == "503"


# Grounding


def grounded(*queries, **more):
    metadata = {"webSearchQueries": list(queries), **more}
    return answer({"promptTokenCount": 5}, groundingMetadata=metadata)


def test_a_grounded_prompt_and_its_queries_are_counted(play):
    assert play("gemini", grounded("one", "two", "")).reading.units == {
        "search_grounding_prompts": 1,
        "search_grounding_queries": 2,
    }
    assert play("gemini", grounded()).reading.units == {}


def test_chunks_that_repeat_queries_do_not_repeat_the_bill(play):
    events = [
        json.dumps(grounded("one")),
        json.dumps(grounded("one", "two")),
        json.dumps(grounded("three")),
    ]
    assert play("gemini", events).reading.units["search_grounding_queries"] == 3


def test_grounding_with_maps_has_units_of_its_own(play):
    maps = grounded(groundingChunks=[{"maps": {"placeId": "p"}}])
    assert play("gemini", maps).reading.units == {
        "maps_grounding_prompts": 1,
        "maps_grounding_queries": 1,
    }
    body = {"tools": [{"googleMaps": {}}]}
    assert play("gemini", grounded("one", "two"), body=body).reading.units == {
        "maps_grounding_prompts": 1,
        "maps_grounding_queries": 2,
    }


# Embeddings, caches, interactions


def test_embeddings_have_usage_or_statistics_or_nothing(play):
    vector = {"values": [0.1] * 2000}
    told = {
        "embeddings": [vector],
        "usageMetadata": {"promptTokenCount": 8, "promptTokenDetails": rows(TEXT=8)},
    }
    assert play("gemini-embeddings", told).usage == Usage(input=8, output=0)
    summed = {
        "predictions": [
            {"embeddings": {**vector, "statistics": {"token_count": count}}} for count in (10, 4.0)
        ]
    }
    assert play("gemini-embeddings", summed).usage == Usage(input=14, output=0)
    assert play("gemini-embeddings", {"embeddings": [vector]}).readings == ()


def test_a_cache_stores_its_tokens_for_its_lifetime(play):
    cache = {
        "name": "cachedContents/1",
        "model": "models/g",
        "usageMetadata": {"totalTokenCount": 1000},
    }
    played = play("caches", cache, body={"model": "models/g", "ttl": "7200s"})
    assert played.reading.units == {"cache_storage_token_hours": 2000}
    assert played.usage == Usage()
    assert played.reading.model == "g"
    half = play("caches", cache, body={"ttl": "1.8s"})
    assert half.reading.units == {"cache_storage_token_hours": Decimal("0.5")}
    times = {"createTime": "2026-01-01T00:00:00.5Z", "expireTime": "2026-01-01T03:00:00.5Z"}
    told = play("caches", {**cache, **times}, body={})
    assert told.reading.units == {"cache_storage_token_hours": 3000}
    untold = play("caches", cache, body={})
    assert untold.reading.units == {}
    assert untold.reading.notes == ("cache_lifetime_unknown",)


def test_imagen_is_billed_by_the_images_that_it_made():
    request = providers.describe(
        "google",
        "POST",
        "publishers/google/models/imagen-4:predict",
        {},
        base_url="",
        client="vertex",
    )
    assert request is not None
    reader = providers.reader(request)
    reader.body(json.dumps({"predictions": [{"bytesBase64Encoded": "AAAA"}] * 3}))
    assert reader.readings()[0].units == {"images": 3}


def interaction(usage, **more):
    return {"id": "i1", "model": "g", "status": "completed", "usage": usage, **more}


TALKED = {
    "total_input_tokens": 267,
    "input_tokens_by_modality": [
        {"modality": "text", "tokens": 9},
        {"modality": "image", "tokens": 258},
    ],
    "total_cached_tokens": 0,
    "total_output_tokens": 3,
    "total_tool_use_tokens": 4,
    "total_thought_tokens": 57,
    "total_tokens": 331,
}


def test_interactions_have_names_of_their_own(play):
    used = {**TALKED, "grounding_tool_count": [{"type": "google_search", "count": 2}]}
    played = play("interactions", interaction(used, service_tier="flex"))
    assert played.usage.nonzero() == {
        "input": 9,
        "input_image": 258,
        "input_tool_use": 4,
        "output": 3,
        "reasoning": 57,
    }
    assert played.reading.units == {
        "search_grounding_prompts": 1,
        "search_grounding_queries": 2,
    }
    assert played.reading.tier == "flex"


def test_a_streamed_interaction_tells_its_usage_at_its_end(play):
    done = {"event_type": "interaction.completed", "interaction": interaction(TALKED)}
    played = play("interactions", [json.dumps({"event_type": "step.delta"}), json.dumps(done)])
    assert played.usage.total_tokens == 331
    assert played.reader.complete


def test_a_background_interaction_is_not_billed_yet(play):
    played = play("interactions", interaction(None, status="in_progress"))
    assert played.reader.pending
    assert not played.reader.billed
