"""What of a request's body is text that the model reads."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

PROMPTS = (
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
"""The keys of a body under which there is text."""

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


def texts(
    value: Any, aside: Callable[[Mapping[str, Any]], bool] = lambda part: False
) -> Iterator[str]:
    """The texts in a JSON value, in no particular order. Iterative: requests may be deeply nested.

    Mappings for which `aside` says so are left out with all that is in them.
    """
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            if not (item.startswith("data:") and ";base64," in item[:200]):
                yield item
        elif isinstance(item, Mapping):
            if not aside(item):
                left.extend(part for key, part in item.items() if key not in _NOT_TEXT)
        elif isinstance(item, list):
            left.extend(item)
