"""Raw usage, as somebody has it at hand, on the path that live answers take."""

import dataclasses
import enum
import json
from pathlib import Path

import pytest

from otel_llm_usage import providers
from otel_llm_usage.records import Usage

CASES = Path(__file__).parents[1] / "data" / "cost-open.jsonl"
ARGUMENTS = ("provider", "platform", "endpoint", "model", "service_tier", "request", "response")


def cases():
    return [
        pytest.param(case, id=case["id"])
        for case in map(json.loads, CASES.read_text().splitlines())
    ]


EXTRACTED = {
    "gem-o01": [{"input": 1200, "output": 350}],
    "gem-o02": [{"input": 500, "input_audio": 1500, "output": 100, "output_audio": 700}],
    "gem-o03": [{"input": 3808, "cache_read": 8192, "output": 600, "reasoning": 1400}],
    "gem-o04": [{"input": 216, "input_audio": 9000, "output": 300}],
    "gem-o05": [{"input": 1000, "input_audio": 4000, "cache_read": 5000, "output": 200}],
    "gem-o06": [{"input": 60000, "cache_read": 200000, "output": 2000, "reasoning": 3000}],
    "gem-o07": [{"input": 30000, "cache_read": 20000, "output": 4000, "reasoning": 1000}],
    "gem-o08": [{"input": 40000, "output": 3000, "reasoning": 2000}],
    "gem-o09": [{"input": 20000, "cache_read": 10000, "output": 1500}],
    "gem-o10": [{"input": 800, "input_tool_use": 6200, "output": 500, "reasoning": 300}],
    "gem-o11": [{"input": 500, "output": 400}],
    "gem-o12": [{"input": 600, "output": 300, "reasoning": 700}],
    "gem-o13": [{"input": 120, "input_image": 258, "reasoning": 200, "output_image": 1120}],
    "gem-o14": [{"input": 10000, "output": 2000}],
    "gem-o15": [{"input": 15000, "cache_read": 5000, "output": 1000}],
    "gem-o16": [{}],
    "oai-o01": [{"input": 86, "cache_read": 1920, "output": 300}],
    "oai-o02": [{"input": 150, "input_audio": 900, "output": 180, "output_audio": 520}],
    "oai-o03": [
        {
            "input": 9000,
            "cache_read": 12000,
            "cache_write_30m": 9000,
            "output": 700,
            "reasoning": 1800,
        }
    ],
    "oai-o04": [{"input": 200000, "cache_read": 100000, "output": 2000, "reasoning": 2000}],
    "oai-o05": [{"input": 6000, "cache_read": 2000, "output": 1000}],
    "oai-o06": [{"input": 6000, "cache_read": 4000, "output": 464, "reasoning": 1536}],
    "oai-o07": [{"input": 5000, "output": 800}],
    "oai-o08": [{"input": 1000, "output": 500}],
    "oai-o09": [{"input": 3952, "cache_read": 2048, "output": 900}],
    "oai-o10": [{"input": 18000}],
    "oai-o11": [{}],
    "oai-o12": [{"input": 9000, "output": 1200}],
    "oai-o13": [{"input": 60, "output_image": 1056}],
    "ant-o01": [{"input": 100, "cache_read": 5000, "cache_write": 1000, "output": 200}],
    "ant-o02": [
        {
            "input": 250,
            "cache_read": 20000,
            "cache_write_5m": 4000,
            "cache_write_1h": 6000,
            "output": 900,
        }
    ],
    "ant-o03": [{"input": 3000, "cache_read": 8000, "cache_write_5m": 2000, "output": 1200}],
    "ant-o04": [{"input": 6000, "output": 1500}],
    "ant-o05": [{"input": 120000, "cache_read": 80000, "cache_write": 10000, "output": 2000}],
    "ant-o06": [{"input": 400, "cache_read": 60000, "cache_write_1h": 3000, "output": 1000}],
    "ant-o07": [{"input": 70000, "cache_read": 30000, "cache_write": 10000, "output": 3000}],
    "ant-o08": [{"input": 5000, "cache_read": 10000, "output": 800}],
    "ant-o09": [{"input": 3000, "cache_read": 12000, "cache_write": 2000, "output": 700}],
    "ant-o10": [{"input": 1000, "cache_read": 9000, "cache_write": 4000, "output": 500}],
    "ant-o11": [
        {"input": 900, "output": 200},
        {"input": 1100, "output": 1500},
        {"input": 1500, "cache_read": 600, "output": 500},
    ],
}
UNITS = {
    "gem-o11": {"search_grounding_prompts": 1, "search_grounding_queries": 2},
    "gem-o12": {"search_grounding_prompts": 1, "search_grounding_queries": 3},
    "gem-o16": {"cache_storage_token_hours": 200000},
    "oai-o11": {"audio_seconds": 95},
    "oai-o12": {"web_search": 2, "file_search": 1},
    "ant-o04": {"web_search": 3, "web_fetch": 1},
}


@pytest.mark.parametrize("case", cases())
def test_a_case_is_taken_apart_as_its_worked_example_does(case):
    arguments = {name: case.get(name) for name in ARGUMENTS}
    request, readings = providers.readings(usage=case["usage"], **arguments)
    assert [reading.usage.nonzero() for reading in readings] == EXTRACTED[case["id"]]
    assert readings[0].units == UNITS.get(case["id"], {})
    assert all(reading.notes == () for reading in readings)
    tier = "fast" if "fast-mode" in case["features"] else case["service_tier"]
    assert {reading.tier for reading in readings} == {tier}
    assert request.platform == case["platform"]
    assert readings[0].model == case["model"]


