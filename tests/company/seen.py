"""What a passage has seen, as the checks read it."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from otel_llm_usage.telemetry.otel_metrics import SCOPE

ROOT = Path(__file__).parent.parent.parent


class Round(NamedTuple):
    """All programs, with these here."""

    here: tuple[str, ...]
    calls: Mapping[str, Mapping[str, Any]]
    tokens: float
    billed: float


class Passage(NamedTuple):
    """One process."""

    rounds: tuple[Round, ...]
    said: tuple[str, ...]
    """What we said in the log or by a warning."""
    errors: tuple[str, ...]
    """What anybody else logged as an error."""
    faults: Mapping[str, int]

    def calls(self, *, with_us: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Every call that was made with us here, or without us."""
        for one in self.rounds:
            if ("ours" in one.here) is with_us:
                yield from one.calls.items()


@cache
def passed(module: str, arrive: str, leave: str) -> Passage:
    """What was seen in a fresh process."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "seen.json"
        ran = subprocess.run(
            [sys.executable, "-m", "tests.company.passage", module, arrive, leave, str(file)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        seen = json.loads(file.read_text())
    rounds = tuple(Round(tuple(one.pop("here")), **one) for one in seen.pop("rounds"))
    return Passage(rounds, tuple(seen["said"]), tuple(seen["errors"]), seen["faults"])


def ours(call: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Our own spans of a call."""
    return [span for span in call["spans"] if span["scope"] == SCOPE]


def theirs(call: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The spans of others that tell the usage of a call."""
    return [span for span in call["spans"] if span["scope"] != SCOPE and span["usage"]]
