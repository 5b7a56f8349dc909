"""Reports say what the records say, whichever sums they read; in SQLite and in PostgreSQL alike."""

import random
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import psycopg
import pytest
from sqlalchemy import select

from otel_llm_usage import guard, hindsight
from otel_llm_usage.ledger import BadQuestion, Ledger, Question, Reports, Upkeep, asking, schema
from otel_llm_usage.ledger.database import ADVISORY
from otel_llm_usage.ledger.migrations import migrate
from otel_llm_usage.ledger.reports import MOST_LINES
from otel_llm_usage.ledger.rows import COLUMNS, row_of
from otel_llm_usage.records import Cost, PricedLine, Record, Request, Usage
from otel_llm_usage.sums import Sum

# from before the clocks go back in Berlin until after
BEGIN = datetime(2026, 10, 24, 20, 17, 3, 500, tzinfo=UTC)
HOURS = 40
ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York"]
# the clocks go back at midnight in Cairo, Beirut and Santiago; in the middle of an hour on Chatham and,
# by half of one, on Lord Howe
ODD_ZONES = [
    "Africa/Cairo", "Asia/Beirut", "America/Santiago", "America/Havana", "Australia/Lord_Howe",
    "Pacific/Chatham", "Africa/Casablanca",
]  # fmt: skip
ROOMS = {
    "agent": lambda record: record.agent,
    "model": lambda record: record.model,
    "provider": lambda record: record.provider,
    "call_type": lambda record: record.labels.get("call_type", ""),
    "user": lambda record: record.labels.get("user", ""),
    "session": lambda record: record.labels.get("session", ""),
    "team": lambda record: record.labels.get("team", ""),
    "tier": lambda record: record.tier or "",
    "status": lambda record: record.status,
    "operation": lambda record: record.operation,
    "cost_status": lambda record: record.cost.status,
    "usage_source": lambda record: record.usage_source,
    "platform": lambda record: record.request.platform,
    "error_type": lambda record: record.error_type or "",
    "label:symbol": lambda record: record.labels.get("symbol", ""),
}


def traffic(many=600, seed=1):
    """Records of every sort, over some days."""
    chance = random.Random(seed)
    made = []
    for number in range(many):
        provider, model = chance.choice([("openai", "gpt-4.1"), ("gcp.gemini", "gemini-2.5-pro")])
        status = chance.choice(["ok"] * 6 + ["error", "aborted", "broken"])
        usage = Usage(
            input=chance.randrange(2_000),
            cache_read=chance.choice([None, chance.randrange(900)]),
            output=chance.randrange(500),
            reasoning=chance.choice([None, 7]),
        )
        source = chance.choice(["reported"] * 5 + ["estimated"])
        pico = chance.randrange(10**11)
        lines = (PricedLine("input", usage.input, pico, "list"),)
        cost = chance.choice(
            [
                Cost("priced", pico, lines, card="card", saved_pico=chance.randrange(-9, 999)),
                Cost("partial", None, lines, ("no_rate:output",), card="card"),
            ]
        )
        if status == "error":
            usage, source, cost = None, "missing", Cost("not_billed", 0)
        elif chance.random() < 0.1:
            usage, source, cost = None, "missing", Cost("unpriced", reasons=("no_usage",))
        labels = {
            name: f"{name}{chance.randrange(3)}"
            for name in ("call_type", "user", "session", "team", "symbol")
            if chance.random() < 0.7
        }
        operation = chance.choice(["chat", "chat", "embeddings"])
        made.append(
            Record(
                id=f"{number:032x}" + chance.choice(["", "", "-1"]),
                time=BEGIN.timestamp() + chance.random() * HOURS * 3600,
                request=Request(provider, "v", f"{provider}-api", operation, operation, model),
                status=status,
                usage=usage,
                usage_source=source,
                cost=cost,
                tier=chance.choice([None, "flex"]),
                duration=chance.choice([None, chance.randrange(1, 9_000) / 1000]),
                error_type="500" if status == "error" else None,
                agent=chance.choice(["planner", "critic"]),
                labels=labels,
                scopes=tuple(chance.sample(["s1", "s2"], chance.randrange(3))),
            )
        )
    return made


TRAFFIC = traffic()


def fill(ledger, records):
    for record in records:
        ledger(record)
    ledger.flush()


@pytest.fixture
def reports(ledger):
    fill(ledger, TRAFFIC)
    return Reports(ledger)


