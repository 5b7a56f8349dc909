"""Who may come in, and what becomes of a request: checks around each endpoint, and its answer."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Literal

import anyio.to_thread
from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from .. import guard
from ..errors import ConfigurationError
from ..ledger import BadQuestion, DatabaseError, Ledger, Question, Reports
from ..prices import Catalogue
from ..runtime import catalogue, current
from ..server import Endpoint, bears
from ..settings import check_token, load
from . import openapi, page
from .endpoints import OPEN, Asked, Operation
from .live import News
from .parameters import checked, read
from .problems import Problem, away, bad

LARGEST = 4 * 1024 * 1024
"""Bytes of a body."""

_AT_ONCE = 4
"""Questions that the ledger is asked at once, so that it has room for those who write."""

_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Place = Ledger | str | os.PathLike[str] | None


class House:
    """What the endpoints share: the ledger, and who may ask."""

    def __init__(
        self, ledger: Place, token: str | Literal[False], hosts: frozenset[str] | None = None
    ) -> None:
        """`token`: what everybody must present; `hosts`: by which names the server may be called."""
        if token is not False:
            if not isinstance(token, str):
                raise TypeError(
                    f"token={token!r}: say a bearer token, or False where your application decides "
                    "who may ask"
                )
            check_token("token", token)
        self.token = token or None
        self._hosts = hosts
        self._ledger = Ledger(ledger) if isinstance(ledger, str | os.PathLike) else ledger
        self._catalogue: Catalogue | None = None
        self._threads: CapacityLimiter | None = None
        self.news = News(self._look)
        self.metrics = Endpoint(token=self.token)

    def ledger(self) -> Ledger:
        """The one that was given, else that of the running runtime."""
        if self._ledger is not None:
            return self._ledger
        runtime = current()
        if runtime is None or runtime.ledger is None:
            raise away("there is no ledger: call instrument(ledger=...), or give one to the API")
        ledger: Ledger = runtime.ledger
        return ledger

    def catalogue(self) -> Catalogue:
        """The prices of the running runtime, else those that the settings name."""
        runtime = current()
        if runtime is not None:
            return runtime.prices.catalogue
        if self._catalogue is None:
            self._catalogue = catalogue(load({}))
        return self._catalogue

    def admit(self, request: Request) -> None:
        """A `Problem` unless the server may be called by this name."""
        if self._hosts is None:
            return
        host = request.headers.get("host", "").lower()
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name not in self._hosts:
            raise Problem(
                HTTPStatus.MISDIRECTED_REQUEST,
                "without a token only requests to this machine's own name are answered: open "
                "http://127.0.0.1, or set a token",
            )

    def know(self, request: Request) -> None:
        """A `Problem` unless who asks presents the token."""
        given = request.headers.get("authorization", "")
        if self.token is not None and not bears(given, self.token):
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "a bearer token is needed: Authorization: Bearer …",
                {"WWW-Authenticate": 'Bearer realm="otel-llm-usage"'},
            )

    async def in_thread(self, work: Callable[[], Response]) -> Response:
        """What may wait for the ledger, off the event loop; every fault is answered."""
        if self._threads is None:
            self._threads = CapacityLimiter(_AT_ONCE)
        answer = await anyio.to_thread.run_sync(
            lambda: guard.call("api", _answered, work), limiter=self._threads
        )
        return answer or _failed().response()

    async def _look(self) -> dict[str, Any] | None:
        """What has happened within a day, from the sums alone; `None` if the ledger is away."""
        now = datetime.now(UTC)
        # whole slots of the sums: no record is read
        slot = now.replace(minute=now.minute // 30 * 30, second=0, microsecond=0)
        since = slot - timedelta(days=1)
        found: list[dict[str, Any]] = []

        def look() -> Response:
            report = Reports(self.ledger()).report(Question(since))
            told = report.to_dict()["total"]
            found.append({"calls": told["calls"], "total_tokens": told["total_tokens"]})
            found[0] |= {"known_cost_usd": told["known_cost_usd"], "since": since.isoformat()}
            return Response()

        await self.in_thread(look)
        return found[0] if found else None


def _failed() -> Problem:
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the API failed: see the log of the server")


def _answered(work: Callable[[], Response]) -> Response:
    try:
        return work()
    except Problem as problem:
        return problem.response()
    except BadQuestion as error:
        return bad(str(error)).response()
    except ConfigurationError as error:
        return away(str(error)).response()
    except DatabaseError as error:
        guard.failed("api.ledger", error)
        return away("the ledger's database does not answer: see the log of the server").response()


class Door:
    """Answers one path: an ASGI application."""

    methods: tuple[str, ...] = ("GET",)
    guarded = True
    """Whether the token is needed."""

    def __init__(self, house: House) -> None:
        self.house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            self.house.admit(request)
            if self.guarded:
                self.house.know(request)
            method = "GET" if request.method == "HEAD" else request.method
            if method not in self.methods:
                raise not_allowed(self.methods)
            response = await self.answer(request, method)
        except Problem as problem:
            response = problem.response()
        secured(response)
        if request.method == "HEAD":
            response.body = b""
        await response(scope, receive, send)

    async def answer(self, request: Request, method: str) -> Response:
        """The answer to a request that may be made."""
        raise NotImplementedError


def secured(response: Response) -> Response:
    """The answer, with what browsers are told of it."""
    for name, value in _SECURITY.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def not_allowed(methods: tuple[str, ...]) -> Problem:
    """Another method was meant."""
    allowed = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
    return Problem(HTTPStatus.METHOD_NOT_ALLOWED, f"this path takes {allowed}", {"Allow": allowed})


def tagged(request: Request, body: bytes, media: str) -> Response:
    """An answer that whoever has it already need not load again."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    known = [
        one.strip().removeprefix("W/")
        for one in request.headers.get("if-none-match", "").split(",")
    ]
    if tag in known or known == ["*"]:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, headers=headers, media_type=media)


