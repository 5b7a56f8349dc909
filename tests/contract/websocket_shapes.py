"""Websockets: OpenAI's realtime sessions, responses and live sessions, and Gemini's Live API."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from unittest.mock import ANY

from otel_llm_usage.standin import StandIn
from otel_llm_usage.standin.conversations import (
    LIVE_USAGE,
    TEXT_USAGE,
    Gemini,
    Live,
    OpenAI,
    Realtime,
    Responses,
)
from otel_llm_usage.standin.websockets import Peer

from .kit import Caller, Shape, block, done, each
from .needs import has
from .tls import encrypted

MODEL = "gpt-realtime"
GEMINI = "gemini-live-2.5-flash"
MANY = {
    "input": 11,
    "input_audio": 120,
    "input_image": 7,
    "cache_read": 5,
    "cache_read_audio": 64,
    "cache_read_image": 3,
    "output": 9,
    "output_audio": 77,
}
"""Every kind of token that a realtime session tells apart."""


@asynccontextmanager
async def opened(manager: Any) -> AsyncIterator[Any]:
    """A connection of either kind."""
    with warnings.catch_warnings():
        # the SDK opens it in a way that the newest `websockets` calls old
        warnings.filterwarnings("ignore", r"connect\(\) must be used", DeprecationWarning)
        async with block(manager) as connection:
            yield connection


def client(caller: Caller, **options: Any) -> Any:
    """Older versions do not find the websocket's URL by themselves."""
    url = f"ws{caller.url.removeprefix('http')}/v1"
    return caller.openai(websocket_base_url=url, **options)


async def until(connection: Any, *kinds: str) -> list[Any]:
    """All events up to the last of these."""
    left, events = list(kinds), []
    async for event in each(connection):
        events.append(event)
        if event.type in left:
            left.remove(event.type)
            if not left:
                break
    return events


async def realtime(caller: Caller, *kinds: str) -> Any:
    """Ask once, and iterate until all of these events have come."""
    async with opened(client(caller).realtime.connect(model=MODEL)) as connection:
        await done(connection.response.create())
        return await until(connection, *kinds or ("response.done",))


async def realtime_bytes(caller: Caller) -> Any:
    """The messages as they are, and each parsed twice."""
    async with opened(client(caller).realtime.connect(model=MODEL)) as connection:
        await done(connection.response.create())
        received = []
        while not received or b'"response.done"' not in received[-1][0]:
            raw = await done(connection.recv_bytes())
            received.append((raw, connection.parse_event(raw), connection.parse_event(raw)))
        return received


async def realtime_recv(caller: Caller) -> Any:
    """One event after the other; the connection is opened and closed by hand."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"connect\(\) must be used", DeprecationWarning)
        connection = await done(client(caller).realtime.connect(model=MODEL).enter())
    await done(connection.response.create())
    received = [await done(connection.recv()) for _ in range(7)]
    return received, await done(connection.close(code=1000, reason="done"))


async def realtime_dispatched(caller: Caller) -> Any:
    """Handlers are called until the server hangs up."""
    received: list[Any] = []
    async with opened(client(caller).realtime.connect(model=MODEL)) as connection:
        connection.on("response.done", received.append)
        connection.on("event", lambda event: received.append(event.type))
        await done(connection.response.create())
        await done(connection.dispatch_events())
    return received


async def realtime_by_http_url(caller: Caller) -> Any:
    """The newest versions find the websocket's URL by themselves."""
    async with opened(caller.openai().realtime.connect(model=MODEL)) as connection:
        await done(connection.response.create())
        return await until(connection, "response.done")


async def realtime_many(caller: Caller) -> Any:
    """Three responses on one connection."""
    received = []
    async with opened(client(caller).realtime.connect(model=MODEL)) as connection:
        for _ in range(3):
            await done(connection.response.create())
            received += await until(connection, "response.done")
    return received


async def realtime_broken(caller: Caller) -> Any:
    """The connection ends in the middle of a response."""
    received: list[Any] = []
    async with opened(client(caller).realtime.connect(model=MODEL)) as connection:
        await done(connection.response.create())
        try:
            while True:
                received.append(await done(connection.recv()))
        except Exception as error:
            received.append((type(error).__name__, type(error.__cause__).__name__))
    return received


async def realtime_left(caller: Caller) -> Any:
    """The caller has heard enough."""
    async with opened(client(caller).realtime.connect(model=MODEL)) as connection:
        await done(connection.response.create())
        return await until(connection, "response.output_audio.delta")


