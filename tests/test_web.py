"""Middleware under the real frameworks, over real sockets, checked against the stand-in's ledger."""

import asyncio
import http.client
import json
import logging
import re
import sys
import threading
import time
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import django
import flask
import openai
import pytest
import uvicorn
from django.conf import settings as django_settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import clear_url_caches
from django.urls import path as django_path
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from opentelemetry import context
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from websockets.sync.client import connect

from otel_llm_usage import (
    current_usage,
    guard,
    instrument,
    record_usage,
    stream_with_usage,
)
from otel_llm_usage.streaming import sse
from otel_llm_usage.web import KEY, UsageMiddleware, UsageWSGIMiddleware

from .witness import billed, counted

HELLO = [{"role": "user", "content": "hello"}]
CHAT = {"model": "gpt-4.1", "messages": HELLO}
TOKENS, COST = "x-llm-tokens", "x-llm-cost-usd"
STREAM = "text/event-stream"


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert current_usage() is None
    assert context.get_current() == {}


@pytest.fixture
def gpt(llm_standin):
    """Calls a model, for the ledger under a tag."""
    instrument(otlp=False)
    with openai.OpenAI(max_retries=0) as client:
        yield lambda tag, **more: client.chat.completions.create(
            **CHAT, **more, extra_headers={"x-standin-tag": tag}
        )


@pytest.fixture
def agpt(llm_standin):
    """The same for coroutines, of any event loop."""
    instrument(otlp=False)

    async def call(tag):
        async with openai.AsyncOpenAI(max_retries=0) as client:
            return await client.chat.completions.create(
                **CHAT, extra_headers={"x-standin-tag": tag}
            )

    return call


def shown(headers):
    """Tokens and dollars of an answer's headers."""
    return int(headers[TOKENS]), Decimal(headers[COST])


