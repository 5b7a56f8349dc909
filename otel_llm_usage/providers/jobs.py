"""Work that goes on after its request was answered: which later answers tell its end, and its bill.

Responses in the background, runs of assistants, batches, agents that the provider runs, videos.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from ..records import NOTHING, Reading, Request, Usage
from . import anthropic, gemini, openai, tiers
from .answers import reader
from .gemini import model_name
from .hosts import Place, overridden, where
from .orders import number
from .reading import BaseReader
from .requests import hints_of
from .values import count, mappings, parsed, quantity, word

Kind = Literal[
    "held",
    "openai_batch",
    "anthropic_batch",
    "gemini_batch",
    "vertex_batch",
    "lines",
    "output",
    "anthropic_session",
    "anthropic_events",
    "openai_session",
    "openai_turns",
]
"""`held`: work of one call, whose bill is that call's; `output`: a file that may be that of a batch;
`lines`: the results of a batch; `*_session`: tells which model works there; the others by name."""


class Job(NamedTuple):
    """A request whose answer may tell the end of work that an earlier one began."""

    kind: Kind
    id: str
    """The provider's id of the work, as the URL has it; empty where the answer has it."""
    request: Request
    """As what the bill is told, until the answer says more."""
    makes: bool = False
    """Whether it begins work that is no call: a batch, a session."""


class Bill(NamedTuple):
    """What one piece of work came to."""

    id: str
    """Unique among those of its provider."""
    request: Request
    readings: tuple[Reading, ...]
    failed: str | None = None
    billed: bool = True
    created: float | None = None
    """When the work was asked for, in seconds since the epoch, where the answer says so."""
    reason: str | None = None
    """Why there is no usage."""


class Told(NamedTuple):
    """What an answer tells of work."""

    id: str | None = None
    """Which work it is."""
    ended: bool = False
    bills: tuple[Bill, ...] = ()
    output: str | None = None
    """Where the bills of its lines will be told; `bills` has then what is known without them."""
    request: Request | None = None
    """As what these lines are told."""
    model: str | None = None
    """Who works in a session."""
    created: float | None = None


# which requests


_Pattern = tuple[str, re.Pattern[str], Kind]


def _patterns(*rows: tuple[str, str, Kind]) -> tuple[_Pattern, ...]:
    return tuple((method, re.compile(path + "$"), kind) for method, path, kind in rows)


_FOLLOWED: Mapping[str, tuple[_Pattern, ...]] = {
    "openai": _patterns(
        ("GET", r"/responses/([^/]+)", "held"),
        ("POST", r"/responses/([^/]+)/cancel", "held"),
        ("GET", r"/threads/[^/]+/runs/([^/]+)", "held"),
        ("POST", r"/threads/[^/]+/runs/([^/]+)(?:/cancel|/submit_tool_outputs)?", "held"),
        ("POST", r"/batches()", "openai_batch"),
        ("GET", r"/batches/([^/]+)", "openai_batch"),
        ("POST", r"/batches/([^/]+)/cancel", "openai_batch"),
        ("GET", r"/files/([^/]+)/content", "output"),
        ("POST", r"/agents/sessions()", "openai_session"),
        ("GET", r"/agents/sessions/([^/]+)", "openai_session"),
        ("POST", r"/agents/sessions/([^/]+)", "openai_session"),
        ("GET", r"/agents/sessions/([^/]+)/events", "openai_turns"),
        (
            "GET",
            r"/agents/sessions/([^/]+)(?:/subagents/[^/]+)?/turns(?:/[^/]+)?",
            "openai_turns",
        ),
    ),
    "anthropic": _patterns(
        ("POST", r"/messages/batches()", "anthropic_batch"),
        ("GET", r"/messages/batches/([^/]+)", "anthropic_batch"),
        ("POST", r"/messages/batches/([^/]+)/cancel", "anthropic_batch"),
        ("GET", r"/messages/batches/([^/]+)/results", "lines"),
        ("POST", r"/sessions()", "anthropic_session"),
        ("GET", r"/sessions/([^/]+)", "anthropic_session"),
        ("POST", r"/sessions/([^/]+)", "anthropic_session"),
        ("GET", r"/sessions/[^/]+/threads(?:/([^/]+))?", "anthropic_session"),
        ("GET", r"/sessions/([^/]+)/events(?:/stream)?", "anthropic_events"),
        ("GET", r"/sessions/[^/]+/threads/([^/]+)/(?:events|stream)", "anthropic_events"),
    ),
    "google": _patterns(
        ("GET", r"/interactions/([^/:]+)", "held"),
        ("POST", r"/interactions/([^/:]+)[/:]cancel", "held"),
        ("POST", r"():(?:batchGenerateContent|asyncBatchEmbedContent)", "gemini_batch"),
        ("GET", r"/(batches/[^/:]+)", "gemini_batch"),
        ("POST", r"/batchPredictionJobs()", "vertex_batch"),
        ("GET", r"/batchPredictionJobs/([^/:]+)", "vertex_batch"),
        ("GET", r"/(files/[^/:]+):download", "output"),
    ),
}
"""Method, end of the path, and what its answer may tell. The group is the id."""

