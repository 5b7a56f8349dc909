"""Recording by hand: whatever the response is, and whether or not anything is instrumented."""

import io
import json
import logging
from decimal import Decimal

import anthropic
import openai
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from otel_llm_usage import (
    agent,
    agent_models,
    instrument,
    record_usage,
    register_extractor,
    reset_usage,
    track,
    usage_by_agent,
    usage_by_model,
    usage_summary,
)

GEMINI = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
SNAKE = {"prompt_token_count": 10, "candidates_token_count": 5, "total_token_count": 15}
CHAT = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
RESPONSES = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
CLAUDE = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 0}

SHAPES = {
    "gemini, a whole answer": ({"usageMetadata": GEMINI, "modelVersion": "gemini-2.5-flash"}, {}),
    "gemini, snake case": ({"usage_metadata": SNAKE, "model_version": "gemini-2.5-flash"}, {}),
    "gemini, direct fields": (SNAKE, {"model": "gemini-2.5-flash"}),
    "gemini, JSON": (json.dumps({"usageMetadata": GEMINI}), {"model": "gemini-2.5-flash"}),
    "gemini, typed": (
        types.GenerateContentResponse(
            usage_metadata=types.GenerateContentResponseUsageMetadata(**SNAKE),
            model_version="gemini-2.5-flash",
        ),
        {},
    ),
    "openai chat": ({"model": "gpt-4.1", "object": "chat.completion", "usage": CHAT}, {}),
    "openai chat, its usage": (CHAT, {"model": "gpt-4.1"}),
    "openai chat, typed": (
        openai.types.chat.ChatCompletion(
            id="x", choices=[], created=1, model="gpt-4.1", object="chat.completion", usage=CHAT
        ),
        {},
    ),
    "openai responses": ({"model": "gpt-4.1", "object": "response", "usage": RESPONSES}, {}),
    "anthropic": ({"model": "claude-haiku-4-5", "type": "message", "usage": CLAUDE}, {}),
    "anthropic, its usage": (CLAUDE, {"model": "claude-haiku-4-5"}),
    "anthropic, typed": (
        anthropic.types.Message(
            id="x", content=[], model="claude-haiku-4-5", role="assistant", type="message", usage=CLAUDE
        ),
        {},
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _anew():
    reset_usage()
    yield
    reset_usage()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("instrumented", [True, False])
def test_every_known_shape_is_read_and_priced(shape, instrumented):
    response, said = SHAPES[shape]
    if instrumented:
        instrument(otlp=False)
    with track() as usage:
        record = record_usage(response, **said)
    assert record.provider == {"g": "gcp.gemini", "o": "openai", "a": "anthropic"}[shape[0]]
    assert (record.usage.input_tokens, record.usage.output_tokens) == (10, 5)
    assert record.usage_source == "reported"
    assert record.cost.status == "priced"
    assert usage.total.cost_usd == record.cost_usd > 0
    assert usage_summary()["total"]["calls"] == 1


def test_it_says_who_paid_and_how_it_went(llm_standin):
    registry = CollectorRegistry()
    runtime = instrument(otlp=False, registry=registry)
    with track("a1") as usage, agent("outer"):
        record_usage(CHAT, model="gpt-4.1", call_type="plan", user="u1", duration_ms=1500)
        record_usage(
            agent="writer", success=False, error_message="out of quota", provider="openai",
            model="gpt-4.1", duration_ms=20, team="search",
        )  # fmt: skip
    first, failed = usage.records
    assert (first.agent, dict(first.labels)) == ("outer", {"call_type": "plan", "user": "u1"})
    assert first.duration == 1.5
    assert (failed.agent, failed.status, failed.error_message) == (
        "writer", "error", "out of quota",
    )  # fmt: skip
    assert failed.cost.status == "not_billed"
    assert usage.total.failures == 1
    assert usage.to_dict()["call_details"][1]["error_message"] == "out of quota"
    runtime.flush()
    text = generate_latest(registry).decode()
    assert 'llm_tokens_total{agent="outer"' in text
    assert "quota" not in text
    assert "u1" not in text


@pytest.mark.parametrize(
    "response",
    [None, "", "no JSON", b"\xff", 7, {}, {"usage": None}, object(), ["x"]],
    ids=lambda one: f"{type(one).__name__} {str(one)[:7]}",
)
def test_what_cannot_be_read_is_unknown_and_never_zero(response):
    with track() as usage:
        record = record_usage(response, provider="openai", model="gpt-4.1")
    assert record.cost_usd is None
    assert record.cost.reasons
    assert usage.total.cost_usd is None
    assert (usage.total.calls, usage.total.missing) == (1, 1)


def test_words_of_a_call_are_text_whatever_was_given():
    with track() as usage:
        record_usage(CHAT, model=7, provider=8, endpoint=9, service_tier=10, duration_ms=1)
        record_usage(success=False, provider="openai", error_message=ValueError("no quota"))
    first, failed = usage.records
    assert (first.request.model, first.provider, first.usage.input_tokens) == ("7", "8", 10)
    assert failed.error_message == "no quota"
    told = io.StringIO()
    usage.print_summary(told)
    assert "no quota" in told.getvalue()
    assert json.loads(usage.to_json())["call_details"][1]["error_message"] == "no quota"


@pytest.mark.parametrize("bad", [-5, float("nan"), float("inf"), 1e300])
def test_a_time_that_cannot_be_is_not_known(bad):
    with track() as usage:
        record = record_usage(CHAT, model="gpt-4.1", duration_ms=bad)
    assert record.duration is None
    assert record.cost.status == "priced"
    assert abs(record.time - usage.began) < 60
    assert usage.total.average_seconds is None
    usage.print_timeline(io.StringIO())
    with pytest.raises((TypeError, ValueError)):
        record_usage(CHAT, model="gpt-4.1", duration_ms="long")


def test_counts_that_are_none_are_bad_and_not_zero():
    record = record_usage(
        {"usage": {"prompt_tokens": "many", "completion_tokens": -1}}, model="gpt-4.1"
    )
    assert record.usage_source == "bad"
    assert record.cost_usd is None


class Theirs:
    """An answer of nobody's."""

    used = 7, 3


def test_an_extractor_teaches_another_kind_of_response(caplog):
    def of_theirs(response):
        if isinstance(response, Theirs):
            into, out = response.used
            return {
                "provider": "openai",
                "model": "gpt-4.1",
                "usage": {"prompt_tokens": into, "completion_tokens": out},
            }
        return None

    undo = register_extractor(of_theirs)
    record = record_usage(Theirs())
    assert (record.usage.input_tokens, record.model) == (7, "gpt-4.1")
    assert record_usage(CHAT, model="gpt-4.1").usage.input_tokens == 10
    undo()
    assert record_usage(Theirs(), provider="openai").usage is None
    with pytest.raises(TypeError, match="function"):
        register_extractor("usage")


@pytest.mark.faults
def test_an_extractor_that_fails_is_said_and_the_call_is_recorded(caplog, monkeypatch):
    monkeypatch.setattr("otel_llm_usage.guard.strict", False)

    def failing(response):
        raise KeyError("theirs")

    undo = register_extractor(failing)
    with caplog.at_level(logging.ERROR):
        record = record_usage(CHAT, model="gpt-4.1")
    undo()
    assert record.usage.input_tokens == 10
    assert "extractor" in caplog.text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["usage", "usageMetadata", "prompt_tokens", "completion_tokens", "input_tokens",
                 "output_tokens", "promptTokenCount", "type", "model", "object", "provider"]
            ),
            inner,
            max_size=4,
        ),
        max_leaves=12,
    )
)  # fmt: skip
def test_no_response_makes_it_raise(response):
    record = record_usage(response, model="gpt-4.1")
    assert record.cost.status != "priced" or record.usage is not None


