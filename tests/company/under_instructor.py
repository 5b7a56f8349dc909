"""Under Instructor's patched clients."""

from .calls import ASK, CLAUDE, GEMINI, GPT, Plan, run
from .under import *  # noqa: F403  (the checks are the same for all)

NAME = "Instructor"
NOTES = ("Each answer that fails its validation and is asked for again is one record.",)
"""What docs/compatibility.md says of it."""


def programs():
    import anthropic
    import instructor
    import openai
    from google import genai

    def of_openai(standin):
        client = openai.OpenAI(base_url=f"{standin.url}/v1", api_key="key", max_retries=0)
        return instructor.from_openai(client), {"model": GPT}

    def of_openai_later(standin):
        client = openai.AsyncOpenAI(base_url=f"{standin.url}/v1", api_key="key", max_retries=0)
        return instructor.from_openai(client), {"model": GPT}

    def of_anthropic(standin):
        client = anthropic.Anthropic(base_url=standin.url, api_key="key", max_retries=0)
        return instructor.from_anthropic(client), {"model": CLAUDE, "max_tokens": 200}

    def of_google(standin):
        client = genai.Client(api_key="key", http_options={"base_url": standin.url})
        return instructor.from_genai(client), {"model": GEMINI}

    def create(made):
        client, asked = made
        return client.create(response_model=Plan, messages=ASK, max_retries=1, **asked)

    def partial(made):
        client, asked = made
        return [*client.create_partial(response_model=Plan, messages=ASK, **asked)][-1]

    async def later(made):
        client, asked = made
        return await client.create(response_model=Plan, messages=ASK, max_retries=1, **asked)

    def wrong_first(standin):
        """An answer that is no plan is asked for again: two are billed."""
        standin.script(text='{"title": 5}')
        standin.script(text='{"title": "plan", "steps": 2}')
        client = openai.OpenAI(base_url=f"{standin.url}/v1", api_key="key", max_retries=0)
        made = instructor.from_openai(client, mode=instructor.Mode.JSON)
        return made.create(response_model=Plan, messages=ASK, max_retries=3, model=GPT)

    return {
        "openai: structured": lambda standin: create(of_openai(standin)),
        "openai: partial": lambda standin: partial(of_openai(standin)),
        "openai: async": lambda standin: run(later(of_openai_later(standin))),
        "openai: asked again": wrong_first,
        "anthropic: structured": lambda standin: create(of_anthropic(standin)),
        "anthropic: partial": lambda standin: partial(of_anthropic(standin)),
        "google: structured": lambda standin: create(of_google(standin)),
        "google: partial": lambda standin: partial(of_google(standin)),
    }
