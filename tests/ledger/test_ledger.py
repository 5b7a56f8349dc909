"""The ledger keeps every record once, in SQLite and in PostgreSQL alike, whatever happens around it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import openai
import pytest

from otel_llm_usage import ConfigurationError, attribute, guard, instrument, record_usage, track
from otel_llm_usage.ledger import Ledger
from otel_llm_usage.ledger.rows import COLUMNS, record_of, row_of
from otel_llm_usage.ledger.schema import records as table
from otel_llm_usage.records import Cost, PricedLine, Record, Request, Usage
from otel_llm_usage.standin import Answer

ROOT = Path(__file__).parents[2]

ASK = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hello"}]}
REQUEST = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-4.1")
FULL = Record(
    id="a" * 32 + "-1",
    time=1_790_000_000.123456,
    request=REQUEST._replace(
        stream=True, tier="flex", region="eu", server_address="h", server_port=1
    ),
    status="error",
    usage=Usage(*range(19)),
    usage_source="estimated",
    cost=Cost(
        "partial",
        None,
        (
            PricedLine("input", 0, 5, "a card"),
            PricedLine("audio_seconds", Decimal("1.5"), 7, "a card"),
        ),
        ("no_rate:output",),
        ("an allowance is used up",),
        "overlay@1+genai-prices@2",
        "a card",
        True,
        ("a note",),
    ),
    units={"audio_seconds": Decimal("1.5"), "web_search": 2},
    response_model="gpt-4.1-2025-04-14",
    response_id="r1",
    tier="priority",
    region="us",
    entry="message",
    finish_reasons=("stop", "length"),
    duration=1.5,
    time_to_first_chunk=0.25,
    error_type="ReadError",
    http_status=500,
    agent="planner",
    labels={"call_type": "plan", "user": "u1", "session": "s1", "team": "t1", "symbol": "X"},
    trace_id="b" * 32,
    span_id="c" * 16,
    notes=("a note",),
    estimated_kinds=("output",),
    error_message="out of luck",
)
PLAIN = Record("d" * 32, 1_790_000_001.0, REQUEST, "ok", None, "missing", Cost("unpriced"))


def records(many, **more):
    return [
        PLAIN._replace(id=f"{place:032x}", time=1.79e9 + place, **more) for place in range(many)
    ]


def ids(ledger):
    return Counter(record.id for record in ledger.records())


def once(many):
    return Counter({f"{place:032x}": 1 for place in range(many)})


# ------------------------------------------------------------ what is kept


def test_columns_are_in_one_order_everywhere():
    assert tuple(column.name for column in table.columns) == COLUMNS


@pytest.mark.parametrize("record", [FULL, PLAIN], ids=["full", "plain"])
def test_a_record_comes_back_as_it_was(ledger, record):
    ledger(record)
    ledger.flush()
    assert list(ledger.records()) == [record]
    assert record_of(row_of(record, "tests")) == record


def test_the_ledger_is_what_the_provider_billed(llm_standin, place, tmp_path):
    runtime = instrument(otlp=False, ledger=place, ledger_journal=tmp_path / "journal")
    with openai.OpenAI(max_retries=0) as client, track("a1", symbol="X"):
        for name in ("planner", "critic"):
            with attribute(agent=name, call_type="plan", user="u1"):
                client.chat.completions.create(**ASK)
                for _ in client.chat.completions.create(**ASK, stream=True):
                    pass
        llm_standin.script(Answer(status=400))
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**ASK)
    runtime.flush()
    bills = [bill for bill in llm_standin.ledger if bill.usd]
    with runtime.ledger.database.reading() as connection:
        rows = connection.exec_driver_sql(
            "SELECT agent, count(*), sum(known_pico), sum(calls) FROM llm_usage "
            "WHERE status = 'ok' GROUP BY agent ORDER BY agent"
        ).all()
        scope = connection.exec_driver_sql("SELECT * FROM llm_usage_by_scope").mappings().one()
    assert [(row[0], row[1], row[3]) for row in rows] == [("critic", 2, 2), ("planner", 2, 2)]
    assert Decimal(sum(row[2] for row in rows)).scaleb(-12) == sum(bill.usd for bill in bills)
    assert (scope["scope"], scope["calls"], scope["failures"]) == ("a1", 5, 1)
    assert scope["input_tokens"] + scope["output_tokens"] == sum(
        sum(bill.usage.values()) for bill in bills
    )
    parts = scope["breakdown"]
    parts = json.loads(parts) if isinstance(parts, str) else parts
    assert {(part["agent"], part["calls"]) for part in parts} == {
        ("planner", 2), ("critic", 2), ("unknown", 1),
    }  # fmt: skip


def test_a_record_that_comes_twice_is_there_once(ledger, place, tmp_path):
    other = Ledger(place, journal=tmp_path / "other")
    for one in (ledger, other, ledger):
        for record in records(50):
            one(record)
        one.flush()
    assert ids(ledger) == once(50)
    other.close()


def test_scopes_keep_their_records_once(ledger):
    for _ in range(2):
        for record in records(3, scopes=("outer", "inner")):
            ledger(record)
        ledger.flush()
    with ledger.database.reading() as connection:
        found = connection.exec_driver_sql(
            "SELECT scope, calls FROM llm_usage_by_scope ORDER BY scope"
        ).all()
    assert [tuple(row) for row in found] == [("inner", 3), ("outer", 3)]


# ------------------------------------------------------------ rows that no database takes


@pytest.mark.faults
def test_odd_values_do_not_stop_the_others(ledger):
    odd = "a\0b\ud800c"
    ledger(PLAIN._replace(id="1", agent=odd, labels={"user": odd, "x": odd}, scopes=(odd,)))
    ledger(PLAIN._replace(id="2", usage=Usage(input=2**80), cost=Cost("priced", 2**90)))
    for record in records(10):
        ledger(record)
    ledger.flush()
    kept = {record.id: record for record in ledger.records()}
    assert len(kept) == 12
    assert "\ud800" not in kept["1"].agent
    assert kept["2"].usage.input == 2**40
    assert not list(ledger.folder.glob("*"))


@pytest.mark.faults
def test_what_no_database_takes_is_kept_for_somebody_to_look_at(ledger, caplog):
    ledger(PLAIN._replace(id="bad", agent=None))
    for record in records(10):
        ledger(record)
    ledger.flush()
    assert ids(ledger) == once(10)
    (line,) = (ledger.folder / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == "bad"
    assert guard.errors["ledger.rejected"] == 1
    assert "no database takes" in caplog.text


# ------------------------------------------------------------ a database that is away


@pytest.mark.faults
def test_a_server_that_stops_and_comes_back_under_load_loses_nothing(postgres, tmp_path, caplog):
    ledger = Ledger(postgres.database(), journal=tmp_path / "journal")
    ended = threading.Event()
    made = records(3_000)

    def load():
        for record in made:
            ledger(record)
            time.sleep(0.001)
        ended.set()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        time.sleep(0.8)
        postgres.stop()
        ended.wait(30)
        ledger.flush()
        assert len(list(ledger.folder.glob("*.journal"))) == 1
    finally:
        thread.join()
        postgres.start()
    deadline = time.monotonic() + 30
    while list(ledger.folder.glob("*.journal")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ids(ledger) == once(3_000)
    assert "kept in the journal" in caplog.text
    assert guard.errors["ledger.away"] == 1
    ledger.close()


@pytest.mark.faults
def test_what_waits_is_written_by_the_next_process(postgres, tmp_path):
    place = postgres.database()
    postgres.stop()
    try:
        first = Ledger(place, journal=tmp_path / "journal")
        for record in records(100):
            first(record)
        first.close()
    finally:
        postgres.start()
    second = Ledger(place, journal=tmp_path / "journal")
    second(PLAIN)
    second.flush()
    assert ids(second) == once(100) + Counter([PLAIN.id])
    assert not list(second.folder.glob("*"))
    second.close()


@pytest.mark.faults
def test_half_a_line_of_a_killed_process_is_left_out_and_said(tmp_path, caplog):
    first = Ledger(tmp_path / "usage.db", sync=True)
    first.writer._asked_again = float("inf")
    first(PLAIN)
    (file,) = first.folder.glob("*.journal")
    torn = first.folder / "0-torn.journal"
    torn.write_bytes(file.read_bytes() + b'[["abc')
    ledger = Ledger(tmp_path / "usage.db")
    ledger.flush()
    assert ids(ledger) == Counter([PLAIN.id])
    assert "cannot read a line" in caplog.text
    assert not torn.exists()
    assert file.exists()  # its process is at work on it
    first.close()
    ledger.close()
    assert not file.exists()


_FULL = """
import resource, sys
from collections import Counter
from otel_llm_usage import guard
from otel_llm_usage.ledger import Ledger
from otel_llm_usage.records import Cost, Record, Request

