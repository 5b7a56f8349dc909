"""Pictures and recordings: their size from their first bytes, and the tokens that providers count for them."""

import base64
import binascii
import math
import re
import struct
from typing import Any, Literal, NamedTuple

Kind = Literal["image", "audio", "video", "document"]


class Media(NamedTuple):
    """Something in a prompt that is no text."""

    kind: Kind
    size: tuple[int, int] | None = None
    """Width and height of a picture in pixels; `None`: it is not here, or in no known format."""
    detail: str = ""
    """What the caller said about the resolution: `low`, `high`, `original`… ."""
    seconds: float | None = None
    pages: int | None = None
    surely: bool = True
    """False where seconds or pages are guessed from the number of bytes."""


class Guess(NamedTuple):
    """A number of tokens, and between which it surely is."""

    tokens: float
    low: float
    high: float

    @classmethod
    def around(cls, tokens: float, band: float) -> "Guess":
        """`band` is relative: 0.1 is ±10 %."""
        return cls(tokens, tokens * (1 - band), tokens * (1 + band))

    def plus(self, other: "Guess") -> "Guess":
        return Guess(self.tokens + other.tokens, self.low + other.low, self.high + other.high)


NONE = Guess(0, 0, 0)

# ------------------------------------------------------------ from bytes

_HEAD = 262_144
"""Bytes that are looked at: what cameras write before the size of a picture fits into it."""


