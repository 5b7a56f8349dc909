"""Google's wire: Gemini on the Developer API and on Vertex, content and embeddings."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from . import interactions
from .answers import (
    Ask,
    Dialect,
    Endpoint,
    Event,
    Failure,
    Free,
    Memory,
    Result,
    Seen,
    Tool,
    prose,
    spent,
    spoken,
)
from .wire import sse

_PATH = re.compile(r"models/([^/:]+):(\w+)$")


def _ask(seen: Seen, endpoint: str, **more: Any) -> Ask:
    found = _PATH.search(seen.path)
    asked = unquote(found[1]) if found else "unknown"
    vertex = _on_vertex(seen)
    return Ask(
        provider="gcp.vertex_ai" if vertex else "gcp.gemini",
        endpoint=endpoint,
        asked=asked,
        model=spoken(asked)[0],
        stream=bool(found and found[2].startswith("stream")),
        **more,
    )


def _on_vertex(seen: Seen) -> bool:
    return "/publishers/" in seen.path


def _read(seen: Seen, memory: Memory) -> Ask:
    body = seen.body
    contents = body["contents"]
    contents = contents if isinstance(contents, list) else [contents]
    config = body.get("generationConfig") or {}
    tools = [
        Tool(f["name"], _parameters(f))
        for tool in body.get("tools") or ()
        for f in tool.get("functionDeclarations") or ()
    ]
    mode = ((body.get("toolConfig") or {}).get("functionCallingConfig") or {}).get("mode")
    found = _PATH.search(seen.path)
    model = found[1] if found else ""
    budget = (config.get("thinkingConfig") or {}).get("thinkingBudget")
    ask = _ask(
        seen,
        "generate_content",
        prompt=prose([body.get("systemInstruction"), contents, body.get("tools")]),
        turns=_turns(contents),
        tools=() if mode == "NONE" else tuple(tools),
        schema=config.get("responseSchema") or config.get("responseJsonSchema"),
        limit=config.get("maxOutputTokens"),
        thinks=model.startswith("gemini-2.5") and "lite" not in model and budget != 0,
        media=_media(contents),
        extra={"vertex": _on_vertex(seen), "sse": "alt=sse" in seen.query},
    )
    held = body.get("cachedContent")
    # A named cache holds 4,096 tokens of text, whatever was put into it.
    return ask._replace(cache=None, media={**ask.media, "cache_read": 4096}) if held else ask


def _parameters(function: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a function's arguments; the SDK has sent its name in both spellings."""
    for name in ("parameters", "parametersJsonSchema", "parameters_json_schema"):
        if function.get(name):
            schema: Mapping[str, Any] = function[name]
            return schema
    return {}


def _turns(contents: list[Any]) -> int:
    """How many turns of function responses came since the user spoke."""
    turns = 0
    for content in contents:
        parts = content.get("parts") or ()
        if any("functionResponse" in part for part in parts):
            turns += 1
        elif content.get("role", "user") == "user" and any("text" in part for part in parts):
            turns = 0
    return turns


_MEDIA = {
    "image": ("input_image", 258),
    "audio": ("input_audio", 320),
    "video": ("input_video", 263),
}


def _media(contents: list[Any]) -> dict[str, int]:
    tokens: dict[str, int] = {}
    for content in contents:
        for part in content.get("parts") or ():
            blob = part.get("inlineData") or part.get("fileData") or {}
            mime = blob.get("mimeType") or blob.get("mime_type") or ""
            known = _MEDIA.get(mime.partition("/")[0])
            if known:
                tokens[known[0]] = tokens.get(known[0], 0) + known[1]
    return tokens


_MODALITIES = (("TEXT", ""), ("AUDIO", "_audio"), ("IMAGE", "_image"), ("VIDEO", "_video"))


def _rows(usage: Mapping[str, int], *kinds: str) -> list[dict[str, Any]]:
    """Tokens by modality; what is zero is absent."""
    rows = []
    for modality, suffix in _MODALITIES:
        count = sum(usage.get(kind + suffix, 0) for kind in kinds)
        if count:
            rows.append({"modality": modality, "tokenCount": count})
    return rows


def _total(rows: list[dict[str, Any]]) -> int:
    return sum(row["tokenCount"] for row in rows)


def _usage(ask: Ask, usage: Mapping[str, int]) -> dict[str, Any]:
    prompt = _rows(usage, "input", "cache_read")
    cached = _rows(usage, "cache_read")
    answer = _rows(usage, "output")
    thoughts, tool_use = usage.get("reasoning", 0), usage.get("input_tool_use", 0)
    told: dict[str, Any] = {
        "promptTokenCount": _total(prompt),
        "candidatesTokenCount": _total(answer),
        "totalTokenCount": _total(prompt) + _total(answer) + thoughts + tool_use,
        "cachedContentTokenCount": _total(cached),
        "thoughtsTokenCount": thoughts,
        "toolUsePromptTokenCount": tool_use,
        "promptTokensDetails": prompt,
        "cacheTokensDetails": cached,
        "candidatesTokensDetails": answer if ask.extra["vertex"] else [],
    }
    told = {name: value for name, value in told.items() if value}
    if ask.extra["vertex"]:
        return {**told, "trafficType": "ON_DEMAND"}
    return {**told, "serviceTier": ask.tier}


_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY"}


