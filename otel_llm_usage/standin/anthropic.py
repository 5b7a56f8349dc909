"""Anthropic's wire: messages on its own API, on Bedrock (binary frames) and on Vertex."""

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

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
from .wire import aws_frame, dumps, sse

_BEDROCK = re.compile(r"/model/([^/]+)/invoke(-with-response-stream)?$")
_VERTEX = re.compile(
    r"/locations/([^/]+)/publishers/anthropic/models/([^/]+):(rawP|streamRawP)redict$"
)


def _read(seen: Seen, memory: Memory) -> Ask:
    return _ask(seen, memory, "anthropic", str(seen.body["model"]), bool(seen.body.get("stream")))


def _read_bedrock(seen: Seen, memory: Memory) -> Ask:
    found = _BEDROCK.search(seen.path)
    assert found is not None
    model = unquote(found[1])
    ask = _ask(seen, memory, "aws.bedrock", model, found[2] is not None)
    return ask._replace(regional=not model.startswith("global."))


def _read_vertex(seen: Seen, memory: Memory) -> Ask:
    found = _VERTEX.search(seen.path)
    assert found is not None
    ask = _ask(seen, memory, "gcp.vertex_ai", unquote(found[2]), found[3] == "streamRawP")
    return ask._replace(regional=found[1] != "global")


def _ask(seen: Seen, memory: Memory, provider: str, asked: str, stream: bool) -> Ask:
    body, history = _continued(seen.body, memory)
    model, _ = spoken(asked)
    tools = [tool for tool in body.get("tools") or () if "input_schema" in tool]
    if (body.get("tool_choice") or {}).get("type") == "none":
        tools = []
    form = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    return Ask(
        provider=provider,
        endpoint="messages",
        asked=asked,
        model=model,
        stream=stream,
        prompt=prose([body.get("system"), history, body.get("tools")]),
        turns=_turns(history),
        tools=tuple(Tool(tool["name"], tool["input_schema"]) for tool in tools),
        schema=form.get("schema"),
        limit=body.get("max_tokens"),
        cache=_lifetime(body),
        thinks=(body.get("thinking") or {}).get("type") in ("enabled", "adaptive"),
        extra={"body": body, "history": history},
    )


def _continued(body: Mapping[str, Any], memory: Memory) -> tuple[Mapping[str, Any], list[Any]]:
    """The request with what the server holds of its thread: newer clients send only what is new."""
    thread = body.get("thread") or {}
    earlier = memory.recall(f"thread:{thread.get('previous_message_id')}")
    if earlier is None:
        return body, list(body["messages"])
    started, history = earlier
    kept = {name: started[name] for name in ("system", "tools") if name in started}
    return {**kept, **body}, [*history, *body["messages"]]


def _remember(ask: Ask, result: Result, memory: Memory) -> None:
    if "thread" in ask.extra["body"]:
        said = {"role": "assistant", "content": result.text}
        kept = {name: ask.extra["body"].get(name) for name in ("system", "tools")}
        memory.keep(f"thread:msg_{result.id}", (kept, [*ask.extra["history"], said]))


def _turns(messages: list[Any]) -> int:
    """How many turns of tool results came since the user spoke."""
    turns = 0
    for message in messages:
        if message.get("role") == "user":
            content = message.get("content")
            told = isinstance(content, list) and any(
                c.get("type") == "tool_result" for c in content
            )
            turns = turns + 1 if told else 0
    return turns


def _lifetime(body: Any) -> str | None:
    """Where the prompt is written: nothing is cached unless a `cache_control` stands somewhere."""
    found = _cache_controls(body)
    if not found:
        return None
    return "cache_write_1h" if "1h" in found else "cache_write_5m"


def _cache_controls(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*(_cache_controls(item) for item in value))
    if not isinstance(value, dict):
        return set()
    inner = set().union(*(_cache_controls(item) for item in value.values()))
    control = value.get("cache_control")
    return inner | {control.get("ttl", "5m")} if isinstance(control, dict) else inner


_FINISH = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal"}


def _stop_reason(result: Result) -> str:
    return "tool_use" if result.calls else _FINISH[result.finish]


def _prompt_usage(result: Result) -> dict[str, Any]:
    usage = result.usage
    short = usage.get("cache_write", 0) + usage.get("cache_write_5m", 0)
    long = usage.get("cache_write_1h", 0)
    return {
        "input_tokens": usage.get("input", 0),
        "cache_creation_input_tokens": short + long,
        "cache_read_input_tokens": usage.get("cache_read", 0),
        "cache_creation": {
            "ephemeral_5m_input_tokens": short,
            "ephemeral_1h_input_tokens": long,
        },
    }


def _answer_usage(result: Result) -> dict[str, Any]:
    thoughts = result.usage.get("reasoning", 0)
    told: dict[str, Any] = {"output_tokens": result.usage.get("output", 0) + thoughts}
    if thoughts:
        told["output_tokens_details"] = {"thinking_tokens": thoughts}
    searches = result.units.get("web_search")
    if searches:
        told["server_tool_use"] = {"web_search_requests": int(searches), "web_fetch_requests": 0}
    return told


def _everything(result: Result) -> int:
    return result.usage.get("output", 0) + result.usage.get("reasoning", 0)


def _blocks(result: Result) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if result.usage.get("reasoning"):
        blocks.append({"type": "thinking", "thinking": "Let me see.", "signature": "c3RhbmRpbg=="})
    if result.text:
        blocks.append({"type": "text", "text": result.text})
    blocks += [
        {
            "type": "tool_use",
            "id": f"toolu_{result.id}{i}",
            "name": call.name,
            "input": dict(call.arguments),
        }
        for i, call in enumerate(result.calls)
    ]
    return blocks