def expected(records, *rooms):
    """The sums of groups, by adding up records one by one."""
    found = {}
    for record in records:
        found.setdefault(tuple(room(record) for room in rooms), Sum()).add(record)
    return {group: told(part) for group, part in found.items()}


def told(found):
    """All of a sum, with seconds as the ledger keeps them; averages follow from the rest."""
    result = found.to_dict() | {"records": found.records, "seconds": round(found.seconds, 6)}
    result.pop("average_seconds")
    return result


def lines(report):
    return {line.group: told(line.sum) for line in report.lines}


def between(since, until):
    return [record for record in TRAFFIC if since.timestamp() <= record.time < until.timestamp()]


# ------------------------------------------------------------ what is said


def test_each_dimension_says_what_the_records_say(reports):
    for name, room in ROOMS.items():
        report = reports.report(Question(by=(name,)))
        assert lines(report) == expected(TRAFFIC, room), name
        assert told(report.total) == expected(TRAFFIC)[()], name
        costs = [line.sum.pico for line in report.lines]
        assert costs == sorted(costs, reverse=True)


def test_several_at_once_and_filters(reports):
    for by in (("agent", "model"), ("user", "status"), ("user", "agent"), ("label:symbol", "team")):
        where = {"agent": ("planner", "nobody"), "call_type": ("call_type1", "")}
        picked = [
            record
            for record in TRAFFIC
            if record.agent == "planner" and ROOMS["call_type"](record) in ("call_type1", "")
        ]
        report = reports.report(Question(by=by, where=where, limit=MOST_LINES))
        assert lines(report) == expected(picked, *(ROOMS[name] for name in by))


@pytest.mark.parametrize(
    ("after", "long"),
    [(0.0, 40.0), (3.2, 30.1), (5.0, 0.05), (5.0, 0.7), (4.6, 24.0), (-100.0, 200.0)],
)
def test_any_time_to_the_microsecond(reports, after, long):
    since = BEGIN + timedelta(hours=after)
    until = since + timedelta(hours=long)
    for by in ("agent", "user", "label:symbol"):
        report = reports.report(Question(since, until, by=(by,)))
        assert lines(report) == expected(between(since, until), ROOMS[by])
    assert told(reports.report(Question(since)).total) == expected(
        between(since, since + timedelta(days=999))
    ).get((), told(Sum()))
    first = min(record.time for record in TRAFFIC)
    at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=round(first * 1e6))
    assert reports.report(Question(at, at + timedelta(microseconds=1))).total.records == 1
    assert reports.report(Question(until=at)).total.records == 0


def fixed(moment):
    """Of the two hours of a clock that goes back, Python would say that they are equal."""
    return moment.replace(tzinfo=timezone(moment.utcoffset()), fold=0)


def piece(bucket, zone):
    def of(record):
        here = datetime.fromtimestamp(record.time, zone)
        if bucket == "hour":
            whole = here.astimezone(UTC) - timedelta(
                minutes=here.minute, seconds=here.second, microseconds=here.microsecond
            )
            return fixed(whole.astimezone(zone))
        day = here.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if bucket == "week":
            return fixed(day - timedelta(days=day.weekday()))
        return fixed(day.replace(day=1) if bucket == "month" else day)

    return of


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("bucket", ["hour", "day", "week", "month"])
def test_pieces_of_time_of_any_zone(reports, bucket, zone):
    here = asking.time_zone(zone)
    report = reports.report(Question(by=(bucket, "agent"), zone=here, limit=MOST_LINES))
    assert lines(report) == expected(TRAFFIC, piece(bucket, here), ROOMS["agent"])
    starts = [line.group[0] for line in report.lines]
    assert starts == sorted(starts)
    alone = reports.report(Question(by=(bucket,), zone=here, limit=MOST_LINES))
    assert {start: found for start, found in lines(alone).items() if found["records"]} == expected(
        TRAFFIC, piece(bucket, here)
    )


def changes(zone, year):
    """When the zone changes its clock in a year, and by how much."""
    moment = datetime(year, 1, 1, tzinfo=UTC)
    while moment.year == year:
        later = moment + timedelta(minutes=15)
        before, after = (one.astimezone(zone).utcoffset() for one in (moment, later))
        if before != after:
            yield later, after - before
        moment = later


