"""The API on a port of its own: `otel-llm-usage serve`."""

import socket
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import uvicorn

from ..errors import ConfigurationError
from ..ledger import Ledger
from ..server import is_loopback
from .house import House
from .mounting import built

_GRACE = 2
"""Seconds that requests may still take when the server ends; a page listens for ever."""

_OURS = ("localhost", "127.0.0.1", "[::1]")


def serve(
    ledger: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8130,
    token: str | None = None,
    say: Callable[[str], object] = print,
) -> None:
    """Serve the API and the page until a signal ends it; `port`: 0 takes a free one.

    Without a token it is served on loopback only, to requests that call it by a name of this machine.
    `ConfigurationError` where that can't be.
    """
    with _bound(host, port) as door, closing(Ledger(ledger)) as kept:
        address, port = door.getsockname()[:2]
        if token is None and not is_loopback(address):
            raise ConfigurationError(
                f"{host} can be reached by others: set a token (--token-file, or "
                "OTEL_LLM_USAGE_API_TOKEN), or serve on 127.0.0.1"
            )
        shown = f"[{address}]" if ":" in address else address
        hosts = None if token is not None else frozenset({*_OURS, shown, host.lower()})
        api = built(House(kept, token or False, hosts))
        config = uvicorn.Config(
            api,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE,
        )
        say(f"usage at http://{shown}:{port}/")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[door])


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"{host!r}, port {port}, can't be served: {error}. Look at --host and --port"
        ) from None


def token_in(file: str) -> str:
    """The token that a file holds, without the end of its line."""
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"the token file {file} can't be read: {error}") from None
