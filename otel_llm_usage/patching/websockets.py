"""The seams of OpenAI's websockets: `recv_bytes` of each kind of connection.

`recv()` and iteration call it once for each message; `parse_event` may run twice. One connection
carries many answers: a call begins with the first event of an answer and ends with its last. What is
open when the connection ends is settled as a stream that was left, or that broke.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar
from weakref import ref

from .. import guard, providers
from ..providers.values import parsed, word
from ..records import NOTHING, Request
from .connections import Conversation, Part, address, is_over, known
from .engine import Seam
from .observation import How, Meters

Wrapped = Callable[..., Any]
Acts = Mapping[bytes, Callable[[Any, bytes, Meters], None]]

_TYPE = re.compile(rb'\s*\{\s*(?:"event_id"\s*:\s*"[^"\\]*"\s*,\s*)?"type"\s*:\s*"([^"\\]*)"').match
"""Where providers put the type of an event; elsewhere it is looked for only if it may matter."""

_NOTHING_YET = b"\0"
"""What no message begins with."""

_MEMORY = 256


class _Session:
    """What several connections to one session share: an answer that all of them see is one call."""

    __slots__ = ("begun", "counting", "seconds")

    def __init__(self) -> None:
        self.begun: OrderedDict[str | None, Any] = OrderedDict()
        """The newest answers, and which connection counts each."""
        self.counting: ref[Any] | None = None
        """The connection that counts the seconds."""
        self.seconds: Any = 0
        """How many of them are counted."""

    def claim(self, answer: str | None, who: Any) -> bool:
        """Whether this answer is nobody else's; from now on it is somebody's."""
        mine = self.begun.setdefault(answer, who) is who
        if len(self.begun) > _MEMORY:
            self.begun.popitem(last=False)
        return mine


@lru_cache(maxsize=_MEMORY)
def _joined(origin: str, session: str) -> _Session:
    return _Session()


class _Socket(Conversation):
    """One connection: which answers are open on it."""

    __slots__ = ("_line", "_me", "_open", "_session", "_silent", "_usual", "dull")
    acts: ClassVar[Acts] = {}
    """What to do about which type of event; all others tell nothing of the bill."""
    skips: ClassVar[bool] = True
    """Whether a piece of an answer tells nothing but that there is one."""
    may_matter: ClassVar[Callable[[bytes], Any]]

    def __init_subclass__(cls) -> None:
        named = b"|".join(re.escape(name) for name in cls.acts)
        cls.may_matter = re.compile(rb'"(?:' + named + rb')"').search

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.dull = self._usual = _NOTHING_YET
        self._line = providers.line(address(getattr(connection, "_connection", None)))
        joined = self._line.joined
        self._session = _joined(self._line.origin, joined) if joined else _Session()
        self._me = object()
        self._open: dict[str | None, Part] = {}
        self._silent: dict[str | None, Part] = {}
        """Those of which no piece has come yet."""

    def received(self, message: Any, meters: Meters) -> None:
        """One message, as it came over the wire."""
        if message.__class__ is not bytes:
            if not isinstance(message, str):
                return
            message = message.encode("utf-8", "surrogatepass")
        if message.startswith(self._usual):
            self.piece(message)
            return
        found = _TYPE(message)
        kind = found[1] if found is not None else self._type(message)
        act = self.acts.get(kind)
        if act is not None:
            if not self.over:
                act(self, message, meters)
        elif kind.endswith(b".delta"):
            if self._open:
                self.piece(message)
            if found is not None and self.skips and not self._silent:
                self.dull = message[: found.end()]
            elif found is not None and not self.skips:
                self._usual = message[: found.end()]

    def _type(self, message: bytes) -> bytes:
        if self.__class__.may_matter(message) is None:
            return b""
        kind = _object(message).get("type")
        return kind.encode() if isinstance(kind, str) else b""

    def piece(self, message: bytes) -> None:
        """A piece of an answer that is open."""
        if self._silent:
            found = _RESPONSE_ID(message)
            part = self._silent.pop(found[1].decode(), None) if found is not None else None
            if part is not None:
                part.piece()

    def ended(self, how: How, error: BaseException | None = None) -> None:
        """The connection has ended, and with it all that was open on it."""
        while self._open:
            self._open.popitem()[1].finish(how, error)
        self._silent.clear()

    def open_one(
        self, key: str | None, meters: Meters, request: Request, *, estimated: bool = False
    ) -> Part | None:
        """A call begins, unless another connection counts this answer, or it has ended already."""
        if not self._session.claim(key, self._me):
            return None
        part = self.begin(meters, request, meters.on_abort if estimated else "ignore")
        if part is not None:
            self._open[key] = self._silent[key] = part
            self.dull = _NOTHING_YET
        return part

    def close_one(self, key: str | None) -> Part | None:
        """The call that ends now."""
        self._silent.pop(key, None)
        return self._open.pop(key, None)

    def end_one(self, key: str | None, message: bytes) -> None:
        """The call that this, its last event, ends."""
        part = self.close_one(key)
        if part is not None:
            part.event(message)
            part.finish("eof")

    def known(self, key: str | None) -> bool:
        """Whether a call was begun for this answer, here or elsewhere."""
        return key is not None and key in self._session.begun

    def request(self, meters: Meters, endpoint: str, model: str | None, **more: Any) -> Request:
        """What is asked for, here."""
        line = self._line
        return providers.connected(
            "openai",
            line.url,
            endpoint=endpoint,
            model=model,
            client=line.client,
            hosts=meters.hosts,
            **more,
        )


_RESPONSE_ID = re.compile(rb'"response_id"\s*:\s*"([^"\\]*)"').search
_ITEM_ID = re.compile(rb'"item_id"\s*:\s*"([^"\\]*)"').search
_CONTENT_INDEX = re.compile(rb'"content_index"\s*:\s*(\d+)').search


def _object(message: bytes) -> Mapping[str, Any]:
    event = parsed(message)
    return event if isinstance(event, Mapping) else NOTHING


def _part_of(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


class _Realtime(_Socket):
    """A realtime session: responses, and transcriptions by another model."""

    __slots__ = ("_model", "_transcriber")

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._model: str | None = None
        self._transcriber: str | None = None

    def _told_session(self, message: bytes, meters: Meters) -> None:
        session = _object(message).get("session")
        if not isinstance(session, Mapping):
            return
        self._model = word(session.get("model")) or self._model
        asked = _part_of(session, "audio", "input", "transcription") or session.get(
            "input_audio_transcription"
        )
        self._transcriber = word(_part_of(asked, "model"))

    def _begins(self, message: bytes, meters: Meters) -> None:
        key = word(_part_of(_object(message), "response", "id"))
        if key in self._open:
            return
        part = self._response(key, meters)
        if part is not None:
            part.event(message)

    def _response(self, key: str | None, meters: Meters) -> Part | None:
        hints = {providers.SESSION_MODEL: self._model} if self._model else NOTHING
        asked = self._line.model or self._model
        return self.open_one(key, meters, self.request(meters, "realtime", asked, hints=hints))

    def _ends(self, message: bytes, meters: Meters) -> None:
        key = word(_part_of(_object(message), "response", "id"))
        if key not in self._open and (self.known(key) or self._response(key, meters) is None):
            return
        self.end_one(key, message)

    def _transcribes(self, message: bytes, meters: Meters, *, begins: bool = True) -> str | None:
        """The key of the transcription that this is about, if its call is open now."""
        item, place = _ITEM_ID(message), _CONTENT_INDEX(message)
        key = None if item is None else f"{item[1].decode()} {place[1].decode() if place else ''}"
        if key not in self._open:
            asked = self.request(meters, "realtime.transcription", self._transcriber)
            if not begins or self.known(key) or self.open_one(key, meters, asked) is None:
                return None
        return key

    def _transcribing(self, message: bytes, meters: Meters) -> None:
        part = self._open.get(self._transcribes(message, meters))
        if part is not None:
            part.piece()

    def _transcribed(self, message: bytes, meters: Meters) -> None:
        self.end_one(self._transcribes(message, meters), message)

    def _not_transcribed(self, message: bytes, meters: Meters) -> None:
        self.end_one(self._transcribes(message, meters, begins=False), message)

    acts: ClassVar[Acts] = {
        b"session.created": _told_session,
        b"session.updated": _told_session,
        b"transcription_session.created": _told_session,
        b"transcription_session.updated": _told_session,
        b"response.created": _begins,
        b"response.done": _ends,
        b"conversation.item.input_audio_transcription.delta": _transcribing,
        b"conversation.item.input_audio_transcription.completed": _transcribed,
        b"conversation.item.input_audio_transcription.failed": _not_transcribed,
    }


class _Translation(_Socket):
    """A session that translates: no event says what it costs, so its record says just that."""

    __slots__ = ()

    def _begins(self, message: bytes, meters: Meters) -> None:
        session = _object(message).get("session")
        key = word(_part_of(session, "id"))
        model = self._line.model or word(_part_of(session, "model"))
        part = self.open_one(key, meters, self.request(meters, "realtime.translation", model))
        if part is not None:
            part.event(message)

    def _ends(self, message: bytes, meters: Meters) -> None:
        for key in tuple(self._open):
            self.end_one(key, message)

    acts: ClassVar[Acts] = {b"session.created": _begins, b"session.closed": _ends}


class _Responses(_Socket):
    """The Responses API over a websocket: one answer after the other, or several in lanes."""

    __slots__ = ("_lanes",)
    skips = False

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._lanes: dict[str | None, Part] = {}
        """The newest answer of each lane: its pieces do not repeat its id."""

    def begins(
        self, response: Any, lane: str | None, raw: bytes, meters: Meters, tools: Any = None
    ) -> Part | None:
        """The first event of an answer."""
        key = word(_part_of(response, "id"))
        if key in self._open or not isinstance(response, Mapping):
            return None
        model = word(_part_of(response, "model"))
        asked = self.request(meters, "responses", model, tools=tools)
        part = self.open_one(key, meters, asked, estimated=True)
        if part is not None:
            self._lanes[lane] = part
            part.event(raw)
        return part

    def ends(
        self, response: Any, lane: str | None, raw: bytes, meters: Meters, tools: Any = None
    ) -> None:
        """Its last event."""
        key = word(_part_of(response, "id"))
        if key not in self._open and (
            self.known(key) or self.begins(response, lane, raw, meters, tools) is None
        ):
            return
        if self._lanes.get(lane) is self._open.get(key):
            self._lanes.pop(lane, None)
        self.end_one(key, raw)

    def ended(self, how: How, error: BaseException | None = None) -> None:
        """See `_Socket`."""
        self._lanes.clear()
        super().ended(how, error)

    def piece(self, message: bytes) -> None:
        """A piece of the text; it may be all that there will be to tell what a cut answer costs."""
        part = self._lanes.get(None)
        if part is None or len(self._lanes) > 1:
            found = _LANE(message)
            part = self._lanes.get(found[1].decode() if found is not None else None)
        if part is not None:
            self.text(part, message)

    def text(self, part: Part, message: bytes) -> None:
        """A piece of the text of an answer."""
        if part.call.first_chunk is None:
            part.piece()
        begin = message.find(_DELTA) + len(_DELTA)
        text = message[begin : message.find(b'"', begin)]
        if begin > len(_DELTA) and b"\\" not in text:
            part.delivered(text)
        else:
            part.event(message, ".delta")

    def _begins(self, message: bytes, meters: Meters) -> None:
        event = _object(message)
        self.begins(event.get("response"), word(event.get("stream_id")), message, meters)

    def _ends(self, message: bytes, meters: Meters) -> None:
        event = _object(message)
        self.ends(event.get("response"), word(event.get("stream_id")), message, meters)

    def _fails(self, message: bytes, meters: Meters) -> None:
        event = _object(message)
        if event.get("sequence_number") is None:
            return  # about something that was sent: no answer ends by it
        part = self._lanes.pop(word(event.get("stream_id")), None)
        for key in [key for key, one in self._open.items() if one is part]:
            self.close_one(key)
        if part is not None:
            part.event(message)
            part.finish("eof")

    acts: ClassVar[Acts] = {
        b"response.created": _begins,
        b"response.completed": _ends,
        b"response.incomplete": _ends,
        b"response.failed": _ends,
        b"response.cancelled": _ends,
        b"error": _fails,
    }


_DELTA = b'"delta":"'
_LANE = re.compile(rb'"stream_id"\s*:\s*"([^"\\]*)"').search
_DELEGATION = re.compile(rb'"delegation_id"\s*:\s*"([^"\\]*)"').search
_NESTED = re.compile(
    rb'"response\.(created|completed|incomplete|failed|cancelled|output_item\.done)"'
).search
_FEES = ("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call")


class _Live(_Responses):
    """A live session: seconds of the session, and what it delegates to other models.

    The seconds are totals, which every connection to the session is told: one record has them, or, if
    its connection ends before the session does, what it was told; the next one has the rest.
    """

    __slots__ = ("_about", "_items", "_model", "_seconds", "_tools")

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._about: bytes | None = None
        self._model: str | None = None
        self._tools: Any = None
        self._seconds: Part | None = None
        self._items: dict[str | None, list[Any]] = {}

    @property
    def counts(self) -> bool:
        """Whether the seconds of the session are counted here."""
        return self._seconds is not None and self._seconds.open

    def ended(self, how: How, error: BaseException | None = None) -> None:
        """See `_Socket`."""
        if self._seconds is not None:
            self._seconds.finish(how, error)
        self._items.clear()
        super().ended(how, error)

    def _told_session(self, message: bytes, meters: Meters) -> None:
        session = _object(message).get("session")
        key = word(_part_of(session, "id"))
        if key is not None:
            self._session = _joined(self._line.origin, key)
        self._about = message
        self._model = word(_part_of(session, "model")) or self._model
        self._tools = _part_of(session, "delegation", "responses", "tools")
        if self.counts:
            self._feed(message)

    def _started(self, message: bytes, meters: Meters) -> None:
        self._told_session(message, meters)
        if not self.counts and not self._counted_elsewhere():
            self._count(meters)

    def _told_seconds(self, message: bytes, meters: Meters) -> None:
        if not self.counts:
            total = _part_of(_object(message), "usage", "seconds")
            known = isinstance(total, int | float) and total <= self._session.seconds
            if known or self._counted_elsewhere():
                return
            self._count(meters)
        self._feed(message)

    def _closed(self, message: bytes, meters: Meters) -> None:
        self._told_session(message, meters)
        self._told_seconds(message, meters)
        if self._seconds is not None:
            self._seconds.finish("eof")

    def _counted_elsewhere(self) -> bool:
        other = self._session.counting() if self._session.counting is not None else None
        return other is not None and other is not self and other.counts

    def _count(self, meters: Meters) -> None:
        self._session.counting = ref(self)
        hints = {providers.COUNTED_BEFORE: self._session.seconds}
        asked = self.request(meters, "live.session", self._model, hints=hints)
        self._seconds = self.begin(meters, asked)
        if self._about is not None:
            self._feed(self._about)

    def _feed(self, message: bytes) -> None:
        if self._seconds is not None and self._seconds.open:
            self._seconds.event(message)
            counted = self._seconds.told("audio_seconds")
            if counted is not None:
                before = self._seconds.call.request.hints[providers.COUNTED_BEFORE]
                self._session.seconds = before + counted

    def _delegated(self, message: bytes, meters: Meters) -> None:
        found = _NESTED(message)
        if found is None:
            lane = _DELEGATION(message)
            part = self._lanes.get(None if lane is None else lane[1].decode())
            if part is not None:
                self.text(part, message)
            return
        event = _object(message)
        nested, told = event.get("event"), word(event.get("delegation_id"))
        kind, response = _part_of(nested, "type"), _part_of(nested, "response")
        if kind == "response.created":
            self._items.pop(told, None)
            self.begins(response, told, _bytes(nested), meters, self._tools)
        elif kind == "response.output_item.done":
            item = _part_of(nested, "item")
            if _part_of(item, "type") in _FEES:
                self._items.setdefault(told, []).append(item)
        elif isinstance(response, dict) and f"{kind}".encode() in _Responses.acts:
            # the message leaves out what was put out: what has a fee of its own came before
            response["output"] = response.get("output") or self._items.pop(told, [])
            self.ends(response, told, _bytes(nested), meters, self._tools)

    def _decided(self, message: bytes, meters: Meters) -> None:
        decision = _part_of(_object(message), "event", "decision")
        key, model = word(_part_of(decision, "id")), word(_part_of(decision, "model"))
        if self.known(key) and key is not None:
            return
        asked = self.request(meters, "decisions", model, stream=False)
        if self.open_one(key, meters, asked) is not None:
            part = self.close_one(key)
            if part is not None:
                part.body(_bytes(decision))

    acts: ClassVar[Acts] = {
        b"session.started": _started,
        b"session.updated": _told_session,
        b"session.usage.updated": _told_seconds,
        b"session.closed": _closed,
        b"response.event": _delegated,
        b"decision.event": _decided,
    }


def _bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


class _Door:
    """The wrappers for one kind of connection."""

    def __init__(self, kind: type[_Socket], meters: Meters) -> None:
        self._kind = kind
        self._meters = meters

    def made(self, wrapped: Wrapped, connection: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """A connection was made: who made it may be charged."""
        wrapped(*args, **kwargs)
        guard.call("observe", self._kind, connection)

    def received(self, wrapped: Wrapped, connection: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """One message."""
        try:
            message = wrapped(*args, **kwargs)
        except BaseException as error:
            guard.call("observe", self._failed, connection, error)
            raise
        self._see(connection, message)
        return message

    async def received_async(
        self, wrapped: Wrapped, connection: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """One message, async."""
        try:
            message = await wrapped(*args, **kwargs)
        except BaseException as error:
            guard.call("observe", self._failed, connection, error)
            raise
        self._see(connection, message)
        return message

    def _see(self, connection: Any, message: Any) -> None:
        socket = known.get(id(connection))
        # by far the most messages are pieces of an answer that tell nothing new
        if socket is None:
            guard.call("observe", self._read, connection, message)
        elif message.__class__ is not bytes or not message.startswith(socket.dull):
            guard.call("observe", socket.received, message, self._meters)

    def left(self, wrapped: Wrapped, connection: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """The caller closes it: sync now, async when what this returns is awaited."""
        guard.call("observe", self._left, connection)
        return wrapped(*args, **kwargs)

    def _read(self, connection: Any, message: Any) -> None:
        self._kind(connection).received(message, self._meters)  # it was made before we came

    def _failed(self, connection: Any, error: BaseException) -> None:
        socket = known.get(id(connection))
        if socket is not None and is_over(error):
            socket.ended("failed", error)

    def _left(self, connection: Any) -> None:
        socket = known.get(id(connection))
        if socket is not None:
            socket.over = True
            socket.ended("closed")


_PLACES: tuple[tuple[str, str, type[_Socket]], ...] = (
    ("realtime.realtime", "RealtimeConnection", _Realtime),
    ("beta.realtime.realtime", "RealtimeConnection", _Realtime),
    ("realtime.translations.translations", "TranslationsConnection", _Translation),
    ("responses.responses", "ResponsesConnection", _Responses),
    ("beta.responses.responses", "ResponsesConnection", _Responses),
    ("live.live", "LiveConnection", _Live),
    ("live.forks", "ForksConnection", _Live),
    ("live.sideband", "SidebandConnection", _Live),
)


class OpenAISockets:
    """The wrappers for the websockets of the openai SDK."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def seams(self) -> list[Seam]:
        """Where the wrappers go; a version that lacks a kind of connection has nothing to count."""
        found = []
        for module, name, kind in _PLACES:
            door = _Door(kind, self._meters)
            for prefix, received in (("", door.received), ("Async", door.received_async)):
                for method, wrapper in (
                    ("__init__", door.made),
                    ("recv_bytes", received),
                    ("close", door.left),
                ):
                    found.append(
                        Seam(
                            "openai",
                            f"openai.resources.{module}",
                            f"{prefix}{name}.{method}",
                            wrapper,
                            optional=True,
                        )
                    )
        return found