async def realtime_azure(caller: Caller) -> Any:
    """A deployment on Azure."""
    url = f"ws{caller.url.removeprefix('http')}/openai"
    azure = caller.azure(websocket_base_url=url)
    async with opened(azure.realtime.connect(model="prod")) as connection:
        await done(connection.response.create())
        return await until(connection, "response.done")


async def realtime_beta(caller: Caller) -> Any:
    """The beta's events and objects."""
    async with opened(client(caller).beta.realtime.connect(model=MODEL)) as connection:
        await done(connection.response.create())
        return await until(
            connection,
            "conversation.item.input_audio_transcription.completed",
            "response.done",
        )


async def translations(caller: Caller) -> Any:
    """A session that translates, closed by both."""
    asked = client(caller).realtime.translations.connect(model="gpt-realtime-translate")
    async with opened(asked) as connection:
        events = await until(connection, "session.created")
        await done(connection.send({"type": "session.close"}))
        return events + await until(connection, "session.closed")


async def responses(caller: Caller, *, beta: bool = False, asks: int = 1, ends: int = 0) -> Any:
    """Ask so often; read until so many have ended."""
    place = client(caller).beta.responses if beta else client(caller).responses
    received = []
    async with opened(place.connect()) as connection:
        for _ in range(asks):
            await done(connection.response.create(model="gpt-4.1-mini", input="hello"))
        last = ("response.completed", "response.incomplete", "response.failed")
        while (ends or asks) > sum(event.type in last for event in received):
            received.append(await done(connection.recv()))
    return received


async def live(caller: Caller, *, how: str = "") -> Any:
    """A live session, a fork of one, or a view of one, from its start to its end."""
    place = client(caller).live
    asked = getattr(place, how).connect(session_id="lsess_old") if how else place.connect()
    async with opened(asked) as connection:
        if how != "sideband":
            session = {} if how else {"model": "gpt-live-1"}
            await done(connection.send({"type": "session.start", "session": session}))
        return await until(connection, "session.closed")


async def gemini(caller: Caller, *, turns: int = 1, messages: int = 0, **options: Any) -> Any:
    """Send something, and receive so many turns, or so many messages."""
    received: list[Any] = []
    with encrypted(caller.standin) as url:
        asked = caller.gemini(http_options={"base_url": url}, **options)
        config = {"response_modalities": ["AUDIO"], "tools": [{"google_search": {}}]}
        async with asked.live.connect(model=GEMINI, config=config) as session:
            await session.send_client_content(
                turns={"role": "user", "parts": [{"text": "hello"}]}, turn_complete=True
            )
            for _ in range(turns):
                async for message in session.receive():
                    received.append(message)
                    if len(received) == messages:
                        break
    return received


async def gemini_broken(caller: Caller) -> Any:
    """The connection ends in the middle of a turn."""
    received: list[Any] = []
    with encrypted(caller.standin) as url:
        asked = caller.gemini(http_options={"base_url": url})
        async with asked.live.connect(model=GEMINI) as session:
            await session.send_realtime_input(text="hello")
            try:
                async for message in session.receive():
                    received.append(message)
            except Exception as error:
                received.append(error)
    return received


Play = Callable[[Any], Awaitable[Any]]


def play(make: Callable[[Peer], Any], *acts: Play, heard: bool = True) -> Callable[[StandIn], None]:
    """A script: it opens, hears one message, and does one thing after the other."""

    async def script(peer: Peer) -> None:
        said = make(peer)
        if isinstance(said, Realtime | Gemini):
            await said.open()
        if heard:
            await peer.hear()
        for act in acts:
            await act(said)
        try:
            await asyncio.wait_for(peer.gone.wait(), 60)
        except TimeoutError:
            peer.cut()  # who waits for more shall fail, not hang

    return lambda standin: standin.talk(script)


async def _lanes(said: Responses) -> None:
    await said.peer.hear()
    one, two = await said.begin("one"), await said.begin("two")
    await said.end(two, {"input": 2, "output": 22}, "two")
    await said.end(one, {"input": 1, "output": 11}, "one")


async def _cut(said: Realtime) -> None:
    id = await said.begin()
    said.bill("realtime", {"input": 3}, id=id, reported=False, ending="cut")
    said.peer.cut()


