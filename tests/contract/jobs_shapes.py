"""Work that goes on at the provider: counted once, when somebody first sees that it has ended."""

import json
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from otel_llm_usage.standin import Answer, StandIn

from .kit import ASK, EPOCH, Caller, Run, Shape, block, done, each, every

ASKED: Mapping[str, Any] = {"model": "gpt-4.1-mini", "input": "What is the plan for today?"}
CLAUDE: Mapping[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": ASK}
CONTENT: Mapping[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "The plan?"}]}]}

LATE = {"duration": None, "tier": "batch", "entry": "batch"}
"""What the records of batches say: nobody waited for them."""

response = partial(
    Shape,
    provider="openai",
    endpoint="responses",
    asked="gpt-4.1-mini",
    needs=("openai:responses.create(background)",),
)
batch = partial(
    Shape,
    provider="openai",
    endpoint="chat.completions",
    asked="gpt-4.1-mini-2025-04-14",
    needs=("openai:batches.create",),
)
run = partial(
    Shape,
    provider="openai",
    endpoint="threads.runs",
    asked="gpt-4.1-mini",
    needs=("openai:beta.threads.runs.create",),
)
results = partial(
    Shape,
    provider="anthropic",
    endpoint="messages",
    asked=None,
    needs=("anthropic:messages.batches.results",),
)
gemini = partial(
    Shape,
    provider="gcp.gemini",
    operation="generate_content",
    endpoint="generate_content",
    asked="gemini-2.5-flash",
    needs=("gemini:batches.get",),
)


def looks(number: int) -> Callable[[StandIn], None]:
    """It takes so many looks that it is still going on."""

    def script(standin: StandIn) -> None:
        standin.jobs.looks = number

    return script


# responses in the background


async def ask(call: Caller, **more: Any) -> tuple[Any, Any]:
    client = call.openai()
    return client, await done(client.responses.create(**ASKED, background=True, **more))


async def polled(call: Caller) -> Any:
    client, queued = await ask(call)
    return [queued, *[await done(client.responses.retrieve(queued.id)) for _ in range(4)]]


async def polled_raw(call: Caller) -> Any:
    client, queued = await ask(call)
    raw = await done(client.responses.with_raw_response.retrieve(queued.id))
    streaming = client.responses.with_streaming_response
    async with block(streaming.retrieve(queued.id)) as held:
        lines = await every(held.iter_lines())
    return [raw.text, lines, await done(client.responses.retrieve(queued.id))]


async def cancelled(call: Caller) -> Any:
    client, queued = await ask(call)
    ended = await done(client.responses.cancel(queued.id))
    return [queued, ended, await done(client.responses.retrieve(queued.id))]


async def read_to_its_end(call: Caller) -> Any:
    client, stream = await ask(call, stream=True)
    events = await every(stream)
    return [events, await done(client.responses.retrieve(events[0].response.id))]


async def cut(call: Caller, after: int) -> tuple[Any, list[Any]]:
    """A stream that the network cuts, or that the caller leaves."""
    client, stream = await ask(call, stream=True)
    events: list[Any] = []
    try:
        async for event in each(stream):
            events.append(event)
            if len(events) == after:
                break
        await done(stream.close())
    except Exception as error:
        events.append(type(error).__name__)
    return client, events


async def cut_and_resumed(call: Caller, after: int = 0) -> Any:
    client, events = await cut(call, after)
    again = partial(client.responses.retrieve, events[0].response.id, stream=True)
    first = await every(again(starting_after=1))
    return [events[0], first, await every(again(starting_after=2))]


async def cut_and_polled(call: Caller, after: int = 0) -> Any:
    client, events = await cut(call, after)
    name = events[0].response.id
    return [events[0], *[await done(client.responses.retrieve(name)) for _ in range(3)]]


def cuts(standin: StandIn) -> None:
    standin.jobs.looks = 1
    standin.script(ending="cut", match="/responses$|/responses[?]$")


ELSEWHERE = "resp_elsewhere"


def made_elsewhere(standin: StandIn) -> None:
    body = {
        "id": ELSEWHERE,
        "object": "response",
        "status": "completed",
        "background": True,
        "created_at": 1,
        "model": "gpt-4.1-mini",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {"input_tokens": 9, "output_tokens": 9, "total_tokens": 18},
    }
    standin.reply(body, match=ELSEWHERE, times=None)


