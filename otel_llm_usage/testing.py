"""What your own tests need: a stand-in provider, and the records of what was called.

Add `pytest_plugins = ["otel_llm_usage.testing"]` to your `conftest.py`:

    def test_the_planner_asks_once(llm_standin, llm_records):
        answer("What is the weather?")
        assert [record.agent for record in llm_records] == ["planner"]
"""

from collections.abc import Iterator
from typing import Any, SupportsIndex

import pytest

from . import backlog
from .records import Record
from .runtime import current, instrument, uninstrument
from .standin import StandIn


class Records(list[Record]):
    """A list of records that, whenever it is looked at, holds those of all calls that have ended.

    Records are made by a thread of ours soon after the calls: `instrument(sinks=[records.append])`
    with a plain list would be looked at too early.
    """

    def __len__(self) -> int:
        backlog.finish()
        return super().__len__()

    def __iter__(self) -> Iterator[Record]:
        backlog.finish()
        return super().__iter__()

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        backlog.finish()
        return super().__getitem__(index)

    def __eq__(self, other: object) -> bool:
        backlog.finish()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __contains__(self, record: object) -> bool:
        backlog.finish()
        return super().__contains__(record)

    def __reversed__(self) -> Iterator[Record]:
        backlog.finish()
        return super().__reversed__()

    def __repr__(self) -> str:
        backlog.finish()
        return super().__repr__()

    def pop(self, index: SupportsIndex = -1) -> Record:
        """Take one out."""
        backlog.finish()
        return super().pop(index)

    def clear(self) -> None:
        """Forget the records of all calls that have ended."""
        backlog.finish()
        super().clear()


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
def llm_records() -> Iterator[Records]:
    """Every record of the test, in the order in which the calls ended.

    Where the application is instrumented already, its runtime goes on with its own settings.
    """
    running = current()
    records = Records()
    take = records.append
    runtime = instrument(sinks=[take], otlp=False if running is None else None)
    try:
        yield records
    finally:
        runtime.remove_sink(take)
        if running is None:
            uninstrument()