@pytest.mark.parametrize("name", ODD_ZONES)
def test_what_was_called_while_a_clock_was_changed_is_in_its_own_day(ledger, name):
    zone = ZoneInfo(name)
    changed = list(changes(zone, 2026))
    assert changed
    records = [
        TRAFFIC[0]._replace(
            id=f"{place:016x}{minutes + 999:016x}",
            time=(moment + timedelta(minutes=minutes)).timestamp(),
        )
        for place, (moment, _) in enumerate(changed)
        for minutes in (-91, -61, -46, -31, -16, -1, 0, 1, 14, 29, 31, 44, 59, 61, 89, 91, 121)
    ]
    fill(ledger, records)
    reports = Reports(ledger)
    for bucket in ("hour", "day", "week", "month"):

        def of(record, bucket=bucket):
            begun = piece(bucket, zone)(record)
            if bucket == "hour":
                for moment, by in changed:
                    # of an hour that a clock was put forward or back in by half of one, there is a rest
                    if by % timedelta(hours=1) and begun < moment <= sent(record):
                        return fixed(moment.astimezone(zone))
            return begun

        for since in (None, datetime(2026, 1, 2, tzinfo=zone), datetime(2026, 1, 2, tzinfo=UTC)):
            asked = Question(since, by=(bucket,), zone=zone, limit=MOST_LINES)
            if since is None:
                # from the first record until the last
                until = datetime.fromtimestamp(records[-1].time + 1, UTC)
                asked = asked._replace(until=until)
            report = reports.report(asked)
            starts = [line.group[0] for line in report.lines]
            assert starts == sorted(set(starts)), (bucket, since)
            found = {start: one for start, one in lines(report).items() if one["records"]}
            assert found == expected(records, of), (bucket, since)


def sent(record):
    return datetime.fromtimestamp(record.time, UTC)


def test_an_hour_in_which_nobody_called_is_there_with_zero(reports):
    since = BEGIN + timedelta(hours=HOURS - 2)
    report = reports.report(Question(since, since + timedelta(days=1), by=("hour",)))
    assert report.groups == len(report.lines) == 25
    assert report.lines[0].group == (since.replace(minute=0, second=0, microsecond=0),)
    assert [line.sum.records for line in report.lines[-20:]] == [0] * 20


def test_the_day_of_25_hours_has_them(reports):
    berlin = ZoneInfo("Europe/Berlin")
    day = datetime(2026, 10, 25, tzinfo=berlin)
    asked = Question(day, day + timedelta(days=1), by=("hour",), zone=berlin)
    report = reports.report(asked)
    assert len(report.lines) == 25
    assert (
        told(report.total)
        == expected([one for one in TRAFFIC if piece("day", berlin)(one) == fixed(day)])[()]
    )


def test_a_scope_has_its_own(reports):
    for scope in ("s1", "s2"):
        own = [record for record in TRAFFIC if scope in record.scopes]
        report = reports.report(Question(scope=scope, by=("agent",)))
        assert lines(report) == expected(own, ROOMS["agent"])
    assert reports.report(Question(scope="none", by=("agent",))).total.records == 0


def test_sorted_paged_and_the_rest(reports):
    everything = reports.report(Question(by=("user", "session"))).lines
    seen = []
    for offset in range(0, len(everything) + 4, 4):
        report = reports.report(Question(by=("user", "session"), limit=4, offset=offset))
        assert report.groups == len(everything)
        seen += report.lines
        assert report.total.records == len(TRAFFIC)
        assert report.others.records == len(TRAFFIC) - sum(
            line.sum.records for line in report.lines
        )
        assert report.others.pico + sum(line.sum.pico for line in report.lines) == report.total.pico
    assert [line.group for line in seen] == [line.group for line in everything]
    for sort, value in (
        ("tokens", lambda one: one.total_tokens),
        ("calls", lambda one: one.calls),
        ("seconds", lambda one: one.seconds),
    ):
        for by in (("user",), ("hour",)):
            found = [value(line.sum) for line in reports.report(Question(by=by, sort=sort)).lines]
            assert found == sorted(found, reverse=True)
    names = [line.group for line in reports.report(Question(by=("user",), sort="name")).lines]
    assert names == sorted(names)


