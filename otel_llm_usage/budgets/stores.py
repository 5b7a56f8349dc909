"""Where the spending of a period is kept: what a store is, and the one in memory."""

import threading
from typing import NamedTuple, Protocol


class Change(NamedTuple):
    """What an addition made of a total, in pico-dollars."""

    before: int
    after: int


class Store(Protocol):
    """Keeps one total for each budget: that of its period which began last."""

    def add(self, key: str, start: float, pico: int) -> Change | None:
        """Add to the period that began at `start`; `None` if that has to wait for a later call."""
        ...

    def total(self, key: str, start: float) -> int:
        """What was spent in the period that began at `start`."""
        ...


class MemoryStore:
    """Totals of this process alone; they begin at zero with it."""

    def __init__(self) -> None:
        self._totals: dict[str, tuple[float, int]] = {}
        self._lock = threading.RLock()

    def add(self, key: str, start: float, pico: int) -> Change:
        """See `Store`."""
        with self._lock:
            before = self.total(key, start)
            began, _ = self._totals.get(key, (start, 0))
            self._totals[key] = max(began, start), before + pico  # a clock may go back
        return Change(before, before + pico)

    def total(self, key: str, start: float) -> int:
        """See `Store`."""
        began, total = self._totals.get(key, (start, 0))
        return total if began >= start else 0
