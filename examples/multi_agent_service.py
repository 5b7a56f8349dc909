"""A service of five agents on two Gemini models that tells what each analysis, agent and model cost.

Run three analyses at once, and look at the analytics:

    python -m examples.multi_agent_service

Without a key in the environment (`GEMINI_API_KEY`) that runs against the packaged stand-in provider.
With one, the service is `uvicorn examples.multi_agent_service:app`:

    curl -d '{"subject": "RELIANCE", "return_token_usage": true}' \\
        -H 'content-type: application/json' localhost:8000/analyses
    curl localhost:8000/analytics
    curl localhost:8000/usage/analytics/tokens/agents

`/analytics` is what this process has seen. With the setting `ledger` every call is stored, and `/usage` has
the REST API over the ledger and its live page.

No tracker goes through the calls. `with track(...)` around an analysis gathers its calls, also those
of tasks that run at once, and `@agent(...)` says who made them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException, Request
from google import genai
from google.genai import errors
from google.genai.client import AsyncClient
from pydantic import BaseModel

from otel_llm_usage import UsageScope, agent, api, instrument, track

from .kept import PLACE
from .provider import provider

FAST = "gemini-2.5-flash"
STRONG = "gemini-2.5-pro"

ASPECTS = {
    "fundamentals": (STRONG, "Judge the balance sheet and the margins of"),
    "sentiment": (FAST, "Sum up what the news of this week say about"),
    "risk": (STRONG, "Name the three largest risks of"),
}
"""The analysts that work at once: each with its model and its task."""


async def ask(client: AsyncClient, model: str, prompt: str) -> str:
    """The text of one answer."""
    answer = await client.models.generate_content(model=model, contents=prompt)
    return answer.text or ""


# ------------------------------------------------------------ the agents


@agent("planner")
async def plan(client: AsyncClient, subject: str) -> str:
    """Which questions are to be answered."""
    return await ask(client, FAST, f"Plan an analysis of {subject} in five questions.")


async def analyst(client: AsyncClient, aspect: str, subject: str, questions: str) -> str | None:
    """One aspect; `None` if its call failed: the analysis goes on without it."""
    model, task = ASPECTS[aspect]
    with agent(aspect):
        try:
            return await ask(client, model, f"{task} {subject}. Keep to: {questions}")
        except errors.APIError:
            return None


@agent("editor")
async def edit(client: AsyncClient, subject: str, sections: dict[str, str]) -> tuple[str, str]:
    """The report, which takes the strong model, and its title, which does not."""
    report = await ask(client, STRONG, f"Write a report on {subject} from {sections}")
    return await ask(client, FAST, f"A title of six words for: {report}"), report


# ------------------------------------------------------------ the service


async def analyse(
    client: AsyncClient, subject: str, *, return_token_usage: bool = False
) -> dict[str, Any]:
    """Let the agents work on a subject, and print what they used.

    `return_token_usage`: say it in the result, too.
    """
    with track(subject=subject) as usage:
        questions = await plan(client, subject)
        texts = await asyncio.gather(
            *(analyst(client, aspect, subject, questions) for aspect in ASPECTS)
        )
        found = dict(zip(ASPECTS, texts, strict=True))
        sections = {aspect: text for aspect, text in found.items() if text is not None}
        title, report = await edit(client, subject, sections)
    usage.print_summary()
    result: dict[str, Any] = {
        "subject": subject,
        "title": title,
        "report": report,
        "sections": sections,
        "missing": [aspect for aspect in ASPECTS if aspect not in sections],
    }
    if return_token_usage:
        result["token_usage"] = analytics(usage)
    return result


def analytics(usage: UsageScope) -> dict[str, Any]:
    """What the agents and the models of a scope took: dollars as text, times in seconds."""
    return {
        "id": usage.id,
        "total": usage.total.to_dict(),
        "agents": {
            name: {"models": usage.models_of(name), **spent.to_dict()}
            for name, spent in usage.by_agent.items()
        },
        "models": {
            name: {"agents": usage.agents_of(name), **spent.to_dict()}
            for name, spent in usage.by_model.items()
        },
        "most_expensive_agent": usage.most_expensive_agent,
        "timing": {name: took.to_dict() for name, took in usage.timing(by="agent").items()},
        "comparison": usage.compare_models(STRONG, FAST).to_dict(),
    }


class Order(BaseModel):
    """What to analyse."""

    subject: str
    return_token_usage: bool = False


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client and one scope for as long as the service runs."""
    instrument()
    app.state.usage = track("service")
    async with genai.Client().aio as app.state.client:
        yield


app = FastAPI(title="Analyses by agents", lifespan=lifespan)
# whoever may order analyses may see what they cost; where others get here, say token="…"
app.mount("/usage", api.app(token=False))


@app.post("/analyses")
async def post_analysis(order: Order, request: Request) -> dict[str, Any]:
    """Analyse a subject."""
    state = request.app.state
    try:
        with state.usage:  # the calls of all analyses are gathered here, too
            return await analyse(
                state.client, order.subject, return_token_usage=order.return_token_usage
            )
    except errors.APIError as error:
        raise HTTPException(502, f"the model did not answer: {error.code}") from error


@app.get("/analytics")
def get_analytics(request: Request) -> dict[str, Any]:
    """All analyses since the service began; of the last 10,000 calls where it looks at single ones."""
    return analytics(request.app.state.usage)


async def main() -> None:
    """Three analyses at once, then which agents used which model, and what that cost."""
    with provider("GEMINI_API_KEY"):
        runtime = instrument(ledger=PLACE)
        async with genai.Client().aio as client:
            with track() as usage:
                subjects = ("RELIANCE", "TCS", "INFY")
                await asyncio.gather(*(analyse(client, subject) for subject in subjects))
    for name, spent in usage.by_agent.items():
        print(f"{name}: {', '.join(usage.models_of(name))}, {spent.cost_text}")
    print(f"most expensive: {usage.most_expensive_agent}")
    ratio = usage.compare_models(STRONG, FAST).ratio
    if ratio is not None:
        print(f"a call on {STRONG} cost {ratio:.1f} times one on {FAST}")
    runtime.flush()
    asgi = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=asgi, base_url="http://analyses") as http:
        stored = (await http.get(f"/usage/analytics/scopes/{usage.id}")).json()
    print(f"in the ledger: {stored['total']['calls']} calls, ${stored['total']['cost_usd']}")


if __name__ == "__main__":
    asyncio.run(main())
