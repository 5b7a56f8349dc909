"""Google's interactions, decisions and voices: what is asked for there, and what their answers bill."""

import re
from collections.abc import Mapping

from ..records import Request
from . import requests
from .gemini import model_name
from .values import parsed, word

_BILLED = ("/interactions", "/decisions", "/voices")
"""The ends of the paths that are billed. The rest of this API is free, or runs elsewhere."""


def describe(
    method: str,
    url: str,
    body: bytes | None,
    *,
    headers: Mapping[str, str] | None = None,
    hosts: Mapping[str, str] | None = None,
) -> Request | None:
    """See `requests.describe`; here the URL is absolute, and the body is bytes."""
    if method.upper() != "POST" or not url.partition("?")[0].endswith(_BILLED):
        return None
    told = parsed(_without_media(body or b""))
    request = requests.describe(
        "google",
        method,
        url,
        told,
        base_url=url,
        client=client_of(url),
        headers=headers,
        hosts=hosts,
    )
    if request is None or request.model is not None or not isinstance(told, Mapping):
        return request
    voice = told.get("voice")
    model = word(voice.get("model")) if isinstance(voice, Mapping) else None
    return request._replace(model=model_name(model))


def client_of(url: str) -> str:
    """Whose API the client speaks, whatever its host: on Vertex the paths name a project."""
    return "vertex" if "/projects/" in url else ""


def _without_media(body: bytes) -> bytes:
    """A large body without the media in it, which tells nothing of the bill: it takes long to parse."""
    if len(body) < _LARGE:
        return body
    parts, at = [], 0
    while (mark := _DATA.search(body, at)) is not None:
        parts.append(body[at : mark.end()])
        at = body.find(b'"', mark.end())  # base64 has no quotes
        if at < 0:
            return body
    return b"".join((*parts, body[at:]))


_LARGE = 65536
_DATA = re.compile(rb'"data"\s*:\s*"')
