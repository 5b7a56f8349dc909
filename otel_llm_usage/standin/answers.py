"""What the stand-in's model says and what that costs in tokens: seeded, or as a script wants it."""

import json
import random
import re
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from ..records import NOTHING
from . import tariff

Ending = Literal["complete", "cut", "silent", "error"]
"""How a stream ends: properly; by a connection reset; cleanly but without its last events; with an
error event inside the 200."""

ABSENT = object()
"""As `Answer.wire_usage`: leave the usage out."""

_AS_IT_IS = object()

OUTPUT_ORDER = ("reasoning", "output", "output_audio", "output_image", "output_video")
"""The order in which a stream generates."""


class Call(NamedTuple):
    """A function call that the model asks for."""

    name: str
    arguments: Mapping[str, Any]


class Answer(NamedTuple):
    """How to answer one request. What is not given is made up from the request and the seed."""

    text: str | None = None
    calls: Sequence[Call] | None = None
    """Function calls. `None`: as many turns of them as the stand-in is set to; empty: none."""
    usage: Mapping[str, int] | None = None
    """What to bill, in the disjoint kinds of `records.Usage`; replaces the seeded usage."""
    wire_usage: object = _AS_IT_IS
    """What to put on the wire where the usage stands, whatever was billed; `ABSENT`: nothing."""
    units: Mapping[str, int | Decimal] = NOTHING
    """Billed quantities that are not tokens: `{"web_search": 2}` is told by Anthropic's shape."""
    model: str | None = None
    """The model that says it answered."""
    tier: str | None = None
    finish: Literal["stop", "length", "refusal"] | None = None
    status: int = 200
    """Anything but 200 answers with the provider's error shape and bills nothing."""
    message: str | None = None
    """The error's text."""
    retry_after: float | None = None
    """Seconds, as `retry-after` and `retry-after-ms`."""
    delay: float = 0
    """Seconds before the answer begins."""
    pace: float = 0
    """Seconds between the events of a stream."""
    pieces: int = 4
    """How many deltas the text of a stream comes in."""
    ending: Ending = "complete"
    after: int | None = None
    """How many events are sent before the ending; `None`: half of them, or for `silent` all but
    those that close the stream."""
    split: int | None = None
    """Send a stream in writes of so many bytes, across the borders of events."""
    gzip: bool = False
    headers: Mapping[str, str] = NOTHING

    @property
    def tells_usage(self) -> bool:
        """Whether the wire carries the true usage."""
        return self.wire_usage is _AS_IT_IS


MAGIC: Mapping[str, Mapping[str, Any]] = {
    "400": {"status": 400},
    "401": {"status": 401},
    "404": {"status": 404},
    "429": {"status": 429, "retry_after": 0.05},
    "500": {"status": 500},
    "529": {"status": 529},
    "flaky": {"status": 429, "retry_after": 0.05},
    "slow": {"pace": 0.05, "pieces": 20},
    "cut": {"ending": "cut"},
    "silent": {"ending": "silent"},
    "error": {"ending": "error"},
    "nousage": {"wire_usage": ABSENT},
    "badusage": {
        "wire_usage": {"prompt_tokens": "many", "input_tokens": -1, "promptTokenCount": []}
    },
    "notools": {"calls": ()},
    "gzip": {"gzip": True},
}
"""Words of a model's name, between dashes, that ask for a behaviour: `gpt-4.1-mini-slow-cut`.

They are taken off before the model answers, so that it has its own name and price. `flaky` fails
with 429 on every other request. `unknown` stays in the name, and no price list has it."""


def spoken(name: str) -> tuple[str, frozenset[str]]:
    """A model's name without its magic words, and these."""
    words = frozenset(word for word in name.split("-") if word in MAGIC)
    if not words:
        return name, words
    return "-".join(word for word in name.split("-") if word not in words), words


