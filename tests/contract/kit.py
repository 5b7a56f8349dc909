"""One call shape, run with and without us against the same provider, and what must hold of it."""

import asyncio
import gc
import importlib
import inspect
import json
import os
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

from otel_llm_usage import Record, agent, instrument, uninstrument
from otel_llm_usage.standin import Seen, StandIn, server

from .needs import has, optional
from .plain import plain

openai: Any = optional("openai")
anthropic: Any = optional("anthropic")
genai: Any = optional("google.genai")
gemini: Any = optional("google.genai.types")
"""An environment may have one of the SDKs only."""

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
            # versions without either leave it to the collector
            close = getattr(client, "aclose", None) or getattr(client, "close", None)
            await done(close() if close is not None else None)


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


LOOP = importlib.import_module(os.environ.get("CONTRACT_LOOP", "asyncio"))
"""Whose event loop the async programs run in: `uvloop` has one, too."""


LEAKS: Any = os.environ.get("CONTRACT_LEAKS", "error")
"""Old SDKs leave sockets to the collector, with or without us."""


def drive(work: Coroutine[Any, Any, Any], mode: Mode) -> Any:
    """Run a program: the async one in a loop; the sync one never waits, so it needs none."""
    if mode == "async":
        with asyncio.Runner(loop_factory=LOOP.new_event_loop) as runner:
            return runner.run(work)
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
    told: (
        Mapping[str, Any] | tuple[Mapping[str, Any], ...] | Callable[[Record], Mapping[str, Any]]
    ) = field(default_factory=dict)
    """What the records say beyond what the stand-in's ledger and this row say; for all, or each.
    A function is asked for each: where their order differs between versions."""
    script: Callable[[StandIn], None] = lambda standin: None
    asks: bool = False
    """Whether we ask for the usage of its streams unseen."""
    modes: tuple[Mode, ...] = ("sync", "async")
    settings: Mapping[str, Any] = field(default_factory=dict)
    encodings: bool = False
    """The stand-in compresses for who accepts it, so that our asking shows in one header."""
    needs: tuple[str, ...] = ()
    """What an SDK must have for this shape: `openai:chat.completions.parse` is what a client of
    that kind of `Caller` has; `openai.DefaultAioHttpClient`, without a colon, is found by import.
    Behind it, `(name)` is an argument that it must take, and `{name}` what its code must use. A
    shape needs all of them."""
    needs_async: tuple[str, ...] = ()
    """What it needs besides when it is async."""
    raises: str | None = None
    """The exception that the caller gets, by its type's name or that of a type above it."""


def sdks(shape: Shape) -> set[str]:
    """The SDKs that the needs of a shape name."""
    roots = [need.partition(":")[0].partition(".")[0] for need in shape.needs + shape.needs_async]
    return {SDKS[root] for root in roots if root in SDKS}


SDKS = {
    **dict.fromkeys(("openai", "azure"), "openai"),
    **dict.fromkeys(("anthropic", "bedrock", "vertex", "foundry"), "anthropic"),
    **dict.fromkeys(("google", "gemini"), "google.genai"),
}
"""Kinds of clients, and packages, of each SDK."""


def lacks(shape: Shape, mode: Mode) -> tuple[str, ...]:
    """What the shape needs and these versions of the SDKs do not have."""
    needs = shape.needs + (shape.needs_async if mode == "async" else ())
    return tuple(need for need in needs if not _met(need, mode))


@cache
def _met(need: str, mode: Mode) -> bool:
    kind, colon, path = need.rpartition(":")
    if not colon:
        return has(None, path)
    try:
        client = _looked_at(kind, mode)
    except (AttributeError, ImportError):  # no such client, or not what it is made of
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some warn of what is looked at
        return has(client, path)


@cache
def _looked_at(kind: str, mode: Mode) -> Any:
    """A client that is never used."""
    return getattr(Caller(SimpleNamespace(url="http://127.0.0.1:9"), mode), kind)()


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
    ("google.genai._api_client", "BaseApiClient.download_file"),
    ("google.genai._api_client", "BaseApiClient.async_download_file"),
    ("google.genai.models", "Models.generate_content_stream"),
    ("google.genai.models", "AsyncModels.generate_content_stream"),
    ("google.genai.chats", "Chat.send_message_stream"),
    ("google.genai.chats", "AsyncChat.send_message_stream"),
    ("google.genai._gaos.basesdk", "BaseSDK.do_request"),
    ("google.genai._gaos.basesdk", "AsyncBaseSDK.do_request_async"),
    ("google.genai.live", "AsyncLive.connect"),
    ("google.genai.live", "AsyncSession._receive"),
    ("google.genai.live", "AsyncSession.close"),
    *(
        (f"openai.resources.{module}", f"{kind}Connection.{method}")
        for module, name in (
            ("realtime.realtime", "Realtime"),
            ("beta.realtime.realtime", "Realtime"),
            ("realtime.translations.translations", "Translations"),
            ("responses.responses", "Responses"),
            ("beta.responses.responses", "Responses"),
            ("live.live", "Live"),
            ("live.forks", "Forks"),
            ("live.sideband", "Sideband"),
        )
        for kind in (name, f"Async{name}")
        for method in ("__init__", "recv_bytes", "close")
    ),
)


