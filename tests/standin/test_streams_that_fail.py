"""Every way a stream can end, on the real SDKs, and what the ledger says of it."""

import contextlib
import json
import time

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors, types

from otel_llm_usage.standin import StandIn

EXACT = {"input": 100, "output": 40}
ASKED = [{"role": "user", "content": "Hello"}]


def chat(standin: StandIn, model: str = "gpt-4.1", **more):
    with openai.OpenAI(base_url=f"{standin.url}/v1", api_key="any", max_retries=0) as sdk:
        options = {"stream_options": {"include_usage": True}, **more}
        yield from sdk.chat.completions.create(model=model, messages=ASKED, stream=True, **options)


def responses(standin: StandIn):
    with openai.OpenAI(base_url=f"{standin.url}/v1", api_key="any", max_retries=0) as sdk:
        yield from sdk.responses.create(model="gpt-4.1", input="Hello", stream=True)


def messages(standin: StandIn):
    with anthropic.Anthropic(base_url=standin.url, api_key="any", max_retries=0) as sdk:
        yield from sdk.messages.create(
            model="claude-haiku-4-5", max_tokens=100, messages=ASKED, stream=True
        )


def bedrock(standin: StandIn):
    with anthropic.AnthropicBedrock(
        base_url=standin.url,
        aws_access_key="any",
        aws_secret_key="any",
        aws_region="us-east-1",
        max_retries=0,
    ) as sdk:
        yield from sdk.messages.create(
            model="anthropic.claude-haiku-4-5-20251001-v1:0",
            max_tokens=100,
            messages=ASKED,
            stream=True,
        )


def gemini(standin: StandIn):
    http = types.HttpOptions(base_url=standin.url)
    with genai.Client(api_key="any", http_options=http) as sdk:
        yield from sdk.models.generate_content_stream(model="gemini-2.5-flash", contents="Hello")


SHAPES = pytest.mark.parametrize("shape", [chat, responses, messages, bedrock, gemini])

BROKEN = (
    openai.APIConnectionError,
    anthropic.APIConnectionError,
    httpx2.RemoteProtocolError,
    httpx2.ReadError,
)


def read(stream, seen: list) -> None:
    seen.extend(stream)


@SHAPES
def test_cut_stream_breaks_in_the_client_and_is_billed_as_far_as_it_came(standin, shape):
    standin.script(usage=EXACT, ending="cut", pieces=10)
    seen = []
    with pytest.raises(BROKEN):
        read(shape(standin), seen)
    assert seen
    assert standin.settled()
    bill = standin.ledger.last
    assert bill.usage["input"] == 100
    assert 0 < bill.usage["output"] < 40
    assert (bill.reported, bill.ending) == (False, "cut")


@SHAPES
def test_silent_end_leaves_out_the_usage_and_is_billed(standin, shape):
    standin.script(usage=EXACT, ending="silent")
    seen = []
    # Some clients notice that the end is missing, others do not.
    with contextlib.suppress(openai.APIError, anthropic.AnthropicError):
        read(shape(standin), seen)
    assert standin.settled()
    bill = standin.ledger.last
    assert bill.usage["output"] == (30 if shape is gemini else 40)
    assert (bill.reported, bill.ending) == (False, "silent")


@SHAPES
def test_error_inside_a_200_is_raised_by_the_sdk(standin, shape):
    standin.script(usage=EXACT, ending="error", message="too many fish")
    with pytest.raises((openai.APIError, anthropic.APIError, errors.APIError), match="many fish"):
        read(shape(standin), [])
    assert standin.settled()
    assert (standin.ledger.last.reported, standin.ledger.last.ending) == (False, "error")


@SHAPES
def test_stream_that_the_client_leaves_is_billed_as_far_as_it_came(standin, shape):
    standin.script(usage=EXACT, pace=0.02, pieces=20)
    stream = shape(standin)
    for _ in range(5):
        next(stream)
    stream.close()
    assert standin.settled()
    bill = standin.ledger.last
    assert bill.usage["input"] == 100
    assert bill.usage.get("output", 0) < 40
    assert (bill.reported, bill.ending) == (False, "left")


@SHAPES
def test_stream_in_small_gzipped_writes_is_read_as_a_whole_one(standin, shape):
    standin.script(usage=EXACT, times=2)
    standin.script(usage=EXACT, split=7, gzip=True)
    standin.script(usage=EXACT, split=1)
    whole, again, zipped, split = (len(list(shape(standin))) for _ in range(4))
    assert whole == again == zipped == split
    assert [bill.usage for bill in standin.ledger] == [EXACT] * 4


def test_gemini_wire_at_the_cut_says_what_is_billed(standin):
    standin.script(usage={**EXACT, "reasoning": 60}, ending="cut", pieces=10)
    seen = []
    with pytest.raises(BROKEN):
        read(gemini(standin), seen)
    standin.settled()
    told = seen[-1].usage_metadata
    assert standin.ledger.last.usage == {
        "input": told.prompt_token_count,
        "reasoning": told.thoughts_token_count,
        "output": told.candidates_token_count,
    }


def test_magic_names_break_streams_too(standin):
    with pytest.raises(BROKEN):
        list(chat(standin, "gpt-4.1-cut"))
    assert list(chat(standin, "gpt-4.1-silent"))[-1].choices
    with pytest.raises(openai.APIError):
        list(chat(standin, "gpt-4.1-error"))
    assert list(chat(standin, "gpt-4.1-nousage"))[-1].usage is None
    assert list(chat(standin, "gpt-4.1-badusage"))[-1].usage.prompt_tokens == "many"
    assert standin.settled()
    assert {bill.model for bill in standin.ledger} == {"gpt-4.1-2025-04-14"}
    assert [bill.reported for bill in standin.ledger] == [False] * 5


def test_slow_stream_takes_its_time(standin):
    begun = time.monotonic()
    next(chat(standin, "gpt-4.1-slow"))
    stream = chat(standin, "gpt-4.1-slow")
    next(stream)
    next(stream)
    stream.close()
    assert time.monotonic() - begun >= 0.05
    assert standin.settled()
    assert all(bill.ending == "left" for bill in standin.ledger)


def test_flaky_model_fails_every_other_time(standin):
    url = f"{standin.url}/v1/chat/completions"
    body = {"model": "gpt-4.1-flaky", "messages": ASKED}
    said = [httpx2.post(url, json=body).status_code for _ in range(4)]
    assert said == [429, 200, 429, 200]
    assert len(standin.ledger) == 2


def test_stream_over_the_wire_ends_in_done(standin):
    url = f"{standin.url}/v1/chat/completions"
    body = {"model": "gpt-4.1", "messages": ASKED, "stream": True}
    lines = httpx2.post(url, json=body).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert "usage" not in json.loads(lines[0].removeprefix("data: "))
