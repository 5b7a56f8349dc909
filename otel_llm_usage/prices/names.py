"""What a model is called: one spelling for the many that platforms use."""

import re
from collections.abc import Mapping
from typing import NamedTuple

_PATH = re.compile(r"^(?:.*/)?models/(?P<model>[^/]+)$")
_BEDROCK = re.compile(
    r"^(?:(?P<region>us-gov|global|apac|[a-z]{2})\.(?=[a-z0-9]+\.))?"
    r"(?P<maker>[a-z0-9]+)\.(?P<model>.+)$"
)
_BEDROCK_VERSION = re.compile(r"(?<!claude)-v\d+(?::\d+)?(?::\d+k)?$")
_LOCATION = re.compile(r"(?:^|/)locations/([^/]+)/")
_PINNED = re.compile(r"-00\d$")
_DATED = re.compile(r"-(?:20\d{6}|20\d\d-\d\d-\d\d)$")
VERSION = re.compile(
    r"^(?:[-@:](?:\d{8}|\d{4}(?:-\d\d){2}|\d\d-\d{4}|\d\d-\d\d|\d{3,4}|v\d+|latest|preview|exp|"
    r"experimental|thinking|default))*$"
)
"""What may follow a model's name without making it another model: dates, versions, `-preview`."""


_ALSO: Mapping[str, tuple[str, str]] = {
    "azure.ai.openai": ("openai", "azure"),
    "gemini": ("google", "gemini-api"),
    "gcp.gemini": ("google", "gemini-api"),
    "gcp.gen_ai": ("google", "*"),
    "vertex": ("google", "vertex"),
    "vertexai": ("google", "vertex"),
    "vertex_ai": ("google", "vertex"),
    "gcp.vertex_ai": ("google", "vertex"),
    "aws.bedrock": ("anthropic", "bedrock"),
    "bedrock": ("anthropic", "bedrock"),
}
"""Names of providers (those of the telemetry) that are a price list on one platform."""

PLATFORMS = ("openai-api", "azure", "claude-api", "bedrock", "gemini-api", "vertex")
"""Platforms on which the prices of one list may differ."""


def price_list(provider: str) -> tuple[str, str]:
    """Whose price list a provider's name means, and on which platform (`*`: on all)."""
    name = provider.strip().lower()
    return _ALSO.get(name, (name, "*"))


def platform_word(platform: str) -> str:
    """Our word for a platform, which may be told by the name of its provider.

    `bedrock` and `vertex` are both: what sells there is told by the provider beside it.
    """
    name = platform.strip().lower()
    if name in PLATFORMS or name not in _ALSO:
        return _OWN_API.get(name, name)
    return _ALSO[name][1]


_OWN_API = {"openai": "openai-api", "anthropic": "claude-api", "google": "gemini-api"}


class Name(NamedTuple):
    """A model's name, freed of its platform."""

    text: str
    """Lower case, without paths, prefixes and platform versions."""
    raw: str
    """As it was spelled, in lower case."""
    region: str | None = None
    """What the name says about where it runs."""
    tuned: bool = False
    """A tuned model: never priced as its base."""


def parse(spelled: str, platform: str = "") -> Name:
    """Free a model's name of what its platform put around it.

    >>> parse("projects/p/locations/us-east5/publishers/anthropic/models/claude-haiku-4-5@20251001")
    Name(text='claude-haiku-4-5-20251001', raw=..., region='us-east5', tuned=False)
    """
    raw = spelled.strip().lower()
    located = _LOCATION.search(raw)
    region = located[1] if located else None
    if raw.startswith("tunedmodels/") or "/endpoints/" in raw:
        return Name(raw, raw, region, tuned=True)
    text = raw
    if text.startswith("arn:"):
        text = text.rsplit("/", 1)[-1]
    elif path := _PATH.match(text):
        text = path["model"]
    if platform == "bedrock" and (bedrock := _BEDROCK.match(text)):
        region = bedrock["region"] or region
        if bedrock["maker"] == "anthropic":
            text = _BEDROCK_VERSION.sub("", bedrock["model"])
        else:
            text = text[len(bedrock["region"]) + 1 :] if bedrock["region"] else text
    head, at, version = text.partition("@")
    if at:
        text = head if version in ("default", "latest") else f"{head}-{version}"
    return Name(text, raw, region, tuned=text.startswith("ft:") or ".ft-" in text)


def tuned_stem(text: str) -> str:
    """The part of a fine-tuned model's name that its price depends on: `ft:gpt-4o-2024-08-06`."""
    return ":".join(text.split(":")[:2]) if text.startswith("ft:") else text


def shorter(text: str) -> tuple[str, bool] | None:
    """The name without its last version, and whether that was a date; `None` if it has none."""
    for pattern, dated in ((_PINNED, False), (_DATED, True)):
        if found := pattern.search(text):
            return text[: found.start()], dated
    return None
