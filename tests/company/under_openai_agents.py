"""Under OpenAI's Agents SDK, by responses and by chat completions."""

from .calls import GPT, Plan, run, weather
from .under import *  # noqa: F403  (the checks are the same for all)

NAME = "OpenAI's Agents SDK"
NOTES = ("Its own traces, which it sends to OpenAI, are switched off here.",)
"""What docs/compatibility.md says of it."""


def programs():
    import openai
    from agents import (
        Agent,
        OpenAIChatCompletionsModel,
        OpenAIResponsesModel,
        Runner,
        function_tool,
        set_tracing_disabled,
    )

    set_tracing_disabled(True)  # it would send its traces to OpenAI
    ask = "What is the plan for today?"

    def agent(standin, model, **options):
        client = openai.AsyncOpenAI(base_url=f"{standin.url}/v1", api_key="key", max_retries=0)
        return Agent(name="planner", model=model(GPT, client), **options)

    async def plain(*made, **options):
        return (await Runner.run(agent(*made, **options), ask)).final_output

    async def stream(*made, **options):
        run = Runner.run_streamed(agent(*made, **options), ask)
        kinds = [event.type async for event in run.stream_events()]
        return [*kinds, run.final_output]

    def in_turn(*made):
        return Runner.run_sync(agent(*made), ask).final_output

    tool = function_tool(weather)
    kinds = {
        "plain": lambda *made: run(plain(*made)),
        "sync": in_turn,
        "stream": lambda *made: run(stream(*made)),
        "tool": lambda *made: run(plain(*made, tools=[tool])),
        "tool, stream": lambda *made: run(stream(*made, tools=[tool])),
        "structured": lambda *made: run(plain(*made, output_type=Plan)),
    }
    models = {"responses": OpenAIResponsesModel, "chat": OpenAIChatCompletionsModel}
    return {
        f"openai {name}: {kind}": lambda standin, model=model, use=use: use(standin, model)
        for name, model in models.items()
        for kind, use in kinds.items()
    }
