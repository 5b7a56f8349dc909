"""The real OpenAI SDK reads from the stand-in what its ledger billed."""

from decimal import Decimal

import httpx2
import openai
import pytest
from pydantic import BaseModel

from otel_llm_usage.standin import Answer, Call, StandIn

ASKED = [{"role": "user", "content": "What is the plan for today?"}]
EXACT = {"input": 100, "cache_read": 1024, "output": 50, "reasoning": 64}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def client(standin: StandIn) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{standin.url}/v1", api_key="any")


def counts(usage) -> tuple[int, int, int, int]:
    """Prompt, cached, answer, reasoning."""
    return (
        usage.prompt_tokens,
        usage.prompt_tokens_details.cached_tokens,
        usage.completion_tokens,
        usage.completion_tokens_details.reasoning_tokens,
    )


def test_chat_reports_what_was_billed(standin):
    standin.script(text="Hello.", usage=EXACT)
    with client(standin) as sdk:
        answer = sdk.chat.completions.create(model="gpt-4.1-mini", messages=ASKED)
    assert answer.choices[0].message.content == "Hello."
    assert counts(answer.usage) == (1124, 1024, 114, 64)
    bill = standin.ledger.last
    assert bill.usage == EXACT
    assert bill.id == answer.id
    assert (bill.provider, bill.endpoint) == ("openai", "chat.completions")
    assert bill.model == answer.model == "gpt-4.1-mini-2025-04-14"
    assert bill.usd == Decimal("0.0003248")
    assert bill.reported


async def test_async_chat_reports_what_was_billed(standin):
    async with openai.AsyncOpenAI(base_url=f"{standin.url}/v1", api_key="any") as sdk:
        answer = await sdk.chat.completions.create(model="gpt-5", messages=ASKED)
    usage = standin.ledger.last.usage
    prompt, cached, output, reasoning = counts(answer.usage)
    assert usage == {"input": prompt - cached, "output": output - reasoning, "reasoning": reasoning}


def test_same_request_costs_the_same_whatever_came_before(standin):
    with client(standin) as sdk:
        first = sdk.chat.completions.create(model="gpt-4.1", messages=ASKED)
        sdk.chat.completions.create(model="gpt-4.1", messages=[*ASKED, *ASKED])
        again = sdk.chat.completions.create(model="gpt-4.1", messages=ASKED)
    assert first.usage == again.usage
    assert first.id != again.id


