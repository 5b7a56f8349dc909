"""A chat service whose every answer says what it took, with totals per user and per conversation.

A short conversation over HTTP, and what it came to:

    python -m examples.chat_api

Without a key in the environment (`OPENAI_API_KEY`) that runs against the packaged stand-in provider.
With one, the service is `uvicorn examples.chat_api:app`:

    curl -d '{"text": "Where is my parcel?"}' -H 'content-type: application/json' \\
        -H 'x-user-id: ann' -H 'x-session-id: s1' localhost:8000/conversations/c1/messages
    curl localhost:8000/users/ann/usage

The middleware gathers the calls of each request and labels them with user and session; a tracker for
the user and one for the conversation gather them, too. Take `x-user-id` from a proxy of yours: here it
is whatever the client says. Trackers are forgotten a day after their last request; with the setting
`ledger` every call is stored, and `/users/{user}/history` tells what a user's messages took on each day.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
import openai
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import StreamingResponse
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from otel_llm_usage import Sum, UsageScope, get_or_create_tracker, instrument
from otel_llm_usage.ledger import Question
from otel_llm_usage.streaming import sse
from otel_llm_usage.web import KEY, UsageMiddleware

from .kept import PLACE, kept
from .provider import provider

MODEL = "gpt-4.1-mini"
EMBEDDER = "text-embedding-3-small"
REMEMBERED = 3
"""How many earlier messages of a conversation go with the next one."""


@dataclass
class Conversation:
    """What a user has said, and the vectors by which it is found again."""

    user: str
    memory: list[tuple[str, list[float]]] = field(default_factory=list)

    def remember(self, text: str, vector: list[float]) -> list[str]:
        """Keep a message; the earlier ones that are most like it."""
        earlier = sorted(self.memory, key=lambda one: -_likeness(one[1], vector))[:REMEMBERED]
        self.memory.append((text, vector))
        return [said for said, _ in earlier]


def _likeness(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


async def prompt(
    client: openai.AsyncOpenAI, conversation: Conversation, text: str
) -> list[ChatCompletionMessageParam]:
    """The message, and what was said before that matters to it."""
    embedded = await client.embeddings.create(model=EMBEDDER, input=text)
    earlier = conversation.remember(text, embedded.data[0].embedding)
    return [
        {
            "role": "system",
            "content": "You help customers. They said before: " + "; ".join(earlier),
        },
        {"role": "user", "content": text},
    ]


# ------------------------------------------------------------ what it took


def user_usage(user: str) -> UsageScope:
    """All calls for a user."""
    return get_or_create_tracker(f"user {user}")


def conversation_usage(id: str) -> UsageScope:
    """All calls of a conversation."""
    return get_or_create_tracker(f"conversation {id}")


@contextmanager
def charged(user: str, id: str) -> Iterator[None]:
    """The calls inside count for the user and for the conversation, besides for the request."""
    with user_usage(user), conversation_usage(id):
        yield


def token_usage(total: Sum) -> dict[str, Any]:
    """The figures that this service shows; dollars are `null` while any price is unknown."""
    cost = total.cost_usd
    return {
        "prompt_tokens": total.input_tokens - total.embedding_tokens,
        "completion_tokens": total.output_tokens,
        "embedding_tokens": total.embedding_tokens,
        "total_tokens": total.total_tokens,
        "cost_usd": None if cost is None else float(cost),
    }


# ------------------------------------------------------------ the service


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client, and the conversations, for as long as the service runs."""
    app.state.runtime = instrument()
    app.state.conversations = {}
    async with openai.AsyncOpenAI() as app.state.client:
        yield


app = FastAPI(title="Chat", lifespan=lifespan)
app.add_middleware(UsageMiddleware, user="x-user-id", session="x-session-id")


class Message(BaseModel):
    """What a user says."""

    text: str


def own(request: Request, id: str, x_user_id: Annotated[str, Header()]) -> Conversation:
    """The conversation of this id, a new one if there is none; nobody else's."""
    found: Conversation = request.app.state.conversations.setdefault(id, Conversation(x_user_id))
    if found.user != x_user_id:
        raise HTTPException(403, "this conversation is somebody else's")
    return found


