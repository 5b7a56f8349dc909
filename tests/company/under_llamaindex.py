"""Under LlamaIndex's three LLM classes."""

from .calls import CLAUDE, GEMINI, GPT, Plan, run, weather
from .under import *  # noqa: F403  (the checks are the same for all)

NAME = "LlamaIndex"
NOTES = ("`llama-index-llms-anthropic` raises with anthropic 1.17 and 2.12, with us and without.",)
"""What docs/compatibility.md says of it."""


def _models(standin):
    from google.genai import types
    from llama_index.llms.anthropic import Anthropic
    from llama_index.llms.google_genai import GoogleGenAI
    from llama_index.llms.openai import OpenAI, OpenAIResponses

    at = {"api_key": "key", "max_retries": 0}
    return {
        "openai": lambda: OpenAI(model=GPT, api_base=f"{standin.url}/v1", **at),
        "openai responses": lambda: OpenAIResponses(model=GPT, api_base=f"{standin.url}/v1", **at),
        "anthropic": lambda: Anthropic(model=CLAUDE, base_url=standin.url, **at),
        "google": lambda: GoogleGenAI(
            model=GEMINI,
            api_key="key",
            http_options=types.HttpOptions(base_url=standin.url),
            context_window=100_000,
            max_tokens=1000,
        ),
    }


def programs():
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool

    ask = [ChatMessage(role="user", content="What is the plan for today?")]

    async def stream(model):
        return [str(chunk.delta) async for chunk in await model.astream_chat(ask)]

    async def plain(model):
        return str(await model.achat(ask))

    kinds = {
        "plain": lambda model: str(model.chat(ask)),
        "complete": lambda model: str(model.complete("What is the plan?")),
        "stream": lambda model: [str(chunk.delta) for chunk in model.stream_chat(ask)],
        "async": lambda model: run(plain(model)),
        "async stream": lambda model: run(stream(model)),
        "structured": lambda model: model.as_structured_llm(Plan).chat(ask).raw,
        "tool": lambda model: str(
            model.predict_and_call([FunctionTool.from_defaults(weather)], "Sun?")
        ),
    }
    return {
        f"{sdk}: {name}": lambda standin, sdk=sdk, use=use: use(_models(standin)[sdk]())
        for sdk in ("openai", "openai responses", "anthropic", "google")
        for name, use in kinds.items()
    }