async def retrieved(call: Caller) -> Any:
    return await done(call.openai().responses.retrieve(ELSEWHERE))


async def failed_later(call: Caller) -> Any:
    client, queued = await ask(call)
    return [queued, await done(client.responses.retrieve(queued.id))]


def fails(standin: StandIn) -> None:
    body = {
        "id": "resp_f",
        "object": "response",
        "status": "queued",
        "background": True,
        "created_at": 1,
        "model": "gpt-4.1-mini",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }
    error = {"code": "server_error", "message": "No."}
    standin.reply(body, match="/responses[?]")
    standin.reply({**body, "status": "failed", "error": error}, match="/responses/resp_f")


RESPONSES = [
    response(id="background, polled", run=polled, script=looks(2)),
    response(id="background, polled raw", run=polled_raw, script=looks(1)),
    response(id="background, cancelled", run=cancelled, script=looks(1)),
    response(id="background, streamed to its end", run=read_to_its_end, stream=True),
    response(id="background, stream cut and resumed", run=cut_and_resumed, script=cuts, stream=True),
    response(id="background, stream cut and polled", run=cut_and_polled, script=cuts, stream=True),
    response(id="background, stream left and resumed", run=partial(cut_and_resumed, after=4), script=looks(1), stream=True),
    response(id="background, stream left and polled", run=partial(cut_and_polled, after=4), script=looks(1), stream=True),
    response(id="background, made elsewhere", run=retrieved, script=made_elsewhere, records=0, bills=0),
    response(
        id="background, failed later",
        run=failed_later,
        script=fails,
        bills=0,
        told={
            "status": "error",
            "error_type": "server_error",
            "usage": None,
            "usage_source": "missing",
            "cost.status": "not_billed",
        },
    ),
]  # fmt: skip


# batches of OpenAI


def lines_of(*models: str, url: str = "/v1/chat/completions") -> list[dict[str, Any]]:
    bodies: Mapping[str, Mapping[str, Any]] = {
        "/v1/chat/completions": {"messages": ASK},
        "/v1/responses": {"input": "What is the plan?"},
        "/v1/embeddings": {"input": "What is the plan?", "dimensions": 1500},
    }
    return [
        {
            "custom_id": f"line-{i}",
            "method": "POST",
            "url": url,
            "body": {"model": m, **bodies[url]},
        }
        for i, m in enumerate(models)
    ]


TWO = ("gpt-4.1-mini", "gpt-4.1-mini-429", "gpt-4.1-mini")


async def submitted(
    call: Caller, wanted: str = "", url: str = "/v1/chat/completions", models: Any = TWO
) -> Any:
    client = call.openai()
    written = "\n".join(json.dumps(line) for line in lines_of(*models, url=url))
    file = await done(client.files.create(file=("lines.jsonl", written.encode()), purpose="batch"))
    made = await done(
        client.batches.create(
            input_file_id=file.id,
            endpoint=url,
            completion_window="24h",
            metadata={"standin": wanted},
        )
    )
    return client, made


async def batch_polled(call: Caller) -> Any:
    client, made = await submitted(call)
    return [made, *[await done(client.batches.retrieve(made.id)) for _ in range(4)]]


async def batch_cancelled(call: Caller) -> Any:
    client, made = await submitted(call)
    ended = await done(client.batches.cancel(made.id))
    return [made, ended, await done(client.batches.retrieve(made.id))]


async def batch_lines(call: Caller, **more: Any) -> Any:
    client, made = await submitted(call, "nousage", **more)
    ended = await done(client.batches.retrieve(made.id))
    read = [(await done(client.files.content(ended.output_file_id))).text for _ in range(2)]
    return [made, ended, read, await done(client.batches.retrieve(made.id))]


async def batch_lines_streamed(call: Caller) -> Any:
    client, made = await submitted(call, "nousage")
    ended = await done(client.batches.retrieve(made.id))
    streaming = client.files.with_streaming_response
    read = []
    for _ in range(2):
        async with block(streaming.content(ended.output_file_id)) as held:
            read.append(await every(held.iter_lines()))
    return read


def zipped(standin: StandIn) -> None:
    standin.script(Answer(gzip=True), match="/content", times=None)


def batch_elsewhere(standin: StandIn) -> None:
    asked = {"endpoint": "/v1/chat/completions"}
    made = standin.jobs.openai_batch(lines_of(*TWO), asked, now=EPOCH)
    standin.reply(
        {"object": "list", "data": [{**made, "status": "completed"}]}, match="/batches[?]"
    )


