"""What a made-up team spent in eight days, to the cent, and every metric that tells of it.

The last 26 hours are told each minute, as processes that are scraped and rules that are evaluated
tell them; the days before them every five minutes, and by the recordings alone.
"""

import bisect
import itertools
import math
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import yaml

from otel_llm_usage.telemetry import definitions
from otel_llm_usage.telemetry.definitions import DURATIONS, Definition

RULES = Path(__file__).parents[2] / "prometheus" / "rules" / "llm-usage.yml"

MINUTE, HOUR, DAY = 60, 3600, 86400
END = int(datetime(2025, 11, 20, 15, tzinfo=UTC).timestamp())
"""The last sample: a Thursday afternoon."""
NOW = END + 30
"""When the boards are asked: off the minute, Prometheus 2 and 3 agree on what a range holds."""
TOLD = END - 26 * HOUR
"""From here on each minute is told, before it every five minutes."""
BEGIN = END - 8 * DAY - 2 * HOUR - 20
"""Off the minute, too: no edge of a window falls on what is told every five minutes."""

INSTANCE = {"job": "llm-usage", "instance": "app:9464"}
SECOND = {"job": "llm-usage", "instance": "batch:9464"}

RATES = {
    "gemini-2.5-pro": {"input": 1.25, "cache_read": 0.125, "output": 10, "reasoning": 10},
    "gemini-2.5-flash": {"input": 0.3, "output": 2.5},
    "gpt-5-2025-08-07": {"input": 1.25, "cache_read": 0.125, "output": 10, "reasoning": 10},
    "text-embedding-3-small": {"input": 0.02},
    "claude-sonnet-4-5-20250929": {
        "input": 3,
        "cache_read": 0.3,
        "cache_write_5m": 3.75,
        "output": 15,
    },
    "claude-haiku-4-5-20251001": {"input": 1, "output": 5},
    "acme-unknown-1": {},
}
"""US dollars per million tokens."""


class Work(NamedTuple):
    """What an agent does with a model."""

    agent: str
    provider: str
    model: str
    an_hour: float
    tokens: dict[str, int]
    """Of a typical call."""
    seconds: float
    operation: str = "chat"
    streams: bool = False
    searches: float = 0.0
    """Searches of the web for each call, a cent each."""
    since: int = 0
    """When it began: its first sample is its first charge, as of a job that ends soon."""


WORKS = (
    Work(
        "researcher",
        "gcp.gemini",
        "gemini-2.5-pro",
        20,
        {"input": 7000, "cache_read": 2500, "output": 1300, "reasoning": 2600},
        14,
        "generate_content",
        True,
        searches=0.3,
    ),
    Work(
        "coder",
        "anthropic",
        "claude-sonnet-4-5-20250929",
        30,
        {"input": 3500, "cache_read": 21000, "cache_write_5m": 1800, "output": 1100},
        9,
        streams=True,
    ),
    Work(
        "triage",
        "openai",
        "gpt-5-2025-08-07",
        90,
        {"input": 900, "cache_read": 1100, "output": 160, "reasoning": 190},
        3,
        streams=True,
    ),
    Work(
        "support", "anthropic", "claude-haiku-4-5-20251001", 60, {"input": 2100, "output": 420}, 2
    ),
    Work(
        "summarizer",
        "gcp.gemini",
        "gemini-2.5-flash",
        130,
        {"input": 1300, "output": 1200},
        2.5,
        "generate_content",
    ),
    Work("librarian", "openai", "text-embedding-3-small", 400, {"input": 2600}, 0.2, "embeddings"),
    Work("analyst", "openai", "acme-unknown-1", 6, {"input": 800, "output": 300}, 1.5),
    Work(
        "auditor",
        "anthropic",
        "claude-sonnet-4-5-20250929",
        25,
        {"input": 8000, "output": 900},
        7,
        since=END - 3 * HOUR,
    ),
)


class Plan(NamedTuple):
    """A budget, and what was spent of it before the story begins."""

    budget: str
    period: str
    limit: float
    start: int
    end: int
    agent: str = ""
    before: float = 0.0


def _at(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp())


PLANS = (
    Plan("everything", "day", 31, _at(2025, 11, 20), _at(2025, 11, 21)),
    Plan("research", "week", 200, _at(2025, 11, 17), _at(2025, 11, 24), "researcher"),
    Plan("platform", "month", 960, _at(2025, 11, 1), _at(2025, 12, 1), before=212.0),
)

