"""The main job as a demo: agents on the real SDKs, a stand-in provider, and the two bills compared.

The agents use the SDKs like anybody would: nothing in them knows that they are counted, except the
`with agent(...)` blocks that say who pays. Imported by the command alone: the SDKs take seconds.
"""

import asyncio
import signal
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import NamedTuple

import anthropic
import openai
from google import genai
from google.genai import types
from prometheus_client.parser import text_string_to_metric_families
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from . import guard
from .records import Record
from .runtime import instrument
from .scope import agent
from .server import MetricsServer, PortInUseError
from .settings import DEFAULT_PORT, undisturbed
from .standin import Bill, StandIn

MICRO = Decimal("0.000001")
PACE = 0.15
"""Seconds between two steps of an agent: enough to watch, not enough to be bored."""
PLAIN_PACE = 2.0
"""Seconds between two lines where there is no live view."""


@dataclass
class Account:
    """Every record of the demo, added up as it comes."""

    records: list[Record] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, record: Record) -> None:
        with self.lock:
            self.records.append(record)

    def snapshot(self) -> list[Record]:
        """What has come so far."""
        with self.lock:
            return list(self.records)


class Clients:
    """One client of each kind, as an application would hold them."""

    def __init__(self, url: str) -> None:
        base = {"base_url": f"{url}/v1", "api_key": "demo"}
        self.openai = openai.OpenAI(**base, max_retries=3)  # type: ignore[arg-type]
        self.anthropic = anthropic.Anthropic(base_url=url, api_key="demo")
        options = types.HttpOptions(base_url=url)
        self.gemini = genai.Client(api_key="demo", http_options=options)
        self._base = base
        self._url = url

    def asynchronous(self) -> tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic]:
        """Async clients belong to one event loop."""
        return (
            openai.AsyncOpenAI(**self._base),  # type: ignore[arg-type]
            anthropic.AsyncAnthropic(base_url=self._url, api_key="demo"),
        )


def look_up(topic: str) -> str:
    """Look a topic up in the library (the tool that Gemini calls by itself)."""
    return f"three facts about {topic}"


HANDBOOK = "You are a careful analyst. Follow the handbook to the letter. " * 120
"""A long prefix that is worth caching."""


def planner(clients: Clients, turn: int) -> None:
    """Plans with a plain chat, and once in a while with a rate limit in between."""
    model = "gpt-4.1-flaky" if turn % 4 == 3 else "gpt-4.1"
    clients.openai.chat.completions.create(
        model=model,
        messages=[
            {"role": "system", "content": HANDBOOK},
            {"role": "user", "content": f"Plan step {turn} of the study."},
        ],
    )


def researcher(clients: Clients, turn: int) -> None:
    """Lets Gemini call a tool by itself: several paid turns behind one method call."""
    chat = clients.gemini.chats.create(
        model="gemini-2.5-flash", config=types.GenerateContentConfig(tools=[look_up])
    )
    chat.send_message(f"Find out about topic {turn}.")


def reader(clients: Clients, turn: int) -> None:
    """Streams from Gemini."""
    for chunk in clients.gemini.models.generate_content_stream(
        model="gemini-2.5-pro", contents=f"Summarise source {turn} in detail."
    ):
        _ = chunk.text


def writer(clients: Clients, turn: int) -> None:
    """Streams from Claude with a cached handbook."""
    with clients.anthropic.messages.stream(
        model="claude-sonnet-4-5",
        max_tokens=400,
        system=[{"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": f"Write paragraph {turn}."}],
    ) as stream:
        for _ in stream.text_stream:
            pass


def critic(clients: Clients, turn: int) -> None:
    """Reasons; and every third time loses patience and leaves the stream."""
    if turn % 3 != 2:
        clients.openai.responses.create(model="gpt-5", input=f"Judge paragraph {turn}.")
        return
    stream = clients.openai.chat.completions.create(
        model="gpt-4o-mini-slow",
        messages=[{"role": "user", "content": f"Argue at length against paragraph {turn}."}],
        stream=True,
    )
    for number, _ in enumerate(stream):
        if number == 4:
            break
    stream.close()


def librarian(clients: Clients, turn: int) -> None:
    """Embeds, with two providers."""
    text = f"paragraph {turn} " * 20
    clients.openai.embeddings.create(model="text-embedding-3-small", input=[text, text])
    clients.gemini.models.embed_content(model="gemini-embedding-001", contents=text)


