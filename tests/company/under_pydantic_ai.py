"""Under Pydantic AI's agents, with and without its own spans."""

from .calls import CLAUDE, GEMINI, GPT, Plan, run, weather
from .under import *  # noqa: F403  (the checks are the same for all)

NAME = "Pydantic AI"
NOTES = ("With its `Instrumentation`, its spans have the usage and the cost, and we open none.",)
"""What docs/compatibility.md says of it."""


def _models(standin):
    from google import genai
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.google import GoogleProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    def openai():
        return OpenAIProvider(base_url=f"{standin.url}/v1", api_key="key")

    def google():
        client = genai.Client(api_key="key", http_options={"base_url": standin.url})
        return GoogleProvider(client=client)

    return {
        "openai": lambda: OpenAIChatModel(GPT, provider=openai()),
        "openai responses": lambda: OpenAIResponsesModel(GPT, provider=openai()),
        "anthropic": lambda: AnthropicModel(
            CLAUDE, provider=AnthropicProvider(base_url=standin.url, api_key="key")
        ),
        "google": lambda: GoogleModel(GEMINI, provider=google()),
    }


def programs():
    from pydantic_ai import Agent
    from pydantic_ai.capabilities import Instrumentation

    ask = "What is the plan for today?"

    async def plain(model, **options):
        return (await Agent(model, **options).run(ask)).output

    async def stream(model, **options):
        async with Agent(model, **options).run_stream(ask) as run:
            return [text async for text in run.stream_text(debounce_by=None)]

    kinds = {
        "plain": lambda model: run(plain(model)),
        "sync": lambda model: Agent(model).run_sync(ask).output,
        "stream": lambda model: run(stream(model)),
        "structured": lambda model: run(plain(model, output_type=Plan)),
        "tool": lambda model: run(plain(model, tools=[weather])),
        "plain, its spans": lambda model: run(plain(model, capabilities=[Instrumentation()])),
        "stream, its spans": lambda model: run(stream(model, capabilities=[Instrumentation()])),
        "tool, its spans": lambda model: run(
            plain(model, tools=[weather], capabilities=[Instrumentation()])
        ),
    }
    return {
        f"{sdk}: {name}": lambda standin, sdk=sdk, use=use: use(_models(standin)[sdk]())
        for sdk in ("openai", "openai responses", "anthropic", "google")
        for name, use in kinds.items()
    }
