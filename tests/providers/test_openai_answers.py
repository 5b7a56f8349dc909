"""What OpenAI-shaped answers bill: one test for each thing that surprises."""

import json
from decimal import Decimal

import pytest

from otel_llm_usage.records import Usage


def chat(usage, **more):
    return {
        "id": "chatcmpl-1",
        "model": "gpt-x-2026-01-01",
        "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": usage,
        **more,
    }


def chunk(content=None, usage=None, finish=None, **more):
    delta = {} if content is None else {"content": content}
    return {
        "id": "chatcmpl-1",
        "model": "gpt-x",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        "usage": usage,
        **more,
    }


def usage_chunk(usage, **more):
    return {"id": "chatcmpl-1", "model": "gpt-x", "choices": [], "usage": usage, **more}


PLAIN = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def test_cached_and_reasoning_tokens_are_inside_their_totals(play):
    played = play(
        "chat",
        chat(
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 0},
            },
            service_tier="default",
        ),
    )
    assert played.usage.nonzero() == {
        "input": 40,
        "cache_read": 60,
        "output": 20,
        "reasoning": 30,
    }
    assert played.reading.model == "gpt-x-2026-01-01"
    assert played.reading.tier == "standard"
    assert played.reading.response_id == "chatcmpl-1"
    assert played.reading.finish_reasons == ("stop",)
    assert played.reading.final


def test_details_that_are_absent_or_null_leave_their_kinds_unknown(play):
    for details in ({}, {"prompt_tokens_details": None, "completion_tokens_details": None}):
        usage = play("chat", chat({**PLAIN, **details})).usage
        assert usage == Usage(input=10, output=5)


def test_predicted_outputs_are_inside_the_completion(play):
    details = {"accepted_prediction_tokens": 3, "rejected_prediction_tokens": 2}
    usage = play("chat", chat({**PLAIN, "completion_tokens_details": details})).usage
    assert usage.output_tokens == 5