async def _hung_up(said: Realtime) -> None:
    id = await said.begin()
    said.bill("realtime", {"input": 3}, id=id, reported=False, ending="error")
    said.peer.close(1011, "internal error")


async def _left(said: Realtime) -> None:
    # billed first: the caller leaves at the first piece, and nothing can be sent after that
    id = said.peer.name("resp")
    said.bill("realtime", {"input": 3}, id=id, reported=False, ending="left")
    await said.begin(id)


async def _translates(said: OpenAI) -> None:
    session = {"id": said.peer.name("sess"), "type": "translation", "model": said.model}
    about = {**session, "audio": {}, "expires_at": 1}
    await said.event("session.created", session=about)
    await said.peer.hear()
    said.bill("realtime.translation", {}, id=session["id"], reported=False)
    await said.event("session.closed")


async def _delegates(said: Live) -> None:
    await said.open()
    await said.told(1.5)
    await said.delegate()
    await said.told(7.5)
    await said.decide()
    await said.end(12.5)


async def _whole(said: Live) -> None:
    await said.open()
    await said.told(5)
    await said.end(8)


async def _calls_a_tool(said: Gemini) -> None:
    call = {"functionCalls": [{"id": "1", "name": "plan", "args": {}}]}
    said.bill({"input": 20, "output": 6})
    told = said.usage({"input": 20, "output": 6})
    await said.say(toolCall=call, usageMetadata=told)
    await said.turn({"input": 33, "output_audio": 50})


async def _calls_untold(said: Gemini) -> None:
    call = {"functionCalls": [{"id": "1", "name": "plan", "args": {}}]}
    await said.say(toolCall=call)
    await said.turn({"input": 33, "output_audio": 50})


async def _is_interrupted(said: Gemini) -> None:
    usage = {"input": 30, "output_audio": 8}
    await said.say(serverContent=said.content())
    said.bill(usage)
    told = said.usage(usage)
    await said.say(serverContent={"interrupted": True}, usageMetadata=told)
    await said.say(serverContent={"turnComplete": True})


async def _tells_late(said: Gemini) -> None:
    await said.say(serverContent=said.content())
    await said.say(serverContent={"turnComplete": True})
    said.bill(LIVE_USAGE)
    await said.say(usageMetadata=said.usage(LIVE_USAGE))
    await said.turn()


async def _searches(said: Gemini) -> None:
    found = {"webSearchQueries": ["the plan", "for today"]}
    await said.say(serverContent={**said.content(), "groundingMetadata": found})
    units = {"search_grounding_prompts": 1, "search_grounding_queries": 2}
    said.bill(LIVE_USAGE, units=units)
    usage = said.usage(LIVE_USAGE)
    await said.say(serverContent={"turnComplete": True}, usageMetadata=usage)


async def _runs(said: Gemini) -> None:
    kinds = {"input": 9, "input_audio": 80, "input_image": 4, "input_video": 30, "reasoning": 5}
    usage = {**kinds, "input_tool_use": 6, "output": 2, "output_audio": 40}
    await said.turn(usage, running=[{"input": 9, "output": 1}, {"input": 9, "output_audio": 20}])


async def _hangs_up(said: Gemini) -> None:
    usage = {"input": 30, "output_audio": 8}
    await said.say(serverContent=said.content(), usageMetadata=said.usage(usage))
    said.bill(usage, reported=False, ending="error")
    said.peer.close(1011, "internal error")


openai = partial(Shape, provider="openai", stream=True)
session = partial(
    openai, endpoint="realtime", asked=MODEL, run=realtime, needs=("openai:realtime.connect",)
)
answers = partial(
    openai,
    endpoint="responses",
    asked="gpt-4.1-mini-2025-04-14",
    needs=("openai:responses.connect",),
)
lives = partial(
    openai,
    endpoint="live.session",
    operation="generate_content",
    asked="gpt-live-1",
    needs=("openai:live.connect",),
)
UNTOLD: Mapping[str, Any] = {
    "usage": None,
    "usage_source": "missing",
    "cost.status": "unpriced",
}
SECONDS: Mapping[str, Any] = {
    "notes": ("cumulative:audio_seconds",),
    "first chunk": False,
    "usage": {},
}
TURN: Mapping[str, Any] = {
    "response_id": None,
    "response_model": None,
    "first chunk": False,
    "request.server_port": ANY,
    "finish_reasons": ("turn_complete",),
}
turns = partial(
    Shape,
    provider="gcp.gemini",
    operation="generate_content",
    endpoint="live",
    asked=GEMINI,
    stream=True,
    modes=("async",),
    run=gemini,
    told=TURN,
    # before that, a session had one way to send, and was marked as an experiment
    needs=("gemini:live.connect", "google.genai.live.AsyncSession.send_client_content"),
)
BROKEN = (
    "APIError"
    if has(None, "google.genai.live.AsyncSession._receive{raise_error}")
    else "ConnectionClosedError"
)
"""What a broken session raises: before, that of the websockets itself."""
HEARD: Mapping[str, Any] = {
    "request.endpoint": "realtime.transcription",
    "operation": "generate_content",
    "request.model": "gpt-4o-mini-transcribe",
    "response_model": None,
}
VERTEX: Mapping[str, Any] = {"api_key": None, "vertexai": True, "project": "p"}