@contextmanager
def asgi(app, lifespan="auto"):
    """Serve an ASGI application; gives a function that asks."""
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan=lifespan)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    end = time.monotonic() + 60
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    try:
        yield partial(ask, server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()


class _Threads(ThreadingMixIn, WSGIServer):
    pass


class _Quiet(WSGIRequestHandler):
    def log_message(self, format, *args):
        pass


@contextmanager
def wsgi(app):
    """Serve a WSGI application that is held against the standard; gives a function that asks."""
    server = make_server("127.0.0.1", 0, validator(app), _Threads, _Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield partial(ask, server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(port, path="/", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return {name.lower(): value for name, value in answer.getheaders()}, body.decode()


def events(body):
    """The data of the server-sent events, as a browser splits them."""
    assert body.endswith("\n\n")
    return [block.removeprefix("data: ") for block in body.split("\n\n") if block.strip("\n")]


# -- FastAPI and Starlette


@pytest.fixture
def ended():
    return []


def wait_for(ended, many=1):
    """What `on_end` was told: the answer may be here before."""
    end = time.monotonic() + 30
    while len(ended) < many and time.monotonic() < end:
        time.sleep(0.01)
    assert len(ended) == many
    return ended


@pytest.fixture(params=["alone", "under another middleware"])
def fast(request, gpt, agpt, ended):
    """A FastAPI application with every kind of endpoint."""
    app = FastAPI()
    if request.param != "alone":

        async def passing(request, call_next):
            await agpt("middleware")
            return await call_next(request)

        app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    app.add_middleware(UsageMiddleware, user="x-user-id", on_end=ended.append)

    @app.get("/async")
    async def asynchronous(request: Request):
        await agpt("async")
        assert request.scope[KEY] is current_usage()
        return {"id": current_usage().id}

    @app.get("/thread")
    def thread(request: Request):
        gpt("thread")
        assert request.scope[KEY] is current_usage()
        return {"id": current_usage().id}

    @app.get("/background")
    def background(tasks: BackgroundTasks):
        tasks.add_task(gpt, "background")
        tasks.add_task(agpt, "background")
        gpt("background")
        return {}

    @app.get("/stream-sync")
    def stream():
        def words():
            for number in range(3):
                gpt("stream-sync")
                yield f"{number}\n"

        return StreamingResponse(words(), media_type="text/plain")

    @app.get("/stream-async")
    async def stream_async():
        async def words():
            for number in range(3):
                await agpt("stream-async")
                yield f"{number}\n"

        return StreamingResponse(words(), media_type="text/plain")

    return app


@pytest.mark.parametrize("path", ["async", "thread", "background", "stream-sync", "stream-async"])
def test_every_kind_of_endpoint_is_charged_to_its_request(fast, llm_standin, ended, path):
    with asgi(fast) as get:
        headers, _ = get(f"/{path}", x_user_id="u1")
    (usage,) = wait_for(ended)
    own, middleware = billed(llm_standin, path), billed(llm_standin, "middleware")
    assert own[0] == {"async": 1, "thread": 1}.get(path, 3)
    assert counted(usage) == tuple(map(sum, zip(own, middleware, strict=True)))
    assert {dict(record.labels)["user"] for record in usage.records} == {"u1"}
    if path.startswith("stream"):
        assert TOKENS not in headers
        assert COST not in headers
    elif path != "background":
        assert shown(headers) == counted(usage)[1:]
    else:
        assert 0 < shown(headers)[0] < usage.total.total_tokens  # what came later is not in it


def test_requests_at_once_do_not_bleed(llm_standin, gpt, agpt, ended):
    app = FastAPI()
    app.add_middleware(UsageMiddleware, id="x-request-id", on_end=ended.append)

    @app.get("/async/{number}")
    async def asynchronous(number: int):
        await asyncio.gather(*(agpt(str(number)) for _ in range(number % 3 + 1)))
        return {}

    @app.get("/thread/{number}")
    def thread(number: int):
        def words():
            for _ in range(number % 4):
                gpt(str(number))
                yield "w"

        gpt(str(number))
        return StreamingResponse(words())

    with asgi(app) as get:

        def one(number):
            kind = "thread" if number % 2 else "async"
            get(f"/{kind}/{number}", x_request_id=str(number))

        threads = [threading.Thread(target=one, args=(number,)) for number in range(30)]
        for started in threads:
            started.start()
        for started in threads:
            started.join()
    wait_for(ended, 30)
    assert {usage.id: counted(usage) for usage in ended} == {
        str(number): billed(llm_standin, str(number)) for number in range(30)
    }


def test_a_request_without_calls_cost_nothing_and_says_so(llm_standin):
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("hello"))])
    with asgi(UsageMiddleware(app)) as get:
        headers, body = get()
    assert (headers[TOKENS], headers[COST], body) == ("0", "0", "hello")


def test_a_websocket_is_one_scope(llm_standin, agpt, ended):
    app = FastAPI()
    app.add_middleware(UsageMiddleware, user=lambda scope: scope["path"], on_end=ended.append)

    @app.websocket("/talk")
    async def talk(socket: WebSocket):
        await socket.accept()
        for _ in range(2):
            await socket.receive_text()
            await agpt("talk")
            await socket.send_text(current_usage().id)
        await socket.close()

    with asgi(app) as get, connect(f"ws://127.0.0.1:{get.args[0]}/talk") as socket:
        socket.send("one")
        first = socket.recv()
        socket.send("two")
        assert socket.recv() == first
    (usage,) = wait_for(ended)
    assert usage.id == first
    assert counted(usage) == billed(llm_standin, "talk")
    assert usage.total.calls == 2
    assert usage.labels == {"user": "/talk"}


def test_a_stream_of_events_ends_with_the_summary(llm_standin, gpt):
    app = FastAPI()
    app.add_middleware(UsageMiddleware, final_event=True)

    @app.get("/")
    def answer():
        def words():
            for number in range(2):
                gpt("events")
                yield f"data: {number}\n\n"

        return StreamingResponse(words(), media_type=STREAM)

    with asgi(app) as get:
        headers, body = get()
        assert get(method="HEAD")[1] == ""
    first, second, last = events(body)
    assert (first, second) == ("0", "1")
    told = json.loads(last)
    calls, tokens, usd = billed(llm_standin, "events")
    assert told["type"] == "token_summary"
    assert told["grand_total"]["calls"] == calls == 2
    assert told["grand_total"]["total_tokens"] == tokens
    assert told["grand_total"]["estimated_cost_usd"] == float(usd)
    assert TOKENS not in headers


def test_a_compressed_stream_of_events_stays_as_it_is(llm_standin):
    async def answer(request):
        async def words():
            for _ in range(100):
                yield b"data: word\n\n"

        return StreamingResponse(words(), media_type=STREAM, headers={"content-encoding": "br"})

    async def short(request):
        return Response(b"data: word\n\n", media_type=STREAM)

    app = Starlette(routes=[Route("/", answer), Route("/short", short)])
    with asgi(UsageMiddleware(app, final_event=True)) as get:
        assert get()[1] == "data: word\n\n" * 100
        headers, body = get("/short")
    assert body == "data: word\n\n"
    assert headers[TOKENS] == "0"


def test_a_compressed_answer_has_its_headers(llm_standin, gpt):
    def answer(request):
        gpt("gzip")
        return PlainTextResponse("word " * 1000)

    app = Starlette(routes=[Route("/", answer)])
    app.add_middleware(GZipMiddleware)
    app.add_middleware(UsageMiddleware)
    with asgi(app) as get:
        connection = http.client.HTTPConnection("127.0.0.1", get.args[0])
        connection.request("GET", "/", headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
    assert answer.getheader("content-encoding") == "gzip"
    assert shown({k.lower(): v for k, v in answer.getheaders()}) == billed(llm_standin, "gzip")[1:]


def test_a_streaming_orchestrator_inside_a_request(llm_standin, agpt, ended):
    """The stream's own scope, and the request's around it."""
    app = FastAPI()
    app.add_middleware(UsageMiddleware, on_end=ended.append)

    @app.get("/")
    async def answer():
        await agpt("before")

        async def words():
            await agpt("stream")
            yield sse({"type": "word"})

        return StreamingResponse(stream_with_usage(words(), render=sse), media_type=STREAM)

    with asgi(app) as get:
        _, body = get()
    _, last = map(json.loads, events(body))
    assert last["grand_total"]["total_tokens"] == billed(llm_standin, "stream")[1]
    assert wait_for(ended)[0].total.calls == 2


def test_a_client_that_goes_away_ends_the_request(llm_standin, gpt, ended):
    app = FastAPI()
    app.add_middleware(UsageMiddleware, on_end=ended.append)
    closed = []

    @app.get("/")
    def answer():
        def words():
            try:
                while True:
                    gpt("away")
                    yield "word\n" * 10_000
            finally:
                closed.append(current_usage())

        return StreamingResponse(words())

    with asgi(app) as get:
        connection = http.client.HTTPConnection("127.0.0.1", get.args[0])
        connection.request("GET", "/")
        connection.getresponse().read(10)
        connection.sock.close()
        connection.close()
        (usage,) = wait_for(ended)
    assert counted(usage) == billed(llm_standin, "away")


def test_the_python_of_the_page_runs(llm_standin, gpt, capsys):
    page = (Path(__file__).parent.parent / "docs" / "web.md").read_text()
    fast, flask_, streams = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict = {"__name__": __name__}
    exec(fast, names)

    @names["app"].get("/")
    def hello():
        gpt("page")
        return {}

    with asgi(names["app"]) as get:
        headers, _ = get(x_user_id="u1")
    _, tokens, usd = billed(llm_standin, "page")
    assert shown(headers) == (tokens, usd)
    assert f"{{'user': 'u1'}} ${usd}" in capsys.readouterr().out
    exec(flask_, names)
    assert run_wsgi(names["app"].wsgi_app)[0][0] == "404 NOT FOUND"
    exec(streams, names)

    async def read():
        return [event async for event in names["events"]]

    assert [json.loads(event[6:])["type"] for event in asyncio.run(read())] == [
        "text",
        "token_summary",
    ]


# -- ASGI, message by message


def http_scope(**more):
    return {"type": "http", "method": "GET", "path": "/", "headers": [], **more}


def run_asgi(app, scope=None):
    """What an application sends, and what it raises."""
    sent, raised = [], []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    async def run():
        try:
            await app(http_scope() if scope is None else scope, receive, send)
        except BaseException as error:
            raised.append(error)

    asyncio.run(run())
    return sent, raised


def start(*headers, status=200):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content=b"", more=False):
    return {"type": "http.response.body", "body": content, "more_body": more}


def sending(*messages):
    async def app(scope, receive, send):
        for message in messages:
            if isinstance(message, BaseException):
                raise message
            await send(message)

    return app


FIGURES = [(b"x-llm-tokens", b"0"), (b"x-llm-cost-usd", b"0")]
LENGTH = (b"content-length", b"4")
EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")


@pytest.mark.parametrize(
    ("messages", "figures"),
    [
        ([start(), body(b"abcd")], True),
        ([start(LENGTH), body(b"ab", more=True), body(b"cd")], True),
        ([start(), body(b"ab", more=True), body(b"cd")], False),
        ([start(LENGTH), {"type": "http.response.zerocopysend", "file": 7}], True),
        ([start(), {"type": "http.response.pathsend", "path": "/f"}], True),
        ([start(EVENTS), body(b"data: a\n\n", more=True), body()], False),
        ([{"type": "http.response.start", "status": 204}, body()], True),
        ([{"type": "http.response.debug", "info": {}}, start(), body()], True),
    ],
    ids=["one body", "length", "stream", "zero copy", "path", "events", "no headers", "debug"],
)
def test_headers_where_the_calls_are_over_and_nothing_else_is_changed(messages, figures):
    given = [dict(message) for message in messages]
    sent, raised = run_asgi(UsageMiddleware(sending(*messages)))
    assert raised == []
    expected = [dict(message) for message in given]
    for message in expected:
        if figures and message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *FIGURES]
    assert sent == expected
    assert messages == given