@pytest.mark.parametrize(
    "told",
    [
        {"prompt_tokens_details": {"cached_tokens": 4}},
        {"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6},
        {"cached_tokens": 4},
        {"num_cached_tokens": 4},
        {"cache_read_input_tokens": 4},
    ],
)
def test_cached_tokens_go_by_many_names(play, told):
    usage = play("chat", chat({**PLAIN, **told})).usage
    assert usage.nonzero() == {"input": 6, "cache_read": 4, "output": 5}


def test_a_count_that_is_told_twice_counts_once(play):
    told = {"prompt_tokens_details": {"cached_tokens": 4}, "prompt_cache_hit_tokens": 4}
    assert play("chat", chat({**PLAIN, **told})).usage.input_tokens == 10


def test_more_cached_than_prompt_is_cut_to_the_prompt_and_noted(play):
    told = {**PLAIN, "prompt_tokens_details": {"cached_tokens": 400}}
    played = play("chat", chat(told))
    assert played.usage.nonzero() == {"cache_read": 10, "output": 5}
    assert played.reading.notes == ("cache_exceeds_input",)


def test_more_reasoning_than_output_is_cut_to_the_output_and_noted(play):
    told = {**PLAIN, "completion_tokens_details": {"reasoning_tokens": 6}}
    played = play("chat", chat(told))
    assert played.usage.nonzero() == {"input": 10, "reasoning": 5}
    assert played.reading.notes == ("reasoning_exceeds_output",)


def test_reasoning_is_added_only_where_the_total_says_so(play):
    details = {"completion_tokens_details": {"reasoning_tokens": 30}}
    outside = play("chat", chat({**PLAIN, "total_tokens": 45, **details})).usage
    inside = play(
        "chat",
        chat({"prompt_tokens": 10, "completion_tokens": 35, "total_tokens": 45, **details}),
    ).usage
    assert outside.nonzero() == inside.nonzero() == {"input": 10, "output": 5, "reasoning": 30}


def test_audio_outside_the_prompt_is_added_where_the_total_says_so(play):
    told = {**PLAIN, "total_tokens": 315, "prompt_tokens_details": {"audio_tokens": 300}}
    usage = play("chat", chat(told), host="https://api.mistral.ai/v1").usage
    assert usage.nonzero() == {"input": 10, "input_audio": 300, "output": 5}


def test_a_cache_outside_the_prompt_is_added_where_the_total_says_so(play):
    told = {
        **PLAIN,
        "total_tokens": 1065,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 50,
    }
    usage = play("chat", chat(told), host="https://x.azuredatabricks.net").usage
    assert usage.nonzero() == {"input": 10, "cache_read": 1000, "cache_write": 50, "output": 5}


@pytest.mark.parametrize("gap", [2, -3])
def test_a_total_that_no_field_explains_is_noted_and_not_guessed(play, gap):
    played = play("chat", chat({**PLAIN, "total_tokens": 15 + gap}))
    assert played.usage.total_tokens == 15
    assert played.reading.notes == (f"total_mismatch:{gap}",)


def test_gemini_behind_the_openai_interface_thinks_in_the_total(play):
    host = "https://generativelanguage.googleapis.com/v1beta/openai/"
    played = play("chat", chat({**PLAIN, "total_tokens": 77}), host=host)
    assert played.usage.nonzero() == {"input": 10, "output": 5, "reasoning": 62}
    assert played.reading.notes == ()


def test_audio_and_images_have_their_own_kinds(play):
    told = {
        "prompt_tokens": 100,
        "completion_tokens": 40,
        "prompt_tokens_details": {"audio_tokens": 30, "image_tokens": 20},
        "completion_tokens_details": {"audio_tokens": 25},
    }
    assert play("chat", chat(told)).usage.nonzero() == {
        "input": 50,
        "input_audio": 30,
        "input_image": 20,
        "output": 15,
        "output_audio": 25,
    }


def test_cache_writes_are_inside_the_prompt_and_split_by_lifetime(play):
    told = {
        "input_tokens": 1000,
        "output_tokens": 10,
        "total_tokens": 1010,
        "input_tokens_details": {
            "cached_tokens": 200,
            "cache_write_tokens": 700,
            "cache_write_tokens_details": {"ttl_12h_tokens": 400, "ttl_30m_tokens": 250},
        },
    }
    assert play("responses", {"status": "completed", "usage": told}).usage.nonzero() == {
        "input": 100,
        "cache_read": 200,
        "cache_write": 50,
        "cache_write_30m": 250,
        "cache_write_12h": 400,
        "output": 10,
    }


def test_cached_tokens_by_modality_reduce_the_modality(play):
    told = {
        "input_tokens": 1000,
        "output_tokens": 10,
        "input_token_details": {
            "audio_tokens": 600,
            "text_tokens": 400,
            "cached_tokens": 300,
            "cached_tokens_details": {"audio_tokens": 200, "text_tokens": 100},
        },
    }
    assert play("responses", {"status": "completed", "usage": told}).usage.nonzero() == {
        "input": 300,
        "input_audio": 400,
        "cache_read": 100,
        "cache_read_audio": 200,
        "output": 10,
    }


def test_a_total_alone_is_the_prompt(play):
    assert play("embeddings", {"usage": {"total_tokens": 3}}).usage == Usage(input=3, output=0)


def test_usage_stands_where_groq_and_moonshot_put_it(play):
    groq = {**chat(None), "x_groq": {"id": "r", "usage": {**PLAIN, "queue_time": 0.28}}}
    moonshot = chat(None)
    moonshot["choices"][0]["usage"] = PLAIN
    for answer in (groq, moonshot):
        assert play("chat", answer).usage == Usage(input=10, output=5)
        assert play("chat", [answer, "[DONE]"]).usage == Usage(input=10, output=5)


# Streams


def test_a_stream_has_its_usage_in_a_chunk_without_choices(play):
    played = play(
        "chat", [chunk("hel"), chunk("lo"), chunk(finish="stop"), usage_chunk(PLAIN), "[DONE]"]
    )
    assert played.usage == Usage(input=10, output=5)
    assert played.reader.delivered == 5
    assert played.reader.complete
    assert played.reading.final
    assert played.reading.finish_reasons == ("stop",)


def test_usage_in_every_chunk_is_a_running_total(play):
    events = [
        chunk("a", {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9}),
        chunk("b", {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}),
        chunk("", {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13}, "stop"),
    ]
    played = play("chat", events)
    assert played.usage == Usage(input=8, output=5)
    assert played.reader.complete  # without [DONE]
    halfway = play("chat", events[:2])
    assert halfway.usage == Usage(input=8, output=2)
    assert not halfway.reading.final


def test_null_counts_midway_do_not_hide_the_last_ones(play):
    midway = {"prompt_tokens": 14, "completion_tokens": None, "total_tokens": None}
    last = {"prompt_tokens": 14, "completion_tokens": 4, "total_tokens": 18}
    assert play("chat", [chunk("a", midway)]).usage == Usage(input=14)
    assert play("chat", [chunk("a", midway), chunk("", last, "stop")]).usage.total_tokens == 18


def test_azures_first_chunk_has_neither_choices_nor_model(play):
    first = {"choices": [], "model": "", "id": "", "prompt_filter_results": []}
    played = play("chat", [first, chunk("hi"), chunk(finish="stop"), usage_chunk(PLAIN), "[DONE]"])
    assert played.reading.model == "gpt-x"
    assert played.usage.total_tokens == 15


def test_a_stream_without_usage_tells_its_model_and_no_usage(play):
    played = play("chat", [chunk("hello"), chunk(finish="stop"), "[DONE]"])
    assert played.reading.usage is None
    assert played.reading.model == "gpt-x"
    assert played.reader.complete


def test_a_stream_cut_off_is_not_complete(play):
    played = play("chat", [chunk("hello"), chunk(" world")])
    assert not played.reader.complete
    assert not played.reading.final
    assert played.reader.delivered == 11


def test_a_stream_of_nothing_reads_nothing(play):
    assert play("chat", []).readings == ()


def test_an_error_inside_a_stream_is_seen_and_its_usage_counted(play):
    broken = chunk("", PLAIN) | {"error": {"code": 502, "message": "upstream"}}
    played = play("chat", [chunk("he"), broken])
    assert played.reader.failed == "502"
    assert played.usage.total_tokens == 15


def test_an_error_in_the_place_of_an_answer_is_not_billed(play):
    played = play("chat", {"error": {"code": "content_filter", "type": None}})
    assert played.reader.failed == "content_filter"
    assert not played.reader.billed
    assert played.readings == ()


def test_text_that_talks_about_usage_is_only_text(play):
    said = '"usage":{"prompt_tokens":999999,"completion_tokens":1} data: [DONE] "error"'
    played = play("chat", [chunk(said), chunk(finish="stop"), usage_chunk(PLAIN), "[DONE]"])
    assert played.usage == Usage(input=10, output=5)
    assert played.reader.failed is None
    assert played.reader.delivered == len(said)
    assert play("chat", [chunk(said), chunk(said)]).reading.usage is None


def test_delivered_characters_are_characters_and_not_bytes(play):
    played = play("chat", [chunk("x"), chunk('añ"\n\\'), chunk("日本語🎉")])
    assert played.reader.delivered == 1 + 5 + 4
    escaped = '{"model":"m","choices":[{"delta":{"content":"\\u00e9\\ud83d\\ude00"}}]}'
    assert play("chat", [chunk("x"), escaped]).reader.delivered == 3


def test_every_choice_of_a_chunk_delivers(play):
    many = ",".join('{"delta":{"content":"ab"}}' for _ in range(3000))
    played = play("chat", [chunk("x"), f'{{"model":"m","choices":[{many}]}}'])
    assert played.reader.delivered == 1 + 6000


def test_tool_arguments_and_reasoning_are_delivered_too(play):
    call = {"tool_calls": [{"index": -1, "function": {"name": "f", "arguments": '{"a":1}'}}]}
    events = [
        chunk("x"),
        {"model": "m", "choices": [{"delta": call}]},
        {"model": "m", "choices": [{"delta": {"reasoning_content": "hm"}}]},
        {
            "model": "m",
            "choices": [
                {"delta": {"reasoning": "hm", "reasoning_details": [{"text": "hm"}]}},
            ],
        },
        {"model": "m", "choices": [{"message": {"content": "so far"}, "delta": {"content": "r"}}]},
    ]
    assert play("chat", events).reader.delivered == 1 + 7 + 2 + 2 + 1


def test_legacy_completions_deliver_text(play):
    events = [
        {"model": "m", "choices": [{"text": "one"}]},
        {"model": "m", "choices": [{"text": "two"}]},
    ]
    assert play("completions", [*events, usage_chunk(PLAIN)]).reader.delivered == 6


def test_a_search_model_bills_a_search_with_every_answer(play):
    body = {"model": "gpt-4o-search-preview"}
    played = play("chat", chat(PLAIN, model="gpt-4o-search-preview-2025-03-11"), body=body)
    assert played.reading.units == {"web_search_preview": 1}
    elsewhere = play(
        "chat", chat(PLAIN, model="gpt-4o-search-preview"), host="https://openrouter.ai/api/v1"
    )
    assert elsewhere.reading.units == {}


# Responses


def response(**more):
    return {"id": "resp_1", "model": "gpt-x", "status": "completed", "output": [], **more}


def event(kind, **more):
    return {"type": kind, "sequence_number": 1, **more}


USED = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def test_a_response_streams_its_usage_with_its_last_event(play):
    events = [
        event("response.created", response=response(status="in_progress", service_tier="auto")),
        event("response.output_text.delta", delta="hello"),
        event("response.completed", response=response(usage=USED, service_tier="flex")),
    ]
    played = play("responses", events)
    assert played.usage == Usage(input=10, output=5)
    assert (played.reading.tier, played.reader.delivered) == ("flex", 5)
    assert played.reader.complete
    broken = play("responses", events[:2])
    assert not broken.reader.complete
    assert broken.reading.usage is None
    assert broken.reading.model == "gpt-x"
    assert broken.reading.tier is None


@pytest.mark.parametrize("named", [True, False])
def test_events_need_no_names(play, named):
    events = [
        event("response.created", response=response(status="in_progress")),
        event("response.output_text.delta", delta='say "response.completed"'),
        event("response.incomplete", response=response(status="incomplete", usage=USED)),
    ]
    played = play("responses", events if named else [json.dumps(each) for each in events])
    assert played.usage.total_tokens == 15
    assert played.reader.delivered == 24


def test_an_incomplete_response_tells_why(play):
    details = {"reason": "max_output_tokens"}
    answer = response(status="incomplete", incomplete_details=details, usage=USED)
    assert play("responses", answer).reading.finish_reasons == ("max_output_tokens",)


def test_a_failed_response_is_an_error_and_bills_what_it_says(play):
    error = {"code": "server_error", "message": "sorry"}
    played = play(
        "responses", [event("response.failed", response=response(status="failed", error=error))]
    )
    assert played.reader.failed == "server_error"
    assert not played.reader.billed
    played = play("responses", response(status="failed", error=error, usage=USED))
    assert played.reader.billed
    assert played.usage.total_tokens == 15


def test_an_error_event_is_an_error(play):
    assert play("responses", [event("error", code="rate_limit")]).reader.failed is not None


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_background_response_is_not_billed_yet(play, status):
    played = play("responses", response(status=status, background=True, usage=None))
    assert played.reader.pending
    assert not played.reader.billed
    assert played.reader.response_id == "resp_1"
    assert all(reading.usage is None for reading in played.readings)


def test_a_cut_background_stream_is_pending_and_a_finished_one_is_billed(play):
    created = event("response.created", response=response(status="queued", background=True))
    assert play("responses", [created]).reader.pending
    done = event("response.completed", response=response(background=True, usage=USED))
    played = play("responses", [created, done])
    assert not played.reader.pending
    assert played.reader.billed
    assert played.usage.total_tokens == 15


def test_zeros_for_delivered_text_are_noted(play):
    zeros = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    events = [
        event("response.created", response=response(status="in_progress")),
        event("response.output_text.delta", delta="hello"),
        event("response.incomplete", response=response(status="incomplete", usage=zeros)),
    ]
    played = play("responses", events)
    assert played.usage.total_tokens == 0
    assert played.reading.notes == ("zero_usage",)


def test_only_searches_are_billed_of_the_web_search_calls(play):
    output = [
        {"type": "web_search_call", "action": {"type": "search"}},
        {"type": "web_search_call", "action": {"type": "open_page"}},
        {"type": "web_search_call", "action": {"type": "find_in_page"}},
        {"type": "web_search_call"},
        {"type": "file_search_call"},
        {"type": "code_interpreter_call", "container_id": "c1"},
        {"type": "code_interpreter_call", "container_id": "c1"},
        {"type": "message"},
    ]
    played = play("responses", response(output=output, usage=USED))
    assert played.reading.units == {"web_search": 2, "file_search": 1, "code_interpreter": 1}


def test_the_request_or_the_answer_tells_the_preview_search(play):
    output = [{"type": "web_search_call", "action": {"type": "search"}}]
    tools = [{"type": "web_search_preview_2025_03_11"}]
    asked = play(
        "responses", response(output=output, usage=USED), body={"model": "m", "tools": tools}
    )
    told = play("responses", response(output=output, usage=USED, tools=tools))
    assert asked.reading.units == told.reading.units == {"web_search_preview": 1}


def test_billable_searches_that_are_told_win_over_those_counted(play):
    output = [{"type": "web_search_call", "action": {"type": "search"}}] * 3
    tool_usage = {"web_search": {"num_requests": 2}}
    played = play("responses", response(output=output, usage=USED, tool_usage=tool_usage))
    assert played.reading.units == {"web_search": 2}


def test_tokens_of_the_image_tool_are_billed_to_the_image_model(play):
    tool_usage = {
        "image_gen": {
            "input_tokens": 50,
            "input_tokens_details": {"text_tokens": 40, "image_tokens": 10},
            "output_tokens": 900,
            "total_tokens": 950,
        },
        "web_search": {"num_requests": 0},
    }
    tools = [{"type": "image_generation", "model": "gpt-image-x"}]
    answer = response(usage=USED, tool_usage=tool_usage, tools=tools)
    own, image = play("responses", answer).readings
    assert (own.model, own.usage) == ("gpt-x", Usage(input=10, output=5))
    assert (image.model, image.entry) == ("gpt-image-x", "image_generation")
    assert image.usage is not None
    assert image.usage.nonzero() == {"input": 40, "input_image": 10, "output_image": 900}
    _, unnamed = play("responses", response(usage=USED, tool_usage=tool_usage)).readings
    assert unnamed.model == "image_generation"  # priced as nothing rather than as the wrong model


def test_image_calls_without_told_tokens_are_a_unit(play):
    answer = response(usage=USED, output=[{"type": "image_generation_call"}])
    assert play("responses", answer).reading.units == {"image_generation": 1}


def test_sources_of_a_live_search_are_a_unit(play):
    answer = chat({**PLAIN, "num_sources_used": 7, "cost_in_usd_ticks": 1})
    assert play("chat", answer, host="https://api.x.ai/v1").reading.units == {"search_sources": 7}


# Embeddings, images, audio


def test_a_large_embeddings_body_is_read_from_its_end(play):
    vectors = [{"embedding": [0.123456789] * 4000, "index": i} for i in range(20)]
    answer = {
        "object": "list",
        "data": vectors,
        "model": "e-2",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }
    played = play("embeddings", answer)
    assert played.usage == Usage(input=7, output=0)
    assert played.reading.model == "e-2"
    first = {"usage": answer["usage"], "model": "e-2", "data": vectors}
    assert play("embeddings", first).usage == Usage(input=7, output=0)


@pytest.mark.parametrize(
    "answer", ["", "not json", "[]", "{}", '{"usage": null}', '{"usage": "x"}']
)
def test_embeddings_without_usage_count_nothing(play, answer):
    assert all(reading.usage is None for reading in play("embeddings", answer).readings)


def test_image_tokens_come_in_and_go_out(play):
    usage = {
        "input_tokens": 60,
        "input_tokens_details": {"text_tokens": 50, "image_tokens": 10},
        "output_tokens": 1056,
        "total_tokens": 1116,
    }
    played = play("images", {"data": [{"b64_json": "A" * 100_000}], "usage": usage})
    assert played.usage.nonzero() == {"input": 50, "input_image": 10, "output_image": 1056}
    thinking = {**usage, "output_tokens_details": {"text_tokens": 56, "image_tokens": 1000}}
    played = play("images", {"data": [], "usage": thinking})
    assert played.usage.nonzero() == {
        "input": 50,
        "input_image": 10,
        "output": 56,
        "output_image": 1000,
    }


def test_svg_authoring_is_billed_to_its_own_model(play):
    svg = {"model": "gpt-y", "input_tokens": 7, "output_tokens": 9, "reasoning_tokens": 4}
    rendered = {"input_tokens": 60, "output_tokens": 1056, "total_tokens": 1116}
    image, authored = play("images", {"data": [], "usage": rendered, "svg_usage": svg}).readings
    assert image.usage is not None
    assert image.usage.output_image == 1056
    assert (authored.model, authored.entry) == ("gpt-y", "svg")
    assert authored.usage is not None
    assert authored.usage.nonzero() == {"input": 7, "output": 5, "reasoning": 4}


def test_images_without_tokens_are_billed_by_their_number(play):
    played = play(
        "images", {"data": [{"url": "u"}, {"url": "v"}]}, body={"model": "dall-e-3", "n": 2}
    )
    assert played.reading.usage is None
    assert played.reading.units == {"images": 2}
    ticks = play("images", {"data": [{"url": "u"}], "usage": {"cost_in_usd_ticks": 1}})
    assert ticks.reading.units == {"images": 1}


def test_each_streamed_image_bills_its_own_tokens(play):
    usage = {"input_tokens": 6, "output_tokens": 100, "total_tokens": 106}
    done = {"type": "image_generation.completed", "b64_json": "A" * 5000, "usage": usage}
    partial = {"type": "image_generation.partial_image", "b64_json": "A" * 5000}
    played = play("images", [partial, done, partial, done])
    assert [reading.usage.output_image for reading in played.readings] == [100, 100]
    assert played.reader.complete


def test_a_transcription_is_billed_by_tokens_or_by_seconds(play):
    tokens = {
        "type": "tokens",
        "input_tokens": 100,
        "input_token_details": {"audio_tokens": 90, "text_tokens": 10},
        "output_tokens": 20,
        "total_tokens": 120,
    }
    assert play("transcriptions", {"text": "t", "usage": tokens}).usage.nonzero() == {
        "input": 10,
        "input_audio": 90,
        "output": 20,
    }
    streamed = [
        {"type": "transcript.text.delta", "delta": "hello"},
        {"type": "transcript.text.done", "text": "hello", "usage": tokens},
    ]
    assert play("transcriptions", streamed).usage.total_tokens == 120
    for seconds, exact in ((95, 95), (4.0, 4), (4.5, Decimal("4.5"))):
        usage = {"type": "duration", "seconds": seconds}
        played = play("transcriptions", {"text": "t", "usage": usage})
        assert played.usage == Usage()
        assert played.reading.units == {"audio_seconds": exact}
    assert play("transcriptions", {"text": "t", "duration": 8.5}).reading.units == {
        "audio_seconds": Decimal("8.5")
    }


@pytest.mark.parametrize("plain", ["Hello there", "1\n00:00 --> 00:01\nHi", "WEBVTT"])
def test_a_transcription_in_plain_text_says_nothing(play, plain):
    assert play("transcriptions", plain).readings == ()


def test_speech_is_billed_by_the_characters_that_were_sent(play):
    played = play("speech", b"\xff\xf3\x00", body={"model": "tts-1", "input": "say this"})
    assert played.reading.units == {"characters": 8}
    assert played.reading.usage is None
    done = {"type": "speech.audio.done", "usage": {"input_tokens": 5, "output_tokens": 90}}
    streamed = play("speech", [done], body={"model": "tts", "input": "say this"})
    assert streamed.usage.nonzero() == {"input": 5, "output_audio": 90}
    assert streamed.reading.units == {}
