"""Anthropic on its own API, on Bedrock and on Vertex: messages in every form."""

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import anthropic
from pydantic import BaseModel

from otel_llm_usage.standin import StandIn

from .kit import ASK, FAILED, Caller, Shape, block, done, each, every, joined

messages = partial(Shape, provider="anthropic", endpoint="messages", asked="claude-haiku-4-5")
free = partial(Shape, provider="anthropic", endpoint="none", asked=None, records=0, bills=0)

MESSAGE: Mapping[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 400, "messages": ASK}
THINKING: Mapping[str, Any] = {
    "max_tokens": 4000,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
}
TOOLS = [
    {
        "name": "look_up",
        "description": "Look a topic up.",
        "input_schema": {"type": "object", "properties": {"topic": {"type": "string"}}},
    }
]


class Plan(BaseModel):
    """What a parsed answer looks like."""

    title: str
    steps: int


async def create(call: Caller, **more: Any) -> Any:
    answer = await done(call.anthropic().messages.create(**{**MESSAGE, **more}))
    return [await every(answer), answer] if "stream" in more else answer


async def beta_create(call: Caller, **more: Any) -> Any:
    client = call.anthropic()
    asked = {**MESSAGE, "betas": ["context-1m-2025-08-07"], **more}
    answer = await done(client.beta.messages.create(**asked))
    return [await every(answer), answer] if "stream" in more else answer


async def parse(call: Caller) -> Any:
    return await done(call.anthropic().messages.parse(**MESSAGE, output_format=Plan))


async def beta_parse(call: Caller) -> Any:
    return await done(call.anthropic().beta.messages.parse(**MESSAGE, output_format=Plan))


async def helper(call: Caller, beta: bool = False, **more: Any) -> Any:
    client = call.anthropic()
    resource = client.beta.messages if beta else client.messages
    async with block(resource.stream(**{**MESSAGE, **more})) as stream:
        events = await every(stream)
        return [events, await done(stream.get_final_message()), stream.response]


async def helper_text(call: Caller) -> Any:
    async with block(call.anthropic().messages.stream(**MESSAGE)) as stream:
        return [await every(stream.text_stream), await done(stream.get_final_text())]


async def helper_unread(call: Caller) -> Any:
    """Nothing is read by the caller: the helper reads to the end for the final message."""
    async with block(call.anthropic().messages.stream(**MESSAGE)) as stream:
        return await done(stream.get_final_message())


async def raw(call: Caller, parses: int, **more: Any) -> Any:
    client = call.anthropic()
    answer = await done(client.messages.with_raw_response.create(**MESSAGE, **more))
    parsed = [await done(answer.parse()) for _ in range(parses)]
    if "stream" in more:
        return [answer, await every(parsed[0])]
    return [answer, *parsed, answer.http_response]


async def streaming_response(call: Caller, read: str, **more: Any) -> Any:
    resource = call.anthropic().messages.with_streaming_response
    async with block(resource.create(**MESSAGE, **more)) as response:
        if read.startswith("iter"):
            return [joined(await every(getattr(response, read)()), read), response]
        got = await done(getattr(response, read)())
        return [await every(got) if "stream" in more else got, response]


async def post(call: Caller) -> Any:
    body = {**MESSAGE}
    client = call.anthropic()
    kind = anthropic.types.Message
    return [await done(client.post("/v1/messages", body=body, cast_to=kind)), body]


async def turns(call: Caller) -> Any:
    """A conversation with tools, as one writes it by hand: three turns."""
    client, said, history = call.anthropic(), [], list(ASK)
    for _ in range(3):
        answer = await done(client.messages.create(**{**MESSAGE, "messages": history}, tools=TOOLS))
        said.append(answer)
        history.append({"role": "assistant", "content": answer.content})
        results = [
            {"type": "tool_result", "tool_use_id": part.id, "content": "It is sunny."}
            for part in answer.content
            if part.type == "tool_use"
        ]
        if results:
            history.append({"role": "user", "content": results})
    return said


