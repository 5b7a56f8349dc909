"""Advice for people, in a terminal or a text file."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from .. import tables
from .advise import Advice
from .finding import Finding


class AdviceList:
    """What may be saved, the dearest first, each with its evidence."""

    def __init__(self, advice: Advice) -> None:
        self._advice = advice

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        advice = self._advice
        total = advice.total
        yield Text.assemble(
            (f"{tables.calls(total.calls)}, {tables.cost(total)}", "bold"),
            f", in {advice.days:,.1f} days",
        )
        if not advice.findings:
            yield Text(f"Nothing that would save {tables.usd(advice.least_usd)} or more per month.")
            return
        for number, one in enumerate(advice.findings, 1):
            yield Text()
            yield from _finding(number, one)
        yield Text()
        yield Text("Findings overlap: their dollars don't add up.", "dim")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(tables.WIDTH, tables.WIDTH).with_maximum(options.max_width)


def _finding(number: int, one: Finding) -> Iterator[RenderableType]:
    month = one.usd_per_month
    dear = "unknown dollars" if month is None else f"up to {tables.usd(month)} per month"
    whose = ", ".join(
        f"{word.replace('_', ' ')} {tables.name(value)}" for word, value in one.about.items()
    )
    yield Text.assemble(
        (f"{number}. {one.kind.replace('_', ' ')}: {dear}", "bold"), f"  {whose}" if whose else ""
    )
    yield Text(f"   {one.what}.")
    evidence = "; ".join(
        f"{key.replace('_', ' ')} {_told(value)}" for key, value in one.evidence.items()
    )
    for head, text in (
        ("evidence", evidence),
        ("unsure", one.uncertainty),
        ("to do", one.todo),
        ("examples", ", ".join(one.examples)),
    ):
        if text:
            made = Table.grid(Column(width=13), Column(overflow="fold"), padding=(0, 0))
            made.add_row(Text(f"   {head}", "dim"), Text(text))
            yield made


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{tables.name(str(key))}: {_told(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value)) or "none"
    if isinstance(value, float):
        return f"{value:,.3g}"
    return f"{value:,}" if isinstance(value, int) else tables.name(str(value))
