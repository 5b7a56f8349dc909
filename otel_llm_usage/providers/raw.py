"""From the raw usage of any provider, as somebody has it at hand, to what a price needs."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError
from ..records import NOTHING, Reading, Request
from . import tiers
from .answers import reader, shaped
from .hosts import (
    AZURE,
    AZURE_INFERENCE,
    BEDROCK,
    NAMED,
    VERTEX,
    Host,
    named,
    platform_named,
)
from .reading import NOT_BILLED
from .requests import asked_region, asked_tier, hints_of
from .values import parsed, word

_ENDPOINTS: Mapping[str, str] = {
    "chat": "chat.completions",
    "completion": "completions",
    "textcompletion": "completions",
    "responses.compact": "responses",
    "embedding": "embeddings",
    "images.generate": "images",
    "images.edit": "images",
    "images.generations": "images",
    "images.edits": "images",
    "imagegeneration": "images",
    "transcriptions": "audio.transcriptions",
    "translations": "audio.translations",
    "speech": "audio.speech",
    "beta.messages": "messages",
    "message": "messages",
    "messages.batches": "messages",
    "beta.messages.batches": "messages",
    "generatecontent": "generate_content",
    "streamgeneratecontent": "generate_content",
    "generatecontentstream": "generate_content",
    "embedcontent": "embed_content",
    "batchembedcontents": "embed_content",
    "generateimages": "generate_images",
    "caches": "caches.create",
    "interactions.create": "interactions",
    "live.connect": "live",
    "realtime": "responses",
}
"""Other names of the calls, without underscores."""
_UNBILLED = frozenset({"counttokens", "computetokens", "inputtokens", "moderations"})
"""The last words of calls that are free: they answer with counts that nobody bills."""
_OPERATIONS: Mapping[str, str] = {
    "chat.completions": "chat",
    "responses": "chat",
    "messages": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "embed_content": "embeddings",
}
_CLAUDE = AZURE_INFERENCE._replace(vendor="anthropic")
_PLATFORMS: Mapping[tuple[str, str], Host] = {
    ("openai", "azure"): AZURE,
    ("openai", "bedrock"): NAMED["aws"],
    ("anthropic", "azure"): _CLAUDE,
    ("anthropic", "bedrock"): BEDROCK,
    ("anthropic", "vertex"): VERTEX._replace(vendor="anthropic"),
    ("google", "vertex"): VERTEX,
}
_RESELLERS: Mapping[str, Host] = {
    "azure": _CLAUDE,
    "bedrock": BEDROCK,
    "vertex": VERTEX._replace(vendor="anthropic"),
    "gemini-api": VERTEX._replace(vendor="anthropic"),  # Google sells Claude on Vertex AI alone
}
"""Who sells Claude at Anthropic's list price, by platform."""


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
    `response["headers"]` the HTTP headers. Nothing in them makes this raise; an argument that
    cannot be meant is a `ConfigurationError`.
    """
    _check(
        provider=provider,
        endpoint=endpoint,
        platform=platform,
        model=model,
        service_tier=service_tier,
    )
    found, asked, told = _told(usage), _flat(plain(request)), plain(response)
    counted = found if isinstance(found, Mapping) else NOTHING
    whole = {**told, **counted}
    called = _called(endpoint or "")
    told_names = (word(whole.get(key)) for key in ("model", "modelVersion", "model_version"))
    names = [name for name in (model, *told_names, word(asked.get("model"))) if name]
    host = _host(provider, platform, called, names)
    batch = "batch" in called and "batchembed" not in called.replace("_", "")
    shape = _shape(called, host, counted or told, whole, names)
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
    if _last(called) in _UNBILLED:
        return described, (Reading(model=names[0] if names else None, notes=(NOT_BILLED,)),)
    read = _read(described, shape, counted, told)
    if usage is not None and found is not counted:
        first, *others = read or (Reading(),)
        read = (first._replace(notes=(*first.notes, "bad_json")), *others)
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


def _check(**arguments: Any) -> None:
    for name, value in arguments.items():
        if isinstance(value, str) and (value.strip() or name != "provider"):
            continue
        if value is not None or name == "provider":
            raise ConfigurationError(
                f"{name}={value!r} is no name: write it as text, such as {name}={_SUCH_AS[name]!r}"
            )


_SUCH_AS = {
    "provider": "openai",
    "endpoint": "chat.completions",
    "platform": "azure",
    "model": "gpt-4.1",
    "service_tier": "batch",
}


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
_EMBEDDING = re.compile(r"(?:^|[^a-z:])embed(?:ding)?s?(?![a-z])[^:]*$")
_IMAGE = re.compile(r"(?:^|/)(?:chat)?gpt-image(?![a-z])[^:]*$")
"""Models that do one thing, whatever call their usage is said to come from."""


def _called(endpoint: str) -> str:
    """The call by our own name for it, as far as it has one."""
    name = endpoint.strip().lower().removeprefix("models.")
    for spelled in (name, name.removesuffix(".create")):
        known = _ENDPOINTS.get(spelled.replace("_", "")) or (spelled if shaped(spelled) else None)
        # which kind of message does not matter, but that it came in a batch
        if known is not None and ("batch" not in spelled or known == "embed_content"):
            return known
    return name.removesuffix(".create")


def _last(called: str) -> str:
    return called.removesuffix(".count").rpartition(".")[2].replace("_", "")


def _shape(
    called: str,
    host: Host,
    counted: Mapping[str, Any],
    whole: Mapping[str, Any],
    names: list[str],
) -> str:
    """The shape of the answers of this call: what its name says, else what the usage looks like."""
    held = (counted[key] for key in _HOLDERS if isinstance(counted.get(key), Mapping))
    usage = next(held, counted)
    name = _ENDPOINTS.get(called) or called
    own = _OWN_SHAPES.get(host.vendor)
    embedding = any(_EMBEDDING.search(model.lower()) for model in names)
    if own is None or "prompt_tokens" in usage:  # the second: through an OpenAI-compatible door
        if any(_IMAGE.search(model.lower()) for model in names):
            return "images"
        if shaped(name):
            return name
        if embedding:
            return "embeddings"
        if usage.get("type") == "duration" or "seconds" in usage:
            return "audio.transcriptions"
        if whole.get("object") == "response" or "output" in whole or "input_tokens" in usage:
            return "responses"
        return "chat.completions"
    if host.vendor == "anthropic":
        return "messages"
    if embedding or "embed" in name:
        return "embed_content"
    if name in own:
        return name
    return "interactions" if "total_input_tokens" in usage else "generate_content"


_HOLDERS = ("usage", "usageMetadata", "usage_metadata")
"""Where whole answers have their usage."""


def _flat(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """A request in one level: the Google SDK takes most of it in `config`."""
    for key in ("config", "cachedContent", "cached_content"):
        inner = asked.get(key)
        if isinstance(inner, Mapping):
            asked = {**inner, **asked}
    return asked


def _host(provider: str, platform: str | None, called: str, names: list[str]) -> Host:
    """Whose price list holds, on which platform. Claude is Anthropic's wherever it is sold."""
    host = named(provider)
    wanted = host.platform if platform is None else platform_named(platform, host)
    if wanted != host.platform:
        host = _PLATFORMS.get((host.vendor, wanted)) or host._replace(platform=wanted)
    messages = _ENDPOINTS.get(called, called) == "messages"
    claude = messages or any("claude" in name.lower() for name in names)
    return _RESELLERS.get(host.platform, host) if claude else host


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
    """As a mapping: what is one, JSON of one, or an object that can become one; else empty.

    What is inside becomes plain, too. The SDKs' objects name everything that they do not have:
    such a null says no more than a key that is missing, and is left out.
    """
    found = _told(value)
    return found if isinstance(found, Mapping) else NOTHING


