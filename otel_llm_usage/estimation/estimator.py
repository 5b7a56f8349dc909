"""What a call will use and cost, before it is made: tokens and dollars, and how sure that is."""

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import ConfigurationError
from ..prices import Catalogue, owner
from ..providers import hosts
from ..providers.requests import asked_tier
from ..records import Cost, Estimate, Reading, Request, Usage
from . import contents, families, media, tokenizer
from .contents import Asked, compact
from .families import Family
from .media import NONE, Guess
from .ratios import Learned, Ratios


class _Counted(NamedTuple):
    """Tokens by the kind under which they are billed."""

    text: Guess
    kinds: Mapping[str, Guess]
    method: str
    assumed: tuple[str, ...]


def estimate(
    catalogue: Catalogue,
    ratios: Ratios | None,
    model: str,
    prompt: Any,
    *,
    system: Any = None,
    tools: Any = None,
    max_output_tokens: int | None = None,
    provider: str | None = None,
    service_tier: str | None = None,
) -> Estimate:
    """See `otel_llm_usage.estimate`."""
    for name, value in (("model", model), ("provider", provider), ("service_tier", service_tier)):
        if (value is not None or name == "model") and not (
            isinstance(value, str) and value.strip()
        ):
            raise ConfigurationError(f"{name}={value!r} is no name: write it as text")
    now = time.time()
    host = hosts.named(provider or _owner(catalogue, model, now))
    family = families.family(model, host.vendor, host.platform)
    embeddings = "embed" in family.model or family.model.startswith("voyage")
    asked = contents.read(
        prompt,
        system=system,
        tools=tools,
        max_output_tokens=max_output_tokens,
        embeddings=embeddings,
    )
    if embeddings:
        asked = asked._replace(max_output_tokens=0)
    counted = _count(asked, family, None if ratios is None else ratios.of(family.model))
    request = Request(
        host.provider,
        host.vendor,
        host.platform,
        "embeddings" if embeddings else "chat",
        "batches" if service_tier == "batch" else _ENDPOINTS.get(family.name, "chat.completions"),
        model,
        tier=service_tier or asked_tier(_SDKS.get(host.vendor, "openai"), asked.told),
    )
    return _priced(catalogue, request, asked, counted, now)


_ENDPOINTS = {"claude": "messages", "gemini": "generate_content"}
_SDKS = {"anthropic": "anthropic", "google": "google"}


def _owner(catalogue: Catalogue, model: str, at: float) -> str:
    """Whose model it is: the name tells with Claude and Gemini, also of one that is not priced."""
    name = families.bare(model, "")
    if "claude" in name:
        return "anthropic"
    if "gemini" in name:
        return "google"
    return owner(catalogue, model, at=at)


def _priced(
    catalogue: Catalogue, request: Request, asked: Asked, counted: _Counted, now: float
) -> Estimate:
    total = counted.text
    for guess in counted.kinds.values():
        total = total.plus(guess)
    kinds = {kind: math.ceil(guess.tokens) for kind, guess in counted.kinds.items()}
    tokens = math.ceil(counted.text.tokens) + sum(kinds.values())
    usage = Usage(input=math.ceil(counted.text.tokens), output=0, **kinds)
    tier = request.tier

    def cost(output: int) -> Cost:
        reading = Reading(usage=usage._replace(output=output), tier=tier)
        return catalogue.price(request, reading, now)

    alone = cost(0)
    limit = asked.max_output_tokens
    most = None if limit is None else cost(limit)
    reasons = [*alone.reasons]
    reasons += ["no_max_output_tokens"] if most is None else most.reasons
    low, high = min(tokens, math.floor(total.low)), max(tokens, math.ceil(total.high))
    return Estimate(
        model=str(request.model),
        provider=request.provider,
        input_tokens=tokens,
        input_tokens_low=max(0, low),
        input_tokens_high=high,
        max_output_tokens=limit,
        input_usd=alone.total,
        max_usd=None if most is None else most.total,
        method=counted.method,
        error_band=round(max(tokens - low, high - tokens) / max(1, tokens), 4),
        assumed=tuple(dict.fromkeys((*counted.assumed, *alone.assumed))),
        reasons=tuple(dict.fromkeys(reasons)),
    )


# ------------------------------------------------------------ counting


def text_tokens(asked: Asked, family: Family) -> tuple[int, str]:
    """The tokens of a prompt of nothing but text before any ratio, and how they were counted."""
    found, method = tokenizer.count(family.encoding, asked.texts)
    return found + _around(asked, family), method


def _around(asked: Asked, family: Family) -> int:
    return family.once + family.each * asked.messages if asked.messages else 0


def _count(asked: Asked, family: Family, learned: Learned | None) -> _Counted:
    plain, method = text_tokens(asked, family)
    ratio, band = family.seed.ratio, family.seed.band
    assumed = [family.assumed] if family.assumed else []
    if method == tokenizer.CHARACTERS:
        # nothing was measured against them
        ratio, band = 1.0, 0.5
        assumed.append("a token has 4 characters: the extra `tokens` is not installed")
    elif learned is not None:
        ratio, band = learned.ratio, learned.band
        method = f"{method} × {ratio:.3g} (learned from {learned.calls} calls)"
    elif family.name != "openai":
        measured = family.seed.texts
        how = f"measured on {measured} texts" if measured else "assumed"
        method = f"{method} × {ratio:.3g} ({how})"
        assumed += [family.seed.why] if family.seed.why else []
    text = Guess.around(plain * ratio, band)
    if asked.messages:
        slack = family.slack * asked.messages
        text = text.plus(Guess(0, -slack, slack + family.hidden))
    for extra, words in (_tools(asked, family, ratio), _calls(asked, family, ratio)):
        text = text.plus(extra)
        assumed += words
    if family.name == "claude" and not _ADDED.isdisjoint(asked.told):
        text = text.plus(Guess(0, 0, 60))
        assumed.append("what thinking and output settings add to the prompt is not counted")
    kinds: dict[str, Guess] = {}
    for one in asked.media:
        guess, words_ = media.tokens(one, family.name, family.model)
        kind = _kind(one.kind, family)
        if kind == "input":
            text = text.plus(guess)
        else:
            kinds[kind] = kinds.get(kind, NONE).plus(guess)
        if words_:
            assumed.append(words_)
    assumed += [f"{what} is not here and not counted" for what in asked.unseen]
    return _Counted(text, kinds, method, tuple(assumed))


