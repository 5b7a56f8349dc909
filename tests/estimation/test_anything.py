"""Whatever is handed over: an estimate, or an error that the caller understands."""

import base64
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm_usage import ConfigurationError, Estimate, estimate
from otel_llm_usage.estimation import media, tokenizer

KEYS = st.sampled_from(
    [
        "role",
        "content",
        "text",
        "type",
        "parts",
        "messages",
        "input",
        "contents",
        "prompt",
        "system",
        "instructions",
        "tools",
        "function",
        "name",
        "parameters",
        "properties",
        "enum",
        "description",
        "functionDeclarations",
        "inlineData",
        "inline_data",
        "fileData",
        "data",
        "mimeType",
        "mime_type",
        "image_url",
        "url",
        "detail",
        "input_audio",
        "file",
        "source",
        "media_type",
        "tool_calls",
        "functionCall",
        "function_call",
        "functionResponse",
        "tool_choice",
        "max_tokens",
        "n",
        "config",
        "generationConfig",
        "requests",
        "response_format",
        "thinking",
        "previous_response_id",
        "mediaResolution",
        "level",
        "service_tier",
    ]
)
WORDS = st.sampled_from(
    [
        "text",
        "image",
        "document",
        "file",
        "input_image",
        "image_url",
        "tool_use",
        "function",
        "web_search",
        "user",
        "audio/wav",
        "video/mp4",
        "data:image/png;base64,AAAA",
        "auto",
        "base64",
        "high",
        "https://x.example/",
        "batch",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS
VALUES = st.recursive(
    LEAVES | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
MODELS = st.sampled_from(
    ["gpt-4.1", "gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash", "text-embedding-3-small"]
)


@given(MODELS, VALUES, VALUES, VALUES)
def test_any_value_is_an_estimate_or_a_clear_error(model, contents, system, tools):
    try:
        found = estimate(model, contents, system=system, tools=tools)
    except ConfigurationError:
        return
    assert isinstance(found, Estimate)
    assert 0 <= found.input_tokens_low <= found.input_tokens <= found.input_tokens_high
    assert found.error_band >= 0


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8"])
)
def test_any_bytes_have_a_size_or_none(data, start):
    whole = start + data
    for size in (media.size_of(whole), media.size_of(b"RIFF....WEBP" + whole)):
        assert size is None or min(size) > 0
    assert media.head(base64.b64encode(whole).decode()) == whole
    media.heard(b"RIFF....WAVEfmt " + whole)
    media.seen(b"mvhd" + whole)


@given(
    st.sampled_from(["openai", "claude", "gemini"]), st.integers(1, 20_000), st.integers(1, 20_000)
)
def test_pictures_of_any_size_cost_something_and_never_without_end(family, width, height):
    for model in ("gpt-4o", "gpt-5-mini", "gpt-6", "claude-opus-4-7", "claude-3", "gemini-2.5-pro"):
        guess, _ = media.tokens(media.Media("image", (width, height)), family, model)
        assert 0 < guess.low <= guess.tokens <= guess.high
        if family == "claude":
            assert guess.tokens <= 4784


def test_many_threads_count_alike_while_the_tokenizer_is_loaded(monkeypatch):
    monkeypatch.setattr(tokenizer, "_loaded", {})
    found = []

    def count():
        found.append(estimate("gpt-4.1", "the same text for all of them"))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (2**32 - 1, 1), (2**32 - 1, 2**32 - 1)])
@pytest.mark.parametrize("detail", ["", "low", "high", "original", "auto"])
def test_pictures_may_be_lines(size, detail):
    for family, model in (
        ("openai", "gpt-4o"), ("openai", "gpt-4.1-mini"), ("openai", "gpt-6"),
        ("claude", "claude-opus-4-7"), ("gemini", "gemini-2.5-pro"), ("gemini", "gemini-3-pro"),
    ):  # fmt: skip
        guess, _ = media.tokens(media.Media("image", size, detail), family, model)
        assert 0 < guess.low <= guess.tokens <= guess.high


@pytest.mark.parametrize("more", [{"max_tokens": 10**400}, {"max_tokens": 9, "n": 10**5000}])
def test_an_answer_longer_than_any_is_an_error(more):
    with pytest.raises(ConfigurationError, match="more than any model answers"):
        estimate("gpt-4.1", {"messages": [{"role": "user", "content": "hello"}], **more})
