"""Google's second wire: interactions, whole, streamed or in the background; decisions; voices."""

import re
from collections.abc import Mapping
from typing import Any

from .answers import Ask, Endpoint, Event, Free, Memory, Result, Seen, Tool, prose, spoken
from .wire import sse

_PATH = re.compile(r"/(interactions|decisions|voices)(?:/([^/]+))?(?:/(cancel))?$")


def speaks(seen: Seen) -> bool:
    """Whether this is one of its requests: OpenAI has some paths with the same ends."""
    google = "x-goog-api-key" in seen.headers or "/locations/" in seen.path
    return google and _PATH.search(seen.path) is not None


def _ask(seen: Seen, endpoint: str, asked: str, **more: Any) -> Ask:
    vertex = "/locations/" in seen.path
    return Ask(
        provider="gcp.vertex_ai" if vertex else "gcp.gemini",
        endpoint=endpoint,
        asked=asked,
        model=spoken(asked.removeprefix("models/"))[0],
        **more,
    )


# interactions


def _read(seen: Seen, memory: Memory) -> Ask:
    body = seen.body
    asked = body.get("model") or body["agent"]
    earlier = memory.recall(str(body.get("previous_interaction_id"))) or {"prompt": "", "turns": 0}
    steps = body["input"] if isinstance(body["input"], list) else []
    answered = any(step.get("type") == "function_result" for step in steps)
    settings = body.get("generation_config") or {}
    form = body.get("response_format")
    return _ask(
        seen,
        "interactions",
        asked,
        stream=body.get("stream") is True,
        prompt=prose([earlier["prompt"], body.get("system_instruction"), body["input"]]),
        turns=earlier["turns"] + 1 if answered else 0,
        tools=tuple(
            Tool(tool["name"], tool.get("parameters") or {})
            for tool in body.get("tools") or ()
            if tool["type"] == "function"
        ),
        schema=form.get("schema") if isinstance(form, Mapping) else None,
        limit=settings.get("max_output_tokens"),
        thinks=asked.startswith("gemini-2.5") and "lite" not in asked,
        media=_media(steps),
        tier=body.get("service_tier") or "standard",
        extra={
            "background": body.get("background") is True,
            "named": {name: body[name] for name in ("model", "agent") if name in body},
            "previous": body.get("previous_interaction_id"),
        },
    )


_MEDIA = {
    "image": ("input_image", 258),
    "audio": ("input_audio", 320),
    "video": ("input_video", 263),
}


def _media(steps: list[Any]) -> dict[str, int]:
    tokens: dict[str, int] = {}
    for step in steps:
        for part in [step, *(step.get("content") or ())]:
            known = _MEDIA.get(part.get("type", ""))
            if known:
                tokens[known[0]] = tokens.get(known[0], 0) + known[1]
    return tokens


_MODALITIES = (("text", ""), ("audio", "_audio"), ("image", "_image"), ("video", "_video"))


def _rows(usage: Mapping[str, int], *kinds: str) -> list[dict[str, Any]]:
    rows = []
    for modality, suffix in _MODALITIES:
        count = sum(usage.get(kind + suffix, 0) for kind in kinds)
        if count:
            rows.append({"modality": modality, "tokens": count})
    return rows


def _usage(usage: Mapping[str, int]) -> dict[str, Any]:
    prompt = _rows(usage, "input", "cache_read")
    cached = _rows(usage, "cache_read")
    answer = _rows(usage, "output")
    totals = {
        "total_input_tokens": sum(row["tokens"] for row in prompt),
        "total_output_tokens": sum(row["tokens"] for row in answer),
        "total_tool_use_tokens": usage.get("input_tool_use", 0),
        "total_thought_tokens": usage.get("reasoning", 0),
    }
    return {
        "total_tokens": sum(totals.values()),
        **totals,
        "total_cached_tokens": sum(row["tokens"] for row in cached),
        "input_tokens_by_modality": prompt,
        **({"cached_tokens_by_modality": cached} if cached else {}),
        "output_tokens_by_modality": answer,
    }


_FINISH = {"stop": "completed", "length": "incomplete", "refusal": "failed"}


def _id(result: Result) -> str:
    return f"{_INTERACTION.prefix}{result.id}"


def _steps(result: Result) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    if result.text:
        steps.append({"type": "model_output", "content": [{"type": "text", "text": result.text}]})
    for number, call in enumerate(result.calls):
        steps.append(
            {
                "type": "function_call",
                "id": f"call_{result.id}_{number}",
                "name": call.name,
                "arguments": dict(call.arguments),
            }
        )
    return steps


_MOMENT = "2026-11-20T12:00:00Z"


def _interaction(ask: Ask, result: Result, status: str) -> dict[str, Any]:
    previous = ask.extra["previous"]
    return {
        "id": _id(result),
        "status": status,
        **ask.extra["named"],
        **({"previous_interaction_id": previous} if previous else {}),
        "created": _MOMENT,
        "updated": _MOMENT,
        "object": "interaction",
    }


def _end(ask: Ask, result: Result) -> dict[str, Any]:
    """What an interaction says at its end; a stream leaves out the steps."""
    status = "requires_action" if result.calls else _FINISH[result.finish]
    return {
        **_interaction(ask, result, status),
        "service_tier": result.tier,
        **result.told({"usage": _usage(result.usage)}),
    }


def _ended(ask: Ask, result: Result) -> dict[str, Any]:
    return {**_end(ask, result), "steps": _steps(result)}


def _whole(ask: Ask, result: Result) -> Any:
    if ask.extra["background"]:
        return {**_interaction(ask, result, "in_progress"), "steps": []}
    return _ended(ask, result)


