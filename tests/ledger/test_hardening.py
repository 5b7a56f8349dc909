"""What is hard on a ledger: others in its folder, other versions, forks at a bad moment, tables that are gone."""

import json
import os
import shutil
import signal
import socket
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

from otel_llm_usage import guard
from otel_llm_usage.ledger import Ledger, journal
from otel_llm_usage.ledger.journal import Journal
from otel_llm_usage.ledger.rows import COLUMNS, row_of
from otel_llm_usage.records import Cost, Record, Request, Usage

ROOT = Path(__file__).parents[2]

REQUEST = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-4.1")
PLAIN = Record("d" * 32, 1_790_000_001.0, REQUEST, "ok", None, "missing", Cost("unpriced"))


def record(id):
    return PLAIN._replace(id=id)


def kept(id):
    return row_of(record(id), "tests"), ()


def ids(ledger):
    return Counter(one.id for one in ledger.records())


def until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert true()


def left_behind(folder, id):
    """A journal whose process is gone."""
    one = Journal(folder)
    one.write([kept(id)])
    one.close()
    (path,) = folder.glob("*.journal")
    return path


# ------------------------------------------------------------ the journal's folder


@pytest.mark.parametrize("kind", ["files", "databases"])
def test_two_ledgers_in_one_folder_leave_each_other_alone(kind, tmp_path, request):
    server = request.getfixturevalue("postgres") if kind == "databases" else None
    places = [server.database() if server else tmp_path / f"{name}.db" for name in "ab"]
    one, other = (Ledger(place, journal=tmp_path / "journal") for place in places)
    left_behind(one.folder, "of one")
    other(record("of other"))
    other.flush()
    assert ids(other) == Counter(["of other"])
    one.flush()
    assert ids(one) == Counter(["of one"])
    one.close()
    other.close()


@pytest.mark.faults
def test_another_password_leads_to_the_same_journal(tmp_path):
    one, other = (
        Ledger(f"postgresql://me:{word}@127.0.0.1:1/name", journal=tmp_path)
        for word in ("old", "new")
    )
    assert one.folder == other.folder
    assert one.folder.parent == tmp_path
    one.close()
    other.close()


# ------------------------------------------------------------ journals of other versions


@pytest.mark.faults
@pytest.mark.parametrize(
    "head",
    [
        json.dumps(["otel-llm-usage journal 1", [*COLUMNS, "newer"]]),
        json.dumps(["otel-llm-usage journal 2", {"something": "else"}]),
        '[1,54,["abc"],[]]',
        "\0\0\0\0",
    ],
    ids=["column", "format", "headless", "damaged"],
)
def test_a_journal_of_another_version_is_set_aside_untouched_and_said_once(tmp_path, head, caplog):
    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal")
    ledger.folder.mkdir(parents=True)
    path = ledger.folder / "1-abc.journal"
    path.write_text(head + "\n" + json.dumps([["x"] * (len(COLUMNS) + 1), []]) + "\n")
    content = path.read_bytes()
    for name in "12":
        ledger(record(name))
        ledger.flush()
        ledger.writer._journaled = True
    ledger.close()
    (aside,) = ledger.folder.iterdir()
    assert aside.name == "1-abc.journal.other"
    assert aside.read_bytes() == content
    assert caplog.text.count("another version") == 1
    assert guard.errors["ledger.journal"] == 1
    after = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal")
    assert ids(after) == Counter("12")
    after.close()


@pytest.mark.faults
def test_a_version_that_knows_the_columns_takes_what_an_older_one_has_set_aside(
    tmp_path, monkeypatch
):
    def upgraded(patched):
        patched.setattr(journal, "COLUMNS", (*COLUMNS, "newer"))
        head = json.dumps([journal._FORMAT, journal.COLUMNS], separators=(",", ":"))
        patched.setattr(journal, "_HEAD", head.encode() + b"\n")

    row, scopes = (*kept("1")[0], "new"), ("a scope",)
    with monkeypatch.context() as patched:
        upgraded(patched)
        newer = Journal(tmp_path)
        newer.write([(row, scopes)])
        newer.close()
    found = []
    assert Journal(tmp_path).replay(found.extend) == 0
    assert len(list(tmp_path.glob("*.other"))) == 1
    with monkeypatch.context() as patched:
        upgraded(patched)
        assert Journal(tmp_path).replay(found.extend) == 1
    assert found == [(row, scopes)]
    assert not list(tmp_path.iterdir())


