"""What is asked, whatever the caller hands over: texts, tools, media, and what can't be seen from here."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from ..errors import ConfigurationError
from ..providers.prompts import texts
from ..records import LARGEST
from . import media
from .media import Kind, Media

_REQUEST = ("messages", "contents", "input", "prompt", "content", "requests")
"""Under one of these a whole request has what is asked."""

_DEEPEST = 100


class Asked(NamedTuple):
    """A prompt, taken apart."""

    texts: tuple[str, ...]
    messages: int
    """Messages, the system prompt among them; 0 where texts stand alone, as for embeddings."""
    calls: tuple[str, ...] = ()
    """Calls of tools and their results, as JSON."""
    tools: tuple[Mapping[str, Any], ...] = ()
    choice: str = ""
    """How the model is to choose among the tools, where that was said."""
    schema: str = ""
    """The schema that the answer has to follow, as JSON."""
    media: tuple[Media, ...] = ()
    unseen: tuple[str, ...] = ()
    """What the provider will add and is not here: an earlier answer, a cache, an uploaded file."""
    max_output_tokens: int | None = None
    """Of all answers together."""
    told: Mapping[str, Any] = {}
    """The other fields of a whole request."""

    @property
    def plain(self) -> bool:
        """Whether it is nothing but text, all of which is here."""
        return not (
            self.calls or self.tools or self.schema or self.media or self.unseen or not self.texts
        )


def read(
    contents: Any,
    *,
    system: Any = None,
    tools: Any = None,
    max_output_tokens: int | None = None,
    embeddings: bool = False,
) -> Asked:
    """Take apart what an SDK's method is given: a text, messages, contents, or a whole request.

    `ConfigurationError` if it can't be meant, or there is nothing in it.
    """
    asked = plain(contents, "contents")
    if isinstance(asked, Mapping) and _is_request(asked):
        whole = dict(asked)
        config: Mapping[str, Any] = next(
            (whole[key] for key in _CONFIGS if isinstance(whole.get(key), Mapping)), {}
        )
        whole = {**config, **whole}
    else:
        whole = {"contents": asked}
    if system is not None:
        whole["system"] = plain(system, "system")
    if tools is not None:
        whole["tools"] = plain(tools if isinstance(tools, list | tuple) else [tools], "tools")
    limit = _limit(whole) if max_output_tokens is None else _whole_number(max_output_tokens)
    return _Reader(embeddings).read(whole)._replace(max_output_tokens=limit)


_CONFIGS = ("config", "generationConfig", "generation_config")


def _is_request(asked: Mapping[str, Any]) -> bool:
    return "role" not in asked and "type" not in asked and any(key in asked for key in _REQUEST)


_LIMITS = (
    "max_output_tokens",
    "maxOutputTokens",
    "max_completion_tokens",
    "max_tokens",
    "max_tokens_to_sample",
)
_ANSWERS = ("n", "candidateCount", "candidate_count")


def _limit(whole: Mapping[str, Any]) -> int | None:
    limit = next((whole[key] for key in _LIMITS if whole.get(key) is not None), None)
    if limit is None:
        return None
    answers = next((whole[key] for key in _ANSWERS if isinstance(whole.get(key), int)), 1)
    return _whole_number(_whole_number(limit) * max(1, answers))


def _whole_number(said: Any) -> int:
    if isinstance(said, int) and said > LARGEST:
        raise ConfigurationError("max_output_tokens is more than any model answers")
    if isinstance(said, bool) or not isinstance(said, int) or said < 0:
        raise ConfigurationError(
            f"max_output_tokens={said!r}: say a whole number of tokens, or leave it out"
        )
    return said


# ------------------------------------------------------------ plain values


def plain(value: Any, name: str) -> Any:
    """As JSON has it, but for bytes and pictures: SDK objects become mappings, tuples lists.

    `ConfigurationError` names what can't be read.
    """
    return _plain(value, name, ())


def _plain(value: Any, name: str, around: tuple[int, ...]) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value, name, around)
    if value is None or isinstance(value, str | int | float | bytes | bytearray | Media):
        return value
    if id(value) in around:
        raise ConfigurationError(f"{name}: it contains itself")
    if len(around) > _DEEPEST:
        raise ConfigurationError(f"{name}: it is nested more than {_DEEPEST} deep")
    inside = (*around, id(value))
    if isinstance(value, Mapping):
        return {
            str(key): _plain(part, name, inside) for key, part in value.items() if part is not None
        }
    if isinstance(value, list | tuple):
        return [_plain(part, name, inside) for part in value]
    return _plain(_opened(value, name), name, inside)


def _opened(value: Any, name: str) -> Any:
    """What stands in an object: pydantic's or a dataclass's; a picture's size."""
    for method in ("model_dump", "to_json_dict", "to_dict"):
        dump = getattr(type(value), method, None)
        if dump is not None:
            return dump(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    size = getattr(value, "size", None)
    if isinstance(size, tuple) and len(size) == 2 and all(isinstance(one, int) for one in size):
        return Media("image", (max(1, size[0]), max(1, size[1])))
    if callable(value):  # google-genai takes functions as tools
        described = {"name": getattr(value, "__name__", ""), "description": value.__doc__ or ""}
        return {"function": described}
    if isinstance(value, Iterable):
        raise ConfigurationError(
            f"{name} holds a {type(value).__name__}, which reading would use up: make it a list"
        )
    raise ConfigurationError(
        f"{name} holds a {type(value).__name__}: this takes texts, lists, dicts and SDK objects"
    )


# ------------------------------------------------------------ the walk

_CALLS = (
    "functionCall",
    "function_call",
    "functionResponse",
    "function_response",
    "executableCode",
    "executable_code",
    "codeExecutionResult",
    "code_execution_result",
    "tool_calls",
)
"""Under these keys a part holds the call of a tool, or its result."""

_CALL_TYPES = frozenset(
    {"tool_use", "server_tool_use", "function_call", "function_call_output", "custom_tool_call"}
)

_UNSEEN = {
    "previous_response_id": "the earlier answer that it goes on from",
    "conversation": "the conversation that it belongs to",
    "cachedContent": "the cached content",
    "cached_content": "the cached content",
    "mcp_servers": "the tools of MCP servers",
    "previous_interaction_id": "the earlier answer that it goes on from",
}

_SCHEMAS = (
    "response_format",
    "output_format",
    "responseSchema",
    "response_schema",
    "responseJsonSchema",
    "response_json_schema",
)


class _Reader:
    """Takes one request apart."""

    def __init__(self, embeddings: bool) -> None:
        self._embeddings = embeddings
        self._texts: list[str] = []
        self._calls: list[str] = []
        self._media: list[Media] = []
        self._unseen: dict[str, None] = {}

    def read(self, whole: Mapping[str, Any]) -> Asked:
        contents = next((whole[key] for key in _REQUEST if whole.get(key) is not None), None)
        if "requests" in whole and isinstance(contents, list):  # a batch of Gemini's embeddings
            contents = [one.get("content") for one in contents if isinstance(one, Mapping)]
        messages = self._contents(contents)
        if not (self._texts or self._calls or self._media):
            raise ConfigurationError(
                "there is nothing to estimate: no text, picture or call was found in the contents"
            )
        for key in ("system", "instructions", "systemInstruction", "system_instruction"):
            if whole.get(key):
                self._take(whole[key])
                messages += 1
        for key, what in _UNSEEN.items():
            if whole.get(key):
                self._unseen[what] = None
        tools = whole.get("tools") or []
        if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
            raise ConfigurationError("tools: this takes a list of tools, as the SDK's method does")
        choice = whole.get("tool_choice")
        return Asked(
            tuple(self._texts),
            0 if self._embeddings or "prompt" in whole else messages,
            calls=tuple(self._calls),
            tools=tuple(tools),
            choice=str(choice.get("type", "") if isinstance(choice, Mapping) else choice or ""),
            schema=next((compact(whole[key]) for key in _SCHEMAS if whole.get(key)), ""),
            media=tuple(self._media),
            unseen=tuple(self._unseen),
            told=whole,
        )

    def _contents(self, contents: Any) -> int:
        """Takes what is asked, and counts its messages."""
        if not contents:
            raise ConfigurationError("there is nothing to estimate: the contents are empty")
        if isinstance(contents, int | float | bool):
            raise ConfigurationError(f"contents={contents!r}: this takes texts, lists and dicts")
        if self._embeddings and _token_ids(contents):
            raise ConfigurationError(
                "these are tokens already: their number is the length of the list"
            )
        self._take(contents)
        if not isinstance(contents, list):
            return 1
        said = sum(
            isinstance(one, Mapping) and ("role" in one or "parts" in one) for one in contents
        )
        return said or 1

    def _take(self, value: Any) -> None:
        if isinstance(value, Media):
            self._media.append(value)
        elif isinstance(value, bytes | bytearray):
            self._picture(value)
        elif isinstance(value, list):
            for one in value:
                self._take(one)
        else:
            self._texts.extend(texts(value, self._aside))

    def _picture(self, data: Any) -> None:
        self._media.append(Media("image", media.size_of(media.head(data))))

    def _aside(self, part: Mapping[str, Any]) -> bool:
        """Whether a part was taken as something else than text."""
        kind = part.get("type")
        if isinstance(kind, str) and kind in _CALL_TYPES:
            self._call(part)
            return True
        for key in _CALLS:
            if part.get(key):
                self._call(part[key])
                self._take({name: other for name, other in part.items() if name != key})
                return True
        source = part.get("source")
        if isinstance(source, Mapping) and source.get("type") == "text":
            self._take(source.get("data"))
            return True
        found = _medium(part)
        if found is not None:
            self._media.append(found)
            return True
        for one in part.values():  # bytes and pictures in the middle of lists
            if isinstance(one, list):
                for inner in one:
                    if isinstance(inner, Media | bytes | bytearray):
                        self._take(inner)
        return False

    def _call(self, call: Any) -> None:
        """The call of a tool, or its result, which may show pictures."""
        if isinstance(call, Mapping):
            for shown in ("output", "parts"):
                if isinstance(call.get(shown), list):
                    self._take(call[shown])
                    call = {key: value for key, value in call.items() if key != shown}
            call = {key: value for key, value in call.items() if key not in _BOOKKEEPING}
        self._calls.append(compact(call))


_BOOKKEEPING = (
    "id",
    "call_id",
    "type",
    "cache_control",
    "status",
    "thoughtSignature",
    "tool_use_id",
)


def _token_ids(contents: Any) -> bool:
    first = contents[0] if isinstance(contents, list) else None
    return isinstance(first, int) or (
        isinstance(first, list) and bool(first) and isinstance(first[0], int)
    )


def _medium(part: Mapping[str, Any]) -> Media | None:
    """What a part of a message shows, if it is no text."""
    kind = part.get("type")
    detail = part.get("detail") or part.get("resolution") or _level(part)
    if kind in ("image_url", "input_image") or "image_url" in part:
        held = part.get("image_url")
        if isinstance(held, Mapping):
            return _of("image", held.get("url"), held.get("detail") or detail)
        return _of("image", held, detail)
    if "input_audio" in part and isinstance(part["input_audio"], Mapping):
        return _of("audio", part["input_audio"].get("data"), detail)
    if kind in ("file", "input_file"):
        held = part["file"] if isinstance(part.get("file"), Mapping) else part
        return _of("document", held.get("file_data"), detail)
    if kind in ("image", "document", "audio", "video"):
        source = part["source"] if isinstance(part.get("source"), Mapping) else part
        if source.get("type") == "content":
            return None
        return _of(kind, source.get("data"), detail)
    for wire, snake in (("inlineData", "inline_data"), ("fileData", "file_data")):
        held = part.get(wire) or part.get(snake)
        if isinstance(held, Mapping):
            return _of(_kind(held), held.get("data"), detail)
    if ("uri" in part or "file_uri" in part or "fileUri" in part) and (
        "mime_type" in part or "mimeType" in part
    ):
        return _of(_kind(part), None, detail)
    if isinstance(part.get("data"), bytes) and ("mime_type" in part or "mimeType" in part):
        return _of(_kind(part), part["data"], detail)
    return None


def _level(part: Mapping[str, Any]) -> str:
    """Gemini says the resolution beside the data."""
    said = part.get("mediaResolution") or part.get("media_resolution")
    if isinstance(said, Mapping):
        said = said.get("level")
    return said if isinstance(said, str) else ""


def _kind(held: Mapping[str, Any]) -> Kind:
    mime = str(held.get("mimeType") or held.get("mime_type") or "")
    kind: Kind
    for kind in ("image", "audio", "video"):
        if mime.startswith(kind):
            return kind
    return "document"


def _of(kind: Any, data: Any, detail: Any) -> Media:
    if isinstance(data, str) and "://" in data[:12]:
        data = None
    words = detail if isinstance(detail, str) else ""
    if kind == "image":
        return Media("image", media.size_of(media.head(data)), words)
    if kind == "document":
        pages, surely = media.pages_of(data)
        return Media("document", detail=words, pages=pages, surely=surely)
    seconds, surely = media.heard(data) if kind == "audio" else media.seen(data)
    return Media(kind, detail=words, seconds=seconds, surely=surely)


def compact(value: Any) -> str:
    """As JSON without spaces; a text as it is."""
    return (
        value
        if isinstance(value, str)
        else json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=lambda other: "")
    )
