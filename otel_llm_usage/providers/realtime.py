"""What connections that stay open bill: realtime responses, transcriptions, sessions by the second."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from ..records import NOTHING, Request, Usage
from .hosts import locate, overridden, path_of
from .openai import OpenAIReader, TranscriptionReader
from .reading import error_type, note_once
from .requests import hints_of
from .values import parsed, quantity, word

SESSION_MODEL = "session_model"
"""The hint that holds the model which the session says it has: its responses do not repeat it."""

COUNTED_BEFORE = "counted_seconds"
"""The hint that holds the seconds of a session that another record has already."""

_OPERATIONS: Mapping[str, str] = {
    "realtime": "chat",
    "responses": "chat",
    "realtime.transcription": "generate_content",
    "realtime.translation": "generate_content",
    "live.session": "generate_content",
    "decisions": "generate_content",
    "live": "generate_content",
}


class Line(NamedTuple):
    """Where a connection goes, and what its URL asks for."""

    origin: str
    """Host and port, as they are told: sessions of two hosts may have one name."""
    url: str
    """As of HTTP: `https://api.openai.com/v1/realtime?model=gpt-realtime`; empty if not known."""
    model: str | None
    client: str
    """What the URL says of the client that was used; see `hosts.locate`."""
    joined: str | None
    """The call or session that exists already and that others may listen to as well."""


def line(url: str) -> Line:
    """What the URL of one of OpenAI's websockets says."""
    try:
        parts = urlsplit(url)
        asked = parse_qs(parts.query)
    except ValueError:
        return Line("", "", None, "", None)
    deployment = _first(asked, "deployment")
    place = parts.path.rstrip("/").split("/")
    attached = place[-2] if len(place) > 1 and place[-1] == "attach" else None
    return Line(
        parts.netloc,
        url,
        deployment or _first(asked, "model"),
        "AzureOpenAI" if deployment or _first(asked, "api-version") else "",
        attached or _first(asked, "call_id"),
    )


def _first(asked: Mapping[str, list[str]], key: str) -> str | None:
    return asked[key][0] if asked.get(key) else None


def connected(
    sdk: str,
    url: str,
    *,
    endpoint: str,
    model: str | None,
    client: str = "",
    region: str | None = None,
    stream: bool = True,
    hints: Mapping[str, Any] = NOTHING,
    tools: Any = None,
    hosts: Mapping[str, str] | None = None,
) -> Request:
    """What is asked for over an open connection. `url` is that of the connection."""
    place = overridden(hosts, locate(sdk, client, url, path_of(url)))
    if tools:
        hints = {**hints, **hints_of(endpoint, {"tools": tools})}
    return Request(
        place.host.provider,
        place.host.vendor,
        place.host.platform,
        _OPERATIONS[endpoint],
        endpoint,
        model,
        stream,
        place.address,
        place.port,
        None,
        region,
        hints,
    )


class RealtimeReader(OpenAIReader):
    """One response of a realtime session: its usage is what is billed, whatever became of it."""

    __slots__ = ()

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.model = word(request.hints.get(SESSION_MODEL))

    def event(self, data: bytes | str, name: str | None = None) -> None:
        """The event with the response in it: the first one, or `response.done`."""
        event = parsed(data)
        response = event.get("response") if isinstance(event, Mapping) else None
        if isinstance(response, Mapping):
            self.answer(response)

    def answer(self, answer: Mapping[str, Any]) -> None:
        """The response as it is at this moment."""
        self.response_id = word(answer.get("id")) or self.response_id
        status = word(answer.get("status"))
        if status in (None, "in_progress"):
            return
        self.complete = True
        details = answer.get("status_details")
        told: Mapping[str, Any] = details if isinstance(details, Mapping) else {}
        self.finish_reasons = (word(told.get("reason")) or status or "",)
        self.count_usage(answer.get("usage"))
        if status == "failed":
            self.failed = error_type(told.get("error")) if told.get("error") else "response.failed"
            self.billed = self.usage is not None


class RealtimeTranscriptionReader(TranscriptionReader):
    """The transcription of what a user said in a session: another model, with a bill of its own."""

    __slots__ = ()

    def event(self, data: bytes | str, name: str | None = None) -> None:
        """The event that has the usage, or says that there is none."""
        event = parsed(data)
        if isinstance(event, Mapping):
            self.complete = True
            self.response_id = word(event.get("item_id"))
            self.answer(event)


class SessionReader(OpenAIReader):
    """A session that is billed by the second: each event tells the total until then."""

    __slots__ = ()

    def event(self, data: bytes | str, name: str | None = None) -> None:
        """An event with the session, its usage, or both."""
        event = parsed(data)
        if not isinstance(event, Mapping):
            return
        session, raw = event.get("session"), event.get("usage")
        if isinstance(session, Mapping):
            self.model = word(session.get("model")) or self.model
            self.response_id = word(session.get("id")) or self.response_id
        if isinstance(raw, Mapping):
            self._seconds(raw.get("seconds"))
        elif raw is not None:
            note_once(self.notes, "bad_usage:usage")
        if event.get("type") == "session.closed":
            self.complete = True
            reason = word(event.get("reason"))
            self.finish_reasons = (reason,) if reason else ()

    def _seconds(self, said: Any) -> None:
        total = quantity(said)
        if total is None:
            note_once(self.notes, "bad_usage:seconds")
            return
        before = self.request.hints.get(COUNTED_BEFORE, 0)
        if isinstance(before, int | Decimal):
            self.usage = Usage()
            self.units["audio_seconds"] = max(total - before, 0)
            note_once(self.notes, "cumulative:audio_seconds")
