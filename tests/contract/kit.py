"""One call shape, run with and without us against the same provider, and what must hold of it."""

import asyncio
import gc
import importlib
import inspect
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import anthropic
import google.auth.credentials
import openai
from google import genai
from google.genai import types as gemini

from otel_llm_usage import Record, agent, instrument, uninstrument
from otel_llm_usage.standin import Seen, StandIn, server

from .plain import plain

ASK = [{"role": "user", "content": "What is the plan for today?"}]
EPOCH = 1_795_000_000.0
"""The stand-in's clock stands still, so that two runs can be compared to the byte."""

Mode = Literal["sync", "async"]


class Caller:
    """A user's program: makes clients of one kind, and uses them the same way sync and async."""

    def __init__(self, standin: StandIn, mode: Mode, records: list[Record] | None = None) -> None:
        self.standin = standin
        self.url = standin.url
        self.is_async = mode == "async"
        self._clients: list[Any] = []
        self._records = records

    async def recorded(self, count: int) -> None:
        """Wait until there are so many records; without us, give as much way."""
        for turn in range(1000):
            if self._records is None or len(self._records) >= count:
                break
            await self.pause(0.005)
            if turn % 40 == 0:
                gc.collect()  # what a finalised generator held is garbage only now
        for _ in range(10):
            await self.pause(0)

    async def pause(self, seconds: float) -> None:
        """Let other threads, and the loop's other tasks, have their turn."""
        if self.is_async:
            await asyncio.sleep(seconds)
        else:
            time.sleep(seconds)

    def _client(self, module: Any, name: str, **options: Any) -> Any:
        client = getattr(module, f"Async{name}" if self.is_async else name)(**options)
        self._clients.append(client)
        return client

    def openai(self, **options: Any) -> Any:
        """`OpenAI` or `AsyncOpenAI`."""
        return self._client(
            openai, "OpenAI", **{"base_url": f"{self.url}/v1", "api_key": "key", **options}
        )

    def azure(self, **options: Any) -> Any:
        """`AzureOpenAI` or `AsyncAzureOpenAI`."""
        place = {} if "base_url" in options else {"azure_endpoint": self.url}
        asked = {"api_key": "key", "api_version": "2024-10-21", **place, **options}
        return self._client(openai, "AzureOpenAI", **asked)

    def anthropic(self, **options: Any) -> Any:
        """`Anthropic` or `AsyncAnthropic`."""
        return self._client(
            anthropic, "Anthropic", **{"base_url": self.url, "api_key": "key", **options}
        )

    def bedrock(self, **options: Any) -> Any:
        """`AnthropicBedrock` or its async twin."""
        return self._client(
            anthropic,
            "AnthropicBedrock",
            base_url=self.url,
            aws_access_key="key",
            aws_secret_key="secret",
            aws_region="us-east-1",
            **options,
        )

    def vertex(self, **options: Any) -> Any:
        """`AnthropicVertex` or its async twin."""
        asked = {"region": "us-east5", "project_id": "p", "access_token": "token", **options}
        return self._client(anthropic, "AnthropicVertex", base_url=f"{self.url}/v1", **asked)

    def foundry(self) -> Any:
        """`AnthropicFoundry` or its async twin."""
        return self._client(anthropic, "AnthropicFoundry", base_url=self.url, api_key="key")

    def gemini(self, **options: Any) -> Any:
        """`genai.Client`, or its async face."""
        http = {"base_url": self.url, **options.pop("http_options", {})}
        asked = {"api_key": "key", **options, "http_options": gemini.HttpOptions(**http)}
        client = genai.Client(**{k: v for k, v in asked.items() if v is not None})
        self._clients.append(client)
        if not self.is_async:
            return client
        self._clients.append(client.aio)
        return client.aio

    async def close(self) -> None:
        """Close every client."""
        for client in reversed(self._clients):
            await done(client.aclose() if hasattr(client, "aclose") else client.close())


class Credentials(google.auth.credentials.Credentials):
    """Credentials that need no network."""

    def __init__(self) -> None:
        super().__init__()
        self.token = "token"
        self.quota_project_id_ = None

    def refresh(self, request: Any) -> None:
        """Nothing to do: they do not end."""


