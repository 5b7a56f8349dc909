"""From the raw usage of any provider, as somebody has it at hand, to what a price needs."""

from collections.abc import Mapping
from typing import Any

from ..records import NOTHING, Reading, Request
from . import tiers
from .answers import reader, shaped
from .hosts import AZURE, AZURE_INFERENCE, BEDROCK, VERTEX, Host, named
from .reading import NOT_BILLED
from .requests import asked_region, asked_tier, hints_of
from .values import parsed, word

_ENDPOINTS: Mapping[str, str] = {
    "chat": "chat.completions",
    "completion": "completions",
    "text_completion": "completions",
    "responses.compact": "responses",
    "embedding": "embeddings",
    "images.generate": "images",
    "images.edit": "images",
    "images.generations": "images",
    "images.edits": "images",
    "image_generation": "images",
    "transcriptions": "audio.transcriptions",
    "translations": "audio.translations",
    "speech": "audio.speech",
    "beta.messages": "messages",
    "message": "messages",
    "messages.batches": "messages",
    "beta.messages.batches": "messages",
    "generatecontent": "generate_content",
    "streamgeneratecontent": "generate_content",
    "generate_content_stream": "generate_content",
    "embedcontent": "embed_content",
    "batchembedcontents": "embed_content",
    "caches": "caches.create",
    "interactions.create": "interactions",
    "live.connect": "live",
    "realtime": "responses",
}
_OPERATIONS: Mapping[str, str] = {
    "chat.completions": "chat",
    "responses": "chat",
    "messages": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "embed_content": "embeddings",
}
_PLATFORMS: Mapping[tuple[str, str], Host] = {
    ("openai", "azure"): AZURE,
    ("anthropic", "azure"): AZURE_INFERENCE._replace(vendor="anthropic"),
    ("anthropic", "foundry"): AZURE_INFERENCE._replace(vendor="anthropic"),
    ("anthropic", "bedrock"): BEDROCK,
    ("anthropic", "vertex"): VERTEX._replace(vendor="anthropic"),
    ("google", "vertex"): VERTEX,
}


def readings(
    *,
    provider: str,
    usage: Any,
    endpoint: str | None = None,
    platform: str | None = None,
    model: str | None = None,
    service_tier: str | None = None,
    request: Any = None,
    response: Any = None,
) -> tuple[Request, tuple[Reading, ...]]:
    """What this usage bills: a dict, a typed object of an SDK, or JSON.

    `endpoint` is the call that was made: `chat.completions`, `responses`, `messages`,
    `generate_content`, `batches`…; without it the usage's own names decide. `request` and `response` hold the other parts of the raw bodies,
    `response["headers"]` the HTTP headers. Nothing in them makes this raise.
    """
    host = _host(provider, platform)
    said = (endpoint or "").strip().lower()
    batch = "batch" in said and "batchembed" not in said
    shape = _shape(said, host, plain(usage))
    asked = _flat(plain(request))
    told = plain(response)
    described = Request(
        host.provider,
        host.vendor,
        host.platform,
        _OPERATIONS.get(shape, "generate_content"),
        shape,
        word(asked.get("model")) or model,
        asked.get("stream") is True,
        tier="batch" if batch else _asked_tier(host, asked),
        region=_region(host, asked),
        hints=hints_of(shape, asked),
    )
    read = _read(described, shape, plain(usage), told)
    if usage is not None and not isinstance(usage, Mapping) and not plain(usage):
        read = read or (Reading(notes=("bad_json",)),)
    batch = batch or tiers.canonical(tiers.OPENAI, service_tier) == "batch"
    fallback = "batch" if batch else _known_tier(host, service_tier)
    return described, tuple(
        reading._replace(
            model=reading.model or model,
            # an answer inside a batch says `default`: only the caller knows
            tier="batch" if batch else reading.tier or fallback,
        )
        for reading in read
    )


