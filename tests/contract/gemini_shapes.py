"""Gemini on the Developer API and on Vertex: content, chats, function calling, embeddings."""

import importlib
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import google.auth.credentials
from google.genai import types
from pydantic import BaseModel

from otel_llm_usage import Record
from otel_llm_usage.standin import Answer, Call, StandIn

from .kit import FAILED, Caller, Shape, done, each, every
from .needs import has

content = partial(
    Shape,
    provider="gcp.gemini",
    operation="generate_content",
    endpoint="generate_content",
    asked="gemini-2.5-flash",
)
UNNAMED = {"response_id": None, "response_model": None}
embeddings = partial(
    Shape,
    provider="gcp.gemini",
    operation="embeddings",
    endpoint="embed_content",
    asked="gemini-embedding-2",
    told=UNNAMED,
)
free = partial(Shape, provider="gcp.gemini", endpoint="none", asked=None, records=0, bills=0)

MODEL = "gemini-2.5-flash"
ASK = "What is the plan for today?"
VERTEX: Mapping[str, Any] = {
    "api_key": None,
    "vertexai": True,
    "project": "p",
    "location": "us-central1",
}


class Plan(BaseModel):
    """What a parsed answer looks like."""

    title: str
    steps: int


class Credentials(google.auth.credentials.Credentials):
    """Credentials that need no network."""

    def __init__(self) -> None:
        super().__init__()
        self.token = "token"
        self.quota_project_id_ = None

    def refresh(self, request: Any) -> None:
        """Nothing to do: they do not end."""


def look_up(topic: str) -> str:
    """Look a topic up."""
    return f"{topic}: it is sunny."


async def look_up_async(topic: str) -> str:
    """Look a topic up."""
    return f"{topic}: it is sunny."


def fails(topic: str) -> str:
    """Look a topic up, in vain."""
    raise RuntimeError("the library is closed")


def config(**options: Any) -> types.GenerateContentConfig:
    """Fresh for each call: the SDK may keep it."""
    return types.GenerateContentConfig(**options)


def vertex(call: Caller, **options: Any) -> Any:
    return call.gemini(**{**VERTEX, "credentials": Credentials(), **options})


async def generate(call: Caller, model: str = MODEL, http: Any = None, **options: Any) -> Any:
    client = call.gemini(http_options=http or {})
    asked = config(**options) if options else None
    return await done(client.models.generate_content(model=model, contents=ASK, config=asked))


async def stream(call: Caller, http: Any = None, **options: Any) -> Any:
    client = call.gemini(http_options=http or {})
    asked = config(**options) if options else None
    made = client.models.generate_content_stream(model=MODEL, contents=ASK, config=asked)
    made = await done(made)
    return [await every(made), made.__name__, made.__qualname__]


async def stream_by_hand(call: Caller) -> Any:
    made = await done(call.gemini().models.generate_content_stream(model=MODEL, contents=ASK))
    chunks = []
    while True:
        try:
            chunks.append(await made.__anext__() if call.is_async else next(made))
        except (StopIteration, StopAsyncIteration):
            return chunks


def history(talk: Any) -> Any:
    """What was said; older chats keep it to themselves."""
    return talk.get_history() if hasattr(talk, "get_history") else talk._curated_history


async def chat(call: Caller, **options: Any) -> Any:
    talk = call.gemini().chats.create(model=MODEL, config=config(**options) if options else None)
    said = [await done(talk.send_message(text)) for text in (ASK, "And tomorrow?")]
    return [said, history(talk)]


async def chat_stream(call: Caller, **options: Any) -> Any:
    talk = call.gemini().chats.create(model=MODEL, config=config(**options) if options else None)
    said = [await every(talk.send_message_stream(text)) for text in (ASK, "And tomorrow?")]
    return [said, history(talk)]


