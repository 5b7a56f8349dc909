"""What a stream that broke off may have billed: what the provider told, the rest by characters."""

from collections.abc import Mapping

from ..records import Request, Usage
from .prompts import PROMPTS, texts
from .values import parsed

CHARACTERS_PER_TOKEN = 4
"""The rule of thumb for English text; other languages and code have fewer."""


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
    return sum(len(text) for key in PROMPTS for text in texts(asked.get(key)))
