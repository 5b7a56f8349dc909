"""What OpenAI and Google say over websockets: the events of an answer, and the bill of it."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from ..records import NOTHING
from .websockets import Peer, Script

REALTIME_USAGE = {"input": 40, "input_audio": 100, "output": 12, "output_audio": 60}
LIVE_USAGE = {"input": 30, "input_audio": 200, "output": 4, "output_audio": 90}
TEXT_USAGE = {"input": 50, "output": 20}


def _asked(peer: Peer, name: str) -> str | None:
    pairs = (pair.partition("=") for pair in peer.seen.query.split("&"))
    return next((value for key, _, value in pairs if key == name), None)


class OpenAI:
    """What its connections share."""

    def __init__(self, peer: Peer, model: str) -> None:
        self.peer = peer
        self.model = model
        azure = _asked(peer, "api-version") is not None
        self.provider = "azure.ai.openai" if azure else "openai"

    async def event(self, kind: str, **told: Any) -> None:
        """Send one event."""
        await self.peer.say({"type": kind, "event_id": self.peer.name("event"), **told})

    def bill(self, endpoint: str, usage: Mapping[str, int], **more: Any) -> None:
        """See `Peer.bill`."""
        model = more.pop("model", self.model)
        self.peer.bill(self.provider, endpoint, model, usage, **more)


class Realtime(OpenAI):
    """A realtime session."""

    def __init__(
        self,
        peer: Peer,
        model: str = "gpt-realtime-2025-08-28",
        transcriber: str = "gpt-4o-mini-transcribe",
        *,
        beta: bool = False,
    ) -> None:
        super().__init__(peer, model)
        self.transcriber = transcriber
        self._heard = {"model": transcriber}
        self._beta = beta

    async def open(self, kind: str = "session.created") -> None:
        """Say what the session is."""
        heard: dict[str, Any] = {"audio": {"input": {"transcription": self._heard}}}
        if self._beta:
            heard = {"input_audio_transcription": self._heard}
        session = {"type": "realtime", "object": "realtime.session", "id": self.peer.name("sess")}
        await self.event(kind, session={**session, "model": self.model, **heard})

    async def begin(self, id: str | None = None, pieces: int = 2) -> str:
        """A response that begins, and some of its pieces; its id."""
        id = id or self.peer.name("resp")
        begun = {"object": "realtime.response", "id": id, "status": "in_progress", "usage": None}
        await self.event("response.created", response=begun)
        for number in range(pieces):
            place = {"response_id": id, "item_id": "item", "output_index": 0, "content_index": 0}
            await self.event("response.output_audio.delta", **place, delta="AAAA")
            text = f"piece {number} "
            await self.event("response.output_audio_transcript.delta", **place, delta=text)
        return id

    async def end(
        self,
        id: str,
        usage: Mapping[str, int] | None = REALTIME_USAGE,
        status: str = "completed",
        reason: str | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> None:
        """Bill a response, and say so."""
        if usage is not None:
            self.bill("realtime", usage, id=id)
        details: dict[str, Any] = {"type": status}
        if reason is not None:
            details["reason"] = reason
        if error is not None:
            details["error"] = error
        response: dict[str, Any] = {
            "object": "realtime.response",
            "id": id,
            "status": status,
            "status_details": None if status == "completed" else details,
            "output": [],
            "usage": None if usage is None else realtime_usage(usage),
        }
        await self.event("response.done", response=response)

    async def respond(self, usage: Mapping[str, int] | None = REALTIME_USAGE, **more: Any) -> str:
        """A whole response."""
        id = await self.begin()
        await self.end(id, usage, **more)
        return id

    async def transcribe(
        self,
        usage: Mapping[str, int] = NOTHING,
        *,
        seconds: float | None = None,
        pieces: int = 1,
        item: str | None = None,
    ) -> None:
        """The transcription of what the user said: by tokens, or by seconds."""
        item = item or self.peer.name("item")
        kind = "conversation.item.input_audio_transcription"
        place = {"item_id": item, "content_index": 0}
        for _ in range(pieces):
            await self.event(f"{kind}.delta", **place, delta="heard ")
        if seconds is not None:
            told: dict[str, Any] = {"type": "duration", "seconds": seconds}
            units = {"audio_seconds": Decimal(str(seconds))}
        else:
            audio, text = usage.get("input_audio", 0), usage.get("input", 0)
            answer = usage.get("output", 0)
            units = {}
            told = {
                "type": "tokens",
                "total_tokens": audio + text + answer,
                "input_tokens": audio + text,
                "input_token_details": {"text_tokens": text, "audio_tokens": audio},
                "output_tokens": answer,
            }
        self.bill("realtime.transcription", usage, units=units, id=item, model=self.transcriber)
        await self.event(f"{kind}.completed", **place, transcript="heard", usage=told)


def realtime_usage(usage: Mapping[str, int]) -> dict[str, Any]:
    """As realtime sessions tell it."""
    kinds = {"text_tokens": "", "audio_tokens": "_audio", "image_tokens": "_image"}
    cached = {name: usage.get(f"cache_read{end}", 0) for name, end in kinds.items()}
    into = {name: usage.get(f"input{end}", 0) + cached[name] for name, end in kinds.items()}
    out = {
        "text_tokens": usage.get("output", 0),
        "audio_tokens": usage.get("output_audio", 0),
    }
    hits = {"cached_tokens": sum(cached.values()), "cached_tokens_details": cached}
    return {
        "total_tokens": sum(into.values()) + sum(out.values()),
        "input_tokens": sum(into.values()),
        "output_tokens": sum(out.values()),
        "input_token_details": {**into, **hits},
        "output_token_details": out,
    }


def responses_usage(usage: Mapping[str, int]) -> dict[str, Any]:
    """As the Responses API tells it."""
    prompt = usage.get("input", 0) + usage.get("cache_read", 0)
    answer = usage.get("output", 0) + usage.get("reasoning", 0)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": usage.get("cache_read", 0)},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": usage.get("reasoning", 0)},
        "total_tokens": prompt + answer,
    }


class Responses(OpenAI):
    """The Responses API over a websocket."""

    def __init__(self, peer: Peer, model: str = "gpt-4.1-mini-2025-04-14") -> None:
        super().__init__(peer, model)

    def response(self, id: str, status: str, **more: Any) -> dict[str, Any]:
        """A response as it is at a moment."""
        return {
            "id": id,
            "object": "response",
            "created_at": 1_795_000_000,
            "model": self.model,
            "status": status,
            "output": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": None,
            "service_tier": "default",
            **more,
        }

    async def tell(self, kind: str, lane: str | None, **told: Any) -> None:
        """Send one event, in its lane."""
        await self.peer.say({"type": kind, **told, **({"stream_id": lane} if lane else {})})

    async def begin(self, lane: str | None = None, pieces: int = 2) -> str:
        """A response that begins; its id."""
        id = self.peer.name("resp")
        begun = self.response(id, "in_progress")
        await self.tell("response.created", lane, sequence_number=0, response=begun)
        place = {"item_id": f"msg_{id}", "output_index": 0, "content_index": 0, "logprobs": []}
        for number in range(pieces):
            told = {**place, "sequence_number": number + 1, "delta": f"piece {number} "}
            await self.tell("response.output_text.delta", lane, **told)
        return id

    async def end(
        self,
        id: str,
        usage: Mapping[str, int] = TEXT_USAGE,
        lane: str | None = None,
        status: str = "completed",
        **more: Any,
    ) -> None:
        """Bill it, and say so."""
        self.bill("responses", usage, id=id)
        told = self.response(id, status, usage=responses_usage(usage), **more)
        await self.tell(f"response.{status}", lane, sequence_number=9, response=told)

    async def respond(self, usage: Mapping[str, int] = TEXT_USAGE, **more: Any) -> str:
        """A whole response."""
        id = await self.begin(more.get("lane"))
        await self.end(id, usage, **more)
        return id


class Live(OpenAI):
    """A live session: billed by the second, and what it delegates by its tokens."""

    def __init__(
        self, peer: Peer, model: str = "gpt-live-1", backend: str = "gpt-4.1-mini"
    ) -> None:
        super().__init__(peer, model)
        place = peer.seen.path.rstrip("/").split("/")
        self.session = place[-2] if place[-1] == "attach" else peer.name("lsess")
        self.backend = backend

    def _about(self) -> dict[str, Any]:
        told = {"id": self.session, "model": self.model, "expires_at": 1, "status": "active"}
        backend = {"model": self.backend, "tools": [{"type": "web_search"}]}
        return {**told, "delegation": {"type": "responses", "responses": backend}}

    async def open(self) -> None:
        """The session has started."""
        await self.event("session.started", session=self._about())

    async def told(self, seconds: float) -> None:
        """The seconds until now."""
        await self.event("session.usage.updated", usage={"seconds": seconds})

    async def end(self, seconds: float, *, billed: float | None = None) -> None:
        """Bill all of the session (or `billed` seconds of it), and say so."""
        units = {"audio_seconds": Decimal(str(seconds if billed is None else billed))}
        self.bill("live.session", {}, units=units, id=self.session)
        about = {"session": self._about(), "reason": "close_requested"}
        await self.event("session.closed", **about, usage={"seconds": seconds})

    async def delegate(
        self,
        usage: Mapping[str, int] = TEXT_USAGE,
        *,
        searches: int = 0,
        id: str | None = None,
        bills: bool = True,
    ) -> str:
        """A response of the backend."""
        id, lane = id or self.peer.name("resp"), self.peer.name("deleg")
        made = Responses(self.peer, self.backend)

        async def nested(kind: str, **told: Any) -> None:
            event = {"type": kind, "sequence_number": 1, **told}
            await self.event("response.event", delegation_id=lane, event=event)

        await nested("response.created", response=made.response(id, "in_progress"))
        await nested("response.output_text.delta", item_id="msg", delta="a piece")
        for _ in range(searches):
            item = {"type": "web_search_call", "id": "ws", "status": "completed"}
            await nested("response.output_item.done", output_index=0, item=item)
        if bills:
            units = {"web_search": searches} if searches else {}
            self.bill("responses", usage, id=id, model=self.backend, units=units)
        done = made.response(id, "completed", usage=responses_usage(usage))
        await nested("response.completed", response=done)
        return id

    async def decide(self, usage: Mapping[str, int] = TEXT_USAGE) -> None:
        """A decision."""
        id = self.peer.name("dec")
        self.bill("decisions", usage, id=id, model=self.backend)
        told = {"id": id, "object": "decision", "model": self.backend, "answers": []}
        event = {
            "type": "decision.completed",
            "decision": {**told, "usage": responses_usage(usage)},
        }
        await self.event("decision.event", delegation_id=None, event=event)


class Gemini:
    """A session of Gemini's Live API, on both platforms."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.vertex = "aiplatform" in peer.seen.path
        self.model = ""

    async def open(self) -> None:
        """Hear the setup, which has the model, and agree."""
        setup = (await self.peer.hear())["setup"]
        self.model = setup["model"].rpartition("/")[2]
        told = {"sessionId": self.peer.name("session")} if self.vertex else {}
        await self.peer.say({"setupComplete": told}, binary=True)

    async def say(self, **told: Any) -> None:
        """Send one message."""
        await self.peer.say(told, binary=True)

    def content(self, text: str = "piece") -> dict[str, Any]:
        """A piece of an answer."""
        return {"modelTurn": {"role": "model", "parts": [{"text": text}]}}

    def usage(self, usage: Mapping[str, int]) -> dict[str, Any]:
        """As it is told here."""
        kinds = {"TEXT": "", "AUDIO": "_audio", "IMAGE": "_image", "VIDEO": "_video"}

        def rows(side: str) -> list[dict[str, Any]]:
            counted = ((name, usage.get(side + end, 0)) for name, end in kinds.items())
            return [{"modality": name, "tokenCount": count} for name, count in counted if count]

        answer = "candidates" if self.vertex else "response"
        told = {
            "promptTokenCount": sum(row["tokenCount"] for row in rows("input")),
            "promptTokensDetails": rows("input"),
            f"{answer}TokenCount": sum(row["tokenCount"] for row in rows("output")),
            f"{answer}TokensDetails": rows("output"),
            "thoughtsTokenCount": usage.get("reasoning", 0),
            "toolUsePromptTokenCount": usage.get("input_tool_use", 0),
        }
        told = {name: value for name, value in told.items() if value}
        told["totalTokenCount"] = sum(usage.values())
        return told

    def bill(self, usage: Mapping[str, int], **more: Any) -> None:
        """Bill one turn. The wire gives it no name."""
        provider = "gcp.vertex_ai" if self.vertex else "gcp.gemini"
        self.peer.bill(provider, "live", self.model, usage, id=self.peer.name("turn"), **more)

    async def turn(
        self, usage: Mapping[str, int] = LIVE_USAGE, *, running: Sequence[Mapping[str, int]] = ()
    ) -> None:
        """A whole turn; `running`: what is told of its usage before its end."""
        await self.say(serverContent=self.content())
        for early in running:
            await self.say(serverContent=self.content(), usageMetadata=self.usage(early))
        await self.say(serverContent={"generationComplete": True})
        self.bill(usage)
        await self.say(serverContent={"turnComplete": True}, usageMetadata=self.usage(usage))


