"""What your own tests need: a stand-in provider, and the records of what was called.

Add `pytest_plugins = ["otel_llm_usage.testing"]` to your `conftest.py`:

    def test_the_planner_asks_once(llm_standin, llm_records):
        answer("What is the weather?")
        assert [record.agent for record in llm_records] == ["planner"]
"""

from collections.abc import Iterator

import pytest

from .records import Record
from .runtime import current, instrument, uninstrument
from .standin import StandIn


@pytest.fixture
def llm_standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A provider on loopback that speaks Gemini, OpenAI and Anthropic, and keeps a ledger.

    The environment points the SDKs at it, so clients made without arguments find it.
    """
    with StandIn() as standin:
        for name, value in standin.environment().items():
            monkeypatch.setenv(name, value)
        yield standin


@pytest.fixture
def llm_records() -> Iterator[list[Record]]:
    """Every record of the test, in the order in which the calls ended.

    Where the application is instrumented already, its runtime goes on with its own settings.
    """
    running = current()
    records: list[Record] = []
    take = records.append
    runtime = instrument(sinks=[take], otlp=False if running is None else None)
    try:
        yield records
    finally:
        runtime.remove_sink(take)
        if running is None:
            uninstrument()