request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-4.1")
ledger = Ledger(sys.argv[1])
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, most))  # no file may grow beyond
for number in range(5_000):
    ledger(Record(f"{number:032x}", 1.79e9, request, "ok", None, "missing", Cost("unpriced")))
ledger.flush()
assert guard.errors["ledger.away"] == 1, guard.errors
assert guard.errors["ledger.journal"] > 0, guard.errors
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
ledger.writer._asked_again = 0.0
ledger.flush()
found = Counter(record.id for record in ledger.records())
assert found == Counter({f"{number:032x}": 1 for number in range(5_000)}), len(found)
ledger.close()
"""


def test_a_full_disk_loses_nothing_that_memory_holds(tmp_path):
    command = [sys.executable, "-c", _FULL, str(tmp_path / "usage.db")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be written") == 1


@pytest.mark.faults
def test_a_file_that_cannot_be_written_is_said_and_what_comes_waits(tmp_path, caplog):
    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal")
    ledger.migrate()
    ledger.close()
    # root may write any file, but not a folder
    (tmp_path / "usage.db").rename(tmp_path / "there.db")
    (tmp_path / "usage.db").mkdir()
    for record in records(10):
        ledger(record)
    ledger.flush()
    assert "kept in the journal" in caplog.text
    (tmp_path / "usage.db").rmdir()
    (tmp_path / "there.db").rename(tmp_path / "usage.db")
    ledger.writer._asked_again = 0.0
    ledger.flush()
    assert ids(ledger) == once(10)
    ledger.close()


@pytest.mark.faults
def test_beyond_the_bound_the_oldest_is_dropped_counted_and_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("otel_llm_usage.ledger.writer.MOST", 100)
    monkeypatch.setattr("otel_llm_usage.ledger.writer.INTERVAL", 60.0)
    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal")
    for record in records(150):
        ledger(record)
    assert guard.errors["ledger.dropped"] == 50
    ledger.flush()
    assert sorted(ids(ledger)) == [f"{place:032x}" for place in range(50, 150)]
    assert "drops the oldest" in caplog.text
    ledger.close()


# ------------------------------------------------------------ processes


_PROCESS = """
import sys, os, time, signal, threading
from otel_llm_usage.ledger import Ledger
from otel_llm_usage.records import Cost, Record, Request
REQUEST = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-4.1")
PLAIN = Record("d" * 32, 1_790_000_001.0, REQUEST, "ok", None, "missing", Cost("unpriced"))
place, journal, first, many, sync, end = sys.argv[1:]
ledger = Ledger(place, journal=journal, sync=sync == "sync")
for number in range(int(first), int(first) + int(many)):
    ledger(PLAIN._replace(id=f"{number:032x}"))
    print(number, flush=True)
    if end == "slow":
        time.sleep(0.0005)
