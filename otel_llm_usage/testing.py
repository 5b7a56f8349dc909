"""What your own tests need: a stand-in provider, and the records of what was called.

Add `pytest_plugins = ["otel_llm_usage.testing"]` to your `conftest.py`:

    def test_the_planner_asks_once(llm_standin, llm_records):
        answer("What is the weather?")
        assert [record.agent for record in llm_records] == ["planner"]
"""

from collections.abc import Iterator

import pytest

from .records import Record
from .runtime import instrument, uninstrument
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
    """Every record of the test, in the order in which the calls ended."""
    uninstrument()
    records: list[Record] = []
    instrument(sinks=[records.append], otlp=False)
    try:
        yield records
    finally:
        uninstrument()