_BEGUN: Mapping[str, tuple[tuple[re.Pattern[str], str, str], ...]] = {
    "openai": (
        (re.compile(r"/threads(?:/[^/]+)?/runs$"), "chat", "threads.runs"),
        (re.compile(r"/videos(?:/edits|/extensions|/[^/]+/remix)?$"), "generate_content", "videos"),
    ),
    "google": ((re.compile(r":predictLongRunning$"), "generate_content", "generate_videos"),),
}
"""What begins work and is a call of its own: end of the path of a POST, operation, endpoint."""


class _Target(NamedTuple):
    kind: Kind
    id: str
    place: Place
    operation: str
    endpoint: str
    model: str | None


def follow(
    sdk: str,
    method: str,
    url: str,
    *,
    base_url: str,
    client: str = "",
    hosts: Mapping[str, str] | None = None,
) -> Job | None:
    """Whose end the answer to this request may tell; `None` for nearly all requests.

    The arguments are those of `describe`. Reads nothing but the method and the URL.
    """
    target = _target(sdk, method, url, base_url, client)
    if target is None:
        return None
    place = overridden(hosts, target.place) if hosts else target.place
    request = Request(
        place.host.provider,
        place.host.vendor,
        place.host.platform,
        target.operation,
        target.endpoint,
        target.model,
        False,
        place.address,
        place.port,
        tier="batch" if target.kind in _BATCHES else None,
    )
    return Job(target.kind, target.id, request, method.upper() == "POST" and not target.id)


_BATCHES = frozenset(
    {"openai_batch", "anthropic_batch", "gemini_batch", "vertex_batch", "lines", "output"}
)
_SHAPES: Mapping[str, tuple[str, str]] = {
    "openai": ("chat", "chat.completions"),
    "anthropic": ("chat", "messages"),
    "google": ("generate_content", "generate_content"),
}
"""Operation and endpoint of what each SDK's work mostly is."""


@lru_cache(maxsize=2048)
def _target(sdk: str, method: str, url: str, base_url: str, client: str) -> _Target | None:
    method = method.upper()
    path, _, place = where(sdk, client, url, base_url)
    for wanted, pattern, kind in _FOLLOWED.get(sdk, ()):
        if wanted == method:
            found = pattern.search(path)
            if found is not None:
                operation, endpoint = _SHAPES[sdk]
                if path.endswith(":asyncBatchEmbedContent"):
                    operation, endpoint = "embeddings", "embed_content"
                model = _model_of(path) if sdk == "google" else None
                return _Target(kind, unquote(found[1] or ""), place, operation, endpoint, model)
    return None


def _model_of(path: str) -> str | None:
    resource, colon, _ = path.rpartition(":")
    return model_name(unquote(resource.lstrip("/"))) if colon and "models/" in resource else None


def begun(
    sdk: str,
    method: str,
    url: str,
    body: Any,
    *,
    base_url: str,
    client: str = "",
    hosts: Mapping[str, str] | None = None,
) -> Request | None:
    """What a request asks for that begins work and is no request of `describe`: runs, videos."""
    if method.upper() != "POST":
        return None
    path, _, place = where(sdk, client, url, base_url)
    found = next((row for row in _BEGUN.get(sdk, ()) if row[0].search(path) is not None), None)
    if found is None:
        return None
    _, operation, endpoint = found
    place = overridden(hosts, place) if hosts else place
    told = body if isinstance(body, Mapping) else NOTHING
    model = _model_of(path) if sdk == "google" else word(told.get("model"))
    hints = dict(hints_of(endpoint, told))
    seconds = _asked_seconds(endpoint, told)
    if seconds is not None:
        hints["seconds"] = seconds
    return Request(
        place.host.provider,
        place.host.vendor,
        place.host.platform,
        operation,
        endpoint,
        model,
        told.get("stream") is True,
        place.address,
        place.port,
        hints=hints or NOTHING,
    )


