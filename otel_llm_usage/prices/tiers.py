"""Which tier is billed: the answer's word, else the call that was made, else what was asked for."""

from collections.abc import Mapping

from ..records import Reading, Request

BATCH_ENDPOINTS = ("batch",)
"""What an endpoint's name contains when its answers come from a batch."""

_WORDS: Mapping[str, str] = {
    "default": "standard",
    "auto": "standard",
    "on_demand": "standard",
    "standard_only": "standard",
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
    "provisioned_throughput": "provisioned",
    "scale": "provisioned",
}
_OWN_WORDS: Mapping[tuple[str, str], str] = {
    ("openai", "fast"): "priority",
    ("claude-api", "priority"): "provisioned",
}
"""Words that mean something else with one vendor, or on one platform: the priority of Anthropic's
own API is committed capacity; others that sell Claude mean a dearer tier."""

_TELLING = frozenset({"openai-api", "azure", "claude-api"})
"""Platforms whose answers say the tier whenever it isn't the standard one."""


def billed(request: Request, reading: Reading) -> str:
    """The tier that is billed; an unknown word stays as it is.

    OpenAI's batch files say `default`, so a batch is known by its endpoint. An answer of OpenAI or
    Anthropic without a tier is standard: a tier that was asked for may have been refused. Elsewhere
    silence tells nothing, and what was asked for is billed.
    """
    if any(word in request.endpoint for word in BATCH_ENDPOINTS) or request.tier == "batch":
        return "batch"
    said = reading.tier
    if said is None and request.platform not in _TELLING:
        said = request.tier
    word = (said or "standard").lower()
    own = _OWN_WORDS.get((request.vendor, word)) or _OWN_WORDS.get((request.platform, word))
    return own or _WORDS.get(word, word)
