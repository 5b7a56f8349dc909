"""What a stream that broke off may have billed."""

import json

from otel_llm_usage import providers
from otel_llm_usage.records import Request, Usage

ASKED = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-x", True)


def body(**told):
    return json.dumps(told).encode()


def test_without_any_number_text_counts_a_quarter_of_its_characters():
    sent = body(messages=[{"role": "user", "content": "x" * 40}], model="a-very-long-model-name")
    assert providers.estimate(ASKED, sent, 21, None) == Usage(input=10, output=6)


def test_what_the_provider_told_is_kept():
    told = Usage(input=20, cache_read=500)
    sent = body(messages=[{"content": "x" * 4000}])
    assert providers.estimate(ASKED, sent, 8, told) == Usage(input=20, cache_read=500, output=2)
    running = Usage(input=20, output=7, reasoning=90)
    assert providers.estimate(ASKED, sent, 8, running) == running


def test_a_zero_that_was_told_before_the_text_came_does_not_stand():
    assert providers.estimate(ASKED, None, 8, Usage(input=20, output=0)).output == 2


def test_media_and_bookkeeping_are_not_text():
    parts = [
        {"type": "text", "text": "x" * 8},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9000}},
        {"type": "input_audio", "input_audio": {"data": "A" * 9000, "format": "wav"}},
        {"inlineData": {"mimeType": "image/png", "data": "A" * 9000}},
        {"type": "thinking", "thinking": "y" * 4, "signature": "A" * 9000},
        "data:image/png;base64," + "A" * 9000,
    ]
    sent = body(messages=[{"role": "user", "content": parts}])
    assert providers.estimate(ASKED, sent, 0, None) == Usage(input=3, output=0)


def test_system_prompts_and_tools_are_sent_too():
    assert (
        providers.estimate(ASKED, body(system="x" * 4, tools=[{"name": "abcd"}]), 0, None).input
        == 2
    )
    gemini = body(
        contents=[{"parts": [{"text": "x" * 4}]}],
        systemInstruction={"parts": [{"text": "x" * 4}]},
    )
    assert providers.estimate(ASKED, gemini, 0, None).input == 2
    assert providers.estimate(ASKED, body(input="x" * 4, instructions="y" * 4), 0, None).input == 2


def test_a_body_that_cannot_be_read_is_no_text():
    for sent in (None, b"", b"--multipart", b"[1]", b"[" * 100_000, b"\xff"):
        assert providers.estimate(ASKED, sent, 4, None) == Usage(input=0, output=1)