async def batch_found(call: Caller) -> Any:
    client = call.openai()
    page = await done(client.batches.list(limit=1))
    return [page.data, *[await done(client.batches.retrieve(page.data[0].id)) for _ in range(2)]]


BATCHES = [
    batch(id="batch, polled", run=batch_polled, script=looks(2), told=LATE),
    batch(id="batch, cancelled", run=batch_cancelled, script=looks(3), told=LATE),
    batch(id="batch, made elsewhere", run=batch_found, script=batch_elsewhere, told=LATE),
    batch(id="batch, its lines", run=batch_lines, asked=None, records=2, told=LATE),
    batch(id="batch, its lines streamed", run=batch_lines_streamed, asked=None, records=2, told=LATE),
    batch(id="batch, its lines streamed, gzip", run=batch_lines_streamed, script=zipped, asked=None, records=2, told=LATE),
    batch(
        id="batch, lines of responses",
        run=partial(batch_lines, url="/v1/responses"),
        endpoint="responses",
        asked=None,
        records=2,
        told=LATE,
    ),
    batch(
        id="batch, lines of embeddings",
        run=partial(batch_lines, url="/v1/embeddings", models=("text-embedding-3-small",) * 2),
        operation="embeddings",
        endpoint="embeddings",
        asked=None,
        records=2,
        told={**LATE, "response_id": None},
    ),
]  # fmt: skip


# runs of assistants


def deprecated(shape: Run) -> Run:
    """The SDK warns of these APIs."""

    async def program(call: Caller) -> Any:
        warnings.filterwarnings("ignore", "The (?:Assistants|Sora) API is", DeprecationWarning)
        return await shape(call)

    return program


async def run_polled(call: Caller) -> Any:
    runs = call.openai().beta.threads
    made = await done(runs.create_and_run(assistant_id="asst", model="gpt-4.1-mini"))
    seen = [await done(runs.runs.retrieve(made.id, thread_id=made.thread_id)) for _ in range(4)]
    return [made, seen]


async def run_streamed(call: Caller) -> Any:
    threads = call.openai().beta.threads
    thread = await done(threads.create())
    asked = {"assistant_id": "asst", "model": "gpt-4.1-mini", "stream": True}
    events = await every(threads.runs.create(thread.id, **asked))
    return [events, await done(threads.runs.retrieve(events[0].data.id, thread_id=thread.id))]


async def run_with_tool(call: Caller, stream: bool) -> Any:
    runs = call.openai().beta.threads.runs
    asked: dict[str, Any] = {"assistant_id": "asst", "model": "gpt-4.1-mini"}
    asked["metadata"] = {"standin": "tool"}
    if stream:
        events = await every(runs.create("thread_1", **asked, stream=True))
        made = events[-2].data if events[-1].event == "done" else events[-1].data
    else:
        made = await done(runs.create("thread_1", **asked))
    waiting = await done(runs.retrieve(made.id, thread_id="thread_1"))
    outputs = [{"tool_call_id": "call_1", "output": "42"}]
    submit = partial(runs.submit_tool_outputs, made.id, thread_id="thread_1", tool_outputs=outputs)
    if stream:
        return [made, waiting, await every(submit(stream=True))]
    submitted = await done(submit())
    again = [await done(runs.retrieve(made.id, thread_id="thread_1")) for _ in range(2)]
    return [made, waiting, submitted, again]


async def run_cancelled(call: Caller) -> Any:
    runs = call.openai().beta.threads.runs
    made = await done(runs.create("thread_1", assistant_id="asst", model="gpt-4.1-mini"))
    ended = await done(runs.cancel(made.id, thread_id="thread_1"))
    return [made, ended]


async def run_elsewhere(call: Caller) -> Any:
    return await done(call.openai().beta.threads.runs.retrieve("run_x", thread_id="thread_x"))


def runs_elsewhere(standin: StandIn) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    body = {"id": "run_x", "object": "thread.run", "status": "completed", "usage": usage}
    standin.reply(body, match="/runs/run_x")


RUNS = [
    run(id="run, polled", run=deprecated(run_polled), script=looks(2)),
    run(id="run, streamed", run=deprecated(run_streamed), stream=True),
    run(id="run, waits for a tool", run=deprecated(partial(run_with_tool, stream=False)), script=looks(0)),
    run(id="run, waits for a tool, streamed", run=deprecated(partial(run_with_tool, stream=True)), stream=True),
    run(id="run, cancelled", run=deprecated(run_cancelled), script=looks(3)),
    run(id="run, made elsewhere", run=deprecated(run_elsewhere), script=runs_elsewhere, records=0, bills=0),
]  # fmt: skip


