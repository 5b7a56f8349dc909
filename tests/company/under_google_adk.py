"""Under Google's Agent Development Kit, which has spans of its own."""

import os

from .calls import GEMINI, Plan, run, weather
from .under import *  # noqa: F403  (the checks are the same for all)

NAME = "Google's ADK"
NOTES = ("Its own spans `generate_content` have the usage and the cost, and we open none.",)
"""What docs/compatibility.md says of it."""


def programs():
    from google.adk.agents import Agent
    from google.adk.agents.run_config import RunConfig, StreamingMode
    from google.adk.runners import InMemoryRunner
    from google.genai import types

    async def asked(standin, mode, **options):
        os.environ.update(GOOGLE_API_KEY="key", GOOGLE_GEMINI_BASE_URL=standin.url)
        agent = Agent(name="planner", model=GEMINI, instruction="Plan.", **options)
        async with InMemoryRunner(agent=agent, app_name="company") as runner:
            session = await runner.session_service.create_session(
                app_name="company", user_id="user"
            )
            ask = types.Content(role="user", parts=[types.Part(text="The plan?")])
            events = runner.run_async(
                user_id="user",
                session_id=session.id,
                new_message=ask,
                run_config=RunConfig(streaming_mode=mode),
            )
            return [event.content async for event in events]

    return {
        "google: plain": lambda standin: run(asked(standin, StreamingMode.NONE)),
        "google: stream": lambda standin: run(asked(standin, StreamingMode.SSE)),
        "google: tool": lambda standin: run(asked(standin, StreamingMode.NONE, tools=[weather])),
        "google: tool, stream": lambda standin: run(
            asked(standin, StreamingMode.SSE, tools=[weather])
        ),
        "google: structured": lambda standin: run(
            asked(standin, StreamingMode.NONE, output_schema=Plan)
        ),
    }
