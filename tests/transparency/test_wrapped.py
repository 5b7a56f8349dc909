"""The patched methods look, bind, derive and are mocked like those of the SDK."""

import asyncio
import inspect
import typing
from typing import Any
from unittest import mock

import anthropic
import anthropic._base_client
import openai
import openai._base_client
import pytest
from google.genai import _api_client, chats, models

from otel_llm_usage import instrument, uninstrument

from .kit import CHAT, CONTENT, MESSAGE, Clients, instrumented, places, recorded, twice

LOOKS: dict[str, Any] = {
    "signature": inspect.signature,
    "signature, not unwrapped": lambda f: inspect.signature(f, follow_wrapped=False),
    "full argument specification": inspect.getfullargspec,
    "coroutine function": inspect.iscoroutinefunction,
    "generator function": inspect.isgeneratorfunction,
    "async generator function": inspect.isasyncgenfunction,
    "coroutine function of asyncio": asyncio.iscoroutinefunction,
    "function": inspect.isfunction,
    "method": inspect.ismethod,
    "routine": inspect.isroutine,
    "callable": callable,
    "class": lambda f: f.__class__,
    "source": inspect.getsource,
    "file": inspect.getfile,
    "module": inspect.getmodule,
    "type hints": typing.get_type_hints,
    "overloads": lambda f: len(typing.get_overloads(f)),
    "hash": hash,
    "names": lambda f: sorted(set(dir(f)) - OURS),
    **{
        name: lambda f, name=name: getattr(f, name, None)
        for name in (
            *("__name__", "__qualname__", "__module__", "__doc__", "__annotations__"),
            *("__defaults__", "__kwdefaults__", "__code__", "__closure__", "__dict__"),
            *("__self__", "__func__"),
        )
    },
}
OURS = {
    *("__wrapped__", "__get__", "__enter__", "__exit__", "__aenter__", "__aexit__"),
}
"""What wrapt's objects have besides. `__wrapped__` is what `inspect.unwrap` goes by."""


def looks(function: Any) -> dict[str, Any]:
    """All that can be seen of a function, by what is asked."""
    seen = {}
    for question, look in LOOKS.items():
        try:
            seen[question] = look(function)
        except Exception as error:
            seen[question] = repr(error)
    return seen


@pytest.fixture
def patched():
    with instrumented():
        yield places()


def _functions(where):
    """Each method as it is looked up on its class, and in its class."""
    return {
        # what is patched in a derived class alone stands there only as long as we are there
        name: (getattr(kind, method), vars(kind).get(method) or getattr(kind, method))
        for name, (kind, method) in where.items()
    }


def test_each_patched_method_looks_as_it_did():
    with instrumented():
        where = places()
    before = {name: [looks(one) for one in found] for name, found in _functions(where).items()}
    assert len(before) >= 18
    with instrumented():
        for name, found in _functions(where).items():
            for look, one in zip(before[name], found, strict=True):
                now = looks(one)
                names = now.pop("names"), look.pop("names")
                assert now == look, name
                assert set(names[1]) <= set(names[0]), name


def test_a_bound_method_looks_as_it_did(llm_standin):
    clients = Clients(llm_standin)

    def bound():
        return [
            looks(one) | {"names": None}
            for one in (
                clients.gpt.request,
                clients.async_gpt.request,
                clients.claude._build_request,
                clients.gemini.models.generate_content_stream,
                clients.gemini.aio.models.generate_content_stream,
                clients.gemini._api_client.async_request,
            )
        ]

    before = bound()
    with instrumented():
        now = bound()
        for one in now:
            assert one["method"] is True
            one.pop("hash")
        for one in before:
            one.pop("hash")
        assert now == before
        assert clients.gpt.request == clients.gpt.request
        assert clients.gpt.request != clients.claude.request
    asyncio.run(clients.aclose())


def test_what_a_call_of_an_async_method_gives_is_a_coroutine(llm_standin):
    async def program(clients):
        made = clients.async_gpt.chat.completions.create(**CHAT)
        seen = [type(made), inspect.isawaitable(made), made.__qualname__]
        request = clients.gemini._api_client.async_request("post", "models/x:countTokens", {}, None)
        seen += [type(request), request.__name__]
        request.close()
        await made
        return seen

    both = twice(program)
    assert both.with_us[:3] == both.without[:3]
    assert both.with_us[3] is both.without[3]


# derived classes

DERIVED = """
class {name}({base}):
    '''A client of the application's own.'''

    def __init__(self, *args, **kwargs):
        self.passed = []
        super().__init__(*args, **kwargs)

    {a}def request(self, *args, **kwargs):
        self.passed.append("request")
        return {w}super().request(*args, **kwargs)

    def _build_request(self, *args, **kwargs):
        self.passed.append("_build_request")
        return super()._build_request(*args, **kwargs)

    {a}def _process_response(self, *args, **kwargs):
        self.passed.append("_process_response")
        return {w}super()._process_response(*args, **kwargs)
"""