def test_what_an_older_version_did_not_know_is_not_known(ledger, monkeypatch):
    older = tuple(name for name in reversed(COLUMNS) if name not in ("notes", "span_id"))
    row = dict(zip(COLUMNS, kept("1")[0], strict=True))
    with monkeypatch.context() as patched:
        patched.setattr(journal, "_HEAD", json.dumps([journal._FORMAT, older]).encode() + b"\n")
        one = Journal(ledger.folder)
        one.write([(tuple(row[name] for name in older), ("a scope",))])
        one.close()
    ledger.flush()
    assert list(ledger.records()) == [record("1")._replace(scopes=("a scope",))]


@pytest.mark.faults
@pytest.mark.parametrize("length", [0, 1, 40])
def test_a_journal_whose_process_was_killed_at_its_beginning_goes(tmp_path, length, caplog):
    path = left_behind(tmp_path, "1")
    path.write_bytes(path.read_bytes()[:length])
    assert Journal(tmp_path).replay(lambda rows: None) == 0
    assert not list(tmp_path.iterdir())
    assert not caplog.text


def test_what_others_leave_later_is_found_without_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr("otel_llm_usage.ledger.writer.LOOK", 0.2)
    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal")
    ledger(record("1"))
    ledger.flush()
    path = left_behind(ledger.folder, "2")
    until(lambda: not path.exists())
    assert ids(ledger) == Counter("12")
    ledger.close()


# ------------------------------------------------------------ whose files these are


def test_a_new_file_is_for_nobody_else(tmp_path):
    ledger = Ledger(tmp_path / "usage.db")
    ledger(PLAIN)
    ledger.flush()
    with ledger.database.writing() as connection:
        connection.exec_driver_sql("UPDATE llm_usage SET notes = NULL")
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("usage.db", "usage.db-wal", "usage.db-shm"), 0o600)
    ledger.close()


def test_a_file_that_is_there_keeps_what_its_owner_said(tmp_path):
    (tmp_path / "usage.db").touch(mode=0o644)
    (tmp_path / "usage.db").chmod(0o644)
    ledger = Ledger(tmp_path / "usage.db")
    ledger(PLAIN)
    ledger.close()
    assert stat.S_IMODE((tmp_path / "usage.db").stat().st_mode) == 0o644


def test_a_link_leads_to_a_file_for_nobody_else(tmp_path):
    (tmp_path / "usage.db").symlink_to(tmp_path / "there.db")
    ledger = Ledger(tmp_path / "usage.db")
    ledger(PLAIN)
    ledger.close()
    assert stat.S_IMODE((tmp_path / "there.db").stat().st_mode) == 0o600


def test_the_folder_of_the_journal_is_for_nobody_else(tmp_path):
    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal", sync=True)
    ledger(PLAIN)
    assert stat.S_IMODE(ledger.folder.stat().st_mode) == 0o700
    ledger.close()


# ------------------------------------------------------------ rows that are mended


def test_mending_one_text_leaves_what_only_looks_like_an_escape(ledger):
    labels = {"path": "C:\\u0000\\\\u0000", "odd": "a\ud800b"}
    ledger(PLAIN._replace(labels=labels, agent="\\u0000"))
    ledger.flush()
    (found,) = ledger.records()
    assert found.labels == {"path": labels["path"], "odd": "a?b"}
    assert found.agent == "\\u0000"
    assert not guard.errors["ledger.rejected"]


@pytest.mark.faults
def test_a_number_beyond_64_bits_is_counted_and_said_once(ledger, caplog, monkeypatch):
    # on a busy machine they would go into the journal, too, and be counted there again
    monkeypatch.setattr("otel_llm_usage.ledger.writer.PATIENCE", 60.0)
    for name in "12":
        ledger(record(name)._replace(usage=Usage(input=2**80)))
    ledger(record("3"))
    ledger.flush()
    assert [one.usage and one.usage.input for one in ledger.records()] == [2**40] * 2 + [None]
    assert guard.errors["ledger.clamped"] == 2
    assert caplog.text.count("beyond 64 bits") == 1


