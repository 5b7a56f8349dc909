"""Under LangChain's three chat models."""

from .calls import CLAUDE, GEMINI, GPT, Plan, run, weather
from .under import *  # noqa: F403  (the checks are the same for all)

NAME = "LangChain"
NOTES = ()
"""What docs/compatibility.md says of it."""


def _models(standin):
    from langchain_anthropic import ChatAnthropic
    from langchain_google_genai import ChatGoogleGenerativeAI
    from langchain_openai import ChatOpenAI

    return {
        "openai": ChatOpenAI(model=GPT, base_url=f"{standin.url}/v1", api_key="key", max_retries=0),
        "openai responses": ChatOpenAI(
            model=GPT,
            base_url=f"{standin.url}/v1",
            api_key="key",
            max_retries=0,
            use_responses_api=True,
        ),
        "anthropic": ChatAnthropic(
            model=CLAUDE, base_url=standin.url, api_key="key", max_retries=0, max_tokens=200
        ),
        "google": ChatGoogleGenerativeAI(
            model=GEMINI, base_url=standin.url, api_key="key", max_retries=1
        ),
    }


def programs():
    from langchain.agents import create_agent
    from langchain_openai import OpenAIEmbeddings

    ask = "What is the plan for today?"

    def agent(model):
        return create_agent(model, tools=[weather]).invoke(
            {"messages": [{"role": "user", "content": "Sun?"}]}
        )["messages"]

    async def stream(model):
        return [chunk async for chunk in model.astream(ask)]

    kinds = {
        "plain": lambda model: model.invoke(ask),
        "stream": lambda model: list(model.stream(ask)),
        "async": lambda model: run(model.ainvoke(ask)),
        "async stream": lambda model: run(stream(model)),
        "structured": lambda model: model.with_structured_output(Plan).invoke(ask),
        # at the same time, in any order
        "batch": lambda model: sorted(str(one.text) for one in model.batch([ask, ask])),
        "agent": agent,
    }
    made = {
        f"{sdk}: {name}": lambda standin, sdk=sdk, use=use: use(_models(standin)[sdk])
        for sdk in ("openai", "openai responses", "anthropic", "google")
        for name, use in kinds.items()
    }
    made["openai: embeddings"] = lambda standin: OpenAIEmbeddings(
        base_url=f"{standin.url}/v1", api_key="key", check_embedding_ctx_length=False
    ).embed_query("A plan.")
    return made
