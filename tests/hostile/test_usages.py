"""Whatever stands where the usage is due: one record, nothing made up, nothing for the caller to see."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .kit import BY_ID, ODD, Pairs, Raw, Said, cut, places, quickly, rendered, sound, usages


def passed(shape, heard, body: bytes) -> None:
    """The caller got the bytes that were sent (google's SDK shows no bytes)."""
    if shape.sdk != "google":
        assert heard.got == (body, None)


@pytest.mark.parametrize("name", BY_ID)
@quickly
@given(data=st.data())
def test_any_usage_is_read_without_harm_and_the_same_in_any_pieces(name, rig, data):
    shape = BY_ID[name]
    body = shape.body(data.draw(usages(shape.keys)))
    whole = rig.ask(shape, Said([body], shape.content_type))
    sound(whole)
    passed(shape, whole, body)
    pieces = cut(body, data.draw(places))
    again = rig.ask(shape, Said(pieces, shape.content_type))
    passed(shape, again, body)
    assert again.records == whole.records


@pytest.mark.parametrize("name", BY_ID)
def test_each_odd_value_in_each_place_is_read_without_harm(name, rig):
    shape = BY_ID[name]
    for key in shape.keys:
        for odd in ODD:
            others = [(other, 3) for other in shape.keys if other != key]
            body = shape.body(rendered(Pairs([*others, (key, odd)])))
            heard = rig.ask(shape, Said([body], shape.content_type))
            sound(heard)
            passed(shape, heard, body)


LARGE: dict[str, str] = {
    "ten megabytes of text": '{"note":"' + "x" * 10_000_000 + '"}',
    "ten megabytes of escapes": '{"note":"' + "\\u00e9" * 1_600_000 + '"}',
    "a hundred thousand members": "{" + ",".join(f'"k{n}":{n}' for n in range(100_000)) + "}",
    "a hundred thousand lists": "[" * 100_000 + "]" * 100_000,
    "a hundred thousand objects": '{"usage":' * 100_000 + "1" + "}" * 100_000,
    "the same name ten thousand times": "{" + '"prompt_tokens":1,' * 10_000 + '"x":1}',
    "a number of a million digits": '{"prompt_tokens":' + "9" * 1_000_000 + "}",
}


READERS = (
    *("chat.completions", "chat.completions, streamed", "responses, streamed", "embeddings"),
    *("messages", "messages, streamed", "generate_content", "generate_content, streamed"),
)


@pytest.mark.parametrize("large", LARGE)
@pytest.mark.parametrize("name", READERS)
def test_a_large_usage_is_read_without_harm(name, large, rig):
    shape = BY_ID[name]
    body = shape.body(LARGE[large])
    pieces = [body[at : at + 65536] for at in range(0, len(body), 65536)]
    heard = rig.ask(shape, Said(pieces, shape.content_type))
    sound(heard)
    passed(shape, heard, body)


# numbers that agree


@st.composite
def agreeing(draw: Any) -> dict[str, int]:
    """Counts whose parts are inside their wholes."""
    prompt, answer = draw(st.integers(0, 5000)), draw(st.integers(0, 5000))
    cached = draw(st.integers(0, prompt))
    written = draw(st.integers(0, prompt - cached))
    thought = draw(st.integers(0, answer))
    return {
        "prompt": prompt,
        "answer": answer,
        "cached": cached,
        "written": written,
        "thought": thought,
    }


def _openai(n: dict[str, int]) -> Pairs:
    into = Pairs([("cached_tokens", n["cached"]), ("cache_write_tokens", n["written"])])
    out = Pairs([("reasoning_tokens", n["thought"])])
    return Pairs(
        [
            ("prompt_tokens", n["prompt"]),
            ("completion_tokens", n["answer"]),
            ("total_tokens", n["prompt"] + n["answer"]),
            ("prompt_tokens_details", into),
            ("completion_tokens_details", out),
        ]
    )


def _responses(n: dict[str, int]) -> Pairs:
    names = {
        "prompt_tokens": "input_tokens",
        "completion_tokens": "output_tokens",
        "prompt_tokens_details": "input_tokens_details",
        "completion_tokens_details": "output_tokens_details",
    }
    return Pairs([(names.get(key, key), value) for key, value in _openai(n)])


def _anthropic(n: dict[str, int]) -> Pairs:
    return Pairs(
        [
            ("input_tokens", n["prompt"] - n["cached"] - n["written"]),
            ("cache_read_input_tokens", n["cached"]),
            ("cache_creation_input_tokens", n["written"]),
            ("output_tokens", n["answer"]),
            ("output_tokens_details", Pairs([("thinking_tokens", n["thought"])])),
        ]
    )


def _gemini(n: dict[str, int]) -> Pairs:
    return Pairs(
        [
            ("promptTokenCount", n["prompt"]),
            ("cachedContentTokenCount", n["cached"]),
            ("candidatesTokenCount", n["answer"] - n["thought"]),
            ("thoughtsTokenCount", n["thought"]),
            ("totalTokenCount", n["prompt"] + n["answer"]),
        ]
    )


def _interactions(n: dict[str, int]) -> Pairs:
    return Pairs(
        [
            ("total_input_tokens", n["prompt"]),
            ("total_cached_tokens", n["cached"]),
            ("total_output_tokens", n["answer"] - n["thought"]),
            ("total_thought_tokens", n["thought"]),
            ("total_tokens", n["prompt"] + n["answer"]),
        ]
    )


AGREE = {
    "chat.completions": _openai,
    "completions": _openai,
    "responses": _responses,
    "decisions": _responses,
    "images": _responses,
    "audio.transcriptions": _responses,
    "messages": _anthropic,
    "generate_content": _gemini,
    "interactions": _interactions,
}
WRITTEN = ("generate_content", "interactions")
"""Who does not tell what was written to a cache."""


@pytest.mark.parametrize("name", [name for name in BY_ID if BY_ID[name].endpoint in AGREE])
@quickly
@given(told=agreeing(), more=st.booleans())
def test_numbers_that_agree_are_counted_to_the_token(name, rig, told, more):
    shape = BY_ID[name]
    usage = AGREE[shape.endpoint](told)
    if more:  # what nobody knows changes nothing
        usage = Pairs([("unheard_of", Raw('{"prompt_tokens":99}')), *usage, ("x", [1])])
    heard = rig.ask(shape, Said([shape.body(rendered(usage))], shape.content_type))
    sound(heard)
    (record,) = heard.records
    counted = record.usage
    assert counted is not None
    assert record.usage_source == "reported"
    assert record.notes == (
        () if counted.total_tokens or shape.id != "responses, streamed" else ("zero_usage",)
    )
    assert counted.input_tokens == told["prompt"]
    assert counted.output_tokens == told["answer"]
    assert counted.total_tokens == told["prompt"] + told["answer"]
    assert (counted.cache_read_tokens or 0) == told["cached"]
    if shape.endpoint not in WRITTEN:
        assert (counted.cache_write_tokens or 0) == told["written"]
    assert (counted.reasoning or 0) == told["thought"]