def test_headers_that_can_be_read_only_once():
    messages = [{**start(), "headers": iter([LENGTH])}, body(b"abcd")]
    assert run_asgi(UsageMiddleware(sending(*messages)))[0][0] == start(LENGTH, *FIGURES)


def test_headers_can_be_switched_off():
    messages = [start(), body(b"abcd")]
    assert run_asgi(UsageMiddleware(sending(*messages), headers=False))[0] == messages


def test_what_the_application_says_wins_and_nothing_is_there_twice():
    mine = (b"X-LLM-Tokens", b"7")
    app = UsageMiddleware(UsageMiddleware(sending(start(mine), body())))
    assert run_asgi(app)[0][0]["headers"] == [mine, FIGURES[1]]


def test_a_beginning_that_is_held_back_comes_out_in_any_case():
    error = KeyError("theirs")
    sent, raised = run_asgi(UsageMiddleware(sending(start(), error)))
    assert (sent, raised) == ([start()], [error])
    assert run_asgi(UsageMiddleware(sending(start())))[0] == [start()]
    twice = [start(), start(LENGTH), body()]
    assert [message["type"] for message in run_asgi(UsageMiddleware(sending(*twice)))[0]] == [
        message["type"] for message in twice
    ]


def test_a_stream_of_events_begins_at_once():
    async def app(scope, receive, send):
        await send(start(EVENTS))
        assert begun == [start(EVENTS)]
        await send(body())

    begun = []

    async def send(message):
        begun.append(message)

    asyncio.run(UsageMiddleware(app)(http_scope(), None, send))


