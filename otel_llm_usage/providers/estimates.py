"""What a stream that broke off may have billed: what the provider told, the rest by characters."""

from collections.abc import Mapping
from typing import Any

from ..records import Request, Usage
from .values import parsed

CHARACTERS_PER_TOKEN = 4
"""The rule of thumb for English text; other languages and code have fewer."""

_PROMPTS = (
    "messages",
    "system",
    "input",
    "instructions",
    "prompt",
    "contents",
    "systemInstruction",
    "system_instruction",
    "tools",
)
_NOT_TEXT = frozenset(
    {
        "data",
        "url",
        "image_url",
        "file_data",
        "file_id",
        "file_url",
        "fileUri",
        "file_uri",
        "mimeType",
        "mime_type",
        "media_type",
        "b64_json",
        "input_audio",
        "encrypted_content",
        "signature",
        "thoughtSignature",
        "thought_signature",
        "cache_control",
        "id",
        "call_id",
        "tool_call_id",
        "tool_use_id",
        "role",
        "type",
    }
)
"""Keys whose strings are no text: media, references, signatures, bookkeeping."""


def estimate(
    request: Request, request_body: bytes | None, delivered: int, reported: Usage | None
) -> Usage:
    """The usage of a stream that broke off.

    What the provider told is kept: Anthropic's input is exact from the start, Gemini's running
    output is better than a guess. The rest is a quarter of the characters of the request's text,
    and of the text that was delivered. Hidden reasoning cannot be seen: this is a lower bound.
    """
    usage = reported or Usage()
    if usage.input_tokens is None:
        usage = usage._replace(input=_tokens(_sent(request_body)))
    if not usage.output_tokens:
        usage = usage._replace(output=_tokens(delivered))
    return usage


def _tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)


def _sent(body: bytes | None) -> int:
    asked = parsed(body) if body else None
    if not isinstance(asked, Mapping):
        return 0
    return sum(_length(asked.get(key)) for key in _PROMPTS)


def _length(value: Any) -> int:
    """Characters of the text in a JSON value. Iterative: requests may be deeply nested."""
    total = 0
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            total += 0 if item.startswith("data:") else len(item)
        elif isinstance(item, Mapping):
            left.extend(part for key, part in item.items() if key not in _NOT_TEXT)
        elif isinstance(item, list):
            left.extend(item)
    return total