def test_stream_with_usage_ends_in_a_chunk_without_choices(standin):
    with client(standin) as sdk:
        chunks = list(
            sdk.chat.completions.create(
                model="gpt-4.1",
                messages=ASKED,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    assert chunks[-1].choices == []
    assert all(chunk.usage is None and chunk.choices for chunk in chunks[:-1])
    assert all("usage" in chunk.model_fields_set for chunk in chunks)
    assert standin.ledger.last.usage == {
        "input": chunks[-1].usage.prompt_tokens,
        "output": chunks[-1].usage.completion_tokens,
    }
    assert standin.ledger.last.reported


def test_stream_without_usage_has_no_trace_of_it_and_is_billed(standin):
    with client(standin) as sdk:
        chunks = list(sdk.chat.completions.create(model="gpt-4.1", messages=ASKED, stream=True))
    assert not any("usage" in chunk.model_fields_set for chunk in chunks)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    bill = standin.ledger.last
    assert len(text.split()) == bill.usage["output"]
    assert not bill.reported


async def test_async_stream_helper_sees_the_usage(standin):
    async with (
        openai.AsyncOpenAI(base_url=f"{standin.url}/v1", api_key="any") as sdk,
        sdk.chat.completions.stream(
            model="gpt-4.1", messages=ASKED, stream_options={"include_usage": True}
        ) as stream,
    ):
        final = await stream.get_final_completion()
    assert final.usage.total_tokens == sum(standin.ledger.last.usage.values())


def test_several_choices_are_billed_each(standin):
    with client(standin) as sdk:
        answer = sdk.chat.completions.create(model="gpt-4.1", messages=ASKED, n=3)
    assert len(answer.choices) == 3
    words = len(answer.choices[0].message.content.split())
    assert standin.ledger.last.usage["output"] == answer.usage.completion_tokens == 3 * words


def test_functions_are_called_twice_and_then_the_model_answers(standin):
    messages = list(ASKED)
    with client(standin) as sdk:
        for _ in range(2):
            answer = sdk.chat.completions.create(model="gpt-4.1", messages=messages, tools=TOOLS)
            message = answer.choices[0].message
            assert answer.choices[0].finish_reason == "tool_calls"
            assert message.tool_calls[0].function.arguments == '{"city": "plan"}'
            messages += [
                message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Rain."},
            ]
        last = sdk.chat.completions.create(model="gpt-4.1", messages=messages, tools=TOOLS)
    assert last.choices[0].finish_reason == "stop"
    assert len(standin.ledger) == 3


def test_streamed_function_call_is_put_together(standin):
    with (
        client(standin) as sdk,
        sdk.chat.completions.stream(model="gpt-4.1", messages=ASKED, tools=TOOLS) as stream,
    ):
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "plan"}')


def test_parse_gets_json_of_the_schema(standin):
    class Trip(BaseModel):
        city: str
        days: int

    with client(standin) as sdk:
        answer = sdk.chat.completions.parse(model="gpt-4.1", messages=ASKED, response_format=Trip)
        said = sdk.responses.parse(model="gpt-4.1", input="Where to?", text_format=Trip)
    assert answer.choices[0].message.parsed == said.output_parsed == Trip(city="plan", days=1)


def test_parse_raises_on_length_and_the_answer_is_billed(standin):
    class Trip(BaseModel):
        city: str

    standin.script(text='{"ci', finish="length")
    with client(standin) as sdk, pytest.raises(openai.LengthFinishReasonError):
        sdk.chat.completions.parse(model="gpt-4.1", messages=ASKED, response_format=Trip)
    assert len(standin.ledger) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_legacy_completions_report_what_was_billed(standin, stream):
    with client(standin) as sdk:
        options = {"stream_options": {"include_usage": True}} if stream else {}
        answer = sdk.completions.create(
            model="gpt-3.5-turbo-instruct", prompt="Once upon", stream=stream, **options
        )
        usage = list(answer)[-1].usage if stream else answer.usage
    bill = standin.ledger.last
    assert bill.usage == {"input": usage.prompt_tokens, "output": usage.completion_tokens}
    assert bill.endpoint == "completions"
    assert bill.stream is stream


def test_responses_report_what_was_billed(standin):
    standin.script(usage={**EXACT, "cache_write_30m": 10, "cache_write_12h": 20})
    with client(standin) as sdk:
        answer = sdk.responses.create(model="gpt-5", input="Hello")
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens) == (1154, 114)
    assert usage.input_tokens_details.cached_tokens == 1024
    assert usage.input_tokens_details.cache_write_tokens == 30
    assert usage.input_tokens_details.cache_write_tokens_details.ttl_12h_tokens == 20
    assert usage.output_tokens_details.reasoning_tokens == 64
    assert standin.ledger.last.id == answer.id
    assert standin.ledger.last.usd is None


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_streamed_response_reports_in_its_terminal_event(standin, finish):
    standin.script(finish=finish)
    with client(standin) as sdk:
        events = list(sdk.responses.create(model="gpt-5", input="Hello", stream=True))
    ended = "response.completed" if finish == "stop" else "response.incomplete"
    assert events[-1].type == ended
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.usage.total_tokens == sum(standin.ledger.last.usage.values())
    assert all(event.response.usage is None for event in events[:2])


def test_response_stream_helper_puts_text_and_calls_together(standin):
    standin.script(calls=[Call("weather", {"city": "Ulm"})])
    with client(standin) as sdk:
        with sdk.responses.stream(model="gpt-4.1", input="Hello") as stream:
            called = stream.get_final_response()
        with sdk.responses.stream(model="gpt-4.1", input="Hello") as stream:
            said = stream.get_final_response()
    assert called.output[0].arguments == '{"city": "Ulm"}'
    assert len(said.output_text.split()) == said.usage.output_tokens


def test_conversation_goes_on_from_the_previous_response(standin):
    tools = [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]
    with client(standin) as sdk:
        answer = sdk.responses.create(model="gpt-4.1", input="Hello", tools=tools)
        while answer.output[-1].type == "function_call":
            told = {
                "type": "function_call_output",
                "call_id": answer.output[-1].call_id,
                "output": "Rain.",
            }
            answer = sdk.responses.create(
                model="gpt-4.1", input=[told], tools=tools, previous_response_id=answer.id
            )
        assert sdk.responses.retrieve(answer.id).usage == answer.usage
    assert len(standin.ledger) == 3


