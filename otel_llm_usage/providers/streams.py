"""Asking OpenAI-shaped chat streams for their usage, and hiding that from the caller."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qs

from ..records import NOTHING
from .hosts import address_of, locate, path_of
from .values import parsed

Policy = Literal["inject", "inject_strip", "leave"]
"""`inject`: ask, and hide the chunk that comes for it. `inject_strip`: ask, and also hide usage in
chunks with choices. `leave`: the usage comes unasked, or asking is rejected."""

Filter = Callable[[bytes], bytes]
"""From one whole raw event to what the caller would have got without our asking."""

_POLICIES: Mapping[str, Policy] = {
    "google": "inject_strip",  # sends it in every chunk once asked
    # these send it unasked
    "groq": "leave",
    "together": "leave",
    "perplexity": "leave",
    "cerebras": "leave",
    "openrouter": "leave",
    "deepseek": "leave",
    "x-ai": "leave",
    # these reject the question: 422, and 400 in front of some models
    "mistral": "leave",
    "databricks": "leave",
}
"""By vendor; who is not here is asked."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_FIRST_AZURE_VERSION = "2024-09-01"


def stream_usage_policy(
    base_url: str,
    url: str,
    body: Mapping[str, Any],
    *,
    client: str = "",
    override: Mapping[str, str] = NOTHING,
) -> Policy:
    """Whether to ask this stream for its usage.

    `override`: `auto`, `always` or `never` by host, by `host:port`, or for all others as `*`.
    """
    if body.get("stream") is not True or not _chat(url):
        return "leave"
    options = body.get("stream_options")
    if isinstance(options, Mapping) and options.get("include_usage") is True:
        return "leave"
    vendor, platform, version = _served(base_url, url, client)
    said = _said(override, *address_of(url if "://" in url else base_url)) if override else "auto"
    if said == "never":
        return "leave"
    policy = _POLICIES.get(vendor, "leave" if vendor.startswith("huggingface") else "inject")
    if said == "always":
        return "inject" if policy == "leave" else policy
    if platform == "azure" and (body.get("data_sources") is not None or _too_old(version)):
        return "leave"
    return policy


def _said(override: Mapping[str, str], address: str | None, port: int | None) -> str:
    for host in (f"{address}:{port}", f"{address}", "*"):
        if host in override:
            return override[host]
    return "auto"


def usage_filter(
    base_url: str,
    url: str,
    body: Mapping[str, Any],
    *,
    client: str = "",
    override: Mapping[str, str] = NOTHING,
) -> Filter | None:
    """How to hide the usage that this stream is to be asked for; `None`: don't ask."""
    policy = stream_usage_policy(base_url, url, body, client=client, override=override)
    if policy == "leave":
        return None
    if policy == "inject_strip":
        return _hide_all
    return _hide if known_dialect(base_url, client=client) else _hide_chunk


def _hide(event: bytes) -> bytes:
    return hide_injected_usage(event)


def _hide_all(event: bytes) -> bytes:
    return hide_injected_usage(event, strip=True)


def _hide_chunk(event: bytes) -> bytes:
    return hide_injected_usage(event, known=False)


@lru_cache(maxsize=1024)
def known_dialect(base_url: str, *, client: str = "") -> bool:
    """Whether this host is known to leave `usage` out of every chunk unless it is asked.

    So do OpenAI and Azure, and what stands for them on this machine.
    """
    place = locate("openai", client, base_url, "")
    if place.known:
        return place.host.provider in ("openai", "azure.ai.openai")
    return _loopback(place.address or "")


def takes_the_question(base_url: str, *, client: str = "") -> bool:
    """Whether this host is known by its name to accept being asked: OpenAI and Azure."""
    place = locate("openai", client, base_url, "")
    return place.known and place.host.provider in ("openai", "azure.ai.openai")


def _loopback(address: str) -> bool:
    return address in ("localhost", "::1") or address.startswith("127.")


def _chat(url: str) -> bool:
    return url.partition("?")[0].endswith(("/chat/completions", "/completions"))


