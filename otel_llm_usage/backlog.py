"""What is done after a call, by threads of ours: nobody who makes calls waits for it.

Leaving work is one step that needs no lock, so it may be done anywhere: also by a finaliser, in the
middle of a garbage collection that interrupted somebody who holds locks of his own. Work of one lane
is done in the order in which it was left, one piece at a time, by the lane's thread or by whoever
wants to see its result (`finish`, `alone`).
"""

import gc
import logging
from _thread import allocate_lock, get_ident, start_new_thread
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import SimpleQueue
from time import sleep
from typing import Any

# these are taken when this module is imported: what gevent puts in their place later would not go
# together with the thread that waits here
from . import forks, guard

logger = logging.getLogger("otel_llm_usage")

Work = tuple[Callable[..., object], tuple[Any, ...]]

LINGER = 0.002
"""Seconds that a thread waits for more before it begins: it would only get in the way of the caller."""

PATIENCE = 5.0
"""Seconds that somebody who wants to see results waits for a piece of work that does not end."""


class Lane:
    """A line of work, and the thread that does it."""

    def __init__(self, name: str, most: int, *, patience: float) -> None:
        """`most`: pieces that may wait. Who leaves more does some of the work, or waits `patience`
        seconds for those who do it. Of twice as many the oldest is dropped, counted and said."""
        self.name = name
        self._most = most
        self._patience = patience
        self._begin()

    def _begin(self) -> None:
        self._left: deque[Work] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._lock = allocate_lock()
        self._owner = 0
        self._running = False
        self._rung = True  # nobody is there to hear it
        self.immediate = False
        """Do it at once: at the end of a process there is no later, and a forked one may end any time
        by `os._exit`, which asks nobody."""

    def watch(self) -> None:
        """Have a thread do what is left; in each process anew, where calls begin."""
        if not self._running:
            self._running = True
            start_new_thread(self._work, (self._left, self._bell))
            self._ring()

    def later(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have this done. Never raises, never waits."""
        self._left.append((function, arguments))
        if self.immediate and self._help():
            return
        if not self._rung:
            self._ring()
        elif len(self._left) > self._most and not self._help() and len(self._left) > 2 * self._most:
            self._drop()

    def _ring(self) -> None:
        self._rung = True
        self._bell.put(None)

    def finish(self) -> None:
        """Do now all that was left until now (or leave it, if a piece before it does not end)."""
        with self.alone():
            pass

    @contextmanager
    def alone(self) -> Iterator[None]:
        """After all that was left until now, and while nothing else of the lane is done."""
        if self._owner == get_ident() or collecting():
            yield  # within a piece of the work itself
            return
        if not self._lock.acquire(timeout=PATIENCE):
            guard.count(f"backlog.{self.name}")
            logger.warning("otel-llm-usage: %s are held up; what is shown may lack some", self.name)
            yield
            return
        try:
            self._owner = get_ident()
            self._do(self._left)
            yield
        finally:
            self._owner = 0
            self._lock.release()

    def _help(self) -> bool:
        """Do what is left here and now, if that can be."""
        if self._owner == get_ident() or collecting():
            return False
        patience = PATIENCE if self.immediate else self._patience
        if not self._lock.acquire(timeout=patience):
            return False
        try:
            self._owner = get_ident()
            self._do(self._left)
        finally:
            self._owner = 0
            self._lock.release()
        return True

    def _drop(self) -> None:
        try:
            self._left.popleft()
        except IndexError:
            return
        if guard.errors[f"backlog.{self.name}"] == 0:
            logger.error(
                "otel-llm-usage drops the oldest of %d %s: whoever takes them is too slow, or hangs. "
                "Further ones are only counted (llm_instrumentation_errors_total).",
                len(self._left),
                self.name,
            )
        guard.count(f"backlog.{self.name}")

    def _do(self, left: "deque[Work]") -> None:
        while left:
            try:
                function, arguments = left.popleft()
            except IndexError:
                return
            guard.alone(self.name, function, *arguments)

    def _work(self, left: "deque[Work]", bell: "SimpleQueue[None]") -> None:
        while True:
            bell.get()
            sleep(LINGER)
            self._rung = False  # what is left from here on rings again
            with self._lock:
                self._owner = get_ident()
                self._do(left)
                self._owner = 0


counting = Lane("calls", 10_000, patience=0.05)
"""Reading what was answered, pricing and counting it: ours, and quick."""

telling = Lane("records", 100_000, patience=0.0)
"""Handing records to sinks, which may be slow."""

_collecting: set[int] = set()
"""Threads that are inside a collection."""


def watch() -> None:
    """Be ready for what is left; in each process anew, where calls begin."""
    if _on_collection not in gc.callbacks:
        gc.callbacks.append(_on_collection)
    counting.watch()
    telling.watch()


def collecting() -> bool:
    """Whether this thread is inside a garbage collection, where nothing may wait for a lock."""
    return bool(_collecting) and get_ident() in _collecting


def finish() -> None:
    """See the results of all calls that have ended until now."""
    counting.finish()
    telling.finish()


def close() -> None:
    """The process ends: do what is left, and what is left from now on at once."""
    for lane in (counting, telling):
        lane.immediate = True
    finish()


def _on_collection(phase: str, info: Mapping[str, Any]) -> None:
    if phase == "start":
        _collecting.add(get_ident())
    else:
        _collecting.discard(get_ident())


_held = False
"""Whether the counting stands still for a fork."""


def _before_fork() -> None:
    """A child is to find nothing half counted; but a fork does not wait for ever."""
    global _held
    _held = counting._owner != get_ident() and counting._lock.acquire(timeout=1.0)


def _after_fork_in_parent() -> None:
    global _held
    if _held:
        _held = False
        counting._lock.release()


def _after_fork_in_child() -> None:
    """What was left in the parent, its own threads do."""
    global _held
    _held = False
    for lane in (counting, telling):
        lane._begin()
        lane.immediate = True
    _collecting.clear()


forks.around(before=_before_fork, parent=_after_fork_in_parent, child=_after_fork_in_child)