class Seen(NamedTuple):
    """One request that came in."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any
    """The parsed JSON, the fields of the form, else the raw bytes."""

    @property
    def model(self) -> str | None:
        """The model of the body, or of the path."""
        if isinstance(self.body, dict) and isinstance(self.body.get("model"), str):
            return str(self.body["model"])
        found = _PATH_MODEL.search(self.path)
        return unquote(found[1]) if found else None


_PATH_MODEL = re.compile(r"/(?:models?|deployments)/([^/]+?)(?::[a-zA-Z]+)?(?:/|$)")


class Memory:
    """What a provider keeps between requests: conversations and finished answers, the newest."""

    def __init__(self, size: int = 1024) -> None:
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._size = size

    def keep(self, key: str, value: Any) -> None:
        """Remember `value`, and forget the oldest one if there are too many."""
        self._kept[key] = value
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def recall(self, key: str) -> Any:
        """What was kept under `key`, or `None`."""
        return self._kept.get(key)

    def forget(self) -> None:
        """Empty it."""
        self._kept.clear()


class Tool(NamedTuple):
    """A function that the request offers."""

    name: str
    schema: Mapping[str, Any]


class Ask(NamedTuple):
    """What a dialect understood of a request."""

    provider: str
    endpoint: str
    asked: str
    model: str
    """The model that answers, without magic words."""
    stream: bool = False
    prompt: str = ""
    """All text of the prompt; looked at for its length and its beginning, then forgotten."""
    turns: int = 0
    """Tool results since the user's last own words."""
    tools: tuple[Tool, ...] = ()
    schema: Mapping[str, Any] | None = None
    """The JSON schema that the answer must obey."""
    limit: int | None = None
    """The most tokens that the answer may have."""
    cache: str | None = "cache_read"
    """Where a long prompt that is new goes: `cache_write_5m`, `cache_write_1h`; `cache_read`: it
    costs nothing to be remembered; `None`: it is not."""
    thinks: bool = False
    choices: int = 1
    media: Mapping[str, int] = NOTHING
    """Tokens of the prompt that are not text."""
    usage: Mapping[str, int] | None = None
    """Where the shape itself says what is billed (embeddings, images)."""
    units: Mapping[str, int | Decimal] = NOTHING
    reports: bool = True
    """Whether this shape tells its usage at all."""
    tier: str = "standard"
    regional: bool = False
    extra: Mapping[str, Any] = NOTHING
    """What only the dialect needs to render the answer."""


class Result(NamedTuple):
    """The worked-out answer that a dialect renders."""

    id: str
    time: float
    model: str
    text: str
    pieces: tuple[tuple[str, int], ...]
    """The text as a stream brings it, each with the answer's tokens (of one choice) up to there."""
    calls: tuple[Call, ...]
    usage: Mapping[str, int]
    units: Mapping[str, int | Decimal]
    finish: str
    tier: str
    wire_usage: object
    """See `Answer.wire_usage`."""

    def told(self, usage: dict[str, Any]) -> dict[str, Any]:
        """`{"usage key": ...}` as it goes on the wire: true, replaced, or left out."""
        if self.wire_usage is _AS_IT_IS:
            return usage
        return {} if self.wire_usage is ABSENT else dict.fromkeys(usage, self.wire_usage)


class Event(NamedTuple):
    """One event of a stream."""

    data: bytes
    generated: int
    """How many tokens of the output had been generated when it was sent."""
    closing: bool = False
    """One of those that end the stream properly."""
    reports: bool = False
    """It carries the final usage."""


class Endpoint(NamedTuple):
    """How one dialect reads a request and renders the answer."""

    read: Callable[[Seen, Memory], Ask]
    whole: Callable[[Ask, Result], Any]
    """The body: something for JSON, or bytes as they stand."""
    events: Callable[[Ask, Result], list[Event]] | None = None
    prefix: str = ""
    """What the answer's id begins with on the wire."""
    after: Callable[[Ask, Result, Memory], None] | None = None
    """What to remember of a finished answer."""
    broken: Callable[[str], bytes] | None = None
    """An error inside a stream, where it is not the dialect's own."""
    content_type: str = "application/json"
    stream_type: str = "text/event-stream; charset=utf-8"


