"""The real google-genai SDK reads from the stand-in what its ledger billed, on Vertex too."""

from decimal import Decimal

import google.auth.credentials
import httpx2
import pytest
from google import genai
from google.genai import errors, types

from otel_llm_usage.standin import StandIn

# The newest aiohttp warns about a class of google-genai's own.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class Aiohttp:DeprecationWarning")

EXACT = {
    "input": 100,
    "input_audio": 30,
    "cache_read": 1000,
    "cache_read_audio": 10,
    "input_tool_use": 7,
    "output": 50,
    "reasoning": 40,
}


def client(standin: StandIn, **options) -> genai.Client:
    http = types.HttpOptions(base_url=standin.url, **options)
    return genai.Client(api_key="any", http_options=http)


def express(standin: StandIn) -> genai.Client:
    http = types.HttpOptions(base_url=standin.url)
    return genai.Client(vertexai=True, api_key="any", http_options=http)


class Anonymous(google.auth.credentials.AnonymousCredentials):
    def __init__(self) -> None:
        super().__init__()
        self.token = "any"

    def refresh(self, request) -> None:
        pass


def in_project(standin: StandIn) -> genai.Client:
    http = types.HttpOptions(base_url=standin.url)
    return genai.Client(
        vertexai=True,
        project="p",
        location="us-central1",
        credentials=Anonymous(),
        http_options=http,
    )


def weather(city: str) -> str:
    """What the weather is."""
    return f"Rain in {city}."


def counts(usage) -> tuple[int | None, ...]:
    return (
        usage.prompt_token_count,
        usage.cached_content_token_count,
        usage.candidates_token_count,
        usage.thoughts_token_count,
        usage.tool_use_prompt_token_count,
        usage.total_token_count,
    )


def test_content_reports_what_was_billed(standin):
    standin.script(usage=EXACT, text="Hello.")
    with client(standin) as sdk:
        answer = sdk.models.generate_content(model="gemini-2.5-flash", contents="Hello")
    usage = answer.usage_metadata
    assert counts(usage) == (1140, 1010, 50, 40, 7, 1237)
    rows = {row.modality.name: row.token_count for row in usage.prompt_tokens_details}
    assert rows == {"TEXT": 1100, "AUDIO": 40}
    assert answer.text == "Hello."
    bill = standin.ledger.last
    assert bill.usage == EXACT
    assert bill.id == answer.response_id
    assert (bill.provider, bill.endpoint) == ("gcp.gemini", "generate_content")
    assert bill.usd == Decimal("0.0003181")


