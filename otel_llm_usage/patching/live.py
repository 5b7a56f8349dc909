"""The seams of Gemini's Live API: one message at a time, and the connection, which has the model.

A turn begins with the first message of an answer. The last usage of a turn is its bill: it counts the
whole context anew in each turn. A turn ends when the provider says so (`turn_complete`), or when it
waits for a function's result, if its usage has been told by then.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from .. import guard, providers
from .connections import Conversation, Part, address, is_over, known
from .engine import Seam
from .observation import How, Meters

MODULE = "google.genai.live"

Wrapped = Callable[..., Any]


class _Turns(Conversation):
    """One connection: the turn that is under way."""

    __slots__ = ("_called", "_counted", "_interrupted", "_model", "_tools", "_turn", "_waiting")

    def __init__(self, session: Any, model: Any = None, config: Any = None) -> None:
        super().__init__(session)
        self._model = model if isinstance(model, str) else None
        self._tools = _tools(config)
        self._turn: Part | None = None
        self._counted = self._called = self._interrupted = self._waiting = False

    def received(self, session: Any, message: Any, meters: Meters) -> None:
        """One message, as the SDK made it."""
        usage = getattr(message, "usage_metadata", None)
        content = getattr(message, "server_content", None)
        call = getattr(message, "tool_call", None)
        if self.over or (usage is None and content is None and call is None):
            return
        answers = call is not None or _answers(content)
        if self._turn is not None and answers and (self._interrupted or self._waiting):
            self._end()  # the next one begins, and nothing more was said of this one
        if self._turn is None:
            if not answers and usage is None:
                return
            self._begin(session, meters)
        if usage is not None:
            self._counted = True
            self._tell({"usageMetadata": _plain(usage)})
        if content is not None:
            self._read(content)
        if call is not None:
            self._called = True
        if self._turn is None:
            return
        if call is not None and self._counted:
            self._tell(_ended("tool_call"))
            self._end()
        elif usage is not None and content is None and (self._called or self._waiting):
            if self._called and not self._waiting:
                self._tell(_ended("tool_call"))
            self._end()
        elif answers and call is None:
            self._called = False

    def _read(self, content: Any) -> None:
        grounding = getattr(content, "grounding_metadata", None)
        if grounding is not None:
            self._tell({"candidates": [{"groundingMetadata": _plain(grounding)}]})
        if getattr(content, "interrupted", None):
            # `turn_complete` follows: until then more may be told
            self._interrupted = True
            self._tell(_ended("interrupted"))
        if getattr(content, "turn_complete", None):
            self._tell(_ended("turn_complete"))
            if self._counted:
                self._end()
            else:
                self._waiting = True  # its usage may come in a message of its own

    def _begin(self, session: Any, meters: Meters) -> None:
        client = getattr(session, "_api_client", None)
        vertex = bool(getattr(client, "vertexai", False))
        asked = providers.connected(
            "google",
            address(getattr(session, "_ws", None)),
            endpoint="live",
            model=providers.model_name(self._model),
            client="vertex" if vertex else "",
            region=getattr(client, "location", None) if vertex else None,
            tools=self._tools,
            hosts=meters.hosts,
        )
        self._counted = self._called = self._interrupted = self._waiting = False
        self._turn = self.begin(meters, asked)

    def _tell(self, said: Mapping[str, Any]) -> None:
        if self._turn is not None:
            self._turn.event(json.dumps(said))

    def _end(self, how: How = "eof", error: BaseException | None = None) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.finish(how, error)

    def ended(self, how: How, error: BaseException | None = None) -> None:
        """The connection has ended."""
        self._end(how, error)


def _answers(content: Any) -> bool:
    """Whether this is, or ends, a piece of an answer; a transcript of the user's words is not."""
    return content is not None and any(
        getattr(content, name, None)
        for name in ("model_turn", "output_transcription", "generation_complete")
    )


def _ended(reason: str) -> Mapping[str, Any]:
    return {"candidates": [{"finishReason": reason}]}


def _plain(value: Any) -> Any:
    """As the wire had it."""
    if isinstance(value, Mapping):
        return value
    return value.model_dump(mode="json", by_alias=True, exclude_none=True, warnings=False)


def _tools(config: Any) -> list[Any]:
    tools = config.get("tools") if isinstance(config, Mapping) else getattr(config, "tools", None)
    found = []
    for tool in tools if isinstance(tools, list | tuple) else ():
        if isinstance(tool, Mapping):
            found.append(tool)
        elif hasattr(tool, "model_dump"):
            found.append(tool.model_dump(exclude_none=True, warnings=False))
    return found


class _Introduction:
    """The generator inside of the SDK's context manager: what it yields is the new session."""

    def __init__(self, made: Any, kwargs: Mapping[str, Any]) -> None:
        self._made = made
        self._kwargs = kwargs
        self._session: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made, name)

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        self._left()  # the second time it ends
        self._session = session = await self._made.__anext__()
        guard.call("observe", self._introduce, session)
        return session

    def _introduce(self, session: Any) -> None:
        _Turns(session, self._kwargs.get("model"), self._kwargs.get("config"))

    def _left(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            guard.call("observe", _leave, session)

    def athrow(self, *error: Any) -> Any:
        """The block was left by an exception."""
        self._left()
        return self._made.athrow(*error)

    def aclose(self) -> Any:
        """See `athrow`."""
        self._left()
        return self._made.aclose()


def _leave(session: Any) -> None:
    turns = known.get(id(session))
    if turns is not None:
        turns.over = True
        turns.ended("closed")


class GeminiLive:
    """The wrappers for google-genai's Live API."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def seams(self) -> list[Seam]:
        """Where the wrappers go."""
        return [
            Seam("google", MODULE, path, wrapper)
            for path, wrapper in (
                ("AsyncLive.connect", self.connect),
                ("AsyncSession._receive", self.receive),
                ("AsyncSession.close", self.close),
            )
        ]

    def connect(self, wrapped: Wrapped, live: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """A connection is about to be made."""
        manager = wrapped(*args, **kwargs)
        guard.call("observe", self._listen, manager, kwargs)
        return manager

    def _listen(self, manager: Any, kwargs: Mapping[str, Any]) -> None:
        made = getattr(manager, "gen", None)
        if hasattr(made, "__anext__"):
            manager.gen = _Introduction(made, kwargs)

    async def receive(
        self, wrapped: Wrapped, session: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """One message."""
        try:
            message = await wrapped(*args, **kwargs)
        except BaseException as error:
            guard.call("observe", self._failed, session, error)
            raise
        guard.call("observe", self._read, session, message)
        return message

    def _read(self, session: Any, message: Any) -> None:
        # one that was made before we came never told its model
        turns = known.get(id(session)) or _Turns(session)
        turns.received(session, message, self._meters)

    def _failed(self, session: Any, error: BaseException) -> None:
        turns = known.get(id(session))
        if turns is not None and is_over(error):
            turns.ended("failed", error)

    def close(self, wrapped: Wrapped, session: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """The caller closes it: when what this returns is awaited."""
        guard.call("observe", _leave, session)
        return wrapped(*args, **kwargs)