def provider_of(told: Mapping[str, Any], response: Any = None) -> str | None:
    """Whose answer or usage this is, by the SDK that made it, else by its names; `None`: nobody knows."""
    module = type(response).__module__
    made_by = next((name for sdk, name in _MAKERS.items() if module.startswith(sdk)), None)
    said = word(told.get("provider"))
    if said or made_by:
        return said or made_by
    usage = next((told[key] for key in _HOLDERS if isinstance(told.get(key), Mapping)), told)
    for names, provider in _NAMES:
        if not names.isdisjoint(usage):
            return provider
    if "input_tokens" in usage:  # both say so
        return "anthropic" if told.get("type") == "message" or "object" not in told else "openai"
    return None


_MAKERS = {"google.genai.": "google", "openai.": "openai", "anthropic.": "anthropic"}
_NAMES: tuple[tuple[frozenset[str], str], ...] = (
    (
        frozenset(
            {
                "promptTokenCount",
                "prompt_token_count",
                "candidatesTokenCount",
                "candidates_token_count",
                "totalTokenCount",
                "total_token_count",
            }
        ),
        "google",
    ),
    (frozenset({"prompt_tokens", "completion_tokens"}), "openai"),
    (frozenset({"cache_creation_input_tokens", "cache_read_input_tokens"}), "anthropic"),
    (frozenset({"input_tokens_details", "output_tokens_details", "total_tokens"}), "openai"),
)
"""Names of counts that only one of them uses, the surest first."""


def _told(value: Any) -> Any:
    if isinstance(value, str | bytes | bytearray):
        value = parsed(bytes(value) if isinstance(value, bytearray) else value)
    return _bare(value, _DEEPEST)


_DEEPEST = 40
"""Levels of nesting: no answer has as many, and what holds itself has no end."""


def _bare(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, str | bytes | int | float) or not depth:
        return value
    if isinstance(value, Mapping):
        return {key: _bare(item, depth - 1) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_bare(item, depth - 1) for item in value]
    fields = _fields(value)
    return value if fields is None else _bare(fields, depth - 1)


def _fields(value: Any) -> Mapping[str, Any] | None:
    """What an object holds, if it is one that can tell."""
    if isinstance(value, type):
        return None
    for name, options in _DUMPS:
        dump = getattr(value, name, None)
        if callable(dump):
            try:
                found = dump(**options)
            except (TypeError, ValueError, AttributeError, RecursionError):
                continue
            if isinstance(found, Mapping):
                return found
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    return None


_DUMPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("model_dump", {"warnings": False}),  # of what an SDK's newer server sent
    ("model_dump", {}),
    ("to_dict", {}),
    ("dict", {}),
)


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