def derived(base: str) -> type:
    """A class that overrides everything that we patch and calls what it overrides."""
    words = {"a": "async ", "w": "await "} if "Async" in base else {"a": "", "w": ""}
    namespace: dict[str, Any] = {"openai": openai, "anthropic": anthropic}
    exec(DERIVED.format(name="Derived", base=base, **words), namespace)
    return namespace["Derived"]


@pytest.mark.parametrize("when", ["before us", "after us"])
@pytest.mark.parametrize(
    "base",
    ["openai.OpenAI", "openai.AsyncOpenAI", "anthropic.Anthropic", "anthropic.AsyncAnthropic"],
)
def test_a_derived_client_overrides_and_calls_what_we_patch(base, when, llm_standin):
    kind = derived(base) if when == "before us" else None

    async def program(kind, stream):
        client = kind(max_retries=0)
        create = client.chat.completions.create if "OpenAI" in base else client.messages.create
        answer = create(**(CHAT if "OpenAI" in base else MESSAGE), stream=stream)
        answer = await answer if inspect.isawaitable(answer) else answer
        if stream:
            answer = [one async for one in answer] if "Async" in base else list(answer)
        closed = client.close()
        if inspect.isawaitable(closed):
            await closed
        return client.passed, [type(one) for one in answer] if stream else type(answer)

    for stream in (False, True):
        without = asyncio.run(program(kind or derived(base), stream))
        with instrumented() as records:
            with_us = asyncio.run(program(kind or derived(base), stream))
            recorded(records, 1)
        assert with_us == without
        assert with_us[0] == ["request", "_build_request", "_process_response"]
        (record,) = records
        assert (record.status, record.usage_source) == ("ok", "reported")


def test_derived_parts_of_google_call_what_they_override(llm_standin):
    class Models(models.Models):
        def generate_content_stream(self, **asked):
            passed.append("models")
            yield from super().generate_content_stream(**asked)

    class Client(_api_client.BaseApiClient):
        def request(self, *args, **kwargs):
            passed.append("request")
            return super().request(*args, **kwargs)

        def request_streamed(self, *args, **kwargs):
            passed.append("request_streamed")
            return super().request_streamed(*args, **kwargs)

    passed: list[str] = []
    with instrumented() as records:
        client = Client(api_key="key", http_options={"base_url": llm_standin.url})
        derived = Models(client)
        assert derived.generate_content(**CONTENT).text
        assert list(derived.generate_content_stream(**CONTENT))
        client.close()
        recorded(records, 2)
    assert passed == ["request", "models", "request_streamed"]
    assert [record.usage_source for record in records] == ["reported", "reported"]


# mocks


def test_a_mock_over_a_patched_method_comes_and_goes(patched):
    for kind, name in patched.values():
        before = vars(kind)[name]
        with mock.patch.object(kind, name) as mocked:
            assert getattr(kind, name) is mocked
        assert vars(kind)[name] is before


def test_a_mock_that_knows_the_signature_knows_the_same_one(patched):
    def refused():
        said = []
        for kind, name in patched.values():
            with mock.patch.object(kind, name, autospec=True) as mocked:
                try:
                    mocked(no_such_argument=1)
                except TypeError as error:
                    said.append((name, str(error)))
        return said

    with_us = refused()
    uninstrument()
    assert with_us == refused()
    assert len(with_us) == len(patched)


def test_a_mocked_method_of_a_client_is_not_counted_and_the_next_call_is(llm_standin):
    with instrumented() as records:
        clients = Clients(llm_standin)
        client = clients.gpt
        with mock.patch.object(client.chat.completions, "create", return_value="mocked"):
            assert client.chat.completions.create(**CHAT) == "mocked"
        with mock.patch.object(client, "request", return_value="mocked"):
            assert "request" in vars(client)
        with mock.patch.object(client, "request", wraps=client.request) as spy:
            assert client.request is spy
        assert "request" not in vars(client)
        client.chat.completions.create(**CHAT)
        recorded(records, 1)
        clients.close()
    assert len(records) == 1


@pytest.mark.parametrize("first", ["the mock", "we"])
def test_a_mock_that_outlives_us_or_was_there_before_leaves_the_sdk_working(llm_standin, first):
    kind = openai._base_client.SyncAPIClient
    plain = vars(kind)["request"]
    patch = mock.patch.object(kind, "request", autospec=True)
    try:
        if first == "the mock":
            patch.start()
            instrument(otlp=False)
            patch.stop()
            assert vars(kind)["request"] is plain
            uninstrument()
        else:
            instrument(otlp=False)
            patch.start()
            uninstrument()
            patch.stop()
        clients = Clients(llm_standin)
        assert clients.gpt.chat.completions.create(**CHAT).choices
        clients.close()
    finally:
        kind.request = plain


def test_a_specification_of_a_whole_client_is_the_same(llm_standin):
    def specified():
        return [
            sorted(dir(mock.create_autospec(kind)))
            for kind in (
                openai.OpenAI,
                openai.AsyncOpenAI,
                anthropic.Anthropic,
                models.Models,
                chats.Chat,
                _api_client.BaseApiClient,
            )
        ]

    without = specified()
    with instrumented():
        assert specified() == without
