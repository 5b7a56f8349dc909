"""A reconciliation for people: what differs, in a terminal or a text file."""

from decimal import Decimal
from typing import IO

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .. import tables
from .comparing import USD, Line, Number, Reconciliation, Total

_MOST = 40


def table(found: Reconciliation) -> RenderableType:
    """The sums of the settled days, the lines that differ, and all there is to know about them."""
    parts: list[RenderableType] = [_totals(found)]
    differing = [
        line for line in (*found.lines, *(found.dollars or ())) if line.residual or not line.settled
    ]
    if differing:
        parts.append(_lines(differing))
    parts.extend(Text(text, style) for text, style in _remarks(found))
    return Group(*parts)


def show(found: Reconciliation, file: IO[str] | None = None) -> None:
    """Print it to standard output, or into a file."""
    tables.show(table(found), file)


def _totals(found: Reconciliation) -> Table:
    title = f"{found.provider}, {found.since} until {found.settled_until}"
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    made.add_column("")
    for head in ("ledger", "provider", "captured", "differs"):
        made.add_column(head, justify="right")
    for total in found.totals():
        made.add_row(total.kind, *_cells(total), f"{100 * total.residual_ratio:.2f}%")
    return made


def _lines(lines: list[Line]) -> Table:
    made = Table(title="What differs", box=box.SIMPLE_HEAD, title_justify="left")
    for head in ("day", "model", "kind"):
        made.add_column(head)
    for head in ("ledger", "provider", "captured", "residual"):
        made.add_column(head, justify="right")
    for line in lines[:_MOST]:
        day = f"{line.day}" if line.settled else f"{line.day} (too young)"
        name = tables.name(line.model)
        made.add_row(day, name, line.kind, *_cells(line), _number(line.kind, line.residual))
    if len(lines) > _MOST:
        made.add_row(f"… {len(lines) - _MOST:,} more")
    return made


def _cells(one: Line | Total) -> tuple[str, str, str]:
    captured = "" if one.capture is None else f"{100 * one.capture:.2f}%"
    return _number(one.kind, one.ours), _number(one.kind, one.theirs), captured


def _number(kind: str, number: Number) -> str:
    return tables.usd(Decimal(number)) if kind == USD else f"{number:,}"


def _remarks(found: Reconciliation) -> list[tuple[str, str]]:
    remarks = []
    if found.only_theirs:
        named = ", ".join(map(tables.name, found.only_theirs))
        remarks.append((f"Billed, but never seen by the ledger: {named}", "yellow"))
    if found.only_ours:
        named = ", ".join(map(tables.name, found.only_ours))
        remarks.append((f"In the ledger, but not billed: {named}", "yellow"))
    remarks.extend(
        (f"{tables.name(name)} was taken as {tables.name(to)}.", "")
        for name, to in found.matched.items()
    )
    for one in found.unrecognised[:_MOST]:
        usd = "" if one.usd is None else f", {tables.usd(one.usd)}"
        told = f"Not recognised: {tables.name(one.what)} ({one.lines:,} lines{usd})"
        remarks.append((told, "yellow"))
    if found.credits_usd:
        remarks.append((f"Credits and discounts: {tables.usd(found.credits_usd)}", ""))
    if found.unpriced:
        told = (
            f"{found.unpriced:,} records of the ledger have no known price, or not for all of it."
        )
        remarks.append((told, "yellow"))
    if found.settled_until < found.until:
        told = f"From {found.settled_until} on the provider may not tell everything yet: it is not in the sums."
        remarks.append((told, ""))
    remarks.extend((note, "yellow") for note in found.notes)
    return remarks