def _json(said: Any) -> bytes:
    # half of a pair of surrogates has no UTF-8
    return json.dumps(said, ensure_ascii=False).encode("utf-8", "replace")


class Operations(Door):
    """What the ledger answers."""

    def __init__(self, house: House, path: str, operations: Mapping[str, Operation]) -> None:
        super().__init__(house)
        self._operations = operations
        self.methods = tuple(operations)
        self.guarded = path not in OPEN

    async def answer(self, request: Request, method: str) -> Response:
        operation = self._operations[method]
        query = read(operation.query, request.query_params.multi_items())
        body = None if operation.body is None else await _body(request)
        asked = Asked(
            self.house.ledger,
            self.house.catalogue,
            request.path_params,
            query,
            {} if body is None else checked(operation.body or (), body),
        )
        if "" in request.path_params.values():
            raise Problem(HTTPStatus.NOT_FOUND, "a name is missing in the path")

        def work() -> Response:
            said = _json(operation.answer(asked))
            if method == "GET":
                return tagged(request, said, "application/json")
            return Response(said, operation.status.value, media_type="application/json")

        return await self.house.in_thread(work)


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent; no other kind, for a page of another site could send that."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "send a JSON object, with Content-Type: application/json",
        )
    read_ = bytearray()
    async for part in request.stream():
        read_ += part
        if len(read_) > LARGEST:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {LARGEST} bytes"
            )
    try:
        said = json.loads(read_.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise bad("the body is no JSON: send an object, such as {}") from None
    if not isinstance(said, dict):
        raise bad("the body is no JSON object: send one, such as {}")
    return said


def _no_number(word: str) -> Any:
    raise ValueError(word)


class File(Door):
    """A file of the page. There is nothing of anybody in it, so that it needs no token."""

    guarded = False

    def __init__(self, house: House, file: str, media: str) -> None:
        super().__init__(house)
        self._file = file
        self._media = media

    async def answer(self, request: Request, method: str) -> Response:
        return tagged(request, page.content(self._file), self._media)


class Description(Door):
    """What the API is, for programs."""

    guarded = False

    async def answer(self, request: Request, method: str) -> Response:
        root = request.scope.get("root_path", "")
        document = openapi.document(root, token=self.house.token is not None)
        return tagged(request, _json(document), "application/json")


class Metrics(Door):
    """The metrics of this process."""

    async def answer(self, request: Request, method: str) -> Response:
        def work() -> Response:
            found = self.house.metrics("GET", "/metrics", dict(request.headers))
            if found.status is not HTTPStatus.OK:
                raise Problem(found.status, found.body.decode().strip(), dict(found.headers[1:]))
            return Response(found.body, headers=dict(found.headers))

        return await self.house.in_thread(work)


class Events(Door):
    """Server-sent events: what has happened within a day, whenever that changes."""

    async def answer(self, request: Request, method: str) -> Response:
        if self.house.news.full:
            raise away("too many listen already")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        if request.method == "HEAD":
            return Response(headers=headers, media_type="text/event-stream")
        return StreamingResponse(
            self.house.news.events(), headers=headers, media_type="text/event-stream"
        )
