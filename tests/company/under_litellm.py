"""Under LiteLLM: OpenAI by its SDK, the others by an HTTP client of LiteLLM's own."""

import os

from .calls import ASK, CLAUDE, GEMINI, GPT, Plan, run, weather
from .under import *  # noqa: F403  (the checks are the same for all)

NAME = "LiteLLM"
NOTES = (
    "It calls OpenAI's chat and embeddings by OpenAI's SDK: these are counted.",
    "It calls Anthropic, Gemini and OpenAI's Responses API by an HTTP client of its own: **these "
    "are not seen**.",
)
"""What docs/compatibility.md says of it."""

INVISIBLE = r"^(anthropic|google|openai: responses)"
"""What it sends by an HTTP client of its own."""


def programs():
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    tool = {
        "type": "function",
        "function": {
            "name": weather.__name__,
            "description": weather.__doc__,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }

    def models(standin):
        return {
            "openai": {"model": f"openai/{GPT}", "api_base": f"{standin.url}/v1"},
            "anthropic": {"model": f"anthropic/{CLAUDE}", "api_base": standin.url},
            "google": {
                "model": f"gemini/{GEMINI}",
                "api_base": f"{standin.url}/v1beta/models/{GEMINI}",
            },
        }

    async def stream(asked):
        return [chunk async for chunk in await litellm.acompletion(**asked, stream=True)]

    async def plain(asked):
        return await litellm.acompletion(**asked)

    kinds = {
        "plain": lambda asked: litellm.completion(**asked),
        "stream": lambda asked: list(litellm.completion(**asked, stream=True)),
        "async": lambda asked: run(plain(asked)),
        "async stream": lambda asked: run(stream(asked)),
        "tool": lambda asked: litellm.completion(**asked, tools=[tool]),
    }

    def text(answer):
        if isinstance(answer, list):
            return [chunk.choices[0].delta.content for chunk in answer if chunk.choices]
        message = answer.choices[0].message
        return [message.content, [call.function.arguments for call in message.tool_calls or ()]]

    made = {
        f"{sdk}: {name}": lambda standin, sdk=sdk, use=use: text(
            use({**models(standin)[sdk], "messages": ASK, "api_key": "key", "num_retries": 0})
        )
        for sdk in ("openai", "anthropic", "google")
        for name, use in kinds.items()
    }
    made["openai: structured"] = lambda standin: text(
        litellm.completion(
            **models(standin)["openai"], messages=ASK, api_key="key", response_format=Plan
        )
    )
    made["openai: responses"] = lambda standin: (
        litellm.responses(**models(standin)["openai"], input="The plan?", api_key="key").output_text
    )
    made["openai: embeddings"] = lambda standin: len(
        litellm.embedding(
            model="openai/text-embedding-3-small",
            input=["A plan."],
            api_key="key",
            api_base=f"{standin.url}/v1",
        ).data
    )
    return made