def _message(ask: Ask, result: Result, **change: Any) -> dict[str, Any]:
    return {
        "id": f"msg_{result.id}",
        "type": "message",
        "role": "assistant",
        "model": result.model,
        "content": _blocks(result),
        "stop_reason": _stop_reason(result),
        "stop_sequence": None,
        **change,
    }


def _whole(ask: Ask, result: Result) -> Any:
    usage = {**_prompt_usage(result), **_answer_usage(result), "service_tier": "standard"}
    return _message(ask, result, **result.told({"usage": usage}))


def _steps(ask: Ask, result: Result) -> list[tuple[dict[str, Any], int]]:
    """The events of a stream as JSON, each with the output that had been generated."""
    opening = {**_prompt_usage(result), "output_tokens": 1, "service_tier": "standard"}
    start = _message(ask, result, content=[], stop_reason=None, **result.told({"usage": opening}))
    steps: list[tuple[dict[str, Any], int]] = [({"type": "message_start", "message": start}, 0)]
    thoughts, all_ = result.usage.get("reasoning", 0), _everything(result)
    done = 0

    def say(kind: str, index: int, **fields: Any) -> None:
        steps.append(({"type": kind, "index": index, **fields}, done))

    def delta(index: int, kind: str, **fields: Any) -> None:
        say("content_block_delta", index, delta={"type": kind, **fields})

    for i, block in enumerate(_blocks(result)):
        empty = {"thinking": "", "signature": "", "text": "", "input": {}}
        opened = {key: empty.get(key, value) for key, value in block.items()}
        say("content_block_start", i, content_block=opened)
        if i == 0:
            steps.append(({"type": "ping"}, done))
        if block["type"] == "thinking":
            done = thoughts
            delta(i, "thinking_delta", thinking=block["thinking"])
            delta(i, "signature_delta", signature=block["signature"])
        elif block["type"] == "text":
            for text, so_far in result.pieces:
                done = thoughts + so_far
                delta(i, "text_delta", text=text)
        else:
            delta(i, "input_json_delta", partial_json="")
            done = all_
            delta(i, "input_json_delta", partial_json=dumps(block["input"]).decode())
        say("content_block_stop", i)
    stop = {"stop_reason": _stop_reason(result), "stop_sequence": None}
    usage = {k: v for k, v in _prompt_usage(result).items() if k != "cache_creation"}
    told = result.told({"usage": {**usage, **_answer_usage(result)}})
    steps.append(({"type": "message_delta", "delta": stop, **told}, all_))
    steps.append(({"type": "message_stop"}, all_))
    return steps


def _events(ask: Ask, result: Result) -> list[Event]:
    return [
        Event(sse(data, data["type"]), done, *_closes(data)) for data, done in _steps(ask, result)
    ]


def _closes(data: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether it closes the stream, and whether it reports the final usage."""
    return data["type"] in ("message_delta", "message_stop"), data["type"] == "message_delta"


def _bedrock_events(ask: Ask, result: Result) -> list[Event]:
    events = []
    for data, done in _steps(ask, result):
        if data["type"] == "message_stop":
            data = {**data, "amazon-bedrock-invocationMetrics": _metrics(result)}
        events.append(Event(_frame(data), done, *_closes(data)))
    return events


def _frame(data: Mapping[str, Any]) -> bytes:
    payload = dumps({"bytes": base64.b64encode(dumps(data)).decode(), "p": "abcdefgh"})
    return aws_frame(
        payload, event_type="chunk", content_type="application/json", message_type="event"
    )


def _bedrock_broken(message: str) -> bytes:
    return aws_frame(
        dumps({"message": message}),
        exception_type="modelStreamErrorException",
        content_type="application/json",
        message_type="exception",
    )


def _metrics(result: Result) -> dict[str, int]:
    return {
        "inputTokenCount": result.usage.get("input", 0),
        "outputTokenCount": _everything(result),
        "invocationLatency": 1,
        "firstByteLatency": 1,
    }


def _count(seen: Seen, memory: Memory) -> Any:
    body = seen.body if isinstance(seen.body, dict) else {}
    text = prose([body.get("system"), body.get("messages"), body.get("tools")])
    return {"input_tokens": len(text) // 4 + 7}


def _models(seen: Seen, memory: Memory) -> Any:
    model = {
        "type": "model",
        "id": "claude-haiku-4-5-20251001",
        "display_name": "Claude Haiku 4.5",
        "created_at": "2025-10-15T00:00:00Z",
    }
    return {"data": [model], "has_more": False, "first_id": model["id"], "last_id": model["id"]}


_MESSAGES = Endpoint(_read, _whole, _events, "msg_", _remember)
_ON_BEDROCK = Endpoint(
    _read_bedrock,
    _whole,
    _bedrock_events,
    "msg_",
    broken=_bedrock_broken,
    stream_type="application/vnd.amazon.eventstream",
)
_ON_VERTEX = Endpoint(_read_vertex, _whole, _events, "msg_")


def _find(seen: Seen) -> Endpoint | Free | None:
    path = seen.path
    if seen.method == "GET":
        return Free(_models) if path.endswith("/models") else None
    if path.endswith("/messages"):
        return _MESSAGES
    if path.endswith(("/messages/count_tokens", "/count-tokens:rawPredict")):
        return Free(_count)
    if _BEDROCK.search(path):
        return _ON_BEDROCK
    return _ON_VERTEX if _VERTEX.search(path) else None


_ERRORS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def _fail(status: int, message: str) -> Failure:
    error = {"type": _ERRORS.get(status, "api_error"), "message": message}
    body = {"type": "error", "error": error, "request_id": "req_standin"}
    return Failure(body, sse(body, "error"))


DIALECT = Dialect(_find, _fail)
