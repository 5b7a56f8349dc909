"""The files beside the processes: what is in them when something goes wrong."""

import json
import logging
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_llm_usage import guard, server
from otel_llm_usage.server import MetricsServer, SharedPort
from otel_llm_usage.telemetry import application, shared
from otel_llm_usage.telemetry.shared import Together

TOKENS = ("llm_tokens", "Billed tokens.", ("type",), 1)
SECONDS = ("llm_seconds", "How long.", ("model",), ("1.0", "+Inf"))


@pytest.fixture
def together(tmp_path):
    """This process, and others that say the same name: each has a file of its own."""
    made: list[Together] = []

    def make(port: int = 0) -> Together:
        one = Together("shop", port, tmp_path)
        made.append(one)
        one.begin()
        return one

    yield make
    for one in made:
        one.close()


def count(one: Together, total: int, kind: str = "input") -> shared.Slot | None:
    slot = one.slot("counter", TOKENS, (kind,), 1, 1000.0)
    if slot is not None:
        slot.count(total)
    return slot


def counted(one: Together) -> dict[str, int]:
    theirs = one.others().get("llm_tokens")
    return {} if theirs is None else {v[0]: n.counts[0] for (_, v), n in theirs.numbers.items()}


def die(one: Together) -> None:
    """As if it was killed: its lock goes, its file stays."""
    assert one._book is not None
    one._book.close()
    one._book, one._failed = None, True


def files(one: Together, suffix: str) -> list[str]:
    return [name for name in os.listdir(one.directory) if name.endswith(suffix)]


def test_others_see_each_total_at_once_and_to_the_last_digit(together):
    mine, other = together(), together()
    slot = count(other, 1)
    assert counted(mine) == {"input": 1}
    slot.count(3 * 10**30)  # dollars in pico outgrow 64 bits
    assert counted(mine) == {"input": 3 * 10**30}
    assert counted(other) == {}


def test_the_dead_stay_in_the_sum_and_become_one_file(together):
    mine = together()
    for _ in range(5):
        other = together()
        count(other, 7)
        count(other, 2, "output")
        die(other)
        seen = counted(mine)
    assert seen == counted(mine) == {"input": 35, "output": 10}
    assert files(mine, ".past") == ["0.past"]
    assert len(files(mine, ".live")) == 1


def test_who_is_killed_while_he_takes_in_the_dead_counts_none_twice(together):
    mine, other = together(), together()
    count(other, 7)
    name = other._book.path.name
    content = other._book.path.read_bytes()
    die(other)
    assert counted(mine) == {"input": 7}
    (mine.directory / name).write_bytes(content)  # as if it had not been removed
    assert counted(mine) == {"input": 7}
    assert not (mine.directory / name).exists()


def test_what_the_dead_were_goes_with_them(together):
    mine, other = together(), together()
    about = ("llm_seam_patched", "Whether.", ("sdk",), None)
    other.slot("livemax", about, ("openai",), 1, 0.0).say(1.0, moment=5.0)
    age = ("llm_age", "How old.", ("layer",), None)
    other.slot("mostrecent", age, ("packaged",), 1, 0.0).say(60.0, moment=5.0)
    count(other, 7)
    assert set(mine.others()) == {"llm_seam_patched", "llm_age", "llm_tokens"}
    die(other)
    assert set(mine.others()) == {"llm_age", "llm_tokens"}


def test_the_room_in_a_file_is_taken_before_it_is_mapped(together):
    one = together()
    for index in range(400):
        count(one, 1, f"kind {index} {'x' * 100}")
        found = os.stat(one._book.path)
        assert found.st_blocks * 512 >= found.st_size


def test_histograms_add_up(together):
    mine = together()
    for total in (0.5, 2.5):
        other = together()
        slot = other.slot("histogram", SECONDS, ("gpt-5",), 3, 1000.0)
        slot.count(2, 0)
        slot.count(1, 1)
        slot.say(total, 2)
    (number,) = mine.others()["llm_seconds"].numbers.values()
    assert (number.counts, number.value) == ((4, 2), 3.0)
    die(other)
    (number,) = mine.others()["llm_seconds"].numbers.values()
    assert (number.counts, number.value) == ((4, 2), 3.0)


def test_a_file_grows_and_its_process_still_lives(together):
    mine, other = together(), together()
    slots = [count(other, 1, f"kind {index} {'x' * 100}") for index in range(1000)]
    for slot in slots:
        slot.count(2)
    assert sum(counted(mine).values()) == 2000
    assert len(files(mine, ".live")) == 2
    die(other)
    assert sum(counted(mine).values()) == 2000
    assert len(files(mine, ".live")) == 1


def test_ports_of_different_numbers_are_different_applications(together):
    one, two, without = together(9001), together(9002), together()
    for process, total in ((one, 1), (two, 10), (without, 100)):
        count(process, total)
    assert counted(one) == {"input": 100}
    assert counted(two) == {"input": 100}
    assert counted(without) == {"input": 11}
    die(two)
    assert counted(one) == {"input": 100}
    assert counted(without) == {"input": 11}


def test_the_last_one_takes_the_directory_away(together, tmp_path):
    one, two = together(), together()
    one.leave()
    assert one.directory.exists()
    die(one)
    two.leave()
    assert list(tmp_path.iterdir()) == []


def test_the_totals_stay_while_the_process_lives_that_starts_the_workers(together):
    one = together()
    count(one, 7)
    pid = os.fork()
    if pid == 0:
        time.sleep(100)
        os._exit(0)
    started = application._look(pid).process.started
    root = one.directory / f"root-{pid}-{started}"
    root.touch()
    one.leave()
    assert one.directory.exists()
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    one.leave()
    assert not one.directory.exists()


