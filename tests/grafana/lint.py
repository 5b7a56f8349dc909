"""What is wrong with a query, read without running it."""

import re
from collections.abc import Iterator
from typing import Any

import promql_parser
from promql_parser import AggModifierType

from otel_llm_usage.telemetry.definitions import DEFINITIONS

from .ledger import rules

OURS = {"job", "instance"}
"""The labels that Prometheus gives to what it scrapes."""
INSTANT_OF_COUNTER = {"rate", "irate", "increase"}

_EACH_MINUTE = re.compile(
    r"\((?P<counter>\w+(?:\{[^}]*\})?) - last_over_time\((?P=counter)\[2h\] offset 1m\)\) >= 0 "
    r"or (?P=counter)"
)
"""What the rules record of a counter; it may be asked as well."""


def known() -> dict[str, set[str]]:
    """Every series that a board may ask for, with its labels."""
    found: dict[str, set[str]] = {"up": OURS, "scrape_duration_seconds": OURS}
    for definition in DEFINITIONS:
        name, labels = definition.exposed(), {*definition.labels, *OURS}
        if definition.kind == "histogram":
            found |= {f"{name}_sum": labels, f"{name}_count": labels}
            found[f"{name}_bucket"] = labels | {"le"}
        else:
            found[name] = labels
    return found | {
        rule["record"]: set(rule["record"].split(":")[0].split("_")) for rule in rules()
    }


KNOWN = known()
COUNTERS = {name for name in KNOWN if name.endswith(("_total", "_bucket", "_count", "_sum"))}


def faults(expr: str) -> list[str]:
    """Each fault in words; none is good."""
    plain = re.sub(r"\$__(?:rate_interval|interval|range)", "5m", expr)
    plain = re.sub(r"\$\w+", "x", plain)
    try:
        tree = promql_parser.parse(_EACH_MINUTE.sub(r"rate(\g<counter>[2h])", plain))
    except ValueError as error:
        return [f"no PromQL: {error}"]
    money = "llm_cost_total is born with money that rate() and increase() do not see"
    found = [money] if "llm_cost_total" in expr else []
    for node, over in _walk(tree):
        if isinstance(node, promql_parser.VectorSelector):
            found += _of_selector(node, over)
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            found += _of_grouping(node)
    return found


def _of_selector(node: Any, over: tuple[Any, ...]) -> Iterator[str]:
    if node.name not in KNOWN:
        yield f"no metric {node.name}"
        return
    for matcher in node.matchers.matchers:
        if matcher.name not in KNOWN[node.name]:
            yield f"{node.name} has no label {matcher.name}"
    calls = {one.func.name for one in over if isinstance(one, promql_parser.Call)}
    if node.name in COUNTERS and not calls & INSTANT_OF_COUNTER:
        yield f"the counter {node.name} stands outside of rate() and increase()"


def _of_grouping(node: Any) -> Iterator[str]:
    if node.modifier.type != AggModifierType.By:
        yield "without (...): an exporter's own labels would stay"
        return
    names = {
        one.name for one, _ in _walk(node.expr) if isinstance(one, promql_parser.VectorSelector)
    }
    for label in node.modifier.labels:
        if not any(label in KNOWN.get(name, ()) for name in names):
            yield f"nothing in it has the label {label}"


def _walk(node: Any, over: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    yield node, over
    below = [
        getattr(node, name, None) for name in ("expr", "lhs", "rhs", "param", "vector_selector")
    ]
    for one in [*below, *(getattr(node, "args", None) or ())]:
        if one is not None and not isinstance(one, str):
            yield from _walk(one, (*over, node))