def test_background_response_has_its_usage_when_it_is_fetched(standin):
    with client(standin) as sdk:
        queued = sdk.responses.create(model="gpt-5", input="Hello", background=True)
        done = sdk.responses.retrieve(queued.id)
    assert (queued.status, queued.usage) == ("queued", None)
    assert done.status == "completed"
    assert done.usage.total_tokens == sum(standin.ledger.last.usage.values())
    assert len(standin.ledger) == 1


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_embeddings_report_what_was_billed(standin, encoding):
    options = {} if encoding is None else {"encoding_format": encoding}
    with client(standin) as sdk:
        answer = sdk.embeddings.create(
            model="text-embedding-3-small", input=["one fish", "two fish"], **options
        )
    assert len(answer.data) == 2
    assert answer.usage.prompt_tokens == standin.ledger.last.usage["input"]
    assert standin.ledger.last.usd == answer.usage.prompt_tokens * Decimal("0.00000002")


def test_images_report_text_and_pictures(standin):
    with client(standin) as sdk:
        made = sdk.images.generate(model="gpt-image-1", prompt="a fish", n=2)
        edited = sdk.images.edit(model="gpt-image-1", image=b"\x89PNG", prompt="a bigger fish")
    first, second = standin.ledger.bills
    assert first.usage == {"input": made.usage.input_tokens, "output_image": 544}
    assert edited.usage.input_tokens_details.image_tokens == second.usage["input_image"] == 323
    assert (first.endpoint, second.endpoint) == ("images.generate", "images.edit")
    assert first.usd == made.usage.input_tokens * Decimal("0.000005") + 544 * Decimal("0.00004")


def test_streamed_image_reports_at_its_end(standin):
    with client(standin) as sdk:
        events = list(
            sdk.images.generate(model="gpt-image-1", prompt="a fish", stream=True, partial_images=1)
        )
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert events[-1].usage.output_tokens == standin.ledger.last.usage["output_image"]


def test_dall_e_is_billed_by_the_picture_and_does_not_say(standin):
    with client(standin) as sdk:
        answer = sdk.images.generate(model="dall-e-3", prompt="a fish")
    assert answer.usage is None
    bill = standin.ledger.last
    assert (bill.usage, bill.units, bill.reported) == ({}, {"images": 1}, False)
    assert bill.usd == Decimal("0.04")


def test_transcription_reports_tokens_or_seconds(standin):
    sound = ("sound.wav", b"RIFF" + bytes(3996))
    with client(standin) as sdk:
        tokens = sdk.audio.transcriptions.create(model="gpt-4o-transcribe", file=sound)
        seconds = sdk.audio.transcriptions.create(model="whisper-1", file=sound)
    by_token, by_second = standin.ledger.bills
    assert tokens.usage.input_token_details.audio_tokens == by_token.usage["input_audio"] == 50
    assert seconds.usage.seconds == by_second.units["audio_seconds"] == 5
    assert by_second.usd == Decimal("0.0005")


def test_streamed_transcription_reports_at_its_end(standin):
    sound = ("sound.wav", b"RIFF" + bytes(3996))
    with client(standin) as sdk:
        events = list(
            sdk.audio.transcriptions.create(model="gpt-4o-transcribe", file=sound, stream=True)
        )
    assert events[-1].usage.output_tokens == standin.ledger.last.usage["output"]
    assert standin.requests[-1].body["stream"] == "true"


def test_speech_is_billed_by_the_character(standin):
    with client(standin) as sdk:
        sound = sdk.audio.speech.create(model="tts-1", voice="alloy", input="Good day").read()
    assert sound.startswith(b"ID3")
    assert standin.ledger.last.units == {"characters": 8}


def test_some_calls_are_free(standin):
    with client(standin) as sdk:
        assert sdk.moderations.create(input="fish").results[0].flagged is False
        assert sdk.models.list().data[0].id == "gpt-4.1-mini"
        assert sdk.responses.input_tokens.count(model="gpt-5", input="fish").input_tokens == 8
    assert len(standin.ledger) == 0