async def chat_once(call: Caller, streamed: bool, tool: Any) -> Any:
    talk = call.gemini().chats.create(model=MODEL, config=config(tools=[tool]))
    if streamed:
        return [await every(talk.send_message_stream(ASK)), history(talk)]
    return [await done(talk.send_message(ASK)), history(talk)]


async def nested(call: Caller, streamed: bool) -> Any:
    """A function that asks a model itself, while it is being called for one."""
    client = call.gemini()
    inner: list[Any] = []

    def ask_somebody(topic: str) -> str:
        """Ask somebody else."""
        answer = client.models.generate_content(model="gemini-2.5-flash-lite", contents=topic)
        inner.append(answer)
        return answer.text

    async def ask_somebody_async(topic: str) -> str:
        """Ask somebody else."""
        models = client.models
        answer = await models.generate_content(model="gemini-2.5-flash-lite", contents=topic)
        inner.append(answer)
        return answer.text

    asked = config(tools=[ask_somebody_async if call.is_async else ask_somebody])
    if streamed:
        made = client.models.generate_content_stream(model=MODEL, contents=ASK, config=asked)
        return [await every(made), inner]
    made = client.models.generate_content(model=MODEL, contents=ASK, config=asked)
    return [await done(made), inner]


async def several(call: Caller) -> Any:
    """Two calls in one stream's pauses: each chunk is followed by another request."""
    client, got = call.gemini(), []
    async for chunk in each(client.models.generate_content_stream(model=MODEL, contents=ASK)):
        if not got:
            got.append(
                await done(
                    client.models.generate_content(model="gemini-2.5-flash-lite", contents="x")
                )
            )
        got.append(chunk)
    return got


async def embed(call: Caller, contents: Any, model: str = "gemini-embedding-2") -> Any:
    return await done(call.gemini().models.embed_content(model=model, contents=contents))


async def count(call: Caller) -> Any:
    return await done(call.gemini().models.count_tokens(model=MODEL, contents=ASK))


async def list_models(call: Caller) -> Any:
    return await every(await done(call.gemini().models.list(config={"query_base": True})))


async def cache(call: Caller) -> Any:
    made = types.CreateCachedContentConfig(contents=["A long plan."], ttl="3600s")
    return await done(call.gemini().caches.create(model=MODEL, config=made))


async def express(call: Caller, streamed: bool) -> Any:
    models = call.gemini(vertexai=True).models
    if streamed:
        return await every(models.generate_content_stream(model=MODEL, contents=ASK))
    return await done(models.generate_content(model=MODEL, contents=ASK))


async def project(call: Caller, streamed: bool) -> Any:
    models = vertex(call).models
    if streamed:
        return await every(models.generate_content_stream(model=MODEL, contents=ASK))
    return await done(models.generate_content(model=MODEL, contents=ASK))


async def vertex_embed(call: Caller) -> Any:
    client = vertex(call)
    texts = ["one plan", "another plan"]
    return await done(client.models.embed_content(model="text-embedding-005", contents=texts))


async def vertex_count(call: Caller) -> Any:
    return await done(vertex(call).models.count_tokens(model=MODEL, contents=ASK))


async def own_transport(call: Caller, library: str, streamed: bool) -> Any:
    """Async through httpx, where aiohttp is installed and would be taken."""
    transport = importlib.import_module(library).AsyncHTTPTransport()
    client = call.gemini(http_options={"async_client_args": {"transport": transport}})
    if streamed:
        return await every(client.models.generate_content_stream(model=MODEL, contents=ASK))
    return await client.models.generate_content(model=MODEL, contents=ASK)


async def own_client(call: Caller, library: str, streamed: bool) -> Any:
    """A client of the user's own."""
    http = importlib.import_module(library)
    own = http.AsyncClient() if call.is_async else http.Client()
    name = "httpx_async_client" if call.is_async else "httpx_client"
    client = call.gemini(http_options={name: own})
    try:
        if streamed:
            return await every(client.models.generate_content_stream(model=MODEL, contents=ASK))
        return await done(client.models.generate_content(model=MODEL, contents=ASK))
    finally:
        await done(own.aclose() if call.is_async else own.close())