# agents that OpenAI runs, and videos


async def turns(call: Caller) -> Any:
    sessions = call.openai().beta.agents.sessions
    made = await done(
        sessions.create(agent={"model": "gpt-4.1-mini"}, environment={"type": "container"})
    )
    listed = [await every(sessions.turns.list(made.id)) for _ in range(2)]
    return [made, listed, await every(sessions.events.stream(made.id))]


async def video(call: Caller) -> Any:
    return await done(call.openai().videos.create(prompt="A film.", seconds="8"))


OTHERS = [
    Shape(
        id="agents session, turns listed and streamed",
        run=turns,
        provider="openai",
        endpoint="chat.completions",
        asked="gpt-4.1-mini",
        needs=("openai:beta.agents.sessions.turns.list",),
        told={
            "duration": None,
            "tier": None,
            "entry": "turn",
            "response_model": "gpt-4.1-mini",
            "notes": ("best_effort",),
        },
    ),
    Shape(
        id="video",
        run=deprecated(video),
        provider="openai",
        operation="generate_content",
        endpoint="videos",
        asked=None,
        needs=("openai:videos.create",),
        told={"units": {"video_seconds": 8}, "cost.status": "unpriced"},
    ),
]


# Anthropic


REQUESTS = [
    {"custom_id": "one", "params": CLAUDE},
    {"custom_id": "refused", "params": {**CLAUDE, "model": "claude-haiku-4-5-429"}},
    {"custom_id": "two", "params": {**CLAUDE, "model": "claude-sonnet-4-5"}},
]


async def messages(call: Caller, part: bool = False) -> Any:
    batches = call.anthropic().messages.batches
    made = await done(batches.create(requests=REQUESTS))
    polls = [await done(batches.retrieve(made.id)) for _ in range(2)]
    seen: list[Any] = []
    if part:
        lines = await done(batches.results(made.id))
        async for line in each(lines):
            seen.append(line)
            break
        await done(lines.http_response.aclose() if call.is_async else lines.http_response.close())
    seen += [await every(batches.results(made.id)) for _ in range(2)]
    return [made, polls, seen]


async def messages_found(call: Caller) -> Any:
    batches = call.anthropic().messages.batches
    return [await every(batches.results("msgbatch_0000000000000005")) for _ in range(2)]


def messages_elsewhere(standin: StandIn) -> None:
    made = standin.jobs.anthropic_batch(REQUESTS, now=EPOCH)
    standin.jobs._works["msgbatch_0000000000000005"] = standin.jobs._works[made["id"]]


def zipped_results(standin: StandIn) -> None:
    standin.script(Answer(gzip=True), match="/results", times=None)


async def session(call: Caller) -> Any:
    sessions = call.anthropic().beta.sessions
    made = await done(sessions.create(agent="claude-haiku-4-5", environment_id="env_1"))
    listed = [await every(sessions.events.list(made.id)) for _ in range(2)]
    streamed = [await every(sessions.events.stream(made.id)) for _ in range(2)]
    return [made, listed, streamed]


def sessions_elsewhere(standin: StandIn) -> None:
    standin.jobs._works["sesn_x"] = standin.jobs._works[
        standin.jobs.anthropic_session("claude-haiku-4-5")["id"]
    ]


async def session_found(call: Caller, known: bool) -> Any:
    sessions = call.anthropic().beta.sessions
    if known:
        found = await done(sessions.retrieve("sesn_x"))
        return [found, await every(sessions.events.stream(found.id))]
    return await every(sessions.events.stream("sesn_x"))


MANAGED = {"duration": None, "tier": None, "entry": "model_request"}

