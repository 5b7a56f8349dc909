"""The HTTP door: `/metrics` and `/healthz`, on a port of their own or inside a WSGI or ASGI app."""

import asyncio
import errno
import gzip
import hmac
import ipaddress
import logging
import socket
import socketserver
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from . import forks, guard
from .errors import ConfigurationError
from .telemetry.metrics import refresh_all
from .telemetry.series import multiprocess

if TYPE_CHECKING:  # it needs the file locks of Unix
    from .telemetry.shared import Together

logger = logging.getLogger("otel_llm_usage")

_PATIENCE = 10.0
"""Seconds that a client may take to send its request."""

_AGAIN = 1.0
"""Seconds after which a port that was taken is tried again."""

_TRIES = 3
"""How often it is tried before it is somebody else's: a sibling needs a moment to say so."""

_NAP = 0.1
"""Seconds that closing may have to wait for the server to notice."""

Environ = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Answer(NamedTuple):
    """What is sent back."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...]
    body: bytes


def exposition(registry: CollectorRegistry | None = None) -> CollectorRegistry:
    """The registry to read for a scrape: with several processes, one that reads all their files."""
    if not multiprocess():
        return REGISTRY if registry is None else registry
    guard.call("scrape", refresh_all)
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return together


class Served(NamedTuple):
    """What is served, and to whom."""

    registry: CollectorRegistry | None = None
    token: str | None = None


_default = Served()


def by_default(registry: CollectorRegistry | None, token: str | None) -> Callable[[], None]:
    """What holds where an argument is left out, until the result is called."""
    global _default
    mine = _default = Served(registry, token)

    def end() -> None:
        global _default
        if _default is mine:
            _default = Served()

    return end


class PortInUseError(ConfigurationError):
    """Somebody else has the port: perhaps another worker of the same program."""


class Endpoint:
    """Answers requests, whatever brought them here.

    Where `registry` or `token` is left out, that of the running runtime holds at each request.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        token: str | None = None,
        paths: Iterable[str] = ("/metrics",),
    ) -> None:
        self._registry = registry
        self._token = token
        self._paths = frozenset(paths)

    @property
    def registry(self) -> CollectorRegistry | None:
        """What is served; `None` is prometheus_client's own."""
        return _default.registry if self._registry is None else self._registry

    @property
    def token(self) -> str | None:
        """What a scrape must bring."""
        return self._token or _default.token

    def __call__(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """`headers`: `accept`, `accept-encoding` and `authorization`, where they were sent."""
        path = path.rstrip("/")  # some routers add one
        if path == "/healthz":
            answer = _text(HTTPStatus.OK, "ok")
        elif path not in self._paths:
            return _text(HTTPStatus.NOT_FOUND, "there are /metrics and /healthz")
        elif not self._allowed(headers.get("authorization", "")):
            challenge = ("WWW-Authenticate", "Bearer")
            return _text(HTTPStatus.UNAUTHORIZED, "a bearer token is needed", challenge)
        else:
            answer = guard.call("scrape", self._metrics, headers) or _text(
                HTTPStatus.INTERNAL_SERVER_ERROR, "the metrics could not be collected: see the log"
            )
        if method not in ("GET", "HEAD"):
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD", ("Allow", "GET, HEAD"))
        return answer

    def _allowed(self, authorization: str) -> bool:
        token = self.token
        return token is None or bears(authorization, token)

    def _metrics(self, headers: Mapping[str, str]) -> Answer:
        encode, content_type = choose_encoder(headers.get("accept", ""))
        body = encode(exposition(self.registry))
        answer_headers = [("Content-Type", content_type), ("Vary", "Accept, Accept-Encoding")]
        if _takes_gzip(headers.get("accept-encoding", "")):
            body = gzip.compress(body, 5, mtime=0)
            answer_headers.append(("Content-Encoding", "gzip"))
        return Answer(HTTPStatus.OK, tuple(answer_headers), body)


def bears(authorization: str, token: str) -> bool:
    """Whether a header `Authorization` presents this bearer token."""
    scheme, _, given = authorization.partition(" ")
    # header bytes come as latin-1; in constant time, so that nobody can guess letter by letter
    right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), token.encode())
    return right and scheme.lower() == "bearer"


