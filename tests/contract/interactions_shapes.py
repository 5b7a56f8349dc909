"""Google's interactions, whole and streamed, over several hops and in the background; decisions; voices."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from otel_llm_usage.standin import Answer, StandIn
from otel_llm_usage.standin.answers import ABSENT

from .gemini_shapes import PATIENT, failing, gzip, refused, vertex
from .kit import FAILED, Caller, Shape, block, done, every, joined
from .needs import optional

MODEL = "gemini-2.5-flash"
ASK = "What is the plan for today?"
TOOL: Mapping[str, Any] = {
    "type": "function",
    "name": "look_up",
    "description": "Look a topic up.",
    "parameters": {"type": "object", "properties": {"topic": {"type": "string"}}},
}
PICTURE: Mapping[str, Any] = {"type": "image", "data": "iVBORw0KGgo=", "mime_type": "image/png"}
RETRIES = ("google.genai._gaos.google_genai._translate_retry_config",)
"""Before, the options for retries were no affair of interactions; then three attempts were four."""
ONCE: Mapping[str, Any] = {"retry_options": {"attempts": 1}}

_shape = partial(Shape, provider="gcp.gemini", operation="generate_content", asked=MODEL)
interaction = partial(
    _shape,
    endpoint="interactions",
    told={"tier": "standard"},
    needs=("gemini:interactions.create",),
)
decision = partial(
    _shape,
    endpoint="decisions.create",
    told={"response_id": None, "response_model": None, "tier": "standard"},
    needs=("gemini:decisions.create",),
)
voice = partial(_shape, endpoint="voices.create", needs=("gemini:voices.create",))
raw_access = partial(
    interaction, needs=("gemini:interactions.with_raw_response", "google.genai._gaos.basesdk")
)
hops = partial(interaction, bills=0, needs=("google.genai._interactions_continuation",))
failed = partial(interaction, bills=0)
free = partial(_shape, endpoint="none", asked=None, records=0, bills=0)


async def create(call: Caller, http: Any = None, **more: Any) -> Any:
    client = call.gemini(http_options=http or {})
    who = {} if "agent" in more else {"model": MODEL}
    return await done(client.interactions.create(**{**who, "input": ASK, **more}))


async def stream(call: Caller, http: Any = None, **more: Any) -> Any:
    made = await create(call, http, stream=True, **more)
    return [await every(made), type(made).__name__, type(getattr(made, "generator", made)).__name__]


async def two_turns(call: Caller, streamed: bool) -> Any:
    """The second remembers the first by its id."""
    client = call.gemini()
    first = await done(client.interactions.create(model=MODEL, input=ASK))
    asked = {"model": MODEL, "input": "And tomorrow?", "previous_interaction_id": first.id}
    if streamed:
        return [first, await every(client.interactions.create(**asked, stream=True))]
    return [first, await done(client.interactions.create(**asked))]


async def tools(call: Caller) -> Any:
    """A function is called until the model has enough."""
    client = call.gemini()
    answers = [await done(client.interactions.create(model=MODEL, input=ASK, tools=[TOOL]))]
    while answers[-1].status == "requires_action":
        # versions that do not know a step give it as it came
        steps = [step if isinstance(step, dict) else vars(step) for step in answers[-1].steps]
        results = [
            {
                "type": "function_result",
                "call_id": one["id"],
                "name": one["name"],
                "result": "sunny",
            }
            for one in steps
            if one["type"] == "function_call"
        ]
        asked = {"previous_interaction_id": answers[-1].id, "input": results, "tools": [TOOL]}
        answers.append(await done(client.interactions.create(model=MODEL, **asked)))
    return answers


async def raw(call: Caller, **more: Any) -> Any:
    made = call.gemini().interactions.with_raw_response
    response = await done(made.create(model=MODEL, input=ASK, **more))
    return [response.status_code, await done(response.text()), await done(response.parse())]


async def streamed_response(call: Caller, read: str, **more: Any) -> Any:
    """The response as it comes in, without an object made of it."""
    made = call.gemini().interactions.with_streaming_response
    async with block(made.create(model=MODEL, input=ASK, **more)) as response:
        return joined(await every(getattr(response, read)()), read)


async def looked_at(call: Caller) -> Any:
    """Whoever looks at a finished one again pays nothing."""
    client = call.gemini()
    first = await done(client.interactions.create(model=MODEL, input=ASK))
    return [first, await done(client.interactions.get(first.id))]


async def background(call: Caller, **more: Any) -> Any:
    """It says that it is still going on, and then that it has ended, as often as somebody looks."""
    client = call.gemini()
    asked = {**({} if "agent" in more else {"model": MODEL}), "input": ASK, **more}
    begun = await done(client.interactions.create(**asked, background=True))
    return [begun, *[await done(client.interactions.get(begun.id)) for _ in range(3)]]


async def cancelled(call: Caller) -> Any:
    client = call.gemini()
    begun = await done(client.interactions.create(model=MODEL, input=ASK, background=True))
    ended = await done(client.interactions.cancel(begun.id))
    return [begun, ended, await done(client.interactions.get(begun.id))]


async def watched(call: Caller) -> Any:
    """Begun and read in one stream."""
    client = call.gemini()
    asked = {"model": MODEL, "input": ASK, "background": True}
    events = await every(client.interactions.create(**asked, stream=True))
    return [events, await done(client.interactions.get(events[0].interaction.id))]


async def left(call: Caller) -> Any:
    """Its stream is left; who looks later sees its end, in a stream, too."""
    client = call.gemini()
    asked = {"model": MODEL, "input": ASK, "background": True}
    stream = await done(client.interactions.create(**asked, stream=True))
    begun = await anext(stream) if call.is_async else next(stream)
    await done(stream.close())
    again = client.interactions.get(begun.interaction.id, stream=True)
    return [begun, await every(again), await done(client.interactions.get(begun.interaction.id))]


async def decide(call: Caller, http: Any = None) -> Any:
    questions = {
        "urgent": {"type": "noul", "instructions": "Is it urgent?"},
        "kind": {"type": "choice", "instructions": "Which?", "criteria": {"bug": "", "wish": ""}},
    }
    client = call.gemini(http_options=http or {})
    asked = {"model": f"models/{MODEL}", "input": ASK, "questions": questions}
    return await done(client.decisions.create(**asked))


async def make_voice(call: Caller, **more: Any) -> Any:
    asked = {"type": "prompted", "prompted": {"input": "A deep voice."}, **more}
    return await done(call.gemini().voices.create(voice=asked, store=True))


async def list_voices(call: Caller) -> Any:
    return await done(call.gemini().voices.list())


async def own_httpx(call: Caller, streamed: bool) -> Any:
    httpx2 = optional("httpx2")
    kind, place = (
        (httpx2.AsyncClient, "httpx_async_client")
        if call.is_async
        else (httpx2.Client, "httpx_client")
    )
    client = kind()
    try:
        answered = await (stream if streamed else create)(call, {place: client})
    finally:
        await done(client.aclose() if call.is_async else client.close())
    return answered


async def on_vertex(call: Caller, streamed: bool) -> Any:
    client = vertex(call)
    made = client.interactions.create(model=MODEL, input=ASK, stream=streamed)
    return await every(made) if streamed else await done(made)


# how the provider behaves


def split(standin: StandIn) -> None:
    standin.script(split=7)


def cached(standin: StandIn) -> None:
    usage = {"input": 90, "cache_read": 910, "input_tool_use": 12, "output": 30, "reasoning": 70}
    standin.script(Answer(usage=usage, text="The plan is this."))


def flexible(standin: StandIn) -> None:
    standin.script(tier="flex")


def unread(standin: StandIn) -> None:
    standin.script(wire_usage=ABSENT)


def late(standin: StandIn) -> None:
    standin.reply({}, delay=1.5)


def blocked(standin: StandIn) -> None:
    """It failed after it had read the prompt."""
    standin.reply(_hop(1, status="failed", usage=FIRST, errors=[{"message": "It is not safe."}]))


FIRST = {"total_input_tokens": 9, "total_output_tokens": 5, "total_tokens": 14}
SECOND = {"total_input_tokens": 14, "total_output_tokens": 7, "total_tokens": 21}
TOLD: Any = (
    {"usage": {"input": 9, "output": 5}, "response_id": "v1_1", "response_model": MODEL},
    {"usage": {"input": 14, "output": 7}, "response_id": "v1_2", "response_model": MODEL},
)


def _hop(number: int, **more: Any) -> dict[str, Any]:
    said = [{"type": "text", "text": f"Part {number}."}]
    return {
        "id": f"v1_{number}",
        "model": MODEL,
        "steps": [{"type": "model_output", "content": said}],
        "created": "2026-11-20T12:00:00Z",
        "updated": "2026-11-20T12:00:00Z",
        **more,
    }


GOES_ON = {"status": "requires_continuation", "continuation_token": "on", "usage": FIRST}
ENDS = {"status": "completed", "usage": SECOND}


def continued(standin: StandIn) -> None:
    standin.reply(_hop(1, **GOES_ON))
    standin.reply(_hop(2, **ENDS))


def continued_stream(standin: StandIn) -> None:
    for number, end in enumerate((GOES_ON, ENDS), 1):
        begun = {**_hop(number), "status": "in_progress"}
        events = [
            {"event_type": "interaction.created", "interaction": begun},
            {"event_type": "interaction.completed", "interaction": _hop(number, **end)},
        ]
        said = "".join(f"event: {one['event_type']}\ndata: {json.dumps(one)}\n\n" for one in events)
        standin.reply(said + "data: [DONE]\n\n", chunks=50)


UNREAD: Mapping[str, Any] = {"usage": None, "usage_source": "missing", "cost.status": "unpriced"}
SPEAKER = "gemini-2.5-flash-preview-tts"
UNKNOWN = "deep-research-pro-preview-12-2025"

SHAPES = [
    interaction(id="interaction", run=create),
    interaction(id="interaction, gzip", run=create, script=gzip),
    interaction(id="interaction, cached, with tools and thoughts", run=create, script=cached),
    interaction(id="interaction, of media", run=partial(create, input=[{"type": "text", "text": ASK}, PICTURE])),
    interaction(id="interaction, with settings", run=partial(create, generation_config={"max_output_tokens": 5}, system_instruction="Be brief.")),
    interaction(id="interaction, flex", run=partial(create, service_tier="flex"), script=flexible, told={"tier": "flex"}, needs=("gemini:interactions.create", "google.genai._gaos.basesdk")),
    interaction(id="interaction, own httpx client", run=partial(own_httpx, streamed=False), needs=("google.genai._gaos.basesdk", "google.genai.types.HttpOptions(httpx_client)", "google.genai._api_client.httpx2", "google.genai._api_client._detect_http_backend")),
    interaction(id="interaction stream, own httpx client", run=partial(own_httpx, streamed=True), stream=True, needs=("google.genai._gaos.basesdk", "google.genai.types.HttpOptions(httpx_client)", "google.genai._api_client.httpx2", "google.genai._api_client._detect_http_backend")),
    interaction(id="interaction stream", run=stream, stream=True),
    interaction(id="interaction stream, gzip", run=stream, script=gzip, stream=True),
    interaction(id="interaction stream, small writes", run=stream, script=split, stream=True),
    interaction(id="interaction stream, cached, with tools and thoughts", run=stream, script=cached, stream=True),
    interaction(id="interaction after another", run=partial(two_turns, streamed=False), records=2),
    interaction(id="interaction after another, streamed", run=partial(two_turns, streamed=True), records=2, told=({"tier": "standard"}, {"tier": "standard", "request.stream": True, "first chunk": True})),
    interaction(id="interaction, functions", run=tools, records=3),
    interaction(id="interaction, looked at again", run=looked_at),
    interaction(id="interaction in the background", run=background),
    interaction(id="interaction of an agent in the background", run=partial(background, agent=UNKNOWN), asked=UNKNOWN, told={"tier": "standard", "cost.status": "unpriced"}),
    interaction(id="interaction in the background, cancelled", run=cancelled),
    interaction(id="interaction in the background, streamed", run=watched, stream=True),
    interaction(id="interaction in the background, its stream left", run=left, told={"tier": "standard", "request.stream": True, "first chunk": True}),
    raw_access(id="interaction, raw response", run=raw),
    raw_access(id="interaction stream, raw response", run=partial(raw, stream=True), stream=True),
    raw_access(id="interaction, streaming response, bytes", run=partial(streamed_response, read="iter_bytes")),
    raw_access(id="interaction stream, streaming response, lines", run=partial(streamed_response, read="iter_lines", stream=True), stream=True),
    hops(id="interaction in two hops", run=create, script=continued, records=2, told=TOLD),
    hops(id="interaction stream in two hops", run=stream, script=continued_stream, records=2, told=TOLD, stream=True),
    interaction(id="interaction, usage not told", run=create, script=unread, told={**UNREAD, "tier": "standard"}),
    interaction(id="interaction of an agent", run=partial(create, agent=UNKNOWN), asked=UNKNOWN, told={"tier": "standard", "cost.status": "unpriced"}),
    failed(id="interaction, failed", run=create, script=blocked, told={**TOLD[0], "status": "error", "error_type": "error"}),
    failed(id="interaction, 400", run=create, script=failing(400), raises="BadRequestError", told=refused(400)),
    failed(id="interaction, 404", run=create, script=failing(404), raises="NotFoundError", told=refused(404)),
    failed(id="interaction stream, 400", run=stream, script=failing(400), raises="BadRequestError", told=refused(400), stream=True),
    failed(id="interaction, 429 thrice", run=partial(create, http=PATIENT), needs=RETRIES, script=failing(429, 4), raises="RateLimitError", told=refused(429)),
    failed(id="interaction stream, 500 thrice", run=partial(stream, http=PATIENT), needs=RETRIES, script=failing(500, 4), raises="InternalServerError", told=refused(500), stream=True),
    interaction(id="interaction, 500 and then well", run=partial(create, http=PATIENT), script=failing(500)),
    interaction(id="interaction, 503 twice and then well", run=partial(create, http=PATIENT), script=failing(503, 2)),
    interaction(id="interaction stream, 503 and then well", run=partial(stream, http=PATIENT), script=failing(503), stream=True),
    failed(id="interaction, too slow", run=partial(create, http={"timeout": 500, **ONCE}), needs=RETRIES, script=late, raises="APITimeoutError", told={**FAILED, "error_type": "APITimeoutError", "cost.status": "unpriced"}, modes=("sync",)),
    decision(id="decisions", run=decide),
    decision(id="decisions, gzip", run=decide, script=gzip),
    decision(id="decisions, 503 and then well", run=partial(decide, http=PATIENT), script=failing(503)),
    decision(id="decisions, 400", run=decide, script=failing(400), raises="BadRequestError", bills=0, told=refused(400)),
    voice(id="voice", run=partial(make_voice, model=SPEAKER), asked=SPEAKER, told={"tier": "standard"}),
    voice(id="voice, model not asked for", run=make_voice, asked=None, told={"response_model": "gemini-voice-unknown", "tier": "standard", "cost.status": "unpriced"}),
    voice(id="voice, 400", run=partial(make_voice, model=MODEL), script=failing(400), raises="BadRequestError", bills=0, told=refused(400)),
    free(id="voices", run=list_voices, needs=("gemini:voices.list",)),
    interaction(id="interaction on vertex", run=partial(on_vertex, streamed=False), provider="gcp.vertex_ai", told={"tier": "standard", "region": "us-central1"}, needs=("google.genai._gaos.basesdk",)),
    interaction(id="interaction stream on vertex", run=partial(on_vertex, streamed=True), provider="gcp.vertex_ai", told={"tier": "standard", "region": "us-central1"}, stream=True, needs=("google.genai._gaos.basesdk",)),
]  # fmt: skip
