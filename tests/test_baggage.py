"""Who pays, from service to service: what is told, what is heard, and what stays at home."""

import json
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import anthropic
import openai
import pytest
from google import genai
from google.genai import types
from opentelemetry import baggage as w3c
from opentelemetry import context, propagate, trace
from opentelemetry.sdk.trace import TracerProvider

from otel_llm_usage import ConfigurationError, agent, attribute, instrument
from otel_llm_usage.baggage import received
from otel_llm_usage.scope import payer
from otel_llm_usage.web import UsageMiddleware

from .conftest import ROOT

HELLO = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(autouse=True)
def _nothing_is_left():
    before = context.get_current()
    yield
    assert context.get_current() == before


def told():
    """The header that a request to another service has."""
    headers = {}
    propagate.inject(headers)
    return headers.get("baggage")


def who(place=None):
    name, labels = payer(place)
    return name, dict(labels)


def test_nothing_is_told_unless_it_is_listed(llm_standin):
    instrument(otlp=False)
    with attribute(agent="planner", user="u1"):
        assert told() is None


@pytest.mark.parametrize(
    ("header", "heard", "tells"),
    [
        ("", None, "otel_llm_usage.team=search"),
        (
            "otel_llm_usage.agent=caller",
            "caller",
            "otel_llm_usage.agent=caller,otel_llm_usage.team=search",
        ),
    ],
    ids=["nobody", "another service"],
)
def test_a_block_that_is_left_under_another_span_is_not_heard_any_more(header, heard, tells):
    instrument(otlp=False, baggage=["agent", "team"])
    span = TracerProvider().get_tracer("test").start_span("theirs")

    def leave():
        context.attach(received(header, context.get_current()))
        with attribute(team="search"):
            block = agent("planner")
            block.__enter__()
            context.attach(trace.set_span_in_context(span))
            block.__exit__(None, None, None)
            assert trace.get_current_span() is span
            assert who() == (heard, {"team": "search"})
            assert told() == tells

    copy_context().run(leave)


def test_what_is_listed_is_told_inside_the_block_and_not_after_it():
    instrument(otlp=False, baggage=["agent", "team"])
    with attribute(agent="planner", user="u1", team="search"):
        assert told() == "otel_llm_usage.agent=planner,otel_llm_usage.team=search"
        with agent("critic"):
            assert told() == "otel_llm_usage.agent=critic,otel_llm_usage.team=search"
        assert told() == "otel_llm_usage.agent=planner,otel_llm_usage.team=search"
    assert told() is None


def test_what_the_application_tells_itself_stays():
    instrument(otlp=False, baggage=["agent"])
    token = context.attach(w3c.set_baggage("tenant", "t1"))
    try:
        with agent("planner"):
            assert told() == "tenant=t1,otel_llm_usage.agent=planner"
    finally:
        context.detach(token)


def test_what_another_service_said_holds_where_no_block_says_more():
    instrument(otlp=False, baggage=["agent", "team"])
    header = "otel_llm_usage.agent=planner,otel_llm_usage.team=search,otel_llm_usage.user=u1,x=y"
    place = received(header, context.Context())
    assert who(place) == ("planner", {"team": "search"})
    assert w3c.get_all(place).keys() == {"otel_llm_usage.agent", "otel_llm_usage.team"}
    token = context.attach(place)
    try:
        with attribute(team="ads", call_type="plan"):
            assert who() == ("planner", {"team": "ads", "call_type": "plan"})
            assert told() == "otel_llm_usage.agent=planner,otel_llm_usage.team=ads"
        with ThreadPoolExecutor() as pool:  # which carries who pays, and nothing else
            assert pool.submit(who).result() == ("planner", {"team": "search"})
    finally:
        context.detach(token)


def test_in_a_thread_others_are_told_as_well():
    instrument(otlp=False, baggage=["agent"])
    with agent("planner"), ThreadPoolExecutor() as pool:
        assert pool.submit(told).result() == "otel_llm_usage.agent=planner"


@pytest.mark.parametrize("value", ["x" * 129, "a%0Ab", "", "%00"])
def test_what_does_not_fit_was_not_said(value):
    instrument(otlp=False, baggage=["agent"])
    assert who(received(f"otel_llm_usage.agent={value}", context.Context())) == (None, {})


def test_a_header_of_rubbish_says_nothing():
    instrument(otlp=False, baggage=["agent"])
    for header in ("", ",,,=;=", "otel_llm_usage.agent", "\x00" * 9_000, "a=b," * 5_000):
        assert who(received(header, context.Context())) == (None, {})


def test_a_value_too_long_is_left_out_whole_and_said(caplog):
    instrument(otlp=False, baggage=["agent", "user"])
    with attribute(agent="planner", user="u" * 129):
        assert told() == "otel_llm_usage.agent=planner"
        assert told() == "otel_llm_usage.agent=planner"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "does not tell this 'user'" in caplog.text


def test_all_values_together_have_a_bound():
    names = ["agent", *(f"label_{place}" for place in range(15))]
    instrument(otlp=False, baggage=names)
    with attribute(agent="planner", **dict.fromkeys(names[1:], "é" * 100)):
        assert len(told()) <= 2_048