def test_what_is_not_known_is_not_in_the_headers(llm_standin):
    instrument(otlp=False)

    async def app(scope, receive, send):
        if scope["path"] == "/price":
            with openai.OpenAI() as client:
                client.chat.completions.create(model="nobody-knows-1", messages=HELLO)
        else:
            record_usage({"model": "gpt-4.1"}, provider="openai")
        await send(start())
        await send(body())

    (first, _), _ = run_asgi(UsageMiddleware(app), http_scope(path="/price"))
    (bill,) = llm_standin.ledger
    assert first["headers"] == [(b"x-llm-tokens", str(sum(bill.usage.values())).encode())]
    (first, _), _ = run_asgi(UsageMiddleware(app), http_scope(path="/tokens"))
    assert first["headers"] == []


ENDINGS = {
    b"data: a\n\n": b"",
    b"data: a\r\n\r\n": b"",
    b"data: a\r\r": b"",
    b"data: a\n": b"\n\n",
    b"data: a\r\n": b"\n\n",
    b"data: a": b"\n\n",
    b"": b"",
}


@pytest.mark.parametrize("pieces", ["at once", "by byte", "with the end"])
@pytest.mark.parametrize(("end", "between"), ENDINGS.items(), ids=map(repr, ENDINGS))
def test_the_last_event_is_one_of_its_own(end, between, pieces):
    if pieces == "with the end":
        messages = [start(EVENTS), body(end)]
    else:
        parts = [end] if pieces == "at once" else [bytes([byte]) for byte in end]
        messages = [start(EVENTS), *(body(part, more=True) for part in parts), body()]
    seen = []
    app = UsageMiddleware(sending(*messages), final_event=True, on_end=seen.append)
    sent, raised = run_asgi(app)
    assert raised == []
    assert [message.get("more_body") for message in sent[1:-1]] == [True] * (len(sent) - 2)
    assert sent[-1] == body()
    event = sse(seen[0].token_summary()).encode()
    assert b"".join(message["body"] for message in sent[1:]) == end + between + event


@pytest.mark.parametrize(
    ("scope", "head"),
    [
        (http_scope(), start((b"content-type", b"text/plain"))),
        (http_scope(), start(EVENTS, LENGTH)),
        (http_scope(), start(EVENTS, (b"content-encoding", b"gzip"))),
        (http_scope(), start(EVENTS, status=204)),
        (http_scope(method="HEAD"), start(EVENTS)),
    ],
    ids=["text", "length", "encoded", "no content", "HEAD"],
)
def test_no_event_where_there_is_none_to_add(scope, head):
    messages = [head, body(b"abcd", more=True), body()]
    app = UsageMiddleware(sending(*messages), headers=False, final_event=True)
    assert run_asgi(app, scope)[0] == messages


