"""Service tiers: from each provider's words to ours; an unknown word stays as it is."""

from collections.abc import Mapping
from typing import Any

from .values import word

OPENAI: Mapping[str, str | None] = {
    "auto": None,  # a wish, not a tier: which one was used is not told
    "default": "standard",
    "on_demand": "standard",
    "fast": "priority",  # OpenAI's newer name of the same tier
    "scale": "provisioned",
}

ANTHROPIC: Mapping[str, str | None] = {"auto": None, "standard_only": "standard"}

GEMINI: Mapping[str, str | None] = {
    "unspecified": "standard",
    "service_tier_unspecified": "standard",
    "default": "standard",
    "traffic_type_unspecified": None,
    "on_demand": "standard",
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
    "on_demand_offpeak": "offpeak",
    "provisioned_throughput": "provisioned",
}

_TRAFFIC_NUMBERS: Mapping[int, str | None] = {0: None, 1: "standard", 2: "provisioned"}
"""Vertex with `enum-encoding=int`. Later numbers are not documented: they stay unknown words."""


def canonical(words: Mapping[str, str | None], said: Any) -> str | None:
    """Our word for the tier that a provider said."""
    told = word(said)
    if told is None:
        return None
    lower = told.lower()
    return words.get(lower, lower)


def gemini(said: Any) -> str | None:
    """Our word for a Gemini service tier or traffic type, which may be a number."""
    if isinstance(said, int) and not isinstance(said, bool):
        return _TRAFFIC_NUMBERS.get(said, f"traffic_type_{said}")
    return canonical(GEMINI, said)