def scout(clients: Clients, turn: int) -> None:
    """Tries a model that no price list knows."""
    clients.openai.chat.completions.create(
        model="acme-unknown-1", messages=[{"role": "user", "content": f"Try {turn}."}]
    )


async def crew(clients: Clients, stop: threading.Event) -> None:
    """Async agents: three calls at a time, one of them streamed without asking for usage."""
    async_openai, async_anthropic = clients.asynchronous()

    async def chat(turn: int) -> None:
        with agent("editor"):
            stream = await async_openai.chat.completions.create(
                model="gpt-4.1-mini",
                messages=[{"role": "user", "content": f"Polish sentence {turn}."}],
                stream=True,
            )
            async for _ in stream:
                pass

    async def claude(turn: int) -> None:
        with agent("translator"):
            await async_anthropic.messages.create(
                model="claude-haiku-4-5",
                max_tokens=200,
                messages=[{"role": "user", "content": f"Translate sentence {turn}."}],
            )

    async def gemini(turn: int) -> None:
        with agent("translator"):
            await clients.gemini.aio.models.generate_content(
                model="gemini-2.5-flash-lite", contents=f"Translate sentence {turn}."
            )

    turn = 0
    async with async_openai, async_anthropic:
        while not stop.is_set():
            await asyncio.gather(chat(turn), claude(turn), gemini(turn))
            turn += 1
            await asyncio.sleep(PACE)
        await clients.gemini.aio.aclose()


AGENTS: dict[str, Callable[[Clients, int], None]] = {
    "planner": planner,
    "researcher": researcher,
    "reader": reader,
    "writer": writer,
    "critic": critic,
    "librarian": librarian,
    "scout": scout,
}


class Workload:
    """All agents at work until they are told to stop."""

    def __init__(self, url: str) -> None:
        self._clients = Clients(url)
        self._stop = threading.Event()
        self.failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._work, args=(name, step), name=name)
            for name, step in AGENTS.items()
        ]
        self._threads.append(threading.Thread(target=self._crew, name="crew"))

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every agent end its step."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, name: str, step: Callable[[Clients, int], None]) -> None:
        turn = 0
        try:
            while not self._stop.is_set():
                with agent(name):
                    step(self._clients, turn)
                turn += 1
                self._stop.wait(PACE)
        except (openai.OpenAIError, anthropic.AnthropicError, genai.errors.APIError) as error:
            self.failures.append(error)

    def _crew(self) -> None:
        try:
            asyncio.run(crew(self._clients, self._stop))
        except (openai.OpenAIError, anthropic.AnthropicError, genai.errors.APIError) as error:
            self.failures.append(error)


def run(
    seconds: float | None = None,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    plain: bool = False,
    config: str | None = None,
) -> int:
    """The whole demo; the exit code: 0 when both bills agree, 2 when the port is taken.

    `host` and `port` are those of `/metrics`; `config`: a settings file, such as one with budgets.
    """
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a log has no edge
    stop = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        with undisturbed():
            return _run(console, stop, seconds, plain, partial(_serve, console, host, port), config)
    except PortInUseError:
        console.print(f"Port {port} is taken: choose another one, or --metrics-port 0")
        return 2
    finally:
        signal.signal(signal.SIGINT, previous)


def _run(
    console: Console,
    stop: threading.Event,
    seconds: float | None,
    plain: bool,
    serve: Callable[[], MetricsServer],
    config: str | None,
) -> int:
    account = Account()
    with StandIn(seed=11) as standin:
        runtime = instrument(sinks=[account], otlp=True, agent="unknown", config=config)
        try:
            server = serve()
            workload = Workload(standin.url)
            workload.start()
            _watch(console, standin, server, account, stop, seconds, plain)
            workload.stop()
            runtime.flush()
            standin.settled()  # it notices a client that left only when it writes again
            audit = Audit(tuple(standin.ledger), account.snapshot(), _scrape(server))
            server.close()
        finally:
            runtime.close()
    console.print(*audit.tables(), sep="\n")
    for failure in workload.failures:
        console.print(f"[red]an agent failed: {type(failure).__name__}: {failure}")
    differences = audit.differences()
    for difference in differences:
        console.print(f"[red]{difference}")
    if not differences and not workload.failures:
        console.print("[green]Both bills agree, to the token and to the micro-dollar.")
    return 1 if differences or workload.failures else 0