def _text(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Answer:
    plain = ("Content-Type", "text/plain; charset=utf-8")
    return Answer(status, (plain, *headers), f"{text}\n".encode())


def _takes_gzip(accepted: str) -> bool:
    for word in accepted.split(","):
        coding, _, weight = word.partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


class MetricsServer:
    """`/metrics` on a port of its own, in a daemon thread."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        """`token`: what a scrape must bring as `Authorization: Bearer`; `port`: 0 takes a free one."""
        self.host = host
        self._port = port
        self._endpoint = Endpoint(registry, token)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> "MetricsServer":
        """Open the port; `ConfigurationError` if that can't be."""
        self._server = self._bound()
        if self._endpoint.token is None and not is_loopback(self._server.server_address[0]):
            logger.warning(
                "/metrics on %s is open to everybody who reaches this machine: set metrics_token, "
                "or bind it to 127.0.0.1",
                self.host,
            )
        _open.add(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            args=(_NAP,),
            name="otel-llm-usage-metrics",
            daemon=True,
        )
        self._thread.start()
        return self

    def rehearse(self) -> None:
        """`ConfigurationError` if the port could never be opened here: that it is taken may pass."""
        with suppress(PortInUseError):
            self._bound().server_close()

    def _bound(self) -> "_Server":
        try:
            return _Server(self.host, self._port, self._endpoint)
        except (OSError, UnicodeError) as error:  # a name that can't be one is a UnicodeError
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                raise PortInUseError(
                    f"/metrics can't be served: port {self._port} of {self.host} is in use. Choose "
                    "another one (metrics_port, OTEL_LLM_USAGE_METRICS_PORT), or 0 for any free one"
                ) from None
            raise ConfigurationError(
                f"/metrics can't be served on {self.host!r}, port {self._port}: {error}. Look at "
                "metrics_host and metrics_port (OTEL_LLM_USAGE_METRICS_HOST, "
                "OTEL_LLM_USAGE_METRICS_PORT)"
            ) from None

    @property
    def port(self) -> int:
        """The port that was opened."""
        return self._port if self._server is None else int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where a scrape on this machine finds the metrics."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics"

    def close(self) -> None:
        """Close the port."""
        server, self._server = self._server, None
        if server is None:
            return
        _open.discard(self)
        server.shutdown()
        server.server_close()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _leave(self) -> None:
        """In a forked process: the port is its opener's, and nobody here serves it."""
        if self._server is not None:
            self._server.socket.close()
        self._server = self._thread = None


class SharedPort:
    """The port of an application: one of its processes opens it, and another one when that ends."""

    def __init__(self, server: Callable[[int], MetricsServer], port: int) -> None:
        """`server` makes the one for a port; `port`: 0 is any free one, and then that of the others."""
        self._make = server
        self._port = port
        self._ended = threading.Event()
        self._together: Together | None = None
        self.server: MetricsServer | None = None
        """What serves it, if this process does."""

    def open(self, together: "Together | None" = None) -> None:
        """Open it, or wait for it; `ConfigurationError` if it could never be opened."""
        self._together = together
        if together is None:
            self._open()
            return
        with together.served() as served:
            self._port = self._port or served
            self._open()

    def _open(self) -> None:
        try:
            self._start()
        except PortInUseError as error:
            # of four workers with one port, three find it taken: no reason not to work
            if self._together is None or not self._together.shared:
                self._say(error)
            self.wait()

    def _start(self) -> None:
        self.server = self._make(self._port).start()
        self._port = self.server.port
        if self._together is not None:
            self._together.serves(self._port)

    def _say(self, error: PortInUseError) -> None:
        more = "" if multiprocess() else " What this process counts is shown there when it is free."
        logger.warning("%s.%s", error, more)

    def wait(self) -> None:
        """Open it as soon as whoever has it lets go of it."""
        if self.server is None:
            threading.Thread(
                target=guard.call,
                args=("port", self._wait, self._ended),
                name="otel-llm-usage-port",
                daemon=True,
            ).start()

    def _wait(self, ended: threading.Event) -> None:
        tries = 0
        while not ended.wait(_AGAIN):
            try:
                self._start()
            except PortInUseError as error:
                tries += 1
                if tries == _TRIES and self._is_a_strangers():
                    self._say(error)
            else:
                return

    def _is_a_strangers(self) -> bool:
        if self._together is None or not self._together.shared:
            return False  # which was said at once
        with self._together.served() as served:
            return served != self._port

    def renew(self) -> None:
        """In a forked child: the parent has it, and nobody waits."""
        self._ended = threading.Event()
        self.server = None

    def close(self) -> None:
        """Leave it to others."""
        self._ended.set()
        server, self.server = self.server, None
        if server is not None:
            server.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        self.address_family, _, _, _, address = found[0]
        super().__init__((str(address[0]), port), _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            # `::` serves IPv4 as well
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # not HTTPServer's: that one asks the network for our full name
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a client of /metrics went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server_version = "otel-llm-usage"
    sys_version = ""
    timeout = _PATIENCE
    server: _Server

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.endpoint(self.command, self.path.partition("?")[0], headers)
        self.send_response(answer.status)
        for name, value in (*answer.headers, ("Content-Length", str(len(answer.body)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a scrape every few seconds is no news."""


def wsgi_app(
    registry: CollectorRegistry | None = None, token: str | None = None
) -> Callable[[Environ, Callable[..., Any]], Iterable[bytes]]:
    """`/metrics` as a WSGI application, to be mounted at `/metrics` or at the root.

    Registry and token are those of the running runtime unless they are given.
    """
    endpoint = Endpoint(registry, token, ("/metrics", ""))
    variables = {
        "accept": "HTTP_ACCEPT",
        "accept-encoding": "HTTP_ACCEPT_ENCODING",
        "authorization": "HTTP_AUTHORIZATION",
    }

    def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = {name: environ[key] for name, key in variables.items() if key in environ}
        method = environ.get("REQUEST_METHOD", "GET")
        answer = endpoint(method, environ.get("PATH_INFO", ""), headers)
        length = ("Content-Length", str(len(answer.body)))
        start_response(f"{answer.status.value} {answer.status.phrase}", [*answer.headers, length])
        return [] if method == "HEAD" else [answer.body]

    return application


def asgi_app(
    registry: CollectorRegistry | None = None, token: str | None = None
) -> Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]:
    """`/metrics` as an ASGI application, to be mounted at `/metrics` or at the root.

    Registry and token are those of the running runtime unless they are given.
    """
    endpoint = Endpoint(registry, token, ("/metrics", ""))

    async def application(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            headers = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in scope["headers"]
            }
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            # many series take a while to write down: not on the event loop
            answer = await asyncio.to_thread(endpoint, scope["method"], path, headers)
            await _send(answer, scope["method"], send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    return application


async def _live(receive: Receive, send: Send) -> None:
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def _send(answer: Answer, method: str, send: Send) -> None:
    headers = [*answer.headers, ("Content-Length", str(len(answer.body)))]
    await send(
        {
            "type": "http.response.start",
            "status": answer.status.value,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        }
    )
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})


def is_loopback(address: str | bytes | bytearray) -> bool:
    """Whether only this machine can reach this address."""
    return ipaddress.ip_address(str(address).partition("%")[0]).is_loopback


_open: "weakref.WeakSet[MetricsServer]" = weakref.WeakSet()


@forks.in_child
def _after_fork() -> None:
    for server in list(_open):
        server._leave()
    _open.clear()
