"""The stand-in itself: one loopback server, its scripts, its ledger, and what it was asked."""

import asyncio
import itertools
import json
import re
import ssl
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

from ..records import NOTHING
from . import anthropic, billing, conversations, gemini, interactions, openai, tariff, websockets
from .answers import (
    MAGIC,
    Answer,
    Ask,
    Dialect,
    Endpoint,
    Event,
    Free,
    Memory,
    Mind,
    Result,
    Seen,
    spent,
    spoken,
)
from .jobs import Jobs, Reply
from .ledger import Bill, Ledger
from .wire import Connection, Incoming, dumps, multipart

ADMIN = "/__standin__/"

Match = str | re.Pattern[str] | Callable[[Seen], bool] | None
"""Which requests: a pattern that is searched in path and query, a question, or all of them."""


class Raw(NamedTuple):
    """An answer as bytes, ready to be sent."""

    status: int
    headers: Mapping[str, str]
    pieces: tuple[bytes, ...]
    chunked: bool
    delay: float
    pace: float
    cut_after: int | None
    gzip: bool
    bill: Answer | None


@dataclass
class _Waiting:
    """A scripted answer, and for which requests it waits."""

    wanted: Callable[[Seen], bool]
    answer: Answer | Raw | Callable[[Seen], Answer]
    left: int | None


