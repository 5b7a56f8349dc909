"""A skin-care routine as a stream: text, what each call took, products, and a summary at the end.

One stream, read over HTTP:

    python -m examples.streaming_orchestrator

Without a key in the environment (`GEMINI_API_KEY`) that runs against the packaged stand-in provider.
With one, the service is `uvicorn examples.streaming_orchestrator:app`:

    curl -N 'localhost:8000/routine?skin=dry,%20sensitive'

The routine is generated while five look-ups embed what to search for. `attribute(call_type=...)` names
the sources; `stream_with_usage` puts a `token_usage` after each call and a `token_summary` at the end.
Who leaves early gets no summary, and `on_end` gets the scope of what was used all the same. With the setting
`ledger` every call is stored, and `/usage/{id}` reads back what an answer took, also after a restart.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple, cast

import httpx
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from google import genai
from google.genai import errors
from google.genai.client import AsyncClient
from google.genai.types import GenerateContentResponse

from otel_llm_usage import UsageScope, attribute, instrument, stream_with_usage, track
from otel_llm_usage.ledger import Question
from otel_llm_usage.streaming import sse

from .kept import PLACE, kept
from .provider import provider

MODEL = "gemini-2.5-flash"
EMBEDDER = "gemini-embedding-2"

Vector = list[float]

logger = logging.getLogger(__name__)


class Product(NamedTuple):
    """One of the catalogue, and where it is in the space of the embeddings."""

    name: str
    vector: Vector


Catalogue = dict[str, list[Product]]

PRODUCTS = {
    "cleanser": ["Oat milk cleanser", "Foaming gel for oily skin"],
    "serum": ["Niacinamide 5 %", "Vitamin C 15 %"],
    "moisturizer": ["Ceramide cream", "Light gel cream"],
    "sunscreen": ["Mineral SPF 50", "Invisible fluid SPF 30"],
    "mask": ["Clay mask", "Overnight honey mask"],
}
"""What the shop sells, by kind: each kind is looked up for every routine."""


async def embed(client: AsyncClient, text: str) -> Vector:
    """Where a text is in the space of the embeddings."""
    embedded = await client.models.embed_content(model=EMBEDDER, contents=text)
    return (embedded.embeddings or [])[0].values or []


async def index(client: AsyncClient) -> Catalogue:
    """The catalogue, embedded once when the service starts."""
    with attribute(call_type="catalogue"):
        return {
            kind: [Product(name, await embed(client, f"{kind}: {name}")) for name in names]
            for kind, names in PRODUCTS.items()
        }


async def look_up(
    client: AsyncClient, catalogue: Catalogue, kind: str, skin: str
) -> Product | None:
    """The product of a kind that suits a skin best; `None` if the call failed."""
    try:
        with attribute(call_type=f"{kind} look-up"):
            wanted = await embed(client, f"{kind} for {skin} skin")
    except errors.APIError:
        return None

    def likeness(product: Product) -> float:
        return sum(x * y for x, y in zip(product.vector, wanted, strict=True))

    return max(catalogue[kind], key=likeness)


async def routine(client: AsyncClient, skin: str) -> AsyncGenerator[str, None]:
    """The pieces of the text."""
    with attribute(call_type="routine generation"):
        stream = await client.models.generate_content_stream(
            model=MODEL, contents=f"A morning and an evening routine for {skin} skin."
        )
    # the SDK promises an iterator and gives a generator, which is to be closed
    async with aclosing(cast("AsyncGenerator[GenerateContentResponse, None]", stream)) as chunks:
        async for chunk in chunks:
            if chunk.text:
                yield chunk.text


async def orchestrate(client: AsyncClient, catalogue: Catalogue, skin: str) -> AsyncIterator[str]:
    """The events of one answer, but those of usage."""
    looking = [asyncio.create_task(look_up(client, catalogue, kind, skin)) for kind in PRODUCTS]
    try:
        try:
            async with aclosing(routine(client, skin)) as texts:
                async for text in texts:
                    yield sse({"type": "text", "text": text})
        except errors.APIError as error:
            yield sse({"type": "error", "code": error.code})
        for kind, found in zip(PRODUCTS, looking, strict=True):
            product = await found
            if product is not None:
                yield sse({"type": "product", "kind": kind, "name": product.name})
    finally:
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)


def finished(usage: UsageScope) -> None:
    """A stream is over, to its end or not: where a service would keep what it took.

    Who leaves early leaves Gemini's stream behind, which the SDK closes a few steps of the event loop
    later: its tokens are in the scope then.
    """
    total = usage.total
    logger.info(
        "%s: %s calls, %s tokens, %s", usage.id, total.calls, total.total_tokens, total.cost_text
    )


# ------------------------------------------------------------ the service


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client and one catalogue for as long as the service runs."""
    app.state.runtime = instrument()
    async with genai.Client().aio as client:
        app.state.client, app.state.catalogue = client, await index(client)
        yield


app = FastAPI(title="Skin-care routines", lifespan=lifespan)


@app.get("/routine")
async def get_routine(request: Request, skin: str) -> StreamingResponse:
    """A routine and products for a skin, as server-sent events."""
    state = request.app.state
    events = stream_with_usage(
        orchestrate(state.client, state.catalogue, skin),
        track(skin=skin),
        each_call=True,
        render=sse,
        on_end=finished,
    )
    return StreamingResponse(events, media_type="text/event-stream")


@app.get("/usage/{id}")
def get_usage(id: str, request: Request) -> dict[str, Any]:
    """What one answer took, by source, from the ledger."""
    stored = kept(request.app.state.runtime, Question(scope=id, by=("call_type",)))
    if stored is None or not stored.total.records:
        raise HTTPException(404, "the ledger has no such answer")
    return stored.to_dict()


async def read() -> None:
    """Print the events of one answer, and what the ledger has kept of it."""
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://routines")
    async with lifespan(app), http:
        last = ""
        async with http.stream("GET", "/routine", params={"skin": "dry, sensitive"}) as answer:
            async for line in answer.aiter_lines():
                if line:
                    last = line.removeprefix("data: ")
                    print(last)
        stored = await http.get(f"/usage/{json.loads(last)['id']}")
        print(json.dumps({"type": "in the ledger", **stored.json()["total"]}))


if __name__ == "__main__":
    with provider("GEMINI_API_KEY"):
        instrument(ledger=PLACE)
        asyncio.run(read())
