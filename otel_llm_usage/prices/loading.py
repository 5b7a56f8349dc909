"""The one lock under which prices are loaded; a fork waits until nobody holds it.

Loading imports modules, and a module that is half imported when the process forks can never be
imported in the child.
"""

import threading

from .. import forks

lock = threading.RLock()

_PATIENCE = 5.0
"""Seconds that a fork may have to wait."""
_held = False


def _before_fork() -> None:
    global _held
    _held = lock.acquire(timeout=_PATIENCE)


def _after_fork() -> None:
    if _held:
        lock.release()


def _after_fork_in_child() -> None:
    global lock
    lock = threading.RLock()


forks.around(before=_before_fork, parent=_after_fork, child=_after_fork_in_child)
