"""What a finaliser leaves for later: sinks never run inside a garbage collection.

The collector may run in the middle of anything, also of a sink that holds a lock of its own. What
it ends (a forgotten stream) is therefore settled by a thread that does nothing else.
"""

import gc
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any

from . import forks, guard

Work = Callable[[], None]

_PATIENCE = 5.0

_left: "SimpleQueue[Work]" = SimpleQueue()  # whose `put` may interrupt itself
_thread: threading.Thread | None = None
_lock = threading.Lock()
_collecting: set[int] = set()
"""Threads that are inside a collection."""


def watch() -> None:
    """Be ready for what finalisers leave; in each process anew, where calls begin."""
    global _thread
    with _lock:
        if _on_collection not in gc.callbacks:
            gc.callbacks.append(_on_collection)
        if _thread is None:
            _thread = threading.Thread(
                target=_work, args=(_left,), name="otel-llm-usage-finalisers", daemon=True
            )
            _thread.start()


def collecting() -> bool:
    """Whether this thread is inside a collection, where nothing may wait for a lock."""
    return bool(_collecting) and threading.get_ident() in _collecting


def later(work: Work) -> None:
    """Have this done by the thread. The one thing that a finaliser may do."""
    _left.put(work)


def finish() -> None:
    """Wait until all that was left until now is done (for 5 s: nobody is held up for ever)."""
    if _thread is None or threading.current_thread() is _thread or collecting():
        return
    done = threading.Event()
    _left.put(done.set)
    done.wait(_PATIENCE)


def _work(left: "SimpleQueue[Work]") -> None:
    while True:
        guard.call("finalisers", left.get())


def _on_collection(phase: str, info: Mapping[str, Any]) -> None:
    if phase == "start":
        _collecting.add(threading.get_ident())
    else:
        _collecting.discard(threading.get_ident())


@forks.in_child
def _after_fork() -> None:
    """What was left in the parent, its own thread does."""
    global _left, _thread, _lock
    _left, _thread, _lock = SimpleQueue(), None, threading.Lock()
    _collecting.clear()
