"""The shapes of the boards: every panel has a title, a sentence for who pays, and a unit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATA_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""A variable of the board, so that it shows any Prometheus of any Grafana."""

Panel = Any
"""A builder of a panel: the library has no common base for them."""

Steps = Sequence[tuple[float | None, str]]
"""From which value on which colour. Colour says state; what has no state is NEUTRAL."""

NEUTRAL: Steps = ((None, "text"),)
FINE_AT_ZERO: Steps = ((None, "green"), (1e-9, "orange"))
BAD_FROM_ONE: Steps = ((None, "green"), (1, "red"))
OF_LIMIT: Steps = ((None, "green"), (0.8, "orange"), (1, "red"))

BY_NAME = model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME
"""A name has one colour in every graph."""
STATUS_COLOURS = {"ok": "green", "error": "red", "aborted": "yellow", "broken": "orange"}
PROVIDER_COLOURS = {
    "anthropic": "orange",
    "aws.bedrock": "yellow",
    "azure.*": "purple",
    "gcp.gemini": "blue",
    "gcp.vertex_ai": "light-blue",
    "openai": "green",
}
KIND_COLOURS = {
    "input": "blue",
    "cache_read": "green",
    "cache_write.*": "super-light-green",
    "output": "orange",
    "reasoning": "purple",
}

WIDTHS = {
    "agent": 120,
    "budget": 100,
    "model": 220,
    "period": 65,
    "provider": 120,
    "reason": 140,
    "sdk": 120,
    "type": 130,
    "where": 140,
}
"""Of the columns whose words are longer, or shorter, than an even share."""


class Unit(NamedTuple):
    """What a number is counted in."""

    name: str
    decimals: int | None = None


USD = Unit("currencyUSD", 2)
USD_PER_CALL = Unit("currencyUSD", 5)
COUNT = Unit("locale", 0)
SHARE = Unit("percentunit", 1)
SMALL_SHARE = Unit("percentunit", 2)
PERCENT = Unit("percentunit", 0)
SECONDS = Unit("s")
TIMES = Unit("suffix:x", 1)
NUMBER = Unit("none", 0)


class Head(NamedTuple):
    """What is said over a panel, and under its (i)."""

    id: int
    """Links to a panel name it: it never changes, whatever is added before it."""
    title: str
    description: str
    alerts: tuple[str, ...] = ()
    """The alerts that watch the same number."""

    def text(self) -> str:
        """The description, with what to do when an alert fires."""
        if not self.alerts:
            return self.description
        pages = ", ".join(f"docs/runbooks/{alert}.md" for alert in self.alerts)
        return f"{self.description}\n\nWhat to do when it alerts: {pages}"


class Column(NamedTuple):
    """A column of numbers in a table."""

    title: str
    unit: Unit
    expr: str
    look: Mapping[str, Any] = {}
    """Further properties: colours, widths, limits."""


def now(expr: str, legend: str = "") -> prometheus.Dataquery:
    """One number for each series, at the end of the time range."""
    return _query(expr, legend).instant()


def over_time(expr: str, legend: str) -> prometheus.Dataquery:
    """A line for each series."""
    return _query(expr, legend).range()


def stat_of(
    head: Head,
    unit: Unit,
    *targets: prometheus.Dataquery,
    steps: Steps = NEUTRAL,
    words: Mapping[str, tuple[str, str]] | None = None,
) -> Panel:
    """Large numbers, or words for them; with a state, the panel takes its colour."""
    named = kinds.BigValueTextMode.VALUE_AND_NAME
    filled = kinds.BigValueColorMode.BACKGROUND
    panel = _dressed(stat.Panel(), head, unit, targets).thresholds(_thresholds(steps))
    return (
        panel.mappings(mapping(words or {}))
        .reduce_options(_last())
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .color_mode(kinds.BigValueColorMode.VALUE if steps is NEUTRAL else filled)
        .text_mode(named if _named(targets) else kinds.BigValueTextMode.VALUE)
        .wide_layout(False)
    )


