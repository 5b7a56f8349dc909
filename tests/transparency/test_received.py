"""What the caller is given: the same types, the same attributes, nothing of ours in a pickle."""

import contextlib
import copy
import inspect
import pickle
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from otel_llm_usage import agent

from .kit import CHAT, CONTENT, MESSAGE, Clients, instrumented, twice

OURS = "otel_llm_usage"
HOW = pytest.mark.parametrize("how", ["whole", "raw", "stream", "raw stream", "streaming response"])
SDKS = pytest.mark.parametrize("sdk", ["openai", "anthropic"])


async def _done(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _attempt(look: Any) -> Any:
    try:
        return look()
    except Exception as error:
        return type(error), str(error)


def response_of(answer: Any) -> Any:
    """The HTTP response that an answer of the SDK shows."""
    return getattr(answer, "http_response", None) or answer.response


def looks(response: httpx2.Response) -> dict[str, Any]:
    """What a response shows at one moment."""
    request = response.request
    stream = getattr(response, "stream", None)
    return {
        "type": type(response),
        "attributes": sorted(vars(response)),
        "properties": sorted(set(dir(response))),
        "stream is of": [
            isinstance(stream, kind) for kind in (httpx2.SyncByteStream, httpx2.AsyncByteStream)
        ],
        "status": (response.status_code, response.reason_phrase, response.http_version),
        "success": (response.is_success, response.is_error, response.has_redirect_location),
        "headers": (type(response.headers), sorted(response.headers.keys())),
        "cookies": dict(response.cookies),
        "encoding": (response.encoding, response.charset_encoding, response.default_encoding),
        "links": response.links,
        "history": response.history,
        "state": (response.is_closed, response.is_stream_consumed),
        "downloaded": response.num_bytes_downloaded,
        "elapsed": _attempt(lambda: type(response.elapsed)),
        "content": _attempt(lambda: (type(response.content), len(response.content))),
        "raised": response.raise_for_status() is response,
        "repr": repr(response),
        "extensions": sorted(response.extensions),
        "request": (type(request), request.method, request.url.path, repr(request.stream)[:30]),
        "request extensions": sorted(set(request.extensions) - {OURS}),
        "request content": _attempt(lambda: type(request.content)),
        "elapsed of the stream": type(getattr(stream, "elapsed", None)),
    }


def copies(response: httpx2.Response) -> dict[str, Any]:
    """What copies of a response are."""
    seen: dict[str, Any] = {}
    for name, make in {
        "pickle": lambda one: pickle.loads(pickle.dumps(one)),
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
    }.items():
        for what in (response, response.request):
            made = _attempt(lambda: make(what))  # noqa: B023 (called at once)
            seen[f"{name} of {type(what).__name__}"] = (
                made
                if isinstance(made, tuple)
                else (type(made), sorted(vars(made)), sorted(made.extensions))
            )
            if name != "copy" and not isinstance(made, tuple):
                assert OURS not in made.extensions
    return seen


@HOW
@SDKS
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_every_moment_of_a_response_looks_the_same(sdk, how, mode):
    async def program(clients: Clients) -> Any:
        prefix = "" if mode == "sync" else "async_"
        client = getattr(clients, prefix + ("gpt" if sdk == "openai" else "claude"))
        resource = client.chat.completions if sdk == "openai" else client.messages
        # what is asked for unseen is longer by some bytes: here the caller asks
        more = {"stream_options": {"include_usage": True}} if sdk == "openai" else {}
        asked = {**(CHAT if sdk == "openai" else MESSAGE)}
        streamed = {**asked, **more, "stream": True}
        seen: list[Any] = []

        def see(response: Any) -> None:
            seen.append(looks(response) | copies(response))
            if response.extensions:
                assert OURS not in response.extensions

        if how == "whole":
            answer = await _done(resource.create(**asked))
            seen += [type(answer), pickle.loads(pickle.dumps(answer)) == answer]
            seen += [copy.deepcopy(answer) == answer, sorted(answer.__pydantic_private__ or ())]
        elif how == "raw":
            answer = await _done(resource.with_raw_response.create(**asked))
            seen += [type(answer), sorted(vars(answer))]
            see(answer.http_response)
            parsed = await _done(answer.parse())
            seen.append(type(parsed))
        elif how in ("stream", "raw stream"):
            place = resource if how == "stream" else resource.with_raw_response
            answer = await _done(place.create(**streamed))
            seen += [type(answer), sorted(vars(answer))]
            see(response_of(answer))
            stream = answer if how == "stream" else await _done(answer.parse())
            seen += [type(stream), sorted(vars(stream)), inspect.isasyncgen(stream._iterator)]
            if mode == "sync":
                next(iter(stream))
                seen.append(list(map(type, stream)))
            else:
                await anext(aiter(stream))
                seen.append([type(one) async for one in stream])
            see(response_of(answer))
            await _done(stream.close())
            see(response_of(answer))
        else:
            manager = resource.with_streaming_response.create(**streamed)
            seen.append(type(manager))
            async with contextlib.AsyncExitStack() as stack:
                enter = stack.enter_async_context if mode == "async" else stack.enter_context
                answer = await _done(enter(manager))
                seen += [type(answer), sorted(vars(answer))]
                see(answer.http_response)
                body = answer.iter_bytes()
                seen.append(
                    b"".join([one async for one in body]) if mode == "async" else b"".join(body)
                )
                seen[-1] = len(seen[-1])
                see(answer.http_response)
            see(answer.http_response)
        return seen

    both = twice(program if mode == "async" else _stepped(program))
    assert both.with_us == both.without
    (record,) = both.records
    assert (record.status, record.usage_source) == ("ok", "reported")


def _stepped(program: Any) -> Any:
    """A sync program: nothing in it waits."""

    def run(clients: Clients) -> Any:
        work = program(clients)
        try:
            work.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("a sync program waited")

    return run


def test_the_one_key_of_ours_is_on_the_request_and_says_nothing_of_its_content():
    def program(clients):
        raw = clients.gpt.chat.completions.with_raw_response.create(**CHAT)
        return (
            raw.http_request.extensions
            if hasattr(raw, "http_request")
            else (raw.http_response.request.extensions)
        )

    both = twice(program)
    assert both.with_us.keys() - both.without.keys() == {OURS}
    said = repr(both.with_us) + str(both.with_us)
    assert "secret" not in said
    assert "key-of" not in said


@pytest.mark.parametrize("who", ["nobody", "an agent"])
def test_generators_of_google_are_the_same(who):
    """Whoever is charged: a generator of ours around it has its name, and goes on as it does."""

    def program(clients):
        with agent("planner") if who == "an agent" else contextlib.nullcontext():
            stream = clients.gemini.models.generate_content_stream(**CONTENT)
            chat = clients.gemini.chats.create(model="gemini-2.5-flash")
            chatted = chat.send_message_stream("hello")
        seen: list[Any] = []
        for one in (stream, chatted):
            seen += [type(one), one.__name__, one.__qualname__, repr(one).partition(" at ")[0]]
            seen += [type(next(one)), one.gi_running, one.gi_frame is None]
            chunks = list(one)
            seen += [len(chunks), pickle.loads(pickle.dumps(chunks[-1])) == chunks[-1]]
            seen += [copy.deepcopy(chunks[-1]) == chunks[-1], one.gi_frame is None]
        seen.append(len(chat.get_history()))
        return seen

    both = twice(program)
    assert both.with_us == both.without
    assert len(both.records) == 2


async def test_generators_of_google_are_the_same_in_async(llm_standin):
    async def program(clients):
        stream = await clients.gemini.aio.models.generate_content_stream(**CONTENT)
        seen = [type(stream), stream.__name__, stream.__qualname__, inspect.isasyncgen(stream)]
        seen += [type(await anext(stream)), stream.ag_running, stream.ag_frame is None]
        seen.append(len([one async for one in stream]))
        return [*seen, stream.ag_frame is None]

    clients = Clients(llm_standin)
    without = await program(clients)
    with instrumented():
        assert await program(clients) == without
    await clients.aclose()


def test_classes_of_the_sdks_are_the_same_objects():
    def program(clients):
        create = clients.gpt.chat.completions.create
        stream = create(**CHAT, stream=True)
        stream.close()
        message = clients.claude.messages.create(**MESSAGE, stream=True)
        message.close()
        return [type(stream) is openai.Stream, type(message) is anthropic.Stream]

    both = twice(program)
    assert both.with_us == both.without == [True, True]


def test_a_sessions_own_values_are_passed_on():
    """httpx's extensions of the request: a timeout, and whatever a transport is told."""
    seen = []

    def program(clients):
        hook = {"request": [lambda request: seen.append(dict(request.extensions))]}
        with openai.OpenAI(
            base_url=f"{clients.standin.url}/v1",
            api_key="key",
            timeout=httpx2.Timeout(12, connect=3),
            http_client=openai.DefaultHttpxClient(event_hooks=hook),
        ) as client:
            client.chat.completions.create(**CHAT)
        return {name: seen[-1][name] for name in seen[-1] if name != OURS}

    both = twice(program)
    assert (
        both.with_us
        == both.without
        == {"timeout": {"connect": 3, "read": 12, "write": 12, "pool": 12}}
    )
