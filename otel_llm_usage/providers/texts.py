"""Counting the characters of delivered text in passing, without parsing and without keeping it."""

import re

from .values import parsed

_TEXT = re.compile(
    rb'"(?:content|arguments|reasoning_content|reasoning|transcript|refusal|text|thinking'
    rb'|partial_json|delta)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"',
    re.DOTALL,
)
_PLAIN = b'"delta":{"content":"'


def characters(data: bytes, start: int = 0) -> int:
    """Characters of the texts in a piece of JSON, from `start` on."""
    if data.startswith(_PLAIN, start):  # by far the most chunks are just this
        begin = start + len(_PLAIN)
        end = data.find(b'"', begin)
        piece = data[begin:end]
        plain = piece.isascii() and b"\\" not in piece
        if plain and data.startswith(b'"}', end) and data.find(b'"delta"', end) < 0:
            return len(piece)
    # OpenRouter says its reasoning twice
    end = data.find(b'"reasoning_details"', start)
    found = _TEXT.findall(data, start, end if end >= 0 else len(data))
    total = 0
    for piece in found:
        total += length(piece)
    return total


def length(piece: bytes) -> int:
    """Characters of the inside of a JSON string."""
    return len(piece) if piece.isascii() and b"\\" not in piece else _unescaped(piece)


def _unescaped(piece: bytes) -> int:
    string = parsed(b'"' + piece + b'"')
    return len(string) if isinstance(string, str) else len(piece)