def _asked_seconds(endpoint: str, body: Mapping[str, Any]) -> Any:
    """Seconds of video that were asked for; `None` where the request leaves them to the provider."""
    if endpoint == "videos":
        return number(body.get("seconds"))
    if endpoint == "generate_videos":
        asked = body.get("parameters")
        if isinstance(asked, Mapping):
            seconds, many = number(asked.get("durationSeconds")), asked.get("sampleCount", 1)
            if seconds is not None and isinstance(many, int):
                return seconds * many
    return None


# what answers tell


def digest(*parts: str) -> str:
    """The id of a record that every process gives to the same piece of work: 32 hex digits."""
    return blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=16).hexdigest()


def read(job: Job, raw: bytes | str) -> list[Told]:
    """What an answer, or one event of it, tells. Nothing in it makes this raise."""
    answer = parsed(raw)
    if not isinstance(answer, Mapping):
        return []
    tell = _TELLING[job.kind]
    if job.kind == "anthropic_session":  # one, or a page of its threads
        return [tell(job, one) for one in mappings(answer.get("data")) or [answer]]
    return [tell(job, answer)]


def _openai_batch(job: Job, answer: Mapping[str, Any]) -> Told:
    batch, status = word(answer.get("id")), word(answer.get("status"))
    created = _seconds(answer.get("created_at"))
    if batch is None or status not in _OPENAI_ENDED:
        return Told(batch, created=created)
    said = (word(answer.get("endpoint")) or "").rpartition("/v1/")[2].strip("/")
    if said == "moderations":
        return Told(batch, ended=True)  # free
    operation, endpoint = _LINE_SHAPES.get(said, ("chat", said or "chat.completions"))
    model = word(answer.get("model"))
    request = job.request._replace(
        operation=operation, endpoint=endpoint, model=model, tier="batch"
    )
    notes: list[str] = []
    raw = answer.get("usage")
    usage = openai.usage_of(raw, notes) if isinstance(raw, Mapping) else None
    if usage is not None and operation == "embeddings" and usage.output is None:
        usage = usage._replace(output=0)
    if raw is not None and not isinstance(raw, Mapping):
        notes.append("bad_usage:usage")
    reading = Reading(
        usage,
        model=model,
        tier="batch",
        response_id=batch,
        finish_reasons=(status,),
        entry="batch",
        notes=tuple(notes),
    )
    known = usage is not None and usage.total_tokens
    output = word(answer.get("output_file_id"))
    if not known and output is None:
        return Told(batch, ended=True, created=created)  # not a line of it was answered
    bill = Bill(batch, request, (reading,), created=created, reason="no_usage")
    if known and model is not None:
        return Told(batch, ended=True, bills=(bill,), created=created)
    return Told(batch, True, (bill,), output, request, created=created)


_OPENAI_ENDED = frozenset({"completed", "expired", "cancelled", "failed"})
_LINE_SHAPES: Mapping[str, tuple[str, str]] = {
    "chat/completions": ("chat", "chat.completions"),
    "responses": ("chat", "responses"),
    "embeddings": ("embeddings", "embeddings"),
    "completions": ("text_completion", "completions"),
    "images/generations": ("generate_content", "images"),
    "images/edits": ("generate_content", "images"),
    "videos": ("generate_content", "videos"),
}
"""What a batch says its lines were sent to: operation and endpoint."""


def _anthropic_batch(job: Job, answer: Mapping[str, Any]) -> Told:
    batch = word(answer.get("id"))
    created = _seconds(answer.get("created_at"))
    if batch is None or answer.get("processing_status") != "ended":
        return Told(batch, created=created)
    counts = answer.get("request_counts")
    if isinstance(counts, Mapping) and counts.get("succeeded") == 0:
        return Told(batch, ended=True, created=created)
    reading = Reading(tier="batch", response_id=batch, entry="batch")
    bill = Bill(batch, job.request, (reading,), created=created, reason="no_usage")
    return Told(batch, True, (bill,), batch, job.request, created=created)


