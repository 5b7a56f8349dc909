"""How many tokens a model bills for one of ours: learned from calls, kept as numbers in a file."""

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from .. import files

logger = logging.getLogger("otel_llm_usage")

WEIGHT = 0.05
"""What the newest call weighs, once there are twenty: the memory is about the last twenty calls."""

ENOUGH = 10
"""Calls after which the learned ratio takes the place of the seed."""

LEAST, MOST = 0.3, 5.0
"""Ratios beyond these come from something else than the tokenizer."""

_LEAST_BAND = 0.02
_MOST_MODELS = 1000


class Learned(NamedTuple):
    """Of one model: a moving mean and variance."""

    calls: int
    ratio: float
    variance: float

    def with_one(self, ratio: float) -> "Learned":
        """After one more call."""
        weight = max(WEIGHT, 1 / (self.calls + 1))
        away = ratio - self.ratio
        return Learned(
            self.calls + 1,
            self.ratio + weight * away,
            (1 - weight) * (self.variance + weight * away * away),
        )

    @property
    def band(self) -> float:
        """±, relative: two standard deviations."""
        return max(_LEAST_BAND, 2 * math.sqrt(self.variance) / self.ratio)


_NOTHING = Learned(0, 1.0, 0.0)


class Ratios:
    """The learned ratios of all models, in a file that several processes may write.

    What one of them has learned since it last wrote is added to what the file holds then; of two who
    write in the same moment the later one wins. A file that can't be read counts as none.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._known: Mapping[str, Learned] = MappingProxyType({})
        self._new: list[tuple[str, float]] = []
        self._stamp: tuple[int, int] | None = None
        self._said = False

    def of(self, model: str) -> Learned | None:
        """What is known of a model, if it is enough."""
        self._refresh()
        found = self._known.get(model)
        return found if found is not None and found.calls >= ENOUGH else None

    def learn(self, model: str, ratio: float) -> None:
        """One call, of which so many tokens were billed for one of ours. By one thread at a time."""
        if LEAST <= ratio <= MOST:
            self._new.append((model, ratio))
            self._known = _with(self._known, [(model, ratio)])

    def save(self) -> None:
        """Write what was learned since the last time; `OSError` where the system can't."""
        if not self._new:
            return
        new, self._new = self._new, []
        merged = _with(self._read(), new)
        content = {
            "models": {model: list(one) for model, one in sorted(merged.items())},
        }
        files.write(self.path, json.dumps(content, indent=1).encode())
        self._known, self._stamp = merged, self._stamp_now()

    def disown(self) -> None:
        """In a forked child: what its parent has learned, its parent writes."""
        self._new = []

    def _refresh(self) -> None:
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._known, self._stamp = _with(self._read(), self._new), stamp

    def _stamp_now(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def _read(self) -> Mapping[str, Learned]:
        try:
            return _parsed(json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, RecursionError) as error:
            if not self._said:
                self._said = True
                logger.warning(
                    "The learned token ratios in %s can't be read (%s): learning begins anew",
                    self.path,
                    error,
                )
            return {}


def _with(known: Mapping[str, Learned], new: list[tuple[str, float]]) -> Mapping[str, Learned]:
    merged = dict(known)
    for model, ratio in new:
        if model in merged or len(merged) < _MOST_MODELS:
            merged[model] = merged.get(model, _NOTHING).with_one(ratio)
    return MappingProxyType(merged)


def _parsed(content: Any) -> Mapping[str, Learned]:
    if not isinstance(content, dict) or not isinstance(content.get("models"), dict):
        raise ValueError("it holds no models")
    found = {}
    for model, numbers in content["models"].items():
        calls, ratio, variance = numbers
        if not (
            isinstance(calls, int) and calls > 0 and LEAST <= ratio <= MOST and 0 <= variance < 100
        ):
            raise ValueError(f"the numbers of {model[:50]!r} can't be meant")
        found[model] = Learned(calls, float(ratio), float(variance))
    return found