ANTHROPIC = [
    results(id="messages batch", run=messages, script=looks(1), records=2, told=LATE),
    results(id="messages batch, read in part first", run=partial(messages, part=True), records=2, told=LATE),
    results(id="messages batch, made elsewhere", run=messages_found, script=messages_elsewhere, records=2, told=LATE),
    results(id="messages batch, gzip", run=messages, script=zipped_results, records=2, told=LATE),
    results(
        id="managed agents session",
        run=session,
        needs=("anthropic:beta.sessions.events.list",),
        asked="claude-haiku-4-5",
        records=2,
        told=MANAGED,
    ),
    results(
        id="managed agents session, made elsewhere and retrieved",
        run=partial(session_found, known=True),
        needs=("anthropic:beta.sessions.events.list",),
        script=sessions_elsewhere,
        asked="claude-haiku-4-5",
        records=2,
        told=MANAGED,
    ),
    results(
        id="managed agents session, made elsewhere",
        run=partial(session_found, known=False),
        needs=("anthropic:beta.sessions.events.list",),
        script=sessions_elsewhere,
        records=2,
        told={**MANAGED, "response_model": None, "cost.status": "unpriced"},
    ),
]  # fmt: skip


# Google


async def inlined(call: Caller) -> Any:
    batches = call.gemini().batches
    sources = [CONTENT, {"contents": [{"role": "user", "parts": [{"text": "429"}]}]}, CONTENT]
    made = await done(batches.create(model="gemini-2.5-flash", src=sources))
    return [made, *[await done(batches.get(name=made.name)) for _ in range(3)]]


async def from_file(call: Caller) -> Any:
    client = call.gemini()
    made = await done(client.batches.create(model="gemini-2.5-flash", src="files/in"))
    ended = await done(client.batches.get(name=made.name))
    files = [await done(client.files.download(file=ended.dest.file_name)) for _ in range(2)]
    return [made, ended, files]


def file_of_requests(standin: StandIn) -> None:
    standin.jobs.keep_file(
        "files/in", [{"key": key, "request": CONTENT} for key in ("first", "second")]
    )


def gemini_elsewhere(standin: StandIn) -> None:
    made = standin.jobs.gemini_batch("gemini-2.5-flash", [{"request": CONTENT}] * 2, now=EPOCH)
    standin.jobs._works["batches/bx"] = standin.jobs._works[made["name"]]


async def gemini_found(call: Caller) -> Any:
    batches = call.gemini().batches
    return [await done(batches.get(name="batches/bx")) for _ in range(2)]


def vertex(call: Caller) -> Any:
    from .gemini_shapes import VERTEX, Credentials

    return call.gemini(**VERTEX, credentials=Credentials())


async def vertex_batch(call: Caller) -> Any:
    batches = vertex(call).batches
    asked = {"model": "gemini-2.5-flash", "src": "gs://in/lines.jsonl"}
    made = await done(batches.create(**asked, config={"dest": "gs://out", "display_name": "plan"}))
    return [made, *[await done(batches.get(name=made.name)) for _ in range(3)]]


async def vertex_video(call: Caller, **config: Any) -> Any:
    asked = {"model": "veo-3.0-generate-001", "source": {"prompt": "A film."}}
    return await done(vertex(call).models.generate_videos(**asked, config=config))


GEMINI = [
    gemini(id="gemini batch, inlined", run=inlined, script=looks(1), records=2, told=LATE),
    gemini(id="gemini batch, a file", run=from_file, script=file_of_requests, records=2, told=LATE),
    gemini(id="gemini batch, made elsewhere", run=gemini_found, script=gemini_elsewhere, records=2, told=LATE),
    gemini(
        id="vertex batch",
        run=vertex_batch,
        script=looks(1),
        provider="gcp.vertex_ai",
        told={
            **LATE,
            "usage": None,
            "usage_source": "missing",
            "response_model": "gemini-2.5-flash",
            "cost.reasons": ("output_elsewhere",),
        },
    ),
    gemini(
        id="vertex video",
        run=partial(vertex_video, duration_seconds=8, number_of_videos=2),
        provider="gcp.vertex_ai",
        endpoint="generate_videos",
        asked="veo-3.0-generate-001",
        needs=("gemini:models.generate_videos(source)",),
        told={"units": {"video_seconds": 16}, "response_model": None, "cost.status": "unpriced"},
    ),
    gemini(
        id="vertex video of unsaid length",
        run=vertex_video,
        provider="gcp.vertex_ai",
        endpoint="generate_videos",
        asked="veo-3.0-generate-001",
        needs=("gemini:models.generate_videos(source)",),
        told={"usage": None, "usage_source": "missing", "response_model": None, "cost.reasons": ("no_usage",)},
    ),
]  # fmt: skip

SHAPES = [*RESPONSES, *BATCHES, *RUNS, *OTHERS, *ANTHROPIC, *GEMINI]