def _gemini_batch(job: Job, answer: Mapping[str, Any]) -> Told:
    name, about = word(answer.get("name")), answer.get("metadata")
    about = about if isinstance(about, Mapping) else NOTHING
    state = (word(about.get("state")) or "").rpartition("STATE_")[2]
    created = _seconds(about.get("createTime"))
    if name is None or state not in _GEMINI_ENDED:
        return Told(name, created=created)
    model = model_name(word(about.get("model"))) or job.request.model
    request = job.request._replace(model=model, tier="batch")
    output = about.get("output") or answer.get("response")
    output = output if isinstance(output, Mapping) else NOTHING
    for key, shape in _INLINED:
        inside = output.get(key)
        if isinstance(inside, Mapping):
            asked = request._replace(operation=shape[0], endpoint=shape[1])
            bills = tuple(_inlined(name, asked, inside.get("inlinedResponses"), created))
            return Told(name, ended=True, bills=bills, created=created)
    file = word(output.get("responsesFile"))
    if file is None:
        if state not in ("SUCCEEDED", "PARTIALLY_SUCCEEDED"):
            return Told(name, ended=True, created=created)  # what was done of it is not given out
        return Told(name, True, (_unknown(name, request, created, "no_usage"),), created=created)
    unread = _unknown(name, request, created, "no_usage")
    return Told(name, True, (unread,), file, request, created=created)


_GEMINI_ENDED = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})
_INLINED = (
    ("inlinedResponses", ("generate_content", "generate_content")),
    ("inlinedEmbedContentResponses", ("embeddings", "embed_content")),
)


def _inlined(name: str, request: Request, responses: Any, created: float | None) -> Iterator[Bill]:
    for place, one in enumerate(mappings(responses)):
        bill = _gemini_line(request, one, f"{name}/{place}")
        if bill is not None:
            yield bill._replace(created=created)


def _unknown(name: str, request: Request, created: float | None, reason: str) -> Bill:
    reading = Reading(model=request.model, tier="batch", response_id=name, entry="batch")
    return Bill(name, request, (reading,), created=created, reason=reason)


def _vertex_batch(job: Job, answer: Mapping[str, Any]) -> Told:
    """Its answers lie in storage of the caller's: all that is told here is that there are some."""
    name, state = word(answer.get("name")), word(answer.get("state"))
    created = _seconds(answer.get("createTime"))
    if name is None or (state or "").removeprefix("JOB_STATE_") not in _GEMINI_ENDED:
        return Told(name, created=created)
    stats = answer.get("completionStats")
    done = number(stats.get("successfulCount")) if isinstance(stats, Mapping) else None
    if done == 0 or (done is None and state != "JOB_STATE_SUCCEEDED"):
        return Told(name, ended=True, created=created)
    model = model_name(word(answer.get("model"))) or job.request.model
    request = job.request._replace(model=model, tier="batch")
    bill = _unknown(name, request, created, "output_elsewhere")
    return Told(name, ended=True, bills=(bill,), created=created)


def _anthropic_session(job: Job, answer: Mapping[str, Any]) -> Told:
    agent = answer.get("agent")
    model = agent.get("model") if isinstance(agent, Mapping) else None
    found = word(model.get("id")) if isinstance(model, Mapping) else word(model)
    return Told(word(answer.get("id")), model=found)


def _anthropic_events(job: Job, answer: Mapping[str, Any]) -> Told:
    """A page of events, or a single one."""
    events = mappings(answer.get("data")) or [answer]
    return Told(job.id, bills=tuple(_model_requests(job, events)))


def _model_requests(job: Job, events: list[Mapping[str, Any]]) -> Iterator[Bill]:
    for event in events:
        raw, event_id = event.get("model_usage"), word(event.get("id"))
        if event.get("type") != "span.model_request_end" or event_id is None:
            continue
        notes: list[str] = []
        usage = anthropic.usage_of(raw, notes) if isinstance(raw, Mapping) else None
        if event.get("is_error") is True and not (usage and usage.total_tokens):
            continue
        if raw is not None and not isinstance(raw, Mapping):
            notes.append("bad_usage:model_usage")
        speed = raw.get("speed") if isinstance(raw, Mapping) else None
        reading = Reading(
            usage,
            model=job.request.model,
            tier=tiers.canonical(tiers.ANTHROPIC, speed),
            response_id=event_id,
            entry="model_request",
            notes=tuple(notes),
        )
        yield Bill(event_id, job.request, (reading,), reason="no_usage")