# scripts


def gzip(standin: StandIn) -> None:
    standin.script(gzip=True, times=None)


def split(standin: StandIn) -> None:
    standin.script(split=13, times=None)


def cached(standin: StandIn) -> None:
    standin.script(
        usage={"input": 40, "cache_read": 2048, "output": 9, "reasoning": 64}, times=None
    )


def media(standin: StandIn) -> None:
    usage = {"input": 40, "input_image": 258, "input_audio": 32, "input_tool_use": 7, "output": 9}
    standin.script(usage=usage, times=None)


def blocked(standin: StandIn) -> None:
    """A blocked prompt: it has no candidates."""
    usage = {"promptTokenCount": 9, "totalTokenCount": 9}
    standin.reply(
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage, "modelVersion": MODEL}
    )


def _part(text: str, *, more: bool, usage: Mapping[str, int]) -> dict[str, Any]:
    candidate: dict[str, Any] = {
        "content": {"parts": [{"text": text}], "role": "model"},
        "index": 0,
        "finishReason": "CONTINUATION" if more else "STOP",
    }
    if more:
        candidate["continuationToken"] = "bW9yZQ=="
    total = sum(usage.values())
    told = {**usage, "totalTokenCount": total}
    return {
        "candidates": [candidate],
        "usageMetadata": told,
        "modelVersion": MODEL,
        "responseId": "r1" if more else "r2",
    }


FIRST = {"promptTokenCount": 9, "candidatesTokenCount": 5}
SECOND = {"promptTokenCount": 14, "candidatesTokenCount": 3}
HOPS = (
    {"usage": {"input": 9, "output": 5}, "response_id": "r1", "response_model": MODEL},
    {"usage": {"input": 14, "output": 3}, "response_id": "r2", "response_model": MODEL},
)


def continued(standin: StandIn) -> None:
    standin.reply(_part("The plan ", more=True, usage=FIRST))
    standin.reply(_part("is this.", more=False, usage=SECOND))


def continued_stream(standin: StandIn) -> None:
    for part in (
        _part("The plan ", more=True, usage=FIRST),
        _part("is this.", more=False, usage=SECOND),
    ):
        standin.reply(f"data: {json.dumps(part)}\r\n\r\n", chunks=50)


def two_calls_at_once(standin: StandIn) -> None:
    calls = [Call("look_up", {"topic": "rain"}), Call("look_up", {"topic": "snow"})]
    standin.script(Answer(calls=calls))
    standin.script(Answer(calls=()))


def caches(standin: StandIn) -> None:
    standin.reply(
        {
            "name": "cachedContents/1",
            "model": f"models/{MODEL}",
            "usageMetadata": {"totalTokenCount": 4096},
        },
        match="cachedContents",
    )


def failing(status: int, times: int = 1) -> Any:
    def script(standin: StandIn) -> None:
        standin.script(status=status, times=times)

    return script


def late(standin: StandIn) -> None:
    standin.reply({}, delay=1.5)


def refused(status: int) -> Mapping[str, Any]:
    return {**FAILED, "error_type": str(status), "http_status": status}


STREAMED_AFC = ("google.genai.models.Models.generate_content_stream{get_function_map}",)
ASYNC_AFC = ("google.genai._extra_utils.invoke_function_from_dict_args_async",)
EXPRESS = ("google.genai._api_client.BaseApiClient",)
"""Before this class was there, an async client looked for credentials though it had a key."""
CALLS_ONCE = (*STREAMED_AFC, *ASYNC_AFC)
"""The versions without async functions call a function of a stream twice: that costs its own call."""
BY_HEADER = (
    "standard" if has(None, "google.genai.types.EmbedContentResponse(sdk_http_response)") else None
)
"""The tier that only a header tells: where the SDK throws it away, nobody knows."""
TRANSPORTS: Mapping[str, tuple[str, ...]] = {
    "httpx": (
        "google.genai._api_client.httpx",
        "google.genai.types.HttpOptions(async_client_args)",
    ),
    "httpx2": ("google.genai._api_client._detect_http_backend",),
}
CONTINUES = ("google.genai.types.Candidate(continuation_token)",)
RETRIES = ("google.genai.types.HttpOptions(retry_options)",)
PATIENT: Mapping[str, Any] = {
    "retry_options": {"attempts": 3, "initial_delay": 0.01, "max_delay": 0.02, "jitter": 0}
}
failed = partial(content, bills=0)
OUTER = {"request.model": MODEL}
INNER = {"request.model": "gemini-2.5-flash-lite"}


