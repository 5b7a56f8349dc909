"""The real Anthropic SDK reads from the stand-in what its ledger billed, on Bedrock and Vertex too."""

from decimal import Decimal

import anthropic
import pytest
from anthropic import beta_tool

from otel_llm_usage.standin import StandIn

ASKED = [{"role": "user", "content": "What is the plan for today?"}]
PLAIN = {"model": "claude-haiku-4-5", "max_tokens": 200, "messages": ASKED}
EXACT = {
    "input": 100,
    "cache_read": 1000,
    "cache_write_5m": 20,
    "cache_write_1h": 30,
    "output": 50,
    "reasoning": 40,
}


def client(standin: StandIn) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=standin.url, api_key="any")


def bedrock(standin: StandIn) -> anthropic.AnthropicBedrock:
    return anthropic.AnthropicBedrock(
        base_url=standin.url,
        aws_access_key="any",
        aws_secret_key="any",
        aws_region="us-east-1",
    )


def vertex(standin: StandIn, region: str = "global") -> anthropic.AnthropicVertex:
    return anthropic.AnthropicVertex(
        base_url=f"{standin.url}/v1", region=region, project_id="p", access_token="any"
    )


def counts(usage) -> tuple[int, ...]:
    return (
        usage.input_tokens,
        usage.cache_read_input_tokens,
        usage.cache_creation_input_tokens,
        usage.output_tokens,
    )


def test_message_reports_what_was_billed(standin):
    standin.script(usage=EXACT, text="Hello.")
    with client(standin) as sdk:
        answer = sdk.messages.create(**PLAIN)
    assert counts(answer.usage) == (100, 1000, 50, 90)
    assert answer.usage.cache_creation.ephemeral_1h_input_tokens == 30
    assert answer.usage.output_tokens_details.thinking_tokens == 40
    assert answer.content[-1].text == "Hello."
    bill = standin.ledger.last
    assert bill.usage == EXACT
    assert bill.id == answer.id
    assert bill.model == answer.model == "claude-haiku-4-5-20251001"
    assert bill.usd == Decimal("0.000735")


async def test_async_stream_reports_input_first_and_output_last(standin):
    standin.script(usage=EXACT)
    async with anthropic.AsyncAnthropic(base_url=standin.url, api_key="any") as sdk:
        events = [event async for event in await sdk.messages.create(**PLAIN, stream=True)]
    first, last = events[0].message.usage, events[-2].usage
    assert counts(first) == (100, 1000, 50, 1)
    assert last.output_tokens == 90
    assert [events[0].type, events[-1].type] == ["message_start", "message_stop"]
    assert standin.ledger.last.usage == EXACT
    assert standin.ledger.last.reported


def test_stream_helper_puts_text_together(standin):
    with client(standin) as sdk, sdk.messages.stream(**PLAIN) as stream:
        message = stream.get_final_message()
    bill = standin.ledger.last
    assert len(message.content[0].text.split()) == message.usage.output_tokens
    assert bill.usage == {
        "input": message.usage.input_tokens,
        "output": message.usage.output_tokens,
    }


def test_thinking_comes_before_the_answer(standin):
    with (
        client(standin) as sdk,
        sdk.messages.stream(**PLAIN, thinking={"type": "enabled", "budget_tokens": 1024}) as stream,
    ):
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    thoughts = message.usage.output_tokens_details.thinking_tokens
    assert thoughts == standin.ledger.last.usage["reasoning"] > 0


def test_marked_prompt_is_written_and_then_read(standin):
    system = [
        {"type": "text", "text": "fish " * 2000, "cache_control": {"type": "ephemeral"}},
    ]
    with client(standin) as sdk:
        first = sdk.messages.create(**PLAIN, system=system).usage
        second = sdk.messages.create(**PLAIN, system=system).usage
        plain = sdk.messages.create(**PLAIN, system="fish " * 2000).usage
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (1024, 0)
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 1024)
    assert plain.cache_creation_input_tokens == 0
    assert standin.ledger.bills[0].usage["cache_write_5m"] == 1024


def test_hour_long_cache_has_its_own_kind(standin):
    control = {"type": "ephemeral", "ttl": "1h"}
    system = [{"type": "text", "text": "fish " * 2000, "cache_control": control}]
    with client(standin) as sdk:
        usage = sdk.messages.create(**PLAIN, system=system).usage
    assert usage.cache_creation.ephemeral_1h_input_tokens == 1024
    assert standin.ledger.last.usage["cache_write_1h"] == 1024


@beta_tool
def weather(city: str) -> str:
    """What the weather is.

    Args:
        city: where
    """
    return f"Rain in {city}."