def _serve(console: Console, host: str, port: int | None) -> MetricsServer:
    """On the port that was chosen; where none was, on the default one or any other."""
    try:
        return MetricsServer(host, DEFAULT_PORT if port is None else port).start()
    except PortInUseError:
        if port is not None:
            raise
        console.print(f"Port {DEFAULT_PORT} is taken: /metrics is served on a free one.")
        return MetricsServer(host).start()


def _watch(
    console: Console,
    standin: StandIn,
    server: MetricsServer,
    account: Account,
    stop: threading.Event,
    seconds: float | None,
    plain: bool,
) -> None:
    begun = time.monotonic()
    live = Live(console=console, refresh_per_second=4, transient=True)
    console.print(f"Metrics: {server.url}   Stand-in: {standin.url}   Ctrl-C ends.")
    due = PLAIN_PACE
    with nullcontext() if plain or not console.is_terminal else live:
        while not stop.is_set():
            elapsed = time.monotonic() - begun
            if seconds is not None and elapsed >= seconds:
                return
            if live.is_started:
                live.update(_view(account.snapshot(), elapsed, server.url))
            elif elapsed >= due:
                due += PLAIN_PACE
                console.print(_headline(account.snapshot(), elapsed))
            stop.wait(0.25)


def _headline(records: Sequence[Record], elapsed: float) -> str:
    total = sum((record.cost.known for record in records), Decimal(0))
    return f"{elapsed:5.1f} s   {len(records):,} calls   ≥ ${total:.6f}"


def _view(records: Sequence[Record], elapsed: float, url: str) -> Group:
    rows: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        rows[record.agent, record.model].append(record)
    table = _table("Counted by us, live", "agent", "model")
    for heading in ("calls", "input", "cached", "output", "thought", "USD"):
        table.add_column(heading, justify="right")
    for (name, model), group in sorted(rows.items()):
        kinds = _kinds(group)
        known = sum((record.cost.known for record in group), Decimal(0))
        unpriced = sum(record.cost.pico is None for record in group)
        table.add_row(
            name,
            model,
            f"{len(group):,}",
            f"{sum(record.usage.input_tokens or 0 for record in group if record.usage):,}",
            f"{kinds['cache_read']:,}",
            f"{kinds['output']:,}",
            f"{kinds['reasoning']:,}",
            f"≥ {known:.6f}" if unpriced else f"{known:.6f}",
        )
    return Group(Text(f"{_headline(records, elapsed)}   {url}"), table)


def _table(title: str, *headings: str) -> Table:
    """Fits a terminal of 80 columns."""
    return Table(
        *headings,
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )


class Side(NamedTuple):
    """One side of one row of the comparison."""

    calls: int
    tokens: int
    kinds: Counter[str]
    usd: Decimal | None


