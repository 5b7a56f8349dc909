"""What a scope has used and cost, as tables for people: in a terminal, or in a text file."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement, measure_renderables
from rich.table import Column, Table
from rich.text import Text

from .comparison import Comparison, ModelFigures, WhatIf
from .prices.stanzas import shown
from .records import PICO, Cost, Record, dollars
from .sums import By, Gathered, Sum, Sums, fields

if TYPE_CHECKING:
    from .ledger import Report, Repriced, ScopeSum

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


def cost_of(cost: Cost) -> str:
    """The dollars of one record, or what is sure of them; nothing where none are billed."""
    if cost.status == "not_billed":
        return "-"
    if cost.pico is not None:
        return usd(dollars(cost.pico))
    return f"≥ {usd(dollars(cost.known_pico))}" if cost.known_pico else "unknown"


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


# ------------------------------------------------------------ of a ledger


def plain_table(*columns: Column | str) -> Table:
    """A table with few lines."""
    return Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _numbers(*heads: str) -> list[Column]:
    return [Column(head, justify="right", overflow="fold") for head in heads]


def _change(now: int, before: int) -> str:
    """How much more it is, in dollars and as a share; amounts in pico-dollars."""
    more = now - before
    if not more:
        return "-"
    told = f"{'+' if more > 0 else '-'}{usd(abs(dollars(more)))}"
    return f"{told} ({100 * more / before:+.0f}%)" if before else told


def _pico(amount: Decimal) -> int:
    return int(amount * PICO)


def piece(value: datetime, bucket: str) -> str:
    """A piece of time, by when it begins."""
    if bucket == "month":
        return f"{value:%Y-%m}"
    if bucket != "hour":
        return f"{value:%Y-%m-%d}"
    # in the night in which clocks go back, an hour is there twice
    return f"{value:%Y-%m-%d %H:%M}" if not value.utcoffset() else f"{value:%Y-%m-%d %H:%M%z}"


def group_names(report: "Report", group: tuple[Any, ...]) -> list[str]:
    """What the calls of a line share, for people."""
    return [
        piece(value, field) if isinstance(value, datetime) else name(value)
        for field, value in zip(report.question.by, group, strict=True)
    ]


class ReportTable:
    """What a ledger has answered: a row for each line, the others, the total, and what is not known."""

    def __init__(self, report: "Report") -> None:
        self._report = report

    def _table(self, *, brief: bool) -> Table:
        report = self._report
        total = report.total
        numbers = [one for one in _NUMBERS if one.brief or not brief]
        beside = any(line.previous is not None for line in report.lines) or report.previous
        heads = [*(one.head for one in numbers), "cost", "share"]
        heads += ["change"] if beside else []
        sides = [] if brief else [name for name in _SIDES if getattr(total, f"{name}_pico")]
        heads += sides
        asked = report.question.by
        made = plain_table(
            *(Column(_HEADS.get(field, field), overflow="fold") for field in asked),
            *_numbers(*heads),
        )

        def add(names: list[str], found: Sum, previous: Sum | None, style: str = "") -> None:
            cells = [*(f"{one.of(found):,}" for one in numbers), _cell(found)]
            cells.append(share(found.pico, total.pico))
            if beside:
                cells.append("" if previous is None else _change(found.pico, previous.pico))
            amounts = [getattr(found, f"{name}_pico") for name in sides]
            cells += [usd(dollars(pico)) if pico else "" for pico in amounts]
            made.add_row(*map(Text, names), *cells, style=style)

        for line in report.lines:
            add(group_names(report, line.group), line.sum, line.previous)
        others = report.others
        blank = [""] * (len(asked) - 1)
        if asked and others is not None:
            add([f"{report.groups - len(report.lines):,} others", *blank], others, None)
        if made.rows:
            made.rows[-1].end_section = True
        add(["all", *blank] if asked else [], total, report.previous, "bold")
        return made

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        whole = self._table(brief=False)
        needed = console.measure(whole, options=options.update(width=_ANY)).maximum
        yield self._table(brief=True) if needed > options.max_width else whole
        yield from _unsure(self._report.total)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return measure_renderables(console, options, [self._table(brief=False)])


_SIDES = ("saved", "wasted")
"""What else is told of the dollars, where there are any of it."""


def _unsure(total: Sum) -> Iterator[RenderableType]:
    if total.unpriced:
        yield Text(
            f"No price, or not for all of it: {total.unpriced:,} of {total.records:,} records. "
            "Dollars after ≥ are lower bounds.",
            "yellow",
        )
    yield from _missing(total)
    if total.estimated:
        yield Text(
            f"Our estimate: {total.estimated:,} records, {usd(total.estimated_usd)} "
            f"({share(total.estimated_pico, total.pico) or '0%'} of the dollars).",
            "yellow",
        )


def scopes(listed: Iterable["ScopeSum"]) -> Table:
    """Usage scopes, one in a row."""
    made = plain_table(
        Column("scope", overflow="fold"),
        Column("began", no_wrap=True),
        *_numbers("minutes", "calls", "failed", "tokens", "cost"),
    )
    for one in listed:
        made.add_row(
            Text(name(one.id)),
            f"{one.began:%Y-%m-%d %H:%M:%S}",
            f"{(one.latest - one.began).total_seconds() / 60:,.1f}",
            f"{one.sum.calls:,}",
            f"{one.sum.failures:,}",
            f"{one.sum.total_tokens:,}",
            _cell(one.sum),
        )
    return made


def _amount(exact: Decimal | None, known: Decimal) -> str:
    """Dollars, or what is sure of them."""
    if exact is not None:
        return usd(exact)
    return f"≥ {usd(known)}" if known else "unknown"


def compared(told: Comparison) -> Table:
    """Two models side by side, and below what the calls of each would have cost on the other."""

    def average(tokens: float | None) -> str:
        return "-" if tokens is None else f"{tokens:,.0f}"

    rows: tuple[tuple[str, Callable[[ModelFigures], str]], ...] = (
        ("calls", lambda one: f"{one.calls:,}"),
        ("failed", lambda one: f"{one.failures:,}"),
        ("input tokens of a call", lambda one: average(one.input_tokens)),
        ("output tokens of a call", lambda one: average(one.output_tokens)),
        (
            "seconds of a call",
            lambda one: f"{one.average_seconds:.2f}" if one.average_seconds else "-",
        ),
        ("cost of a call", lambda one: "-" if one.usd_per_call is None else usd(one.usd_per_call)),
        ("cost", lambda one: _amount(one.total_usd, one.known_usd)),
    )
    made = plain_table(Column(""), *_numbers(name(told.a.model), name(told.b.model)))
    for head, of in rows:
        made.add_row(head, of(told.a), of(told.b))
    made.rows[-1].end_section = True
    for head, there in (("the same tokens on the other", (told.a_on_b, told.b_on_a)),):
        made.add_row(head, *(_amount(one.other_usd, one.known_other_usd) for one in there))
    made.add_row(
        "that would be", *(_times(one.ratio) for one in (told.a_on_b, told.b_on_a)), style="bold"
    )
    made.caption = _assumed([*told.a_on_b.assumed, *told.b_on_a.assumed])
    made.caption_justify = "left"
    return made


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3g} × the cost"


def _assumed(words: Iterable[str]) -> str:
    told = [*dict.fromkeys(words), "another model counts and answers otherwise"]
    return "\n".join(f"{word[:1].upper()}{word[1:]}." for word in told)


def instead(told: WhatIf) -> Table:
    """What calls have cost, and would have cost."""
    where = " ".join(filter(None, (told.model, told.tier, told.provider)))
    made = plain_table(*_numbers("calls", "cost", f"on {name(where)}", "difference", "left out"))
    actual, other = told.actual_usd, told.other_usd
    made.add_row(
        f"{told.calls:,}",
        "unknown" if actual is None else usd(actual),
        _amount(other, told.known_other_usd),
        "unknown" if actual is None or other is None else _change(_pico(other), _pico(actual)),
        f"{told.left_out:,}",
    )
    words = list(told.assumed)
    if told.unpriced:
        words.append(f"{told.unpriced:,} answers have no known price there")
    made.caption, made.caption_justify = _assumed(words), "left"
    return made


def repriced(found: Mapping[str, "Repriced"]) -> Table:
    """What other prices change, by model."""
    made = plain_table(
        Column("model", overflow="fold"),
        *_numbers("records", "changed", "before", "after", "difference"),
    )

    def add(head: str, one: "Repriced", style: str = "") -> None:
        made.add_row(
            Text(head),
            f"{one.records:,}",
            f"{one.changed:,}",
            usd(dollars(one.before_pico)),
            usd(dollars(one.after_pico)),
            _change(one.after_pico, one.before_pico),
            style=style,
        )

    for model, one in found.items():
        add(name(model), one)
    if made.rows:
        made.rows[-1].end_section = True
        first, *others = found.values()
        whole = [sum(numbers) for numbers in zip(first, *others, strict=True)]
        add("all", type(first)(*whole), "bold")
    else:
        made.add_row("no records that could be priced anew")
    return made


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