def _openai_session(job: Job, answer: Mapping[str, Any]) -> Told:
    """A session, or an event of the stream that it was begun with."""
    if isinstance(answer.get("turn"), Mapping):
        return _openai_turns(job, answer)
    inside = answer.get("session")
    answer = inside if isinstance(inside, Mapping) else answer
    agent = answer.get("agent")
    model = word(agent.get("model")) if isinstance(agent, Mapping) else None
    return Told(word(answer.get("id")), model=model)


def _openai_turns(job: Job, answer: Mapping[str, Any]) -> Told:
    """A page of turns, one turn, or the event of one."""
    turns = mappings(answer.get("data"))
    if not turns:
        inside = answer.get("turn")
        said = answer.get("usage")
        # the event's own usage is that of the root agent alone
        turns = [{"usage": said, **inside}] if isinstance(inside, Mapping) else [answer]
    return Told(job.id, bills=tuple(_turn_bills(job, turns)))


def _turn_bills(job: Job, turns: list[Mapping[str, Any]]) -> Iterator[Bill]:
    for turn in turns:
        raw, turn_id, status = turn.get("usage"), word(turn.get("id")), word(turn.get("status"))
        if turn_id is None or status not in ("completed", "failed", "cancelled"):
            continue
        notes = ["best_effort"]  # the provider says so: it may change its mind
        usage = openai.usage_of(raw, notes) if isinstance(raw, Mapping) else None
        if usage is None:
            continue  # not told yet; a later look at it may
        model = job.request.model
        if turn.get("subagent_id") is not None:
            model = None  # another agent, and nobody says with which model
        reading = Reading(
            usage,
            model=model,
            response_id=turn_id,
            finish_reasons=(status,),
            entry="turn",
            notes=tuple(notes),
        )
        yield Bill(
            turn_id,
            job.request._replace(model=model),
            (reading,),
            created=_seconds(turn.get("created_at")),
        )


_TELLING: Mapping[str, Callable[[Job, Mapping[str, Any]], Told]] = {
    "openai_batch": _openai_batch,
    "anthropic_batch": _anthropic_batch,
    "gemini_batch": _gemini_batch,
    "vertex_batch": _vertex_batch,
    "anthropic_session": _anthropic_session,
    "anthropic_events": _anthropic_events,
    "openai_session": _openai_session,
    "openai_turns": _openai_turns,
}


def _seconds(said: Any) -> float | None:
    """A moment in seconds since the epoch: a number of them, or a date in ISO 8601."""
    if isinstance(said, str):
        try:
            moment = datetime.fromisoformat(said)
        except ValueError:
            return None
        return moment.timestamp() if moment.tzinfo is not None else None
    found = quantity(said)
    return float(found) if found else None


EVENTS: Mapping[str, re.Pattern[bytes]] = {
    "anthropic_events": re.compile(rb'"span\.model_request_end"'),
    "openai_turns": re.compile(rb'"agent\.session\.turn(?:\.(?:completed|failed|cancelled))?"'),
    "openai_session": re.compile(
        rb'"agent\.session(?:\.created|\.turn(?:\.(?:completed|failed|cancelled))?)?"'
    ),
}
"""What stands in an answer, or an event of a stream, that tells something: others are not parsed."""


# the lines of a batch


class Line(NamedTuple):
    """What one line of a batch's results tells."""

    readable: bool
    bill: Bill | None = None


_BLANK = Line(readable=True)
_UNREADABLE = Line(readable=False)


def line(request: Request, batch: str, raw: bytes, place: int) -> Line:
    """What a line of the results of a batch says was billed: lines of errors, nothing."""
    if not raw.strip():
        return _BLANK
    if request.endpoint == "embeddings" and len(raw) > _LONG:
        return _vector_line(request, batch, raw)
    said = parsed(raw)
    if not isinstance(said, Mapping):
        return _UNREADABLE
    if isinstance(said.get("result"), Mapping):
        return Line(True, _anthropic_line(request, batch, said))
    if "key" in said or request.vendor == "google":
        key = word(said.get("key")) or str(place)
        return Line(True, _gemini_line(request, said, f"{batch}/{key}"))
    return Line(True, _openai_line(request, batch, said, place))


_LONG = 4096