def test_beside_the_time_before(reports):
    since = BEGIN + timedelta(hours=20)
    until = since + timedelta(hours=15)
    report = reports.report(Question(since, until, by=("user",)), previous=True)
    before = between(since - timedelta(hours=15), since)
    assert told(report.previous) == expected(before)[()]
    was = expected(before, ROOMS["user"])
    assert {line.group: told(line.previous) for line in report.lines} == {
        line.group: was.get(line.group, told(Sum())) for line in report.lines
    }
    said = report.to_dict()
    assert said["total"]["previous"]["calls"] == report.previous.calls
    first = datetime(1970, 1, 2, tzinfo=UTC)
    for by in ((), ("agent",), ("day",)):
        asked = Question(first, first + timedelta(days=9), by=by)
        assert reports.report(asked, previous=True).previous.records == 0
    assert reports.report(Question(first, by=("agent",)), previous=True).previous.records == 0
    with pytest.raises(BadQuestion, match="since"):
        reports.report(Question(), previous=True)


def test_the_latest_records_page_by_page(reports):
    ordered = sorted(TRAFFIC, key=lambda record: (record.time, record.id), reverse=True)
    seen, place = [], None
    while True:
        page, place = reports.latest(Question(limit=250), before=place)
        seen += page
        if place is None:
            break
    assert [record.id for record in seen] == [record.id for record in ordered]
    mine, _ = reports.latest(Question(where={"user": ("user1",)}, scope="s1"))
    assert {record.id for record in mine} == {
        record.id
        for record in TRAFFIC
        if record.labels.get("user") == "user1" and "s1" in record.scopes
    }


def test_an_empty_ledger_answers(ledger):
    reports = Reports(ledger)
    for by in ((), ("agent",), ("hour",), ("day", "user"), ("label:x",)):
        report = reports.report(Question(by=by))
        assert report.total.calls == 0
        assert sum(line.sum.calls for line in report.lines) == 0
    assert reports.latest() == ([], None)


@pytest.mark.faults
def test_millions_of_dollars_do_not_overflow(ledger, request):
    most = 2**63 - 1
    costly = [
        TRAFFIC[0]._replace(id=f"{n:032x}", time=1.79e9, cost=Cost("priced", most), scopes=("s",))
        for n in range(3)
    ]
    fill(ledger, costly)
    reports = Reports(ledger)
    for by in ("agent", "user", "label:symbol", "hour"):
        assert reports.report(Question(by=(by,))).total.pico == 3 * most
    with ledger.database.reading() as connection:
        (pico,) = connection.exec_driver_sql("SELECT known_pico FROM llm_usage_by_scope").one()
    assert float(pico) == pytest.approx(3 * most)


@pytest.mark.faults
@pytest.mark.parametrize(
    "odd",
    [
        {"duration": 2.0**62},
        {"duration": -1.0},
        {"time_to_first_chunk": 2.0**62},
        {"time": 1.79e12},  # milliseconds
        {"time": -1.0},
        {"time": 1e300},
    ],
    ids=str,
)
def test_times_that_cannot_be_spoil_no_report(ledger, odd):
    plain = [TRAFFIC[0]._replace(id=f"{n:032x}", duration=1.0) for n in range(2)]
    fill(ledger, [*plain, *(plain[0]._replace(id=f"f{n:031x}", **odd) for n in range(3))])
    reports = Reports(ledger)
    for by in ("agent", "hour", "day", "month"):
        until = BEGIN + timedelta(days=9)
        report = reports.report(Question(BEGIN, until, by=(by,), limit=MOST_LINES))
        assert report.total.records in (2, 5)
        with suppress(BadQuestion):  # there may be more days between than are told
            assert reports.report(Question(by=(by,))).total.records == 5
    assert reports.report(Question()).total.records == len(reports.latest()[0]) == 5
    assert 2 <= reports.report(Question()).total.seconds <= 2 + 3 * 2**40 / 1e6


def test_names_of_any_length_are_kept_and_told_apart(ledger):
    chance = random.Random(1)

    def long(name):
        return name * 3 + "".join(chance.choices("äbcdefghijklmnopqrstuvwxyz", k=5_000))

    names = ("agent", "team", "call_type", "user", "session")
    records = []
    for number in range(4):
        said = {name: long(name) for name in names}
        records.append(
            TRAFFIC[0]._replace(
                id=f"f{number:031x}",
                agent=said.pop("agent"),
                labels=said | {"other": long("other")},
                tier=long("tier"),
                response_model=long("model"),
                scopes=(long("scope"),),
            )
        )
    fill(ledger, [*records, *TRAFFIC])
    reports = Reports(ledger)
    assert reports.report(Question()).total.records == len(TRAFFIC) + 4
    for record in records:
        for name in (*names, "tier", "model"):
            where = {name: (ROOMS[name](record),)}
            for by in ("status", name, "label:other"):
                report = reports.report(Question(by=(by,), where=where))
                assert report.total.records == 1
            (found,), _ = reports.latest(Question(where=where))
            assert found.id == record.id
        assert reports.report(Question(scope=record.scopes[0])).total.records == 1
        other = {"label:other": (record.labels["other"],)}
        assert reports.report(Question(where=other)).total.records == 1
    assert Upkeep(ledger).purge(user=records[0].labels["user"]) == 1
    assert reports.report(Question()).total.records == len(TRAFFIC) + 3