if end == "close":
    ledger.close()
elif end == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60)
"""


def start(place, journal, first, many, sync="interval", end="close"):
    command = [
        sys.executable,
        "-c",
        _PROCESS,
        place,
        str(journal),
        str(first),
        str(many),
        sync,
        end,
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_eight_processes_write_one_ledger(place, tmp_path):
    processes = [start(place, tmp_path / "journal", one * 500, 500) for one in range(8)]
    for process in processes:
        process.stdout.read(10)
    for process in processes:
        # they sleep when all is written
        deadline = time.monotonic() + 60
        ledger = Ledger(place, journal=tmp_path / "mine")
        while sum(ids(ledger).values()) < 4_000 and time.monotonic() < deadline:
            time.sleep(0.2)
        process.kill()
        process.wait()
        process.stdout.close()
    assert ids(ledger) == once(4_000)
    ledger.close()


def test_a_killed_process_loses_nothing_with_sync(place, tmp_path):
    process = start(place, tmp_path / "journal", 0, 300, "sync", "kill")
    said = process.communicate(timeout=60)[0].split()
    assert process.returncode == -signal.SIGKILL
    ledger = Ledger(place, journal=tmp_path / "journal")
    ledger.flush()
    assert ids(ledger) == once(len(said)) == once(300)
    ledger.close()


@pytest.mark.parametrize("after", [0.0, 0.2, 0.4, 0.6])
def test_a_killed_process_loses_only_the_last_moment(place, tmp_path, after):
    process = start(place, tmp_path / "journal", 0, 100_000, "interval", "slow")
    ledger = Ledger(place, journal=tmp_path / "mine")
    deadline = time.monotonic() + 60
    while not (written := ids(ledger)) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(after)
    process.kill()
    said = [int(line) for line in process.communicate()[0].split()]
    ledger.close()
    ledger = Ledger(place, journal=tmp_path / "journal")
    ledger.flush()
    kept = ids(ledger)
    assert set(kept.values()) == {1}
    assert written.keys() <= kept.keys()
    # in the order in which they came: what is missing is the end
    assert kept == once(len(kept))
    assert len(kept) <= len(said) + 1
    ledger.close()


def test_two_processes_make_the_schema_at_once(place, tmp_path):
    ledgers = [Ledger(place, journal=tmp_path / f"{one}") for one in range(4)]
    threads = [threading.Thread(target=one.migrate) for one in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledgers[0].database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM llm_usage_schema").scalar() == 1
    for one in ledgers:
        one.close()


def test_a_forked_child_writes_its_own_records(ledger):
    ledger(PLAIN)
    child = os.fork()
    if child == 0:
        try:
            ledger(PLAIN._replace(id="child"))
            ledger.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    ledger.flush()
    assert ids(ledger) == Counter([PLAIN.id, "child"])


_SCRIPT = """
import os, sys, time, signal, openai, otel_llm_usage
otel_llm_usage.instrument(otlp=False)
openai.OpenAI().chat.completions.create(
    model="gpt-4.1", messages=[{"role": "user", "content": "hello"}]
)
how = sys.argv[1]
if how == "term":
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
elif how == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
elif how == "fork":
    if os.fork() == 0:
        openai.OpenAI().chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": "hello"}]
        )
        sys.exit()
    os.wait()