async def ask_openai(tell):
    hooks = {"event_hooks": {"request": [tell]}}
    with openai.OpenAI(http_client=openai.DefaultHttpxClient(**hooks)) as client:
        client.chat.completions.create(**HELLO)
        yield
        for _ in client.chat.completions.create(**HELLO, stream=True):
            yield


async def ask_openai_async(tell):
    async def hook(request):
        tell(request)

    hooks = {"event_hooks": {"request": [hook]}}
    async with openai.AsyncOpenAI(http_client=openai.DefaultAsyncHttpxClient(**hooks)) as client:
        await client.chat.completions.create(**HELLO)
        yield
        async for _ in await client.chat.completions.create(**HELLO, stream=True):
            yield


async def ask_anthropic(tell):
    hooks = {"event_hooks": {"request": [tell]}}
    asked = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": HELLO["messages"]}
    with anthropic.Anthropic(http_client=anthropic.DefaultHttpxClient(**hooks)) as client:
        client.messages.create(**asked)
        yield
        with client.messages.stream(**asked) as stream:
            for _ in stream:
                yield


async def ask_gemini(tell):
    options = types.HttpOptions(client_args={"event_hooks": {"request": [tell]}})
    with genai.Client(http_options=options) as client:
        client.models.generate_content(model="gemini-2.5-flash", contents="hello")
        yield
        for _ in client.models.generate_content_stream(model="gemini-2.5-flash", contents="hello"):
            yield


@pytest.mark.parametrize("spans", ["auto", "never"])
@pytest.mark.parametrize("ask", [ask_openai, ask_openai_async, ask_anthropic, ask_gemini])
async def test_the_provider_hears_nothing_of_it(llm_standin, ask, spans):
    sent = []

    def tell(request):  # as an instrumentation of the HTTP client does
        propagate.inject(request.headers)
        sent.append(request.headers.get("baggage"))

    records = []
    runtime = instrument(
        otlp=False,
        baggage=["agent"],
        spans=spans,
        sinks=[records.append],
        tracer_provider=TracerProvider(),
    )
    with agent("planner"):
        async for _ in ask(tell):
            assert told() == "otel_llm_usage.agent=planner"
    runtime.flush()
    assert sent == [None, None]
    assert [record.agent for record in records] == ["planner", "planner"]


_SERVICE = """
import json, openai, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from wsgiref.simple_server import WSGIRequestHandler, make_server
from opentelemetry import context, propagate
import otel_llm_usage
from otel_llm_usage.web import UsageWSGIMiddleware

records = []
runtime = otel_llm_usage.instrument(otlp=False, baggage=["agent", "user"], sinks=[records.append])

def work():
    openai.OpenAI().chat.completions.create(
        model="gpt-4.1", messages=[{"role": "user", "content": "hello"}]
    )
    runtime.flush()
    return json.dumps([records[-1].agent, dict(records[-1].labels)]).encode()

class ByHand(BaseHTTPRequestHandler):
    def do_POST(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        token = context.attach(propagate.extract(headers))
        said = work()
        context.detach(token)
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *said): ...

class Quiet(WSGIRequestHandler):
    def log_message(self, *said): ...

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [work()]

if sys.argv[1] == "by hand":
    server = HTTPServer(("127.0.0.1", 0), ByHand)
else:
    server = make_server(
        "127.0.0.1", 0, UsageWSGIMiddleware(application), handler_class=Quiet
    )
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.mark.parametrize("how", ["by hand", "by middleware"])
def test_two_services_charge_one_agent(llm_standin, how):
    instrument(otlp=False, baggage=["agent", "team"])
    service = subprocess.Popen(
        [sys.executable, "-c", _SERVICE, how], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with service:
        try:
            port = int(service.stdout.readline())

            def ask():
                headers = {}
                propagate.inject(headers)
                request = urllib.request.Request(f"http://127.0.0.1:{port}", b"", headers)
                with urllib.request.urlopen(request) as answer:
                    return json.load(answer)

            with attribute(agent="planner", user="u1", team="search"):
                # the user is not told here, and the team not heard there
                assert ask() == ["planner", {}]
            assert ask() == ["unknown", {}]
        finally:
            service.kill()


@pytest.mark.parametrize(
    ("listed", "payer_there"), [(["agent"], ("planner", {})), ([], (None, {}))]
)
async def test_middleware_hears_what_is_listed_and_passes_it_on(listed, payer_there):
    instrument(otlp=False, baggage=listed)
    seen = []

    async def app(scope, receive, send):
        seen.append((who(), told()))

    header = (b"baggage", b"otel_llm_usage.agent=planner,otel_llm_usage.user=u1,a=b")
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [header]}
    await UsageMiddleware(app)(scope, None, None)
    assert seen == [(payer_there, "otel_llm_usage.agent=planner" if listed else None)]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["user-id"], "not a Prometheus label name"),
        (["agent", "agent"], "there twice"),
        ([f"n{place}" for place in range(17)], "at most 16"),
    ],
)
def test_names_that_cannot_be(names, said):
    with pytest.raises(ConfigurationError, match=said):
        instrument(otlp=False, baggage=names)