@pytest.mark.faults
def test_a_row_that_an_index_cannot_take_stops_no_other(postgres, tmp_path):
    ledger = Ledger(postgres.database(), journal=tmp_path / "journal")
    chance = random.Random(1)
    odd = TRAFFIC[0]._replace(id="".join(chance.choices("abcdefghijklmnop", k=20_000)))
    fill(ledger, [*TRAFFIC[:5], odd, *TRAFFIC[5:9]])
    assert {one.id for one in ledger.records()} == {one.id for one in TRAFFIC[:9]}
    assert odd.id in next(tmp_path.rglob("rejected.jsonl")).read_text()
    ledger.close()


def test_usage_without_any_count_is_missing_like_none(ledger):
    cost = Cost("unpriced", reasons=("no_usage",))
    records = [
        TRAFFIC[0]._replace(id=f"{number:032x}", usage=usage, cost=cost)
        for number, usage in enumerate((None, Usage(), Usage(output=0)))
    ]
    fill(ledger, records)
    total = Reports(ledger).report(Question()).total
    assert told(total) == expected(records)[()]
    assert total.missing == 2


def test_many_cheap_calls_come_before_one_that_is_cheaper_than_all_of_them(ledger):
    def cost(pico):
        return Cost("priced", pico)

    def one(number, who, pico):
        labels = {"user": who, "symbol": who}
        return TRAFFIC[0]._replace(
            id=f"{number:032x}", agent=who, labels=labels, cost=cost(pico), usage=Usage(input=1)
        )

    # less than a millionth of a dollar each
    many = [one(number, "many", 999_999) for number in range(50)]
    fill(ledger, [*many, one(60, "few", 2_000_001), one(61, "fewer", 2_000_000)])
    reports = Reports(ledger)
    for by in ("agent", "user", "label:symbol"):
        report = reports.report(Question(by=(by,)))
        assert [line.group for line in report.lines] == [("many",), ("few",), ("fewer",)]
        (first,) = reports.report(Question(by=(by,), limit=1)).lines
        assert first.group == ("many",)


def test_ten_thousand_lines_by_several_names(ledger):
    many = 9_000
    names = ("user", "session", "symbol", "chain", "team", "a", "b", "c")
    fill(
        ledger,
        [
            TRAFFIC[0]._replace(
                id=f"{number:032x}", labels={name: f"{name}{number}" for name in names}
            )
            for number in range(many)
        ],
    )
    by = ("user", "session", "label:symbol", "label:chain", "team", "label:a", "label:b", "label:c")
    day = datetime.fromtimestamp(TRAFFIC[0].time, UTC)
    asked = Question(day - timedelta(hours=1), by=by, limit=MOST_LINES)
    report = Reports(ledger).report(asked, previous=True)
    assert len(report.lines) == many
    assert {line.sum.records for line in report.lines} == {1}