@lru_cache(maxsize=1024)
def _served(base_url: str, url: str, client: str) -> tuple[str, str, str | None]:
    absolute = "://" in url.partition("?")[0]
    path = path_of(url) if absolute else path_of(base_url) + url
    place = locate("openai", client, url if absolute else base_url, path)
    version = None
    for text in (url, base_url):
        version = version or next(
            iter(parse_qs(text.partition("?")[2]).get("api-version", [])), None
        )
    return place.host.vendor, place.host.platform, version


def _too_old(version: str | None) -> bool:
    date = _DATE.match(version or "")
    return date is not None and date[0] < _FIRST_AZURE_VERSION


_DATA = re.compile(rb"(?:^|\A\xef\xbb\xbf)data:[ ]?([^\r\n]*)", re.MULTILINE)
_KEY = re.compile(rb'"usage"\s*:\s*')
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)


def hide_injected_usage(event: bytes, *, strip: bool = False, known: bool = True) -> bytes:
    """One whole raw event of a chat stream, as it would have been had nobody asked for usage.

    Nothing is left of a chunk that came only for the usage. A `"usage":null` is cut out with its
    comma (not where it is not `known` that the host sends none unasked), and with `strip` also a
    usage in a chunk with choices. What needs no change comes back as the same object.
    """
    if b'"usage"' not in event:
        return event
    if event.startswith(b"data: ") and event.count(b"data:") == 1:
        line = event.find(b"\n")
        start, end = 6, len(event[: line if line >= 0 else None].rstrip(b"\r"))
    else:
        lines = list(_DATA.finditer(event))
        if len(lines) != 1:
            return event
        start, end = lines[0].span(1)
    data = event[start:end]
    value = _last_key(data)
    if value is not None and data.startswith(b"null", value.end()):
        return _without(event, start, value.start(), value.end() + 4) if known else event
    chunk = parsed(data)
    if not isinstance(chunk, Mapping) or "usage" not in chunk:
        return event
    usage = chunk["usage"]
    if isinstance(usage, Mapping) and not chunk.get("choices") and not chunk.get("error"):
        return b""
    if not known or not (usage is None or (strip and isinstance(usage, Mapping))):
        return event
    found = _top_level(data)
    if found is None:
        return event
    text = data[found.end() :].decode("utf-8", "replace")
    length = 4 if usage is None else _length_of(text)
    return _without(event, start, found.start(), found.end() + length) if length else event


def _last_key(data: bytes) -> re.Match[bytes] | None:
    """The `usage` key, if it is plain that it stands on the top level.

    That is where only one bracket follows it, the one that ends the chunk.
    """
    position = data.rfind(b'"usage"')
    tail = data[position:]
    if tail.count(b"}") != 1 or b"]" in tail or b"{" in tail or not tail.rstrip().endswith(b"}"):
        return None
    return _KEY.match(data, position)


def _top_level(data: bytes) -> re.Match[bytes] | None:
    """The `usage` key of the outermost object."""
    depth = 0
    for token in _TOKENS.finditer(data):
        text = token[0]
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and text == b'"usage"':
            key = _KEY.match(data, token.start())
            if key is not None:
                return key
    return None


def _length_of(text: str) -> int:
    """Bytes of the JSON object that a text begins with."""
    depth = 0
    data = text.encode()
    for token in _TOKENS.finditer(data):
        if token[0] in (b"{", b"["):
            depth += 1
        elif token[0] in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return token.end()
    return 0


def _without(event: bytes, offset: int, start: int, end: int) -> bytes:
    """The event without a member of its object, and without the comma that belonged to it."""
    start, end = offset + start, offset + end
    before = len(event[offset:start].rstrip())
    if event[offset + before - 1 : offset + before] == b",":
        return event[: offset + before - 1] + event[end:]
    after = end
    while event[after : after + 1].isspace():
        after += 1
    if event[after : after + 1] == b",":
        after += 1
        while event[after : after + 1] in (b" ", b"\t"):
            after += 1
        return event[:start] + event[after:]
    return event[:start] + event[end:]