@pytest.mark.parametrize("stream", [False, True])
def test_tool_runner_makes_three_billed_requests(standin, stream):
    with client(standin) as sdk:
        runner = sdk.beta.messages.tool_runner(**PLAIN, tools=[weather], stream=stream)
        messages = [turn.get_final_message() if stream else turn for turn in runner]
    assert [m.stop_reason for m in messages] == ["tool_use", "tool_use", "end_turn"]
    assert messages[0].content[0].input == {"city": "plan"}
    told = [(m.usage.input_tokens, m.usage.output_tokens) for m in messages]
    assert [(b.usage["input"], b.usage["output"]) for b in standin.ledger] == told
    assert told[0][0] < told[1][0] < told[2][0]


def test_searches_are_told_and_billed_beside_the_tokens(standin):
    standin.script(usage={"input": 1000, "output": 100}, units={"web_search": 2})
    with client(standin) as sdk:
        usage = sdk.messages.create(**PLAIN).usage
    assert usage.server_tool_use.web_search_requests == 2
    assert standin.ledger.last.usd == Decimal("0.0215")


def test_counting_and_listing_are_free(standin):
    with client(standin) as sdk:
        asked = sdk.messages.count_tokens(model="claude-haiku-4-5", messages=ASKED)
        assert asked.input_tokens > 0
        assert sdk.models.list().data[0].id == "claude-haiku-4-5-20251001"
    assert len(standin.ledger) == 0


def test_beta_path_is_the_same(standin):
    with client(standin) as sdk:
        answer = sdk.beta.messages.create(**PLAIN, betas=["context-1m-2025-08-07"])
    assert answer.usage.input_tokens == standin.ledger.last.usage["input"]


def test_bedrock_speaks_json_and_binary_frames(standin):
    ask = {**PLAIN, "model": "anthropic.claude-haiku-4-5-20251001-v1:0"}
    with bedrock(standin) as sdk:
        answer = sdk.messages.create(**ask)
        with sdk.messages.stream(**ask) as stream:
            streamed = stream.get_final_message()
    whole, framed = standin.ledger.bills
    assert standin.requests[-1].path.endswith("/invoke-with-response-stream")
    assert whole.provider == "aws.bedrock"
    assert counts(answer.usage)[0] == counts(streamed.usage)[0] == framed.usage["input"]
    assert streamed.usage.output_tokens == framed.usage["output"]
    tokens = whole.usage
    plain = tokens["input"] * Decimal("0.000001") + tokens["output"] * Decimal("0.000005")
    assert whole.usd == plain * Decimal("1.1")


async def test_async_bedrock_reads_the_frames(standin):
    async with anthropic.AsyncAnthropicBedrock(
        base_url=standin.url, aws_access_key="any", aws_secret_key="any", aws_region="us-east-1"
    ) as sdk:
        ask = {**PLAIN, "model": "global.anthropic.claude-haiku-4-5-20251001-v1:0"}
        async with sdk.messages.stream(**ask) as stream:
            message = await stream.get_final_message()
    assert message.usage.output_tokens == standin.ledger.last.usage["output"]


@pytest.mark.parametrize(("region", "factor"), [("global", "1"), ("us-east5", "1.1")])
def test_vertex_costs_more_in_a_region(standin, region, factor):
    standin.script(usage={"input": 1000, "output": 100}, times=2)
    ask = {**PLAIN, "model": "claude-haiku-4-5@20251001"}
    with vertex(standin, region) as sdk:
        answer = sdk.messages.create(**ask)
        with sdk.messages.stream(**ask) as stream:
            streamed = stream.get_final_message()
    assert counts(answer.usage) == counts(streamed.usage) == (1000, 0, 0, 100)
    assert [b.provider for b in standin.ledger] == ["gcp.vertex_ai"] * 2
    assert standin.ledger.last.usd == Decimal("0.0015") * Decimal(factor)


def test_vertex_counts_for_free(standin):
    with vertex(standin) as sdk:
        sdk.messages.count_tokens(model="claude-haiku-4-5@20251001", messages=ASKED)
    assert len(standin.ledger) == 0


def test_overload_is_retried_and_billed_once(standin):
    standin.script(status=529, retry_after=0.01)
    with client(standin) as sdk:
        sdk.messages.create(**PLAIN)
    assert len(standin.requests) == 2
    assert len(standin.ledger) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (529, anthropic.InternalServerError),
    ],
)
def test_errors_by_magic_name_are_the_sdks_own_and_free(standin, status, error):
    with client(standin).with_options(max_retries=0) as sdk, pytest.raises(error):
        sdk.messages.create(**{**PLAIN, "model": f"claude-haiku-4-5-{status}"})
    assert len(standin.ledger) == 0
