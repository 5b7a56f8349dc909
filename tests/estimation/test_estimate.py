"""What an estimate takes, and what it says."""

import base64
import io
import json
import logging
from decimal import Decimal

import pytest
from google.genai import types
from openai.types.chat import ChatCompletionMessage
from PIL import Image

from otel_llm_usage import ConfigurationError, Estimate, estimate
from otel_llm_usage.estimation import tokenizer, warm
from otel_llm_usage.standin.tariff import RATES

TEXT = "The quick brown fox jumps over the lazy dog. " * 40
HELLO = [{"role": "user", "content": TEXT}]


def picture(width, height, form="PNG"):
    made = io.BytesIO()
    Image.new("RGB", (width, height)).save(made, form)
    return made.getvalue()


def encoded(data):
    return base64.b64encode(data).decode()


def claude_picture(data):
    source = {"type": "base64", "media_type": "image/png", "data": encoded(data)}
    return [{"role": "user", "content": [{"type": "image", "source": source}]}]


def openai_picture(data, **more):
    url = f"data:image/png;base64,{encoded(data)}"
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url, **more}}]}]


def without(model, contents, empty):
    """Tokens of what is in the message, without those around it."""
    return estimate(model, contents).input_tokens - estimate(model, empty).input_tokens


@pytest.mark.parametrize(
    ("model", "contents"),
    [
        ("gpt-4.1-mini", HELLO),
        ("claude-haiku-4-5", HELLO),
        ("gemini-2.5-flash", TEXT),
    ],
)
def test_dollars_are_the_tokens_at_the_list_price(model, contents):
    found = estimate(model, contents, max_output_tokens=1000)
    rates = RATES[model].kinds
    alone = found.input_tokens * rates["input"] / 1_000_000
    assert found.input_usd == alone
    assert found.max_usd == alone + 1000 * rates["output"] / 1_000_000
    assert found.reasons == ()
    assert found.input_tokens_low <= found.input_tokens <= found.input_tokens_high


def test_a_long_prompt_is_priced_as_one():
    long = TEXT * 600
    found = estimate("gemini-2.5-pro", long, max_output_tokens=10)
    assert found.input_tokens > 200_000
    assert found.input_usd == found.input_tokens * Decimal("2.50") / 1_000_000
    assert found.max_usd - found.input_usd == 10 * Decimal(15) / 1_000_000


def test_without_a_limit_there_are_no_most_dollars_and_it_says_why():
    found = estimate("gpt-4.1", "hello")
    assert (found.max_output_tokens, found.max_usd) == (None, None)
    assert found.reasons == ("no_max_output_tokens",)
    assert found.input_usd is not None


def test_an_unknown_model_is_counted_and_never_free(caplog):
    caplog.set_level(logging.CRITICAL)
    found = estimate("nobody-knows-this", "hello", max_output_tokens=5)
    assert found.input_tokens > 0
    assert (found.input_usd, found.max_usd) == (None, None)
    assert "unknown_model" in found.reasons
    newest = estimate("claude-opus-9-20300101", "hello", max_output_tokens=5)
    assert (newest.provider, newest.max_usd) == ("anthropic", None)


def test_shapes_of_all_sdks_hold_the_same_text():
    counts = {
        estimate("gpt-4.1", contents).input_tokens
        for contents in (
            "hello",
            [{"role": "user", "content": "hello"}],
            ({"role": "user", "content": "hello"},),
            [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
            [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}],
            [ChatCompletionMessage(role="assistant", content="hello")],
            {"messages": [{"role": "user", "content": "hello"}], "temperature": 1},
            {"model": "gpt-4.1", "input": "hello"},
        )
    }
    assert counts == {8}
    gemini = {
        estimate("gemini-2.5-flash", contents).input_tokens
        for contents in (
            TEXT,
            [TEXT],
            {"parts": [{"text": TEXT}]},
            types.Part.from_text(text=TEXT),
            [types.Content(role="user", parts=[types.Part.from_text(text=TEXT)])],
            types.UserContent(parts=[TEXT]),
            {"contents": [{"parts": [{"text": TEXT}]}]},
        )
    }
    assert len(gemini) == 1