def test_other_kinds_of_connections_pass_untouched():
    got = []

    async def app(*given):
        got.append(given)

    scope, receive, send = {"type": "lifespan"}, object(), object()
    asyncio.run(UsageMiddleware(app, on_end=got.append)(scope, receive, send))
    assert got == [(scope, receive, send)]
    assert scope == {"type": "lifespan"}


async def test_on_end_is_called_once_and_awaited_also_when_the_request_is_cancelled(agpt, ended):
    here = asyncio.Event()

    async def app(scope, receive, send):
        await agpt("cancelled")
        here.set()
        await asyncio.sleep(60)

    async def on_end(usage):
        assert current_usage() is None
        await asyncio.sleep(0.01)
        ended.append(usage.total.calls)

    task = asyncio.create_task(UsageMiddleware(app, on_end=on_end)(http_scope(), None, None))
    await here.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [1]


def test_on_end_is_called_once_when_the_application_fails(ended):
    error = KeyError("theirs")
    _, raised = run_asgi(UsageMiddleware(sending(error), on_end=ended.append))
    assert raised == [error]
    assert len(ended) == 1


# -- whose it is


def asked(scope, **who):
    """The scope of a request."""
    seen = []
    run_asgi(UsageMiddleware(sending(start(), body()), on_end=seen.append, **who), scope)
    return seen[0]


def asked_wsgi(environ, **who):
    seen = []

    def app(environ, start_response):
        start_response("200 OK", [])
        return []

    setup_testing_defaults(environ)
    UsageWSGIMiddleware(app, on_end=seen.append, **who)(environ, lambda *_: None)
    return seen[0]


def test_whose_it_is_is_in_headers_and_in_functions():
    scope = http_scope(headers=[(b"x-user-id", b" u1 "), (b"x-request", b"r7")], team="search")
    usage = asked(
        scope,
        user="X-User-Id",
        id="X-Request",
        session=lambda scope: scope["path"],
        labels=lambda scope: {"team": scope["team"], "user": "not this", "none": None, "n": 7},
    )
    assert usage is scope[KEY]
    assert usage.id == "r7"
    assert usage.labels == {"user": "u1", "session": "/", "team": "search", "n": "7"}
    environ = {"HTTP_X_USER_ID": " u1 ", "HTTP_X_REQUEST": "r7", "team": "search"}
    usage = asked_wsgi(
        environ,
        user="X-User-Id",
        id="x-request",
        session=lambda environ: environ["PATH_INFO"],
        labels=lambda environ: {"team": environ["team"]},
    )
    assert usage is environ[KEY]
    assert usage.id == "r7"
    assert usage.labels == {"user": "u1", "session": "/", "team": "search"}


def test_nobody_says_anything():
    first, second = asked(http_scope(), user="x-user-id", id="x-id"), asked(http_scope())
    assert first.labels == second.labels == {}
    assert first.id != second.id
    assert asked(http_scope(), id=lambda scope: "", user=lambda scope: None).labels == {}


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ("a" * 300, "a" * 256),
        ("a\tb", None),
        ("a\x1b[31m", None),
        ("a\x7f", None),
        ("  ", None),
        ("J\xfcrgen", "J\xfcrgen"),
    ],
    ids=["long", "tab", "escape", "delete", "blank", "letters"],
)
def test_what_a_client_says_is_bounded(sent, taken):
    expected = {} if taken is None else {"user": taken}
    scope = http_scope(headers=[(b"x-user-id", sent.encode("latin-1"))])
    assert asked(scope, user="x-user-id").labels == expected
    assert asked_wsgi({"HTTP_X_USER_ID": sent}, user="x-user-id").labels == expected


class _Unspeakable:
    def __str__(self):
        raise KeyError("text")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("user", lambda scope: scope["nothing"]),
        ("session", lambda scope: _Unspeakable()),
        ("id", lambda scope: 1 / 0),
        ("labels", lambda scope: [7]),
        ("labels", lambda scope: {7: 8}),
        ("labels", lambda scope: {"a": _Unspeakable()}),
    ],
    ids=["raises", "no text", "division", "no mapping", "no names", "no values"],
)
def test_a_function_that_fails_is_counted_and_the_request_goes_on(name, function, caplog):
    seen = []
    app = sending(start(), body(b"fine"))
    middleware = UsageMiddleware(app, **{name: function}, on_end=seen.append)
    sent, raised = run_asgi(middleware)
    assert raised == []
    assert sent[-1] == body(b"fine")
    assert seen[0].labels == {}
    assert guard.errors[f"web.{name}"] == 1
    assert f"web.{name}" in caplog.text


