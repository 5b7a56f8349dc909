"""What a passage has seen, as the checks read it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from otel_llm_usage.telemetry.otel_metrics import SCOPE

ROOT = Path(__file__).parent.parent.parent

Call = Mapping[str, Any]


class Round(NamedTuple):
    """All programs, with these here."""

    here: tuple[str, ...]
    calls: Mapping[str, Call]
    tokens: float
    """What our metrics have counted."""

    @property
    def with_us(self) -> bool:
        return "ours" in self.here


class Passage(NamedTuple):
    """One process."""

    rounds: tuple[Round, ...]
    said: tuple[str, ...]
    """What we said in the log or by a warning."""
    errors: tuple[str, ...]
    """What anybody else logged as an error."""
    faults: Mapping[str, int]

    def calls(self, *, with_us: bool) -> Iterator[tuple[Round, str, Call]]:
        """Every call that was made with us here, or without us."""
        for one in self.rounds:
            if one.with_us is with_us:
                for name, call in one.calls.items():
                    yield one, name, call


class Passages:
    """The passages of a module, each in a fresh process, as many at a time as there are cores."""

    def __init__(self, module: str, orders: list[tuple[str, str]]) -> None:
        """`orders`: who arrives and who leaves, as names parted by commas."""
        pool = ThreadPoolExecutor(os.cpu_count() or 1)
        self._made: dict[tuple[str, str], Future[Passage]] = {
            order: pool.submit(_pass, module, *order) for order in orders
        }
        pool.shutdown(wait=False)

    def __call__(self, arrive: str, leave: str) -> Passage:
        """The passage with this order."""
        return self._made[arrive, leave].result()


def _pass(module: str, arrive: str, leave: str) -> Passage:
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "seen.json"
        ran = subprocess.run(
            [sys.executable, "-m", "tests.company.passage", module, arrive, leave, str(file)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        seen = json.loads(file.read_text())
    rounds = tuple(Round(tuple(one["here"]), one["calls"], one["tokens"]) for one in seen["rounds"])
    return Passage(rounds, tuple(seen["said"]), tuple(seen["errors"]), seen["faults"])


def answer(call: Call) -> tuple[Any, str | None]:
    """All that the program got."""
    return call["answer"], call["error"]


def usages(ones: list[Mapping[str, Any]]) -> list[str]:
    """The usages of bills or records: calls at the same time have no order."""
    return sorted(json.dumps(one["usage"], sort_keys=True) for one in ones)


def counted(call: Call) -> list[Mapping[str, Any]]:
    """The records of what was billed."""
    return [record for record in call["records"] if record["status"] != "error"]


def tokens(record: Mapping[str, Any]) -> int:
    """All tokens of a record."""
    return sum((record["usage"] or {}).values())


def our_spans(call: Call) -> list[Mapping[str, Any]]:
    """Our own spans of a call that tell its usage."""
    return [span for span in call["spans"] if span["scope"] == SCOPE and span["usage"]]


def their_spans(call: Call) -> list[Mapping[str, Any]]:
    """The spans of others that tell it."""
    return [span for span in call["spans"] if span["scope"] != SCOPE and span["usage"]]