@pytest.mark.parametrize(
    "question",
    [
        Question(by=("nothing",)),
        Question(by=("id; DROP TABLE llm_usage",)),
        Question(by=("label:",)),
        Question(by=("agent", "agent")),
        Question(by=("day", "hour")),
        Question(where={"hour": ("1",)}),
        Question(where={"time": ("1",)}),
        Question(sort="dollars"),
        Question(limit=0),
        Question(limit=10**9),
        Question(offset=-1),
        Question(offset=2**40),
        Question(since=datetime(2026, 1, 1)),  # noqa: DTZ001
        Question(since=BEGIN, until=BEGIN),
        Question(since=datetime(1, 1, 1, tzinfo=UTC)),
        Question(until=datetime(9999, 12, 31, tzinfo=UTC), by=("day",)),
        Question(
            # the first and the second of an hour that there is twice
            since=datetime(2026, 10, 25, 2, 10, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
            until=datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
        ),
        Question(since=datetime(1971, 1, 1, tzinfo=UTC), until=BEGIN, by=("day",)),
        Question(where={"agent": ("\0",)}),
        Question(where={"agent": ("\ud800",)}),
        Question(by=("label:\0",)),
        Question(scope="\ud800"),
        Question(where={"agent": ("a",) * 600, "user": ("b",) * 600}),
        Question(since=datetime(1900, 1, 1, tzinfo=UTC), until=BEGIN, by=("hour",)),
    ],
    ids=str,
)
def test_what_cannot_be_answered_is_said(reports, question):
    with pytest.raises(BadQuestion):
        reports.report(question)


def test_words_of_sql_are_values_like_others(ledger):
    odd = '\'; DROP TABLE llm_usage; -- %s {} :x "a".b[0] \\ $'
    record = TRAFFIC[0]._replace(agent=odd, labels={"user": odd, odd: odd})
    fill(ledger, [record])
    reports = Reports(ledger)
    for by in ("agent", "user", f"label:{odd}"):
        report = reports.report(Question(by=(by,), where={by: (odd,)}))
        assert [line.group for line in report.lines] == [(odd,)]


def test_a_time_ago_is_as_long_as_it_says_when_clocks_are_changed():
    berlin = ZoneInfo("Europe/Berlin")
    now = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # 2:30 for the second time
    for text, ago in {"90m": timedelta(minutes=90), "24h": timedelta(hours=24)}.items():
        # never equal in Python: an hour that there is twice, and a moment of another zone
        assert asking.moment(text, berlin, now=now).astimezone(UTC) == now - ago


def test_moments_in_words():
    now = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)
    for text, moment in {
        "7d": datetime(2026, 11, 17, 15, 30, tzinfo=UTC),
        "90m": datetime(2026, 11, 24, 14, 0, tzinfo=UTC),
        "today": datetime(2026, 11, 24, tzinfo=UTC),
        "week": datetime(2026, 11, 23, tzinfo=UTC),
        "month": datetime(2026, 11, 1, tzinfo=UTC),
        "2026-11-01": datetime(2026, 11, 1, tzinfo=UTC),
        "2026-11-01T10:00Z": datetime(2026, 11, 1, 10, tzinfo=UTC),
        "2026-11-01T10:00+02:00": datetime(2026, 11, 1, 8, tzinfo=UTC),
    }.items():
        assert asking.moment(text, now=now) == moment
    berlin = asking.time_zone("Europe/Berlin")
    assert asking.moment("2026-11-01", berlin) == datetime(2026, 10, 31, 23, tzinfo=UTC)
    for text in ("", "soon", "7x", "99999999d", "2026-13-01", "0001-01-01T00:00+23:00", "999999w"):
        with pytest.raises(BadQuestion, match="no moment"):
            asking.moment(text, now=now)
    for name in ("Mars/Olympus", "../../etc/passwd", "", "\0"):
        with pytest.raises(BadQuestion, match="no time zone"):
            asking.time_zone(name)
    assert asking.filters(["agent=a", "agent=b", "user=x=y"]) == {
        "agent": ("a", "b"),
        "user": ("x=y",),
    }
    with pytest.raises(BadQuestion, match="name=value"):
        asking.filters(["agent"])


# ------------------------------------------------------------ what changes records


def check_sums(ledger, records):
    """Every sum says what these records say."""
    assert {record.id for record in ledger.records()} == {record.id for record in records}
    reports = Reports(ledger)
    for name in ("agent", "user", "session", "label:symbol", "status"):
        report = reports.report(Question(by=(name,)))
        assert lines(report) == expected(records, ROOMS[name])
    berlin = ZoneInfo("Europe/Berlin")
    report = reports.report(Question(by=("hour", "agent"), zone=berlin, limit=MOST_LINES))
    assert lines(report) == expected(records, piece("hour", berlin), ROOMS["agent"])


def test_purging_by_time_and_user(ledger, reports):
    moment = BEGIN + timedelta(hours=17, minutes=11)
    told_of = []
    upkeep = Upkeep(ledger)
    gone = upkeep.purge(before=moment, progress=lambda done, of: told_of.append((done, of)))
    left = [record for record in TRAFFIC if record.time >= moment.timestamp()]
    assert gone == len(TRAFFIC) - len(left)
    assert told_of[-1] == (gone, gone)
    check_sums(ledger, left)
    upkeep.purge(user="user1")
    left = [record for record in left if record.labels.get("user") != "user1"]
    check_sums(ledger, left)
    own = [record for record in left if "s1" in record.scopes]
    assert told(Reports(ledger).report(Question(scope="s1")).total) == expected(own)[()]
    assert upkeep.purge(user="user1") == 0
    with pytest.raises(BadQuestion, match="which records"):
        upkeep.purge()


