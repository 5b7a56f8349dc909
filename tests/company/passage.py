"""One process: who comes in which order, the same programs after each step, and all that was seen."""

import gc
import importlib
import json
import logging
import re
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

import otel_llm_usage
from otel_llm_usage import guard
from otel_llm_usage.standin import StandIn, server

from .calls import EXPORTER

EPOCH = 1_795_000_000.0
USAGE = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.prompt_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.prompt",
    "llm.token_count.completion",
    "llm.usage.total_tokens",
)
"""Attributes by which the spans of several schools tell a call's usage."""

_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
"""Names that frameworks give to runs and messages."""


class Ours:
    """We, as an application has us."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.registry = CollectorRegistry()

    def on(self) -> None:
        """Start counting."""
        otel_llm_usage.instrument(sinks=[self.records.append], registry=self.registry, otlp=False)

    def off(self) -> None:
        """Stop."""
        otel_llm_usage.uninstrument()

    def flush(self) -> None:
        """Have every record of what has ended."""
        runtime = otel_llm_usage.runtime.current()
        if runtime is not None:
            runtime.flush()

    def tokens(self) -> float:
        """All tokens that our metrics show."""
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "llm_tokens_total"
        )


class Said(logging.Handler):
    """What we, or anybody as an error, have said."""

    def __init__(self) -> None:
        super().__init__()
        self.ours: list[str] = []
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text} {record.exc_info[1]!r}"
        if record.name.startswith("otel_llm_usage"):
            self.ours.append(f"{record.levelname} {text}")
        elif record.levelno >= logging.ERROR:
            self.errors.append(f"{record.name}: {text}")

    def warned(self, message: Any, category: Any, filename: str, *_: Any, **__: Any) -> None:
        """Take the place of `warnings.showwarning`."""
        if "otel_llm_usage" in Path(filename).parts:
            self.ours.append(f"{category.__name__} {message}")


def passage(company: Any, arrive: Iterable[str], leave: Iterable[str]) -> dict[str, Any]:
    """All come as told, then go one by one; after each step every program is run."""
    _stay_on_loopback()
    said = Said()
    logging.getLogger().addHandler(said)
    warnings.simplefilter("default")
    warnings.showwarning = said.warned
    ours = Ours()
    who: Mapping[str, Any] = {"ours": ours, "theirs": company}
    if not getattr(company, "PROVIDES_TRACES", False):
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
        trace.set_tracer_provider(provider)
    here = []
    for name in arrive:
        who[name].on()
        here.append(name)
    rounds = [_round(company, ours, here)]
    for name in leave:
        who[name].off()
        here.remove(name)
        rounds.append(_round(company, ours, here))
    return {
        "rounds": rounds,
        "said": said.ours,
        "errors": said.errors,
        "faults": dict(guard.errors),
    }


def _round(company: Any, ours: Ours, here: list[str]) -> dict[str, Any]:
    server.time = SimpleNamespace(time=lambda: EPOCH, monotonic=time.monotonic, sleep=time.sleep)
    before = ours.tokens()
    programs = company.programs()
    gc.freeze()  # what was imported is not looked through at each collection
    with StandIn() as standin:
        calls = {name: _call(program, standin, ours) for name, program in programs.items()}
        billed = sum(standin.ledger.usage().values())
    return {
        "here": list(here),
        "calls": calls,
        "tokens": ours.tokens() - before,
        "billed": billed,
    }


def _call(program: Callable[[StandIn], Any], standin: StandIn, ours: Ours) -> dict[str, Any]:
    EXPORTER.clear()
    bills, records = len(standin.ledger), len(ours.records)
    answer, error = None, None
    try:
        answer = dumped(program(standin))
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
    assert standin.settled(30)
    for _ in range(3):
        gc.collect()
        ours.flush()
    return {
        "answer": answer,
        "error": None if error is None else error.replace(standin.url, "http://standin"),
        "bills": [
            {"id": bill.id, "usage": dict(bill.usage), "model": bill.model, "ending": bill.ending}
            for bill in standin.ledger.bills[bills:]
        ],
        "records": [_record(record) for record in ours.records[records:]],
        "spans": [_span(span) for span in EXPORTER.get_finished_spans()],
    }


def _record(record: Any) -> dict[str, Any]:
    return {
        "id": record.response_id,
        "usage": None if record.usage is None else record.usage.nonzero(),
        "model": record.response_model,
        "status": record.status,
        "source": record.usage_source,
        "cost": record.cost.status,
        "http": record.http_status,
        "span": record.span_id,
    }


def _span(span: ReadableSpan) -> dict[str, Any]:
    attributes = span.attributes or {}
    scope = span.instrumentation_scope
    place = span.get_span_context()
    assert place is not None
    return {
        "name": span.name,
        "scope": scope.name if scope is not None else "",
        "id": trace.format_span_id(place.span_id),
        "trace": trace.format_trace_id(place.trace_id),
        "parent": trace.format_span_id(span.parent.span_id) if span.parent else None,
        "usage": {name: attributes[name] for name in USAGE if name in attributes},
        "cost": attributes.get("gen_ai.usage.cost.total"),
    }


def dumped(value: Any) -> Any:
    """An answer as JSON can hold it, with the types of what it is made of."""
    if isinstance(value, BaseModel):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydantic's, about the SDKs' generic models
            held = value.model_dump(mode="json", exclude={"sdk_http_response"}, fallback=repr)
        return {type(value).__name__: dumped(held)}
    if isinstance(value, list | tuple):
        return [dumped(one) for one in value]
    if isinstance(value, dict):
        return {str(key): dumped(one) for key, one in value.items()}
    text = value if isinstance(value, str) else repr(value)
    return value if isinstance(value, int | float | None) else _RANDOM.sub("random", text)


def _stay_on_loopback() -> None:
    """Packages that fetch prices or send statistics find no network, as on a machine without one."""
    look_up = socket.getaddrinfo

    def local(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in ("127.0.0.1", "localhost", None):
            raise socket.gaierror(f"{host}: only this machine is there")
        return look_up(host, *args, **kwargs)

    socket.getaddrinfo = local


def main() -> None:
    """`python -m tests.company.passage MODULE ARRIVE LEAVE FILE`, names parted by commas."""
    module, arrive, leave, file = sys.argv[1:]
    company = importlib.import_module(module)
    seen = passage(company, *(filter(None, names.split(",")) for names in (arrive, leave)))
    Path(file).write_text(json.dumps(seen, indent=1, default=repr))


if __name__ == "__main__":
    main()