async def _vertex(caller: Caller) -> Any:
    # it stands on google-auth, which who has only OpenAI's SDK does not have
    from .gemini_shapes import Credentials

    place = {**VERTEX, "location": "us-central1", "credentials": Credentials()}
    return await gemini(caller, **place)


def _says(**told: Any) -> Callable[[Any], Awaitable[Any]]:
    return lambda said: said.respond(**told)


def _hears(*usage: Mapping[str, int], **told: Any) -> Callable[[Any], Awaitable[Any]]:
    return lambda said: said.transcribe(*usage, **told)


WORDS = {"input_audio": 50, "output": 9}
FAILED = {"type": "server_error", "code": "rate_limit_exceeded", "message": "no"}
BOTH = ("conversation.item.input_audio_transcription.completed", "response.done")

SHAPES: list[Shape] = [
    session(id="realtime-events"),
    session(id="realtime-bytes", run=realtime_bytes),
    session(id="realtime-recv", run=realtime_recv),
    session(
        id="realtime-by-http-url",
        run=realtime_by_http_url,
        # before, what began as HTTP went on over TLS
        needs=(
            "openai.resources.realtime.realtime.RealtimeConnectionManager._prepare_url{scheme}",
        ),
    ),
    session(
        id="realtime-dispatched",
        run=realtime_dispatched,
        script=play(Realtime, _says(), lambda said: _closed(said)),
        needs=("openai.resources.realtime.realtime.RealtimeConnection.dispatch_events",),
    ),
    session(id="realtime-many", run=realtime_many, records=3),
    session(id="realtime-every-kind", script=play(Realtime, _says(usage=MANY))),
    session(
        id="realtime-cancelled",
        script=play(Realtime, _says(status="cancelled", reason="turn_detected")),
        told={"finish_reasons": ("turn_detected",)},
    ),
    session(
        id="realtime-incomplete",
        script=play(Realtime, _says(status="incomplete", reason="max_output_tokens")),
        told={"finish_reasons": ("max_output_tokens",)},
    ),
    session(
        id="realtime-failed",
        script=play(Realtime, _says(status="failed", error=FAILED)),
        told={"status": "broken", "error_type": "server_error"},
    ),
    session(
        id="realtime-failed-unbilled",
        script=play(Realtime, _says(usage=None, status="failed", error=FAILED)),
        bills=0,
        told={**UNTOLD, "cost.status": "not_billed", "status": "broken"}
        | {"error_type": "server_error"},
    ),
    session(
        id="realtime-transcribed",
        run=partial(realtime_kinds := lambda caller: realtime(caller, *BOTH)),
        script=play(Realtime, _hears(WORDS), _says()),
        records=2,
        told=(HEARD, {}),
    ),
    session(
        id="realtime-transcribed-by-the-second",
        run=realtime_kinds,
        script=play(
            partial(Realtime, transcriber="whisper-1"), _says(), _hears(seconds=3.5, pieces=0)
        ),
        records=2,
        told=({}, {**HEARD, "request.model": "whisper-1", "usage": {}, "first chunk": False}),
    ),
    session(
        id="realtime-azure",
        run=realtime_azure,
        provider="azure.ai.openai",
        asked="prod",
        script=play(Realtime, _says()),
    ),
    session(
        id="realtime-beta",
        run=realtime_beta,
        script=play(partial(Realtime, beta=True), _says(), _hears(WORDS)),
        records=2,
        told=({}, HEARD),
        needs=("openai:beta.realtime.connect",),
    ),
    session(
        id="realtime-cut",
        run=realtime_broken,
        script=play(Realtime, _cut),
        told={**UNTOLD, "status": "broken", "error_type": "ConnectionClosedError"},
    ),
    session(
        id="realtime-hung-up",
        run=realtime_broken,
        script=play(Realtime, _hung_up),
        told={**UNTOLD, "status": "broken", "error_type": "ConnectionClosedError"},
    ),
    session(
        id="realtime-left",
        run=realtime_left,
        script=play(Realtime, _left),
        told={**UNTOLD, "status": "aborted"},
    ),
    openai(
        id="realtime-translations",
        endpoint="realtime.translation",
        operation="generate_content",
        asked="gpt-realtime-translate",
        run=translations,
        script=play(partial(OpenAI, model="gpt-realtime-translate"), _translates, heard=False),
        told={**UNTOLD, "first chunk": False},
        needs=("openai:realtime.translations.connect",),
    ),
    answers(
        id="responses-websocket",
        run=responses,
        script=play(Responses, _says()),
    ),
    answers(
        id="responses-websocket-many",
        run=partial(responses, asks=1, ends=3),
        script=play(Responses, _says(), _says(usage=TEXT_USAGE), _says(usage={"input": 1})),
        records=3,
    ),
    answers(
        id="responses-websocket-lanes",
        run=partial(responses, asks=2),
        script=play(Responses, _lanes),
        records=2,
    ),
    answers(
        id="responses-websocket-incomplete",
        run=responses,
        script=play(
            Responses,
            _says(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        ),
        told={"finish_reasons": ("max_output_tokens",)},
    ),
    answers(
        id="responses-websocket-failed",
        run=responses,
        script=play(
            Responses, _says(status="failed", error={"code": "server_error", "message": "no"})
        ),
        told={"status": "broken", "error_type": "server_error"},
    ),
    answers(
        id="responses-websocket-beta",
        run=partial(responses, beta=True),
        script=play(Responses, _says()),
        needs=("openai:beta.responses.connect",),
    ),
    lives(
        id="live",
        run=live,
        script=play(Live, _delegates),
        records=3,
        told=(
            {
                "request.endpoint": "responses",
                "operation": "chat",
                "request.model": "gpt-4.1-mini",
                "tier": "standard",
            },
            {
                "request.endpoint": "decisions",
                "request.model": "gpt-4.1-mini",
                "request.stream": False,
                "first chunk": False,
            },
            SECONDS,
        ),
    ),
    lives(
        id="live-fork",
        run=partial(live, how="forks"),
        script=play(Live, _whole),
        told=SECONDS,
        needs=("openai:live.forks.connect",),
    ),
    lives(
        id="live-sideband",
        run=partial(live, how="sideband"),
        script=play(Live, _whole, heard=False),
        told=SECONDS,
        needs=("openai:live.sideband.connect",),
    ),
    turns(id="gemini-live"),
    turns(
        id="gemini-live-turns",
        run=partial(gemini, turns=2),
        script=play(Gemini, Gemini.turn, lambda said: said.turn({"input": 99, "output": 1})),
        records=2,
    ),
    turns(id="gemini-live-running", script=play(Gemini, _runs)),
    turns(
        id="gemini-live-tool-call",
        script=play(Gemini, _calls_a_tool),
        records=2,
        told=({**TURN, "finish_reasons": ("tool_call",)}, TURN),
    ),
    turns(id="gemini-live-tool-call-untold", script=play(Gemini, _calls_untold)),
    turns(
        id="gemini-live-interrupted",
        script=play(Gemini, _is_interrupted),
        told={**TURN, "finish_reasons": ("interrupted", "turn_complete")},
    ),
    turns(
        id="gemini-live-told-late",
        run=partial(gemini, turns=2),
        script=play(Gemini, _tells_late),
        records=2,
    ),
    turns(id="gemini-live-searches", script=play(Gemini, _searches)),
    turns(
        id="gemini-live-vertex",
        run=_vertex,
        provider="gcp.vertex_ai",
        told={**TURN, "region": "us-central1"},
    ),
    turns(
        id="gemini-live-hung-up",
        run=gemini_broken,
        script=play(Gemini, _hangs_up),
        told={
            **TURN,
            "status": "broken",
            "error_type": BROKEN,
            "usage_source": "partial",
            "finish_reasons": (),
        },
    ),
]


async def _closed(said: OpenAI) -> None:
    said.peer.close(1000, "bye")