def _look_up(topic: str) -> str:
    """Look a topic up.

    Args:
        topic: what to look up.
    """
    return f"{topic}: it is sunny."


async def _look_up_async(topic: str) -> str:
    """Look a topic up.

    Args:
        topic: what to look up.
    """
    await asyncio.sleep(0)
    return f"{topic}: it is sunny."


def _tool(call: Caller) -> Any:
    if call.is_async:
        return anthropic.beta_async_tool(_look_up_async)
    return anthropic.beta_tool(_look_up)


async def tool_runner(call: Caller, stream: bool = False, **more: Any) -> Any:
    tool = _tool(call)
    client = call.anthropic()
    asked = {**MESSAGE, "tools": [tool], **more}
    runner = client.beta.messages.tool_runner(**asked, **({"stream": True} if stream else {}))
    if not stream:
        return await every(runner)
    return [[await every(t), await done(t.get_final_message())] async for t in each(runner)]


async def tool_runner_done(call: Caller) -> Any:
    tool = _tool(call)
    runner = call.anthropic().beta.messages.tool_runner(**MESSAGE, tools=[tool])
    return await done(runner.until_done())


class Watching(getattr(anthropic, "Middleware", object)):  # type: ignore[misc]
    """Sees every response; its reading of them is its own affair."""

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    def handle(self, request: Any, call_next: Any) -> Any:
        response = call_next(request)
        self.seen.append([response.status_code, request.method])
        return response

    async def handle_async(self, request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        self.seen.append([response.status_code, request.method])
        return response


class Parsing(Watching):
    """Parses the response itself, before the SDK does for the caller."""

    def handle(self, request: Any, call_next: Any) -> Any:
        response = call_next(request)
        self.seen.append(response.parse())
        return response

    async def handle_async(self, request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        self.seen.append(await response.parse())
        return response


async def with_middleware(call: Caller, kind: type, stream: bool = False) -> Any:
    seen: list[Any] = []
    client = call.anthropic(middleware=[kind(seen)])
    answer = await done(client.messages.create(**MESSAGE, stream=stream))
    return [await every(answer) if stream else answer, seen]


async def fallback(call: Caller, stream: bool = False) -> Any:
    from anthropic.lib.middleware import BetaFallbackState, BetaRefusalFallbackMiddleware

    middleware = BetaRefusalFallbackMiddleware([{"model": "claude-opus-4-8"}])
    client = call.anthropic(middleware=[middleware])
    state = BetaFallbackState()
    with state:
        answer = await done(client.beta.messages.create(**MESSAGE, stream=stream))
        got = await every(answer) if stream else answer
    return [got, state.index]


async def with_retries(call: Caller, retries: int, **options: Any) -> Any:
    client = call.anthropic(max_retries=retries, **options)
    return await done(client.messages.create(**MESSAGE))


async def stream_with(call: Caller, retries: int = 0) -> Any:
    client = call.anthropic(max_retries=retries)
    return await every(client.messages.create(**MESSAGE, stream=True))


async def helper_failing(call: Caller) -> Any:
    client = call.anthropic(max_retries=0)
    async with block(client.messages.stream(**MESSAGE)) as stream:
        return await every(stream)


async def aiohttp(call: Caller, stream: bool) -> Any:
    client = call.anthropic(http_client=anthropic.DefaultAioHttpClient())
    answer = await client.messages.create(**MESSAGE, stream=stream)
    return await every(answer) if stream else answer


async def count_tokens(call: Caller) -> Any:
    client = call.anthropic()
    return await done(client.messages.count_tokens(model="claude-haiku-4-5", messages=ASK))


async def models(call: Caller) -> Any:
    return await every(call.anthropic().models.list())


# the other platforms

BEDROCK = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
VERTEX = "claude-haiku-4-5@20251001"


async def bedrock_create(call: Caller, beta: bool = False, **more: Any) -> Any:
    client = call.bedrock()
    resource = client.beta.messages if beta else client.messages
    answer = await done(resource.create(**{**MESSAGE, "model": BEDROCK, **more}))
    return await every(answer) if "stream" in more else answer


async def bedrock_helper(call: Caller) -> Any:
    client = call.bedrock()
    async with block(client.messages.stream(**{**MESSAGE, "model": BEDROCK})) as stream:
        return [await every(stream), await done(stream.get_final_message())]


async def vertex_create(call: Caller, beta: bool = False, **more: Any) -> Any:
    client = call.vertex()
    resource = client.beta.messages if beta else client.messages
    answer = await done(resource.create(**{**MESSAGE, "model": VERTEX, **more}))
    return await every(answer) if "stream" in more else answer


async def vertex_helper(call: Caller) -> Any:
    async with block(call.vertex().messages.stream(**{**MESSAGE, "model": VERTEX})) as stream:
        return [await every(stream), await done(stream.get_final_message())]


async def foundry_create(call: Caller, **more: Any) -> Any:
    answer = await done(call.foundry().messages.create(**MESSAGE, **more))
    return await every(answer) if "stream" in more else answer


async def vertex_count(call: Caller) -> Any:
    client = call.vertex()
    return await done(client.messages.count_tokens(model=VERTEX, messages=ASK))


# scripts


def gzip(standin: StandIn) -> None:
    standin.script(gzip=True, times=None)


def split(standin: StandIn) -> None:
    standin.script(split=11, times=None)


def cached(standin: StandIn) -> None:
    standin.script(
        usage={
            "input": 12,
            "cache_read": 2048,
            "cache_write_5m": 300,
            "cache_write_1h": 700,
            "output": 50,
            "reasoning": 64,
        },
        times=None,
    )


def searched(standin: StandIn) -> None:
    standin.script(units={"web_search": 2}, times=None)


def failing(status: int, times: int = 1) -> Any:
    def script(standin: StandIn) -> None:
        standin.script(status=status, retry_after=0.01, times=times)

    return script


def late(standin: StandIn) -> None:
    standin.reply({}, delay=1.5)


def refuses(standin: StandIn) -> None:
    """Refuses after it had said something: that is billed."""
    standin.script(finish="refusal", text="I would rather not.")


def says_nothing(standin: StandIn) -> None:
    """Refuses before any output: shown with counts, and not billed."""
    standin.reply(
        {
            **_message("claude-haiku-4-5-20251001", []),
            "stop_reason": "refusal",
            "usage": {"input_tokens": 10, "output_tokens": 1},
        }
    )


def refuses_first(standin: StandIn) -> None:
    """The first model refuses after some output; who is asked next answers."""
    standin.script(finish="refusal", text="I would rather not.")


def _message(model: str, content: list[Any]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": "end_turn",
        "stop_sequence": None,
    }


ITERATED = {
    "input_tokens": 20,
    "output_tokens": 9,
    "cache_read_input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "service_tier": "standard",
    "iterations": [
        {"type": "message", "input_tokens": 12, "output_tokens": 5},
        {
            "type": "advisor_message",
            "model": "claude-opus-4-8",
            "input_tokens": 800,
            "output_tokens": 70,
        },
        {"type": "message", "input_tokens": 8, "output_tokens": 4},
    ],
}
COMPACTED = {
    **ITERATED,
    "iterations": [
        {"type": "compaction", "input_tokens": 55000, "output_tokens": 300},
        {"type": "message", "input_tokens": 20, "output_tokens": 9},
    ],
}
TEXT = [{"type": "text", "text": "The plan."}]


def iterated(usage: Mapping[str, Any]) -> Any:
    def script(standin: StandIn) -> None:
        standin.reply({**_message("claude-haiku-4-5-20251001", TEXT), "usage": usage})

    return script


def _stream(usage: Mapping[str, Any], delta: Mapping[str, Any], text: str = "Plan") -> str:
    start = {**_message("claude-haiku-4-5-20251001", []), "stop_reason": None}
    start["usage"] = {"input_tokens": 12, "output_tokens": 1}
    block = {"type": "text", "text": ""}
    said = [
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
    ]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        *(said if text else ()),
        {"type": "message_delta", "delta": {"stop_sequence": None, **delta}, "usage": usage},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)


def iterated_stream(usage: Mapping[str, Any]) -> Any:
    def script(standin: StandIn) -> None:
        standin.reply(_stream(usage, {"stop_reason": "end_turn"}), chunks=40)

    return script


REFUSED = {"input_tokens": 12, "output_tokens": 7}
DETAILS = {
    "type": "refusal",
    "category": "cyber",
    "fallback_credit_token": "token",
    "fallback_has_prefill_claim": True,
}


def refuses_in_the_middle(standin: StandIn) -> None:
    """After some output, with a token for whoever is asked next."""
    said = _stream(REFUSED, {"stop_reason": "refusal", "stop_details": DETAILS})
    standin.reply(said, chunks=40)


def refuses_at_once(standin: StandIn) -> None:
    """Before any output: this is not billed."""
    standin.reply(_stream(REFUSED, {"stop_reason": "refusal"}, text=""), chunks=40)


def refused(status: int) -> Mapping[str, Any]:
    return {**FAILED, "error_type": str(status), "http_status": status}


HAIKU = "claude-haiku-4-5-20251001"
_OF_ONE = {"response_id": "msg_1"}
ADVISED = (
    {**_OF_ONE, "tier": "standard", "entry": "message", "usage": {"input": 12, "output": 5}, "response_model": HAIKU},
    {**_OF_ONE, "tier": "standard", "entry": "advisor_message", "usage": {"input": 800, "output": 70}, "response_model": "claude-opus-4-8"},
    {**_OF_ONE, "tier": "standard", "entry": "message", "usage": {"input": 8, "output": 4}, "response_model": HAIKU},
)  # fmt: skip
SQUEEZED = (
    {**_OF_ONE, "tier": "standard", "entry": "compaction", "usage": {"input": 55000, "output": 300}, "response_model": HAIKU},
    {**_OF_ONE, "tier": "standard", "entry": "message", "usage": {"input": 20, "output": 9}, "response_model": HAIKU},
)  # fmt: skip

LEFT = {"status": "aborted"}
"""The middleware leaves the stream of a refusal as soon as it knows, with the final numbers."""

SERVED = {
    "tier": "standard",
    "request.model": "claude-opus-4-8",
    "response_model": "claude-opus-4-8",
}

AIOHTTP = ("anthropic.DefaultAioHttpClient", "aiohttp")
THINKS = ("anthropic:messages.create(thinking)",)
MIDDLEWARE = ("anthropic.Middleware",)
FALLBACK = ("anthropic.lib.middleware.BetaRefusalFallbackMiddleware",)

bedrock = partial(messages, provider="aws.bedrock", asked=BEDROCK)
vertex = partial(messages, provider="gcp.vertex_ai", asked=VERTEX)
foundry = partial(messages, provider="azure.ai.inference")
failed = partial(messages, bills=0)

SHAPES = [
    messages(id="messages create", run=create),
    messages(id="messages create, gzip", run=create, script=gzip),
    messages(id="messages create, caches and thinking", run=partial(create, **THINKING), needs=THINKS, script=cached),
    messages(id="messages create, web search", run=create, script=searched),
    messages(id="messages create, tool use", run=partial(create, tools=TOOLS)),
    messages(id="messages, three turns with tools", run=turns, records=3),
    messages(id="messages parse", run=parse, needs=("anthropic:messages.parse",)),
    messages(id="messages stream", run=partial(create, stream=True), stream=True),
    messages(id="messages stream, gzip", run=partial(create, stream=True), script=gzip, stream=True),
    messages(id="messages stream, small writes", run=partial(create, stream=True), script=split, stream=True),
    messages(id="messages stream, caches and thinking", run=partial(create, stream=True, **THINKING), needs=THINKS, script=cached, stream=True),
    messages(id="messages stream, tool use", run=partial(create, stream=True, tools=TOOLS), stream=True),
    messages(id="messages stream helper", run=helper, stream=True),
    messages(id="messages stream helper, text", run=helper_text, stream=True),
    messages(id="messages stream helper, final message", run=helper_unread, stream=True),
    messages(id="messages stream helper, parsed", run=partial(helper, output_format=Plan), needs=("anthropic:messages.stream(output_format)",), stream=True),
    messages(id="messages stream helper, tool use", run=partial(helper, tools=TOOLS), stream=True),
    messages(id="messages raw, never parsed", run=partial(raw, parses=0)),
    messages(id="messages raw, parsed once", run=partial(raw, parses=1)),
    messages(id="messages raw, parsed twice", run=partial(raw, parses=2)),
    messages(id="messages raw stream", run=partial(raw, parses=1, stream=True), stream=True),
    *(
        messages(id=f"messages streaming response, {read}", run=partial(streaming_response, read=read))
        for read in ("iter_lines", "iter_text", "iter_bytes", "parse", "json", "text")
    ),
    *(
        messages(id=f"messages streaming response of a stream, {read}", run=partial(streaming_response, read=read, stream=True), stream=True)
        for read in ("iter_lines", "iter_bytes", "parse")
    ),
    messages(id="messages post", run=post),
    messages(id="messages create, aiohttp", run=partial(aiohttp, stream=False), needs=AIOHTTP, modes=("async",)),
    messages(id="messages stream, aiohttp", run=partial(aiohttp, stream=True), needs=AIOHTTP, stream=True, modes=("async",)),
    messages(id="beta messages create", run=beta_create, needs=("anthropic:beta.messages.create",)),
    messages(id="beta messages parse", run=beta_parse, needs=("anthropic:beta.messages.parse",)),
    messages(id="beta messages stream", run=partial(beta_create, stream=True), needs=("anthropic:beta.messages.create",), stream=True),
    messages(id="beta messages stream helper", run=partial(helper, beta=True), needs=("anthropic:beta.messages.stream",), stream=True),
    messages(id="tool runner", run=tool_runner, needs=("anthropic:beta.messages.tool_runner",), records=3),
    messages(id="tool runner, until done", run=tool_runner_done, needs=("anthropic:beta.messages.tool_runner",), records=3),
    messages(id="tool runner, streamed", run=partial(tool_runner, stream=True), needs=("anthropic:beta.messages.tool_runner",), records=3, stream=True),
    messages(id="tool runner without a thread", run=partial(tool_runner, thread=False), needs=("anthropic:beta.messages.tool_runner(thread)",), records=3),
    messages(id="iterations with an advisor", run=create, script=iterated(ITERATED), records=3, bills=0, told=ADVISED),
    messages(id="iterations with a compaction", run=create, script=iterated(COMPACTED), records=2, bills=0, told=SQUEEZED),
    messages(id="iterations with an advisor, stream", run=partial(create, stream=True), script=iterated_stream(ITERATED), records=3, bills=0, told=ADVISED, stream=True),
    messages(id="iterations with a compaction, stream", run=partial(create, stream=True), script=iterated_stream(COMPACTED), records=2, bills=0, told=SQUEEZED, stream=True),
    messages(id="refusal after some output", run=create, script=refuses, told={"finish_reasons": ("refusal",)}),
    messages(id="refusal before any output", run=create, script=says_nothing, bills=0, told={"usage": None, "usage_source": "missing", "cost.status": "not_billed", "response_model": HAIKU}),
    messages(id="middleware that watches", run=partial(with_middleware, kind=Watching), needs=MIDDLEWARE),
    messages(id="middleware that parses", run=partial(with_middleware, kind=Parsing), needs=MIDDLEWARE),
    messages(id="middleware that watches a stream", run=partial(with_middleware, kind=Watching, stream=True), needs=MIDDLEWARE, stream=True),
    messages(id="refusal and fallback", run=fallback, needs=FALLBACK, script=refuses_first, records=2, told=({"request.model": "claude-haiku-4-5"}, {"request.model": "claude-opus-4-8"})),
    messages(id="refusal and fallback, stream", run=partial(fallback, stream=True), needs=FALLBACK, script=refuses_in_the_middle, records=2, bills=1, stream=True, told=({**_OF_ONE, **LEFT, "usage": {"input": 12, "output": 7}, "finish_reasons": ("refusal",)}, SERVED)),
    messages(id="refusal at once and fallback, stream", run=partial(fallback, stream=True), needs=FALLBACK, script=refuses_at_once, records=2, bills=1, stream=True, told=({**_OF_ONE, **LEFT, "usage": None, "usage_source": "missing", "cost.status": "not_billed"}, SERVED)),
    free(id="messages count_tokens", run=count_tokens, needs=("anthropic:messages.count_tokens",)),
    free(id="anthropic models", run=models, needs=("anthropic:models.list",)),
    bedrock(id="bedrock create", run=bedrock_create, needs=("bedrock:messages.create",)),
    bedrock(id="bedrock stream", run=partial(bedrock_create, stream=True), needs=("bedrock:messages.create",), stream=True),
    bedrock(id="bedrock stream, small writes", run=partial(bedrock_create, stream=True), needs=("bedrock:messages.create",), script=split, stream=True),
    bedrock(id="bedrock stream helper", run=bedrock_helper, needs=("bedrock:messages.create",), stream=True),
    bedrock(id="bedrock beta create", run=partial(bedrock_create, beta=True), needs=("bedrock:beta.messages.create",)),
    bedrock(id="bedrock beta stream", run=partial(bedrock_create, beta=True, stream=True), needs=("bedrock:beta.messages.create",), stream=True),
    vertex(id="vertex claude create", run=vertex_create, needs=("vertex:messages.create",), told={"region": "us-east5"}),
    vertex(id="vertex claude stream", run=partial(vertex_create, stream=True), needs=("vertex:messages.create",), stream=True, told={"region": "us-east5"}),
    vertex(id="vertex claude stream helper", run=vertex_helper, needs=("vertex:messages.create",), stream=True),
    vertex(id="vertex claude beta create", run=partial(vertex_create, beta=True), needs=("vertex:beta.messages.create",)),
    foundry(id="foundry create", run=foundry_create, needs=("foundry:messages.create",)),
    foundry(id="foundry stream", run=partial(foundry_create, stream=True), needs=("foundry:messages.create",), stream=True),
    free(id="vertex claude count_tokens", run=vertex_count, needs=("vertex:messages.count_tokens",)),
    failed(id="messages, 400", run=partial(with_retries, retries=2), script=failing(400), raises="BadRequestError", told=refused(400)),
    failed(id="messages, 401", run=partial(with_retries, retries=2), script=failing(401), raises="AuthenticationError", told=refused(401)),
    failed(id="messages, 404", run=partial(with_retries, retries=2), script=failing(404), raises="NotFoundError", told=refused(404)),
    failed(id="messages, 500 thrice", run=partial(with_retries, retries=2), script=failing(500, 3), raises="InternalServerError", told=refused(500)),
    failed(id="messages, overloaded", run=partial(with_retries, retries=0), script=failing(529), raises="APIStatusError", told=refused(529)),
    failed(id="messages stream, 400", run=stream_with, script=failing(400), raises="BadRequestError", told=refused(400), stream=True),
    failed(id="messages stream helper, 429", run=helper_failing, script=failing(429), raises="RateLimitError", told=refused(429), stream=True),
    failed(id="messages, too slow", run=partial(with_retries, retries=0, timeout=anthropic.Timeout(30, read=0.2)), script=late, raises="APITimeoutError", told={**FAILED, "error_type": "APITimeoutError", "cost.status": "unpriced"}),
    messages(id="messages, overloaded and then well", run=partial(with_retries, retries=2), script=failing(529)),
    messages(id="messages, 500 twice and then well", run=partial(with_retries, retries=2), script=failing(500, 2)),
    messages(id="messages stream, overloaded and then well", run=partial(stream_with, retries=2), script=failing(529), stream=True),
]  # fmt: skip