class Free(NamedTuple):
    """An endpoint that answers and bills nothing. `answer` gives `None` for a 404."""

    answer: Callable[[Seen, Memory], Any]


class Failure(NamedTuple):
    """An error as a provider words it."""

    body: Mapping[str, Any]
    event: bytes
    """The same inside a stream."""


class Dialect(NamedTuple):
    """What the server needs to know of a provider's way of speaking."""

    find: Callable[[Seen], Endpoint | Free | None]
    fail: Callable[[int, str], Failure]


_WORDS = [
    "all",
    "and",
    "any",
    "are",
    "both",
    "but",
    "can",
    "each",
    "for",
    "from",
    "good",
    "have",
    "here",
    "into",
    "just",
    "know",
    "like",
    "long",
    "made",
    "make",
    "more",
    "most",
    "much",
    "need",
    "new",
    "not",
    "now",
    "one",
    "only",
    "other",
    "our",
    "out",
    "over",
    "part",
    "plan",
    "said",
    "same",
    "set",
    "she",
    "show",
    "some",
    "such",
    "take",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "they",
    "this",
    "time",
    "two",
    "use",
    "very",
    "was",
    "way",
    "well",
    "were",
    "what",
    "when",
    "which",
    "will",
    "with",
    "work",
    "would",
    "year",
    "you",
    "your",
]
_TALK = tuple(random.Random(7).choices(_WORDS, k=8192))
_PREFIX = 4096


class Mind:
    """Answers from a seed: the same request gets the same tokens, whatever else is going on."""

    def __init__(self, seed: int, tool_turns: int) -> None:
        self.seed = seed
        self.tool_turns = tool_turns
        self._cached: dict[tuple[str, int], None] = {}

    def forget(self) -> None:
        """Empty the prompt cache."""
        self._cached.clear()

    def compose(self, ask: Ask, answer: Answer, number: int, time: float) -> Result:
        """Work out what `ask` is answered; `number` makes the ids unique."""
        prompt = ask.prompt.encode(errors="replace")
        dice = random.Random(zlib.crc32(prompt, self.seed))
        calls = self._calls(ask, answer)
        text, length = _speech(ask, answer, calls, dice)
        usage = answer.usage if answer.usage is not None else ask.usage
        if usage is None:
            usage = self._usage(ask, prompt, length, dice)
        usage = {kind: count for kind, count in usage.items() if count}
        finish = answer.finish or ("length" if ask.limit and length >= ask.limit else "stop")
        spoken_tokens = usage.get("output", 0) // ask.choices
        return Result(
            id=f"{self.seed & 0xFFFF:04x}{number:012x}",
            time=time,
            model=answer.model or tariff.snapshot(ask.model),
            text=text,
            pieces=_pieces(text, spoken_tokens, answer.pieces),
            calls=calls,
            usage=usage,
            units=answer.units or ask.units,
            finish=finish,
            tier=answer.tier or ask.tier,
            wire_usage=answer.wire_usage,
        )

    def _calls(self, ask: Ask, answer: Answer) -> tuple[Call, ...]:
        if answer.calls is not None:
            return tuple(answer.calls)
        if not ask.tools or answer.text is not None or ask.turns >= self.tool_turns:
            return ()
        tool = ask.tools[ask.turns % len(ask.tools)]
        return (Call(tool.name, sample(tool.schema)),)

    def _usage(self, ask: Ask, prompt: bytes, length: int, dice: random.Random) -> dict[str, int]:
        """Four characters are a token, and every answer is billed for what it delivers."""
        tokens = len(prompt) // 4 + dice.randrange(4, 12)
        cached = self._remembered(ask, prompt, tokens)
        thoughts = dice.randrange(1, 6) * 64 if ask.thinks else 0
        return {
            "input": tokens - cached[1],
            cached[0]: cached[1],
            "output": length * ask.choices,
            "reasoning": thoughts,
            **ask.media,
        }

    def _remembered(self, ask: Ask, prompt: bytes, tokens: int) -> tuple[str, int]:
        """From 1,024 tokens on, a prompt that begins like an earlier one is read from the cache."""
        if tokens < _PREFIX // 4 or ask.cache is None:
            return "cache_read", 0
        key = (ask.model, zlib.crc32(prompt[:_PREFIX]))
        if key in self._cached:
            return "cache_read", 1024
        if len(self._cached) >= _PREFIX:
            self._cached.clear()
        self._cached[key] = None
        return ask.cache, 0 if ask.cache == "cache_read" else 1024