async def _realtime(peer: Peer) -> None:
    said = Realtime(peer, _asked(peer, "model") or _asked(peer, "deployment") or "gpt-realtime")
    await said.open()
    while True:
        if (await peer.hear()).get("type") == "response.create":
            await said.respond()


async def _responses(peer: Peer) -> None:
    while True:
        asked = await peer.hear()
        if asked.get("type") == "response.create":
            await Responses(peer, asked.get("model") or "gpt-4.1-mini").respond()


async def _live(peer: Peer) -> None:
    said = Live(peer)
    while True:
        asked = (await peer.hear()).get("type")
        if asked == "session.start":
            await said.open()
        elif asked == "session.close":
            await said.end(60)


async def _gemini(peer: Peer) -> None:
    said = Gemini(peer)
    await said.open()
    while True:
        heard = await peer.hear()
        content = heard.get("client_content") or heard.get("clientContent") or {}
        if content.get("turnComplete") or content.get("turn_complete"):
            await said.turn()


def usual(path: str) -> Script | None:
    """What is played on a path where no script waits."""
    if "generativelanguage" in path or "aiplatform" in path:
        return _gemini
    if "/live/sessions" in path:
        return _live
    last = path.rstrip("/").rpartition("/")[2]
    return {"realtime": _realtime, "responses": _responses}.get(last)