OLDER = {"BaseApiClient": ("ApiClient",)}
"""How classes were called before."""


def classes() -> dict[tuple[str, str], dict[str, Any]]:
    """Every function that stands in the SDK classes that we touch."""
    found = {}
    for module, path in SEAMS:
        kind = path.partition(".")[0]
        place = next((p for p in (kind, *OLDER.get(kind, ())) if has(None, f"{module}.{p}")), None)
        if place is None:
            continue  # not installed
        members = vars(getattr(importlib.import_module(module), place))
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
    runtime = instrument(sinks=[records.append], otlp=False, **shape.settings)
    try:
        assert not is_clean() or "sdks" in shape.settings
        ran = _run(shape, mode, records, runtime.flush)
    finally:
        uninstrument()
    assert tuple(records) == ran.records, "uninstrument() had to settle what nobody had settled"
    return ran


def without_us(shape: Shape, mode: Mode) -> Ran:
    """Run a shape as if we did not exist."""
    assert is_clean()
    return _run(shape, mode, None, lambda: None)


def _run(shape: Shape, mode: Mode, records: list[Record] | None, flush: Callable[[], None]) -> Ran:
    still = SimpleNamespace(time=lambda: EPOCH, monotonic=time.monotonic, sleep=time.sleep)
    server.time, real = still, server.time
    try:
        with StandIn(deployments={"prod": "gpt-4.1-mini"}) as standin:
            shape.script(standin)
            received, error = drive(_program(shape, Caller(standin, mode, records)), mode)
            assert standin.settled()
            flush()
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
    with agent("contract"), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("error")
        # what an SDK warns of is shown to its user, with us and without us
        warnings.filterwarnings("always", module=r"(openai|anthropic|google\.genai|pydantic)\b")
        for category in (DeprecationWarning, UserWarning):
            warnings.filterwarnings("always", category=category)
        warnings.filterwarnings("error", module="otel_llm_usage")
        warnings.filterwarnings(LEAKS, category=ResourceWarning)
        warnings.filterwarnings("ignore", "Inheritance class AiohttpClientSession")
        received, raised = None, None
        try:
            received = plain(await shape.run(caller))
        except Exception as error:
            if shape.raises not in [kind.__name__ for kind in type(error).__mro__]:
                raise
            received, raised = plain(error), error
        finally:
            await caller.close()
        return [
            received,
            sorted((one.category.__name__, str(one.message)) for one in warned),
        ], raised


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
        host = url.partition("//")[2]
        port = f"port={host.partition(':')[2]}"
        return (
            received.replace(url, "http://standin").replace(host, "standin").replace(port, "port")
        )
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
    (length,) = (
        str(len(written(asked)))
        for written in (_compact, _spaced)
        if str(len(written(body))) == seen["headers"]["content-length"]
    )
    headers = {**seen["headers"], "accept-encoding": "identity", "content-length": length}
    return {**seen, "body": asked, "headers": headers}


def _compact(body: Any) -> bytes:
    """How the HTTP libraries write JSON."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def _spaced(body: Any) -> bytes:
    """How they did before."""
    return json.dumps(body).encode()


def _same_bills(before: Ran, after: Ran) -> None:
    told = [
        [bill._replace(reported=True, id=bill.id) for bill in ran.bills] for ran in (before, after)
    ]
    assert told[0] == told[1]


def _exact_records(shape: Shape, ran: Ran) -> None:
    records = ran.records
    assert len(records) == shape.records
    assert len(ran.bills) == (shape.records if shape.bills is None else shape.bills)
    told = _told(shape, records)
    assert len(told) == shape.records
    for i, record in enumerate(records):
        expected = _expected(shape, ran, i) | dict(told[i])
        assert {name: _fact(record, name) for name in expected} == expected
        if record.usage is not None and "cost.status" not in expected:
            assert record.cost.status in ("priced", "derived"), record.cost
        if "duration" not in expected:
            _plausible(record)
    assert len({record.id for record in records}) == len(records)


def _told(shape: Shape, records: tuple[Record, ...]) -> tuple[Mapping[str, Any], ...]:
    if isinstance(shape.told, tuple):
        return shape.told
    if callable(shape.told):
        return tuple(shape.told(record) for record in records)
    return (shape.told,) * shape.records


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
