"""The REST API over a ledger, and its live page: on a port of its own, or inside an ASGI application."""

from ..errors import MissingExtra

try:
    from .mounting import app, routes
    from .serving import serve, token_in
except ImportError as error:
    if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "anyio"):
        raise
    raise MissingExtra("the API", "server") from None

__all__ = ["app", "routes", "serve", "token_in"]