def test_anonymised_records_cost_the_same_and_are_nobodys(ledger, reports):
    before = told(reports.report(Question()).total)
    Upkeep(ledger).anonymise(user="user1")
    left = [
        record._replace(
            labels={
                name: value
                for name, value in record.labels.items()
                if name in ("team", "call_type")
            }
        )
        if record.labels.get("user") == "user1"
        else record
        for record in TRAFFIC
    ]
    check_sums(ledger, left)
    assert told(reports.report(Question()).total) == before
    assert Upkeep(ledger).anonymise(user="user1") == 0
    Upkeep(ledger).anonymise(before=BEGIN + timedelta(days=9))
    assert [line.group for line in reports.report(Question(by=("user",))).lines] == [("",)]


def test_priced_anew_and_the_old_price_kept(ledger, reports):
    def price(request, reading, at):
        if request.model == "gpt-4.1":
            return Cost("priced", 5, (PricedLine("input", 1, 5, "new"),), card="new")
        return Cost("unpriced", None, (), ("unknown_model",))

    since = BEGIN + timedelta(hours=7)
    found = Upkeep(ledger).reprice(price, since=since)
    priced = [
        record._replace(cost=price(record.request, record.reading, record.time))
        if record.time >= since.timestamp() and record.usage is not None
        else record
        for record in TRAFFIC
    ]
    check_sums(ledger, priced)
    changed = [one for one, other in zip(TRAFFIC, priced, strict=True) if one != other]
    assert found.records == found.changed == len(changed)
    assert found.before_pico == sum(record.cost.known_pico for record in changed)
    assert found.after_pico == 5 * sum(record.model == "gpt-4.1" for record in changed)
    with ledger.database.reading() as connection:
        kept = connection.execute(
            select(schema.former_costs.c.record, schema.former_costs.c.known_pico)
        ).all()
    assert dict(tuple(row) for row in kept) == {
        record.id: record.cost.known_pico for record in changed
    }
    again = Upkeep(ledger).reprice(price, since=since)
    assert (again.records, again.changed) == (len(changed), 0)


@pytest.mark.faults
def test_a_price_that_cannot_be_told_leaves_a_record_as_it_is(ledger, reports):
    def price(request, reading, at):
        if request.model == "gpt-4.1":
            raise ArithmeticError("ours")
        return Cost("priced", 5, (PricedLine("input", 1, 5, "new"),), card="new")

    told_of = hindsight.reprice(reports, price, Question())
    found = Upkeep(ledger).reprice(price)
    priced = [
        record._replace(cost=price(record.request, record.reading, record.time))
        if record.usage is not None and record.model != "gpt-4.1"
        else record
        for record in TRAFFIC
    ]
    check_sums(ledger, priced)
    assert found.changed == sum(one != two for one, two in zip(TRAFFIC, priced, strict=True))
    assert found.failed == found.records - found.changed > 0
    assert found.after_pico == sum(one.cost.known_pico for one in priced if one.usage is not None)
    assert tuple(map(sum, zip(*told_of.values(), strict=True))) == found
    assert guard.errors["reprice"] == 2 * found.failed


def test_what_was_brought_in_with_its_cost_keeps_it(ledger):
    given = TRAFFIC[0]._replace(
        usage=Usage(input=1, output=1), cost=Cost("priced", 7, card="import")
    )
    fill(ledger, [given])
    for found in (
        hindsight.reprice(Reports(ledger), lambda *_: Cost("priced", 1), Question()),
        Upkeep(ledger).reprice(lambda *_: Cost("priced", 1)),
    ):
        assert not any(found)
    assert [one.cost.pico for one in ledger.records()] == [7]


def test_upkeep_goes_on_from_where_it_was_stopped(ledger, reports):
    class Stopped(BaseException):
        pass

    def stop(done, of):
        raise Stopped

    upkeep = Upkeep(ledger)
    moment = BEGIN + timedelta(days=9)
    with pytest.raises(Stopped):
        upkeep.purge(before=moment, user="user1", progress=stop)
    there = {record.id for record in ledger.records()}
    left = [record for record in TRAFFIC if record.id in there]
    assert 0 < len(TRAFFIC) - len(left) < sum(ROOMS["user"](one) == "user1" for one in TRAFFIC)
    check_sums(ledger, left)
    upkeep.purge(before=moment, user="user1")
    check_sums(ledger, [one for one in TRAFFIC if ROOMS["user"](one) != "user1"])


