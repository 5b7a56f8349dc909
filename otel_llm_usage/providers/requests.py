"""What a request asks for: from its URL and its body to a `Request`."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from ..records import MAPPING, NOTHING, Request
from . import tiers
from .gemini import model_name
from .hosts import ANTHROPIC, Host, Place, overridden, where
from .openai import tool_facts
from .values import header, word


class _Target(NamedTuple):
    """All that the URL tells, worked out once for each URL."""

    place: Place
    operation: str
    endpoint: str
    model: str | None
    stream: bool
    region: str | None
    plain: dict[tuple[str | None, bool], Request]
    """What such a request asks for whose body says no more than a model: nearly all do."""


_OPENAI: tuple[tuple[str, str, str], ...] = (
    ("/chat/completions", "chat", "chat.completions"),
    ("/responses", "chat", "responses"),
    ("/responses/compact", "chat", "responses"),
    ("/embeddings", "embeddings", "embeddings"),
    ("/completions", "text_completion", "completions"),
    ("/images/generations", "generate_content", "images"),
    ("/images/edits", "generate_content", "images"),
    ("/images/variations", "generate_content", "images"),
    ("/audio/transcriptions", "generate_content", "audio.transcriptions"),
    ("/audio/translations", "generate_content", "audio.translations"),
    ("/audio/speech", "generate_content", "audio.speech"),
    ("/decisions", "generate_content", "decisions"),
)
"""End of the path, operation, endpoint. What is not here is free, or repeats an earlier bill."""

_ANTHROPIC: tuple[tuple[str, str, str], ...] = (
    ("/messages", "chat", "messages"),
    ("/complete", "text_completion", "complete"),
)

_GOOGLE: Mapping[str, tuple[str, str]] = {
    "generateContent": ("generate_content", "generate_content"),
    "streamGenerateContent": ("generate_content", "generate_content"),
    "embedContent": ("embeddings", "embed_content"),
    "batchEmbedContents": ("embeddings", "embed_content"),
    "predict": ("embeddings", "embed_content"),
}

_INTERACTIONS = (
    ("/interactions", "interactions"),
    ("/decisions", "decisions.create"),
    ("/voices", "voices.create"),
)
"""Google's second API: end of the path, endpoint."""

_MODEL_PATH = re.compile(r"/model/([^/]+)/(invoke|invoke-with-response-stream)$")
_RAW_PREDICT = re.compile(r"/models/([^/:]+(?:%3A[^/:]+)*):(rawPredict|streamRawPredict)$")
_DEPLOYMENT = re.compile(r"/(?:deployments|engines)/([^/]+)/")
_LOCATION = re.compile(r"(?:^|/)locations/([^/]+)/")
_GEOGRAPHY = re.compile(r"(us-gov|global|apac|[a-z]{2})\.(?=[a-z0-9]+\.)")
_HOST_REGION = re.compile(
    r"^(?:([a-z0-9-]+)-aiplatform\.|aiplatform\.(us|eu)\.rep\.|bedrock-[a-z-]+\.([a-z0-9-]+)\.)"
)


def describe(
    sdk: str,
    method: str,
    url: str,
    body: Any,
    *,
    base_url: str,
    client: str = "",
    headers: Mapping[str, str] | None = None,
    stream: bool = False,
    hosts: Mapping[str, str] | None = None,
) -> Request | None:
    """What this request asks for; `None` if it is not billed, or not ours.

    `url` is the path as the SDK has it before it is joined with `base_url`, or an absolute URL.
    `hosts` says whose host it is where its name does not: `{"llm.corp.example": "groq"}`.
    """
    target = _target(sdk, method, url, base_url, client)
    if target is None:
        return None
    told = body if isinstance(body, MAPPING) else NOTHING
    if headers or hosts or target.endpoint in _HINTED or not _UNUSUAL.isdisjoint(told):
        return _described(sdk, target, told, headers, stream, hosts)
    asked = told.get("model")
    usual = asked if isinstance(asked, str) else None, stream or told.get("stream") is True
    known = target.plain.get(usual)
    if known is None:
        known = _described(sdk, target, told, headers, stream, hosts)
        if len(target.plain) >= _MOST_MODELS:
            target.plain.clear()
        target.plain[usual] = known
    return known


