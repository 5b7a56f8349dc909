"""A database that hangs, a journal of others, records that are none: the ledger goes on, and nobody waits."""

import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from otel_llm_usage import ConfigurationError, guard
from otel_llm_usage.ledger import Ledger
from otel_llm_usage.ledger.journal import Journal
from otel_llm_usage.ledger.rows import row_of
from otel_llm_usage.records import Cost, Record, Request

ROOT = Path(__file__).parents[2]

REQUEST = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-4.1")
PLAIN = Record("d" * 32, 1_790_000_001.0, REQUEST, "ok", None, "missing", Cost("unpriced"))


def record(id):
    return PLAIN._replace(id=id)


def ids(ledger):
    return Counter(one.id for one in ledger.records())


def journals(ledger):
    return list(ledger.folder.glob("*.journal"))


def until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert true()


# ------------------------------------------------------------ a database that hangs


@pytest.fixture
def held_up(place, ledger, monkeypatch):
    """A ledger whose database has somebody in the way who does not go."""
    monkeypatch.setattr("otel_llm_usage.ledger.writer.PATIENCE", 0.5)
    ledger.migrate()
    if ledger.database.is_sqlite:
        connection = sqlite3.connect(place, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
    else:
        connection = psycopg.connect(place)
        connection.execute("LOCK TABLE llm_usage")
    yield ledger, connection
    connection.close()


@pytest.mark.faults
def test_what_a_hanging_database_does_not_take_is_on_the_disk_within_a_second(held_up, caplog):
    ledger, connection = held_up
    for number in range(20):
        ledger(record(str(number)))
        time.sleep(0.1)
    until(lambda: not ledger.writer._left)
    assert sum(len(one.read_bytes().splitlines()) - 1 for one in journals(ledger)) == 20
    until(lambda: guard.errors["ledger.away"])
    assert "does not answer" in caplog.text
    connection.rollback()
    until(lambda: not journals(ledger))
    assert ids(ledger) == Counter(map(str, range(20)))


@pytest.mark.faults
def test_nobody_waits_at_the_end_for_a_database_that_hangs(held_up, place, caplog):
    ledger, connection = held_up
    ledger(record("1"))
    begun = time.monotonic()
    ledger.close()
    assert time.monotonic() - begun < 25.0  # SQLite itself waits for 30, a lock for ever
    assert len(journals(ledger)) == 1
    assert "does not answer" in caplog.text
    connection.rollback()
    ledger(record("2"))
    until(lambda: not ledger.writer.asking)
    other = Ledger(place, journal=ledger.folder.parent)
    other.flush()
    assert ids(other) == Counter("12")
    other.close()


def test_flush_waits_for_what_a_slow_database_has_left_to_the_journal(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal")
    keep = ledger.writer._keep

    def slow(rows):
        if rows:
            time.sleep(1.0)
        keep(rows)

    monkeypatch.setattr(ledger.writer, "_keep", slow)
    monkeypatch.setattr("otel_llm_usage.ledger.writer._BATCH", 1)
    for number in range(3):
        ledger(record(str(number)))
    ledger.flush()
    with sqlite3.connect(tmp_path / "usage.db") as connection:
        assert connection.execute("SELECT count(*) FROM llm_usage").fetchone() == (3,)
    connection.close()
    ledger.close()


@pytest.mark.faults
def test_a_file_that_is_none_is_not_waited_for(tmp_path):
    (tmp_path / "usage.db").mkdir()
    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal")
    ledger(PLAIN)
    begun = time.monotonic()
    ledger.close()
    assert time.monotonic() - begun < 25.0
    # and its thread does not go on in silence
    until(lambda: not ledger.writer.asking)


@pytest.mark.faults
def test_a_file_that_is_taken_away_is_made_again(tmp_path):
    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal")
    ledger(record("1"))
    ledger.flush()
    (tmp_path / "usage.db").unlink()
    ledger(record("2"))
    ledger.flush()
    until(lambda: not journals(ledger))
    assert ids(ledger) == Counter("2")
    ledger.close()


_HANGS = """
import os, signal, sys, time, otel_llm_usage
from otel_llm_usage import runtime as module
runtime = otel_llm_usage.instrument(otlp=False, ledger=sys.argv[1])
module._ENDING = 1.0
runtime.telemetry.shutdown = lambda: time.sleep(600)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(600)
"""


def test_sigterm_ends_a_process_whatever_hangs(tmp_path):
    command = [sys.executable, "-c", _HANGS, str(tmp_path / "usage.db")]
    assert subprocess.run(command, cwd=ROOT, timeout=30).returncode == -signal.SIGTERM


_TWICE = """
import os, signal, sys, time
import otel_llm_usage
from otel_llm_usage.ledger import journal
write, first = journal._write_all, []
def interrupted(file, content):
    if not first:
        first.append(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)
    write(file, content)
journal._write_all = interrupted
runtime = otel_llm_usage.instrument(otlp=False, ledger=sys.argv[1], durability="sync")
otel_llm_usage.record_usage(provider="openai", model="gpt-4.1", usage={})
time.sleep(600)
"""


def test_sigterm_in_the_middle_of_the_journal_ends_the_process(tmp_path):
    command = [sys.executable, "-c", _TWICE, str(tmp_path / "usage.db")]
    assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == -signal.SIGTERM


_FORKS = """
import os, sys, threading
from otel_llm_usage.ledger import Ledger
from otel_llm_usage.records import Cost, Record, Request

request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-4.1")
def made(id):
    return Record(id, 1.79e9, request, "ok", None, "missing", Cost("unpriced"))
ledger = Ledger(sys.argv[1])
ledger.migrate()
ended = threading.Event()
def busy():
    number = 0
    while not ended.is_set():
        for _ in range(200):
            ledger(made(f"p{number}"))
            number += 1
        ledger.flush()
thread = threading.Thread(target=busy)
thread.start()
for child in range(60):
    pid = os.fork()
    if pid == 0:
        ledger(made(f"c{child}"))
        ledger.close()
        os._exit(0)
    os.waitpid(pid, 0)
ended.set()
thread.join()
found = [one.id for one in ledger.records() if one.id[0] == "c"]
assert len(found) == 60, len(found)
ledger.close()
"""


def test_children_that_are_forked_while_the_parent_writes_write_theirs(place):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKS, place],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


_POOL = """
import multiprocessing, sys, otel_llm_usage
def work():
    otel_llm_usage.record_usage(provider="openai", model="gpt-4.1", success=False)
otel_llm_usage.instrument(otlp=False, ledger=sys.argv[1])
process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join()
"""


def test_a_child_that_tells_its_calls_by_hand_leaves_them(tmp_path):
    place = str(tmp_path / "usage.db")
    done = subprocess.run([sys.executable, "-c", _POOL, place], cwd=ROOT, timeout=60)
    assert done.returncode == 0
    ledger = Ledger(place)
    assert sum(ids(ledger).values()) == 1
    ledger.close()


# ------------------------------------------------------------ records that are none


@pytest.mark.faults
@pytest.mark.parametrize(
    "odd", [object(), ["a"], {"a": 1}, 5], ids=["object", "list", "dict", "int"]
)
def test_what_is_no_text_is_kept_as_text(ledger, odd):
    ledger(record("1")._replace(response_id=odd))
    ledger(record("2"))
    ledger.flush()
    kept = {one.id: one.response_id for one in ledger.records()}
    assert kept == {"1": str(odd), "2": None}


@pytest.mark.faults
def test_a_record_that_is_no_row_does_not_stop_the_others(ledger, caplog):
    ledger(record("1")._replace(time=float("nan")))
    ledger(record("2"))
    ledger.flush()
    assert ids(ledger) == Counter("2")
    assert guard.errors["ledger.rejected"] == 1
    assert len((ledger.folder / "rejected.jsonl").read_text().splitlines()) == 1


@pytest.mark.faults
def test_the_log_does_not_say_whose_a_rejected_record_is(ledger, caplog):
    ledger(record("1")._replace(agent=None, labels={"user": "somebody"}, error_message="of theirs"))
    ledger.flush()
    assert guard.errors["ledger.rejected"] == 1
    assert "no database takes" in caplog.text
    assert "somebody" not in caplog.text
    assert "of theirs" not in caplog.text


# ------------------------------------------------------------ the journal


@pytest.mark.faults
def test_a_journal_that_cannot_be_read_keeps_nobody_from_the_database(tmp_path):
    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal")
    (ledger.folder / "0-others.journal").mkdir(parents=True)  # root may read any file
    ledger(record("1"))
    ledger.flush()
    assert ids(ledger) == Counter("1")
    assert guard.errors["ledger.away"] == 0
    assert guard.errors["ledger.journal"] > 0
    ledger.close()


def test_a_journal_that_is_taken_over_before_it_is_locked_is_begun_anew(tmp_path, monkeypatch):
    from otel_llm_usage.ledger import journal as module

    others, locked = Journal(tmp_path), []
    flock = module.fcntl.flock

    def late(file, how):
        if not locked:
            locked.append(1)
            others.replay(lambda rows: None)
        flock(file, how)

    monkeypatch.setattr(module.fcntl, "flock", late)
    mine = Journal(tmp_path)
    mine.write([(row_of(PLAIN, "tests"), ())])
    mine.close()
    found = []
    assert others.replay(found.extend) == len(found) == 1


def test_what_is_journaled_during_a_replay_is_written_soon(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal", sync=True)
    replay = ledger.writer._journal.replay

    def slow(hand_on):
        count = replay(hand_on)
        if first:
            ledger(first.pop())
        return count

    first = [record("2")]
    monkeypatch.setattr(ledger.writer._journal, "replay", slow)
    ledger(record("1"))
    until(lambda: not first)
    until(lambda: not journals(ledger), 5)
    ledger.close()


def test_the_journal_is_for_nobody_else(tmp_path):
    (tmp_path / "journal").mkdir(mode=0o755)
    journal = Journal(tmp_path / "journal")
    journal.write([(row_of(PLAIN, "tests"), ())])
    (file,) = (tmp_path / "journal").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    journal.close()


def test_a_process_that_goes_elsewhere_keeps_its_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ledger = Ledger("usage.db", journal="journal", sync=True)
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    ledger(PLAIN)
    ledger.forget()
    ledger(record("2"))
    ledger.close()
    assert not list((tmp_path / "away").iterdir())
    assert (tmp_path / "usage.db").exists()


def test_a_record_is_kept_where_no_thread_can_be_started(tmp_path, monkeypatch):
    def none(self):
        raise RuntimeError("can't start new thread")

    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none)
        ledger(PLAIN)
        ledger.close()
    assert ids(ledger) == Counter([PLAIN.id])


# ------------------------------------------------------------ places


@pytest.mark.parametrize("place", [":memory:", "sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_keeps_nothing(place):
    with pytest.raises(ConfigurationError, match="in memory"):
        Ledger(place)


@pytest.mark.parametrize("name", ["a?b=c.db", "50%41.db", "a#b.db", "a b.db"])
def test_a_path_is_taken_as_it_is(tmp_path, name):
    ledger = Ledger(tmp_path / name)
    ledger(PLAIN)
    ledger.close()
    assert (tmp_path / name).exists()


def test_a_password_in_an_address_that_is_none_is_not_told():
    with pytest.raises(ConfigurationError) as caught:
        Ledger("postgresql:/me:secret@host/name")
    assert "secret" not in str(caught.value)


def test_without_a_home_it_is_said_what_to_do(monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(ConfigurationError, match="ledger_journal"):
        Ledger("postgresql://me@host/name")


def test_behind_a_pooler_nothing_is_prepared(postgres, tmp_path):
    ledger = Ledger(postgres.database(), journal=tmp_path / "journal")
    for number in range(12):
        ledger(record(str(number)))
        ledger.flush()
    with ledger.database.reading() as connection:
        assert (
            connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar() == 0
        )
    ledger.close()
