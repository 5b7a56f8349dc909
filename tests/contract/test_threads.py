"""Many threads and tasks at once: every answer is one record, exact to the token."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from otel_llm_usage import Record, agent
from otel_llm_usage.standin import StandIn

THREADS = 8
CALLS = 20


@pytest.fixture
def programs(llm_standin: StandIn) -> Iterator[list[Callable[[str], Any]]]:
    """Ways to call, on clients that the threads share."""
    http = types.HttpOptions(base_url=llm_standin.url)
    with (
        openai.OpenAI(base_url=f"{llm_standin.url}/v1", api_key="key") as chat,
        anthropic.Anthropic(base_url=llm_standin.url, api_key="key") as claude,
        genai.Client(api_key="key", http_options=http) as gemini,
    ):
        yield _programs(chat, claude, gemini)


def _programs(
    chat: openai.OpenAI, claude: anthropic.Anthropic, gemini: genai.Client
) -> list[Callable[[str], Any]]:
    def ask(text: str) -> list[Any]:
        return [{"role": "user", "content": text}]

    def whole(text: str) -> None:
        chat.chat.completions.create(model="gpt-4.1-mini", messages=ask(text))

    def streamed(text: str) -> None:
        stream = chat.chat.completions.create(model="gpt-4.1-mini", messages=ask(text), stream=True)
        list(stream)

    def message(text: str) -> None:
        asked: Any = {"model": "claude-haiku-4-5", "max_tokens": 300, "messages": ask(text)}
        list(claude.messages.create(**asked, stream=True))

    def content(text: str) -> None:
        list(gemini.models.generate_content_stream(model="gemini-2.5-flash", contents=text))

    return [whole, streamed, message, content]


def test_eight_threads_count_exactly(
    llm_standin: StandIn, llm_records: list[Record], programs: list[Callable[[str], Any]]
) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(CALLS):
                with agent(f"thread {number}"):
                    programs[(number + turn) % len(programs)](f"{number}: question {turn}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert llm_standin.settled()
    _agree(llm_records, llm_standin, THREADS * CALLS)
    assert Counter(r.agent for r in llm_records) == {f"thread {n}": CALLS for n in range(THREADS)}


async def test_many_tasks_count_exactly(llm_standin: StandIn, llm_records: list[Record]) -> None:
    async def work(number: int) -> None:
        messages: Any = [{"role": "user", "content": f"question {number}"}]
        with agent(f"task {number % 8}"):
            if number % 2:
                stream = await chat.chat.completions.create(
                    model="gpt-4.1-mini", messages=messages, stream=True
                )
                async for _ in stream:
                    await asyncio.sleep(0)
            else:
                await claude.messages.create(
                    model="claude-haiku-4-5", max_tokens=300, messages=messages
                )

    async with (
        openai.AsyncOpenAI(base_url=f"{llm_standin.url}/v1", api_key="key") as chat,
        anthropic.AsyncAnthropic(base_url=llm_standin.url, api_key="key") as claude,
    ):
        await asyncio.gather(*(work(number) for number in range(80)))
    assert llm_standin.settled()
    _agree(llm_records, llm_standin, 80)
    assert Counter(r.agent for r in llm_records) == {f"task {n}": 10 for n in range(8)}


def _agree(records: list[Record], standin: StandIn, count: int) -> None:
    """One record for each bill, with its tokens."""
    bills = {bill.id: bill for bill in standin.ledger}
    assert len(records) == len(bills) == count
    assert {record.response_id for record in records} == set(bills)
    for record in records:
        bill = bills[record.response_id or ""]
        assert record.usage is not None
        assert record.usage.nonzero() == dict(bill.usage)
        assert record.response_model == bill.model
        assert (record.status, record.usage_source) == ("ok", "reported")
        assert record.cost_usd == bill.usd