def _events(ask: Ask, result: Result) -> list[Event]:
    everything = sum(
        count for kind, count in result.usage.items() if kind.startswith(("output", "reasoning"))
    )
    thoughts = result.usage.get("reasoning", 0)
    numbers = iter(range(1, 1000))

    def event(kind: str, generated: int, *, last: bool = False, **fields: Any) -> Event:
        data = {"event_type": kind, "event_id": f"evt_{next(numbers)}", **fields}
        return Event(sse(data, event=kind), generated, closing=last, reports=last)

    begun = _interaction(ask, result, "in_progress")
    events = [event("interaction.created", 0, interaction=begun)]
    for index, step in enumerate(_steps(result)):
        spoken_step = step["type"] == "model_output"
        first = {**step, "content": []} if spoken_step else step
        events.append(event("step.start", thoughts, index=index, step=first))
        for text, done in result.pieces if spoken_step else ():
            delta = {"type": "text", "text": text}
            events.append(event("step.delta", thoughts + done, index=index, delta=delta))
        events.append(event("step.stop", everything, index=index))
    ended = _end(ask, result)
    events.append(event("interaction.completed", everything, last=True, interaction=ended))
    events.append(Event(b"event: done\ndata: [DONE]\n\n", everything, closing=True))
    return events


def _after(ask: Ask, result: Result, memory: Memory) -> None:
    turn = {"prompt": f"{ask.prompt}\n{result.text}", "turns": ask.turns}
    memory.keep(
        _id(result), {**turn, "ask": ask, "result": result, "looks": [0 if ask.stream else _LOOKS]}
    )


_LOOKS = 1
"""How often a background interaction is still going on when somebody looks."""


def _broken(message: str) -> bytes:
    error = {"message": message, "code": "overloaded_error"}
    return sse({"event_type": "error", "error": error}, event="error")


def _look(seen: Seen, memory: Memory) -> Any:
    """A later look at one; whole, or the events of its stream."""
    kept = _kept(seen, memory)
    if kept is None:
        return None
    ask, result = kept["ask"], kept["result"]
    if "stream=true" in seen.query:
        return b"".join(event.data for event in _events(ask, result))
    if ask.extra["background"] and kept["looks"][0] > 0:
        kept["looks"][0] -= 1
        return {**_interaction(ask, result, "in_progress"), "steps": []}
    return kept.get("cancelled") or _ended(ask, result)


def _cancel(seen: Seen, memory: Memory) -> Any:
    """What had been done until then is billed."""
    kept = _kept(seen, memory)
    if kept is None:
        return None
    kept["looks"][0] = 0
    ended = _ended(kept["ask"], kept["result"])
    kept["cancelled"] = {**ended, "status": "cancelled"}
    return kept["cancelled"]


def _kept(seen: Seen, memory: Memory) -> Any:
    found = _PATH.search(seen.path)
    return memory.recall(found[2]) if found else None


# decisions, voices


def _read_decision(seen: Seen, memory: Memory) -> Ask:
    body = seen.body
    questions = body["questions"]
    return _ask(
        seen,
        "decisions.create",
        body["model"],
        prompt=prose([body["input"], questions]),
        media=_media(body["input"] if isinstance(body["input"], list) else []),
        limit=4 * len(questions),
        extra={"questions": questions},
    )


def _decide(ask: Ask, result: Result) -> Any:
    answers: dict[str, Any] = {}
    for name, question in ask.extra["questions"].items():
        kind = question["type"]
        answers[name] = {"type": kind, "confidence": 0.75}
        if kind == "choice":
            first = next(iter(question["criteria"]))
            answers[name] |= {"choice": first, "probabilities": {first: 0.75}}
        else:
            answers[name][kind] = 0.75
    return {"answers": answers, **result.told({"usage": _usage(result.usage)})}


def _read_voice(seen: Seen, memory: Memory) -> Ask:
    voice = seen.body["voice"]
    tokens = {"input": len(prose(voice)) // 4 + 5, "output_audio": 250}
    return _ask(
        seen,
        "voices.create",
        voice.get("model") or "gemini-voice-unknown",
        usage=tokens,
        extra={"voice": voice},
    )


def _voice(ask: Ask, result: Result) -> Any:
    told = {name: ask.extra["voice"].get(name) for name in ("type", "display_name", "prompted")}
    return {
        **{name: value for name, value in told.items() if value is not None},
        "id": f"voice_{result.id}",
        "model": result.model,
        **result.told({"usage": _usage(result.usage)}),
    }


def _voices(seen: Seen, memory: Memory) -> Any:
    return {"voices": [{"type": "prebuilt", "id": "Puck", "display_name": "Puck"}]}


_INTERACTION = Endpoint(
    _read,
    _whole,
    _events,
    prefix="v1_",
    after=_after,
    broken=_broken,
    stream_type="text/event-stream",
)
_ROUTES: Mapping[tuple[str, str, bool, bool], Endpoint | Free] = {
    ("POST", "interactions", False, False): _INTERACTION,
    ("GET", "interactions", True, False): Free(_look),
    ("POST", "interactions", True, True): Free(_cancel),
    ("POST", "decisions", False, False): Endpoint(_read_decision, _decide),
    ("POST", "voices", False, False): Endpoint(_read_voice, _voice, prefix="voice_"),
    ("GET", "voices", False, False): Free(_voices),
}
"""Method, collection, whether it is about one of it, and whether that is to be cancelled."""


def find(seen: Seen) -> Endpoint | Free | None:
    """Which endpoint this is."""
    found = _PATH.search(seen.path)
    if found is None:
        return None
    return _ROUTES.get((seen.method, found[1], bool(found[2]), bool(found[3])))