_MOST_MODELS = 256


def _described(
    sdk: str,
    target: _Target,
    told: Mapping[str, Any],
    headers: Mapping[str, str] | None,
    stream: bool,
    hosts: Mapping[str, str] | None,
) -> Request:
    place = overridden(hosts, target.place) if hosts else target.place
    endpoint = target.endpoint
    model = target.model
    asked = told.get("model") or (told.get("agent") if endpoint == "interactions" else None)
    if isinstance(asked, str) and asked:
        model = model_name(asked) if sdk == "google" else asked
    hints: Mapping[str, Any] = NOTHING
    if endpoint in _HINTED or not _TELLING.isdisjoint(told) or (headers and sdk == "anthropic"):
        hints = hints_of(endpoint, told, headers)
    return Request(
        place.host.provider,
        place.host.vendor,
        place.host.platform,
        target.operation,
        endpoint,
        model,
        stream or target.stream or told.get("stream") is True,
        place.address,
        place.port,
        None if not headers and _TIERED.isdisjoint(told) else asked_tier(sdk, told, headers),
        target.region or (asked_region(place.host, told) if "inference_geo" in told else None),
        hints,
    )


@lru_cache(maxsize=2048)
def _target(sdk: str, method: str, url: str, base_url: str, client: str) -> _Target | None:
    if method.upper() != "POST":
        return None
    path, whole, place = where(sdk, client, url, base_url)
    if sdk == "google":
        found = _google(path)
    elif sdk == "anthropic":
        found = _anthropic(path)
    else:
        found = _openai(whole, path)
    if found is None:
        return None
    operation, endpoint, model, stream = found
    region = _region(place, whole, model)
    return _Target(place, operation, endpoint, model, stream, region, {})


_Found = tuple[str, str, str | None, bool]


def _openai(whole: str, path: str) -> _Found | None:
    for end, operation, endpoint in _OPENAI:
        if path.endswith(end):
            deployment = _DEPLOYMENT.search(whole)
            return operation, endpoint, unquote(deployment[1]) if deployment else None, False
    return None


def _anthropic(path: str) -> _Found | None:
    for end, operation, endpoint in _ANTHROPIC:
        if path.endswith(end):
            return operation, endpoint, None, False
    bedrock = _MODEL_PATH.search(path)
    if bedrock is not None:
        return "chat", "messages", unquote(bedrock[1]), bedrock[2] != "invoke"
    vertex = _RAW_PREDICT.search(path)
    if vertex is not None and vertex[1] != "count-tokens":
        return "chat", "messages", unquote(vertex[1]), vertex[2] != "rawPredict"
    return None


def _google(path: str) -> _Found | None:
    resource, _, verb = path.rpartition(":")
    if verb in _GOOGLE and resource:
        operation, endpoint = _GOOGLE[verb]
        model = model_name(unquote(resource.lstrip("/")))
        if verb == "predict" and model is not None and "imag" in model:
            operation, endpoint = "generate_content", "generate_images"
        return operation, endpoint, model, verb.startswith("stream")
    if path.endswith("/cachedContents"):
        return "generate_content", "caches.create", None, False
    for end, endpoint in _INTERACTIONS:
        if path.endswith(end):
            return "generate_content", endpoint, None, False
    return None


def _region(place: Place, path: str, model: str | None) -> str | None:
    if place.host.platform == "vertex":
        location = _LOCATION.search(path)
        if location is not None:
            return location[1]
        if place.address == "aiplatform.googleapis.com":
            return "global"
    elif place.host.platform == "bedrock":
        geography = _GEOGRAPHY.match(model or "")
        if geography is not None:
            return geography[1]
    else:
        return None
    found = _HOST_REGION.match(place.address or "")
    return next((part for part in found.groups() if part), None) if found else None