def test_a_text_is_kept_whatever_encoding_the_database_takes_by_default(postgres, tmp_path):
    place = postgres.database()
    with psycopg.connect(place, autocommit=True) as connection:
        name = place.rpartition("/")[2]
        connection.execute(f"ALTER DATABASE {name} SET client_encoding = 'LATIN1'")
    ledger = Ledger(place, journal=tmp_path)
    ledger(PLAIN._replace(agent="é€漢"))
    ledger.flush()
    assert [one.agent for one in ledger.records()] == ["é€漢"]
    ledger.close()


# ------------------------------------------------------------ reading


def test_records_tell_their_scopes(ledger):
    for name, scopes in (("1", ("a", "b")), ("2", ()), ("3", ("b",))):
        ledger(record(name)._replace(scopes=scopes))
    assert [sorted(one.scopes) for one in ledger.records()] == [["a", "b"], [], ["b"]]


_READS = """
import pathlib, sys
from otel_llm_usage.ledger import Ledger
def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
ledger = Ledger(sys.argv[1], journal=sys.argv[2])
ledger.migrate()
before = most = resident()
count = 0
for _ in ledger.records():
    if count % 5_000 == 0:
        most = max(most, resident())
    count += 1
print(count, most - before)
ledger.close()
"""

_MANY = {
    "sqlite": "(WITH RECURSIVE many(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM many "
    "LIMIT {many}) SELECT * FROM many)",
    "postgresql": "(SELECT * FROM generate_series(1, {many}) AS many(number))",
}


def fill(ledger, many):
    """Put copies of a record there, each in a scope."""
    ledger(PLAIN)
    ledger.flush()
    numbers = _MANY["sqlite" if ledger.database.is_sqlite else "postgresql"].format(many=many)
    others = ", ".join(f'"{name}"' for name in COLUMNS if name not in ("id", "time"))
    with ledger.database.writing() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO llm_usage (id, time, {others}) SELECT 'n' || number, time + number, "
            f"{others} FROM llm_usage, {numbers} AS numbers"
        )
        connection.exec_driver_sql(
            "INSERT INTO llm_usage_scope (scope, record) SELECT 's' || id, id FROM llm_usage"
        )


