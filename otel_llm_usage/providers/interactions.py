"""Google's interactions, decisions and voices: what is asked for there, and what their answers bill."""

from collections.abc import Mapping
from typing import Any

from ..records import NOTHING, Request
from . import requests
from .gemini import InteractionsReader as _Reader
from .gemini import model_name
from .values import parsed, text, word

_ENDPOINTS = {
    "interactions": "interactions",
    "decisions": "decisions.create",
    "voices": "voices.create",
}
"""What is billed, by the last part of a path. The rest of this API is free, or runs elsewhere."""


def describe(
    method: str,
    url: str,
    body: bytes | None,
    *,
    headers: Mapping[str, str] | None = None,
    hosts: Mapping[str, str] | None = None,
) -> Request | None:
    """See `requests.describe`; here the URL is absolute, and the body is bytes."""
    place, _, last = url.partition("?")[0].rpartition("/")
    endpoint = _ENDPOINTS.get(last)
    if endpoint is None or method.upper() != "POST":
        return None
    told = parsed(body or b"")
    told = told if isinstance(told, Mapping) else NOTHING
    request = requests.describe(
        "google",
        method,
        f"{place}/interactions",  # the others are asked for in the same way
        told,
        base_url=url,
        client=client_of(url),
        headers=headers,
        hosts=hosts,
    )
    if request is None:
        return None
    hints = request.hints
    if told.get("background") is True:
        hints = {**hints, "background": True}
    return request._replace(endpoint=endpoint, model=request.model or _asked(told), hints=hints)


def client_of(url: str) -> str:
    """Whose API the client speaks, whatever its host: on Vertex the paths name a project."""
    return "vertex" if "/projects/" in url else ""


def _asked(body: Mapping[str, Any]) -> str | None:
    """Who does it, where that stands elsewhere: an agent instead of a model, or a voice's model."""
    voice = body.get("voice")
    return word(body.get("agent")) or (
        model_name(word(voice.get("model"))) if isinstance(voice, Mapping) else None
    )


class InteractionsReader(_Reader):
    """Interactions, decisions and voices: their usage has the same names."""

    __slots__ = ()

    def answer(self, answer: Mapping[str, Any]) -> None:
        """A whole interaction; one that an agent worked on names that instead of a model."""
        super().answer(answer)
        self.model = self.model or word(answer.get("agent"))

    def event(self, data: bytes | str, name: str | None = None) -> None:
        """One event. The first says which interaction it is, the last what it used."""
        if self.response_id is None and _begins(said := text(data)):
            event = parsed(said)
            begun = event.get("interaction") if isinstance(event, Mapping) else None
            if isinstance(begun, Mapping):
                self.response_id = word(begun.get("id"))
                self.model = word(begun.get("model")) or word(begun.get("agent"))
                # what runs in the background goes on without who reads its stream
                self.pending = self.request.hints.get("background") is True
                self.billed = not self.pending
                return
        super().event(data, name)


def _begins(event: str) -> bool:
    return '"interaction.created"' in event or '"interaction.start"' in event
