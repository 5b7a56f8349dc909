"""What a scope has used and cost, as tables for people: in a terminal, or in a text file."""

from collections.abc import Callable, Iterator, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import IO, Any, NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement, measure_renderables
from rich.table import Column, Table
from rich.text import Text

from .prices.stanzas import shown
from .records import Record, dollars
from .sums import By, Gathered, Sum, Sums, fields

WIDTH = 100
"""Columns of what goes into a file; more where numbers or names need them."""

_ANY = 10_000

_NARROWEST = 10
"""Columns of a name."""
_MOST_ROWS = 30
_MOST_FAILURES = 10
_MOST_UNPRICED = 10
_HEADS = {"call_type": "call type"}


def usd(amount: Decimal) -> str:
    """Dollars for people: cents from a dollar on, below it what matters; never zero for what isn't.

    >>> [usd(Decimal(text)) for text in ("1234.5678", "0.0123", "0.00000456", "0")]
    ['$1,234.57', '$0.0123', '$0.0000046', '$0']
    """
    if not amount:
        return "$0"
    size = abs(amount)
    if size >= 1:
        places = 2
    elif size >= Decimal("0.01"):
        places = 4
    else:
        places = 1 - size.adjusted()  # two digits
    return f"${amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN):,f}"


def cost(found: Sum) -> str:
    """The dollars of a sum, or what is sure of them."""
    if not found.unpriced:
        return usd(dollars(found.pico))
    return f"at least {usd(dollars(found.pico))}" if found.pico else "unknown"


def _cell(found: Sum) -> str:
    """The same where there is little room."""
    return cost(found).replace("at least ", "≥ ")


def name(value: str) -> str:
    """A name that somebody chose, fit to be shown."""
    return shown(value) or "-"


def calls(count: int) -> str:
    """`1 call`, `2 calls`."""
    return "1 call" if count == 1 else f"{count:,} calls"


def share(part: int, whole: int) -> str:
    """What a part is of the whole; empty where there is no whole."""
    if not whole:
        return ""
    percent = 100 * part / whole
    return "<0.1%" if 0 < percent < 0.05 else f"{percent:.1f}%"


class _Number(NamedTuple):
    """A column of numbers."""

    head: str
    of: Callable[[Sum], int]
    brief: bool = False
    """Also where there is little room."""


_NUMBERS = (
    _Number("calls", lambda found: found.calls, brief=True),
    _Number("failed", lambda found: found.failures, brief=True),
    _Number("input", lambda found: found.input_tokens),
    _Number("cached", lambda found: found.cached_tokens),
    _Number("output", lambda found: found.output_tokens),
    _Number("reasoning", lambda found: found.reasoning_tokens),
    _Number("total", lambda found: found.total_tokens, brief=True),
)


def table(sums: Sums, by: By, *, most: int | None = None, brief: bool = False) -> Table:
    """A row for each group that agrees in these fields of `Group`, the dearest first, and the total.

    `most`: rows that are shown one by one; `brief`: without the kinds of tokens. Cached tokens are
    part of the input, reasoning of the output. Shares are of what has a price.
    """
    asked = fields(by)
    parts = sums.by(*asked)
    total = sums.total
    numbers = [one for one in _NUMBERS if one.brief or not brief]
    made = Table(
        *(
            Column(_HEADS.get(field, field), overflow="fold", min_width=_NARROWEST)
            for field in asked
        ),
        *(
            Column(head, justify="right", overflow="fold")
            for head in (*(one.head for one in numbers), "cost", "share", "avg s")
        ),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )

    def add(names: list[str], found: Sum, style: str = "") -> None:
        seconds = found.average_seconds
        made.add_row(
            *map(Text, names),
            *(f"{one.of(found):,}" for one in numbers),
            _cell(found),
            share(found.pico, total.pico),
            "-" if seconds is None else f"{seconds:,.2f}",
            style=style,
        )

    rows = list(parts.items())
    for values, found in rows[:most]:
        add([name(value) for value in values], found)
    if most is not None and len(rows) > most:
        rest = Sum()
        for _, found in rows[most:]:
            rest.merge(found)
        add([f"{len(rows) - most:,} more", *[""] * (len(asked) - 1)], rest)
    if made.rows:
        made.rows[-1].end_section = True
    add(["all", *[""] * (len(asked) - 1)], total, "bold")
    return made


