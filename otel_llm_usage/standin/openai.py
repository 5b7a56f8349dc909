"""OpenAI's wire: chat, completions, responses, embeddings, images, audio; Azure's paths as well."""

import base64
import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any

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
    spoken,
)
from .wire import sse

_THINKERS = ("gpt-5", "o1", "o3", "o4")
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def _ask(seen: Seen, endpoint: str, **more: Any) -> Ask:
    asked = seen.model or "unknown"
    model, _ = spoken(asked)
    body = seen.body if isinstance(seen.body, dict) else {}
    azure = "/openai/deployments/" in seen.path or "api-key" in seen.headers
    tier = body.get("service_tier")
    return Ask(
        provider="azure.ai.openai" if azure else "openai",
        endpoint=endpoint,
        asked=asked,
        model=model,
        stream=body.get("stream") in (True, "true"),
        tier=tier if tier in ("flex", "priority") else "standard",
        **more,
    )


def _tier(result: Result) -> str:
    return "default" if result.tier == "standard" else result.tier


def _schema(wanted: Any) -> Mapping[str, Any] | None:
    """The JSON schema of chat's `response_format` or responses' `text.format`."""
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    schema: Mapping[str, Any] = wanted.get("json_schema", wanted).get("schema", {})
    return schema


def _sum(usage: Mapping[str, int], prefixes: tuple[str, ...]) -> int:
    return sum(count for kind, count in usage.items() if kind.startswith(prefixes))


def _arguments(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments))


# chat and legacy completions


def _read_chat(seen: Seen, memory: Memory) -> Ask:
    body = seen.body
    tools = [t["function"] for t in body.get("tools") or () if t.get("type") == "function"]
    if body.get("tool_choice") == "none":
        tools = []
    messages = body["messages"]
    model = spoken(str(seen.model))[0]
    return _ask(
        seen,
        "chat.completions",
        prompt=prose([messages, body.get("tools")]),
        turns=_turns(messages, "role", ("tool",)),
        tools=tuple(Tool(t["name"], t.get("parameters") or {}) for t in tools),
        schema=_schema(body.get("response_format")),
        limit=body.get("max_completion_tokens") or body.get("max_tokens"),
        thinks=model.startswith(_THINKERS),
        choices=body.get("n") or 1,
        reports=_wants_usage(body),
    )


def _turns(items: list[Any], key: str, results: tuple[str, ...]) -> int:
    """How many tool results came since the user spoke: those of one turn stand together."""
    turns, inside = 0, False
    for item in items:
        is_result = item.get(key) in results
        turns += is_result and not inside
        inside = is_result
        if item.get("role") == "user":
            turns = 0
    return turns


def _wants_usage(body: Mapping[str, Any]) -> bool:
    if not body.get("stream"):
        return True
    return bool((body.get("stream_options") or {}).get("include_usage"))


def _chat_usage(result: Result) -> dict[str, Any]:
    usage = result.usage
    prompt, answer = _sum(usage, ("input", "cache")), _sum(usage, ("output", "reasoning"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {
            "cached_tokens": _sum(usage, ("cache_read",)),
            "audio_tokens": usage.get("input_audio", 0) + usage.get("cache_read_audio", 0),
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.get("reasoning", 0),
            "audio_tokens": usage.get("output_audio", 0),
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


_CHAT_FINISH = {"stop": "stop", "length": "length", "refusal": "content_filter"}


def _finish(result: Result) -> str:
    return "tool_calls" if result.calls else _CHAT_FINISH[result.finish]


def _tool_calls(result: Result) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{result.id}{i}",
            "type": "function",
            "function": {"name": call.name, "arguments": _arguments(call.arguments)},
        }
        for i, call in enumerate(result.calls)
    ]


def _chat(ask: Ask, result: Result) -> Any:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": result.text if result.text or not result.calls else None,
        "refusal": None,
        "annotations": [],
    }
    if result.calls:
        message["tool_calls"] = _tool_calls(result)
    return {
        "id": f"chatcmpl-{result.id}",
        "object": "chat.completion",
        "created": int(result.time),
        "model": result.model,
        "choices": [
            {"index": i, "message": message, "logprobs": None, "finish_reason": _finish(result)}
            for i in range(ask.choices)
        ],
        **result.told({"usage": _chat_usage(result)}),
        "service_tier": _tier(result),
        "system_fingerprint": "fp_standin",
    }


