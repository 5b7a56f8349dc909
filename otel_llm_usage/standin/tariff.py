"""What the stand-in charges: a price list of its own, so that it can witness against ours."""

import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

MILLION = Decimal(1_000_000)


class Rates(NamedTuple):
    """US dollars per million tokens, by kind; `above` holds the rates of a longer prompt."""

    kinds: Mapping[str, Decimal]
    threshold: int | None = None
    above: Mapping[str, Decimal] = MappingProxyType({})


def _rates(**dollars: str) -> dict[str, Decimal]:
    return {kind: Decimal(amount) for kind, amount in dollars.items()}


def _google(
    prompt: str, cached: str, answer: str, audio: str, cached_audio: str
) -> dict[str, Decimal]:
    """Gemini: pictures, films and tools at the rate of text, thoughts at the rate of the answer."""
    return (
        dict.fromkeys(("input", "input_image", "input_video", "input_tool_use"), Decimal(prompt))
        | dict.fromkeys(("cache_read", "cache_read_image", "cache_read_video"), Decimal(cached))
        | dict.fromkeys(("output", "reasoning"), Decimal(answer))
        | _rates(input_audio=audio, cache_read_audio=cached_audio)
    )


def _openai(prompt: str, cached: str, answer: str) -> dict[str, Decimal]:
    return _rates(
        input=prompt, input_image=prompt, cache_read=cached, output=answer, reasoning=answer
    )


def _claude(prompt: str, cached: str, answer: str) -> dict[str, Decimal]:
    """Writing to the cache costs 1.25 times the prompt for five minutes, twice for an hour."""
    plain = Decimal(prompt)
    return _rates(input=prompt, cache_read=cached, output=answer, reasoning=answer) | {
        "cache_write": plain * Decimal("1.25"),
        "cache_write_5m": plain * Decimal("1.25"),
        "cache_write_1h": plain * 2,
    }


RATES: Mapping[str, Rates] = {
    "gemini-2.5-flash-lite": Rates(_google("0.10", "0.01", "0.40", "0.30", "0.03")),
    "gemini-2.5-flash": Rates(_google("0.30", "0.03", "2.50", "1.00", "0.10")),
    "gemini-2.5-pro": Rates(
        _google("1.25", "0.125", "10", "1.25", "0.125"),
        200_000,
        _google("2.50", "0.25", "15", "2.50", "0.25"),
    ),
    "gemini-embedding-001": Rates(_rates(input="0.15")),
    "gemini-embedding-2": Rates(_rates(input="0.20")),
    "gpt-4.1": Rates(_openai("2", "0.50", "8")),
    "gpt-4.1-mini": Rates(_openai("0.40", "0.10", "1.60")),
    "gpt-4.1-nano": Rates(_openai("0.10", "0.025", "0.40")),
    "gpt-4o": Rates(_openai("2.50", "1.25", "10")),
    "gpt-4o-mini": Rates(_openai("0.15", "0.075", "0.60")),
    "gpt-5": Rates(_openai("1.25", "0.125", "10")),
    "gpt-5-mini": Rates(_openai("0.25", "0.025", "2")),
    "gpt-5-nano": Rates(_openai("0.05", "0.005", "0.40")),
    "o3": Rates(_openai("2", "0.50", "8")),
    "o4-mini": Rates(_openai("1.10", "0.275", "4.40")),
    "gpt-3.5-turbo-instruct": Rates(_rates(input="1.50", output="2")),
    "gpt-image-1": Rates(_rates(input="5", input_image="10", output_image="40")),
    "gpt-realtime": Rates(
        _rates(input="4", cache_read="0.40", output="16")
        | _rates(input_audio="32", cache_read_audio="0.40", output_audio="64")
        | _rates(input_image="5", cache_read_image="0.50")
    ),
    "gpt-4o-mini-transcribe": Rates(_rates(input="1.25", input_audio="3", output="5")),
    "gemini-live-2.5-flash": Rates(
        dict.fromkeys(("input", "input_tool_use"), Decimal("0.50"))
        | dict.fromkeys(("input_audio", "input_image", "input_video"), Decimal(3))
        | _rates(output="2", reasoning="2", output_audio="12")
    ),
    "text-embedding-3-small": Rates(_rates(input="0.02")),
    "text-embedding-3-large": Rates(_rates(input="0.13")),
    "claude-haiku-4-5": Rates(_claude("1", "0.10", "5")),
    "claude-sonnet-4-5": Rates(_claude("3", "0.30", "15"), 200_000, _claude("6", "0.60", "22.50")),
    "claude-opus-4-5": Rates(_claude("5", "0.50", "25")),
}