@pytest.mark.parametrize("case", cases())
def test_a_case_finds_its_tier_without_being_told(case):
    if "response" not in case and case["service_tier"] != "batch":
        return
    arguments = {name: case.get(name) for name in ARGUMENTS if name != "service_tier"}
    _, readings = providers.readings(usage=case["usage"], **arguments)
    assert readings[0].tier in (case["service_tier"], None)
    if case.get("response", {}).keys() & {"headers", "service_tier"}:
        assert readings[0].tier == case["service_tier"]


class Tier(enum.Enum):
    FLEX = "ON_DEMAND_FLEX"


@dataclasses.dataclass
class Typed:
    """As the SDKs' objects are: they know how to become a dict."""

    told: dict

    def model_dump(self):
        return self.told


class Broken:
    def model_dump(self):
        raise ValueError("no")


GEMINI = {
    "prompt_token_count": 100,
    "candidates_token_count": 5,
    "cached_content_token_count": 40,
    "total_token_count": 105,
    "prompt_tokens_details": [{"modality": "AUDIO", "token_count": 30}],
    "cache_tokens_details": None,
    "traffic_type": Tier.FLEX,
}


@pytest.mark.parametrize("wrap", [dict, Typed])
def test_the_google_sdks_spelling_is_understood(wrap):
    _, (reading,) = providers.readings(
        provider="gemini", endpoint="generate_content", usage=wrap(GEMINI)
    )
    assert reading.usage.nonzero() == {
        "input": 30,
        "input_audio": 30,
        "cache_read": 40,
        "output": 5,
    }
    assert reading.tier == "flex"


@pytest.mark.parametrize("wrap", [json.dumps, lambda told: json.dumps(told).encode(), Typed])
def test_json_and_typed_objects_are_understood(wrap):
    told = {"input_tokens": 3, "output_tokens": 4}
    _, (reading,) = providers.readings(provider="anthropic", endpoint="messages", usage=wrap(told))
    assert reading.usage == Usage(input=3, output=4)


def test_a_whole_response_may_stand_for_its_usage():
    told = {
        "model": "gpt-x",
        "service_tier": "flex",
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    _, (reading,) = providers.readings(provider="openai", endpoint="chat.completions", usage=told)
    assert (reading.usage, reading.model, reading.tier) == (
        Usage(input=3, output=4),
        "gpt-x",
        "flex",
    )


@pytest.mark.parametrize("usage", ["no json", b"\xff", 7, Broken(), "[1]"])
def test_what_cannot_be_read_is_noted(usage):
    _, (reading,) = providers.readings(provider="openai", endpoint="chat.completions", usage=usage)
    assert reading.usage is None
    assert reading.notes == ("bad_json",)


@pytest.mark.parametrize(
    ("provider", "platform", "whose"),
    [
        ("google", None, ("gcp.gemini", "google", "gemini-api")),
        ("gemini", "vertex", ("gcp.vertex_ai", "google", "vertex")),
        ("vertex", None, ("gcp.vertex_ai", "google", "vertex")),
        ("azure", None, ("azure.ai.openai", "openai", "azure")),
        ("openai", "azure", ("azure.ai.openai", "openai", "azure")),
        ("anthropic", "vertex", ("gcp.vertex_ai", "anthropic", "vertex")),
        ("anthropic", "bedrock", ("aws.bedrock", "anthropic", "bedrock")),
        ("bedrock", None, ("aws.bedrock", "anthropic", "bedrock")),
        ("x-ai", None, ("x_ai", "x-ai", "x-ai")),
        ("mistral_ai", None, ("mistral_ai", "mistral", "mistral")),
        ("Nobody", None, ("Nobody", "Nobody", "Nobody")),
    ],
)
def test_a_provider_goes_by_many_names(provider, platform, whose):
    request, _ = providers.readings(provider=provider, platform=platform, usage={})
    assert request[:3] == whose


@pytest.mark.parametrize(
    ("provider", "usage", "total"),
    [
        ("openai", {"prompt_tokens": 3, "completion_tokens": 4}, 7),
        ("openai", {"input_tokens": 3, "output_tokens": 4}, 7),
        ("anthropic", {"input_tokens": 3, "output_tokens": 4}, 7),
        ("google", {"promptTokenCount": 3, "candidatesTokenCount": 4}, 7),
        ("google", {"total_input_tokens": 3, "total_output_tokens": 4}, 7),
        ("google", {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9}, 9),
    ],
)
@pytest.mark.parametrize("endpoint", [None, "batches"])
def test_the_usage_itself_tells_its_shape(provider, usage, total, endpoint):
    request, (reading,) = providers.readings(provider=provider, endpoint=endpoint, usage=usage)
    assert reading.usage.total_tokens == total
    assert reading.tier == ("batch" if endpoint else None)
    assert request.tier == ("batch" if endpoint else None)


def test_live_turns_take_nothing_from_a_total_that_leaves_thoughts_out():
    usage = {
        "promptTokenCount": 10,
        "responseTokenCount": 5,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 15,
    }
    _, (reading,) = providers.readings(provider="google", endpoint="live", usage=usage)
    assert reading.usage == Usage(input=10, output=5, reasoning=3)
    assert reading.notes == ()