# -- the whole process


def test_the_process_answers_the_same_questions(llm_standin):
    instrument(otlp=False)
    with openai.OpenAI() as client, agent("planner"):
        client.chat.completions.create(model="gpt-4.1", messages=[])
    record_usage(CLAUDE, model="claude-haiku-4-5", agent="writer")
    assert usage_summary()["total"]["calls"] == 2
    assert set(usage_by_agent()) == {"planner", "writer"}
    assert usage_by_model()["claude-haiku-4-5"].input_tokens == 10
    assert agent_models()["writer"] == ("claude-haiku-4-5",)
    reset_usage()
    assert usage_summary()["total"]["calls"] == 0


def test_a_token_summary_adds_up():
    with track("s1") as usage:
        record_usage(SNAKE, model="gemini-2.5-flash", call_type="routine")
        record_usage(
            {**SNAKE, "thoughts_token_count": 20, "total_token_count": 35},
            model="gemini-2.5-flash", call_type="routine",
        )  # fmt: skip
        record_usage(CHAT, model="gpt-4.1", agent="critic")
    summary = json.loads(json.dumps(usage.token_summary()))
    assert summary["type"] == "token_summary"
    assert [one["source"] for one in summary["sources"]] == ["critic", "routine"]
    routine = summary["sources"][1]
    assert (routine["calls"], routine["thinking_tokens"], routine["total_tokens"]) == (2, 20, 50)
    for one in (*summary["sources"], summary["grand_total"]):
        parts = ("prompt_tokens", "completion_tokens", "thinking_tokens")
        assert sum(one[part] for part in parts) == one["total_tokens"]
    grand = summary["grand_total"]
    assert grand["total_tokens"] == sum(one["total_tokens"] for one in summary["sources"])
    assert Decimal(str(grand["estimated_cost_usd"])) == usage.total.cost_usd
    items = usage.token_usage()
    assert [one["type"] for one in items] == ["token_usage"] * 3
    assert sum(one["total_tokens"] for one in items) == grand["total_tokens"]
