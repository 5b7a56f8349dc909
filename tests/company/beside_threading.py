"""Beside the official instrumentation of threads, which carries the whole context into them."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from otel_llm_usage import agent, instrument, track, uninstrument
from otel_llm_usage.standin import StandIn

NAME = "Threads, official"
NOTES = ("Who pays is right with it and without it, and whichever of the two was put on first.",)
"""What docs/compatibility.md says of it."""


@pytest.mark.parametrize("order", ["ours", "theirs, ours", "ours, theirs"])
def test_work_in_threads_is_whose_it_is(order, record_property):
    from opentelemetry.instrumentation.threading import ThreadingInstrumentor

    records = []
    with StandIn() as standin:
        os.environ.update(standin.environment())
        for one in order.split(", "):
            if one == "ours":
                runtime = instrument(otlp=False, sinks=[records.append])
            else:
                ThreadingInstrumentor().instrument()
        client = openai.OpenAI()

        def ask():
            client.chat.completions.create(
                model="gpt-4.1-mini", messages=[{"role": "user", "content": "hello"}]
            )

        async def elsewhere():
            with agent("executor"):
                await asyncio.get_running_loop().run_in_executor(None, ask)

        try:
            with ThreadPoolExecutor(1) as pool, track("all") as usage:
                with agent("pool"):
                    pool.submit(ask).result()
                    list(pool.map(lambda _: ask(), range(2)))
                pool.submit(ask).result()  # the same thread, for nobody
                with agent("thread"):
                    thread = threading.Thread(target=ask)
                    thread.start()
                thread.join()
                asyncio.run(elsewhere())
            ask()
            runtime.flush()
        finally:
            client.close()
            if "theirs" in order:
                ThreadingInstrumentor().uninstrument()
            uninstrument()
        agents = [record.agent for record in records]
        assert agents == ["pool", "pool", "pool", "unknown", "thread", "executor", "unknown"]
        assert usage.total.calls == 6
        assert sum(record.cost_usd for record in records) == sum(one.usd for one in standin.ledger)
        record_property("answers", len(standin.ledger))
