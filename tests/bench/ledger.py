"""A ledger with a million records: how fast it takes them, and how fast it answers.

`python -m tests.bench.ledger [ADDRESS ...]`: of an SQLite file and of a PostgreSQL server of its own, or of
the databases at these addresses, which must be empty.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from otel_llm_usage.ledger import Ledger, Question, Reports, store
from otel_llm_usage.ledger.rows import row_of
from otel_llm_usage.records import Cost, PricedLine, Record, Request, Usage

from ..postgres import programs, serving

BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 30
AGENTS, USERS, CALLS_OF_A_SESSION = 20, 5_000, 10
_MODELS = (
    ("openai", "gpt-4.1"),
    ("openai", "gpt-4.1-mini"),
    ("anthropic", "claude-haiku-4-5"),
    ("gcp.gemini", "gemini-2.5-flash"),
    ("gcp.gemini", "gemini-2.5-pro"),
)
_BATCH = 2_000


def traffic(many: int) -> Iterator[Record]:
    """Sessions of users, one after the other over the days; each call by any of the agents."""
    chance = random.Random(1)
    agents = [(f"agent-{number}", chance.sample(_MODELS, 2)) for number in range(AGENTS)]
    sessions = many // CALLS_OF_A_SESSION
    user = ""
    for number in range(many):
        session, place = divmod(number, CALLS_OF_A_SESSION)
        if not place:
            user = f"user-{chance.randrange(USERS)}"
        agent, models = chance.choice(agents)
        provider, model = chance.choice(models)
        usage = Usage(
            input=chance.randrange(100, 5_000),
            cache_read=chance.randrange(2_000),
            output=chance.randrange(10, 800),
            reasoning=chance.randrange(500),
        )
        pico = 1_000_000 * (usage.total_tokens or 0)
        status = chance.choices(("ok", "error", "aborted"), (97, 2, 1))[0]
        failed = status == "error"
        lines = tuple(PricedLine(kind, n, n * 10**6, "") for kind, n in usage.nonzero().items())
        yield Record(
            id=f"{number:032x}",
            time=BEGIN.timestamp() + DAYS * 86_400 * session / sessions + chance.random() * 600,
            request=Request(provider, provider, "api", "chat", "chat.completions", model),
            status=status,
            usage=None if failed else usage,
            usage_source="missing"
            if failed
            else chance.choices(("reported", "estimated"), (99, 1))[0],
            cost=Cost("not_billed", 0) if failed else Cost("priced", pico, lines, card="a card"),
            response_id="r" * 24,
            finish_reasons=("stop",),
            duration=chance.random() * 5,
            agent=agent,
            labels={
                "user": user,
                "session": f"session-{session}",
                "call_type": chance.choice(("chat", "plan")),
                "team": f"team-{agent[-1]}",
                "feature": "search",
            },
            trace_id="a" * 32,
            span_id="b" * 16,
        )


def questions() -> dict[str, tuple[Question, bool]]:
    """By name: what is asked, and whether together with the time before."""
    end = BEGIN + timedelta(days=DAYS)
    week = end - timedelta(days=7, minutes=17), end - timedelta(minutes=3)
    berlin = ZoneInfo("Europe/Berlin")
    names = ("agent", "model", "provider", "call_type", "team", "tier", "status", "user", "session")
    return {
        "total": (Question(), False),
        **{f"by {name}": (Question(by=(name,)), False) for name in names},
        **{f"by {name}": (Question(by=(name,)), False) for name in ("hour", "day", "month")},
        "by day of Berlin and agent": (
            Question(by=("day", "agent"), zone=berlin, limit=10_000),
            False,
        ),
        "a week beside the one before": (Question(*week, by=("agent", "model")), True),
        "top ten users of a week": (Question(*week, by=("user",), limit=10), False),
        "one user by model": (Question(by=("model",), where={"user": ("user-7",)}), False),
        "one agent by day": (Question(by=("day",), where={"agent": ("agent-7",)}), False),
    }


def fill(ledger: Ledger, many: int) -> float:
    """Records a second that the database takes in one process, made ready before."""
    spent, batch = 0.0, []
    ledger.migrate()
    for record in traffic(many):
        batch.append(record)
        if len(batch) == _BATCH:
            begun = time.perf_counter()
            store.write(ledger.database, [(row_of(one, "bench"), one.scopes) for one in batch])
            spent += time.perf_counter() - begun
            batch = []
    return many // _BATCH * _BATCH / spent


def measure(place: str, many: int) -> None:
    """Print what one database can do."""
    ledger = Ledger(place)
    print(f"{ledger.database.url.get_backend_name()}: {fill(ledger, many):,.0f} records a second")
    reports = Reports(ledger)
    for name, (question, previous) in questions().items():
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            report = reports.report(question, previous=previous)
            times.append(time.perf_counter() - begun)
        worst, median = max(times), statistics.median(times)
        print(f"  {name:30} {median:7.3f} s  (worst {worst:.3f})  {report.groups:7,} lines")
    for name, question in (
        ("the latest 50 calls", Question(limit=50)),
        ("those of a user", Question(limit=50, where={"user": ("user-7",)})),
    ):
        begun = time.perf_counter()
        reports.latest(question)
        print(f"  {name:30} {time.perf_counter() - begun:7.3f} s")
    ledger.close()


def main() -> None:
    """See `make bench-ledger`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("places", nargs="*", help="addresses of empty databases")
    parser.add_argument("--records", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.places:
        for place in options.places:
            measure(place, options.records)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(str(Path(folder) / "usage.db"), options.records)
    found = programs()
    if found is None:
        print("PostgreSQL: not installed (apt-get install postgresql)")
        return
    with serving(found) as server:
        measure(server.database(), options.records)


if __name__ == "__main__":
    main()