CLIENTS = ("SyncAPIClient.request", "AsyncAPIClient.request", "BaseClient._build_request")
STREAMS = ("models.Models", "models.AsyncModels", "chats.Chat", "chats.AsyncChat")
REQUESTS = ("request", "async_request", "request_streamed", "async_request_streamed")
SEAMS = {
    "anthropic": [f"anthropic._base_client.{client}" for client in CLIENTS],
    "google": [
        *(f"google.genai._api_client.BaseApiClient.{name}" for name in REQUESTS),
        *(f"google.genai.{name}.generate_content_stream" for name in STREAMS[:2]),
        *(f"google.genai.{name}.send_message_stream" for name in STREAMS[2:]),
    ],
    "openai": [f"openai._base_client.{client}" for client in CLIENTS],
}

Labels = tuple[tuple[str, str], ...]


def labels(**named: str) -> Labels:
    return tuple(sorted(named.items()))


@dataclass
class Ledger:
    """What was added to each counter, when; the rest follows from it."""

    added: dict[str, dict[Labels, dict[int, float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(float)))
    )
    """By the definition's name, the labels, and the time."""
    lasted: dict[str, dict[Labels, dict[int, list[float]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    )

    def total(
        self, name: str, since: int, until: int = END, by: str = "", **where: str
    ) -> dict[str, float]:
        """What was added after `since`, up to `until`, for each value of a label, or of several."""
        totals: dict[str, float] = defaultdict(float)
        for named, times in self.added[name].items():
            values = dict(named)
            if all(values[label] == value for label, value in where.items()):
                key = " ".join(values[label] for label in by.split())
                totals[key] += sum(what for t, what in times.items() if since < t <= until)
        return dict(totals)

    def spent(self, since: int, until: int = END, **where: str) -> float:
        """US dollars."""
        return sum(self.total("cost", since, until, **where).values())


def times() -> list[int]:
    """When something is told."""
    return [*range(BEGIN, TOLD, 5 * MINUTE), *range(TOLD, END + 1, MINUTE)]


def written() -> Ledger:
    """The ledger: always the same."""
    chance, ledger = random.Random(42), Ledger()
    before = BEGIN
    for t in times():
        for work in WORKS:
            if t >= work.since:
                _work(ledger, chance, work, t, (t - before) / HOUR)
        before = t
    for hours in (5.2, 2.6):
        ledger.added["instrumentation_errors"][labels(where="observe")][
            END - int(hours * 60) * MINUTE
        ] += 1
    return ledger


def _busy(work: Work, t: int) -> float:
    when = datetime.fromtimestamp(t, UTC)
    hour = when.hour + when.minute / 60
    load = 0.12 + 0.88 * math.exp(-(((hour - 14) / 4.2) ** 2))
    if when.weekday() >= 5:
        load *= 0.3
    if work.agent == "researcher" and t > END - 5 * HOUR:
        load *= 2.4
    if work.agent == "summarizer" and t < TOLD:
        load *= 1.7
    return load


def _work(ledger: Ledger, chance: random.Random, work: Work, t: int, hours: float) -> None:
    who = {"provider": work.provider, "model": work.model, "agent": work.agent}
    called = {"provider": work.provider, "model": work.model}
    expected = work.an_hour * hours * _busy(work, t)
    calls = int(expected * chance.uniform(0.7, 1.3) + chance.random())
    if t == work.since:
        calls = 15  # the first charge, which increase() does not see
    trouble = work.provider == "openai" and END - 5 * HOUR < t < END - 4.3 * HOUR
    for _ in range(calls):
        fate = chance.random()
        status = "ok"
        if fate < (0.09 if trouble else 0.006):
            status = "error"
        elif work.streams and fate > 0.985:
            status = "aborted" if fate < 0.998 else "broken"
        request = labels(**who, operation=work.operation, status=status)
        ledger.added["requests"][request][t] += 1
        seconds = work.seconds * chance.lognormvariate(0, 0.5)
        how = labels(**called, operation=work.operation)
        ledger.lasted["request_duration"][how][t].append(seconds)
        if status == "error":
            continue
        if work.streams:
            ledger.lasted["time_to_first_token"][how][t].append(0.12 * seconds + 0.15)
        if work.model == "gemini-2.5-flash" and fate > 0.996:
            ledger.added["usage_missing"][labels(**called, reason="no_usage")][t] += 1
            ledger.added["unpriced_requests"][labels(**called, reason="no_usage")][t] += 1
            continue
        _bill(ledger, chance, work, t, status)


def _bill(ledger: Ledger, chance: random.Random, work: Work, t: int, status: str) -> None:
    who = {"provider": work.provider, "model": work.model, "agent": work.agent}
    called = {"provider": work.provider, "model": work.model}
    rates = RATES[work.model]
    size = chance.uniform(0.6, 1.4)
    for kind, typical in work.tokens.items():
        count = int(typical * size)
        ledger.added["tokens"][labels(type=kind, **who)][t] += count
        if status != "ok":
            ledger.added["estimated_tokens"][labels(type=kind, **who)][t] += count
        if rates:
            ledger.added["cost"][labels(type=kind, **who)][t] += count * rates[kind] / 1e6
        else:
            ledger.added["unpriced_tokens"][labels(type=kind, **called)][t] += count
            # no cost is known, so what the call's start showed stays: a zero
            ledger.added["cost"][labels(type=kind, **who)][t] += 0
    if not rates:
        ledger.added["unpriced_requests"][labels(**called, reason="unknown_model")][t] += 1
    if chance.random() < work.searches:
        ledger.added["cost"][labels(type="web_search", **who)][t] += 0.01


class Recording(NamedTuple):
    """A recording of what each minute added."""

    name: str
    by: tuple[str, ...]
    of: str
    """The counter, by its definition's name."""


def rules() -> list[dict[str, str]]:
    """Every recording rule."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "record" in rule]


def recordings() -> list[Recording]:
    """Those that hold what a minute added: their names say all of it."""
    found = []
    for rule in rules():
        level, metric, operation = rule["record"].split(":")
        if operation == "delta1m":
            of = metric.removeprefix("llm_").removesuffix("_usd")
            found.append(Recording(rule["record"], tuple(level.split("_")), of))
    return found


def open_metrics(ledger: Ledger) -> Iterator[str]:
    """All of it, for `promtool tsdb create-blocks-from openmetrics`."""
    for definition in definitions.DEFINITIONS:
        if definition.kind == "counter":
            yield from _counter(definition, ledger.added[definition.name])
        elif definition.kind == "histogram":
            yield from _histogram(definition, ledger.lasted[definition.name])
    for recording in recordings():
        yield from _recording(recording, ledger.added[recording.of])
    yield from _budgets(ledger)
    yield from _constant(definitions.CATALOGUE_AGE.exposed(), _ages(), rising=True)
    for name, series in _steady():
        yield from _constant(name, series)
    yield "# EOF\n"


def _line(name: str, named: Iterable[tuple[str, str]], value: float, t: int) -> str:
    inside = ",".join(f'{label}="{text}"' for label, text in named)
    return f"{name}{{{inside}}} {value:.12g} {t}\n"


def _minutes() -> range:
    return range(TOLD, END + 1, MINUTE)


def _counter(what: Definition, series: dict[Labels, dict[int, float]]) -> Iterator[str]:
    name = what.exposed()
    yield f"# TYPE {what.family('llm')} counter\n"
    for named, added in series.items():
        born, total = min(added), sum(value for t, value in added.items() if t < TOLD)
        for t in _minutes():
            total += added.get(t, 0)
            if t >= born:
                yield _line(name, (*named, *INSTANCE.items()), total, t)


def _histogram(what: Definition, series: dict[Labels, dict[int, list[float]]]) -> Iterator[str]:
    name = what.exposed()
    yield f"# TYPE {name} histogram\n"
    for named, lasted in series.items():
        who = (*named, *INSTANCE.items())
        counts, total = dict.fromkeys((*DURATIONS, math.inf), 0), 0.0
        for t in _minutes():
            for seconds in lasted.get(t, ()):
                total += seconds
                for bound in counts:
                    counts[bound] += seconds <= bound
            for bound, count in counts.items():
                le = "+Inf" if bound == math.inf else f"{float(bound)}"
                yield _line(f"{name}_bucket", (*who, ("le", le)), count, t)
            yield _line(f"{name}_count", who, counts[math.inf], t)
            yield _line(f"{name}_sum", who, total, t)


def _recording(recording: Recording, series: dict[Labels, dict[int, float]]) -> Iterator[str]:
    summed: dict[Labels, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for named, added in series.items():
        kept = tuple(pair for pair in named if pair[0] in recording.by)
        for t, value in added.items():
            summed[kept][t] += value
    yield f"# TYPE {recording.name} gauge\n"
    for named, added in summed.items():
        born = min(added)
        yield from (_line(recording.name, named, added.get(t, 0), t) for t in times() if t >= born)


class Spending:
    """How much of a plan's money was spent up to any time."""

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        where = {"agent": plan.agent}.items() if plan.agent else ()
        costs = [
            added
            for named, added in ledger.added["cost"].items()
            if all(dict(named)[label] == value for label, value in where)
        ]
        self.times = times()
        first, *rest = (sum(added.get(t, 0) for added in costs) for t in self.times)
        self.sums = [0.0, *itertools.accumulate(rest, initial=plan.before + first)]

    def until(self, t: int) -> float:
        return self.sums[bisect.bisect_right(self.times, t)]

    def rate(self, t: int, window: int) -> float:
        """US dollars a second."""
        return (self.until(t) - self.until(t - window)) / window


def _budgets(ledger: Ledger) -> Iterator[str]:
    lines: dict[str, list[str]] = defaultdict(list)
    for plan in PLANS:
        spending = Spending(plan, ledger)
        who = (("budget", plan.budget), ("period", plan.period))
        for t in _minutes():
            for name, value in _budget(plan, spending, t):
                by = () if ":" in name else INSTANCE.items()
                lines[name].append(_line(name, (*who, *by), value, t))
    for name, told in lines.items():
        yield f"# TYPE {name} gauge\n"
        yield from told


def _budget(plan: Plan, spending: Spending, t: int) -> Iterator[tuple[str, float]]:
    """What a process says of it, and the rules."""
    length = plan.end - plan.start
    start, end = plan.start, plan.end
    if t < start:
        start, end = start - length, start
    spent = spending.until(t) - spending.until(start - 1)
    used = spent / plan.limit
    evenly = plan.limit / length
    ahead = spending.rate(t, DAY if length > 8 * DAY else 6 * HOUR) * (end - t)
    yield "llm_budget_limit_usd", plan.limit
    yield "llm_budget_spent_usd", spent
    yield "llm_budget_utilization_ratio", used
    yield "llm_budget_period_start_timestamp_seconds", start
    yield "llm_budget_period_end_timestamp_seconds", end
    yield "budget_period:llm_budget_limit_usd:max", plan.limit
    yield "budget_period:llm_budget_spent_usd:sum", spent
    yield "budget_period:llm_budget_utilization:ratio", used
    yield "budget_period:llm_budget_period_seconds:max", length
    yield "budget_period:llm_budget_burn:ratio5m", spending.rate(t, 5 * MINUTE) / evenly
    yield "budget_period:llm_budget_burn:ratio1h", spending.rate(t, HOUR) / evenly
    yield "budget_period:llm_budget_forecast_usd:value", spent + ahead


def _ages() -> list[tuple[dict[str, str], float]]:
    return [
        ({"layer": "overlay", **INSTANCE}, timedelta(days=3.4).total_seconds()),
        ({"layer": "genai-prices", **INSTANCE}, timedelta(days=12.9).total_seconds()),
    ]


def _steady() -> list[tuple[str, list[tuple[dict[str, str], float]]]]:
    both = (INSTANCE, SECOND)
    seams = [(sdk, seam) for sdk, names in SEAMS.items() for seam in names]
    return [
        (
            definitions.SEAM_PATCHED.exposed(),
            [({"sdk": sdk, "seam": seam, **who}, 1) for sdk, seam in seams for who in both],
        ),
        (
            definitions.BUILD_INFO.exposed(),
            [
                ({"version": "0.1.0", "python": "3.12.8", **INSTANCE}, 1),
                ({"version": "0.1.0", "python": "3.11.2", **SECOND}, 1),
            ],
        ),
        ("up", [(who, 1) for who in both]),
        ("scrape_duration_seconds", [(INSTANCE, 0.012), (SECOND, 0.007)]),
    ]


def _constant(
    name: str, series: list[tuple[dict[str, str], float]], rising: bool = False
) -> Iterator[str]:
    yield f"# TYPE {name} gauge\n"
    for named, value in series:
        for t in _minutes():
            yield _line(name, named.items(), value + (t - END if rising else 0), t)


def written_to(path: Path, ledger: Ledger) -> None:
    """The file that promtool reads."""
    with path.open("w") as file:
        file.writelines(open_metrics(ledger))
