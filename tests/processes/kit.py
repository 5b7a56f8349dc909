"""Programs of several processes, and whether what they show is what the stand-in billed."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
PATIENCE = 120.0

CALL = """
import openai

def call(times=1):
    client = openai.OpenAI()
    for _ in range(times):
        client.chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": "hello"}]
        )
"""


def environment(standin, folder: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return kept | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        **standin.environment(),
        **more,
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def eventually(look: Callable[[], object]) -> None:
    """Until `look` says yes; what it raises for want of a server means no."""
    end = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError):
            if look():
                return
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def run(script: str, folder: Path, environment: Mapping[str, str], *wrapper: str) -> str:
    """What a script of a file says. It has to be a file: children that are started anew import it."""
    (folder / "script.py").write_text(script)
    done = subprocess.run(
        [*wrapper, sys.executable, "script.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


class Program:
    """A program that runs, in a session of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._said.extend(iter(self._process.stdout.readline, ""))

    @property
    def said(self) -> str:
        return "".join(self._said)

    def port(self) -> int:
        """The port that it says it serves."""
        eventually(lambda: self._process.poll() is not None or self._told())
        told = self._told()
        assert told, self.said
        return int(told[1])

    def _told(self) -> "re.Match[str] | None":
        return re.search(r"http://127\.0\.0\.1:(\d+)", self.said)

    def end(self) -> None:
        try:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
            self._process.wait(90)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._reader.join()
            print(self.said)  # pytest shows it if the test fails


@contextmanager
def running(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[Program]:
    with subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        program = Program(process)
        try:
            yield program
        finally:
            program.end()


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return answer.read().decode()


def work(port: int, times: int, workers: int = 2) -> Counter[int]:
    """How often each process answered: at least `times` in all, and at least `workers` processes."""
    answered: Counter[int] = Counter()

    def ask(_: int) -> int | None:
        with suppress(OSError):  # a server that replaces its workers may hang up before it reads
            return int(get(port, "/work"))
        return None

    end = time.monotonic() + PATIENCE
    with ThreadPoolExecutor(8) as pool:
        while answered.total() < times or len(answered) < workers:
            assert time.monotonic() < end, f"only {answered} answered"
            answered.update(pid for pid in pool.map(ask, range(8)) if pid is not None)
    return answered


def sums(text: str) -> dict[str, object]:
    """What is shown, added up over all labels but the types of tokens."""
    tokens: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "llm_tokens_total":
                tokens[sample.labels["type"]] += int(sample.value)
            elif sample.name in (
                "llm_requests_total",
                "llm_request_duration_seconds_count",
                "llm_instrumentation_errors_total",
            ):
                found[sample.name] += int(sample.value)
            elif sample.name == "llm_cost_total":
                found["pico"] += round(sample.value * 1e12)
    return {"tokens": dict(+tokens), **found}


def billed(ledger) -> dict[str, object]:
    """What has to be shown for what was billed."""
    return {
        "tokens": ledger.usage(),
        "llm_requests_total": len(ledger),
        "llm_request_duration_seconds_count": len(ledger),
        "pico": int(ledger.usd() * 10**12),
    }


def samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }
