"""What was used and when, as pictures: drawn into files, or with signs in a terminal."""

import io
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from . import files, tables
from .errors import ConfigurationError, MissingExtra
from .records import PICO, Record
from .sums import By, Gathered, Group, Sum, Sums, fields

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .ledger import Report

Measure = Literal["cost", "tokens", "calls"]
"""What the bars of a chart are as long as."""

_AMOUNTS: Mapping[str, Callable[[Sum], int]] = {
    "cost": lambda found: found.pico,
    "tokens": lambda found: found.total_tokens,
    "calls": lambda found: found.calls,
}
_REST = "other"
_NO_CALLS = "no calls"
_MOST_ROWS = 15
_MOST_COLOURS = 7
_LONGEST = 30


def _amount(of: str) -> Callable[[Sum], int]:
    found = _AMOUNTS.get(of)
    if found is None:
        raise ValueError(f"of={of!r}: this takes one of {', '.join(get_args(Measure))}")
    return found


def _told(of: str, found: Sum) -> str:
    """The amount of a sum, for people."""
    return tables.cost(found) if of == "cost" else f"{_AMOUNTS[of](found):,}"


def _short(name: str, most: int = _LONGEST) -> str:
    """A name as people can read it, without its middle where it is too long."""
    name = tables.name(name)
    if len(name) <= most:
        return name
    behind = (most - 1) // 2
    return f"{name[: most - 1 - behind]}…{name[-behind:]}"


def _shorts(names: Iterable[str]) -> dict[str, str]:
    """The short names, each as long as it takes to tell it from the others."""
    shorts: dict[str, str] = {}
    left = set(names)
    for most in (_LONGEST, 2 * _LONGEST, 4 * _LONGEST):
        shorts |= {name: _short(name, most) for name in left}
        taken = Counter(shorts.values())
        left = {name for name in left if taken[shorts[name]] > 1}
    return shorts


def _labels(keys: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """What is written for the values of several fields."""
    told = list(keys)
    columns = [_shorts(column) for column in zip(*told, strict=True)]
    return {
        key: " · ".join(names[value] for names, value in zip(columns, key, strict=True))
        for key in told
    }


class _Row(NamedTuple):
    """One bar, and what it is made of."""

    name: str
    whole: Sum
    parts: tuple[tuple[str, Sum], ...]
    """By the second field; empty where there is none."""


def _rows(divided: Mapping[tuple[str, ...], Sum], of: str, most: int) -> list[_Row]:
    """The longest bar first; what is beyond `most` rows is the last one. By the values of some fields:
    a row for each of the first, made of those of the others."""
    amount = _amount(of)

    def ordered(found: Mapping[Any, Sum]) -> list[tuple[Any, Sum]]:
        return sorted(found.items(), key=lambda one: -amount(one[1]))

    wholes: dict[tuple[str, ...], Sum] = {}
    parts: dict[tuple[str, ...], list[tuple[str, Sum]]] = {}
    told_apart = any(len(key) > 1 for key in divided)
    labels = _labels(key[1:] for key in divided) if told_apart else {}
    for key, found in ordered(divided):
        wholes.setdefault(key[:1], Sum()).merge(found)
        if told_apart:
            parts.setdefault(key[:1], []).append((labels[key[1:]], found))
    names = _labels(wholes)
    rows = [_Row(names[key], whole, tuple(parts.get(key, ()))) for key, whole in ordered(wholes)]
    if len(rows) <= most:
        return rows
    whole, rest = Sum(), dict[str, Sum]()
    for row in rows[most - 1 :]:
        whole.merge(row.whole)
        for name, found in row.parts:
            rest.setdefault(name, Sum()).merge(found)
    return [
        *rows[: most - 1],
        _Row(f"{len(rows) - most + 1:,} others", whole, tuple(ordered(rest))),
    ]


# ------------------------------------------------------------ in files

_INK, _PALE, _GRID = "#222222", "#6b6b6b", "#e3e3e3"
_FAILED = "#b00020"
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1")
"""Those of Okabe and Ito, which people who see colours otherwise tell apart, and one more."""
_OTHER_COLOUR = "#A9A9A9"
_FONT = "DejaVu Sans"
_FORMATS = (".png", ".svg", ".pdf")
_UNDIVIDED = ""


def bar_chart(path: str | os.PathLike[str], id: str, sums: Sums, by: By, of: str) -> None:
    """Draw the bars; see `UsageScope.bar_chart`."""
    asked = fields(by)
    rows = _rows(sums.by(*asked), of, _MOST_ROWS)
    _draw_rows(_Picture(path, f"{of.capitalize()} by {_listed(asked)}"), id, rows, sums.total, of)


def _draw_rows(picture: "_Picture", id: str, rows: Sequence[_Row], total: Sum, of: str) -> None:
    facts = [tables.calls(total.calls)]
    if of != "calls":
        facts.insert(0, _told(of, total) + (" tokens" if of == "tokens" else ""))
    axes = picture.axes(id, facts if rows else [], rows=len(rows))
    if rows:
        _draw_bars(picture, axes, rows, of)
    picture.save()


def _draw_bars(picture: "_Picture", axes: "Axes", rows: Sequence[_Row], of: str) -> None:
    amount = _amount(of)
    unit = PICO if of == "cost" else 1
    divided = [row.parts or ((_UNDIVIDED, row.whole),) for row in rows]
    colours = _Colours((name, amount(found)) for parts in divided for name, found in parts)
    longest = max(amount(row.whole) for row in rows) / unit or 1.0
    for place, (row, parts) in enumerate(zip(rows, divided, strict=True)):
        lengths: dict[str, float] = {}
        for name, found in parts:
            shown = colours.shown(name)
            lengths[shown] = lengths.get(shown, 0.0) + amount(found) / unit
        left = 0.0
        for name in colours.names:  # the same order in every bar
            if length := lengths.get(name):
                axes.barh(
                    place,
                    length,
                    left=left,
                    height=0.68,
                    color=colours[name],
                    edgecolor="white",
                    linewidth=0.6,
                )
                left += length
        axes.annotate(
            picture.plain(_told(of, row.whole)),
            (left, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=_INK,
            fontsize=9,
            fontfamily=_FONT,
            annotation_clip=False,
        )
    axes.set_xlim(0, longest * 1.02)
    picture.label_rows(axes, [row.name for row in rows])
    picture.scale(axes, lambda value: _tick(of, value), whole=of != "cost")
    picture.legend(colours)


def _tick(of: str, value: float) -> str:
    """A value on the axis: those of one axis are round, and differ in few digits."""
    exact = Decimal(f"{value:.6g}")
    places = max(2, -int(exact.as_tuple().exponent)) if of == "cost" and value else 0
    return f"{'$' if of == 'cost' else ''}{exact:,.{places}f}"


# ------------------------------------------------------------ of a ledger


def _report_title(report: "Report", of: str) -> str:
    return f"{of.capitalize()} by {_listed(report.question.by)}"


def _report_rows(report: "Report", of: str, most: int) -> list[_Row]:
    """A row for each value of the first name; of time in its order, else the longest bar first."""
    divided = {tuple(tables.group_names(report, line.group)): line.sum for line in report.lines}
    by_time = report.question.bucket == report.question.by[0]
    rows = _rows(divided, of, len(divided) if by_time else most)
    if by_time:
        rows.sort(key=lambda row: row.name)
    others = report.others
    if others is not None and others.records:
        rows.append(_Row(f"{report.groups - len(report.lines):,} others", others, ()))
    return rows


def report_chart(path: str | os.PathLike[str], report: "Report", of: str) -> None:
    """Draw what a ledger has answered: over time a line for each group, else bars.

    `MissingExtra` without matplotlib, `ConfigurationError` for a kind of file it can't write.
    """
    picture = _Picture(path, _report_title(report, of))
    if report.question.bucket is None:
        rows = _report_rows(report, of, _MOST_ROWS)
        _draw_rows(picture, _time_of(report), rows, report.total, of)
        return
    axes = picture.axes(_time_of(report), [_told(of, report.total)], rows=len(report.lines) and 9)
    if report.lines:
        _draw_lines(picture, axes, report, of)
    picture.save()


def _time_of(report: "Report") -> str:
    asked = report.question
    since, until = (
        "" if one is None else f"{one.astimezone(asked.zone):%Y-%m-%d %H:%M}"
        for one in (asked.since, asked.until)
    )
    return f"{since or 'the first call'} to {until or 'now'}" if since or until else "all calls"


def _draw_lines(picture: "_Picture", axes: "Axes", report: "Report", of: str) -> None:
    amount, unit = _amount(of), PICO if of == "cost" else 1
    place = report.question.by.index(str(report.question.bucket))
    found: dict[str, dict[datetime, float]] = {}
    for line in report.lines:
        names = tables.group_names(report, line.group)
        name = " · ".join(one for at, one in enumerate(names) if at != place)
        found.setdefault(name, {})[line.group[place]] = amount(line.sum) / unit
    colours = _Colours((name, sum(points.values())) for name, points in found.items())
    shown: dict[str, dict[datetime, float]] = {}
    for name, points in found.items():
        line_of = shown.setdefault(colours.shown(name), {})
        for at, value in points.items():
            line_of[at] = line_of.get(at, 0.0) + value
    times = sorted({at for points in found.values() for at in points})
    for name in colours.names:
        axes.plot(
            range(len(times)),
            [shown[name].get(at, 0.0) for at in times],
            color=colours[name],
            linewidth=1.8,
            marker="o",
            markersize=3,
        )
    axes.set_ylim(bottom=0)
    every = max(1, math.ceil(len(times) / 8))
    marks = list(range(0, len(times), every))
    axes.set_xticks(
        marks,
        [tables.piece(times[mark], str(report.question.bucket)) for mark in marks],
        fontsize=9,
        fontfamily=_FONT,
        color=_PALE,
    )
    picture.scale_up(axes, lambda value: _tick(of, value), whole=of != "cost")
    picture.legend(colours)


class _Span(NamedTuple):
    """A call on a time axis."""

    row: str
    model: str
    start: float
    end: float
    """Seconds since the first call began."""
    failed: bool
    beyond: bool = False
    """Whether its row is that of all those which have none of their own."""


def _spans(records: Iterable[Record], by: tuple[str, ...], most: int) -> list[_Span]:
    """The calls in the order in which they began; of more than `most` rows the busiest are told apart."""
    calls = sorted(
        (record for record in records if not record.later_entry), key=lambda one: one.time
    )
    if not calls:
        return []
    began = calls[0].time
    keys = [tuple(getattr(Group.of(one), field) for field in by) for one in calls]
    busy: dict[tuple[str, ...], float] = {}
    for key, call in zip(keys, calls, strict=True):
        busy[key] = busy.get(key, 0.0) + (call.duration or 0.0)
    busiest = sorted(busy, key=lambda key: -busy[key])
    shown = set(busiest if len(busiest) <= most else busiest[: most - 1])
    rest = f"{len(busy) - len(shown):,} others"
    labels, models = _labels(shown), _shorts(call.model for call in calls)
    return [
        _Span(
            labels[key] if key in shown else rest,
            models[call.model],
            call.time - began,
            call.time - began + (call.duration or 0.0),
            call.status in ("error", "broken"),
            key not in shown,
        )
        for key, call in zip(keys, calls, strict=True)
    ]


def _by_row(spans: Iterable[_Span]) -> dict[str, list[_Span]]:
    """The rows in the order in which they began, that of all others last."""
    rows: dict[str, list[_Span]] = {}
    for span in sorted(spans, key=lambda span: span.beyond):
        rows.setdefault(span.row, []).append(span)
    return rows


def timeline(path: str | os.PathLike[str], id: str, gathered: Gathered, by: By) -> None:
    """Draw when the calls ran; see `UsageScope.timeline`."""
    asked = fields(by)
    spans = _spans(gathered.records, asked, _MOST_ROWS)
    picture = _Picture(path, f"Calls over time by {_listed(asked)}")
    seconds = max((span.end for span in spans), default=0.0)
    facts = [tables.calls(len(spans)), _duration(seconds)]
    if failed := sum(span.failed for span in spans):
        facts.append(f"{failed:,} failed")
    if gathered.dropped:
        facts.append(f"{gathered.dropped:,} older ones are not kept")
    lanes = {row: _packed(found) for row, found in _by_row(spans).items()}
    axes = picture.axes(id, facts if spans else [], rows=len(lanes), roomy=True)
    if spans:
        _draw_spans(picture, axes, lanes, seconds or 1.0)
    picture.save()


_MOST_LANES = 8


def _packed(spans: Sequence[_Span]) -> list[list[_Span]]:
    """The calls of a row in lanes, so that those that ran at the same time don't hide each other."""
    lanes: list[list[_Span]] = []
    for span in spans:
        free = next((lane for lane in lanes if lane[-1].end <= span.start), None)
        if free is None and len(lanes) == _MOST_LANES:
            free = min(lanes, key=lambda lane: lane[-1].end)
        if free is None:
            lanes.append([span])
        else:
            free.append(span)
    return lanes


def _draw_spans(
    picture: "_Picture",
    axes: "Axes",
    lanes: Mapping[str, Sequence[Sequence[_Span]]],
    seconds: float,
) -> None:
    everything = [span for row in lanes.values() for lane in row for span in lane]
    colours = _Colours((span.model, 1) for span in everything)
    least = seconds / 400  # a call that took no time is seen all the same
    failed: list[tuple[float, float]] = []
    for place, packed in enumerate(lanes.values()):
        height = 0.74 / max(len(packed), 2)
        for number, lane in enumerate(packed):
            middle = place + (number - (len(packed) - 1) / 2) * height
            axes.broken_barh(
                [(span.start, max(span.end - span.start, least)) for span in lane],
                (middle - 0.45 * height, 0.9 * height),
                facecolors=[colours[colours.shown(span.model)] for span in lane],
                edgecolor="white",
                linewidth=0.3,
            )
            failed.extend(
                (max(span.end, span.start + least), middle) for span in lane if span.failed
            )
    if failed:
        axes.scatter(
            [moment for moment, _ in failed],
            [middle for _, middle in failed],
            marker="X",
            s=42,
            color=_FAILED,
            edgecolors="white",
            linewidths=0.7,
            zorder=4,
        )
    axes.set_xlim(0, seconds * 1.02)
    picture.label_rows(axes, list(lanes))
    picture.scale(axes, _duration, ticks=_ticks(seconds, 6))
    picture.legend(colours, failed=bool(failed))


def _duration(seconds: float) -> str:
    """A time on the axis: `0.5 s`, `90 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7_200:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:,.3g} h"


def _ticks(seconds: float, most: int) -> list[float]:
    """Round times from zero on, at most so many steps."""
    least = seconds / most
    power = 10.0 ** math.floor(math.log10(least))
    steps = [factor * power for factor in (1, 2, 5, 10)]
    if least > 10:
        steps = [15, 20, 30, 60, 120, 300, 600, 900, 1_200, 1_800, 3_600]
        steps += [3_600 * step for step in (2, 3, 6, 12, *(24 * 2**n for n in range(20)))]
    step = next((step for step in steps if step >= least), least)
    return [step * number for number in range(int(seconds / step) + 1)]


def _listed(asked: Sequence[str]) -> str:
    return " and ".join(field.replace("_", " ") for field in asked)


class _Colours:
    """A colour for each of the largest, one for all others."""

    def __init__(self, amounts: Iterable[tuple[str, float]]) -> None:
        found: dict[str, float] = {}
        for name, amount in amounts:
            found[name] = found.get(name, 0) + amount
        ranked = sorted(found, key=lambda name: (-found[name], name))
        told = ranked if len(ranked) <= _MOST_COLOURS else ranked[: _MOST_COLOURS - 1]
        self._colours = dict(zip(told, _COLOURS, strict=False))
        if len(told) < len(ranked):
            self._colours[_REST] = _OTHER_COLOUR
        self.names = list(self._colours)

    def shown(self, name: str) -> str:
        """The name under which it is shown."""
        return name if name in self._colours else _REST

    def __getitem__(self, name: str) -> str:
        return self._colours[name]


class _Picture:
    """A picture that is being drawn: by objects alone, so that several may be at the same time."""

    def __init__(self, path: str | os.PathLike[str], title: str) -> None:
        """`MissingExtra` without matplotlib, `ConfigurationError` for a kind of file it can't write."""
        self._path = path
        self._suffix = Path(path).suffix.lower()
        if self._suffix not in _FORMATS:
            raise ConfigurationError(
                f"{path}: this writes {', '.join(_FORMATS)}: end the name with one"
            )
        try:
            # large, and an extra
            from matplotlib.figure import Figure  # noqa: PLC0415
        except ImportError:
            raise MissingExtra("a chart", "charts") from None
        self._figure = Figure(facecolor="white")
        self._figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.12)
        self._title = title
        self._signs = self._known_signs()

    @staticmethod
    def _known_signs() -> Any:
        from matplotlib.font_manager import findfont, get_font  # noqa: PLC0415 (an extra)

        return get_font(findfont(_FONT)).get_charmap()

    def plain(self, text: str) -> str:
        """Text without formulas, and without signs that the font does not have."""
        known = "".join(sign if ord(sign) in self._signs else "?" for sign in text)
        return known.replace("$", r"\$")

    def axes(self, id: str, facts: Sequence[str], *, rows: int, roomy: bool = False) -> "Axes":
        """Where to draw, under the title and what is said of the whole."""
        figure = self._figure
        figure.set_size_inches(10.5, 1.7 + max(rows, 1) * (0.5 if roomy else 0.38))
        axes = figure.add_subplot()
        said = "  ·  ".join([_short(id, 40), *facts])
        for text, height, size, weight, colour in (
            (self._title, 26, 14, "bold", _INK),
            (said, 10, 9.5, "normal", _PALE),
        ):
            axes.annotate(
                self.plain(text),
                (0, 1),
                xycoords="axes fraction",
                xytext=(0, height),
                textcoords="offset points",
                fontsize=size,
                fontweight=weight,
                fontfamily=_FONT,
                color=colour,
                annotation_clip=False,
            )
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].set_visible(False)
        if not rows:
            axes.set_axis_off()
            axes.text(
                0.5,
                0.45,
                _NO_CALLS,
                ha="center",
                va="center",
                fontsize=18,
                fontfamily=_FONT,
                color=_PALE,
                transform=axes.transAxes,
            )
        return axes

    def label_rows(self, axes: "Axes", names: Sequence[str]) -> None:
        """The names beside the rows, the first one on top."""
        axes.set_yticks(
            range(len(names)),
            [self.plain(name) for name in names],
            fontsize=9.5,
            fontfamily=_FONT,
            color=_INK,
        )
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)

    def scale(
        self,
        axes: "Axes",
        told: Callable[[float], str],
        *,
        ticks: Sequence[float] | None = None,
        whole: bool = False,
    ) -> None:
        """A grid of some six lines, with what they stand for: `whole` numbers, or at these ticks."""
        # an extra
        from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator  # noqa: PLC0415

        axes.xaxis.set_major_locator(
            MaxNLocator(6, steps=(1, 2, 2.5, 5, 10), integer=whole)
            if ticks is None
            else FixedLocator(ticks)
        )
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: self.plain(told(value))))
        axes.tick_params(axis="x", length=0, labelsize=9, labelcolor=_PALE, labelfontfamily=_FONT)
        axes.grid(axis="x", color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)

    def scale_up(self, axes: "Axes", told: Callable[[float], str], *, whole: bool) -> None:
        """The same for amounts that go up."""
        # an extra
        from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415

        axes.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 2.5, 5, 10), integer=whole))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: self.plain(told(value))))
        axes.tick_params(
            axis="both", length=0, labelsize=9, labelcolor=_PALE, labelfontfamily=_FONT
        )
        axes.grid(axis="y", color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)

    def legend(self, colours: _Colours, *, failed: bool = False) -> None:
        """Which colour is whose, below; nothing where there is one bar's colour alone."""
        from matplotlib.lines import Line2D  # noqa: PLC0415 (an extra)
        from matplotlib.patches import Patch  # noqa: PLC0415 (an extra)

        named = [name for name in colours.names if name != _UNDIVIDED]
        handles: list[Any] = [Patch(color=colours[name]) for name in named]
        labels = [self.plain(name) for name in named]
        if failed:
            mark = Line2D([], [], marker="X", linestyle="none", color=_FAILED, markersize=7)
            handles.append(mark)
            labels.append("failed")
        if handles:
            self._figure.legend(
                handles,
                labels,
                loc="outside lower center",
                ncols=3 if len(handles) > 4 else 4,
                frameon=False,
                prop={"family": _FONT, "size": 9},
                labelcolor=_INK,
                handlelength=1.2,
                columnspacing=1.8,
            )

    def save(self) -> None:
        """Write the file, as a whole."""
        drawn = io.BytesIO()
        self._figure.savefig(drawn, format=self._suffix[1:], dpi=150)
        files.write(self._path, drawn.getvalue())


# ------------------------------------------------------------ in a terminal


class _Signs(NamedTuple):
    """What bars are made of."""

    whole: str
    eighths: str
    """From nothing to all but a whole."""
    failed: str
    idle: str


_BLOCKS = _Signs("█", " ▏▎▍▌▋▊▉", "✗", "·")
_ASCII = _Signs("#", "", "x", ".")


def _signs(options: ConsoleOptions) -> _Signs:
    return _ASCII if options.ascii_only else _BLOCKS


_ROOM = 100
"""Columns of a chart where there is any number of them."""


class _Bar:
    """A bar that is as long as a share of the room."""

    def __init__(self, share: float, style: str) -> None:
        self._share = share
        self._style = style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        signs = _signs(options)
        eighths = round(self._share * options.max_width * 8)
        if self._share and not eighths:
            eighths = 1
        whole, rest = divmod(eighths, 8)
        if signs.eighths:
            end = signs.eighths[rest].strip()
        else:
            end = signs.whole if rest and (rest >= 4 or not whole) else ""
        yield Text(signs.whole * whole + end, style=self._style, no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(10, options.max_width)


class Bars:
    """Bars of signs: one for each value of the first field, and below it those of the others."""

    def __init__(self, sums: Sums, by: By, of: str) -> None:
        self._of = of
        self._title = f"{of.capitalize()} by {_listed(fields(by))}"
        self._rows = _rows(sums.by(*fields(by)), of, _MOST_ROWS)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self._title, style="bold")
        if not self._rows:
            yield Text(_NO_CALLS)
            return
        amount = _amount(self._of)
        longest = max(amount(row.whole) for row in self._rows) or 1
        made = Table.grid(
            Column(overflow="fold"),
            Column(ratio=1),
            Column(justify="right", no_wrap=True),
            padding=(0, 2, 0, 0),
            expand=True,
        )

        def add(name: Text, found: Sum, style: str) -> None:
            bar = _Bar(amount(found) / longest, style)
            made.add_row(name, bar, Text(_told(self._of, found)))

        for row in self._rows:
            if len(row.parts) == 1:
                name = Text.assemble((row.name, "bold"), f"  {row.parts[0][0]}")
            else:
                name = Text(row.name, "bold")
            add(name, row.whole, "cyan")
            if len(row.parts) > 1:
                for part, found in row.parts[:_MOST_COLOURS]:
                    add(Text(f"  {part}"), found, "blue")
                if len(row.parts) > _MOST_COLOURS:
                    made.add_row(Text(f"  {len(row.parts) - _MOST_COLOURS:,} more"), "", "")
        yield made

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(_ROOM, _ROOM).with_maximum(options.max_width)


class ReportBars(Bars):
    """The same of what a ledger has answered."""

    def __init__(self, report: "Report", of: str) -> None:
        self._of = of
        self._title = _report_title(report, of)
        self._rows = _report_rows(report, of, _MOST_ROWS)


class Lanes:
    """When calls ran, in signs: a row for each value of the fields."""

    def __init__(self, records: Sequence[Record], by: By) -> None:
        self._title = f"Calls over time by {_listed(fields(by))}"
        self._spans = _spans(records, fields(by), _MOST_ROWS)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self._title, style="bold")
        spans = self._spans
        if not spans:
            yield Text(_NO_CALLS)
            return
        rows = _by_row(spans)
        names = min(max(map(cell_len, rows)), max(options.max_width // 2, 12))
        room = max(options.max_width - names - 2, 10)
        seconds = max(span.end for span in spans) or 1.0
        signs = _signs(options)
        for name, found in rows.items():
            yield Text.assemble(
                (set_cell_size(_short(name, names), names), "bold"),
                "  ",
                _line(found, seconds, room, signs),
                no_wrap=True,
            )
        yield Text(" " * (names + 2) + _axis(seconds, room), style="dim", no_wrap=True)
        if any(span.failed for span in spans):
            yield Text(f"{' ' * (names + 2)}{signs.failed} failed")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(_ROOM, _ROOM).with_maximum(options.max_width)


def _line(spans: Sequence[_Span], seconds: float, room: int, signs: _Signs) -> Text:
    cells = [signs.idle] * room

    def at(moment: float) -> int:
        return min(int(moment / seconds * room), room - 1)

    for span in spans:
        # one that ends where the next begins does not reach into it
        last = max(at(span.start), math.ceil(span.end / seconds * room) - 1)
        for cell in range(at(span.start), min(last, room - 1) + 1):
            cells[cell] = signs.whole
    for span in spans:
        if span.failed:
            cells[at(span.end)] = signs.failed
    made = Text()
    styles = {signs.whole: "cyan", signs.failed: "bold red", signs.idle: "dim"}
    for sign in cells:
        made.append(sign, styles[sign])
    return made


def _axis(seconds: float, room: int) -> str:
    """Times under the cells at which they are."""
    cells = [" "] * room
    for tick in _ticks(seconds, max(1, min(5, room // 12))):
        told = _duration(tick)
        start = min(int(tick / seconds * room), room - len(told))
        cells[start : start + len(told)] = told
    return "".join(cells)
