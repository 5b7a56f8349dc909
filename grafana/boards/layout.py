"""How a board is put together: variables, links, and rows of panels."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from .panels import DATA_SOURCE, Panel

TAG = "llm-usage"
"""What the boards find each other by."""


class Place(NamedTuple):
    """A panel and its place in its row: the row's width is 24."""

    x: int
    y: int
    w: int
    h: int
    panel: Panel


class Row(NamedTuple):
    """A question of who pays, and the panels that answer it."""

    id: int
    title: str
    places: tuple[Place, ...]


def board(
    uid: str, title: str, description: str, variables: Iterable[Any], rows: Sequence[Row]
) -> dashboard.Dashboard:
    """A dashboard: its variables, and its rows from the top."""
    others = dashboard.DashboardLink("LLM usage").type(model.DashboardLinkType.DASHBOARDS)
    others.tags([TAG]).keep_time(True).include_vars(True)
    # the library's own choice hides the links in a menu
    others.build().placement = None  # type: ignore[assignment]
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .time("now-24h", "now")
        .refresh("1m")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .editable()
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .link(others)
    )
    for variable in variables:
        made.with_variable(variable)
    y = 0
    for row in rows:
        made.with_row(
            dashboard.Row(row.title).id(row.id).grid_pos(model.GridPos(x=0, y=y, w=24, h=1))
        )
        y += 1
        for place in row.places:
            at = model.GridPos(x=place.x, y=y + place.y, w=place.w, h=place.h)
            made.with_panel(place.panel.grid_pos(at))
        y += max(place.y + place.h for place in row.places)
    return made


def choice(name: str, label: str, metric: str) -> dashboard.QueryVariable:
    """A variable: all values of a label that a metric has, one of them, or some."""
    query = f"label_values({metric}, {name})"
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATA_SOURCE)
        .query(query)
        .definition(query)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