class Summary:
    """What was used and cost, by whom, what failed, and what has no price."""

    def __init__(self, id: str, labels: Mapping[str, str], gathered: Gathered) -> None:
        self._id = id
        self._labels = labels
        self._gathered = gathered

    def _parts(self, tabled: Callable[[By], RenderableType]) -> Iterator[RenderableType]:
        sums, total = self._gathered.sums, self._gathered.sums.total
        said = "  ".join(f"{name(word)}={name(value)}" for word, value in self._labels.items())
        yield Text.assemble((f"LLM usage of {name(self._id)}", "bold"), f"  {said}" if said else "")
        yield Text(_in_words(total))
        if total.calls:
            if any(group.call_type for group, _ in sums):
                yield tabled("call_type")
            yield tabled(("agent", "model"))
        yield from _failures(self._gathered)
        yield from _unpriced(sums)
        yield from _missing(total)

    def _table(self, by: By, *, brief: bool = False) -> Table:
        return table(self._gathered.sums, by, most=_MOST_ROWS, brief=brief)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def fitting(by: By) -> Table:
            whole = self._table(by)
            needed = console.measure(whole, options=options.update(width=_ANY)).maximum
            return self._table(by, brief=needed > options.max_width)

        yield from self._parts(fitting)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        tables = [self._table(by) for by in ("call_type", ("agent", "model"))]
        return measure_renderables(console, options, tables)


def _in_words(total: Sum) -> str:
    if not total.calls:
        return "no calls"
    parts = [calls(total.calls)]
    if total.failures:
        parts.append(f"{total.failures:,} failed")
    if total.aborted:
        parts.append(f"{total.aborted:,} left early")
    parts.append(f"{total.total_tokens:,} tokens")
    parts.append(cost(total))
    if total.timed:
        parts.append(f"{total.seconds:,.1f} s in all")
    return ", ".join(parts)


def _failures(gathered: Gathered) -> list[RenderableType]:
    failed = gathered.failures
    if not failed:
        return []
    more = gathered.sums.total.failures - min(len(failed), _MOST_FAILURES)
    lines = [_failure(record) for record in failed[-_MOST_FAILURES:]]
    return [
        Text("Failed" if more <= 0 else f"The last that failed ({more:,} more before)", "bold"),
        *lines,
        Text(),
    ]


def _failure(record: Record) -> Text:
    why = record.error_message or record.error_type or record.status
    call_type = record.labels.get("call_type")
    who = [record.agent, *([call_type] if call_type else []), record.model]
    return Text(f"  {', '.join(map(name, who))}: {name(why)}")


def _unpriced(sums: Sums) -> list[RenderableType]:
    found = {
        names: part.unpriced
        for names, part in sums.by("provider", "model").items()
        if part.unpriced
    }
    if not found:
        return []
    shown_ones = [
        f"{name(model)} of {name(provider)} ({count:,})"
        for (provider, model), count in list(found.items())[:_MOST_UNPRICED]
    ]
    if len(found) > _MOST_UNPRICED:
        shown_ones.append(f"{len(found) - _MOST_UNPRICED:,} more")
    return [
        Text.assemble(
            ("No price, or not for all of it: ", "yellow"),
            ", ".join(shown_ones),
            ". Dollars after ≥ are lower bounds; shares are of what has a price.",
        )
    ]


def _missing(total: Sum) -> list[RenderableType]:
    if not total.missing:
        return []
    return [Text(f"Of {total.missing:,} calls nobody said how many tokens they took.", "yellow")]


def show(renderable: Any, file: IO[str] | None = None) -> None:
    """Print it to standard output, or into a file: whole names and numbers, whatever that is."""
    console = Console(file=file)
    if not console.is_terminal:
        needed = console.measure(renderable, options=console.options.update(width=_ANY)).maximum
        console = Console(file=file, width=max(WIDTH, needed))
    with console.capture() as captured:
        console.print(renderable)
    # what the file's encoding has no sign for is no reason to fail
    text = captured.get().encode(console.encoding, "replace").decode(console.encoding)
    console.file.write(text)
    console.file.flush()
