"""Where the spending of a period is kept: what a store is, and the one in memory."""

import threading
import weakref
from collections.abc import Callable
from typing import NamedTuple, Protocol

from .. import forks


class Change(NamedTuple):
    """What an addition made of a total, in pico-dollars."""

    before: int
    after: int


class Store(Protocol):
    """Keeps one total for each budget: that of its period which began last."""

    def add(self, key: str, start: float, pico: int, *, patient: bool = False) -> Change | None:
        """Add to the period that began at `start`; `None` if that has to wait for a later call.

        `patient`: there is no later call, so it may wait for a second.
        """
        ...

    def total(self, key: str, start: float) -> int:
        """What was spent in the period that began at `start`."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class MemoryStore:
    """Totals of this process alone; they begin at zero with it."""

    def __init__(self) -> None:
        self._totals: dict[str, tuple[float, int]] = {}
        self._lock = threading.RLock()
        renew_in_children(self)

    def add(self, key: str, start: float, pico: int, *, patient: bool = False) -> Change:
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

    def spent(self) -> list[tuple[str, tuple[float, int]]]:
        """All totals, with the beginnings of their periods."""
        return list(self._totals.items())

    def close(self) -> None:
        """See `Store`: there is nothing to do."""

    def renew(self) -> None:
        """In a forked child: nobody holds the lock."""
        self._lock = threading.RLock()


class MovingStore:
    """In memory for as long as one process spends; then in a store of all, with what was spent."""

    def __init__(self, open_shared: Callable[[], Store]) -> None:
        self._open_shared = open_shared
        self._memory = MemoryStore()
        self._store: Store = self._memory

    def add(self, key: str, start: float, pico: int, *, patient: bool = False) -> Change | None:
        """See `Store`."""
        return self._store.add(key, start, pico, patient=patient)

    def total(self, key: str, start: float) -> int:
        """See `Store`."""
        return self._store.total(key, start)

    def close(self) -> None:
        """See `Store`."""
        self._store.close()

    def move(self) -> None:
        """Go over to the store of all. To be called while nothing is spent."""
        if self._store is not self._memory:
            return
        shared = self._open_shared()
        for key, (start, pico) in self._memory.spent():
            shared.add(key, start, pico, patient=True)
        self._store = shared


class Renewed(Protocol):
    """What a forked child has to renew."""

    def renew(self) -> None: ...


_living: "weakref.WeakSet[Renewed]" = weakref.WeakSet()


def renew_in_children(store: Renewed) -> None:
    """A thread of the parent may have held the lock of this store when the process forked."""
    _living.add(store)


@forks.in_child
def _renew() -> None:
    for store in list(_living):
        store.renew()
