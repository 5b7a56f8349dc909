"""The seams of Python's threads: what is handed to another thread is charged to whoever handed it on.

Only who pays is carried, nothing else of the context: spans belong where the application's own
instrumentation puts them.
"""

import threading
from collections.abc import Callable
from typing import Any

from .. import guard, scope
from .engine import Seam

SDK = "python"
_POOL = "concurrent.futures.thread"


class Threads:
    """The wrappers for thread pools and threads. An event loop's executors are thread pools."""

    def seams(self) -> list[Seam]:
        """Where the wrappers go."""
        return [
            Seam(SDK, _POOL, "ThreadPoolExecutor.submit", self.submit),
            Seam(SDK, "threading", "Thread.start", self.start),
        ]

    def submit(
        self, wrapped: Callable[..., Any], pool: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """Work for a pool."""
        payer = guard.call("threads", scope.carried)
        if payer is None or not args:
            return wrapped(*args, **kwargs)
        function, *rest = args
        return wrapped(scope.Carried(function, payer), *rest, **kwargs)

    def start(
        self, wrapped: Callable[..., Any], thread: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """A thread of its own."""
        guard.call("threads", _carry, thread)
        return wrapped(*args, **kwargs)


def _carry(thread: threading.Thread) -> None:
    payer = scope.carried()
    target = getattr(thread, "_target", None)
    # the threads of a pool work for everybody, and it is the pool that starts them
    if payer is None or getattr(target, "__module__", None) == _POOL or "run" in vars(thread):
        return

    def run() -> None:
        del vars(thread)["run"]  # what a thread holds of itself, nobody would collect
        scope.Carried(thread.run, payer)()

    vars(thread)["run"] = run