async def done(value: Any) -> Any:
    """The value, awaited where it has to be."""
    return await value if inspect.isawaitable(value) else value


async def each(stream: Any) -> AsyncIterator[Any]:
    """The items of a stream of either kind."""
    stream = await done(stream)
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            yield item
    else:
        for item in stream:
            yield item


async def every(stream: Any) -> list[Any]:
    """All items of a stream of either kind."""
    return [item async for item in each(stream)]


def joined(parts: list[Any], read: str) -> Any:
    """What was read: lines one by one; bytes and text as a whole, for the network cuts them."""
    return parts if read == "iter_lines" or not parts else type(parts[0])().join(parts)


@asynccontextmanager
async def block(manager: Any) -> AsyncIterator[Any]:
    """A `with` block of either kind."""
    if hasattr(manager, "__aenter__"):
        async with manager as inside:
            yield inside
    else:
        with manager as inside:
            yield inside


def drive(work: Coroutine[Any, Any, Any], mode: Mode) -> Any:
    """Run a program: the async one in a loop; the sync one never waits, so it needs none."""
    if mode == "async":
        return asyncio.run(work)
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a sync program waited for something")


Run = Callable[[Caller], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One row of the contract: a way to call, and what its records say."""

    id: str
    run: Run
    provider: str
    operation: str = "chat"
    endpoint: str
    asked: str | None
    records: int = 1
    bills: int | None = None
    """How many answers the stand-in bills, if not one for each record."""
    stream: bool = False
    told: Mapping[str, Any] | tuple[Mapping[str, Any], ...] = field(default_factory=dict)
    """What the records say beyond what the stand-in's ledger and this row say; for all, or each."""
    script: Callable[[StandIn], None] = lambda standin: None
    asks: bool = False
    """Whether we ask for the usage of its streams unseen."""
    modes: tuple[Mode, ...] = ("sync", "async")
    settings: Mapping[str, Any] = field(default_factory=dict)
    encodings: bool = False
    """The stand-in compresses for who accepts it, so that our asking shows in one header."""
    raises: str | None = None
    """The exception that the caller gets, by its type's name; with it, what was received before."""


class Ran(NamedTuple):
    """What one run left behind, on both sides."""

    received: Any
    error: BaseException | None
    requests: tuple[Seen, ...]
    bills: tuple[Any, ...]
    records: tuple[Record, ...]
    url: str


SEAMS = (
    ("openai._base_client", "SyncAPIClient.request"),
    ("openai._base_client", "AsyncAPIClient.request"),
    ("openai._base_client", "BaseClient._build_request"),
    ("openai._base_client", "SyncAPIClient._process_response"),
    ("openai._base_client", "AsyncAPIClient._process_response"),
    ("anthropic._base_client", "SyncAPIClient.request"),
    ("anthropic._base_client", "AsyncAPIClient.request"),
    ("anthropic._base_client", "BaseClient._build_request"),
    ("anthropic._base_client", "SyncAPIClient._process_response"),
    ("anthropic._base_client", "AsyncAPIClient._process_response"),
    ("google.genai._api_client", "BaseApiClient.request"),
    ("google.genai._api_client", "BaseApiClient.async_request"),
    ("google.genai._api_client", "BaseApiClient.request_streamed"),
    ("google.genai._api_client", "BaseApiClient.async_request_streamed"),
    ("google.genai.models", "Models.generate_content_stream"),
    ("google.genai.models", "AsyncModels.generate_content_stream"),
    ("google.genai.chats", "Chat.send_message_stream"),
    ("google.genai.chats", "AsyncChat.send_message_stream"),
)


def classes() -> dict[tuple[str, str], dict[str, Any]]:
    """Every function that stands in the SDK classes that we touch."""
    found = {}
    for module, path in SEAMS:
        kind = path.partition(".")[0]
        members = vars(getattr(importlib.import_module(module), kind))
        # what is no function is the SDK's own state: google-genai notes there what it has warned of
        found[module, kind] = {name: one for name, one in members.items() if callable(one)}
    return found


CLEAN = classes()
"""The SDKs as they are without us."""


def is_clean() -> bool:
    """Whether every function of the SDKs' classes is the very object that it was at first."""
    return all(
        now.keys() == CLEAN[place].keys() and all(now[k] is v for k, v in CLEAN[place].items())
        for place, now in classes().items()
    )


def with_us(shape: Shape, mode: Mode) -> Ran:
    """Run a shape instrumented."""
    records: list[Record] = []
    instrument(sinks=[records.append], otlp=False, **shape.settings)
    try:
        assert not is_clean()
        ran = _run(shape, mode, records)
    finally:
        uninstrument()
    assert tuple(records) == ran.records, "uninstrument() had to settle what nobody had settled"
    return ran


def without_us(shape: Shape, mode: Mode) -> Ran:
    """Run a shape as if we did not exist."""
    assert is_clean()
    return _run(shape, mode, None)


def _run(shape: Shape, mode: Mode, records: list[Record] | None) -> Ran:
    still = SimpleNamespace(time=lambda: EPOCH, monotonic=time.monotonic, sleep=time.sleep)
    server.time, real = still, server.time
    try:
        with StandIn(deployments={"prod": "gpt-4.1-mini"}) as standin:
            shape.script(standin)
            received, error = drive(_program(shape, Caller(standin, mode, records)), mode)
            assert standin.settled()
            return Ran(
                received,
                error,
                tuple(standin.requests),
                standin.ledger.bills,
                tuple(records or ()),
                standin.url,
            )
    finally:
        server.time = real


async def _program(shape: Shape, caller: Caller) -> tuple[Any, BaseException | None]:
    with agent("contract"), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Inheritance class AiohttpClientSession")
        try:
            return plain(await shape.run(caller)), None
        except Exception as error:
            if type(error).__name__ != shape.raises:
                raise
            return plain(error), error
        finally:
            await caller.close()


def check(shape: Shape, mode: Mode) -> None:
    """The contract: nothing changes for the caller and the provider, and the records are exact."""
    before = without_us(shape, mode)
    after = with_us(shape, mode)
    same_for_all(shape, before, after)
    _same_bills(before, after)
    _exact_records(shape, after)
    assert is_clean()


def same_for_all(shape: Shape, before: Ran, after: Ran) -> None:
    """The caller and the provider can't tell the two runs apart, but for our asking for usage."""
    assert (before.error is not None) == (shape.raises is not None)
    same = _placed(after.received, after.url), _placed(before.received, before.url)
    if shape.encodings:
        same = tuple(_without_encoding(one) for one in same)
    assert same[0] == same[1]
    _same_requests(shape, before, after)


def _placed(received: Any, url: str) -> Any:
    """What was received, without the port, which differs from run to run."""
    if isinstance(received, str):
        return received.replace(url, "http://standin").replace(url.partition("//")[2], "standin")
    if isinstance(received, dict):
        return {key: _placed(value, url) for key, value in received.items()}
    if isinstance(received, list | tuple):
        return type(received)(_placed(value, url) for value in received)
    return received


def _without_encoding(received: Any) -> Any:
    if isinstance(received, dict):
        return {
            key: _without_encoding(value) for key, value in received.items() if key != "downloaded"
        }
    if isinstance(received, list | tuple):
        kept = [one for one in received if one != ("content-encoding", "gzip")]
        return [_without_encoding(value) for value in kept]
    return received


_VARYING = ("host", "idempotency-key", "authorization", "x-amz-date", "x-api-key")
"""Request headers that differ from run to run: random, or signed with the time."""


def _same_requests(shape: Shape, before: Ran, after: Ran) -> None:
    assert before.requests, "the stand-in was not asked"
    expected = [_as_asked(shape, seen, after.url) for seen in _seen(before)]
    assert _seen(after) == expected


def _seen(ran: Ran) -> list[dict[str, Any]]:
    """What the provider saw, without what is random."""
    asked = []
    for seen in ran.requests:
        headers = {k: v for k, v in seen.headers.items() if k not in _VARYING}
        if "boundary=" in headers.get("content-type", ""):
            headers["content-type"] = "multipart"
        asked.append(
            {
                "line": (seen.method, seen.path, seen.query),
                "headers": headers,
                "body": seen.body,
            }
        )
    return asked


def _as_asked(shape: Shape, seen: dict[str, Any], url: str) -> dict[str, Any]:
    """The same request as it is when we ask for the usage of its stream."""
    body = seen["body"]
    if not shape.asks or not body.get("stream"):
        return seen
    options = {**(body.get("stream_options") or {}), "include_usage": True}
    asked = {**body, "stream_options": options}
    longer = len(_compact(asked)) - len(_compact(body))
    length = str(int(seen["headers"]["content-length"]) + longer)
    headers = {**seen["headers"], "accept-encoding": "identity", "content-length": length}
    return {**seen, "body": asked, "headers": headers}


def _compact(body: Any) -> str:
    import json

    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


def _same_bills(before: Ran, after: Ran) -> None:
    told = [
        [bill._replace(reported=True, id=bill.id) for bill in ran.bills] for ran in (before, after)
    ]
    assert told[0] == told[1]


def _exact_records(shape: Shape, ran: Ran) -> None:
    records = ran.records
    assert len(records) == shape.records
    assert len(ran.bills) == (shape.records if shape.bills is None else shape.bills)
    told = shape.told if isinstance(shape.told, tuple) else (shape.told,) * shape.records
    assert len(told) == shape.records
    for i, record in enumerate(records):
        expected = _expected(shape, ran, i) | dict(told[i])
        assert {name: _fact(record, name) for name in expected} == expected
        if record.usage is not None and "cost.status" not in expected:
            assert record.cost.status in ("priced", "derived"), record.cost
        _plausible(record)
    assert len({record.id for record in records}) == len(records)


def _expected(shape: Shape, ran: Ran, i: int) -> dict[str, Any]:
    host, _, port = ran.url.partition("//")[2].partition(":")
    expected: dict[str, Any] = {
        "agent": "contract",
        "provider": shape.provider,
        "operation": shape.operation,
        "request.endpoint": shape.endpoint,
        "request.model": shape.asked,
        "request.stream": shape.stream,
        "request.server_address": host,
        "request.server_port": int(port),
        "status": "ok",
        "usage_source": "reported",
        "tier": None,
        "entry": None,
        "error_type": None,
        "http_status": None,
        "first chunk": shape.stream,
        "notes": (),
    }
    if len(ran.bills) == len(ran.records):
        bill = _bills_in_order(ran)[i]
        expected |= {
            "usage": dict(bill.usage),
            "units": dict(bill.units),
            "response_model": bill.model,
            "response_id": bill.id,
        }
        if shape.endpoint in _TELL_THE_TIER:
            expected["tier"] = bill.tier
    return expected


_TELL_THE_TIER = ("chat.completions", "responses", "messages", "generate_content")
"""Whose answers say which tier was used."""


def _bills_in_order(ran: Ran) -> list[Any]:
    """The bills in the order of the records: answers may overlap."""
    ids = [record.response_id for record in ran.records]
    if set(ids) != {bill.id for bill in ran.bills}:
        return list(ran.bills)
    return sorted(ran.bills, key=lambda bill: ids.index(bill.id))


FAILED: Mapping[str, Any] = {
    "status": "error",
    "usage": None,
    "usage_source": "missing",
    "response_model": None,
    "response_id": None,
    "tier": None,
    "first chunk": False,
    "cost.status": "not_billed",
}
"""What the record of a refused request says, beside the error's own type and status."""


def _fact(record: Record, name: str) -> Any:
    if name == "usage":
        return None if record.usage is None else record.usage.nonzero()
    if name == "units":
        return dict(record.units)
    if name == "first chunk":
        return record.time_to_first_chunk is not None
    value: Any = record
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _plausible(record: Record) -> None:
    """What can't be known beforehand."""
    assert record.duration is not None
    assert record.duration > 0
    if record.time_to_first_chunk is not None:
        assert 0 < record.time_to_first_chunk <= record.duration