def test_what_an_application_left_is_swept_by_the_next_one(together, tmp_path):
    one = together()
    die(one)
    left = one.directory
    assert left.exists()
    for name in os.listdir(left):
        if name.startswith("root-"):  # which is this process, and lives
            (left / name).rename(left / "root-999999999-1")
    other = Together("another", 0, tmp_path)
    other.share()
    assert not left.exists()
    other.close()


def spoil_mode(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)


def spoil_link(directory: Path) -> None:
    (directory.parent / "elsewhere").mkdir(mode=0o700)
    directory.symlink_to(directory.parent / "elsewhere")


def spoil_file(directory: Path) -> None:
    directory.write_text("")


@pytest.mark.faults
@pytest.mark.parametrize("spoil", [spoil_mode, spoil_link, spoil_file])
def test_a_directory_of_others_is_not_used(spoil, tmp_path, caplog):
    one = Together("shop", 0, tmp_path)
    spoil(one.directory)
    with caplog.at_level(logging.ERROR):
        one.begin()
        assert count(one, 7) is None
        assert one.others() == {}
    (line,) = caplog.records
    assert str(one.directory) in line.getMessage()
    assert guard.errors["processes"] == 1
    assert not list((tmp_path / "elsewhere").glob("*"))
    one.close()


@pytest.mark.faults
def test_where_nothing_can_be_written_a_process_counts_for_itself(monkeypatch, caplog):
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(shared, "Path", lambda _: Path("/proc/no-such-directory"))
    monkeypatch.setattr(shared.tempfile, "gettempdir", none)
    one = Together("shop")
    one.begin()
    assert count(one, 7) is None
    assert one.others() == {}
    assert len(caplog.records) == 1
    one.close()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.faults
def test_a_full_disk_leaves_a_process_its_own_numbers(together, caplog):
    mine, other = together(), together()
    first = count(other, 1)
    with files_of_at_most(40_000):
        slots = [count(other, 1, f"kind {index} {'x' * 100}") for index in range(1000)]
    with files_of_at_most(1_000):
        late = together()
        assert count(late, 9) is None
    assert None in slots
    assert len([line for line in caplog.records if line.levelno == logging.ERROR]) == 2
    assert len(files(mine, ".live")) == 2
    first.count(5)
    assert counted(mine)["input"] == 5


def test_a_scrape_that_cannot_read_the_others_fails_and_shows_no_smaller_sum(together, monkeypatch):
    mine, other = together(), together()
    count(other, 7)
    monkeypatch.setattr(shared, "_TRIES", 2)
    with other._locked(), pytest.raises(TimeoutError):
        mine.others()
    assert counted(mine) == {"input": 7}


def test_budgets_are_one_total_without_any_setting(python):
    seen = python("""
import json, os
from otel_llm_usage import Budget, instrument
from otel_llm_usage.records import Cost, PricedLine, Record, Request, Usage

told = []
runtime = instrument(
    budgets=[Budget(name="all", limit_usd=10, on_threshold=told.append)], otlp=False
)

def spend(dollars):
    pico = dollars * 10**12
    cost = Cost("priced", pico=pico, priced_lines=(PricedLine("input", 1, pico, "test"),))
    request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-5")
    runtime._spending(Record("0" * 32, 1.8e9, request, "ok", Usage(input=1), "reported", cost))
    runtime.flush()

spend(2)
told_by_child, write = os.pipe()
pid = os.fork()
if pid == 0:
    spend(4)
    os.write(write, json.dumps([len(told), str(runtime.budgets()[0].spent_usd)]).encode())
    os._exit(0)
os.waitpid(pid, 0)
spend(1)
child = json.loads(os.read(told_by_child, 100))
print(json.dumps([child, len(told), str(runtime.budgets()[0].spent_usd)]))
""")
    child, told, spent = json.loads(seen)
    assert child == [1, "6"]  # half of it
    assert (told, spent) == (0, "7")


def test_this_process_is_its_own_root_unless_it_was_forked_from_another():
    mine = application._look(os.getpid())
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, json.dumps(application.root()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert application.Process(*json.loads(os.read(read, 100))) == application.root()
    assert mine.process.alive
    # one whose title was changed lies where its parent lies; another program lies elsewhere
    worker = mine._replace(process=application.Process(pid, 1), command=(b"gunicorn: worker",))
    assert application._same_application(worker, mine)
    assert not application._same_application(worker._replace(layout=("1", "2", "3", "4")), mine)
    assert not application.Process(mine.process.pid, mine.process.started - 1).alive
    assert not application.Process(pid, 1).alive


@pytest.fixture
def port(monkeypatch):
    """The ports of several processes, which are tried again at once."""
    monkeypatch.setattr(server, "_AGAIN", 0.01)
    made: list[SharedPort] = []

    def make(number: int, one: Together) -> SharedPort:
        shared_port = SharedPort(lambda number: MetricsServer(port=number), number)
        made.append(shared_port)
        shared_port.open(one)
        return shared_port

    yield make
    for shared_port in made:
        shared_port.close()


def until(look) -> None:
    end = time.monotonic() + 60
    while not look():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_free_port_is_one_for_all_and_taken_over(together, port, caplog):
    first, second = port(0, together()), port(0, together())
    assert second.server is None
    number = first.server.port
    time.sleep(0.1)  # it is tried several times
    first.close()
    until(lambda: second.server is not None)
    assert second.server.port == number
    assert not caplog.records


def test_a_strangers_port_is_said_once(together, port, caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        waiting = port(number, together())
        until(lambda: caplog.records)
        time.sleep(0.1)
        assert waiting.server is None
        (line,) = caplog.records
        assert "in use" in line.getMessage()
    until(lambda: waiting.server is not None)
