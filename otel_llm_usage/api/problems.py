"""What is said where there is no answer: problems as JSON (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

PROBLEM = "application/problem+json"


class Problem(Exception):  # noqa: N818 (as said to whoever asks)
    """There is no answer; the detail says what to do."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """What is sent."""
        said = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
        }
        body = json.dumps(said, ensure_ascii=False).encode("utf-8", "replace")
        return Response(body, self.status.value, self.headers, media_type=PROBLEM)


def bad(detail: str) -> Problem:
    """What is asked cannot be answered."""
    return Problem(HTTPStatus.BAD_REQUEST, detail)


def away(detail: str) -> Problem:
    """Nothing can be answered now."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "5"})