def test_a_whole_request_says_its_system_prompt_its_tools_and_its_limit():
    tool = {"name": "look", "description": "Look it up", "input_schema": {"type": "object"}}
    whole = estimate(
        "claude-haiku-4-5",
        {"system": "be brief", "messages": HELLO, "tools": [tool], "max_tokens": 7},
    )
    parts = estimate(
        "claude-haiku-4-5", HELLO, system="be brief", tools=[tool], max_output_tokens=7
    )
    assert whole == parts
    assert whole.max_output_tokens == 7
    assert whole.input_tokens > estimate("claude-haiku-4-5", HELLO).input_tokens + 346
    config = {"maxOutputTokens": 9, "candidateCount": 2}
    gemini = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": config}
    assert estimate("gemini-2.5-flash", gemini).max_output_tokens == 18
    assert estimate("gpt-4.1", {"messages": HELLO, "max_tokens": 5, "n": 3}).max_output_tokens == 15


def test_typed_tools_and_functions_of_google_are_read():
    def weather(city: str) -> str:
        """The weather of a city."""
        return city

    declared = types.Tool(
        function_declarations=[types.FunctionDeclaration(name="weather", description="The weather")]
    )
    plain = estimate("gemini-2.5-flash", TEXT).input_tokens
    for tools in ([declared], [weather], declared):
        assert estimate("gemini-2.5-flash", TEXT, tools=tools).input_tokens > plain


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("gpt-4o", "o200k"),
        ("gpt-4.1-2025-04-14", "o200k"),
        ("gpt-99-of-tomorrow", "o200k"),
        ("ft:gpt-4o-2024-08-06:acme::x", "o200k"),
        ("openai/gpt-5", "o200k"),
        ("gpt-4", "cl100k"),
        ("gpt-4-turbo-2024-04-09", "cl100k"),
        ("ft:gpt-3.5-turbo:acme", "cl100k"),
        ("text-embedding-3-large", "cl100k"),
        ("claude-3-5-sonnet-20241022", "o200k × 1.15 (measured on 10 texts)"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "o200k × 1.15 (measured on 10 texts)"),
        ("claude-opus-4-20250514", "o200k × 1.15 (measured on 10 texts)"),
        ("claude-opus-4-7", "o200k × 1.4 (assumed)"),
        ("claude-sonnet-5", "o200k × 1.4 (assumed)"),
        ("models/gemini-2.5-flash", "o200k × 1.07 (measured on 15 texts)"),
    ],
)
def test_each_model_is_counted_in_the_way_of_its_family(caplog, model, method):
    caplog.set_level(logging.CRITICAL)
    assert estimate(model, HELLO).method == method


def test_a_tuned_model_sees_pictures_as_its_base_does():
    pictures = openai_picture(picture(1024, 1024))
    tuned = estimate("ft:gpt-4o-2024-08-06:acme::x", pictures)
    assert tuned.input_tokens == estimate("gpt-4o", pictures).input_tokens


def test_the_tier_halves_the_price():
    standard = estimate("gpt-4.1", HELLO, max_output_tokens=100)
    batch = estimate("gpt-4.1", HELLO, max_output_tokens=100, service_tier="batch")
    assert batch.max_usd == standard.max_usd / 2


def test_embeddings_have_no_answer_to_pay_for():
    found = estimate("text-embedding-3-small", ["hello world", "hello world"])
    assert (found.input_tokens, found.max_output_tokens) == (4, 0)
    assert found.max_usd == found.input_usd
    assert found.method == "cl100k"
    typed = estimate("gemini-embedding-001", [TEXT])
    assert typed.max_usd == typed.input_tokens * Decimal("0.15") / 1_000_000


# ------------------------------------------------------------ pictures


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
def test_pictures_count_by_their_size(form):
    # the examples of the providers' guides
    data = picture(1024, 1024, form)
    empty = [{"role": "user", "content": ""}]
    assert without("gpt-4o", openai_picture(data), empty) == 765
    assert without("gpt-4o", openai_picture(data, detail="low"), empty) == 85
    assert without("gpt-5", openai_picture(data), empty) == 70 + 4 * 140
    assert without("gpt-4.1-mini", openai_picture(data), empty) == 1659  # 1024 × 1.62