@pytest.mark.faults
def test_what_on_end_raises_is_counted_and_the_request_goes_on(caplog):
    def fails(usage):
        raise KeyError("ours to count")

    async def fails_later(usage):
        raise KeyError("ours to count")

    with caplog.at_level(logging.ERROR):
        for on_end in (fails, fails_later):
            app = UsageMiddleware(sending(start(), body()), on_end=on_end)
            sent, raised = run_asgi(app)
            assert (len(sent), raised) == (2, [])
    assert guard.errors["on_end"] == 2


async def never(scope):
    """A coroutine function."""


@pytest.mark.parametrize("middleware", [UsageMiddleware, UsageWSGIMiddleware])
@pytest.mark.parametrize("wrong", [{"user": 7}, {"id": never}, {"labels": never}, {"labels": "x"}])
def test_what_is_wrong_is_said_at_once(middleware, wrong):
    with pytest.raises(TypeError, match=r"takes (the name of a header or )?a function"):
        middleware(None, **wrong)


def test_wsgi_awaits_nothing():
    with pytest.raises(TypeError, match="awaits nothing"):
        UsageWSGIMiddleware(None, on_end=never)


# -- WSGI


def environment(**more):
    environ = {"QUERY_STRING": "", **more}
    setup_testing_defaults(environ)
    return environ


def run_wsgi(app, read=True, **more):
    """What a server sees: the headers, and the chunks; both sides are held against the standard."""
    seen = []
    environ = environment(**more)

    def start_response(status, headers, exc_info=None):
        seen.append((status, headers, exc_info))
        return written.append

    written = []
    answer = validator(app)(environ, start_response)
    chunks = []
    try:
        if read:
            chunks.extend(answer)
    finally:
        answer.close()
    return seen[-1] if seen else None, written + chunks


def middleware(app, **options):
    """Ours, held against the standard from inside, too."""

    def checked(environ, start_response):
        # of a name without a dot the validator thinks that it is CGI's, and text
        environ = {name: value for name, value in environ.items() if name != KEY}
        return validator(app)(environ, start_response)

    return UsageWSGIMiddleware(checked, **options)


TEXT = ("Content-Type", "text/plain")
SSE = ("Content-Type", STREAM)
WSGI_FIGURES = [("X-LLM-Tokens", "0"), ("X-LLM-Cost-USD", "0")]


@pytest.mark.parametrize("length", [[("Content-Length", "4")], []], ids=["length", "none"])
def test_wsgi_headers_where_the_length_is_known(length):
    def app(environ, start_response):
        start_response("200 OK", [TEXT, *length])
        return [b"ab", b"cd"]

    (status, headers, _), chunks = run_wsgi(middleware(app))
    assert status == "200 OK"
    assert headers == [TEXT, *length, *(WSGI_FIGURES if length else [])]
    assert chunks == [b"ab", b"cd"]
    assert run_wsgi(middleware(app, headers=False))[0][1] == [TEXT, *length]


def test_wsgi_what_the_application_says_wins():
    mine = [TEXT, ("Content-Length", "0"), ("x-llm-tokens", "7")]

    def app(environ, start_response):
        start_response("200 OK", list(mine))
        return []

    twice = UsageWSGIMiddleware(middleware(app))
    assert run_wsgi(twice)[0][1] == [*mine, WSGI_FIGURES[1]]


def test_wsgi_steps_and_close_are_charged_and_what_is_between_is_not(llm_standin, gpt, ended):
    order = []

    class Answer:
        """An iterable with a close of its own, as frameworks return."""

        def __iter__(self):
            for number in range(3):
                gpt("request")
                order.append(current_usage())
                yield str(number).encode()

        def close(self):
            gpt("request")
            order.append("closed")

    def app(environ, start_response):
        gpt("request")
        start_response("200 OK", [TEXT])
        return Answer()

    def on_end(usage):
        order.append("ended")
        ended.append(counted(usage))

    answer = UsageWSGIMiddleware(app, on_end=on_end)(environment(), lambda *_: None)
    for _ in answer:
        assert current_usage() is None
        gpt("between")
    answer.close()
    answer.close()
    usage = order[0]
    assert order == [usage, usage, usage, "closed", "ended", "closed"]
    assert ended[0][0] == 5  # the server that closes twice does so after the end
    assert counted(usage) == billed(llm_standin, "request")
    assert billed(llm_standin, "between")[0] == 3


