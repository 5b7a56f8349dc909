"""Work that the stand-in does after its answer: runs, batches, agents, videos; seen when looked at."""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

from . import anthropic, gemini, openai, tariff
from .answers import MAGIC, Answer, Ask, Dialect, Endpoint, Memory, Mind, Result, Seen, spoken
from .ledger import Bill, Ledger
from .wire import dumps, sse

HALF = Decimal("0.5")
"""What a batch costs: half, for prompts that no cache has seen."""


class Reply(NamedTuple):
    """An answer about some work."""

    body: Any
    """Something for JSON, or bytes as they stand."""
    content_type: str = "application/json"


@dataclass
class _Work:
    """A batch, a run, a session: something that ends when it was looked at often enough."""

    id: str
    facts: dict[str, Any]
    looks: int
    """How often it is still going on when somebody looks."""
    bills: list[Bill]
    waits: bool = False
    """For somebody who submits the outputs of tools."""
    ended: bool = False
    lines: list[dict[str, Any]] = field(default_factory=list)


class Jobs:
    """What is going on, and the endpoints that tell of it.

    `looks`: how often each piece of work that is begun from now on says that it is still going on.
    In the `metadata` of a batch or a run, `standin` asks for more: `nousage` (the batch does not tell
    its usage, only its lines do), `tool` (the run waits for the output of a tool), `failed`.
    """

    def __init__(self, mind: Mind, memory: Memory, ledger: Ledger) -> None:
        self.looks = 0
        self._mind = mind
        self._memory = memory
        self._ledger = ledger
        self._works: dict[str, _Work] = {}
        self._files: dict[str, bytes] = {}
        self._looked: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._now = 0.0

    def forget(self) -> None:
        """Everything."""
        self._works.clear()
        self._files.clear()
        self._looked.clear()
        self._numbers = itertools.count(1)

    def answer(self, seen: Seen, now: float) -> Reply | None:
        """The answer to a request about work; `None` where it is about something else."""
        self._now = now
        for method, pattern, answer in _ROUTES:
            if method == seen.method:
                found = pattern.search(seen.path)
                if found is not None:
                    return answer(self, seen, *[unquote(part or "") for part in found.groups()])
        return None

    # what all work has in common

    def _id(self, prefix: str) -> str:
        return f"{prefix}{self._mind.seed & 0xFFFF:04x}{next(self._numbers):012x}"

    def _begin(self, work: _Work) -> _Work:
        self._works[work.id] = work
        return work

    def _look(self, work: _Work) -> bool:
        """Whether it has ended; then it is billed, the first time."""
        if not work.ended and not work.waits:
            work.looks -= 1
            work.ended = work.looks < 0
            if work.ended:
                for bill in work.bills:
                    self._ledger.add(bill)
        return work.ended

    def _line(self, dialect: Dialect, path: str, body: Any) -> tuple[Ask, Result, Any, Bill] | int:
        """The answer to one request of a batch, and its bill; or the status that refused it."""
        _, words = spoken(str(body.get("model") or ""))
        fields: dict[str, Any] = {}
        for word in words:
            fields |= MAGIC[word]
        answer = Answer(**fields)
        if answer.status != 200:
            return answer.status
        seen = Seen("POST", path, "", {}, body)
        endpoint = dialect.find(seen)
        assert isinstance(endpoint, Endpoint)
        ask = endpoint.read(seen, self._memory)._replace(cache=None)
        result = self._mind.compose(ask, answer, next(self._numbers), self._now)
        return ask, result, endpoint.whole(ask, result), self._bill(ask, result, endpoint.prefix)

    def _bill(self, ask: Ask, result: Result, prefix: str, tier: str = "batch") -> Bill:
        usd = tariff.charge(result.model, result.usage, result.units)
        factor = HALF if tier == "batch" else 1
        return Bill(
            id=f"{prefix}{result.id}",
            time=result.time,
            provider=ask.provider,
            endpoint=ask.endpoint,
            model=result.model,
            asked=ask.asked,
            stream=False,
            usage=result.usage,
            units=result.units,
            usd=None if usd is None else usd * factor,
            reported=True,
            tier=tier,
        )

    # responses that were begun in the background

    def _response(self, seen: Seen, name: str) -> Reply | None:
        final = self._memory.recall(name)
        if final is None or not final.get("background"):
            return None
        query = parse_qs(seen.query)
        early = {**final, "status": "in_progress", "usage": None, "output": []}
        if query.get("stream") == ["true"]:
            after = int(query.get("starting_after", ["-1"])[0])
            return _stream(_resumed(final, early, after))
        looked = self._looked.get(name, 0)
        self._looked[name] = looked + 1
        return Reply(early if looked < self.looks else final)

    # files and batches of OpenAI

    def _upload(self, seen: Seen) -> Reply:
        name = self._id("file-")
        self._files[name] = seen.body["file"]
        return Reply(self._file(name, seen.body.get("purpose", "batch")))

    def _file(self, name: str, purpose: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "file",
            "bytes": len(self._files[name]),
            "created_at": int(self._now),
            "filename": "lines.jsonl",
            "purpose": purpose,
            "status": "processed",
        }

    def _content(self, seen: Seen, name: str) -> Reply | None:
        held = self._files.get(name)
        return None if held is None else Reply(held, "application/octet-stream")

    def _make_batch(self, seen: Seen) -> Reply:
        asked = seen.body
        requests = self._files[asked["input_file_id"]].splitlines()
        return Reply(self.openai_batch([json.loads(line) for line in requests], asked))

    def openai_batch(
        self, requests: list[dict[str, Any]], asked: Mapping[str, Any], now: float | None = None
    ) -> dict[str, Any]:
        """Begin a batch; somebody else's, if this is not called for a request."""
        self._now = self._now if now is None else now
        wanted = (asked.get("metadata") or {}).get("standin", "")
        batch = self._id("batch_")
        done, bills, failures = [], [], []
        for request in requests:
            answered = self._line(openai.DIALECT, request["url"], request["body"])
            line = {"id": self._id("batch_req_"), "custom_id": request["custom_id"]}
            if isinstance(answered, int):
                failures.append({**line, "response": None, "error": {"code": str(answered)}})
                continue
            _, result, body, bill = answered
            response = {"status_code": 200, "request_id": f"req_{result.id}", "body": body}
            done.append({**line, "response": response, "error": None})
            bills.append(bill)
        usage = _added([line["response"]["body"]["usage"] for line in done])
        told = usage is not None and "nousage" not in wanted
        if told:
            bills = [_as_one(batch, bills)]
        output = self._keep(done) if done else None
        facts = {
            "id": batch,
            "object": "batch",
            "endpoint": asked.get("endpoint", "/v1/chat/completions"),
            "model": bills[0].model if told else None,
            "errors": None,
            "input_file_id": asked.get("input_file_id", "file-elsewhere"),
            "completion_window": "24h",
            "created_at": int(self._now) - 3600,
            "metadata": asked.get("metadata"),
            "request_counts": {
                "total": len(requests),
                "completed": len(done),
                "failed": len(failures),
            },
        }
        ends = {
            "output_file_id": output,
            "error_file_id": self._keep(failures) if failures else None,
            "completed_at": int(self._now),
            **({"usage": usage} if told else {}),
        }
        work = self._begin(_Work(batch, facts, self.looks, bills))
        work.facts["ends"] = ends
        return _batch(work, "validating")

    def _keep(self, lines: list[dict[str, Any]]) -> str:
        name = self._id("file-")
        self._files[name] = b"".join(dumps(line) + b"\n" for line in lines)
        return name

    def _get_batch(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        if work is None:
            return None
        return Reply(_batch(work, "completed" if self._look(work) else "in_progress"))

    def _cancel_batch(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        if work is None:
            return None
        work.looks = 0  # what was done until now is kept, and billed
        return Reply(_batch(work, "cancelled" if self._look(work) else "cancelling"))

    # threads and runs

    def _thread(self, seen: Seen) -> Reply:
        return Reply(self._new_thread())

    def _new_thread(self) -> dict[str, Any]:
        return {
            "id": self._id("thread_"),
            "object": "thread",
            "created_at": int(self._now),
            "metadata": {},
            "tool_resources": None,
        }

    def _make_run(self, seen: Seen, thread: str) -> Reply:
        asked = seen.body
        thread = thread or self._new_thread()["id"]
        wanted = (asked.get("metadata") or {}).get("standin", "")
        model = asked.get("model") or "gpt-4.1-mini"
        ask = Ask("openai", "threads.runs", model, model, prompt=json.dumps(asked), cache=None)
        result = self._mind.compose(ask, Answer(), next(self._numbers), self._now)
        bill = self._bill(ask, result, "run_", "standard")
        facts = {
            "id": bill.id,
            "object": "thread.run",
            "created_at": int(self._now),
            "thread_id": thread,
            "assistant_id": asked["assistant_id"],
            "model": result.model,
            "instructions": "",
            "tools": [],
            "metadata": asked.get("metadata") or {},
            "required_action": None,
            "last_error": None,
        }
        waits = "tool" in wanted
        work = self._begin(_Work(bill.id, facts, self.looks, [bill], waits=waits))
        if asked.get("stream"):
            return _stream(self._run_events(work, ["created", "queued", "in_progress"]))
        return Reply(_run(work, "queued"))

    def _run_events(self, work: _Work, states: list[str]) -> Iterator[bytes]:
        for state in states:
            status = "queued" if state == "created" else state
            yield sse(_run(work, status), f"thread.run.{state}")
        work.looks = 0
        said = "requires_action" if work.waits else "completed"
        self._look(work)
        yield sse(_run(work, said), f"thread.run.{said}")
        yield b"event: done\ndata: [DONE]\n\n"

    def _get_run(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        if work is None:
            return None
        if work.waits:
            return Reply(_run(work, "requires_action"))
        return Reply(_run(work, "completed" if self._look(work) else "in_progress"))

    def _cancel_run(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        if work is None:
            return None
        work.looks, work.waits = 0, False
        self._look(work)
        return Reply(_run(work, "cancelled"))

    def _submit(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        if work is None:
            return None
        work.waits = False
        if seen.body.get("stream"):
            return _stream(self._run_events(work, ["queued", "in_progress"]))
        return Reply(_run(work, "queued"))

    # agents that OpenAI runs, and videos

    def _openai_session(self, seen: Seen) -> Reply:
        return Reply(self.openai_session(seen.body.get("model") or "gpt-4.1-mini"))

    def openai_session(self, model: str) -> dict[str, Any]:
        """Begin a session with two turns, one of them ended."""
        name = self._id("sess_")
        ask = Ask("openai", "agents.turns", model, model, prompt="turn", cache=None)
        result = self._mind.compose(ask, Answer(), next(self._numbers), self._now)
        bill = self._bill(ask, result, "turn_", "standard")
        agent = {"id": "agent_1", "model": model, "tools": [], "service_tier": "default"}
        facts = {"id": name, "object": "agent.session", "agent": agent, "status": "in_progress"}
        turn = {
            "id": bill.id,
            "object": "agent.session.turn",
            "session_id": name,
            "agent_id": "agent_1",
            "created_at": int(self._now),
        }
        usage = openai._response_usage(result)
        lines = [
            {**turn, "status": "completed", "usage": usage},
            {**turn, "id": f"{bill.id}b", "status": "in_progress", "usage": None},
        ]
        self._begin(_Work(name, facts, 0, [bill], lines=lines))
        return facts

    def _turns(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        if work is None:
            return None
        self._look(work)
        page = {"object": "list", "data": work.lines, "has_more": False}
        return Reply({**page, "first_id": work.lines[0]["id"], "last_id": work.lines[-1]["id"]})

    def _turn_events(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        if work is None:
            return None
        self._look(work)
        turn = work.lines[0]
        about = {"event_id": "evt_1", "session_id": name, "turn_id": turn["id"]}
        text = {**about, "type": "agent.session.turn.output_text.delta", "delta": "hello"}
        ended = {**about, "type": "agent.session.turn.completed", "turn": turn, "usage": None}
        return _stream(iter([sse(text, text["type"]), sse(ended, ended["type"])]))

    def _video(self, seen: Seen) -> Reply:
        asked = seen.body
        model, seconds = asked.get("model") or "sora-2", asked.get("seconds") or "4"
        ask = Ask("openai", "videos", model, model, usage={}, units={"video_seconds": int(seconds)})
        result = self._mind.compose(ask, Answer(), next(self._numbers), self._now)
        bill = self._bill(ask, result, "video_", "standard")
        self._ledger.add(bill)
        return Reply(
            {
                "id": bill.id,
                "object": "video",
                "model": model,
                "status": "queued",
                "progress": 0,
                "seconds": seconds,
                "size": "720x1280",
                "created_at": int(self._now),
            }
        )

    # batches of Anthropic, and agents that it runs

    def _make_messages(self, seen: Seen) -> Reply:
        return Reply(self.anthropic_batch(seen.body["requests"]))

    def anthropic_batch(
        self, requests: list[dict[str, Any]], now: float | None = None
    ) -> dict[str, Any]:
        """Begin a batch; somebody else's, if this is not called for a request."""
        self._now = self._now if now is None else now
        lines, bills = [], []
        for request in requests:
            answered = self._line(anthropic.DIALECT, "/v1/messages", request["params"])
            result: dict[str, Any]
            if isinstance(answered, int):
                error = {"type": "error", "error": {"type": "api_error", "message": "No."}}
                result = {"type": "errored", "error": error}
            else:
                _, _, message, bill = answered
                message["usage"] = {**message["usage"], "service_tier": "batch"}
                result = {"type": "succeeded", "message": message}
                bills.append(bill)
            lines.append({"custom_id": request["custom_id"], "result": result})
        name = self._id("msgbatch_")
        facts = {"counts": (len(requests), len(bills)), "created": _iso(self._now - 3600)}
        work = self._begin(_Work(name, facts, self.looks, bills, lines=lines))
        return self._messages_batch(work, "")

    def _messages_batch(self, work: _Work, host: str) -> dict[str, Any]:
        asked, succeeded = work.facts["counts"]
        counts = {
            "processing": 0 if work.ended else asked,
            "succeeded": succeeded if work.ended else 0,
            "errored": asked - succeeded if work.ended else 0,
            "canceled": 0,
            "expired": 0,
        }
        return {
            "id": work.id,
            "type": "message_batch",
            "processing_status": "ended" if work.ended else "in_progress",
            "request_counts": counts,
            "created_at": work.facts["created"],
            "expires_at": work.facts["created"],
            "ended_at": work.facts["created"] if work.ended else None,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"http://{host}/v1/messages/batches/{work.id}/results"
            if work.ended
            else None,
        }

    def _get_messages(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        if work is None:
            return None
        self._look(work)
        return Reply(self._messages_batch(work, seen.headers["host"]))

    def _results(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        if work is None:
            return None
        self._look(work)
        body = b"".join(dumps(line) + b"\n" for line in work.lines)
        return Reply(body, "application/x-jsonl")

    def _anthropic_session(self, seen: Seen) -> Reply:
        return Reply(self.anthropic_session(self._agent_model(seen.body.get("agent"))))

    def _agent_model(self, agent: Any) -> str:
        return agent if isinstance(agent, str) and "claude" in agent else "claude-haiku-4-5"

    def anthropic_session(self, model: str) -> dict[str, Any]:
        """Begin a session in which the model was asked twice."""
        name = self._id("sesn_")
        lines: list[dict[str, Any]] = []
        bills = []
        for turn in ("one", "another one"):
            ask = Ask("anthropic", "messages", model, model, prompt=turn, cache=None)
            result = self._mind.compose(ask, Answer(), next(self._numbers), self._now)
            bill = self._bill(ask, result, "sevt_", "standard")
            usage = {**anthropic._prompt_usage(result), **anthropic._answer_usage(result)}
            usage.pop("cache_creation", None)
            begun = {"id": f"{bill.id}a", "type": "span.model_request_start"}
            ended = {
                "id": bill.id,
                "type": "span.model_request_end",
                "model_request_start_id": begun["id"],
                "model_usage": usage,
                "is_error": False,
            }
            said = {"id": f"{bill.id}b", "type": "agent.message", "content": []}
            at = {"processed_at": _iso(self._now)}
            lines += [{**event, **at} for event in (begun, ended, said)]
            bills.append(bill._replace(model=model))
        agent = {"id": "agent_1", "type": "agent", "name": "helper", "model": {"id": model}}
        facts = {
            "id": name,
            "type": "session",
            "status": "idle",
            "agent": agent,
            "environment_id": "env_1",
            "created_at": _iso(self._now),
            "updated_at": _iso(self._now),
            "metadata": {},
            "usage": {"input_tokens": 9999, "output_tokens": 9999},
        }
        self._begin(_Work(name, facts, 0, bills, lines=lines))
        return facts

    def _get_session(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        return None if work is None else Reply(work.facts)

    def _events(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        if work is None:
            return None
        self._look(work)
        return Reply({"data": work.lines, "next_page": None})

    def _event_stream(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        if work is None:
            return None
        self._look(work)
        return _stream(sse(event, event["type"]) for event in work.lines)

    # batches and videos of Google

    def _make_gemini(self, seen: Seen, version: str, model: str, verb: str) -> Reply:
        inside = seen.body["batch"]["inputConfig"]
        asked = inside.get("requests")
        if asked is None:
            requests = [json.loads(line) for line in self._files[inside["fileName"]].splitlines()]
        else:
            requests = asked["requests"]
        return Reply(self.gemini_batch(model, requests, file=asked is None))

    def gemini_batch(
        self,
        model: str,
        requests: list[dict[str, Any]],
        *,
        file: bool = False,
        now: float | None = None,
    ) -> dict[str, Any]:
        """Begin a batch; somebody else's, if this is not called for a request."""
        self._now = self._now if now is None else now
        lines, bills = [], []
        for number, request in enumerate(requests):
            body = request["request"]
            place = {"key": request.get("key", str(number))} if file else {}
            if "429" in json.dumps(body):
                lines.append({**place, "error": {"code": 8, "message": "No."}})
                continue
            path = f"/v1beta/models/{model}:generateContent"
            answered = self._line(gemini.DIALECT, path, body)
            assert not isinstance(answered, int)
            _, _, said, bill = answered
            lines.append({**place, "response": said})
            bills.append(bill)
        name = self._id("batches/b")
        output: dict[str, Any] = {"inlinedResponses": {"inlinedResponses": lines}}
        if file:
            out = self._id("files/batch-")
            self._files[out] = b"".join(dumps(line) + b"\n" for line in lines)
            output = {"responsesFile": out}
        facts = {"model": f"models/{model}", "createTime": _iso(self._now - 3600), "out": output}
        return _operation(self._begin(_Work(name, facts, self.looks, bills)))

    def _get_gemini(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        if work is None:
            return None
        self._look(work)
        return Reply(_operation(work))

    def keep_file(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Somebody has uploaded this."""
        self._files[name] = b"".join(dumps(line) + b"\n" for line in lines)

    def _make_vertex(self, seen: Seen, place: str) -> Reply:
        name = f"{place}/batchPredictionJobs/{next(self._numbers)}"
        model = seen.body["model"]
        ask = Ask(
            "gcp.vertex_ai", "generate_content", model, model.rpartition("/")[2], reports=False
        )
        result = self._mind.compose(ask, Answer(), next(self._numbers), self._now)
        bill = self._bill(ask, result, "")._replace(id=name)
        facts = {
            "name": name,
            "model": model,
            "inputConfig": seen.body["inputConfig"],
            "outputConfig": seen.body["outputConfig"],
            "createTime": _iso(self._now - 3600),
        }
        self._begin(_Work(name, facts, self.looks, [bill]))
        return Reply({**facts, "state": "JOB_STATE_PENDING"})

    def _get_vertex(self, seen: Seen, name: str) -> Reply | None:
        work = self._works.get(name)
        if work is None:
            return None
        if not self._look(work):
            return Reply({**work.facts, "state": "JOB_STATE_RUNNING"})
        stats = {"successfulCount": "2"}
        return Reply({**work.facts, "state": "JOB_STATE_SUCCEEDED", "completionStats": stats})

    def _gemini_video(self, seen: Seen, model: str) -> Reply:
        asked = seen.body.get("parameters") or {}
        seconds = asked.get("durationSeconds")
        units = {} if seconds is None else {"video_seconds": seconds * asked.get("sampleCount", 1)}
        vertex = "/publishers/" in seen.path
        provider = "gcp.vertex_ai" if vertex else "gcp.gemini"
        ask = Ask(provider, "generate_videos", model, model, usage={}, units=units)
        result = self._mind.compose(ask, Answer(), next(self._numbers), self._now)
        name = f"models/{model}/operations/{result.id}"
        self._ledger.add(self._bill(ask, result, "", "standard")._replace(id=name))
        return Reply({"name": name})


def _stream(events: Iterator[bytes]) -> Reply:
    return Reply(b"".join(events), "text/event-stream; charset=utf-8")


def _resumed(final: dict[str, Any], early: dict[str, Any], after: int) -> Iterator[bytes]:
    texts = [part["text"] for item in final["output"] for part in item.get("content") or ()]
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": early}),
        ("response.in_progress", {"response": early}),
    ]
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    kinds += [("response.output_text.delta", {"delta": text, **where}) for text in texts]
    kinds.append((f"response.{final['status']}", {"response": final}))
    for number, (kind, fields) in enumerate(kinds):
        if number > after or number == len(kinds) - 1:
            yield sse({"type": kind, **fields, "sequence_number": number}, kind)


def _batch(work: _Work, status: str) -> dict[str, Any]:
    facts = {key: value for key, value in work.facts.items() if key != "ends"}
    return {**facts, "status": status, **(work.facts["ends"] if work.ended else {})}


def _run(work: _Work, status: str) -> dict[str, Any]:
    action = None
    if status == "requires_action":
        function = {"name": "look", "arguments": "{}"}
        calls = [{"id": "call_1", "type": "function", "function": function}]
        action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}
    usage = None
    if work.ended:
        counts = work.bills[0].usage
        prompt, answer = counts.get("input", 0), counts.get("output", 0)
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
        }
    return {**work.facts, "status": status, "required_action": action, "usage": usage}


def _operation(work: _Work) -> dict[str, Any]:
    about = {key: work.facts[key] for key in ("model", "createTime")}
    about |= {"name": work.id, "displayName": "batch", "state": "BATCH_STATE_PENDING"}
    if not work.ended:
        return {"name": work.id, "metadata": about}
    about |= {"state": "BATCH_STATE_SUCCEEDED", "endTime": work.facts["createTime"]}
    about["output"] = work.facts["out"]
    return {"name": work.id, "metadata": about, "done": True, "response": work.facts["out"]}


def _added(usages: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The usage of a batch: the sum of what its lines say, under the names of responses."""
    if not usages:
        return None
    prompt = sum(u.get("prompt_tokens", u.get("input_tokens", 0)) for u in usages)
    answer = sum(u.get("completion_tokens", u.get("output_tokens", 0)) for u in usages)
    thoughts = sum(
        (u.get("completion_tokens_details") or u.get("output_tokens_details") or {}).get(
            "reasoning_tokens", 0
        )
        for u in usages
    )
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": thoughts},
        "total_tokens": prompt + answer,
    }


def _as_one(name: str, bills: list[Bill]) -> Bill:
    usage: dict[str, int] = {}
    for bill in bills:
        for kind, count in bill.usage.items():
            usage[kind] = usage.get(kind, 0) + count
    usd = sum((bill.usd for bill in bills if bill.usd is not None), Decimal(0))
    return bills[0]._replace(id=name, usage=usage, usd=usd)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


_Route = tuple[str, re.Pattern[str], Callable[..., Reply | None]]

_ROUTES: tuple[_Route, ...] = tuple(
    (method, re.compile(pattern + "$"), answer)
    for method, pattern, answer in (
        ("GET", r"/responses/(resp_[^/]+)", Jobs._response),
        ("POST", r"/files", Jobs._upload),
        ("GET", r"/files/([^/:]+)/content", Jobs._content),
        ("POST", r"/messages/batches", Jobs._make_messages),
        ("GET", r"/messages/batches/([^/]+)/results", Jobs._results),
        ("GET", r"/messages/batches/([^/]+)", Jobs._get_messages),
        ("POST", r"/v1/batches", Jobs._make_batch),
        ("GET", r"/v1/batches/(batch_[^/]+)", Jobs._get_batch),
        ("POST", r"/v1/batches/([^/]+)/cancel", Jobs._cancel_batch),
        ("POST", r"/threads", Jobs._thread),
        ("POST", r"/threads(?:/([^/]+))?/runs", Jobs._make_run),
        ("GET", r"/threads/[^/]+/runs/([^/]+)", Jobs._get_run),
        ("POST", r"/threads/[^/]+/runs/([^/]+)/cancel", Jobs._cancel_run),
        ("POST", r"/threads/[^/]+/runs/([^/]+)/submit_tool_outputs", Jobs._submit),
        ("POST", r"/agents/sessions", Jobs._openai_session),
        ("GET", r"/agents/sessions/([^/]+)/turns", Jobs._turns),
        ("GET", r"/agents/sessions/([^/]+)/events", Jobs._turn_events),
        ("POST", r"/videos", Jobs._video),
        ("POST", r"/v1/sessions", Jobs._anthropic_session),
        ("GET", r"/v1/sessions/([^/]+)", Jobs._get_session),
        ("GET", r"/v1/sessions/([^/]+)/events", Jobs._events),
        ("GET", r"/v1/sessions/([^/]+)/events/stream", Jobs._event_stream),
        ("POST", r"/(v1|v1beta)/models/([^/:]+):(batchGenerateContent)", Jobs._make_gemini),
        ("GET", r"/(?:v1|v1beta)/(batches/b[^/:]+)", Jobs._get_gemini),
        ("GET", r"/(files/[^/:]+):download", Jobs._content),
        ("POST", r"/(projects/[^/]+/locations/[^/]+)/batchPredictionJobs", Jobs._make_vertex),
        ("GET", r"/(projects/.+/batchPredictionJobs/[^/]+)", Jobs._get_vertex),
        ("POST", r"/models/([^/:]+):predictLongRunning", Jobs._gemini_video),
    )
)
"""Method, end of the path, and who answers."""