_ADDED = frozenset({"thinking", "output_config"})


def _kind(medium: str, family: Family) -> str:
    """As what a provider bills it: Gemini tells modalities apart, OpenAI sound, Claude none."""
    if family.name == "gemini" and medium in ("image", "audio", "video"):
        return f"input_{medium}"
    return "input_audio" if medium == "audio" and family.name == "openai" else "input"


_TOOL_BAND = {"openai": 0.15, "claude": 0.35, "gemini": 0.6}


def _tools(asked: Asked, family: Family, ratio: float) -> tuple[Guess, list[str]]:
    if not asked.tools:
        return NONE, []
    own = [tool for tool in asked.tools if not _is_ours(tool)]
    functions = [one for tool in asked.tools if _is_ours(tool) for one in _functions(tool)]
    tokens = 0.0
    if family.name == "openai" and functions:
        tokens = _openai_tools(functions, family)
    elif functions:
        tokens = ratio * _tokens([compact(one) for one in functions], family)
    if family.name == "claude":
        tokens += _claude_tool_prompt(family.model, asked.choice)
    guess = Guess.around(tokens, _TOOL_BAND.get(family.name, 0.6))
    words = ["how tools are told to the model is a guess"]
    if own:
        guess = guess.plus(Guess(0, 0, 5000.0 * len(own)))
        words.append("what the provider's own tools read, and their fees, are not counted")
    return guess, words


def _is_ours(tool: Mapping[str, Any]) -> bool:
    """Whether it is a function of the caller's, not a tool of the provider's."""
    kind = tool.get("type", "function")
    return kind in ("function", "custom") and (
        "function" in tool or "name" in tool or bool(_declared(tool))
    )


def _declared(tool: Mapping[str, Any]) -> list[Any]:
    found = tool.get("functionDeclarations") or tool.get("function_declarations")
    return found if isinstance(found, list) else []


def _functions(tool: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    inner = tool.get("function")
    found = _declared(tool) or [inner if isinstance(inner, Mapping) else tool]
    return [one for one in found if isinstance(one, Mapping)]


def _tokens(texts: list[str], family: Family) -> int:
    return tokenizer.count(family.encoding, texts)[0]


def _openai_tools(functions: list[Mapping[str, Any]], family: Family) -> float:
    """OpenAI's own recipe for functions (its cookbook, on counting tokens of chat calls)."""
    total = 12
    first = 10 if family.encoding == "cl100k" else 7
    texts: list[str] = []
    for function in functions:
        total += first
        texts.append(
            f"{function.get('name', '')}:{str(function.get('description', '')).rstrip('.')}"
        )
        schema = function.get("parameters") or {}
        properties = schema.get("properties") if isinstance(schema, Mapping) else None
        if not isinstance(properties, Mapping) or not properties:
            continue
        total += 3
        for name, one in properties.items():
            total += 3
            if not isinstance(one, Mapping):
                continue
            if isinstance(one.get("enum"), list):
                total += 3 * len(one["enum"]) - 3
                texts += [str(item) for item in one["enum"]]
            said = str(one.get("description", "")).rstrip(".")
            texts.append(f"{name}:{one.get('type', '')}:{said}")
            deeper = {key: one[key] for key in ("properties", "items", "anyOf") if key in one}
            if deeper:
                texts.append(compact(deeper))
    return total + _tokens(texts, family)


_TOOL_PROMPTS: tuple[tuple[str, int, int], ...] = (
    ("claude-3-opus", 530, 281),
    ("claude-3-sonnet", 159, 235),
    ("claude-3-haiku", 264, 340),
    ("claude-3-5-haiku", 264, 340),
    ("claude", 346, 313),
)
"""Beginning of the name, tokens of the prompt that Claude gets with tools: with `auto`, with `any` or `tool`."""


def _claude_tool_prompt(model: str, choice: str) -> int:
    auto, forced = next(
        (auto, forced) for name, auto, forced in _TOOL_PROMPTS if model.startswith(name)
    )
    return forced if choice in ("any", "tool") else auto


_AROUND_A_CALL = 12
"""Tokens around the call of a tool, or its result: a guess, as wide as the band of what it is added to."""


def _calls(asked: Asked, family: Family, ratio: float) -> tuple[Guess, list[str]]:
    """Calls of tools, their results, and the schema of the answer."""
    held = [*asked.calls, *([asked.schema] if asked.schema else [])]
    if not held:
        return NONE, []
    tokens = ratio * _tokens(held, family) + _AROUND_A_CALL * len(held)
    words = []
    if asked.calls:
        words.append("how calls of tools are told to the model is a guess")
    if asked.schema:
        words.append("how the schema of the answer is told to the model is a guess")
    return Guess.around(tokens, 0.5), words