def head(data: Any) -> bytes:
    """The first bytes of what is given as bytes or as base64, with or without `data:…,` before it."""
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data[:_HEAD])
    if not isinstance(data, str):
        return b""
    text = data[: 2 * _HEAD]
    if text.startswith("data:"):
        text = text.partition(",")[2]
    text = text[: _HEAD * 4 // 3 // 4 * 4].translate(_URL_SAFE)
    text = text[: len(text) // 4 * 4] if len(text) % 4 == 1 else text + "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return b""


_URL_SAFE = str.maketrans("-_", "+/")


def length(data: Any) -> int:
    """How many bytes there are."""
    if isinstance(data, str):
        held = len(data) - (data.find(",") + 1 if data.startswith("data:") else 0)
        return (held - data.count("=", -2)) * 3 // 4
    return len(data) if isinstance(data, bytes | bytearray | memoryview) else 0


def size_of(start: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, JPEG, GIF or WebP picture; `None` if it is none of them."""
    try:
        found = _size_of(start)
    except (struct.error, IndexError):
        return None
    return found if found is not None and min(found) > 0 else None


def _size_of(start: bytes) -> tuple[int, int] | None:
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = struct.unpack_from(">II", start, 16)
        return width, height
    if start[:6] in (b"GIF87a", b"GIF89a"):
        width, height = struct.unpack_from("<HH", start, 6)
        return width, height
    if start.startswith(b"\xff\xd8"):
        return _jpeg(start)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _webp(start)
    return None


_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The segments of a JPEG picture that hold its size."""


def _jpeg(start: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(start):
        if start[at] != 0xFF:
            return None
        marker = start[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _FRAMES:
            height, width = struct.unpack_from(">HH", start, at + 5)
            return width, height
        else:
            at += 2 + struct.unpack_from(">H", start, at + 2)[0]
    return None


def _webp(start: bytes) -> tuple[int, int] | None:
    form = start[12:16]
    if form == b"VP8 ":
        width, height = struct.unpack_from("<HH", start, 26)
        return width & 0x3FFF, height & 0x3FFF
    if form == b"VP8L":
        bits = struct.unpack_from("<I", start, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8X":
        width, height = (int.from_bytes(start[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    return None


def heard(data: Any) -> tuple[float | None, bool]:
    """Seconds of a recording, and whether they are told (WAV) or guessed at 128 kbit/s."""
    start, size = head(data), length(data)
    if start[:4] == b"RIFF" and start[8:12] == b"WAVE" and start[12:16] == b"fmt ":
        per_second = struct.unpack_from("<I", start, 28)[0] if len(start) >= 32 else 0
        if per_second:
            return size / per_second, True
    return (size / 16_000, False) if size else (None, False)


def seen(data: Any) -> tuple[float | None, bool]:
    """Seconds of a film, and whether they are told (MP4) or guessed at 2 Mbit/s."""
    size = length(data)
    raw = data if isinstance(data, bytes) else head(data)
    at = raw.find(b"mvhd")
    if at >= 0 and len(raw) >= at + 36:
        form, place = (">IQ", at + 24) if raw[at + 4] else (">II", at + 16)
        scale, duration = struct.unpack_from(form, raw, place)
        if scale:
            return duration / scale, True
    return (size / 250_000, False) if size else (None, False)


_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")


def pages_of(data: Any) -> tuple[int | None, bool]:
    """Pages of a PDF, and whether they were counted or guessed at 50 kB each."""
    size = length(data)
    if not size:
        return None, False
    # pages that are packed can't be counted without a PDF library
    counted = len(_PAGE.findall(head(data)))
    return (counted, True) if counted and size <= _HEAD else (max(1, size // 50_000), False)


# ------------------------------------------------------------ what it counts as

_UNKNOWN = (1024, 1024)
"""The size that is assumed of a picture which is not here."""

_UNKNOWN_SECONDS = 60.0
"""The length that is assumed of a recording which is not here."""


def tokens(media: Media, family: str, model: str) -> tuple[Guess, str]:
    """What a provider counts for it, and what was assumed."""
    if media.kind == "image":
        return _image(media, family, model)
    if media.kind == "document":
        return _document(media, family, model)
    return _recording(media, family, model)


def _image(media: Media, family: str, model: str) -> tuple[Guess, str]:
    count = _COUNTS.get(family, _openai)
    assumed = [] if family in _COUNTS else ["pictures count as with OpenAI"]
    if media.size is None:
        assumed.append("a picture whose size is not known counts as one of 1024 × 1024")
        smallest = count(media._replace(size=(64, 64)), model)
        largest = count(media._replace(size=(8000, 8000)), model)
        guess = Guess(
            count(media._replace(size=_UNKNOWN), model).tokens, smallest.low, largest.high
        )
    else:
        guess = count(media, model)
    return guess, "; ".join(assumed)


# OpenAI's guide to images and vision (platform.openai.com/docs/guides/images-vision), as of 2026
_TILES: tuple[tuple[str, int, int], ...] = (
    ("gpt-4o-mini", 2833, 5667),
    ("gpt-4o", 85, 170),
    ("gpt-4.1", 85, 170),
    ("gpt-4.5", 85, 170),
    ("gpt-4-", 85, 170),
    ("chatgpt-4o", 85, 170),
    ("o1", 75, 150),
    ("o3", 75, 150),
    ("computer-use-preview", 65, 129),
    ("gpt-5", 70, 140),
    ("gpt-5.1", 70, 140),
)
"""Beginning of the model's name, tokens of a picture, and of each of its tiles of 512 × 512."""

_PATCHES: tuple[tuple[str, int, float, float], ...] = (
    ("gpt-4.1-mini", 1536, 1.62, 1.62),
    ("gpt-4.1-nano", 1536, 2.46, 2.46),
    ("o4-mini", 1536, 1.72, 1.72),
    # users have been billed 1.2 and 1.5 for what the guide has as 1.62 and 2.46
    ("gpt-5-mini", 1536, 1.62, 1.2),
    ("gpt-5-nano", 1536, 2.46, 1.5),
    ("gpt-5-codex-mini", 1536, 1.62, 1.2),
    ("gpt-5.1-codex-mini", 1536, 1.62, 1.2),
    ("gpt-5.2", 1536, 1.2, 1.0),
    ("gpt-5.3", 1536, 1.2, 1.0),
)
"""Beginning of the name, most patches of 32 × 32, tokens of a patch, and the least that was seen."""

_NEWER = ("", 2500, 1.2, 1.0)
"""gpt-5.4 and later."""


def _openai(media: Media, model: str) -> Guess:
    width, height = media.size or _UNKNOWN
    patches = [row for row in _PATCHES if model.startswith(row[0])]
    tiles = [row for row in _TILES if model.startswith(row[0])]
    # the longest name is the nearest: gpt-4.1-mini is no gpt-4.1; gpt-5.4 is no gpt-5
    tiled = max(tiles, key=lambda row: len(row[0]), default=None)
    patched = max(patches, key=lambda row: len(row[0]), default=None)
    if tiled and len(tiled[0]) > len(patched[0] if patched else ""):
        rest = model[len(tiled[0]) :]
        if not (tiled[0].startswith("gpt-5") and rest[:1] == "."):
            return _tiled(media.detail, width, height, tiled[1], tiled[2])
    _, budget, each, least = patched or _NEWER
    if media.detail == "low":
        width, height = (max(1, round(edge)) for edge in _within(width, height, 512, 512))
    most = 10_000 if patched is None and media.detail not in ("low", "high") else budget
    if media.detail == "original":
        budget = most
    count = _patches(*_within(width, height, 2048, 2048), budget)
    upper = _patches(*_within(width, height, 6000, 6000), most)
    return Guess(math.ceil(count * each), count * least, math.ceil(max(count, upper) * each))


def _tiled(detail: str, width: float, height: float, base: int, each: int) -> Guess:
    if detail == "low":
        return Guess(base, base, base)
    width, height = _within(width, height, 2048, 2048)
    shorter = min(width, height)
    if shorter > 768:
        width, height = width * 768 / shorter, height * 768 / shorter
    count = base + each * math.ceil(width / 512) * math.ceil(height / 512)
    return Guess(count, base if detail != "high" else count, count)


def _within(width: float, height: float, most_wide: float, most_high: float) -> tuple[float, float]:
    shrink = min(1.0, most_wide / width, most_high / height)
    return width * shrink, height * shrink


def _patches(width: float, height: float, budget: int) -> int:
    """Patches of 32 × 32 that cover a picture, which is made smaller until they are few enough."""
    count = math.ceil(width / 32) * math.ceil(height / 32)
    if count <= budget:
        return count
    shrink = math.sqrt(32 * 32 * budget / (width * height))
    wide, high = width * shrink / 32, height * shrink / 32
    shrink *= min(max(1, math.floor(wide)) / wide, max(1, math.floor(high)) / high)
    return min(
        budget,
        max(1, round(width * shrink / 32)) * max(1, round(height * shrink / 32)),
    )


_SHARP = re.compile(
    r"claude-(?:opus-(?:4-(?:[7-9]|\d\d)(?!\d)|[5-9])|(?:sonnet|haiku)-[5-9]|(?:fable|mythos)|[5-9])"
)
"""Claude models that see pictures of up to 2576 pixels: Opus 4.7 and what came after it."""


def newer_claude(model: str) -> bool:
    """Whether it is of the generation that began with Opus 4.7: other tokenizer, sharper sight."""
    return _SHARP.match(model) is not None


def _claude(media: Media, model: str) -> Guess:
    """Anthropic's guide to vision: a token for each 28 × 28 pixels; earlier: for each 750 pixels."""
    edge, budget = (2576, 4784) if newer_claude(model) else (1568, 1568)
    wide, high = media.size or _UNKNOWN
    longer, shorter = max(wide, high), min(wide, high)
    # the largest of the same shape that is within both limits
    least, most = 1, min(longer, edge)
    while least < most:
        middle = (least + most + 1) // 2
        if _claude_patches(middle, middle * shorter / longer) <= budget:
            least = middle
        else:
            most = middle - 1
    count = _claude_patches(least, least * shorter / longer)
    area = least * least * shorter / longer / 750
    return Guess(count, min(count, area) * 0.95, max(count, area) * 1.02)


def _claude_patches(width: float, height: float) -> int:
    return math.ceil(width / 28) * math.ceil(height / 28)


_GEMINI_3 = re.compile(r"gemini-(?:[3-9]|flash-latest|pro-latest)")
_RESOLUTIONS = {"low": 280, "medium": 560, "high": 1120, "ultra_high": 2240}


def _resolution(detail: str) -> str:
    return detail.lower().rpartition("resolution_")[2]


def _gemini(media: Media, model: str) -> Guess:
    """Google's guides to tokens and to media resolution."""
    said = _resolution(media.detail)
    if _GEMINI_3.match(model):
        count = _RESOLUTIONS.get(said, 1120)
        return Guess(count, min(count, 258), count * 1.02)
    width, height = media.size or _UNKNOWN
    if said == "low":
        return Guess(64, 64, 258)
    if max(width, height) <= 384:
        return Guess(258, 258, 258)
    # tiles are cut out of it, and are at most 768 pixels wide
    unit = min(768.0, max(256.0, min(width, height) / 1.5))
    count = 258 * math.ceil(width / unit) * math.ceil(height / unit)
    return Guess(count, 258, max(count, 258 * math.ceil(width / 256) * math.ceil(height / 256)))


_COUNTS = {"openai": _openai, "claude": _claude, "gemini": _gemini}

_PAGE_TOKENS = {
    "claude": Guess(2250, 1500, 3900),
    "gemini": Guess(258, 258, 300),
    "gemini-3": Guess(560, 280, 1120),
}
"""Of a page, as documented: Claude reads 1,500 to 3,000 tokens of text and sees a picture."""

_OTHER_PAGE = Guess(1000, 400, 3000)


def _document(media: Media, family: str, model: str) -> tuple[Guess, str]:
    key = "gemini-3" if family == "gemini" and _GEMINI_3.match(model) else family
    page = _PAGE_TOKENS.get(key, _OTHER_PAGE)
    pages = media.pages or 1
    guess = Guess(*(pages * each for each in page))
    if media.surely and media.pages is not None:
        return guess, f"a page of a document counts as {page.tokens:.0f} tokens"
    return (
        Guess(guess.tokens, page.low, 10 * guess.high),
        f"a document whose pages can't be counted has {pages}, of {page.tokens:.0f} tokens each",
    )


_AUDIO = {"gemini": 32.0}
"""Tokens of a second, as documented."""

_FILM = Guess(263, 66, 263)
_FILM_OF_GEMINI_3 = Guess(70, 66, 280)
"""Tokens of a second of film with Gemini; with the sound 32 more."""


def _recording(media: Media, family: str, model: str) -> tuple[Guess, str]:
    if media.kind == "audio":
        each = Guess.around(_AUDIO[family], 0.1) if family in _AUDIO else Guess(10, 5, 40)
    else:
        sharp = family == "gemini" and _GEMINI_3.match(model)
        each = (_FILM_OF_GEMINI_3 if sharp else _FILM).plus(Guess(32, 0, 32))
    seconds = _UNKNOWN_SECONDS if media.seconds is None else media.seconds
    guess = Guess(*(math.ceil(seconds * one) for one in each))
    what = "audio" if media.kind == "audio" else "video"
    if family == "gemini" and media.surely:
        return guess, ""
    guess = guess.plus(Guess(0, 0, 10))  # what stands around it
    if media.surely:
        return guess, f"a second of {what} counts as {each.tokens:.0f} tokens"
    return (
        Guess(guess.tokens, 0, 4 * guess.high),
        f"{what} whose length is not known is {seconds:.0f} seconds long",
    )