def test_two_wsgi_answers_whose_steps_alternate_in_one_thread(llm_standin, gpt, ended):
    def app(environ, start_response):
        start_response("200 OK", [TEXT])
        for _ in range(3):
            gpt(environ["PATH_INFO"])
            yield b"word"

    wrapped = UsageWSGIMiddleware(app, id=lambda environ: environ["PATH_INFO"], on_end=ended.append)
    answers = [wrapped(environment(PATH_INFO=name), lambda *_: None) for name in ("/a", "/b")]
    for _ in zip(*answers, strict=True):
        pass
    for answer in answers:
        answer.close()
    assert {usage.id: counted(usage) for usage in ended} == {
        name: billed(llm_standin, name) for name in ("/a", "/b")
    }
    assert [usage.total.calls for usage in ended] == [3, 3]


def test_wsgi_an_answer_that_nobody_reads_is_closed_and_ended(ended):
    closed = []

    def app(environ, start_response):
        start_response("200 OK", [TEXT])

        class Answer:
            def __iter__(self):
                raise AssertionError("nobody reads")

            def close(self):
                closed.append(current_usage())

        return Answer()

    answer = UsageWSGIMiddleware(app, on_end=ended.append)(environment(), lambda *_: None)
    answer.close()
    assert closed == ended
    assert len(ended) == 1


@pytest.mark.parametrize("where", ["call", "step", "close"])
def test_wsgi_errors_pass_unchanged(where, ended):
    error = KeyError("theirs")

    class Answer:
        def __iter__(self):
            yield b"one"
            if where == "step":
                raise error

        def close(self):
            if where == "close":
                raise error

    def app(environ, start_response):
        if where == "call":
            raise error
        start_response("200 OK", [TEXT])
        return Answer()

    with pytest.raises(KeyError) as raised:
        run_wsgi(UsageWSGIMiddleware(app, on_end=ended.append))
    assert raised.value is error
    assert len(ended) == 1


def test_wsgi_start_response_again_with_an_error():
    def app(environ, start_response):
        start_response("200 OK", [TEXT, ("Content-Length", "4")])
        try:
            raise KeyError("theirs")
        except KeyError:
            start_response("500 Oh", [TEXT, ("Content-Length", "2")], sys.exc_info())
        return [b"oh"]

    (status, headers, exc_info), chunks = run_wsgi(middleware(app))
    assert (status, chunks) == ("500 Oh", [b"oh"])
    assert exc_info[0] is KeyError
    assert headers == [TEXT, ("Content-Length", "2"), *WSGI_FIGURES]


@pytest.mark.parametrize("how", ["generator", "list", "write"])
@pytest.mark.parametrize(("end", "between"), ENDINGS.items(), ids=map(repr, ENDINGS))
def test_wsgi_the_last_event_is_one_of_its_own(end, between, how, ended):
    def generator(environ, start_response):
        start_response("200 OK", [SSE])
        yield end

    def whole(environ, start_response):
        start_response("200 OK", [SSE])
        return [end]

    def writing(environ, start_response):
        start_response("200 OK", [SSE])(end)
        return []

    app = {"generator": generator, "list": whole, "write": writing}[how]
    _, chunks = run_wsgi(middleware(app, final_event=True, on_end=ended.append))
    event = sse(ended[0].token_summary()).encode()
    assert b"".join(chunks) == end + between + event
    assert len(chunks) == 2  # one chunk for one chunk, and ours
    bare = UsageWSGIMiddleware(app, final_event=True)
    assert b"token_summary" in b"".join(run_wsgi(bare)[1])


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ([TEXT], {}),
        ([SSE, ("Content-Length", "4")], {}),
        ([SSE, ("Content-Encoding", "gzip")], {}),
    ],
    ids=["text", "length", "encoded"],
)
def test_wsgi_no_event_where_there_is_none_to_add(headers, more):
    def app(environ, start_response):
        start_response("200 OK", list(headers))
        return [b"abcd"]

    assert run_wsgi(middleware(app, final_event=True), **more)[1] == [b"abcd"]


def test_wsgi_no_event_after_a_head():
    def app(environ, start_response):
        start_response("200 OK", [SSE])
        return []

    assert run_wsgi(middleware(app, final_event=True), REQUEST_METHOD="HEAD")[1] == []


def test_wsgi_files_and_lists_are_left_to_the_server(tmp_path, ended):
    (tmp_path / "file").write_bytes(b"content")
    answers = []

    def app(environ, start_response):
        start_response("200 OK", [TEXT])
        file = (tmp_path / "file").open("rb")
        answers.append(environ["wsgi.file_wrapper"](file) if len(answers) == 0 else [b"a"])
        if len(answers) > 1:
            file.close()
        return answers[-1]

    wrapped = UsageWSGIMiddleware(app, on_end=ended.append)
    for _ in range(2):
        environ = environment(**{"wsgi.file_wrapper": FileWrapper})
        assert wrapped(environ, lambda *_: None) is answers[-1]
    answers[0].close()
    assert len(ended) == 2