class Audit:
    """What the provider billed, what we counted, and what `/metrics` served, side by side."""

    def __init__(
        self, bills: Sequence[Bill], records: Sequence[Record], served: dict[str, Decimal]
    ) -> None:
        answered = [record for record in records if record.cost.status != "not_billed"]
        self._rows: dict[str, list[tuple[str, str, Side, Side]]] = {}
        unsure = ("estimated", "partial", "missing", "bad")
        told = [bill for bill in bills if bill.reported]
        sure = [record for record in answered if record.usage_source not in unsure]
        self._compare(
            "Billed by the provider / counted by us",
            [bill for bill in told if bill.usd is not None],
            [record for record in sure if record.cost.pico is not None],
        )
        self._compare(
            "No price known: tokens only, never $0",
            [bill for bill in told if bill.usd is None],
            [record for record in sure if record.cost.pico is None],
        )
        self._compare(
            "Not reported on the wire: estimated from what was delivered, or unknown",
            [bill for bill in bills if not bill.reported],
            [record for record in answered if record.usage_source in unsure],
        )
        self._records = records
        self._served = served

    def _compare(self, title: str, bills: Iterable[Bill], records: Iterable[Record]) -> None:
        billed: defaultdict[tuple[str, str], list[Bill]] = defaultdict(list)
        counted: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
        for bill in bills:
            billed[bill.provider, bill.model].append(bill)
        for record in records:
            counted[record.provider, record.model].append(record)
        self._rows[title] = [
            (*key, _billed(billed[key]), _counted(counted[key]))
            for key in sorted({*billed, *counted})
        ]

    def tables(self) -> list[Table]:
        """For the terminal."""
        tables = []
        for title, rows in self._rows.items():
            table = _table(title, "model")
            for heading in ("calls", "tokens", "counted", "USD", "counted", "error"):
                table.add_column(heading, justify="right", no_wrap=True)
            for _, model, theirs, ours in rows:
                same = theirs.calls == ours.calls
                table.add_row(
                    model,
                    f"{theirs.calls:,}" if same else f"{theirs.calls:,} / {ours.calls:,}",
                    f"{theirs.tokens:,}",
                    f"{ours.tokens:,}",
                    _usd(theirs.usd),
                    _usd(ours.usd),
                    _error(theirs, ours),
                )
            if rows:
                tables.append(table)
        return tables

    def differences(self) -> list[str]:
        """What does not agree: the calls everywhere, tokens and dollars where the wire told them."""
        found = []
        first, second, third = self._rows
        for provider, model, theirs, ours in (*self._rows[first], *self._rows[second]):
            if theirs.calls != ours.calls or theirs.kinds != ours.kinds:
                found.append(
                    f"{provider} {model}: billed {theirs.calls} calls {dict(theirs.kinds)}, "
                    f"counted {ours.calls} calls {dict(ours.kinds)}"
                )
            if _micro(theirs.usd) != _micro(ours.usd):
                found.append(f"{provider} {model}: billed ${theirs.usd}, counted ${ours.usd}")
        for provider, model, theirs, ours in self._rows[third]:
            if theirs.calls != ours.calls:
                found.append(
                    f"{provider} {model}: {theirs.calls} calls without a report, "
                    f"counted {ours.calls} of them"
                )
        tokens = Decimal(_kinds(self._records).total())
        known = sum((record.cost.known for record in self._records), Decimal(0))
        if self._served["llm_tokens_total"] != tokens:
            found.append(
                f"/metrics served {self._served['llm_tokens_total']} tokens, the records have {tokens}"
            )
        if _micro(self._served["llm_cost_total"]) != _micro(known):
            found.append(
                f"/metrics served ${self._served['llm_cost_total']}, the records have ${known}"
            )
        if not self._rows[first]:
            found.append("nothing was billed")
        if guard.errors:
            found.append(f"the instrumentation failed: {dict(guard.errors)}")
        return found


def _kinds(records: Iterable[Record]) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for record in records:
        if record.usage is not None:
            kinds.update(record.usage.nonzero())
    return kinds


def _billed(bills: Sequence[Bill]) -> Side:
    kinds: Counter[str] = Counter()
    for bill in bills:
        kinds.update({kind: count for kind, count in bill.usage.items() if count})
    prices = [bill.usd for bill in bills]
    known = None if None in prices else sum((usd for usd in prices if usd is not None), Decimal(0))
    return Side(len(bills), kinds.total(), kinds, known)


def _counted(records: Sequence[Record]) -> Side:
    kinds = _kinds(records)
    prices = [record.cost.total for record in records]
    known = None if None in prices else sum((usd for usd in prices if usd is not None), Decimal(0))
    return Side(len(records), kinds.total(), kinds, known)


def _micro(usd: Decimal | None) -> Decimal | None:
    return None if usd is None else usd.quantize(MICRO)


def _usd(usd: Decimal | None) -> str:
    return "unknown" if usd is None else f"{usd:.6f}"


def _error(theirs: Side, ours: Side) -> str:
    if theirs.tokens == ours.tokens and theirs.usd == ours.usd:
        return "0"
    if not theirs.tokens:
        return "-"
    return f"{(ours.tokens - theirs.tokens) / theirs.tokens:+.1%}"


def _scrape(server: MetricsServer) -> dict[str, Decimal]:
    """The totals that `/metrics` serves, over HTTP like Prometheus does."""
    with urllib.request.urlopen(server.url, timeout=10) as answer:
        text = answer.read().decode()
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in ("llm_tokens_total", "llm_cost_total"):
                totals[sample.name] += Decimal(repr(sample.value))
    return totals