_HINTED = frozenset({"audio.speech", "caches.create", "images", "interactions"})
_TELLING = frozenset({"tools", "anthropic_beta", "betas", "background"})
_TIERED = frozenset({"service_tier", "serviceTier", "speed"})
_UNUSUAL = _TELLING | _TIERED | {"inference_geo"}
"""Endpoints and keys of bodies that are worth looking for hints."""


def hints_of(
    endpoint: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Mapping[str, Any]:
    """What of the request the bill depends on, without any content."""
    hints: dict[str, Any] = {}
    tools = _tools(body.get("tools"))
    if tools:
        hints["tools"] = tools
        if endpoint == "responses":
            hints.update(tool_facts(body["tools"]))
    betas = _betas(body, headers)
    if betas:
        hints["betas"] = betas
    if endpoint == "caches.create" and body.get("ttl") is not None:
        hints["ttl"] = body["ttl"]
    elif endpoint == "caches.create" and _either(body, "expireTime", "expire_time") is not None:
        hints["expires"] = _either(body, "expireTime", "expire_time")
    elif endpoint == "audio.speech" and isinstance(body.get("input"), str):
        hints["characters"] = len(body["input"])
    elif endpoint == "images" and isinstance(body.get("n"), int):
        hints["n"] = body["n"]
    if body.get("background") is True:
        hints["background"] = True
    return hints or NOTHING


def _tools(tools: Any) -> tuple[str, ...]:
    """The types of the provider's own tools; the caller's functions are not among them."""
    if not isinstance(tools, list | tuple):
        return ()
    kinds: dict[str, None] = {}
    for tool in tools:
        if not isinstance(tool, Mapping):
            continue
        kind = tool.get("type")
        if isinstance(kind, str):
            if kind not in ("function", "custom"):
                kinds[kind] = None
            continue
        for key, value in tool.items():  # Gemini: {"google_search": {}}
            if (
                isinstance(key, str)
                and value is not None
                and key not in ("functionDeclarations", "function_declarations")
            ):
                kinds[_snake(key)] = None
    return tuple(kinds)


def _either(body: Mapping[str, Any], wire: str, snake: str) -> Any:
    found = body.get(wire)
    return body.get(snake) if found is None else found


@lru_cache(maxsize=256)
def _snake(key: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", key).lower()


def _betas(body: Mapping[str, Any], headers: Mapping[str, str] | None) -> tuple[str, ...]:
    said: Any = body.get("anthropic_beta") or body.get("betas")
    if not said and headers:
        said = header(headers, "anthropic-beta")
    if isinstance(said, str):
        said = said.split(",")
    if not isinstance(said, list | tuple):
        return ()
    return tuple(beta.strip() for beta in said if isinstance(beta, str) and beta.strip())


def asked_region(host: Host, body: Mapping[str, Any]) -> str | None:
    """Where it was asked to run, as far as the body says; elsewhere the endpoint's name does."""
    return word(body.get("inference_geo")) if host.platform == ANTHROPIC.platform else None


def asked_tier(
    sdk: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> str | None:
    """The service tier that was asked for."""
    if sdk == "google":
        tier = body.get("serviceTier") or body.get("service_tier")
        if tier is None and headers:
            tier = header(headers, "x-vertex-ai-llm-shared-request-type")
        return tiers.gemini(tier) if tier is not None else None
    if sdk == "anthropic" and body.get("speed") not in (None, "standard"):
        return word(body["speed"])
    tier = body.get("service_tier")
    if tier is None:
        return None
    return tiers.canonical(tiers.ANTHROPIC if sdk == "anthropic" else tiers.OPENAI, tier)
