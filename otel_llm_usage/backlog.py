"""What is done after a call, by threads of ours: nobody who makes calls waits for it.

Leaving work is one step that needs no lock, so it may be done anywhere: also by a finaliser, in the
middle of a garbage collection that interrupted somebody who holds locks of his own. Work of one lane
is done in the order in which it was left, one piece at a time, by the lane's thread; only where there is
none, or too much, by whoever leaves it.
"""

import gc
import logging
from _thread import allocate_lock, get_ident, start_new_thread
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any

# these are taken when this module is imported: what gevent puts in their place later would not go
# together with the thread that waits here
from . import forks, guard

logger = logging.getLogger("otel_llm_usage")

Work = tuple[Callable[..., object], tuple[Any, ...]]

LINGER = 0.05
"""Seconds between two looks of a thread at what was left: each look gets in the way of the callers, and
costs less for each piece the more there are."""

_QUIET = 20
"""Looks at nothing, after which a thread sleeps until the bell rings: ringing it costs a caller more than
all the rest."""

PATIENCE = 5.0
"""Seconds that somebody who wants to see results waits for a piece of work that does not end."""


class Lane:
    """A line of work, and the thread that does it."""

    def __init__(self, name: str, many: int, most: int, *, patience: float) -> None:
        """`many`: pieces after which whoever leaves one more does some of the work, if nobody does: where
        threads compute without a pause, ours gets no turn. `most`: pieces after which he waits `patience`
        seconds for those who do it. Of ten times as many the oldest is dropped, counted and said."""
        self.name = name
        self._many = many
        self._most = most
        self._patience = patience
        self._begin()

    def _begin(self) -> None:
        self._left: deque[Work] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._lock = allocate_lock()
        self._owner = 0
        self.running = False
        """Whether its thread is there."""
        self._rung = True  # nobody is there to hear it
        self.immediate = False
        """Do it at once: at the end of a process there is no later, and a forked one may end any time
        by `os._exit`, which asks nobody."""

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """In the block, whoever leaves work sees it done before he goes on."""
        before = self.immediate, self._patience
        self.immediate, self._patience = True, PATIENCE
        try:
            yield
        finally:
            self.immediate, self._patience = before

    def watch(self) -> None:
        """Have a thread do what is left; in each process anew, where calls begin."""
        if not self.running:
            start_new_thread(self._work, (self._left, self._bell, self._lock))
            self.running = True
            self._ring()

    def later(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have this done. Never raises, and waits only where too much is waiting already."""
        left = self._left
        left.append((function, arguments))
        if self.immediate and self._help(self._patience, _PORTION):
            return
        if not self._rung:
            self._ring()
        elif len(left) > self._many:
            self._crowded(len(left))

    def _ring(self) -> None:
        self._rung = True
        self._bell.put(None)

    def _crowded(self, waiting: int) -> None:
        patience = self._patience if waiting > self._most else 0.0
        if not self._help(patience, _PORTION) and waiting > 10 * self._most:
            self._drop()

    def drain(self) -> None:
        """See everything done, also what pieces leave for later, as long as that goes on."""
        while self.finish() and self._left:
            pass

    def finish(self) -> bool:
        """See what was left until now done. False if that cannot be, or not within some seconds."""
        if self._inside():
            return False
        if not self.running or self.immediate:
            return self._help(PATIENCE, len(self._left))
        done = allocate_lock()
        done.acquire()
        self._left.append((done.release, ()))
        self._ring()  # now, not at the next look
        if done.acquire(timeout=PATIENCE):
            return True
        self._held_up()
        return False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """After all that was left until now, and while nothing else of the lane is done."""
        self.finish()
        if self._inside():
            yield
            return
        lock = self._lock
        if not lock.acquire(timeout=PATIENCE):
            self._held_up()
            yield
            return
        try:
            self._owner = get_ident()
            yield
        finally:
            self._owner = 0
            lock.release()

    def _inside(self) -> bool:
        """Whether this is within a piece of the work itself, or a collection: nothing can be waited for."""
        return self._owner == get_ident() or collecting()

    def _held_up(self) -> None:
        guard.count(f"backlog.{self.name}")
        logger.warning("otel-llm-usage: %s are held up; what is shown may lack some", self.name)

    def _help(self, patience: float, most: int) -> bool:
        """Do some of what is left here and now, if that can be."""
        if self._inside():
            return False
        lock = self._lock
        if not lock.acquire(timeout=patience):
            return False
        try:
            self._owner = get_ident()
            # what interrupts the caller is his
            self._do(self._left, most, guard.call)
        finally:
            self._owner = 0
            lock.release()
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

    def _do(self, left: "deque[Work]", most: int, run: Callable[..., object]) -> None:
        for _ in range(most):
            try:
                function, arguments = left.popleft()
            except IndexError:
                return
            run(self.name, function, *arguments)
            if left is not self._left:
                return  # we are in a child that was forked meanwhile: the rest is the parent's

    def _work(self, left: "deque[Work]", bell: "SimpleQueue[None]", lock: Any) -> None:
        while True:
            bell.get()
            quiet = 0
            while quiet < _QUIET:
                with suppress(Empty):
                    bell.get(timeout=LINGER)
                quiet += 1
                while left:
                    quiet = 0
                    # in portions: somebody may want to look
                    with lock:
                        self._owner = get_ident()
                        self._do(left, _PORTION, guard.alone)
                        self._owner = 0
            self._rung = False  # what is left from here on rings again
            if left:
                self._ring()


_PORTION = 100

counting = Lane("calls", 200, 1_000, patience=0.05)
"""Reading what was answered, pricing and counting it: ours, and quick."""

telling = Lane("records", 10_000, 10_000, patience=0.0)
"""Handing records to sinks, which may be slow."""

_collecting: set[int] = set()
"""Threads that are inside a collection."""


def watch() -> None:
    """Be ready for what is left; in each process anew, where calls begin."""
    if _on_collection not in gc.callbacks:
        gc.callbacks.append(_on_collection)
    for lane in (counting, telling):
        lane.watch()


def collecting() -> bool:
    """Whether this thread is inside a garbage collection, where nothing may wait for a lock."""
    return bool(_collecting) and get_ident() in _collecting


def finish() -> None:
    """See the results of all calls that have ended until now."""
    counting.drain()
    telling.drain()


def close() -> None:
    """The process ends: do what is left, and what is left from now on at once."""
    finish()
    for lane in (counting, telling):
        lane.immediate = True
    finish()


def _on_collection(phase: str, info: Mapping[str, Any]) -> None:
    if phase == "start":
        _collecting.add(get_ident())
    else:
        _collecting.discard(get_ident())


_held_by = 0
"""The thread for whose fork the counting stands still."""


def _before_fork() -> None:
    """A child is to find nothing half counted; but a fork does not wait for ever."""
    global _held_by
    if counting._owner != get_ident() and counting._lock.acquire(timeout=1.0):
        _held_by = get_ident()


def _after_fork_in_parent() -> None:
    global _held_by
    if _held_by == get_ident():
        _held_by = 0
        counting._lock.release()


def _after_fork_in_child() -> None:
    """What was left in the parent, its own threads do."""
    global _held_by
    _held_by = 0
    for lane in (counting, telling):
        lane._begin()
    counting.immediate = True
    _collecting.clear()


forks.around(before=_before_fork, parent=_after_fork_in_parent, child=_after_fork_in_child)