def test_stream_has_running_totals(standin):
    with client(standin) as sdk:
        chunks = list(
            sdk.models.generate_content_stream(model="gemini-2.5-flash", contents="Hello")
        )
    totals = [chunk.usage_metadata.total_token_count for chunk in chunks]
    assert totals == sorted(totals)
    assert totals[0] < totals[-1] == sum(standin.ledger.last.usage.values())
    assert [c.candidates[0].finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert standin.ledger.last.reported


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_async_content_and_stream_on_both_transports(standin, transport):
    # A transport of its own for httpx makes the SDK choose that one.
    chosen = {"async_client_args": {"transport": httpx2.AsyncHTTPTransport()}}
    options = chosen if transport == "httpx" else {}
    sdk = client(standin, **options)
    answer = await sdk.aio.models.generate_content(model="gemini-2.5-pro", contents="Hello")
    stream = await sdk.aio.models.generate_content_stream(model="gemini-2.5-pro", contents="Hello")
    chunks = [chunk async for chunk in stream]
    await sdk.aio.aclose()
    sdk.close()
    bill = standin.ledger.last
    assert all(("connection" in r.headers) is (transport == "httpx") for r in standin.requests)
    assert answer.usage_metadata == chunks[-1].usage_metadata
    assert answer.usage_metadata.total_token_count == sum(bill.usage.values())


@pytest.mark.parametrize("stream", [False, True])
def test_automatic_function_calling_makes_three_billed_requests(standin, stream):
    config = types.GenerateContentConfig(tools=[weather])
    with client(standin) as sdk:
        call = sdk.models.generate_content_stream if stream else sdk.models.generate_content
        answer = call(model="gemini-2.5-flash", contents="Weather in Ulm?", config=config)
        last = list(answer)[-1] if stream else answer
    assert last.candidates[0].finish_reason.name == "STOP"
    assert len(standin.ledger) == 3
    prompts = [bill.usage["input"] for bill in standin.ledger]
    assert prompts == sorted(set(prompts))
    assert last.usage_metadata.prompt_token_count == prompts[-1]


async def test_async_automatic_function_calling(standin):
    config = types.GenerateContentConfig(tools=[weather])
    sdk = client(standin)
    answer = await sdk.aio.models.generate_content(
        model="gemini-2.5-flash", contents="Weather in Ulm?", config=config
    )
    await sdk.aio.aclose()
    sdk.close()
    assert answer.text
    assert len(standin.ledger) == 3


def test_chat_keeps_its_history(standin):
    with client(standin) as sdk:
        chat = sdk.chats.create(model="gemini-2.5-flash-lite")
        chat.send_message("Hello")
        chat.send_message("And now?")
    first, second = standin.ledger.bills
    assert first.usage["input"] < second.usage["input"]


def test_schema_is_obeyed_and_limits_hold(standin):
    config = {
        "response_mime_type": "application/json",
        "response_schema": types.Schema(
            type="OBJECT", properties={"city": types.Schema(type="STRING")}
        ),
    }
    with client(standin) as sdk:
        form = sdk.models.generate_content(
            model="gemini-2.5-flash-lite", contents="Hello", config=config
        )
        short = sdk.models.generate_content(
            model="gemini-2.5-flash-lite", contents="Hello", config={"max_output_tokens": 5}
        )
    assert form.parsed == {"city": "plan"}
    assert short.usage_metadata.candidates_token_count == 5
    assert short.candidates[0].finish_reason.name == "MAX_TOKENS"


def test_pictures_and_named_caches_are_billed_by_their_kind(standin):
    picture = types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")
    with client(standin) as sdk:
        answer = sdk.models.generate_content(
            model="gemini-2.5-flash",
            contents=[picture, "What is this?"],
            config={"cached_content": "cachedContents/one"},
        )
    usage = standin.ledger.last.usage
    assert (usage["input_image"], usage["cache_read"]) == (258, 4096)
    assert answer.usage_metadata.cached_content_token_count == 4096


def test_embeddings_of_the_developer_api_are_billed_and_mostly_silent(standin):
    with client(standin) as sdk:
        silent = sdk.models.embed_content(model="gemini-embedding-001", contents=["one", "two"])
        sdk.models.embed_content(model="gemini-embedding-2", contents="one")
    assert len(silent.embeddings) == 2
    first, second = standin.ledger.bills
    assert (first.reported, second.reported) == (False, True)
    assert first.usd == first.usage["input"] * Decimal("0.00000015")
    assert second.usd == second.usage["input"] * Decimal("0.0000002")


def test_vertex_reports_embeddings_by_prediction_or_as_a_whole(standin):
    with express(standin) as sdk:
        each = sdk.models.embed_content(model="text-embedding-005", contents=["one", "two fish"])
        whole = sdk.models.embed_content(model="gemini-embedding-001", contents="one fish")
    first, second = standin.ledger.bills
    assert [path.path.rsplit(":")[-1] for path in standin.requests] == ["predict", "embedContent"]
    assert sum(e.statistics.token_count for e in each.embeddings) == first.usage["input"]
    assert whole.usage_metadata.prompt_token_count == second.usage["input"]
    assert (first.provider, first.reported, second.reported) == ("gcp.vertex_ai", True, True)


def test_vertex_express_and_project_paths_are_served(standin):
    with express(standin) as sdk:
        answer = sdk.models.generate_content(model="gemini-2.5-flash", contents="Hello")
    with in_project(standin) as sdk:
        chunks = list(
            sdk.models.generate_content_stream(model="gemini-2.5-flash", contents="Hello")
        )
    assert answer.usage_metadata.traffic_type.name == "ON_DEMAND"
    assert chunks[-1].usage_metadata == answer.usage_metadata
    assert [bill.provider for bill in standin.ledger] == ["gcp.vertex_ai"] * 2
    assert "/projects/p/locations/us-central1/" in standin.requests[-1].path


def test_counting_and_listing_are_free(standin):
    with client(standin) as sdk:
        counted = sdk.models.count_tokens(model="gemini-2.5-flash", contents="Hello")
        assert counted.total_tokens == 8
        assert next(iter(sdk.models.list())).name == "models/gemini-2.5-flash"
    assert len(standin.ledger) == 0


def test_retry_after_a_429_is_billed_once(standin):
    standin.script(status=429)
    retry = types.HttpRetryOptions(attempts=2, initial_delay=0.01, http_status_codes=[429])
    with client(standin, retry_options=retry) as sdk:
        sdk.models.generate_content(model="gemini-2.5-flash", contents="Hello")
    assert len(standin.requests) == 2
    assert len(standin.ledger) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_errors_by_magic_name_are_the_sdks_own_and_free(standin, status):
    with client(standin) as sdk, pytest.raises(errors.APIError) as caught:
        sdk.models.generate_content(model=f"gemini-2.5-flash-{status}", contents="Hello")
    assert caught.value.code == status
    assert len(standin.ledger) == 0


def test_without_sse_the_stream_is_one_json_array(standin):
    url = f"{standin.url}/v1beta/models/gemini-2.5-flash:streamGenerateContent"
    chunks = httpx2.post(url, json={"contents": [{"parts": [{"text": "Hello"}]}]}).json()
    assert chunks[-1]["usageMetadata"]["totalTokenCount"] == sum(standin.ledger.last.usage.values())