def outer_streams(record: Record) -> Mapping[str, Any]:
    """The function asks while the stream of who called it goes on, or after it: that differs."""
    who = INNER if record.response_model == INNER["request.model"] else OUTER
    return {**who, "request.stream": who is OUTER, "first chunk": who is OUTER}


PLACED = {"region": "us-central1"}

SHAPES = [
    content(id="generate", run=generate),
    content(id="generate, gzip", run=generate, script=gzip),
    content(id="generate, cached and thinking", run=generate, script=cached),
    content(id="generate, media and tool use", run=generate, script=media),
    content(id="generate, parsed", run=partial(generate, response_mime_type="application/json", response_schema=Plan)),
    content(id="generate, whole model name", run=partial(generate, model=f"models/{MODEL}")),
    content(id="generate, blocked", run=generate, script=blocked, bills=0, told={"usage": {"input": 9}, "response_id": None, "response_model": MODEL}),
    content(id="generate, HTTP response", run=partial(generate, should_return_http_response=True), needs=("google.genai.types.GenerateContentConfig(should_return_http_response)",)),
    content(id="generate stream", run=stream, stream=True),
    content(id="generate stream, gzip", run=stream, script=gzip, stream=True),
    content(id="generate stream, small writes", run=stream, script=split, stream=True),
    content(id="generate stream, cached and thinking", run=stream, script=cached, stream=True),
    content(id="generate stream, parsed", run=partial(stream, response_mime_type="application/json", response_schema=Plan), stream=True),
    content(id="generate stream, by hand", run=stream_by_hand, stream=True),
    content(id="generate stream, another call between chunks", run=several, records=2, told=({**INNER, "first chunk": False, "request.stream": False}, {**OUTER, "first chunk": True, "request.stream": True})),
    content(id="chat of two messages", run=chat, records=2),
    content(id="chat of two messages, streamed", run=chat_stream, records=2, stream=True),
    content(id="AFC of three turns", run=partial(generate, tools=[look_up]), records=3),
    content(id="AFC of three turns, streamed", run=partial(stream, tools=[look_up]), needs=STREAMED_AFC, records=3, stream=True),
    content(id="AFC of three turns, async function", run=partial(generate, tools=[look_up_async]), needs=ASYNC_AFC, records=3, modes=("async",)),
    content(id="AFC of three turns, async function, streamed", run=partial(stream, tools=[look_up_async]), needs=(*STREAMED_AFC, *ASYNC_AFC), records=3, stream=True, modes=("async",)),
    content(id="AFC in a chat", run=partial(chat_once, streamed=False, tool=look_up), records=3),
    content(id="AFC in a chat, streamed", run=partial(chat_once, streamed=True, tool=look_up), needs=STREAMED_AFC, records=3, stream=True),
    content(id="AFC, a function that fails", run=partial(generate, tools=[fails]), records=3),
    content(id="AFC, a function that fails, streamed", run=partial(stream, tools=[fails]), needs=STREAMED_AFC, records=3, stream=True),
    content(id="AFC, two functions at once", run=partial(generate, tools=[look_up]), script=two_calls_at_once, records=2),
    content(id="AFC switched off", run=partial(generate, tools=[look_up], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True))),
    content(id="AFC, a function that asks a model", run=partial(nested, streamed=False), needs_async=ASYNC_AFC, records=5, told=(OUTER, INNER, OUTER, INNER, OUTER)),
    content(id="AFC, a function that asks a model, streamed", run=partial(nested, streamed=True), needs=CALLS_ONCE, records=5, told=outer_streams),
    content(id="continuation", run=generate, script=continued, needs=CONTINUES, records=2, bills=0, told=HOPS),
    content(id="continuation, streamed", run=stream, script=continued_stream, needs=CONTINUES, records=2, bills=0, told=HOPS, stream=True),
    embeddings(id="embed one", run=partial(embed, contents="one plan"), told={**UNNAMED, "tier": BY_HEADER}),
    embeddings(id="embed several", run=partial(embed, contents=["one plan", "another plan"]), told={**UNNAMED, "tier": BY_HEADER}),
    embeddings(id="embed, nothing told", run=partial(embed, contents=["one plan", "two"], model="gemini-embedding-001"), asked="gemini-embedding-001", told={"usage": None, "usage_source": "missing", "response_id": None, "response_model": None, "cost.status": "unpriced"}),
    content(id="cache", run=cache, script=caches, bills=0, endpoint="caches.create"),
    free(id="gemini count_tokens", run=count),
    free(id="gemini models", run=list_models),
    content(id="vertex express", run=partial(express, streamed=False), needs_async=EXPRESS, provider="gcp.vertex_ai"),
    content(id="vertex express stream", run=partial(express, streamed=True), needs_async=EXPRESS, provider="gcp.vertex_ai", stream=True),
    content(id="vertex project", run=partial(project, streamed=False), provider="gcp.vertex_ai", told=PLACED),
    content(id="vertex project stream", run=partial(project, streamed=True), provider="gcp.vertex_ai", stream=True, told=PLACED),
    embeddings(id="vertex embed", run=vertex_embed, provider="gcp.vertex_ai", asked="text-embedding-005", told={"response_id": None, "response_model": None, "cost.status": "unpriced"}),
    free(id="vertex count_tokens", run=vertex_count),
    *(
        shape
        for library in ("httpx", "httpx2")
        for streamed, what in ((False, "generate"), (True, "generate stream"))
        for shape in (
            content(id=f"{what}, transport of {library}", run=partial(own_transport, library=library, streamed=streamed), needs=TRANSPORTS[library], stream=streamed, modes=("async",)),
            content(id=f"{what}, own client of {library}", run=partial(own_client, library=library, streamed=streamed), needs=(f"google.genai._api_client.{library}", "google.genai.types.HttpOptions(httpx_client)"), stream=streamed),
        )
    ),
    failed(id="generate, 400", run=generate, script=failing(400), raises="ClientError", told=refused(400)),
    failed(id="generate, 404", run=generate, script=failing(404), raises="ClientError", told=refused(404)),
    failed(id="generate, 429", run=generate, script=failing(429), raises="ClientError", told=refused(429)),
    failed(id="generate, 500", run=generate, script=failing(500), raises="ServerError", told=refused(500)),
    failed(id="generate stream, 429", run=stream, script=failing(429), raises="ClientError", told=refused(429), stream=True),
    failed(id="generate, 500 thrice", run=partial(generate, http=PATIENT), needs=RETRIES, script=failing(500, 3), raises="ServerError", told=refused(500)),
    content(id="generate, 429 twice and then well", run=partial(generate, http=PATIENT), needs=RETRIES, script=failing(429, 2)),
    content(id="generate stream, 500 and then well", run=partial(stream, http=PATIENT), needs=RETRIES, script=failing(500), stream=True),
    failed(id="generate, too slow", run=partial(generate, http={"timeout": 500}), script=late, raises="ReadTimeout", told={**FAILED, "error_type": "ReadTimeout", "cost.status": "unpriced"}, modes=("sync",)),
]  # fmt: skip