UNITS: Mapping[tuple[str, str], Decimal] = {
    ("whisper-1", "audio_seconds"): Decimal("0.0001"),
    ("tts-1", "characters"): Decimal("0.000015"),
    ("dall-e-3", "images"): Decimal("0.04"),
    ("claude-haiku-4-5", "web_search"): Decimal("0.01"),
    ("claude-sonnet-4-5", "web_search"): Decimal("0.01"),
    ("claude-opus-4-5", "web_search"): Decimal("0.01"),
}
"""US dollars for one unit that is not a token, by model and unit."""

SNAPSHOTS: Mapping[str, str] = {
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-5-nano": "gpt-5-nano-2025-08-07",
    "gpt-realtime": "gpt-realtime-2025-08-28",
    "o3": "o3-2025-04-16",
    "o4-mini": "o4-mini-2025-04-16",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-opus-4-5": "claude-opus-4-5-20251101",
}
"""The dated name that answers when the short one is asked."""

TIERS: Mapping[tuple[str, str], Decimal] = {
    ("gpt-5", "flex"): Decimal("0.5"),
    ("gpt-5-mini", "flex"): Decimal("0.5"),
    ("gpt-5-nano", "flex"): Decimal("0.5"),
    ("o3", "flex"): Decimal("0.5"),
    ("gpt-5", "priority"): Decimal(2),
    ("gpt-4.1", "priority"): Decimal("1.75"),
}
"""What a service tier multiplies the rates by; a pair that is not here has no price."""

REGIONAL = Decimal("1.1")
"""Claude 4.5 on Bedrock and Vertex costs a tenth more wherever it is pinned to a region."""

_MEMORY = 2048
_names: dict[str, str] = {}
_VERSION = re.compile(r"-v\d+(:\d+)?$")
_DATE = re.compile(r"[-@](\d{8}|\d{4}-\d{2}-\d{2})$")
_PREFIX = re.compile(r"^(?:.*/)?(?:(?:us|eu|apac|jp|au|global)\.)?(?:anthropic\.)?")


def listed(model: str) -> str:
    """The name under which the list has `model`: without its path, prefix, date and version."""
    name = _names.get(model)
    if name is None:
        name = _DATE.sub("", _VERSION.sub("", _PREFIX.sub("", model)))
        if len(_names) < _MEMORY:
            _names[model] = name
    return name


def snapshot(model: str) -> str:
    """The name that the answer gives for `model`."""
    return SNAPSHOTS.get(model, model)


def charge(
    model: str,
    usage: Mapping[str, int],
    units: Mapping[str, int | Decimal] = MappingProxyType({}),
    *,
    tier: str = "standard",
    regional: bool = False,
) -> Decimal | None:
    """US dollars, exact; `None` if the list does not have the model, its tier or one of its kinds."""
    name = listed(model)
    factor = Decimal(1) if tier == "standard" else TIERS.get((name, tier))
    rates = RATES.get(name)
    if factor is None:
        return None
    if regional and name.startswith("claude-"):
        factor *= REGIONAL
    total = Decimal(0)
    if usage:
        if rates is None:
            return None
        prompt = sum(n for kind, n in usage.items() if kind.startswith(("input", "cache")))
        long = rates.threshold is not None and prompt > rates.threshold
        kinds = rates.above if long else rates.kinds
        for kind, count in usage.items():
            if kind not in kinds:
                return None
            total += kinds[kind] * count
    fees = Decimal(0)
    for unit, quantity in units.items():
        fee = UNITS.get((name, unit))
        if fee is None:
            return None
        fees += fee * quantity
    return total * factor / MILLION + fees