def test_reading_many_records_takes_little_memory(ledger, place, tmp_path):
    fill(ledger, 100_000)
    done = subprocess.run(
        [sys.executable, "-c", _READS, place, str(tmp_path / "journal")],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    count, grown = done.stdout.split()
    assert int(count) == 100_001
    assert float(grown) < 30.0  # MiB; all at once they are more than 150


# ------------------------------------------------------------ forks at a bad moment

_BEGIN = """
import os, sys, time
from otel_llm_usage.ledger import Ledger
from otel_llm_usage.records import Cost, Record, Request
request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-4.1")
def made(id):
    return Record(id, 1.79e9, request, "ok", None, "missing", Cost("unpriced"))
"""

_FROZEN = (
    _BEGIN
    + """
ledger = Ledger(sys.argv[1], journal=sys.argv[2])
ledger(made("p0"))
ledger.flush()
print("ready", flush=True)
input()
ledger(made("p1"))
while not ledger.writer.asking:
    time.sleep(0.01)
time.sleep(0.2)
pid = os.fork()
if pid == 0:
    ledger(made("c"))
    ledger.close()
    os._exit(0)
ended = time.monotonic() + 40
while os.waitpid(pid, os.WNOHANG) == (0, 0):
    assert time.monotonic() < ended, "the child hangs"
    time.sleep(0.05)
print("forked", flush=True)
input()
ledger(made("p2"))
ledger.close()
"""
)


def test_a_child_that_is_forked_while_the_database_hangs_goes_its_way(postgres, tmp_path):
    place = postgres.database()
    with subprocess.Popen(
        [sys.executable, "-c", _FROZEN, place, str(tmp_path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        with postgres.frozen():
            process.stdin.write("\n")
            process.stdin.flush()
            said = process.stdout.readline()
        _, errors = process.communicate("\n", timeout=60)
        assert (said, process.returncode) == ("forked\n", 0), errors
    after = Ledger(place, journal=tmp_path)
    after.flush()
    assert ids(after) == Counter(["p0", "p1", "p2", "c"])
    after.close()


_WRITING = (
    _BEGIN
    + """
from otel_llm_usage.ledger import writer
writer.LOOK = 0.3
ledger = Ledger(sys.argv[1])
ledger(made("p"))
ledger.flush()
with ledger.database.writing() as connection:
    connection.exec_driver_sql("UPDATE llm_usage SET notes = NULL")
    child = os.fork()
    if child == 0:
        ledger(made("c1"))
        time.sleep(1.0)
        ledger(made("c2"))
        time.sleep(60)
        os._exit(0)
try:
    ended = time.monotonic() + 20
    while len(found := [one.id for one in ledger.records()]) < 3:
        assert time.monotonic() < ended, found
        time.sleep(0.1)
finally:
    os.kill(child, 9)
    os.waitpid(child, 0)
assert sorted(found) == ["c1", "c2", "p"], found
ledger.close()
"""
)


def test_a_child_that_is_forked_while_the_file_is_open_hands_its_rows_over(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _WRITING, str(tmp_path / "usage.db")],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "forked while its parent" in done.stderr


# ------------------------------------------------------------ tables that are gone


def left_of_it(ledger):
    """The statements that drop what there is."""
    names = (
        "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view')"
        if ledger.database.is_sqlite
        else "SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'table' END, relname FROM pg_class "
        "WHERE relkind IN ('r', 'v')"
    )
    with ledger.database.reading() as connection:
        found = [tuple(row) for row in connection.exec_driver_sql(names)]
    found = [(kind, name) for kind, name in found if name.startswith("llm_usage")]
    return [f"DROP {kind} {name}" for kind, name in sorted(found, reverse=True)]


@pytest.mark.faults
def test_it_is_said_what_to_do_if_somebody_has_dropped_a_table(ledger, monkeypatch, caplog):
    monkeypatch.setattr("otel_llm_usage.ledger.writer.AGAIN", 0.0)
    ledger(record("1"))
    ledger.flush()
    with ledger.database.writing() as connection:
        more = "" if ledger.database.is_sqlite else " CASCADE"
        connection.exec_driver_sql(f"DROP TABLE llm_usage{more}")
    for name in "23":
        ledger(record(name))
        ledger.flush()
        ledger.writer._asked_again = 0.0
    assert caplog.text.count("somebody has dropped llm_usage,") == 1
    assert len(list(ledger.folder.glob("*.journal"))) == 1
    with ledger.database.writing() as connection:
        for statement in left_of_it(ledger):
            connection.exec_driver_sql(statement)
    ledger.flush()
    assert ids(ledger) == Counter("23")


@pytest.mark.faults
def test_that_a_database_is_away_is_said_again_and_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("otel_llm_usage.ledger.writer.AGAIN", 0.0)
    (tmp_path / "usage.db").mkdir()
    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal")
    for name in "12":
        ledger(record(name))
        ledger.flush()
        ledger.writer._asked_again = 0.0
    ledger.close()
    assert caplog.text.count("cannot be written") >= 2


# ------------------------------------------------------------ servers that refuse


@pytest.fixture
def admin(postgres):
    """Runs statements in a database, and says its address to somebody else."""
    place = postgres.database()

    def run(*statements):
        with psycopg.connect(place, autocommit=True) as connection:
            for statement in ("SET default_transaction_read_only = off", *statements):
                connection.execute(statement)

    run.place, run.name = place, place.rpartition("/")[2]
    run.role = f"r{run.name}"
    run(f"CREATE ROLE {run.role} LOGIN")
    yield run
    # a role is of the whole server
    run(f"DROP OWNED BY {run.role}", f"DROP ROLE {run.role}")


_REFUSALS = {
    "read-only": (
        "ALTER DATABASE {name} SET default_transaction_read_only = on",
        "ALTER DATABASE {name} SET default_transaction_read_only = off",
        "read-only transaction",
    ),
    "no right to insert": (
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        "GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}",
        "permission denied",
    ),
    "no connections": (
        "ALTER DATABASE {name} CONNECTION LIMIT 0",
        "ALTER DATABASE {name} CONNECTION LIMIT -1",
        "too many connections",
    ),
    "no login": (
        "ALTER ROLE {role} NOLOGIN",
        "ALTER ROLE {role} LOGIN",
        "not permitted to log in",
    ),
}


@pytest.mark.faults
@pytest.mark.parametrize("what", list(_REFUSALS))
def test_what_a_server_refuses_waits_until_it_does_not(admin, tmp_path, caplog, what):
    first = Ledger(admin.place, journal=tmp_path / "first")
    first.migrate()
    first.close()
    refuse, allow, said = (text.format(**vars(admin)) for text in _REFUSALS[what])
    if what != "no right to insert":
        admin(f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {admin.role}")
    admin(refuse)
    ledger = Ledger(admin.place.replace("tests@", f"{admin.role}@"), journal=tmp_path)
    ledger(record("1"))
    ledger.flush()
    assert said in caplog.text
    assert len(list(ledger.folder.glob("*.journal"))) == 1
    admin(
        allow,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{admin.name}' AND pid <> pg_backend_pid()",
    )
    ledger.writer._asked_again = 0.0
    ledger.flush()
    # a role that may not make tables is enough, once they are there
    assert ids(ledger) == Counter("1")
    ledger.close()


def test_each_search_path_has_a_ledger_of_its_own(admin, tmp_path):
    admin("CREATE SCHEMA one", "CREATE SCHEMA two")
    for name in ("one", "two"):
        place = f"{admin.place}?options=-csearch_path%3D{name}"
        ledger = Ledger(place, journal=tmp_path)
        ledger(record(name))
        ledger.flush()
        assert ids(ledger) == Counter([name])
        ledger.close()


@pytest.fixture
def pooled(postgres, tmp_path):
    """The address of a database behind a pooler that gives out connections for a transaction."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("not installed: pgbouncer (apt-get install pgbouncer)")
    place = postgres.database()
    name = place.rpartition("/")[2]
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    settings = tmp_path / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n{name} = host=127.0.0.1 port={postgres.port} user=tests\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n"
    )
    user = {"user": "nobody"} if os.getuid() == 0 else {}  # it does not run as root
    with settings.open() as given, subprocess.Popen(
        [program, "/dev/stdin"], stdin=given, stderr=subprocess.DEVNULL, **user
    ) as process:  # fmt: skip
        yield f"postgresql://tests@127.0.0.1:{port}/{name}"
        process.kill()


def test_many_share_few_connections_behind_a_pooler(pooled, tmp_path):
    def reached():
        try:
            psycopg.connect(pooled).close()
        except psycopg.OperationalError:
            return False
        return True

    until(reached)
    ledgers = [Ledger(pooled, journal=tmp_path / f"{name}") for name in range(4)]

    def work(place):
        for number in range(60):
            ledgers[place](record(f"{place}-{number}")._replace(scopes=(f"{place}",)))
            if number % 10 == 0:
                ledgers[place].flush()
        ledgers[place].close()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = Ledger(pooled, journal=tmp_path / "after")
    assert ids(after) == Counter(f"{place}-{number}" for place in range(4) for number in range(60))
    after.close()


# ------------------------------------------------------------ the first process of a container

_FIRST = """
import os, signal, sys, time, otel_llm_usage
assert os.getpid() == 1
otel_llm_usage.instrument(otlp=False, ledger=sys.argv[1])
otel_llm_usage.record_usage(provider="openai", model="gpt-4.1", usage={})
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(20)
"""


def test_sigterm_ends_the_first_process_of_a_container_well(tmp_path):
    unshare = shutil.which("unshare")
    spaces = [unshare, "--pid", "--fork", "--kill-child"]
    if unshare is None or subprocess.run([*spaces, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make a PID namespace")
    place = str(tmp_path / "usage.db")
    done = subprocess.run(
        [*spaces, sys.executable, "-c", _FIRST, place], cwd=ROOT, capture_output=True, timeout=60
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    connection = sqlite3.connect(place)
    assert connection.execute("SELECT count(*) FROM llm_usage").fetchone() == (1,)
    connection.close()