def test_the_other_examples_of_the_guides():
    empty = [{"role": "user", "content": ""}]
    assert without("gpt-4o", openai_picture(picture(2048, 4096)), empty) == 1105
    # 1452 patches × 1.62
    assert without("gpt-4.1-mini", openai_picture(picture(1800, 2400)), empty) == 2353
    tall = claude_picture(picture(1920, 1080))
    assert without("claude-haiku-4-5", tall, empty) == 1560
    assert without("claude-opus-4-7", tall, empty) == 2691
    largest = claude_picture(picture(3840, 2160))
    assert without("claude-opus-4-7", largest, empty) == 4784
    small = [{"inline_data": {"mime_type": "image/png", "data": picture(300, 300)}}, "x"]
    assert without("gemini-2.5-flash", small, ["x"]) == 258
    wide = [{"inline_data": {"mime_type": "image/png", "data": picture(960, 540)}}, "x"]
    assert without("gemini-2.5-flash", wide, ["x"]) == 6 * 258
    part = types.Part.from_bytes(data=picture(300, 300), mime_type="image/png")
    assert without("gemini-2.5-flash", [part, "x"], ["x"]) == 258
    assert without("gemini-2.5-flash", [Image.new("RGB", (300, 300)), "x"], ["x"]) == 258


def test_a_picture_behind_an_address_is_assumed_and_said():
    found = estimate("gpt-4o", openai_picture(b""))
    content = [{"type": "image_url", "image_url": {"url": "https://pictures.example/1"}}]
    asked = estimate("gpt-4o", [{"role": "user", "content": content}])
    assert any("not known" in word for word in asked.assumed)
    assert asked.error_band > 0.5
    assert asked.input_tokens == found.input_tokens


@pytest.mark.parametrize("cut", range(0, 40, 3))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_picture_that_is_cut_short_is_one_of_unknown_size_or_of_its_own(form, cut):
    found = estimate("gpt-4o", openai_picture(picture(1024, 1024, form)[:cut]))
    assert (
        found.input_tokens == estimate("gpt-4o", openai_picture(picture(1024, 1024))).input_tokens
    )


def test_sound_film_and_documents_say_what_was_assumed():
    wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0" + (8000).to_bytes(4, "little")
    wav += (16000).to_bytes(4, "little") + b"\2\0\x10\0data\0\0\0\0"
    wav += bytes(160_000 - len(wav))
    ten_seconds = {"inline_data": {"mime_type": "audio/wav", "data": encoded(wav)}}
    assert without("gemini-2.5-flash", ["x", ten_seconds], ["x"]) == 320
    priced = estimate("gemini-2.5-flash", ["x", ten_seconds])
    assert priced.input_usd > 320 * Decimal("1.00") / 1_000_000  # the price of sound
    pdf = b"%PDF-1.4 " + b"<< /Type /Page >> " * 3 + b"<< /Type /Pages >>"
    source = {"type": "base64", "media_type": "application/pdf", "data": encoded(pdf)}
    found = estimate(
        "claude-haiku-4-5", [{"role": "user", "content": [{"type": "document", "source": source}]}]
    )
    assert 3 * 1500 < found.input_tokens < 3 * 3000
    for part in (
        {"file_data": {"file_uri": "https://youtu.be/x", "mime_type": "video/mp4"}},
        types.File(uri="https://files.example/1", mime_type="application/pdf"),
    ):
        assert estimate("gemini-2.5-flash", ["x", part]).assumed


def test_a_document_of_text_is_text():
    source = {"type": "text", "media_type": "text/plain", "data": TEXT}
    document = [{"role": "user", "content": [{"type": "document", "source": source}]}]
    found = estimate("claude-haiku-4-5", document)
    assert found.input_tokens == estimate("claude-haiku-4-5", HELLO).input_tokens


def test_text_that_begins_like_a_data_url_is_text_and_a_data_url_is_none():
    said = "data: " + TEXT
    assert estimate("gpt-4.1", said).input_tokens > 400
    with pytest.raises(ConfigurationError):
        estimate("gpt-4.1", f"data:image/png;base64,{encoded(picture(8, 8))}")