@pytest.fixture
def flasks(gpt, ended, tmp_path):
    app = flask.Flask(__name__)
    (tmp_path / "file.txt").write_text("content")

    @app.get("/plain")
    def plain():
        gpt("plain")
        assert flask.request.environ[KEY] is current_usage()
        return {"id": current_usage().id}

    @app.get("/stream")
    def stream():
        @flask.stream_with_context
        def words():
            for number in range(3):
                gpt("stream")
                yield f"data: {number}\n\n"

        return flask.Response(words(), mimetype=STREAM)

    @app.get("/closing")
    def closing():
        answer = flask.Response("done")
        answer.call_on_close(lambda: gpt("closing"))
        return answer

    @app.get("/file")
    def file():
        gpt("file")
        return flask.send_file(tmp_path / "file.txt")

    @app.get("/fails")
    def fails():
        gpt("fails")
        raise KeyError("theirs")

    app.wsgi_app = UsageWSGIMiddleware(
        app.wsgi_app, user="X-User-Id", final_event=True, on_end=ended.append
    )
    with wsgi(app) as get:
        yield get


@pytest.mark.parametrize("path", ["plain", "stream", "closing", "file", "fails"])
def test_flask(flasks, llm_standin, ended, path):
    headers, body = flasks(f"/{path}", x_user_id="u1")
    (usage,) = wait_for(ended)
    assert counted(usage) == billed(llm_standin, path)
    assert usage.total.calls == (3 if path == "stream" else 1)
    assert {dict(record.labels)["user"] for record in usage.records} == {"u1"}
    if path == "stream":
        *_, last = events(body)
        assert json.loads(last)["grand_total"]["total_tokens"] == usage.total.total_tokens
        assert TOKENS not in headers
    elif path == "closing":
        assert shown(headers) == (0, 0)  # that call came later
    else:
        assert shown(headers) == counted(usage)[1:]


# -- Django


@pytest.fixture(scope="module")
def _django():
    if not django_settings.configured:
        django_settings.configure(
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="of a test",
            ROOT_URLCONF=URLS,
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
            LOGGING_CONFIG=None,
        )
        django.setup()


class URLS:
    """Where Django looks for its views."""

    urlpatterns = ()


@pytest.fixture
def views(_django, gpt, agpt, tmp_path):
    (tmp_path / "file.txt").write_text("content")

    def sync(request):
        gpt("sync")
        return JsonResponse({"id": current_usage().id})

    async def asynchronous(request):
        await agpt("async")
        return HttpResponse(current_usage().id)

    def stream(request):
        def words():
            for number in range(3):
                gpt("stream")
                yield f"data: {number}\n\n"

        return StreamingHttpResponse(words(), content_type=STREAM)

    async def async_stream(request):
        async def words():
            for number in range(3):
                await agpt("async_stream")
                yield f"data: {number}\n\n"

        return StreamingHttpResponse(words(), content_type=STREAM)

    def file(request):
        gpt("file")
        return FileResponse((tmp_path / "file.txt").open("rb"))

    URLS.urlpatterns = [
        django_path("sync", sync),
        django_path("async", asynchronous),
        django_path("stream", stream),
        django_path("async_stream", async_stream),
        django_path("file", file),
    ]
    clear_url_caches()


def check_django(get, llm_standin, ended, path):
    headers, body = get(f"/{path}", x_user_id="u1")
    (usage,) = wait_for(ended)
    assert counted(usage) == billed(llm_standin, path)
    assert usage.total.calls == (3 if "stream" in path else 1)
    assert {dict(record.labels)["user"] for record in usage.records} == {"u1"}
    if "stream" in path:
        *_, last = events(body)
        assert json.loads(last)["grand_total"]["total_tokens"] == usage.total.total_tokens
        assert TOKENS not in headers
    else:
        assert shown(headers) == counted(usage)[1:]
        assert (body == "content") == (path == "file")


@pytest.mark.parametrize("path", ["sync", "async", "stream", "file"])
def test_django_wsgi(views, llm_standin, ended, path):
    app = UsageWSGIMiddleware(
        get_wsgi_application(), user="X-User-Id", final_event=True, on_end=ended.append
    )
    with wsgi(app) as get:
        check_django(get, llm_standin, ended, path)


@pytest.mark.parametrize("path", ["sync", "async", "async_stream"])
def test_django_asgi(views, llm_standin, ended, path):
    app = UsageMiddleware(
        get_asgi_application(), user="X-User-Id", final_event=True, on_end=ended.append
    )
    with asgi(app, lifespan="off") as get:
        check_django(get, llm_standin, ended, path)
