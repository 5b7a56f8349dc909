"""One budget of several processes: one total, each threshold told once among them."""

import json
import os
import threading
from decimal import Decimal

from otel_llm_usage.budgets.shared import SharedFileStore

SCRIPT = """
import json, os, sys, threading
from prometheus_client import CollectorRegistry
import otel_llm_usage
from otel_llm_usage import Budget, instrument
from otel_llm_usage.records import Cost, PricedLine, Record, Request, Usage
from otel_llm_usage.server import exposition

told = open(sys.argv[1] if len(sys.argv) > 1 else os.environ["TOLD"], "a", buffering=1)
budget = Budget(
    name="team", limit_usd=4, period="year", on_threshold=lambda one: print(one.threshold, file=told)
)
runtime = instrument(otlp=False, budgets=[budget])
request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-5")
cent = Cost("priced", 10**10, (PricedLine("input", 1, 10**10, "test"),))
record = Record("0" * 32, 1.0, request, "ok", Usage(input=1), "reported", cent)

def work():
    for _ in range(50):
        runtime._spending(record)

children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        threads = [threading.Thread(target=work) for _ in range(2)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        runtime._spending(record)
        runtime._spending.close()  # as at the end of a process: pays what a busy lock left owing
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
shown = {}
for metric in exposition().collect():
    for sample in metric.samples:
        if sample.name.startswith("llm_budget"):
            shown.setdefault(sample.name, []).append((sample.labels, sample.value))
print(json.dumps(shown))
"""


def test_the_sum_of_all_processes_is_one_value_and_each_threshold_is_told_once(python, tmp_path):
    (tmp_path / "multiproc").mkdir()
    told = tmp_path / "told"
    shown = json.loads(
        python(
            SCRIPT,
            PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "multiproc"),
            TOLD=str(told),
            PYTHONWARNINGS="error,ignore:This process:DeprecationWarning",
        )
    )
    labels = {"budget": "team", "period": "year"}
    assert shown["llm_budget_limit_usd"] == [[labels, 4.0]]
    ((where, spent),) = shown["llm_budget_spent_usd"]
    assert where == labels
    assert round(spent, 6) == 4.04
    assert round(shown["llm_budget_utilization_ratio"][0][1], 6) == 1.01
    assert len(shown["llm_budget_period_end_timestamp_seconds"]) == 1
    assert sorted(map(Decimal, told.read_text().split())) == [
        Decimal("0.5"),
        Decimal("0.8"),
        Decimal("0.9"),
        1,
    ]


def _held_by_another_process(file):
    """A child that holds the file's lock until it is told to go."""
    held, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        import fcntl

        lock = os.open(file, os.O_RDWR)
        fcntl.lockf(lock, fcntl.LOCK_EX)
        os.write(held[1], b".")
        os.read(go[0], 1)
        os._exit(0)
    os.read(held[0], 1)

    def release():
        os.write(go[1], b".")
        os.waitpid(child, 0)
        for end in (*held, *go):
            os.close(end)

    return release


def test_a_lock_that_another_process_holds_loses_nothing(tmp_path):
    store = SharedFileStore(tmp_path)
    store.add("team", 1.0, 5)
    (file,) = tmp_path.iterdir()
    release = _held_by_another_process(file)
    assert store.add("team", 1.0, 7) is None
    assert store.total("team", 1.0) == 5  # what is owed is not shown before it is paid
    release()
    assert store.add("team", 1.0, 1) == (5, 13)


def test_threads_of_one_process_do_not_lose_each_others_money(tmp_path):
    store = SharedFileStore(tmp_path)

    def work():
        for _ in range(200):
            store.add("team", 1.0, 1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert SharedFileStore(tmp_path).total("team", 1.0) == 1600


def test_a_new_period_begins_at_zero_and_an_old_one_is_past(tmp_path):
    store = SharedFileStore(tmp_path)
    huge = 10**20  # a hundred million dollars
    assert store.add("team", 1.0, huge) == (0, huge)
    assert store.add("team", 2.0, 3) == (0, 3)
    assert store.total("team", 2.0) == 3
    assert store.total("team", 3.0) == 0
    assert store.add("other", 2.0, 1) == (0, 1)


def test_what_a_parent_owes_its_child_does_not_pay_and_the_end_pays_it(tmp_path):
    store = SharedFileStore(tmp_path)
    store.add("team", 1.0, 1)
    (file,) = tmp_path.iterdir()
    release = _held_by_another_process(file)
    assert store.add("team", 1.0, 1000) is None
    release()
    child = os.fork()
    if child == 0:
        store.add("team", 1.0, 1)
        store.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert store.total("team", 1.0) == 2
    assert store.add("team", 1.0, 0, patient=True) == (2, 1002)
    store.close()
    assert SharedFileStore(tmp_path).total("team", 1.0) == 1002


def test_a_child_that_is_forked_while_a_thread_spends_can_spend(python, tmp_path):
    script = """
import os, sys, threading, time
from pathlib import Path
from otel_llm_usage.budgets import MemoryStore
from otel_llm_usage.budgets.shared import SharedFileStore

stores = [MemoryStore(), SharedFileStore(Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["PLACE"]))]
for store in stores:
    held, go = threading.Event(), threading.Event()

    def hold():
        with store._lock:
            held.set()
            go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    child = os.fork()
    if child == 0:
        store.add("team", 1.0, 1)
        os._exit(0)
    go.set()
    thread.join()
    for _ in range(300):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
        raise SystemExit("the child hangs")
    assert status == 0
print("well")
"""
    out = python(
        script,
        PLACE=str(tmp_path),
        PYTHONWARNINGS="error,ignore:This process:DeprecationWarning",
    )
    assert out.strip() == "well"


def test_a_store_that_is_closed_keeps_no_file_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    store = SharedFileStore(tmp_path)
    for number in range(20):
        store.add(f"budget {number}", 1.0, 1)
    store.close()
    assert len(os.listdir("/proc/self/fd")) == before