def test_azure_deployment_is_billed_as_the_model_behind_it(standin):
    with openai.AzureOpenAI(
        azure_endpoint=standin.url, api_key="any", api_version="2024-10-21"
    ) as sdk:
        answer = sdk.chat.completions.create(model="chat-prod", messages=ASKED)
        chunks = list(
            sdk.chat.completions.create(
                model="chat-prod",
                messages=ASKED,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    assert standin.requests[0].path == "/openai/deployments/chat-prod/chat/completions"
    bill = standin.ledger.bills[0]
    assert (bill.provider, bill.asked) == ("azure.ai.openai", "chat-prod")
    assert bill.model == answer.model == "gpt-4.1-2025-04-14"
    assert answer.usage.total_tokens == chunks[-1].usage.total_tokens == sum(bill.usage.values())


def test_azure_v1_path_is_served(standin):
    with openai.OpenAI(base_url=f"{standin.url}/openai/v1", api_key="any") as sdk:
        assert sdk.responses.create(model="gpt-5", input="Hello").usage.total_tokens
    assert standin.requests[-1].path == "/openai/v1/responses"


def test_long_prompt_is_read_from_the_cache_the_second_time(standin):
    messages = [{"role": "user", "content": "fish " * 2000}]
    with client(standin) as sdk:
        cached = [
            sdk.chat.completions.create(
                model="gpt-4.1", messages=messages
            ).usage.prompt_tokens_details.cached_tokens
            for _ in range(2)
        ]
    assert cached == [0, 1024]
    assert standin.ledger.last.usage["cache_read"] == 1024


def test_tier_that_was_asked_for_is_told_and_priced(standin):
    with client(standin) as sdk:
        plain = sdk.responses.create(model="gpt-5", input="Hello")
        flex = sdk.responses.create(model="gpt-5", input="Hello", service_tier="flex")
        none = sdk.responses.create(model="gpt-4.1-nano", input="Hello", service_tier="flex")
    assert (plain.service_tier, flex.service_tier, none.service_tier) == ("default", "flex", "flex")
    full, half, unpriced = standin.ledger.bills
    assert full.usd == half.usd * 2
    assert unpriced.usd is None


def test_retry_after_a_429_is_billed_once(standin):
    standin.script(status=429, retry_after=0.01)
    with client(standin) as sdk:
        sdk.chat.completions.create(model="gpt-4.1", messages=ASKED)
    assert len(standin.requests) == 2
    assert len(standin.ledger) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
def test_errors_by_magic_name_are_the_sdks_own_and_free(standin, status, error):
    with client(standin).with_options(max_retries=0) as sdk, pytest.raises(error) as caught:
        sdk.chat.completions.create(model=f"gpt-4.1-{status}", messages=ASKED)
    assert caught.value.body["message"]
    assert len(standin.ledger) == 0


def test_old_server_rejects_stream_options_by_name(standin):
    standin.reject_stream_options = True
    with client(standin) as sdk:
        with pytest.raises(openai.BadRequestError, match="stream_options"):
            sdk.chat.completions.create(
                model="gpt-4.1", messages=ASKED, stream=True, stream_options={"include_usage": True}
            )
        list(sdk.chat.completions.create(model="gpt-4.1", messages=ASKED, stream=True))
    assert standin.requests[0].body["stream_options"] == {"include_usage": True}
    assert "stream_options" not in standin.requests[1].body
    assert len(standin.ledger) == 1


def test_malformed_usage_goes_out_as_scripted_and_is_not_called_reported(standin):
    standin.script(Answer(wire_usage={"prompt_tokens": "many"}))
    with client(standin) as sdk:
        answer = sdk.chat.completions.create(model="gpt-4.1", messages=ASKED)
    assert answer.usage.prompt_tokens == "many"
    assert standin.ledger.last.usage["input"]
    assert not standin.ledger.last.reported


def test_tag_of_the_request_stands_on_the_bill(standin):
    with client(standin) as sdk:
        sdk.chat.completions.create(
            model="gpt-4.1", messages=ASKED, extra_headers={"x-standin-tag": "planner"}
        )
    assert standin.ledger.last.tag == "planner"


def test_compatible_paths_and_unknown_models_are_served(standin):
    url = f"{standin.url}/v1beta/openai/chat/completions"
    answer = httpx2.post(url, json={"model": "fish-9-unknown", "messages": ASKED}).json()
    assert answer["model"] == "fish-9-unknown"
    assert standin.ledger.last.usd is None
