"""The stand-in as a command: it says how to reach it, and serves until it is stopped."""

import signal
import sys
import threading
from collections.abc import Mapping
from types import FrameType
from typing import TextIO

from ..errors import ConfigurationError
from ..records import NOTHING
from .server import StandIn


def serve(
    host: str = "127.0.0.1",
    port: int = 8129,
    seed: int = 0,
    *,
    deployments: Mapping[str, str] = NOTHING,
    out: TextIO | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; print what to export before, and what was billed after.

    `ConfigurationError` where the port can't be opened. No request is kept. Must be called in the main thread.
    """
    out = sys.stdout if out is None else out
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    try:
        opened = StandIn(host, port, seed, keep=0, deployments=deployments)
    except OSError as error:
        raise ConfigurationError(
            f"the stand-in can't be served on {host}, port {port}: {error.strerror or error}. "
            "Choose another port, or 0 for any free one"
        ) from None
    with opened as standin:
        before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            exports = (f"export {name}={value}\n" for name, value in standin.environment().items())
            out.write(f"# stand-in provider on {standin.url}\n{''.join(exports)}")
            out.flush()
            stopped.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        ledger = standin.ledger
        out.write(f"# billed: {len(ledger)} answers, {ledger.usd()} USD, {ledger.usage()}\n")
        out.flush()