def spent(usage: Mapping[str, int], generated: int) -> dict[str, int]:
    """What of `usage` had been used when `generated` tokens of the output were there."""
    so_far = {kind: count for kind, count in usage.items() if kind not in OUTPUT_ORDER}
    for kind in OUTPUT_ORDER:
        count = min(usage.get(kind, 0), generated)
        generated -= count
        if count:
            so_far[kind] = count
    return so_far


def sample(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """A small value that obeys a JSON schema (or Gemini's capitals)."""
    root = schema if root is None else root
    if "$ref" in schema:
        return sample(_resolve(schema["$ref"], root), root)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    for several in ("anyOf", "oneOf", "allOf"):
        if schema.get(several):
            return sample(schema[several][0], root)
    kind = schema.get("type", "object")
    kind = str(kind[0] if isinstance(kind, list) else kind).lower()
    if kind == "object":
        fields = schema.get("properties") or {}
        return {name: sample(field, root) for name, field in fields.items()}
    return _SAMPLES.get(kind)


_SAMPLES: Mapping[str, Any] = {
    "string": "plan",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": [],
}


def _resolve(ref: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for step in ref.removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def _speech(
    ask: Ask, answer: Answer, calls: tuple[Call, ...], dice: random.Random
) -> tuple[str, int]:
    """The text of the answer, and its tokens."""
    if answer.text is not None:
        return answer.text, max(1, round(len(answer.text) / 4))
    if calls:
        return "", 8 + sum(len(json.dumps(dict(call.arguments))) // 4 + 4 for call in calls)
    if ask.schema is not None:
        text = json.dumps(sample(ask.schema))
        return text, max(1, len(text) // 4)
    length = dice.randrange(24, 120)
    if ask.limit:
        length = min(length, ask.limit)
    start = dice.randrange(len(_TALK) - length)
    return " ".join(_TALK[start : start + length]), length


def _pieces(text: str, tokens: int, pieces: int) -> tuple[tuple[str, int], ...]:
    """Cut the text between words into about equal pieces, each with the tokens up to its end."""
    pieces = max(1, min(pieces, tokens, len(text)))
    cuts = [len(text) * i // pieces for i in range(pieces + 1)]
    return tuple((text[cuts[i] : cuts[i + 1]], tokens * (i + 1) // pieces) for i in range(pieces))


def prose(value: Any) -> str:
    """All text in a part of a request, without media, ids and settings."""
    found: list[str] = []
    _gather(value, found)
    return "\n".join(found)


_NOT_PROSE = frozenset(
    [
        "type",
        "role",
        "id",
        "name",
        "data",
        "url",
        "image_url",
        "file_data",
        "file_id",
        "cache_control",
        "signature",
        "encrypted_content",
        "thoughtSignature",
        "mimeType",
        "mime_type",
        "media_type",
        "call_id",
        "tool_use_id",
        "tool_call_id",
        "status",
    ]
)


def _gather(value: Any, found: list[str]) -> None:
    if isinstance(value, str):
        found.append(value)
    elif isinstance(value, list):
        for item in value:
            _gather(item, found)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in _NOT_PROSE:
                _gather(item, found)
