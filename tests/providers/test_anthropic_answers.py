"""What Anthropic's messages bill: one test for each thing that surprises."""

import pytest

from otel_llm_usage.records import Usage


def message(usage, **more):
    return {
        "id": "msg_1",
        "type": "message",
        "model": "claude-x",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "usage": usage,
        **more,
    }


def start(usage, **more):
    return {
        "type": "message_start",
        "message": message(usage, content=[], stop_reason=None, **more),
    }


def delta(usage, stop="end_turn"):
    return {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage}


def text(said, kind="text_delta", key="text"):
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, key: said}}


OPEN = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
STOP = {"type": "message_stop"}


def test_caches_stand_beside_the_input(play):
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 500,
        "cache_creation_input_tokens": 300,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 150},
        "output_tokens": 7,
    }
    played = play("messages", message(usage))
    assert played.usage.nonzero() == {
        "input": 10,
        "cache_read": 500,
        "cache_write": 50,
        "cache_write_5m": 100,
        "cache_write_1h": 150,
        "output": 7,
    }
    assert played.usage.input_tokens == 810


@pytest.mark.parametrize("split", [None, {}, "absent"])
def test_a_cache_write_whose_lifetime_is_not_told_stays_so(play, split):
    usage = {"input_tokens": 1, "cache_creation_input_tokens": 300, "output_tokens": 7}
    if split != "absent":
        usage["cache_creation"] = split
    assert play("messages", message(usage)).usage.nonzero() == {
        "input": 1,
        "cache_write": 300,
        "output": 7,
    }


def test_a_split_that_exceeds_its_total_is_cut_and_noted(play):
    split = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 150}
    usage = {
        "input_tokens": 1,
        "cache_creation_input_tokens": 200,
        "cache_creation": split,
        "output_tokens": 7,
    }
    played = play("messages", message(usage))
    assert played.usage.cache_write_tokens == 200
    assert played.reading.notes == ("cache_details_exceed_input",)


def test_thinking_is_inside_the_output(play):
    usage = {
        "input_tokens": 1,
        "output_tokens": 90,
        "output_tokens_details": {"thinking_tokens": 50},
    }
    assert play("messages", message(usage)).usage == Usage(input=1, output=40, reasoning=50)


def test_tier_speed_and_region_are_told_by_the_usage(play):
    usage = {"input_tokens": 1, "output_tokens": 1, "service_tier": "standard"}
    assert play("messages", message(usage)).reading.tier == "standard"
    fast = play("messages", message({**usage, "speed": "fast", "inference_geo": "us"})).reading
    assert (fast.tier, fast.region) == ("fast", "us")
    slow = play("messages", message({**usage, "speed": "standard"})).reading
    assert slow.tier == "standard"
    batch = play("messages", message({**usage, "service_tier": "batch"})).reading
    assert batch.tier == "batch"
    unknown = play("messages", message({**usage, "inference_geo": "not_available"})).reading
    assert unknown.region is None


def test_server_tools_are_units_under_their_own_names(play):
    used = {"web_search_requests": 3, "web_fetch_requests": 1, "dig_requests": 2, "x_requests": 0}
    usage = {"input_tokens": 1, "output_tokens": 1, "server_tool_use": used}
    assert play("messages", message(usage)).reading.units == {
        "web_search": 3,
        "web_fetch": 1,
        "dig": 2,
    }


# Streams


def test_a_stream_starts_with_the_input_and_ends_with_the_output(play):
    events = [
        start({"input_tokens": 20, "output_tokens": 1}),
        OPEN,
        text("hello"),
        delta({"output_tokens": 9}),
        STOP,
    ]
    played = play("messages", events)
    assert played.usage == Usage(input=20, output=9)
    assert played.reader.complete
    assert played.reader.delivered == 5
    assert played.reading.finish_reasons == ("end_turn",)
    assert played.reading.final


def test_the_output_of_a_start_is_a_placeholder(play):
    played = play(
        "messages", [start({"input_tokens": 20, "output_tokens": 1}), OPEN, text("hello")]
    )
    assert played.usage == Usage(input=20)
    assert not played.reading.final
    assert not played.reader.complete


def test_later_numbers_replace_earlier_ones_and_nulls_do_not(play):
    events = [
        start(
            {
                "input_tokens": 2000,
                "cache_read_input_tokens": 50,
                "output_tokens": 1,
                "service_tier": "standard",
            }
        ),
        delta({"input_tokens": 10400, "cache_read_input_tokens": None, "output_tokens": 5}, None),
        delta({"input_tokens": None, "output_tokens": 341}),
        STOP,
    ]
    played = play("messages", events)
    assert played.usage == Usage(input=10400, cache_read=50, output=341)
    assert played.reading.tier == "standard"


def test_an_error_in_a_stream_is_seen_and_what_was_told_is_kept(play):
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    played = play("messages", [start({"input_tokens": 20, "output_tokens": 1}), OPEN, error])
    assert played.reader.failed == "overloaded_error"
    assert played.usage == Usage(input=20)


