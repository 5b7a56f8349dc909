"""A ledger in both databases, the API over it on a real socket, and real calls that it has recorded."""

import time

import anthropic
import httpx
import openai
import pytest
from google import genai

from otel_llm_usage import agent, api, attribute, instrument, track
from tests.examples.conftest import served  # noqa: F401 (fixtures)
from tests.ledger.conftest import ledger, place, postgres  # noqa: F401

ASK = [{"role": "user", "content": "hello"}]


@pytest.fixture
def runtime(place, tmp_path):  # noqa: F811
    """Real calls are recorded in this ledger."""
    return instrument(otlp=False, ledger=place, ledger_journal=tmp_path / "journal")


@pytest.fixture
def called(llm_standin, runtime):
    """Calls of all three SDKs, by two agents for two users, inside two scopes; one of them fails."""
    llm_standin.script(status=400, match=lambda seen: "break" in str(seen.body))
    with (
        openai.OpenAI() as gpt,
        anthropic.Anthropic() as claude,
        genai.Client() as gemini,
        track("analysis/1"),
    ):
        with agent("planner"), attribute(user="ann", call_type="plan", symbol="X"):
            gpt.chat.completions.create(model="gpt-4.1", messages=ASK)
            gpt.chat.completions.create(model="gpt-4.1-mini", messages=ASK)
            claude.messages.create(model="claude-haiku-4-5", messages=ASK, max_tokens=99)
        with agent("a/b c"), attribute(user="bob"), track("analysis/2"):
            gemini.models.generate_content(model="gemini-2.5-flash", contents="hello")
            gpt.chat.completions.create(model="gpt-4.1", messages=ASK)
            with pytest.raises(openai.BadRequestError):
                gpt.chat.completions.create(
                    model="gpt-4.1", messages=[{"role": "user", "content": "break"}]
                )
    runtime.flush()
    return llm_standin


@pytest.fixture
def http(runtime, served):  # noqa: F811
    """A client of the API over the runtime's ledger."""
    with served(api.app(token=False)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def eventually(look, seconds=60.0):
    """What `look` gives as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return found
