"""Children of a program that was instrumented: forked, started anew, pooled, killed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .kit import CALL, billed, environment, free_port, run, sums

TOOLS = (
    CALL
    + """
import json, os, signal, sys, time, urllib.request
from otel_llm_usage import instrument
from otel_llm_usage.runtime import current

def worker(times):
    instrument(otlp=False)
    call(times)

def abrupt(times):
    worker(times)
    os._exit(0)

def forked(function, *arguments):
    pid = os.fork()
    if pid == 0:
        function(*arguments)
        os._exit(0)
    return pid

def show():
    print(json.dumps(urllib.request.urlopen(current().server.url).read().decode()), flush=True)

def pooled(method, function):
    import multiprocessing

    child = multiprocessing.get_context(method).Process(target=function, args=(2,))
    child.start()
    child.join()
    assert child.exitcode == 0
"""
)
MAIN = """
if __name__ == "__main__":
    instrument(otlp=False, metrics_port=0)
    call(1)
"""
WAYS = {
    "forked": """
    assert os.waitpid(forked(call, 3), 0)[1] == 0  # which ends by os._exit
    show()
    pid = os.fork()
    if pid == 0:
        call(2)
        sys.exit()
    assert os.waitpid(pid, 0)[1] == 0
    show()
    assert os.waitpid(forked(lambda: (os.waitpid(forked(call, 2), 0), call(1))), 0)[1] == 0
    call(1)
    show()
    read, write = os.pipe()
    pid = forked(lambda: (call(3), os.write(write, b"x"), time.sleep(100)))
    os.read(read, 1)
    show()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    show()
    pooled("fork", call)
    show()
    import concurrent.futures

    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        list(pool.map(call, [1, 2, 1]))
""",
    "started anew": """
    pooled("spawn", worker)
    show()
    call(1)
    show()
    pooled("forkserver", abrupt)
""",
}


@pytest.mark.parametrize("way", WAYS)
def test_what_children_spend_is_in_the_sum(way, llm_standin, tmp_path):
    end = "    show()\n    print(json.dumps(str(current().together.directory)))\n"
    said = run(TOOLS + MAIN + WAYS[way] + end, tmp_path, environment(llm_standin, tmp_path))
    *shown, directory = [json.loads(line) for line in said.splitlines()]
    requests = [sums(text)["llm_requests_total"] for text in shown]
    assert requests == sorted(requests)
    assert sums(shown[-1]) == billed(llm_standin.ledger)
    # the last one has taken it away
    assert not Path(directory).exists()


def test_a_child_that_was_started_anew_shows_what_its_parent_counted(llm_standin, tmp_path):
    script = (
        TOOLS
        + """
def serve(times):
    instrument(otlp=False, metrics_port=0)
    call(times)
    show()

if __name__ == "__main__":
    import multiprocessing

    instrument(otlp=False)
    call(1)
    pooled("spawn", serve)
"""
    )
    said = run(script, tmp_path, environment(llm_standin, tmp_path))
    assert sums(json.loads(said)) == billed(llm_standin.ledger)


def test_a_reloader_and_its_child_show_one_sum(llm_standin, tmp_path):
    script = (
        TOOLS
        + """
if __name__ == "__main__":
    import subprocess

    instrument(otlp=False, metrics_port=int(os.environ["PORT"]))
    call(1)
    if "AGAIN" not in os.environ:
        again = [sys.executable, *sys.argv]
        subprocess.run(again, env=os.environ | {"AGAIN": "1"}, check=True)
        show()
"""
    )
    env = environment(llm_standin, tmp_path, PORT=str(free_port()))
    assert sums(json.loads(run(script, tmp_path, env))) == billed(llm_standin.ledger)


def test_run_shows_what_the_programs_below_it_spend(llm_standin, tmp_path):
    script = (
        TOOLS
        + """
if __name__ == "__main__":
    import subprocess

    call(1)
    subprocess.run([sys.executable, "-c", "import script; script.call(2)"], check=True)
    show()
"""
    )
    under = ("otel-llm-usage", "run", "--metrics-port", "0", "--")
    said = run(script, tmp_path, environment(llm_standin, tmp_path), *under)
    assert sums(json.loads(said)) == billed(llm_standin.ledger)


def test_a_process_alone_writes_no_file(llm_standin, tmp_path):
    script = TOOLS + MAIN + "    show()\n    print(current().together.directory.exists())\n"
    said = run(script, tmp_path, environment(llm_standin, tmp_path)).splitlines()
    assert sums(json.loads(said[0])) == billed(llm_standin.ledger)
    assert said[1] == "False"


def test_what_was_spent_before_the_first_child_is_not_lost_with_its_spender(llm_standin, tmp_path):
    """As a daemon begins: the one who opened the port is gone, and his child serves it."""
    script = (
        TOOLS
        + MAIN
        + """
    url = current().server.url
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.01)
        call(3)
        while current().server is None:
            time.sleep(0.01)
        assert current().server.url == url
        show()
        os._exit(0)
"""
    )
    said = run(script, tmp_path, environment(llm_standin, tmp_path))
    assert sums(json.loads(said)) == billed(llm_standin.ledger)


@contextmanager
def waiting(folder: Path, env: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen]:
    """`script.py`, until it is told to go on."""
    with subprocess.Popen(
        [sys.executable, "script.py", *arguments],
        cwd=folder,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        yield program
        program.communicate("x\n", timeout=120)


SLOW = """
    call(int(sys.argv[1]))
    current().flush()
    print("ready", flush=True)
    sys.stdin.readline()
    if current().server is not None:
        show()
"""


def shown_by_two(main: str, standin, folder: Path) -> list[dict]:
    """What two programs at a time show, that are started by one parent and call once and twice."""
    (folder / "script.py").write_text(TOOLS + main + SLOW)
    shown = []
    with ExitStack() as stack:
        programs = []
        for times in ("1", "2"):
            programs.append(
                stack.enter_context(waiting(folder, environment(standin, folder), times))
            )
            assert programs[-1].stdout.readline() == "ready\n"
        for program in programs:
            program.stdin.write("x\n")
            program.stdin.flush()
            shown.append(program.stdout.readline())
    return [sums(json.loads(text)) for text in shown if text]


def test_two_programs_of_one_parent_are_two_applications(llm_standin, tmp_path):
    shown = shown_by_two(MAIN, llm_standin, tmp_path)
    assert [one["llm_requests_total"] for one in shown] == [2, 3]


def test_programs_that_say_one_name_are_one_application(llm_standin, tmp_path):
    name = f"application={str(tmp_path)!r}, "
    main = MAIN.replace("metrics_port", name + "metrics_port")
    (shown,) = shown_by_two(main, llm_standin, tmp_path)  # the first one's port is enough
    assert shown == billed(llm_standin.ledger)


def test_who_opens_a_port_of_another_number_shows_its_own_numbers(llm_standin, tmp_path):
    name = f"application={str(tmp_path)!r}, "
    main = MAIN.replace("metrics_port=0", name + "metrics_port=20000 + os.getpid() % 30000")
    shown = shown_by_two(main, llm_standin, tmp_path)
    assert [one["llm_requests_total"] for one in shown] == [2, 3]