def test_thinking_and_tool_input_are_delivered(play):
    events = [
        start({"input_tokens": 2, "output_tokens": 1}),
        OPEN,
        text("hm", "thinking_delta", "thinking"),
        text('{"a":', "input_json_delta", "partial_json"),
        text("c2lnbmVk", "signature_delta", "signature"),
    ]
    assert play("messages", events).reader.delivered == 2 + 5


def test_text_that_talks_about_events_is_only_text(play):
    said = '{"type":"message_delta","usage":{"output_tokens":99999}} "content_block_delta"'
    events = [
        start({"input_tokens": 2, "output_tokens": 1}),
        OPEN,
        text(said),
        delta({"output_tokens": 3}),
    ]
    played = play("messages", events)
    assert played.usage == Usage(input=2, output=3)
    assert played.reader.delivered == len(said)


def test_events_are_known_without_their_names(play):
    import json

    events = [
        start({"input_tokens": 2, "output_tokens": 1}),
        OPEN,
        text("hi"),
        {"type": "ping"},
        delta({"output_tokens": 3}),
        STOP,
    ]
    played = play("messages", [json.dumps(event) for event in events])
    assert played.usage == Usage(input=2, output=3)
    assert played.reader.complete


# Iterations


def part(kind, tokens, output, **more):
    return {"type": kind, "input_tokens": tokens, "output_tokens": output, **more}


def test_iterations_are_billed_instead_of_the_numbers_on_top(play):
    usage = {
        "input_tokens": 2400,
        "output_tokens": 145,
        "output_tokens_details": {"thinking_tokens": 47},
        "service_tier": "standard",
        "server_tool_use": {"web_search_requests": 1},
        "iterations": [
            part("message", 1100, 135),
            part("advisor_message", 2500, 18, model="claude-wise"),
            part("compaction", 100, 83, cache_read_input_tokens=55000),
            part("message", 1300, 10),
        ],
    }
    played = play("messages", message(usage))
    assert [(reading.entry, reading.model) for reading in played.readings] == [
        ("message", "claude-x"),
        ("advisor_message", "claude-wise"),
        ("compaction", "claude-x"),
        ("message", "claude-x"),
    ]
    usages = [reading.usage for reading in played.readings]
    assert usages[0] == Usage(input=1100, output=88, reasoning=47)
    assert usages[1] == Usage(input=2500, output=18)
    assert usages[2] == Usage(input=100, cache_read=55000, output=83)
    assert [reading.units for reading in played.readings] == [{"web_search": 1}, {}, {}, {}]
    assert {reading.tier for reading in played.readings} == {"standard"}


def test_iterations_that_agree_with_the_top_count_once(play, inclusive):
    usage = {"input_tokens": 50, "output_tokens": 14, "iterations": [part("message", 50, 14)]}
    counted = inclusive(play("messages", message(usage)).readings)
    assert (counted["input_tokens"], counted["output_tokens"]) == (50, 14)


@pytest.mark.parametrize("iterations", [None, []])
def test_no_iterations_leave_the_numbers_on_top(play, iterations):
    usage = {"input_tokens": 50, "output_tokens": 14, "iterations": iterations}
    assert play("messages", message(usage)).usage == Usage(input=50, output=14)


@pytest.mark.parametrize("iterations", ["many", 3, [7], {"type": "message"}])
def test_iterations_that_make_no_sense_are_noted(play, iterations):
    usage = {"input_tokens": 50, "output_tokens": 14, "iterations": iterations}
    played = play("messages", message(usage))
    assert played.usage == Usage(input=50, output=14)
    assert played.reading.notes == ("bad_usage:iterations",)


def test_iterations_come_with_the_end_of_a_stream(play):
    iterations = [part("compaction", 100, 83), part("message", 181, 8)]
    events = [
        start({"input_tokens": 100, "output_tokens": 7}),
        delta({"input_tokens": 181, "output_tokens": 8, "iterations": iterations}),
        STOP,
    ]
    first, second = play("messages", events).readings
    assert (first.usage, second.usage) == (Usage(input=100, output=83), Usage(input=181, output=8))


# Refusals


def test_a_refusal_before_any_output_is_not_billed(play):
    usage = {"input_tokens": 50, "output_tokens": 14}
    whole = play("messages", message(usage, content=[], stop_reason="refusal"))
    streamed = play(
        "messages",
        [
            start({"input_tokens": 50, "output_tokens": 1}),
            delta({"output_tokens": 1}, "refusal"),
            STOP,
        ],
    )
    for played in (whole, streamed):
        assert not played.reader.billed
        assert played.reader.complete
        assert played.reading.usage is None
        assert played.reading.finish_reasons == ("refusal",)


def test_a_refusal_after_some_output_is_billed(play):
    usage = {"input_tokens": 50, "output_tokens": 14}
    whole = play("messages", message(usage, stop_reason="refusal"))
    streamed = play("messages", [start(usage), OPEN, text("well"), delta(usage, "refusal"), STOP])
    for played in (whole, streamed):
        assert played.reader.billed
        assert played.usage == Usage(input=50, output=14)


def test_an_error_in_the_place_of_a_message_is_not_billed(play):
    played = play("messages", {"type": "error", "error": {"type": "api_error"}})
    assert (played.reader.failed, played.reader.billed) == ("api_error", False)
    assert played.readings == ()