"""


@pytest.mark.parametrize(
    ("how", "durability", "code", "kept"),
    [
        ("exit", "interval", 0, 1),
        ("term", "interval", -signal.SIGTERM, 1),
        ("kill", "sync", -signal.SIGKILL, 1),
        ("fork", "interval", 0, 2),
    ],
)
def test_a_script_leaves_all_it_called(llm_standin, place, tmp_path, how, durability, code, kept):
    environment = {
        **os.environ,
        "OTEL_LLM_USAGE_LEDGER": place,
        "OTEL_LLM_USAGE_LEDGER_JOURNAL": str(tmp_path / "journal"),
        "OTEL_LLM_USAGE_DURABILITY": durability,
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run([sys.executable, "-c", _SCRIPT, how], env=environment, timeout=60)
    assert done.returncode == code
    ledger = Ledger(place, journal=tmp_path / "journal")
    ledger.flush()
    found = list(ledger.records())
    assert len(found) == kept
    assert sum(one.cost_usd for one in found) == sum(bill.usd for bill in llm_standin.ledger)
    ledger.close()


# ------------------------------------------------------------ what is wrong is said


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("mysql://host/db", "SQLite or PostgreSQL"),
        ("oracle://host", "SQLite or PostgreSQL"),
        ("://u:secret@host/db", "no address"),
        ("/nowhere/usage.db", "no folder"),
    ],
)
def test_places_that_cannot_be(place, said):
    with pytest.raises(ConfigurationError, match=said) as caught:
        instrument(otlp=False, ledger=place)
    assert "secret" not in str(caught.value)


@pytest.mark.faults
def test_a_ledger_of_a_newer_version_is_left_alone(ledger):
    ledger.migrate()
    with ledger.database.writing() as connection:
        connection.exec_driver_sql("UPDATE llm_usage_schema SET version = 99")
    other = Ledger(ledger.database.url.render_as_string(False), journal=ledger.folder)
    with pytest.raises(ConfigurationError, match="upgrade"):
        other.migrate()
    other(PLAIN)
    other.flush()  # waits in the journal
    assert list(other.folder.glob("*.journal"))
    other.close()


def test_no_sql_library_without_a_ledger(python):
    script = "import sys, otel_llm_usage as o; o.instrument(otlp=False); print('sqlalchemy' in sys.modules)"
    assert python(script).strip() == "False"


def test_words_by_hand_are_kept(llm_standin, tmp_path):
    runtime = instrument(otlp=False, ledger=tmp_path / "usage.db")
    record_usage(provider="openai", model="gpt-4.1", success=False, error_message="out of quota")
    runtime.flush()
    (found,) = runtime.ledger.records()
    assert (found.status, found.error_message) == ("error", "out of quota")
    assert isinstance(Path(tmp_path / "usage.db").stat().st_size, int)
    assert sqlite3.connect(tmp_path / "usage.db").execute("pragma journal_mode").fetchone() == (
        "wal",
    )
