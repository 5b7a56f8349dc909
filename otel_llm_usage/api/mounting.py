"""The API as an ASGI application, and as routes for one."""

from http import HTTPStatus
from typing import Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import page
from .endpoints import OPERATIONS
from .house import Description, Events, File, House, Metrics, Operations, Place, secured
from .problems import Problem


def app(ledger: Place = None, *, token: str | Literal[False]) -> Starlette:
    """The API and its page: `application.mount("/usage", app("usage.db", token="…"))`.

    `ledger`: a `Ledger`, or where one is; if left out, that of the running runtime at each request.
    `token`: the bearer token that whoever asks must present, or `False` where your application decides
    who may ask.
    """
    return built(House(ledger, token))


def routes(ledger: Place = None, *, token: str | Literal[False]) -> list[Route]:
    """The same as routes for Starlette: `Starlette(routes=[Mount("/usage", routes=routes(...))])`."""
    return _routes(House(ledger, token))


def built(house: House) -> Starlette:
    """The application of a house."""
    made = Starlette(routes=_routes(house), exception_handlers={HTTPException: _missing})
    made.router.redirect_slashes = False
    return made


def _routes(house: House) -> list[Route]:
    return [
        *(Route(path, Operations(house, path, one)) for path, one in OPERATIONS.items()),
        *(Route(path, File(house, *file)) for path, file in page.FILES.items()),
        Route("/openapi.json", Description(house)),
        Route("/metrics", Metrics(house)),
        Route("/events", Events(house)),
    ]


async def _missing(request: Request, error: Exception) -> Response:
    problem = Problem(HTTPStatus.NOT_FOUND, "there is nothing here: see openapi.json")
    return secured(problem.response())