def _answer(
    ask: Ask, result: Result, parts: list[dict[str, Any]], usage: Mapping[str, int], *, last: bool
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if last:
        candidate["finishReason"] = _FINISH[result.finish]
    return {
        "candidates": [candidate],
        **result.told({"usageMetadata": _usage(ask, usage)}),
        "modelVersion": result.model,
        "responseId": result.id,
    }


def _calls(result: Result) -> list[dict[str, Any]]:
    return [
        {"functionCall": {"name": call.name, "args": dict(call.arguments)}} for call in result.calls
    ]


def _whole(ask: Ask, result: Result) -> Any:
    parts = [{"text": result.text}] if result.text else []
    return _answer(ask, result, [*parts, *_calls(result)], result.usage, last=True)


def _events(ask: Ask, result: Result) -> list[Event]:
    """Chunks with running totals; without `alt=sse` one JSON array, piece by piece."""
    thoughts = result.usage.get("reasoning", 0)
    everything = thoughts + sum(n for kind, n in result.usage.items() if kind.startswith("output"))
    steps = [([{"text": text}], thoughts + done) for text, done in result.pieces if text]
    calls = _calls(result)
    if calls or not steps:
        steps.append((calls or [{"text": ""}], everything))
    events = []
    for i, (parts, done) in enumerate(steps):
        last = i == len(steps) - 1
        done = everything if last else done
        data = _answer(ask, result, parts, spent(result.usage, done), last=last)
        events.append(Event(sse(data, end=b"\r\n\r\n"), done, closing=last, reports=last))
    return events if ask.extra["sse"] else _as_array(events)


def _as_array(events: list[Event]) -> list[Event]:
    def element(i: int, event: Event) -> bytes:
        data = event.data.removeprefix(b"data: ").rstrip()
        return (b"[" if i == 0 else b",\r\n") + data + (b"]" if event.closing else b"")

    return [event._replace(data=element(i, event)) for i, event in enumerate(events)]


# embeddings


_VECTOR = [((i * 37) % 101 - 50) / 512 for i in range(8)]


def _read_embed(seen: Seen, memory: Memory) -> Ask:
    body = seen.body
    several = body.get("requests") or body.get("instances")
    texts = [prose(one) for one in several] if several else [prose(body.get("content"))]
    counts = [len(text) // 4 + 1 for text in texts]
    verb = seen.path.rsplit(":", 1)[-1]
    # The Developer API tells no usage for this model, and does for the newer ones.
    silent = not _on_vertex(seen) and "gemini-embedding-001" in seen.path
    return _ask(
        seen,
        "embed_content",
        usage={"input": sum(counts)},
        reports=not silent,
        extra={"verb": verb, "counts": counts, "characters": sum(map(len, texts))},
    )


def _embed(ask: Ask, result: Result) -> Any:
    counts = ask.extra["counts"]
    tokens = result.usage.get("input", 0)
    if ask.extra["verb"] == "predict":
        counts = [*counts[:-1], tokens - sum(counts[:-1])]
        shown = [
            result.told({"statistics": {"token_count": count, "truncated": False}})
            for count in counts
        ]
        return {
            "predictions": [{"embeddings": {"values": _VECTOR, **told}} for told in shown],
            "metadata": {"billableCharacterCount": ask.extra["characters"]},
        }
    usage = {
        "promptTokenCount": tokens,
        "promptTokenDetails": [{"modality": "TEXT", "tokenCount": tokens}],
    }
    told = result.told({"usageMetadata": usage}) if ask.reports else {}
    vector = {"values": _VECTOR}
    if ask.extra["verb"] == "embedContent":
        return {"embedding": vector, **told}
    return {"embeddings": [vector] * len(counts), **told}


# what costs nothing


def _count(seen: Seen, memory: Memory) -> Any:
    body = seen.body if isinstance(seen.body, dict) else {}
    inner = body.get("generateContentRequest") or body
    text = prose([inner.get("systemInstruction"), inner.get("contents"), inner.get("tools")])
    tokens = len(text) // 4 + 7
    rows = [{"modality": "TEXT", "tokenCount": tokens}]
    return {"totalTokens": tokens, "promptTokensDetails": rows}


def _models(seen: Seen, memory: Memory) -> Any:
    model = {
        "name": "models/gemini-2.5-flash",
        "displayName": "Gemini 2.5 Flash",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }
    return {"models": [model]}


_GENERATE = Endpoint(
    _read,
    _whole,
    _events,
    content_type="application/json; charset=UTF-8",
    stream_type="text/event-stream",
)
_EMBED = Endpoint(_read_embed, _embed, content_type="application/json; charset=UTF-8")

_VERBS: Mapping[str, Endpoint | Free] = {
    "generateContent": _GENERATE,
    "streamGenerateContent": _GENERATE,
    "embedContent": _EMBED,
    "batchEmbedContents": _EMBED,
    "predict": _EMBED,
    "countTokens": Free(_count),
}


def _find(seen: Seen) -> Endpoint | Free | None:
    if interactions.speaks(seen):
        return interactions.find(seen)
    if seen.method == "GET":
        return Free(_models) if seen.path.endswith("/models") else None
    found = _PATH.search(seen.path)
    return _VERBS.get(found[2]) if found else None


_ERRORS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def _fail(status: int, message: str) -> Failure:
    body = {"error": {"code": status, "message": message, "status": _ERRORS.get(status, "UNKNOWN")}}
    return Failure(body, sse(body, end=b"\r\n\r\n"))


DIALECT = Dialect(_find, _fail)
