"""A provider inside the process, and the three SDKs on it: what is measured is code and not the network."""

import json

import anthropic
import httpx2
import openai
from google import genai
from google.genai import types

EVENTS = 200
TEXT = "the quick brown fox jumps over the lazy dog " * 10

CHAT = {
    "id": "chatcmpl-bench",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4.1-2025-04-14",
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": None,
            "message": {"role": "assistant", "content": TEXT, "refusal": None},
        }
    ],
    "usage": {
        "prompt_tokens": 120,
        "completion_tokens": 80,
        "total_tokens": 200,
        "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
}
MESSAGE = {
    "id": "msg_bench",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [{"type": "text", "text": TEXT}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 40,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 80,
        "output_tokens": 80,
        "service_tier": "standard",
    },
}
GEMINI = {
    "candidates": [
        {"content": {"parts": [{"text": TEXT}], "role": "model"}, "finishReason": "STOP"}
    ],
    "usageMetadata": {
        "promptTokenCount": 120,
        "candidatesTokenCount": 80,
        "thoughtsTokenCount": 40,
        "totalTokenCount": 240,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 120}],
    },
    "modelVersion": "gemini-2.5-flash",
}


def _chunk(content: str | None, finish: str | None = None) -> dict[str, object]:
    delta = {} if content is None else {"content": content}
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4.1-2025-04-14",
        "service_tier": "default",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }


def _sse(asked: bool) -> list[bytes]:
    chunks = [_chunk("word ") for _ in range(EVENTS - 2)]
    chunks.append(_chunk(None, "stop"))
    if asked:
        chunks = [chunk | {"usage": None} for chunk in chunks]
        chunks.append(_chunk(None) | {"choices": [], "usage": CHAT["usage"]})
    # as OpenAI writes them, with the padding that hides the length of the text
    padded = [chunk | {"obfuscation": "aZ9"[: i % 4] * 2} for i, chunk in enumerate(chunks)]
    lines = [
        b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n" for chunk in padded
    ]
    return [*lines, b"data: [DONE]\n\n"]


class _Pieces(httpx2.SyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self):
        return iter(self._pieces)


ASKED, UNASKED = _sse(True), _sse(False)
BODIES = {name: json.dumps(body).encode() for name, body in
          (("chat", CHAT), ("messages", MESSAGE), ("gemini", GEMINI))}  # fmt: skip


def provider(request: httpx2.Request) -> httpx2.Response:
    """Answers like the three providers do, from memory."""
    path = request.url.path
    kind = {"content-type": "application/json"}
    if path.endswith("/messages"):
        return httpx2.Response(200, headers=kind, content=BODIES["messages"])
    if "generateContent" in path:
        return httpx2.Response(200, headers=kind, content=BODIES["gemini"])
    if b'"stream": true' in request.content or b'"stream":true' in request.content:
        pieces = ASKED if b"include_usage" in request.content else UNASKED
        return httpx2.Response(
            200, headers={"content-type": "text/event-stream"}, stream=_Pieces(pieces)
        )
    return httpx2.Response(200, headers=kind, content=BODIES["chat"])


class Clients:
    """The three SDKs on the transport inside the process."""

    def __init__(self) -> None:
        http = httpx2.Client(transport=httpx2.MockTransport(provider))
        self.openai = openai.OpenAI(api_key="bench", http_client=http)
        self.anthropic = anthropic.Anthropic(api_key="bench", http_client=http)
        self.gemini = genai.Client(
            api_key="bench", http_options=types.HttpOptions(httpx_client=http)
        )

    def close(self) -> None:
        """Close them."""
        self.gemini.close()
        self.anthropic.close()
        self.openai.close()

    def chat(self) -> None:
        self.openai.chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": "hello"}]
        )

    def messages(self) -> None:
        self.anthropic.messages.create(
            model="claude-sonnet-5",
            max_tokens=100,
            messages=[{"role": "user", "content": "hello"}],
        )

    def generate(self) -> None:
        self.gemini.models.generate_content(model="gemini-2.5-flash", contents="hello")

    def stream(self) -> None:
        for _ in self.openai.chat.completions.create(
            model="gpt-4.1",
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            stream_options={"include_usage": True},
        ):
            pass

    def stream_unasked(self) -> None:
        for _ in self.openai.chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": "hello"}], stream=True
        ):
            pass