Own = Annotated[Conversation, Depends(own)]


@app.post("/conversations/{id}/messages")
async def answer(id: str, message: Message, conversation: Own, request: Request) -> dict[str, Any]:
    """The answer to a message, and what it took."""
    client: openai.AsyncOpenAI = request.app.state.client
    with charged(conversation.user, id):
        try:
            messages = await prompt(client, conversation, message.text)
            said = await client.chat.completions.create(model=MODEL, messages=messages)
        except openai.APIError as error:
            raise HTTPException(502, "the model did not answer") from error
    usage: UsageScope = request.scope[KEY]
    return {
        "text": said.choices[0].message.content,
        "token_usage": token_usage(usage.total),
    }


@app.post("/conversations/{id}/messages/stream")
async def answer_in_pieces(
    id: str, message: Message, conversation: Own, request: Request
) -> StreamingResponse:
    """The same as server-sent events: pieces of text, and at the end what it took."""
    events = pieces(request.app.state.client, request.scope[KEY], id, message.text, conversation)
    return StreamingResponse(events, media_type="text/event-stream")


async def pieces(
    client: openai.AsyncOpenAI, usage: UsageScope, id: str, text: str, conversation: Conversation
) -> AsyncIterator[str]:
    """The events of an answer. If the client goes, the stream is closed, and counts as far as it came."""
    with charged(conversation.user, id):
        try:
            messages = await prompt(client, conversation, text)
            async with await client.chat.completions.create(
                model=MODEL, messages=messages, stream=True
            ) as stream:
                async for chunk in stream:
                    if chunk.choices and chunk.choices[0].delta.content:
                        yield sse({"type": "text", "text": chunk.choices[0].delta.content})
        except openai.APIError:
            yield sse({"type": "error", "text": "the model did not answer"})
    yield sse({"type": "token_usage", **token_usage(usage.total)})


@app.get("/users/{user}/usage")
def of_user(user: str) -> dict[str, Any]:
    """What a user's messages took."""
    return token_usage(user_usage(user).total)


@app.get("/users/{user}/history")
def history(user: str, request: Request) -> list[dict[str, Any]]:
    """What a user's messages took on each day since the first, from the ledger."""
    asked = Question(where={"user": (user,)}, by=("day",))
    stored = kept(request.app.state.runtime, asked)
    if stored is None:
        raise HTTPException(404, "there is no ledger: set OTEL_LLM_USAGE_LEDGER")
    return [
        {"day": f"{line.group[0]:%Y-%m-%d}", **token_usage(line.sum)}
        for line in stored.lines
        if line.sum.records
    ]


@app.get("/conversations/{id}/usage")
def of_conversation(id: str) -> dict[str, Any]:
    """What the messages of a conversation took."""
    return token_usage(conversation_usage(id).total)


async def talk() -> None:
    """Two users talk; then what each answer, conversation and user took."""
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://chat")
    async with lifespan(app), http:
        for user, id, text in (
            ("ann", "c1", "Where is my parcel?"),
            ("ann", "c1", "It was sent on Monday."),
            ("bob", "c2", "How do I return a lamp?"),
        ):
            said = await http.post(
                f"/conversations/{id}/messages", json={"text": text}, headers={"x-user-id": user}
            )
            print(f"{user} in {id}: {said.json()['token_usage']}")
        said = await http.post(
            "/conversations/c3/messages/stream",
            json={"text": "And a chair?"},
            headers={"x-user-id": "bob"},
        )
        print(f"bob in c3, the last event: {said.text.splitlines()[-2]}")
        for path in ("conversations/c1", "users/ann", "users/bob"):
            print(f"{path}: {(await http.get(f'/{path}/usage')).json()}")
        for user in ("ann", "bob"):
            print(f"{user} in the ledger: {(await http.get(f'/users/{user}/history')).json()}")


if __name__ == "__main__":
    with provider("OPENAI_API_KEY"):
        instrument(ledger=PLACE)
        asyncio.run(talk())