def test_upkeep_waits_for_writers_whatever_the_database_does_by_default(postgres, tmp_path):
    address = postgres.database()
    always = "options=-c%20default_transaction_isolation%3Dserializable"
    ledger = Ledger(f"{address}?{always}", service="tests", journal=tmp_path / "journal")
    fill(ledger, TRAFFIC)
    failed = []

    def purge():
        try:
            Upkeep(ledger).purge(user="user1")
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=purge)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with psycopg.connect(address) as writer, psycopg.connect(address, autocommit=True) as looking:
        writer.execute(f"SELECT pg_advisory_xact_lock_shared({ADVISORY})")
        thread.start()
        while not looking.execute(waiting).fetchone()[0] and thread.is_alive():
            time.sleep(0.01)
        writer.execute("UPDATE llm_usage_day SET records = records")
        writer.commit()
        thread.join()
    assert not failed
    check_sums(ledger, [one for one in TRAFFIC if ROOMS["user"](one) != "user1"])
    ledger.close()


def test_counting_periods(ledger, reports):
    upkeep = Upkeep(ledger)
    assert upkeep.period() is None
    first = upkeep.begin_period("tests")
    second = upkeep.begin_period()
    assert upkeep.period() == second > first
    assert reports.report(Question(since=second)).total.calls == 0
    assert reports.report(Question()).total.records == len(TRAFFIC)


def test_writing_while_it_is_purged_and_priced(ledger, place, tmp_path):
    fill(ledger, TRAFFIC)
    more = [
        record._replace(id=record.id.replace("0" * 8, "f" * 8), agent="late") for record in TRAFFIC
    ]
    other = Ledger(place, journal=tmp_path / "other")
    ended = threading.Event()

    def write():
        for number in range(0, len(more), 20):
            fill(other, more[number : number + 20])
        ended.set()

    thread = threading.Thread(target=write)
    thread.start()
    upkeep = Upkeep(ledger)
    while not ended.is_set():
        for pico in (1, 2):
            upkeep.reprice(lambda *_, pico=pico: Cost("priced", pico))
    thread.join()
    other.close()
    upkeep.reprice(lambda *_: Cost("priced", 3))
    check_sums(
        ledger,
        [
            record if record.usage is None else record._replace(cost=Cost("priced", 3))
            for record in [*TRAFFIC, *more]
        ],
    )


def test_a_ledger_of_version_1_gets_its_sums(place):
    """As the first version made it: without sums, savings and indexes of people."""
    ledger = Ledger(place)
    with ledger.database.changing() as connection:
        columns = ", ".join(
            f"{column.compile(dialect=connection.dialect)} "
            f"{column.type.compile(dialect=connection.dialect)}"
            f"{' PRIMARY KEY' if column.primary_key else ''}"
            for column in schema.records.columns
            if column.name != "saved_pico"
        )
        run = connection.exec_driver_sql
        run(f"CREATE TABLE llm_usage ({columns.replace('llm_usage.', '')})")
        run("CREATE TABLE llm_usage_scope (scope TEXT, record TEXT, PRIMARY KEY (scope, record))")
        run("CREATE INDEX llm_usage_time ON llm_usage (time)")
        run("CREATE VIEW llm_usage_by_scope AS SELECT 1 AS scope")
        run("CREATE TABLE llm_usage_schema (version INTEGER PRIMARY KEY, applied BIGINT, by TEXT)")
        run("INSERT INTO llm_usage_schema VALUES (1, 0, 'tests')")
        names = [name for name in COLUMNS if name != "saved_pico"]
        marks = ", ".join(["%s" if connection.dialect.name == "postgresql" else "?"] * len(names))
        for record in TRAFFIC:
            row = dict(zip(COLUMNS, row_of(record, ""), strict=True))
            run(
                f"INSERT INTO llm_usage ({', '.join(names)}) VALUES ({marks})",
                tuple(row[name] for name in names),
            )
    migrate(ledger.database, "tests")
    migrate(ledger.database, "tests")
    check_sums(
        ledger,
        [record._replace(cost=record.cost._replace(saved_pico=0)) for record in TRAFFIC],
    )
    ledger.close()