class StandIn:
    """A provider on loopback that speaks OpenAI, Anthropic and Gemini, and keeps a ledger.

    It starts when it is made, in a thread of its own, and ends with `close()` or its `with` block:

        with StandIn() as standin:
            OpenAI(base_url=f"{standin.url}/v1", api_key="any").chat.completions.create(...)
            assert standin.ledger.last.usage == {"input": 12, "output": 40}

    Answers are made up from the request and the seed. `script` and `reply` ask for others, and so
    do words in the model's name (`answers.MAGIC`): `gpt-4.1-mini-slow`, `gemini-2.5-pro-429`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        *,
        tool_turns: int = 2,
        deployments: Mapping[str, str] = NOTHING,
        keep: int = 1000,
        reject_stream_options: bool = False,
    ) -> None:
        """`tool_turns`: how often a request that offers functions is answered with a call of one.

        `deployments`: the model behind each Azure deployment; one that is not named is its own.
        `keep`: how many requests `requests` holds. `reject_stream_options`: answer 400 to a request
        that has them, as old servers do; may be changed at any time.
        """
        self.reject_stream_options = reject_stream_options
        self.deployments = deployments
        self.ledger = Ledger()
        """What was billed."""
        self.requests: deque[Seen] = deque(maxlen=keep)
        """The newest requests, whatever they were answered."""
        self._mind = Mind(seed, tool_turns)
        self._memory = Memory()
        self.jobs = Jobs(self._mind, self._memory, self.ledger)
        """What goes on after its request was answered."""
        self._waiting: list[_Waiting] = []
        self._talks: list[tuple[Callable[[Seen], bool], websockets.Script]] = []
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._flaky: Counter[str] = Counter()
        self._unsettled = 0
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="standin-provider", daemon=True)
        self._thread.start()
        try:
            self.host, self.port = self._listen(host, port)
        except OSError:
            self.close()
            raise
        address = f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"http://{address}:{self.port}"
        """Where it listens, without a slash at the end."""

    def __enter__(self) -> "StandIn":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # what its user asks for

    def script(
        self,
        answer: Answer | Callable[[Seen], Answer] | None = None,
        *,
        match: Match = None,
        times: int | None = 1,
        **fields: Any,
    ) -> None:
        """Answer the next `times` matching requests (`None`: all) as told.

        `script(text="hi", usage={"input": 3})` is short for `script(Answer(text="hi", usage=...))`;
        a callable makes the answer from the request.
        """
        self._wait(Answer(**fields) if answer is None else answer, match, times)

    def reply(
        self,
        body: bytes | str | Mapping[str, Any] | Sequence[Any],
        *,
        status: int = 200,
        headers: Mapping[str, str] = NOTHING,
        match: Match = None,
        times: int | None = 1,
        chunks: int | Sequence[int] | Sequence[bytes] | None = None,
        delay: float = 0,
        pace: float = 0,
        cut_after: int | None = None,
        gzip: bool = False,
        usage: Mapping[str, int] | None = None,
        units: Mapping[str, int | Decimal] = NOTHING,
        model: str | None = None,
    ) -> None:
        """Answer the next `times` matching requests with exactly this.

        `body`: bytes as they are, or something for JSON. `chunks`: into how many bytes each write
        is cut, or the sizes one by one, or the writes themselves. `delay`: seconds before the
        head; `pace`: seconds between writes. `cut_after`: reset the connection after so many
        writes. `usage`, `units`, `model`: what the ledger shall say of it; nothing is billed
        without them.
        """
        if isinstance(body, str):
            body = body.encode()
        data = body if isinstance(body, bytes) else dumps(body)
        named = {name.lower(): value for name, value in headers.items()}
        named.setdefault("content-type", _content_type(data))
        billed = usage is not None or bool(units)
        raw = Raw(
            status=status,
            headers=named,
            pieces=_cut(data, chunks),
            chunked=chunks is not None
            or cut_after is not None
            or "stream" in named["content-type"],
            delay=delay,
            pace=pace,
            cut_after=cut_after,
            gzip=gzip,
            bill=Answer(usage=usage or {}, units=units, model=model) if billed else None,
        )
        self._wait(raw, match, times)

    def talk(self, script: websockets.Script, *, match: Match = None) -> None:
        """Play this on the next matching websocket: see `websockets.Peer`, and `conversations`."""
        with self._lock:
            self._talks.append((_wanted(match), script))

    def encrypted(self, tls: ssl.SSLContext) -> str:
        """Listen on another port, too, where all is encrypted; its URL."""
        host, port = self._listen(self.host, 0, tls)
        return f"https://{host}:{port}"

    def reset(self) -> None:
        """Forget the ledger, the scripts, the requests, the caches and the conversations."""
        with self._lock:
            self._waiting.clear()
            self._talks.clear()
            self._flaky.clear()
        self.ledger.clear()
        self.requests.clear()
        self._mind.forget()
        self._memory.forget()
        self.jobs.forget()

    def settled(self, timeout: float = 5) -> bool:
        """Wait until every answer that was begun is billed; false if that takes too long.

        A stream that the client left is billed when the server notices.
        """
        end = time.monotonic() + timeout
        while self._unsettled:
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        return True

    def environment(self) -> dict[str, str]:
        """The variables that bring the SDKs here."""
        return {
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_API_KEY": "standin",
            "AZURE_OPENAI_ENDPOINT": self.url,
            "AZURE_OPENAI_API_KEY": "standin",
            "OPENAI_API_VERSION": "2024-10-21",
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": "standin",
            "ANTHROPIC_BEDROCK_BASE_URL": self.url,
            "AWS_ACCESS_KEY_ID": "standin",
            "AWS_SECRET_ACCESS_KEY": "standin",
            "AWS_REGION": "us-east-1",
            "ANTHROPIC_VERTEX_BASE_URL": f"{self.url}/v1",
            "ANTHROPIC_VERTEX_PROJECT_ID": "standin",
            "CLOUD_ML_REGION": "global",
            "GOOGLE_GEMINI_BASE_URL": self.url,
            "GEMINI_API_KEY": "standin",
            "GOOGLE_VERTEX_BASE_URL": self.url,
        }

    def close(self) -> None:
        """Stop listening, drop every connection, and wait for the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    # its thread

    def _listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> tuple[str, int]:
        """Where it listens now; the maker's thread may have an event loop of its own running."""
        starting = self._loop.create_server(self._connection, host, port, ssl=tls, backlog=512)
        server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self._servers.append(server)
        where = server.sockets[0].getsockname()
        return where[0], where[1]

    def _connection(self) -> Connection:
        return Connection(self._handle, self._connections)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for server in self._servers:
            server.close()
        for connection in tuple(self._connections):
            connection.transport.abort()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _wait(
        self, answer: Answer | Raw | Callable[[Seen], Answer], match: Match, times: int | None
    ) -> None:
        with self._lock:
            self._waiting.append(_Waiting(_wanted(match), answer, times))

    def _take(self, seen: Seen) -> Answer | Raw | None:
        """The first script that waits for this request."""
        with self._lock:
            found = next((w for w in self._waiting if w.wanted(seen)), None)
            if found is None:
                return None
            if found.left is not None:
                found.left -= 1
                if found.left <= 0:
                    self._waiting.remove(found)
        if isinstance(found.answer, Answer | Raw):
            return found.answer
        return found.answer(seen)

    def _handle(self, connection: Connection, incoming: Incoming) -> None:
        path, _, query = incoming.target.partition("?")
        if path.startswith(ADMIN):
            self._admin(connection, incoming.method, path.removeprefix(ADMIN))
            return
        if incoming.headers.get("upgrade", "").lower() == "websocket":
            self._upgrade(connection, incoming, path, query)
            return
        try:
            body, readable = _body(incoming), True
        except (ValueError, zlib.error):
            body, readable = incoming.body, False
        seen = Seen(incoming.method, path, query, incoming.headers, body)
        self.requests.append(seen)
        dialect = _dialect(seen)
        try:
            answer = self._take(seen) if self._waiting else None
            if isinstance(answer, Raw):
                self._send_raw(connection, seen, dialect, answer)
            elif not readable:
                self._fail(connection, dialect, Answer(status=400, message="This is not JSON."))
            else:
                self._respond(connection, seen, dialect, answer)
        except (
            AssertionError,
            AttributeError,
            IndexError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            message = f"The stand-in cannot make sense of this request: {error!r}"
            self._fail(connection, dialect, Answer(status=400, message=message))

    def _upgrade(self, connection: Connection, incoming: Incoming, path: str, query: str) -> None:
        """Become a websocket, and play the script that waits for it."""
        # the key is random, and no two runs could be compared
        told = {name: v for name, v in incoming.headers.items() if name != "sec-websocket-key"}
        seen = Seen(incoming.method, path, query, told, [])
        self.requests.append(seen)
        with self._lock:
            found = next((one for one in self._talks if one[0](seen)), None)
            if found is not None:
                self._talks.remove(found)
        script = conversations.usual(path) if found is None else found[1]
        if script is None:
            connection.reply(404, {}, b"")
            return
        number = partial(next, self._numbers)
        upgrade = websockets.Upgrade(seen, self.ledger, number, lambda: time.time(), script)
        self._begin(connection, websockets.play(connection, incoming, upgrade))

    def _respond(
        self, connection: Connection, seen: Seen, dialect: Dialect, scripted: Answer | None
    ) -> None:
        if scripted is None or scripted.status == 200:
            reply = self.jobs.answer(seen, time.time())
            if reply is not None:
                self._send_reply(connection, reply, gzip=scripted is not None and scripted.gzip)
                return
            told = billing.answer(seen, self.ledger.bills, time.time())
            if told is not None:
                connection.reply(
                    told.status, {"content-type": "application/json"}, dumps(told.body)
                )
                return
        endpoint = dialect.find(seen)
        if endpoint is None:
            message = f"There is no {seen.method} {seen.path} here."
            self._fail(connection, dialect, scripted or Answer(status=404, message=message))
            return
        answer = self._magic(seen) if scripted is None else scripted
        if self.reject_stream_options and _has(seen, "stream_options"):
            message = "Unrecognized request argument supplied: stream_options"
            answer = Answer(status=400, message=message)
        if answer.status != 200:
            self._fail(connection, dialect, answer)
        elif isinstance(endpoint, Free):
            self._send_free(connection, seen, dialect, endpoint)
        else:
            ask = self._deployed(endpoint.read(seen, self._memory))
            result = self._mind.compose(ask, answer, next(self._numbers), time.time())
            work = _Work(seen, dialect, endpoint, ask, answer, result)
            if ask.stream and endpoint.events is not None:
                self._begin(
                    connection, self._stream(connection, work, endpoint.events(ask, result))
                )
            elif answer.delay:
                self._begin(connection, self._later(connection, work))
            else:
                self._send_whole(connection, work)

    def _magic(self, seen: Seen) -> Answer:
        """The answer that the words in the model's name ask for."""
        model = seen.model or ""
        _, words = spoken(model)
        if not words:
            return _PLAIN
        fields: dict[str, Any] = {}
        for word in words:
            if word == "flaky":
                self._flaky[model] += 1
                if self._flaky[model] % 2 == 0:
                    continue
            fields |= MAGIC[word]
        return Answer(**fields)

    def _deployed(self, ask: Ask) -> Ask:
        """Azure asks for a deployment; what answers is the model behind it."""
        behind = self.deployments.get(ask.model)
        return ask if behind is None else ask._replace(model=behind)

    def _fail(self, connection: Connection, dialect: Dialect, answer: Answer) -> None:
        failure = dialect.fail(answer.status, answer.message or _MESSAGES.get(answer.status, "No."))
        headers = {"content-type": "application/json", **answer.headers}
        if answer.retry_after is not None:
            headers["retry-after-ms"] = f"{answer.retry_after * 1000:g}"
            headers["retry-after"] = f"{answer.retry_after:g}"
        connection.reply(answer.status, headers, dumps(failure.body))

    def _send_free(self, connection: Connection, seen: Seen, dialect: Dialect, free: Free) -> None:
        body = free.answer(seen, self._memory)
        if body is None:
            self._fail(connection, dialect, Answer(status=404))
        elif isinstance(body, bytes):  # the events of a stream that is over
            connection.reply(200, {"content-type": "text/event-stream"}, body)
        else:
            connection.reply(200, {"content-type": "application/json"}, dumps(body))

    def _send_reply(self, connection: Connection, reply: Reply, *, gzip: bool) -> None:
        body = reply.body if isinstance(reply.body, bytes) else dumps(reply.body)
        headers = {"content-type": reply.content_type}
        if gzip:
            headers["content-encoding"] = "gzip"
            body = _gzip(body)
        connection.reply(200, headers, body)

    def _send_whole(self, connection: Connection, work: "_Work") -> None:
        said = work.endpoint.whole(work.ask, work.result)
        body = said if isinstance(said, bytes) else dumps(said)
        headers = {**_headers(work), "content-type": work.endpoint.content_type}
        if isinstance(said, bytes) and work.endpoint.content_type == "application/json":
            headers["content-type"] = "text/plain; charset=utf-8"  # asked for text, or subtitles
        if work.answer.gzip:
            headers["content-encoding"] = "gzip"
            body = _gzip(body)
        self._close_account(
            work, reported=not connection.lost, ending="left" if connection.lost else "complete"
        )
        connection.reply(200, headers, body)

    async def _later(self, connection: Connection, work: "_Work") -> None:
        await asyncio.sleep(work.answer.delay)
        self._send_whole(connection, work)

    async def _stream(self, connection: Connection, work: "_Work", events: list[Event]) -> None:
        answer = work.answer
        if answer.delay:
            await asyncio.sleep(answer.delay)
        headers = {**_headers(work), "content-type": work.endpoint.stream_type}
        connection.begin(200, headers, gzip=answer.gzip, split=answer.split)
        stop = _stop(answer, events)
        generated, billed = 0, False
        for i, event in enumerate(events[:stop]):
            await asyncio.sleep(answer.pace if i else 0)
            if connection.lost:
                break
            if event.closing and not billed:
                # Before it is sent: who has read the end of a stream finds it in the ledger.
                self._close_account(work, reported=any(e.reports for e in events[i:stop]))
                billed = True
            await connection.send(event.data)
            generated = event.generated
        if not billed:
            ending = "left" if connection.lost else answer.ending
            self._close_account(work, reported=False, ending=ending, generated=generated)
        if connection.lost or answer.ending in ("complete", "silent"):
            connection.end()
        elif answer.ending == "cut":
            await asyncio.sleep(0.01)
            connection.cut()
        else:
            message = answer.message or "The stand-in's model is overloaded."
            broken = work.endpoint.broken
            failure = broken(message) if broken else work.dialect.fail(529, message).event
            await connection.send(failure)
            connection.end()

    def _close_account(
        self,
        work: "_Work",
        *,
        reported: bool,
        ending: str = "complete",
        generated: int | None = None,
    ) -> None:
        """Bill an answer: as a whole, or what had been `generated` of its output."""
        ask, result = work.ask, work.result
        if ask.extra.get("background"):
            generated, ending = None, "complete"  # it goes on without the client
        usage = result.usage if generated is None else spent(result.usage, generated)
        if work.endpoint.after is not None and ending == "complete":
            work.endpoint.after(ask, result, self._memory)
        told = reported and ask.reports and work.answer.tells_usage
        self._bill(work, usage, result.units, reported=told, ending=ending)

    def _bill(
        self,
        work: "_Work",
        usage: Mapping[str, int],
        units: Mapping[str, int | Decimal],
        *,
        reported: bool,
        ending: str,
    ) -> None:
        ask, result = work.ask, work.result
        usd = tariff.charge(result.model, usage, units, tier=result.tier, regional=ask.regional)
        self.ledger.add(
            Bill(
                id=f"{work.endpoint.prefix}{result.id}",
                time=result.time,
                provider=ask.provider,
                endpoint=ask.endpoint,
                model=result.model,
                asked=ask.asked,
                stream=ask.stream,
                usage=usage,
                units=units,
                usd=usd,
                reported=reported,
                tier=result.tier,
                tag=work.seen.headers.get("x-standin-tag"),
                ending=ending,
            )
        )

    def _send_raw(self, connection: Connection, seen: Seen, dialect: Dialect, raw: Raw) -> None:
        if raw.bill is not None:
            endpoint = dialect.find(seen)
            if isinstance(endpoint, Endpoint):
                ask = self._deployed(endpoint.read(seen, self._memory))
                result = self._mind.compose(ask, raw.bill, next(self._numbers), time.time())
                work = _Work(seen, dialect, endpoint, ask, raw.bill, result)
                ending = "complete" if raw.cut_after is None else "cut"
                reported = raw.cut_after is None
                self._bill(work, result.usage, result.units, reported=reported, ending=ending)
        if raw.chunked or raw.delay:
            self._begin(connection, self._stream_raw(connection, raw))
        else:
            body = b"".join(raw.pieces)
            headers = dict(raw.headers)
            if raw.gzip:
                headers["content-encoding"] = "gzip"
                body = _gzip(body)
            connection.reply(raw.status, headers, body)

    async def _stream_raw(self, connection: Connection, raw: Raw) -> None:
        if raw.delay:
            await asyncio.sleep(raw.delay)
        connection.begin(raw.status, raw.headers, gzip=raw.gzip)
        for i, piece in enumerate(raw.pieces[: raw.cut_after]):
            await asyncio.sleep(raw.pace if i else 0)
            if connection.lost:
                break
            await connection.send(piece)
        if raw.cut_after is None:
            connection.end()
        else:
            await asyncio.sleep(0.01)
            connection.cut()

    def _begin(self, connection: Connection, work: Coroutine[Any, Any, None]) -> None:
        """Run an answer that takes its time beside the others."""
        task = self._loop.create_task(work)
        self._unsettled += 1
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._unsettled -= 1
            error = None if task.cancelled() else task.exception()
            if error is not None:
                connection.cut()
                self._loop.call_exception_handler(
                    {"message": "The stand-in failed in an answer", "exception": error}
                )

        task.add_done_callback(ended)

    def _admin(self, connection: Connection, method: str, what: str) -> None:
        """The ledger over HTTP: `GET ledger`, `POST reset`."""
        body: Any = {"error": "GET ledger or POST reset"}
        status = 404
        if (method, what) == ("GET", "ledger"):
            bills = self.ledger.as_json()
            usage, usd = self.ledger.usage(), str(self.ledger.usd())
            status, body = 200, {"bills": bills, "usage": usage, "usd": usd}
        elif (method, what) == ("POST", "reset"):
            self.reset()
            status, body = 200, {"ok": True}
        connection.reply(status, {"content-type": "application/json"}, dumps(body))


class _Work(NamedTuple):
    """One answer on its way."""

    seen: Seen
    dialect: Dialect
    endpoint: Endpoint
    ask: Ask
    answer: Answer
    result: Result


_PLAIN = Answer()

_MESSAGES: Mapping[int, str] = {
    400: "The request is not valid.",
    401: "The key is not valid.",
    404: "The model does not exist.",
    429: "Too many requests: slow down.",
    500: "Something went wrong on our side.",
    529: "Overloaded.",
}


def _dialect(seen: Seen) -> Dialect:
    """Who is being spoken to, by the path; where two share it, by the headers."""
    path = seen.path
    last = path.rsplit("/", 1)[-1]
    if path.endswith("/models") and seen.method == "GET":
        if "x-goog-api-key" in seen.headers:
            return gemini.DIALECT
        return anthropic.DIALECT if "anthropic-version" in seen.headers else openai.DIALECT
    if "/publishers/anthropic/" in path or "/messages" in path or path.startswith("/model/"):
        return anthropic.DIALECT
    return gemini.DIALECT if ":" in last or interactions.speaks(seen) else openai.DIALECT


def _wanted(match: Match) -> Callable[[Seen], bool]:
    if match is None:
        return lambda seen: True
    if callable(match):
        return match
    pattern = re.compile(match)
    return lambda seen: bool(pattern.search(f"{seen.path}?{seen.query}"))


def _body(incoming: Incoming) -> Any:
    body = incoming.body
    if incoming.headers.get("content-encoding") in ("gzip", "deflate"):
        body = zlib.decompress(body, wbits=47)
    kind = incoming.headers.get("content-type", "")
    if kind.startswith("multipart/"):
        return multipart(body, kind)
    if "json" in kind and body:
        return json.loads(body)
    return body


def _has(seen: Seen, field: str) -> bool:
    return isinstance(seen.body, dict) and field in seen.body


_HEADERS: Mapping[str, Mapping[str, str]] = {
    "openai": {"x-request-id": "req_{0.id}", "openai-processing-ms": "1"},
    "azure.ai.openai": {"x-request-id": "req_{0.id}", "x-ms-region": "East US 2"},
    "anthropic": {"request-id": "req_{0.id}"},
    "aws.bedrock": {"x-amzn-requestid": "{0.id}"},
    "gcp.gemini": {"x-gemini-service-tier": "{0.tier}"},
    "gcp.vertex_ai": {},
}


def _headers(work: _Work) -> dict[str, str]:
    """What a provider tells beside the body."""
    told = {name: value.format(work.result) for name, value in _HEADERS[work.ask.provider].items()}
    return {**told, **work.answer.headers}


def _stop(answer: Answer, events: list[Event]) -> int:
    """How many events are sent."""
    if answer.ending == "complete":
        return len(events)
    if answer.after is not None:
        return answer.after
    if answer.ending == "silent":
        return next((i for i, event in enumerate(events) if event.closing), len(events))
    return len(events) // 2


def _cut(data: bytes, chunks: int | Sequence[int] | Sequence[bytes] | None) -> tuple[bytes, ...]:
    """The writes of a raw reply."""
    if chunks is None:
        return (data,)
    if isinstance(chunks, int):
        return tuple(data[at : at + chunks] for at in range(0, len(data), chunks))
    pieces: list[bytes] = []
    at = 0
    for chunk in chunks:
        if isinstance(chunk, bytes):
            pieces.append(chunk)
            continue
        pieces.append(data[at : at + chunk])
        at += chunk
    if at and at < len(data):
        pieces.append(data[at:])
    return tuple(pieces)


def _content_type(data: bytes) -> str:
    start = data.lstrip()[:6]
    if start.startswith((b"data:", b"event:", b":", b"id:")):
        return "text/event-stream"
    return "application/json" if start.startswith((b"{", b"[")) else "text/plain"


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()