def _openai_line(request: Request, batch: str, said: Mapping[str, Any], place: int) -> Bill | None:
    response = said.get("response")
    if not isinstance(response, Mapping) or said.get("error"):
        return None
    body, status = response.get("body"), response.get("status_code")
    if not isinstance(body, Mapping) or (isinstance(status, int) and status >= 400):
        return None
    name = word(said.get("id")) or word(said.get("custom_id")) or str(place)
    return _answered(reader(request), body, f"{batch}/{name}", request)


def _vector_line(request: Request, batch: str, raw: bytes) -> Line:
    """A line of embeddings: the vectors are never parsed."""
    name, status = _LINE_ID.search(raw, 0, 512), _STATUS.search(raw, 0, 1024)
    if name is None:
        return _UNREADABLE
    if status is not None and int(status[1]) >= 400:
        return _BLANK
    read_along = openai.EmbeddingsReader(request)
    read_along.body(raw)
    bill = _bill(read_along, f"{batch}/{name[1].decode('utf-8', 'replace')}", request)
    return Line(True, bill)


_LINE_ID = re.compile(rb'"(?:id|custom_id)"\s*:\s*"([^"\\]+)"')
_STATUS = re.compile(rb'"status_code"\s*:\s*(\d{3})')


def _anthropic_line(request: Request, batch: str, said: Mapping[str, Any]) -> Bill | None:
    result = said["result"]
    message, name = result.get("message"), word(said.get("custom_id"))
    if result.get("type") != "succeeded" or not isinstance(message, Mapping) or name is None:
        return None
    return _answered(anthropic.MessagesReader(request), message, f"{batch}/{name}", request)


def _gemini_line(request: Request, said: Mapping[str, Any], name: str) -> Bill | None:
    body = said.get("response")
    if not isinstance(body, Mapping) or said.get("error"):
        return None
    if request.endpoint == "embed_content" or "embedding" in body:
        asked = request._replace(operation="embeddings", endpoint="embed_content")
        vectors = gemini.EmbeddingsReader(asked)
        vectors.answer(body)
        bill = _bill(vectors, name, asked)
        tokens = count(_as_counts(body), "tokenCount", [])
        if tokens is not None and all(one.usage is None for one in bill.readings):
            usage = Usage(input=tokens, output=0)
            reading = Reading(usage, model=asked.model, tier="batch", entry="batch")
            return bill._replace(readings=(reading,))
        return bill
    return _answered(gemini.GeminiReader(request), body, name, request)


def _as_counts(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Google writes 64-bit numbers as text."""
    tokens = body.get("tokenCount")
    return {"tokenCount": int(tokens)} if isinstance(tokens, str) and tokens.isdecimal() else body


def _answered(read_along: BaseReader, body: Mapping[str, Any], name: str, request: Request) -> Bill:
    read_along.answer(body)
    read_along.complete = True
    return _bill(read_along, name, request)


def _bill(read_along: BaseReader, name: str, request: Request) -> Bill:
    """What an answer within a batch comes to: it says `default`, only its place tells the tier."""
    found = read_along.readings() or (Reading(),)
    readings = tuple(
        one._replace(tier="batch", entry=one.entry or "batch", model=one.model or request.model)
        for one in found
    )
    return Bill(
        name,
        request,
        readings,
        failed=read_along.failed,
        billed=read_along.billed,
        reason="no_usage",
    )


def unreadable(request: Request, batch: str, lines: int) -> Bill:
    """What is said of lines that could not be read."""
    reading = Reading(
        model=request.model, tier="batch", entry="batch", notes=(f"bad_lines:{lines}",)
    )
    return Bill(f"{batch}/?", request, (reading,), reason="bad_usage")


class LineSplitter:
    """Cuts a byte stream into lines; one that is too long to be a line is dropped."""

    def __init__(self, most: int = 64 * 1024 * 1024) -> None:
        self._held: list[bytes] = []
        self._size = 0
        self._most = most

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes."""
        *ended, rest = chunk.split(b"\n")
        if ended:
            first = b"".join((*self._held, ended[0]))
            self._held, self._size = [], 0
            ended[0] = first
        if rest:
            self._size += len(rest)
            if self._size <= self._most:
                self._held.append(rest)
            elif self._held:
                self._held = [b"?"]  # not JSON: it is told as a line that cannot be read
        return ended

    def rest(self) -> bytes:
        """What came after the last end of a line."""
        rest = b"".join(self._held)
        self._held, self._size = [], 0
        return rest
