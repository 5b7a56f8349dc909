"""One ledger, one Prometheus that holds it."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import ledger as story

PATIENCE = 120
"""Seconds for what takes two on an idle machine."""


class Prometheus:
    """Questions to a Prometheus over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expr: str, at: float = story.NOW) -> list[dict[str, Any]]:
        """What an instant query finds."""
        return self._ask("query", query=expr, time=at)

    def range(
        self, expr: str, span: int, step: int, end: float = story.NOW
    ) -> list[dict[str, Any]]:
        """What a graph shows: Grafana aligns its ends to the step."""
        since, until = ((t // step) * step for t in (end - span, end))
        return self._ask("query_range", query=expr, start=since, end=until, step=step)

    def values(self, label: str, selector: str) -> list[str]:
        """What a variable offers for the last 24 hours."""
        day = {"start": story.NOW - story.DAY, "end": story.NOW}
        return self._get(f"label/{label}/values", {"match[]": selector, **day})["data"]

    def number(self, expr: str) -> float:
        """The one number that a query gives."""
        (series,) = self.query(expr)
        return float(series["value"][1])

    def numbers(self, expr: str, by: str) -> dict[str, float]:
        """A query's numbers, by the values of labels."""
        return {
            " ".join(series["metric"][label] for label in by.split()): float(series["value"][1])
            for series in self.query(expr)
        }

    def _ask(self, what: str, **params: Any) -> list[dict[str, Any]]:
        answer = self._get(what, params)
        assert not answer.get("warnings"), answer["warnings"]
        assert not answer.get("infos"), answer["infos"]
        return answer["data"]["result"]

    def _get(self, what: str, params: dict[str, Any]) -> dict[str, Any]:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(params)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{error.read().decode()}: {params}") from None


@pytest.fixture(scope="session")
def ledger() -> story.Ledger:
    return story.written()


@pytest.fixture(scope="session")
def blocks(tmp_path_factory: pytest.TempPathFactory, ledger: story.Ledger) -> Path:
    """The ledger's metrics as Prometheus stores them; made once, for all workers."""
    for binary in ("promtool", "prometheus"):
        if shutil.which(binary) is None:
            pytest.skip(f"{binary} is missing: apt-get install prometheus")
    mine = tmp_path_factory.getbasetemp()
    common = mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine
    done = common / "boards-data"
    with (common / "boards.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _make_blocks(ledger, done)
    return done


def _make_blocks(ledger: story.Ledger, done: Path) -> None:
    metrics, data = done.with_suffix(".txt"), done.with_suffix(".part")
    story.written_to(metrics, ledger)
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics"]
    subprocess.run(
        [*command, "--max-block-duration=24h", metrics, data],
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    metrics.unlink()
    data.rename(done)


@pytest.fixture(scope="session")
def prometheus(blocks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    place = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(blocks, place / "data")
    (place / "prometheus.yml").write_text("global: {}\n")
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={place / 'prometheus.yml'}",
                f"--storage.tsdb.path={place / 'data'}",
                "--storage.tsdb.retention.time=10y",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield Prometheus(_ready(process, place / "log"))
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """Its URL, once it answers; it takes a free port by itself, and its log says which."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if told := re.search(r'"Listening on" address=(\S+)', log.read_text()):
            url = f"http://{told[1]}"
            try:
                with urllib.request.urlopen(f"{url}/-/ready", timeout=5):
                    return url
            except OSError:
                pass
        time.sleep(0.1)
    raise AssertionError(f"no Prometheus:\n{log.read_text()}")