def _chat_events(ask: Ask, result: Result) -> list[Event]:
    base = {
        "id": f"chatcmpl-{result.id}",
        "object": "chat.completion.chunk",
        "created": int(result.time),
        "model": result.model,
        "service_tier": _tier(result),
        "system_fingerprint": "fp_standin",
    }

    def delta(index: int, change: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": change, "logprobs": None, "finish_reason": finish}

    opening: dict[str, Any] = {
        "role": "assistant",
        "content": "" if result.text else None,
        "refusal": None,
    }
    steps: list[tuple[dict[str, Any], int]] = []
    for i in range(ask.choices):
        steps.append((delta(i, opening), 0))
        steps += [(delta(i, {"content": text}), done) for text, done in result.pieces if text]
        for at, call in enumerate(_tool_calls(result)):
            function = call["function"]
            start = {**call, "index": at, "function": {**function, "arguments": ""}}
            steps.append((delta(i, {"tool_calls": [start]}), 4))
            rest = {"index": at, "function": {"arguments": function["arguments"]}}
            steps.append((delta(i, {"tool_calls": [rest]}), _answered(result)))
        steps.append((delta(i, {}, _finish(result)), _answered(result)))
    return _completion_events(ask, result, base, steps)


def _answered(result: Result) -> int:
    return result.usage.get("output", 0)


def _completion_events(
    ask: Ask, result: Result, base: dict[str, Any], steps: Iterable[tuple[dict[str, Any], int]]
) -> list[Event]:
    """Chunks that hold one choice each; then the usage, if the client asked for it; then `[DONE]`."""
    unsaid = {"usage": None} if ask.reports else {}
    thoughts = result.usage.get("reasoning", 0)
    each = _answered(result) // ask.choices
    events = [
        Event(
            sse({**base, "choices": [choice], **unsaid}),
            thoughts + choice["index"] * each + done,
        )
        for choice, done in steps
    ]
    if ask.reports:
        usage = result.told({"usage": _chat_usage(result)})
        data = sse({**base, "choices": [], **usage})
        events.append(Event(data, _everything(result), closing=True, reports=True))
    events.append(Event(b"data: [DONE]\n\n", _everything(result), closing=True))
    return events


def _everything(result: Result) -> int:
    return _sum(result.usage, ("output", "reasoning"))


def _read_completion(seen: Seen, memory: Memory) -> Ask:
    body = seen.body
    return _ask(
        seen,
        "completions",
        prompt=prose(body.get("prompt") or ""),
        limit=body.get("max_tokens"),
        choices=body.get("n") or 1,
        cache=None,
        reports=_wants_usage(body),
    )


def _completion_base(result: Result) -> dict[str, Any]:
    return {
        "id": f"cmpl-{result.id}",
        "object": "text_completion",
        "created": int(result.time),
        "model": result.model,
    }


def _completion_choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _completion(ask: Ask, result: Result) -> Any:
    choices = [_completion_choice(i, result.text, _finish(result)) for i in range(ask.choices)]
    return {
        **_completion_base(result),
        "choices": choices,
        **result.told({"usage": _chat_usage(result)}),
    }


def _completion_stream(ask: Ask, result: Result) -> list[Event]:
    steps = [
        (_completion_choice(i, text, None), done)
        for i in range(ask.choices)
        for text, done in result.pieces
    ]
    steps.append((_completion_choice(0, "", _finish(result)), _answered(result)))
    return _completion_events(ask, result, _completion_base(result), steps)


# responses


def _read_response(seen: Seen, memory: Memory) -> Ask:
    body = seen.body
    given = body.get("input") or []
    items = [{"role": "user", "content": given}] if isinstance(given, str) else list(given)
    earlier = memory.recall(f"history:{body.get('previous_response_id')}") or []
    history = [*earlier, *items]
    tools = [tool for tool in body.get("tools") or () if tool.get("type") == "function"]
    model = spoken(str(seen.model))[0]
    return _ask(
        seen,
        "responses",
        prompt=prose([body.get("instructions"), history, body.get("tools")]),
        turns=_turns(history, "type", ("function_call_output",)),
        tools=tuple(Tool(t["name"], t.get("parameters") or {}) for t in tools),
        schema=_schema((body.get("text") or {}).get("format")),
        limit=body.get("max_output_tokens"),
        thinks=model.startswith(_THINKERS),
        extra={
            "history": history,
            "background": bool(body.get("background")),
            "echo": {
                "instructions": body.get("instructions"),
                "max_output_tokens": body.get("max_output_tokens"),
                "previous_response_id": body.get("previous_response_id"),
                "text": body.get("text") or {"format": {"type": "text"}},
                "tools": body.get("tools") or [],
                "tool_choice": body.get("tool_choice") or "auto",
                "metadata": body.get("metadata") or {},
                "parallel_tool_calls": True,
                "temperature": 1.0,
                "top_p": 1.0,
            },
        },
    )


def _response_usage(result: Result) -> dict[str, Any]:
    usage = result.usage
    prompt, answer = _sum(usage, ("input", "cache")), _everything(result)
    inside: dict[str, Any] = {"cached_tokens": _sum(usage, ("cache_read",))}
    written = _sum(usage, ("cache_write",))
    if written:
        inside["cache_write_tokens"] = written
        inside["cache_write_tokens_details"] = {
            "ttl_12h_tokens": usage.get("cache_write_12h", 0),
            "ttl_30m_tokens": usage.get("cache_write_30m", 0),
        }
    return {
        "input_tokens": prompt,
        "input_tokens_details": inside,
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": usage.get("reasoning", 0)},
        "total_tokens": prompt + answer,
    }


def _output_items(result: Result) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if result.usage.get("reasoning"):
        items.append({"id": f"rs_{result.id}", "type": "reasoning", "summary": []})
    if result.text:
        items.append(_message_item(result))
    items += [
        {
            "id": f"fc_{result.id}{i}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{result.id}{i}",
            "name": call.name,
            "arguments": _arguments(call.arguments),
        }
        for i, call in enumerate(result.calls)
    ]
    return items


def _message_item(result: Result) -> dict[str, Any]:
    text = {"type": "output_text", "annotations": [], "logprobs": [], "text": result.text}
    return {
        "id": f"msg_{result.id}",
        "type": "message",
        "status": "completed",
        "content": [text],
        "role": "assistant",
    }


def _response_body(ask: Ask, result: Result, status: str) -> dict[str, Any]:
    done = status in ("completed", "incomplete")
    cut_short = {"reason": "max_output_tokens"} if status == "incomplete" else None
    usage = result.told({"usage": _response_usage(result)}) if done else {"usage": None}
    return {
        "id": f"resp_{result.id}",
        "object": "response",
        "created_at": int(result.time),
        "status": status,
        "background": ask.extra["background"],
        "error": None,
        "incomplete_details": cut_short,
        "model": result.model,
        "output": _output_items(result) if done else [],
        "service_tier": _tier(result) if done else "auto",
        "store": True,
        "truncation": "disabled",
        **ask.extra["echo"],
        **usage,
    }


def _response_status(result: Result) -> str:
    return "incomplete" if result.finish == "length" else "completed"


def _response(ask: Ask, result: Result) -> Any:
    status = "queued" if ask.extra["background"] else _response_status(result)
    return _response_body(ask, result, status)


def _after_response(ask: Ask, result: Result, memory: Memory) -> None:
    history = [*ask.extra["history"], *_output_items(result)]
    memory.keep(f"history:resp_{result.id}", history)
    memory.keep(f"resp_{result.id}", _response_body(ask, result, _response_status(result)))


def _response_events(ask: Ask, result: Result) -> list[Event]:
    thoughts = result.usage.get("reasoning", 0)
    events: list[Event] = []

    def say(kind: str, done: int, /, closing: bool = False, **fields: Any) -> None:
        data = {"type": kind, **fields, "sequence_number": len(events)}
        events.append(Event(sse(data, kind), done, closing=closing, reports=closing))

    for kind in ("created", "in_progress"):
        body = _response_body(ask, result, "in_progress")
        say(f"response.{kind}", 0, response=body)
    for index, item in enumerate(_output_items(result)):
        where: dict[str, Any] = {"output_index": index}
        opened = {**item, **({"status": "in_progress"} if "status" in item else {})}
        opened |= {"content": []} if item["type"] == "message" else {}
        opened |= {"arguments": ""} if item["type"] == "function_call" else {}
        say("response.output_item.added", thoughts, item=opened, **where)
        here = {"item_id": item["id"], **where}
        if item["type"] == "message":
            part, text = {"content_index": 0, **here}, item["content"][0]
            empty = {**text, "text": ""}
            say("response.content_part.added", thoughts, part=empty, **part)
            for piece, done in result.pieces:
                say("response.output_text.delta", thoughts + done, delta=piece, logprobs=[], **part)
            done = thoughts + _answered(result)
            say("response.output_text.done", done, text=result.text, logprobs=[], **part)
            say("response.content_part.done", done, part=text, **part)
        if item["type"] == "function_call":
            done, arguments = _everything(result), item["arguments"]
            say("response.function_call_arguments.delta", done, delta=arguments, **here)
            named = {"name": item["name"], "arguments": arguments}
            say("response.function_call_arguments.done", done, **named, **here)
        done = thoughts if item["type"] == "reasoning" else _everything(result)
        say("response.output_item.done", done, item=item, **where)
    status = _response_status(result)
    final = _response_body(ask, result, status)
    say(f"response.{status}", _everything(result), closing=True, response=final)
    return events


def _count_input(seen: Seen, memory: Memory) -> Any:
    body = seen.body if isinstance(seen.body, dict) else {}
    text = prose([body.get("instructions"), body.get("input"), body.get("tools")])
    return {"object": "response.input_tokens", "input_tokens": len(text) // 4 + 7}


def _retrieve_response(seen: Seen, memory: Memory) -> Any:
    return memory.recall(seen.path.removesuffix("/cancel").rsplit("/", 1)[-1])


# embeddings, images, audio


def _read_embeddings(seen: Seen, memory: Memory) -> Ask:
    given = seen.body["input"]
    many = isinstance(given, list) and given and not isinstance(given[0], int)
    inputs = given if many else [given]
    tokens = sum(len(i) if isinstance(i, list) else len(i) // 4 + 1 for i in inputs)
    return _ask(
        seen,
        "embeddings",
        usage={"input": tokens},
        extra={
            "count": len(inputs),
            "base64": seen.body.get("encoding_format") == "base64",
            "size": seen.body.get("dimensions") or 8,
        },
    )


def _embeddings(ask: Ask, result: Result) -> Any:
    size = ask.extra["size"]
    vector: Any = [((i * 37) % 101 - 50) / 512 for i in range(size)]
    if ask.extra["base64"]:
        vector = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
    tokens = result.usage.get("input", 0)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": vector}
            for i in range(ask.extra["count"])
        ],
        # The real service names the model without its date here.
        "model": ask.model,
        **result.told({"usage": {"prompt_tokens": tokens, "total_tokens": tokens}}),
    }


def _read_image(seen: Seen, memory: Memory) -> Ask:
    body = seen.body
    asked = spoken(str(seen.model))[0]
    tokens = asked.startswith("gpt-image")
    count = int(body.get("n") or 1)
    editing = seen.path.endswith("/edits")
    usage = {
        "input": len(body.get("prompt") or "") // 4 + 8,
        "input_image": 323 if editing else 0,
        "output_image": 272 * count,
    }
    return _ask(
        seen,
        "images.edit" if editing else "images.generate",
        usage=usage if tokens else {},
        units={} if tokens else {"images": count},
        reports=tokens,
        extra={"count": count},
    )


def _image_usage(result: Result) -> dict[str, Any]:
    usage = result.usage
    text, image = usage.get("input", 0), usage.get("input_image", 0)
    drawn, written = usage.get("output_image", 0), usage.get("output", 0)
    return {
        "input_tokens": text + image,
        "input_tokens_details": {"image_tokens": image, "text_tokens": text},
        "output_tokens": drawn + written,
        "output_tokens_details": {"image_tokens": drawn, "text_tokens": written},
        "total_tokens": text + image + drawn + written,
    }


def _image(ask: Ask, result: Result) -> Any:
    body: dict[str, Any] = {
        "created": int(result.time),
        "data": [{"b64_json": _PIXEL} for _ in range(ask.extra["count"])],
    }
    if ask.reports:
        body |= {"output_format": "png", "quality": "low", "size": "1024x1024"}
        body |= result.told({"usage": _image_usage(result)})
    return body


def _image_events(ask: Ask, result: Result) -> list[Event]:
    kind = "image_edit" if ask.endpoint == "images.edit" else "image_generation"
    shape = {
        "b64_json": _PIXEL,
        "created_at": int(result.time),
        "size": "1024x1024",
        "quality": "low",
        "background": "opaque",
        "output_format": "png",
    }
    done = _everything(result)
    partial = {"type": f"{kind}.partial_image", **shape, "partial_image_index": 0}
    usage = result.told({"usage": _image_usage(result)})
    final = {"type": f"{kind}.completed", **shape, **usage}
    return [
        Event(sse(partial, f"{kind}.partial_image"), done // 2),
        Event(sse(final, f"{kind}.completed"), done, closing=True, reports=True),
    ]


def _read_transcription(seen: Seen, memory: Memory) -> Ask:
    form = seen.body
    size = len(form.get("file", b""))
    by_second = spoken(str(seen.model))[0].startswith("whisper")
    wanted = form.get("response_format") or "json"
    # The made-up recordings are 1,000 bytes a second; a second is ten tokens.
    usage = {"input_audio": size // 100 + 10, "output": size // 250 + 5}
    return _ask(
        seen,
        "audio.transcriptions",
        usage={} if by_second else usage,
        units={"audio_seconds": size // 1000 + 1} if by_second else {},
        reports=wanted in ("json", "verbose_json", "diarized_json"),
        extra={"format": wanted, "task": seen.path.rsplit("/", 1)[-1]},
    )


def _transcription_usage(result: Result) -> dict[str, Any]:
    usage = result.usage
    seconds = result.units.get("audio_seconds")
    if seconds is not None:
        return {"type": "duration", "seconds": int(seconds)}
    text, audio, answer = (usage.get(kind, 0) for kind in ("input", "input_audio", "output"))
    return {
        "type": "tokens",
        "total_tokens": text + audio + answer,
        "input_tokens": text + audio,
        "input_token_details": {"text_tokens": text, "audio_tokens": audio},
        "output_tokens": answer,
    }


def _transcription(ask: Ask, result: Result) -> Any:
    if not ask.reports:
        return result.text.encode()
    body: dict[str, Any] = {"text": result.text}
    if ask.extra["format"] == "verbose_json":
        seconds = float(result.units.get("audio_seconds", 1))
        body |= {"task": "transcribe", "language": "english", "duration": seconds, "segments": []}
    return body | result.told({"usage": _transcription_usage(result)})


def _transcription_events(ask: Ask, result: Result) -> list[Event]:
    events = [
        Event(sse({"type": "transcript.text.delta", "delta": text}), done)
        for text, done in result.pieces
    ]
    usage = result.told({"usage": _transcription_usage(result)})
    final = {"type": "transcript.text.done", "text": result.text, **usage}
    events.append(Event(sse(final), _everything(result), closing=True, reports=True))
    return [*events, Event(b"data: [DONE]\n\n", _everything(result), closing=True)]


def _read_speech(seen: Seen, memory: Memory) -> Ask:
    units = {"characters": len(seen.body.get("input") or "")}
    return _ask(seen, "audio.speech", usage={}, units=units, reports=False)


def _speech(ask: Ask, result: Result) -> bytes:
    return b"ID3\x04" + bytes(1020)


# what costs nothing


def _moderation(seen: Seen, memory: Memory) -> Any:
    given = seen.body.get("input") if isinstance(seen.body, dict) else None
    names = [
        "sexual",
        "hate",
        "harassment",
        "self-harm",
        "sexual/minors",
        "hate/threatening",
        "violence/graphic",
        "self-harm/intent",
        "self-harm/instructions",
        "harassment/threatening",
        "violence",
        "illicit",
        "illicit/violent",
    ]
    verdict = {
        "flagged": False,
        "categories": dict.fromkeys(names, False),
        "category_scores": dict.fromkeys(names, 0.0001),
        "category_applied_input_types": {name: ["text"] for name in names},
    }
    count = len(given) if isinstance(given, list) else 1
    return {"id": "modr-standin", "model": "omni-moderation-latest", "results": [verdict] * count}


def _models(seen: Seen, memory: Memory) -> Any:
    model = {"id": "gpt-4.1-mini", "object": "model", "created": 1744318173, "owned_by": "system"}
    return {"object": "list", "data": [model]}


_POST: Mapping[str, Endpoint | Free] = {
    "chat/completions": Endpoint(_read_chat, _chat, _chat_events, "chatcmpl-"),
    "completions": Endpoint(_read_completion, _completion, _completion_stream, "cmpl-"),
    "responses": Endpoint(_read_response, _response, _response_events, "resp_", _after_response),
    "embeddings": Endpoint(_read_embeddings, _embeddings),
    "images/generations": Endpoint(_read_image, _image, _image_events),
    "images/edits": Endpoint(_read_image, _image, _image_events),
    "audio/transcriptions": Endpoint(_read_transcription, _transcription, _transcription_events),
    "audio/translations": Endpoint(_read_transcription, _transcription),
    "audio/speech": Endpoint(_read_speech, _speech, content_type="audio/mpeg"),
    "moderations": Free(_moderation),
    "responses/input_tokens": Free(_count_input),
}
"""By the last two words of the path, or the last one."""


def _find(seen: Seen) -> Endpoint | Free | None:
    words = seen.path.rsplit("/", 2)
    if seen.method == "POST":
        if words[-1] == "cancel":
            return Free(_retrieve_response)
        return _POST.get("/".join(words[-2:])) or _POST.get(words[-1])
    if seen.method == "GET" and words[-1] == "models":
        return Free(_models)
    if seen.method == "GET" and words[-2] == "responses":
        return Free(_retrieve_response)
    return None


_ERRORS: Mapping[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def _fail(status: int, message: str) -> Failure:
    kind, code = _ERRORS.get(status, ("server_error", None))
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Failure(body, sse(body))


DIALECT = Dialect(_find, _fail)
