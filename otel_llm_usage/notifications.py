"""Alertmanager's notifications as they arrive: a webhook receiver that tells each one in words."""

import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, cast

from . import guard
from .errors import ConfigurationError

_LARGEST = 16 * 1024 * 1024
"""Bytes of a notification; more than this nobody sends in earnest."""


class Notification(NamedTuple):
    """One alert of one message."""

    time: datetime
    """When it arrived."""
    status: str
    """`firing` or `resolved`."""
    receiver: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def alert(self) -> str:
        """The alert's name."""
        return self.labels.get("alertname", "")

    def __str__(self) -> str:
        state = self.labels.get("severity", "") if self.status == "firing" else self.status
        said = [self.annotations.get(key, "") for key in ("summary", "description")]
        top = self.annotations.get("top_spenders", "").strip()
        words = [self.time.strftime("%H:%M:%S"), state.upper(), self.alert, *filter(None, said)]
        return "  ".join([*words, f"Top: {top}"] if top else words)


class Receiver:
    """Takes Alertmanager's webhooks on a port of its own."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """`port`: 0 takes a free one."""
        self.received: list[Notification] = []
        """Everything that came, in order."""
        self._told: Callable[[Notification], object] = lambda _: None
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(self._take))
        except OSError as error:
            raise ConfigurationError(
                f"notifications can't be received on {host}, port {port}: {error}"
            ) from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def start(self, tell: Callable[[Notification], object] = lambda _: None) -> "Receiver":
        """Begin to listen; `tell` is called with each notification."""
        self._told = tell
        self._thread.start()
        return self

    @property
    def url(self) -> str:
        """Where Alertmanager finds it."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/alerts"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, message: Mapping[str, Any]) -> None:
        now = datetime.now(UTC)
        for alert in message.get("alerts", ()):
            notification = Notification(
                now,
                str(alert.get("status", "")),
                str(message.get("receiver", "")),
                dict(alert.get("labels") or {}),
                dict(alert.get("annotations") or {}),
            )
            self.received.append(notification)
            guard.call("notifications", self._told, notification)


def _message(body: bytes) -> Mapping[str, Any] | None:
    try:
        message = json.loads(body)
    except ValueError:
        return None
    alerts = message.get("alerts") if isinstance(message, dict) else None
    if not isinstance(alerts, list) or not all(isinstance(alert, dict) for alert in alerts):
        return None
    return cast(dict[str, Any], message)


def _handler(take: Callable[[Mapping[str, Any]], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > _LARGEST:
                self.send_error(413)
                return
            message = _message(self.rfile.read(int(length)))
            if message is None:
                self.send_error(400, "this is no message of Alertmanager")
                return
            take(message)
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            """That it is there: for health checks."""
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok\n")

        def log_message(self, format: str, *args: Any) -> None:
            """The notifications themselves are what is told."""

    return Handler
