"""The committed boards as Grafana reads them: panels, targets, variables, steps."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

DASHBOARDS = Path(__file__).parents[2] / "grafana" / "dashboards"
UIDS = ("llm-spend", "llm-measurement")

SCRAPE = 15
"""The data source's timeInterval, in seconds."""
POINTS = 800
"""How many points Grafana asks for: about as many as a panel has pixels."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def dashboard(uid: str) -> dict[str, Any]:
    """What is committed."""
    return json.loads((DASHBOARDS / f"{uid}.json").read_text())


def panels(uid: str) -> Iterator[dict[str, Any]]:
    """Every panel that shows something."""
    return (panel for panel in dashboard(uid)["panels"] if panel["type"] != "row")


class Target(NamedTuple):
    """A query, and the panel that shows it."""

    panel: dict[str, Any]
    ref: str
    expr: str
    instant: bool
    legend: str

    def __str__(self) -> str:
        return f"{self.panel['title']!r}, query {self.ref}"

    def at(self, selection: Mapping[str, Sequence[str]], span: int) -> tuple[str, int]:
        """The query as it is sent for a time range of so many seconds, and its step."""
        step = max(_seconds(self.panel.get("interval", f"{SCRAPE}s")), math.ceil(span / POINTS))
        words = {
            "__range": f"{span}s",
            "__interval": f"{step}s",
            "__rate_interval": f"{max(step + SCRAPE, 4 * SCRAPE)}s",
            **{name: spelled(values) for name, values in selection.items()},
        }
        return re.sub(r"\$(\w+)", lambda found: words[found[1]], self.expr), step


def targets(uid: str) -> Iterator[Target]:
    """Every query of a board."""
    for panel in panels(uid):
        for target in panel["targets"]:
            legend = target.get("legendFormat", "")
            yield Target(panel, target["refId"], target["expr"], target["instant"], legend)


def target(uid: str, title: str, ref: str = "A") -> Target:
    """The query of a panel."""
    (found,) = (one for one in targets(uid) if (one.panel["title"], one.ref) == (title, ref))
    return found


def spelled(values: Sequence[str]) -> str:
    """A variable's value inside a regular expression, as Grafana writes it; none means All."""
    escaped = [re.sub(r"[\\^$.*+?()\[\]{}|/]", r"\\\\\g<0>", value) for value in values]
    if not escaped:
        return ".+"
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _seconds(interval: str) -> int:
    return int(interval[:-1]) * _SECONDS[interval[-1]]