def lines_of(
    head: Head,
    unit: Unit,
    *targets: prometheus.Dataquery,
    stacked: bool = False,
    colours: Mapping[str, str] | None = None,
    limits: Steps | None = None,
    every: str = "1m",
) -> Panel:
    """Numbers over time, from zero; `stacked` where their sum means something.

    `every`: the shortest step. The recordings have one number a minute.
    """
    panel = (
        _dressed(timeseries.Panel(), head, unit, targets)
        .min(0)
        .interval(every)
        .show_points(kinds.VisibilityMode.NEVER)
        .line_width(1 if stacked else 2)
        .fill_opacity(45 if stacked else 0)
        .color_scheme(dashboard.FieldColor().mode(BY_NAME))
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .display_mode(kinds.LegendDisplayMode.LIST)
            .placement(kinds.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs([])
        )
    )
    if limits:
        dashed = common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED)
        panel.thresholds(_thresholds(limits)).thresholds_style(dashed)
    if stacked:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
    return _coloured(panel, colours)


def table_of(
    head: Head, keys: Mapping[str, str], columns: Sequence[Column], sort: str, *, desc: bool = True
) -> Panel:
    """A row for each combination of the labels `keys`, with what each column says of it."""
    refs = [chr(ord("A") + index) for index in range(len(columns))]
    targets = [
        now(column.expr).ref_id(ref).format(PromQueryFormat.TABLE)
        for ref, column in zip(refs, columns, strict=True)
    ]
    values = ["Value"] if len(columns) == 1 else [f"Value #{ref}" for ref in refs]
    titles = [*keys.values(), *(column.title for column in columns)]
    names = dict(zip([*keys, *values], titles, strict=True))
    panel = (
        _dressed(table.Panel(), head, columns[0].unit, targets)
        .cell_height(kinds.TableCellHeight.SM)
        .min_width(60)
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            model.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": {name: place for place, name in enumerate(names)},
                    "renameByName": names,
                },
            )
        )
        .with_transformation(
            model.DataTransformerConfig(
                id_val="sortBy", options={"sort": [{"field": sort, "desc": desc}]}
            )
        )
    )
    for key, name in keys.items():
        panel.override_by_name(name, _properties({"custom.width": WIDTHS.get(key)}))
    for column in columns:
        look = {"unit": column.unit.name, "decimals": column.unit.decimals, **column.look}
        panel.override_by_name(column.title, _properties(look))
    return panel


def ranking_of(head: Head, unit: Unit, label: str, expr: str) -> Panel:
    """A row with a bar for each value of a label, the largest first."""
    amount = Column("Amount", unit, expr, gauge_cell())
    return table_of(head, {label: "Name"}, [amount], sort="Amount").show_header(False)


def gauge_cell(steps: Steps = ((None, "blue"),), **look: Any) -> dict[str, Any]:
    """A cell with a bar from zero to the column's largest (or to `max`), beside its number."""
    cell = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    return {
        "custom.cellOptions": cell,
        "min": 0,
        "fieldMinMax": True,
        "thresholds": _steps(steps),
        **look,
    }


def text_cell(steps: Steps, **look: Any) -> dict[str, Any]:
    """A cell whose text has the colour of its state."""
    return {"custom.cellOptions": {"type": "color-text"}, "thresholds": _steps(steps), **look}


def mapping(words: Mapping[str, tuple[str, str]]) -> list[model.ValueMapping]:
    """Words and colours instead of numbers: `{"0": ("down", "red")}`."""
    if not words:
        return []
    options = {
        value: model.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(words.items())
    }
    return [model.ValueMap(options=options)]


def _query(expr: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expr).legend_format(legend).datasource(DATA_SOURCE)


def _dressed(panel: Panel, head: Head, unit: Unit, targets: Iterable[Any]) -> Panel:
    panel.id(head.id).title(head.title).description(head.text()).datasource(DATA_SOURCE)
    panel.unit(unit.name)
    if unit.decimals is not None:
        panel.decimals(unit.decimals)
    for index, target in enumerate(targets):
        panel.with_target(target.ref_id(chr(ord("A") + index)))
    return panel


def _named(targets: Iterable[prometheus.Dataquery]) -> bool:
    return any(target.build().legend_format for target in targets)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _coloured(panel: Panel, colours: Mapping[str, str] | None) -> Panel:
    for name, colour in (colours or {}).items():
        fixed = {"color": _fixed(colour).build()}
        panel.override_by_regexp(f"/^{name}$/", _properties(fixed))
    return panel


def _fixed(colour: str) -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color(colour)


def _properties(look: Mapping[str, Any]) -> list[model.DynamicConfigValue]:
    return [
        model.DynamicConfigValue(id_val=name, value=value)
        for name, value in look.items()
        if value is not None
    ]


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=colour) for value, colour in steps])
    )


def _steps(steps: Steps) -> dict[str, Any]:
    return {
        "mode": "absolute",
        "steps": [{"value": value, "color": colour} for value, colour in steps],
    }