def _read(
    described: Request, shape: str, usage: Mapping[str, Any], told: Mapping[str, Any]
) -> tuple[Reading, ...]:
    gemini = shape in _GEMINI_SHAPES
    if gemini:
        usage, told = _camel(usage), _camel(told)
    key = "usageMetadata" if gemini else "usage"
    if isinstance(usage.get(key), Mapping):  # a whole response in the place of its usage
        told, usage = {**usage, **told}, usage[key]
    read = reader(described)
    for holder in (told, told.get("sdkHttpResponse")):  # the second is where the Google SDK has it
        headers = holder.get("headers") if isinstance(holder, Mapping) else None
        if isinstance(headers, Mapping):
            read.headers(headers)
    if usage:
        also = told.get(key)  # the caller may give a part of the usage, or it twice
        usage = {**also, **usage} if isinstance(also, Mapping) else usage
    read.answer({**told, key: usage} if usage else {**told})
    read.complete = True
    found = read.readings()
    if not read.billed and not read.pending:
        return tuple(one._replace(notes=(*one.notes, NOT_BILLED)) for one in found or (Reading(),))
    return found


_GEMINI_SHAPES = frozenset({"generate_content", "live", "embed_content", "caches.create"})
_OWN_SHAPES: Mapping[str, frozenset[str]] = {
    "google": _GEMINI_SHAPES | {"generate_images", "interactions"},
    "anthropic": frozenset({"messages"}),
}
"""The shapes of those whose answers are not like OpenAI's."""


def _shape(endpoint: str, host: Host, usage: Mapping[str, Any]) -> str:
    """The shape of the answers of this call: what its name says, else what the usage looks like."""
    name = endpoint.removeprefix("models.")
    stem = name.removesuffix(".create")
    name = _ENDPOINTS.get(name) or _ENDPOINTS.get(stem) or (name if shaped(name) else stem)
    own = _OWN_SHAPES.get(host.vendor)
    if own is None or "prompt_tokens" in usage:  # the second: through an OpenAI-compatible door
        if shaped(name):
            return name
        if usage.get("type") == "duration" or "seconds" in usage:
            return "audio.transcriptions"
        return "responses" if "input_tokens" in usage else "chat.completions"
    if name in own:
        return name
    if host.vendor == "anthropic":
        return "messages"
    if "embed" in name:
        return "embed_content"
    return "interactions" if "total_input_tokens" in usage else "generate_content"


def _flat(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """A request in one level: the Google SDK takes most of it in `config`."""
    for key in ("config", "cachedContent", "cached_content"):
        inner = asked.get(key)
        if isinstance(inner, Mapping):
            asked = {**inner, **asked}
    return asked


def _host(provider: str, platform: str | None) -> Host:
    host = named(provider)
    if platform is None:
        return host
    wanted = platform.strip().lower()
    if wanted == host.platform:
        return host
    return _PLATFORMS.get((host.vendor, wanted)) or host._replace(platform=wanted)


def _asked_tier(host: Host, asked: Mapping[str, Any]) -> str | None:
    return asked_tier(host.vendor, asked)


def _known_tier(host: Host, said: str | None) -> str | None:
    if said is None:
        return None
    if host.vendor == "google":
        return tiers.gemini(said)
    return tiers.canonical(tiers.ANTHROPIC if host.vendor == "anthropic" else tiers.OPENAI, said)


def _region(host: Host, asked: Mapping[str, Any]) -> str | None:
    return word(asked.get("region")) or word(asked.get("location")) or asked_region(host, asked)


def plain(value: Any) -> Mapping[str, Any]:
    """As a mapping: what is one, JSON of one, or an object that can become one; else empty."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, str | bytes | bytearray):
        found = parsed(bytes(value) if isinstance(value, bytearray) else value)
        return found if isinstance(found, Mapping) else NOTHING
    for name in ("model_dump", "to_dict", "dict"):
        dump = getattr(value, name, None)
        if callable(dump):
            try:
                found = dump()
            except (TypeError, ValueError, AttributeError):
                continue
            if isinstance(found, Mapping):
                return found
    return NOTHING


def _camel(value: Any) -> Any:
    """The wire's names of what the Google SDK calls by snake-case names."""
    if isinstance(value, Mapping):
        return {
            (_camel_key(key) if isinstance(key, str) else key): _camel(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_camel(item) for item in value]
    return value


def _camel_key(key: str) -> str:
    if "_" not in key or "-" in key:
        return key
    first, *others = key.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)
