"""Asking the interfaces of providers: pages, patience, and errors that say what to do."""

import email.utils
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from ..errors import ConfigurationError, MissingExtra, StatementError

ATTEMPTS = 5
PAUSE = 1.0
"""Seconds until the second attempt; each further one waits twice as long."""
_LONGEST = 60.0
"""Seconds that we wait at most, whatever the provider asks for."""
_TIMEOUT = 30.0
_MOST_PAGES = 10_000

Params = Sequence[tuple[str, str | int]]


class Api(NamedTuple):
    """An interface of a provider's that needs an administrator's key."""

    base_url: str
    headers: Mapping[str, str]
    """With the key, which is never shown."""
    key_name: str
    """The variable that holds the key."""

    def __repr__(self) -> str:
        return f"<Api {self.base_url}>"

    def pages(self, path: str, params: Params) -> Iterator[Mapping[str, Any]]:
        """Every page that there is; `StatementError` if one can't be had, `MissingExtra` without HTTP."""
        try:
            # it takes a tenth of a second, and only this command needs it
            import httpx  # noqa: PLC0415
        except ImportError:
            raise MissingExtra("reconciling with a provider", "reconcile") from None
        cursor, seen = None, set()
        with httpx.Client(headers=self.headers, timeout=_TIMEOUT) as client:
            for _ in range(_MOST_PAGES):
                more = [*params, ("page", cursor)] if cursor else params
                page = self._page(client, httpx, path, more)
                yield page
                if not page.get("has_more"):
                    return
                cursor = page.get("next_page")
                if not isinstance(cursor, str) or not cursor or cursor in seen:
                    raise StatementError(f"{path}: there is more, but it is not said where")
                seen.add(cursor)
        raise StatementError(f"{path}: there are more than {_MOST_PAGES} pages")

    def _page(self, client: Any, httpx: Any, path: str, params: Params) -> Mapping[str, Any]:
        url = f"{self.base_url.rstrip('/')}{path}"
        pause, last = PAUSE, ""
        for attempt in range(ATTEMPTS):
            wait = pause * 2**attempt
            try:
                answer = client.get(url, params=params)
                if answer.status_code == 200:
                    return _content(answer.content)
                self._judge(answer, path)
                last = f"status {answer.status_code}"
                wait = _asked_to_wait(answer.headers.get("retry-after"), wait)
            except (httpx.HTTPError, ValueError) as error:
                last = type(error).__name__ if isinstance(error, httpx.HTTPError) else str(error)
            except httpx.InvalidURL:
                raise ConfigurationError(f"{self.base_url!r} is no URL") from None
            if attempt < ATTEMPTS - 1:
                time.sleep(min(wait, _LONGEST))
        raise StatementError(
            f"{path}: no answer after {ATTEMPTS} attempts ({last}); try again later"
        )

    def _judge(self, answer: Any, path: str) -> None:
        """Raise where asking again would not help. Messages of providers may quote the key."""
        status = answer.status_code
        if status in (401, 403):
            raise StatementError(
                f"{path}: the provider does not accept the key (status {status}): {self.key_name} has "
                "to be an administrator's key of the organisation, not one for calling models"
            )
        if status != 429 and status < 500:
            raise StatementError(f"{path}: the provider refuses the question (status {status})")


def _content(body: bytes) -> Mapping[str, Any]:
    try:
        page = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise ValueError("the answer is no JSON") from None
    if not isinstance(page, dict) or not isinstance(page.get("data"), list):
        raise ValueError("the answer is no page")
    return page


def _asked_to_wait(said: str | None, else_: float) -> float:
    if not said:
        return else_
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError):
        return else_


def results(page: Mapping[str, Any], path: str) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Each result of a page, with its bucket; `StatementError` where it has another shape."""
    for bucket in page["data"]:
        found = bucket.get("results") if isinstance(bucket, dict) else None
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise StatementError(f"{path}: this is not the documented shape")
        for one in found:
            yield bucket, one
