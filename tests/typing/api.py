"""The public API as a typed application uses it. Never run: mypy reads it."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, assert_type

from starlette.applications import Starlette

import otel_llm_usage
from otel_llm_usage import (
    Budget,
    BudgetStatus,
    BudgetThreshold,
    Comparison,
    Cost,
    CostLine,
    Estimate,
    Record,
    Runtime,
    Timing,
    Usage,
    UsageScope,
    WhatIf,
    agent,
    current_usage,
    estimate,
    instrument,
    price,
    stream_with_usage,
    track,
)
from otel_llm_usage.server import wsgi_app
from otel_llm_usage.streaming import sse
from otel_llm_usage.testing import Records
from otel_llm_usage.web import UsageMiddleware, UsageWSGIMiddleware

records = Records()
runtime = instrument(
    sinks=[records.append],
    config="llm.toml",
    metrics_port=9464,
    metric_labels=("team",),
    spans="never",
    on_abort="drain",
    stream_usage={"*": "auto"},
    prices=["contract.toml"],
)
assert_type(runtime, Runtime)
runtime.flush()
runtime.close()

with agent("planner"):
    pass


def sink(record: Record) -> None:
    assert_type(record.model, str)
    assert_type(record.cost, Cost)
    assert_type(record.cost_usd, Decimal | None)
    assert_type(record.usage, Usage | None)
    assert_type(record.labels, Mapping[str, str])
    if record.usage is not None:
        assert_type(record.usage.input_tokens, int | None)
        assert_type(record.usage.nonzero(), dict[str, int])


def reached(told: BudgetThreshold) -> None:
    assert_type(told.spent_usd, Decimal)


instrument(
    sinks=[sink],
    budgets=[
        Budget(name="team", limit_usd=50, match={"agent": ["planner", "critic"]}),
        Budget(name="day", limit_usd="7.5", period="day", on_threshold=reached),
    ],
)
assert_type(runtime.budgets(), tuple[BudgetStatus, ...])
cost = price({"prompt_tokens": 1}, provider="openai", model="gpt-5", at=date(2026, 11, 20))
cost = price("{}", provider="openai", at=datetime.now(UTC), request={}, response={})
assert_type(cost.lines, tuple[CostLine, ...])
guess = estimate("gpt-5", [{"role": "user", "content": "hi"}], system="", max_output_tokens=10)
assert_type(guess, Estimate)
assert_type(guess.max_usd, Decimal | None)
assert_type(current_usage(), UsageScope | None)


async def over(usage: UsageScope) -> None:
    assert_type(usage.total.cost_usd, Decimal | None)


def streams(words: list[str], later: AsyncIterator[str]) -> None:
    made = stream_with_usage(words, track("a1"), each_call=True, on_end=print)
    assert_type(made, Generator[str | Any, None, None])
    assert_type(stream_with_usage(later, render=sse, on_end=over), AsyncGenerator[str | Any, None])


app = Starlette()
app.add_middleware(UsageMiddleware, user="x-user-id", final_event=True, on_end=over)
UsageMiddleware(app, labels=lambda scope: {"path": scope["path"]})
UsageWSGIMiddleware(wsgi_app(), id=lambda environ: environ["PATH_INFO"])
otel_llm_usage.uninstrument()

with track("a1", symbol="X") as usage:
    assert_type(usage, UsageScope)
assert_type(usage.what_if("gpt-4.1", tier="batch"), WhatIf)
assert_type(usage.compare_models("a", "b"), Comparison)
assert_type(usage.timing(), Timing)
assert_type(usage.timing(by="agent"), dict[str, Timing])
usage.bar_chart("a.png", by="agent", of="tokens")
usage.print_chart("calls")