def test_a_picture_in_the_result_of_a_tool_is_no_text():
    shot = f"data:image/png;base64,{encoded(picture(1024, 1024))}"
    output = [{"type": "input_image", "image_url": shot}]
    call = {"type": "function_call_output", "call_id": "c", "output": output}
    found = estimate("gpt-4o", {"input": [{"role": "user", "content": "look"}, call]})
    assert 765 < found.input_tokens < 800


# ------------------------------------------------------------ what is not here, and what is wrong


def test_what_is_not_here_is_said():
    found = estimate("gpt-5", {"input": "go on", "previous_response_id": "resp_1"})
    assert any("earlier answer" in word for word in found.assumed)
    search = estimate("gpt-5", "hello", tools=[{"type": "web_search"}])
    assert search.input_tokens_high > 5000
    assert any("fees" in word for word in search.assumed)


def chained():
    inner = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("", "hello"), "model"),
        ((None, "hello"), "model"),
        (("gpt-4.1", ""), "nothing to estimate"),
        (("gpt-4.1", []), "nothing to estimate"),
        (("gpt-4.1", None), "nothing to estimate"),
        (("gpt-4.1", {"messages": []}), "nothing to estimate"),
        (("gpt-4.1", {"what": 1}), "nothing to estimate"),
        (("gpt-4.1", [1, 2]), "nothing to estimate"),
        (("gpt-4.1", 7), "this takes"),
        (("gpt-4.1", iter(["a"])), "make it a list"),
        (("gpt-4.1", object()), "holds a object"),
        (("gpt-4.1", chained()), "contains itself"),
        (("gpt-4.1", json.loads("[" * 300 + "]" * 300)), "deep"),
        (("text-embedding-3-small", [1, 2]), "tokens already"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_says_so(arguments, says):
    with pytest.raises(ConfigurationError, match=says):
        estimate(*arguments)


@pytest.mark.parametrize("limit", [-1, 1.5, True, "many"])
def test_a_limit_is_a_whole_number(limit):
    with pytest.raises(ConfigurationError, match="max_output_tokens"):
        estimate("gpt-4.1", "hello", max_output_tokens=limit)
    with pytest.raises(ConfigurationError, match="max_output_tokens"):
        estimate("gpt-4.1", {"input": "hello", "max_output_tokens": limit})


def test_tools_that_are_none_are_an_error():
    with pytest.raises(ConfigurationError, match="tools"):
        estimate("gpt-4.1", "hello", tools="search")
    with pytest.raises(ConfigurationError, match="provider"):
        estimate("gpt-4.1", "hello", provider=" ")


def test_half_a_character_is_counted_like_any_other():
    assert estimate("gpt-4.1", "\ud800 hello").input_tokens > 7


def test_it_is_immutable_and_goes_into_json():
    found = estimate("gpt-4.1", HELLO, max_output_tokens=100)
    with pytest.raises(AttributeError):
        found.input_tokens = 1
    said = json.loads(json.dumps(found.to_dict()))
    assert said.keys() == set(Estimate._fields)
    assert said["max_usd"] == str(found.max_usd)
    assert said["assumed"] == []


def test_without_the_extra_it_counts_characters_and_says_so(monkeypatch):
    monkeypatch.setattr(tokenizer, "_loaded", {})
    monkeypatch.setattr(tokenizer, "installed", lambda: False)
    found = estimate("claude-haiku-4-5", HELLO)
    assert found.method == "characters"
    assert found.input_tokens == len(TEXT) // 4 + 7
    assert found.error_band >= 0.5
    assert any("extra" in word for word in found.assumed)


def test_warm_loads_the_tokenizer_elsewhere(monkeypatch):
    monkeypatch.setattr(tokenizer, "_loaded", {})
    warm().join(60)
    assert tokenizer.loaded("o200k")


def test_nothing_is_loaded_at_import_and_nothing_asked_of_anybody(python):
    out = python(
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import otel_llm_usage\n"
        "before = 'toktok' in sys.modules\n"
        "found = otel_llm_usage.estimate('gemini-2.5-flash', 'hello', max_output_tokens=3)\n"
        "heavy = {'openai', 'anthropic', 'google.genai', 'PIL', 'numpy'}\n"
        "print(before, found.max_usd is not None, sorted(heavy & set(sys.modules)))\n"
    )
    assert out.strip() == "False True []"
