"""Real traffic of many providers: what it bills is what was worked out from it by hand."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from otel_llm_usage import providers

ROOT = Path(__file__).parents[2]
CASSETTES = Path(os.environ.get("OTEL_LLM_USAGE_CASSETTES", ROOT.parent / "shared" / "cassettes"))
SDKS = {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}
CLIENTS = {"azure": "AzureOpenAI", "vertex": "vertex"}


def _index() -> list[Any]:
    """Without recordings there is nothing to parametrize, and pytest reports these as skipped."""
    index = CASSETTES / "index.jsonl"
    if not index.exists():
        return []
    lines = [json.loads(line) for line in index.read_text().splitlines()]
    return [pytest.param(line, id=line["label"]) for line in lines]


INDEX = _index()


def _described(told: Mapping[str, Any], exchange: Mapping[str, Any], *, loopback: bool = False):
    url = urlsplit(exchange["request"]["url"])
    base = "http://127.0.0.1:8000" if loopback else f"{url.scheme}://{url.netloc}"
    return providers.describe(
        SDKS[told["api"].split(".")[0]],
        exchange["request"]["method"],
        url.path + (f"?{url.query}" if url.query else ""),
        exchange["request"].get("body") or {"model": told["request_model"]},
        base_url=base,
        client=CLIENTS.get(told["provider"], ""),
        stream=told["streaming"],
    )


def _read(told: Mapping[str, Any], exchange: Mapping[str, Any], request: Any, events_of: Any):
    reader = providers.reader(request)
    body = exchange["response"]["body"]
    if told["streaming"] and "json_array" not in told["tags"]:
        for data, name in events_of(body):
            reader.event(data.encode(), name)
    else:
        reader.body(body.encode())
    return reader


BEYOND = {
    # 11 of 10 answer tokens were reasoning: no more than all of them can have been
    "openrouter-stream-error-in-200": {"reasoning_tokens": 10},
    # 163 of 7 prompt tokens were cached: no more than all of them can have been
    "azure-grok-more-cached-than-prompt": {"cached_input_tokens": 7},
    # the index has no modality here, the answer has
    "gemini-interactions": {"input_image_tokens": 258},
}
"""Where the recording contradicts itself (or says more), and how we read it."""

NOTES = {
    "openrouter-stream-error-in-200": ("reasoning_exceeds_output",),
    "azure-grok-more-cached-than-prompt": ("cache_exceeds_input",),
    "cerebras-stream-total-does-not-add-up": ("total_mismatch:2",),
    "responses-stream-incomplete-zero-usage": ("zero_usage",),
    "gemini-stream-last-chunk-lost-a-count": ("count_lost:candidatesTokenCount",),
}


@pytest.mark.parametrize("told", INDEX)
def test_a_recording_bills_what_was_worked_out_from_it(told, inclusive, events_of):
    exchange = json.loads((CASSETTES / told["file"]).read_text())
    request = _described(told, exchange)
    if request is None:
        assert told["grade"] == "none"
        return
    if told["grade"] == "error":
        assert exchange["response"]["status"] >= 400
        return
    reader = _read(told, exchange, request, events_of)
    readings = reader.readings()
    counted = inclusive(readings)
    if told["grade"] == "none":
        assert all(reading.usage is None for reading in readings)
        return
    expected = {key: count for key, count in told["expected"].items() if key in counted}
    expected = {**expected, **BEYOND.get(told["label"], {})}
    assert {key: counted[key] for key in expected} == expected
    notes = tuple(note for reading in readings for note in reading.notes)
    assert notes == NOTES.get(told["label"], ())
    assert reader.complete
    assert all(reading.final for reading in readings)


@pytest.mark.parametrize("told", INDEX)
def test_a_recording_names_the_model_that_answered(told, events_of):
    exchange = json.loads((CASSETTES / told["file"]).read_text())
    request = _described(told, exchange)
    if request is None or told["grade"] == "error":
        return
    assert request.model == told["request_model"]
    readings = _read(told, exchange, request, events_of).readings()
    if readings:
        assert readings[0].model == told["response_model"]


@pytest.mark.parametrize("told", INDEX)
def test_a_recording_cut_short_never_counts_more_nor_raises(told, inclusive, events_of):
    exchange = json.loads((CASSETTES / told["file"]).read_text())
    request = _described(told, exchange)
    if request is None or not told["streaming"] or told["grade"] in ("none", "error"):
        return
    if "last_chunk_lost_a_count" in told["tags"]:
        return
    events = events_of(exchange["response"]["body"])
    whole = inclusive(_read(told, exchange, request, events_of).readings())
    reader = providers.reader(request)
    for data, name in events:
        reader.event(data.encode(), name)
        running = inclusive(reader.readings())
        assert running["output_tokens"] <= whole["output_tokens"]


@pytest.mark.parametrize("told", INDEX)
def test_a_recording_through_a_gateway_is_the_sdks_own_provider(told):
    exchange = json.loads((CASSETTES / told["file"]).read_text())
    request = _described(told, exchange, loopback=True)
    if request is None:
        assert told["grade"] == "none"
        return
    owns = {
        ("openai", ""): ("openai", "openai", "openai-api"),
        ("openai", "AzureOpenAI"): ("azure.ai.openai", "openai", "azure"),
        ("anthropic", ""): ("anthropic", "anthropic", "claude-api"),
        ("google", ""): ("gcp.gemini", "google", "gemini-api"),
        ("google", "vertex"): ("gcp.vertex_ai", "google", "vertex"),
    }
    sdk = SDKS[told["api"].split(".")[0]]
    assert request[:3] == owns[sdk, CLIENTS.get(told["provider"], "")]
    assert (request.server_address, request.server_port) == ("127.0.0.1", 8000)


@pytest.mark.parametrize("told", INDEX)
def test_hiding_usage_that_nobody_asked_for_keeps_every_other_byte(told, events_of):
    if told["api"] != "openai.chat" or not told["streaming"]:
        return
    exchange = json.loads((CASSETTES / told["file"]).read_text())
    for data, _ in events_of(exchange["response"]["body"]):
        event = f"data: {data}\n\n".encode()
        hidden = providers.hide_injected_usage(event)
        chunk = json.loads(data) if data != "[DONE]" else {}
        if chunk.get("choices") == [] and chunk.get("usage"):
            assert hidden == b""
        elif "usage" in chunk and chunk["usage"] is None:
            del chunk["usage"]
            assert json.loads(hidden[6:]) == chunk
            assert len(hidden) < len(event)
        else:
            assert hidden is event
