"""Commands that tell sums: `report`, `top`, `scopes`."""

from typing import Any

import click
from rich.text import Text

from .. import charts, tables
from ..ledger import BadQuestion, Question, Reports, asking
from .asking import Calls, calls_options, json_option, ledger, ledger_option
from .terminal import say_json


@click.command()
@ledger_option
@click.option("--by", default="", help="What calls are told apart by: agent,model or day.")
@calls_options()
@click.option("--sort", default="", help="cost, tokens, calls, seconds or name.  [default: cost]")
@click.option("--limit", type=int, default=30, show_default=True, help="Lines.")
@click.option("--offset", type=int, default=0, help="Leave out as many lines.")
@click.option("--previous", is_flag=True, help="Beside the time before, as long as this one.")
@click.option(
    "--chart",
    metavar="FILE",
    help="Draw it: a .png, .svg or .pdf (needs the extra `charts`), or - for the terminal.",
)
@click.option(
    "--of", type=click.Choice(["cost", "tokens", "calls"]), default="cost", help="What is drawn."
)
@json_option
def report(
    place: str | None,
    by: str,
    calls: Calls,
    sort: str,
    limit: int,
    offset: int,
    previous: bool,
    chart: str | None,
    of: str,
    as_json: bool,
) -> None:
    """What was used and spent, by agent, model, user, team, day or any label."""
    asked = calls.question()._replace(by=asking.names(by), sort=sort, limit=limit, offset=offset)
    if chart is not None and not asked.by:
        raise BadQuestion("--chart draws groups: say --by")
    _report(place, asked, previous=previous, as_json=as_json, chart=chart, of=of)


@click.command()
@ledger_option
@click.argument("what", default="agent")
@calls_options("24h")
@click.option("-n", "limit", type=int, default=10, show_default=True, help="Lines.")
@json_option
def top(place: str | None, what: str, calls: Calls, limit: int, as_json: bool) -> None:
    """Who spends most: the dearest agents, models, users, sessions, teams…"""
    asked = calls.question()._replace(by=asking.names(what), sort="cost", limit=limit)
    _report(place, asked, as_json=as_json)


def _report(
    place: str | None,
    asked: Question,
    *,
    as_json: bool,
    previous: bool = False,
    chart: str | None = None,
    of: str = "cost",
) -> None:
    with ledger(place) as found:
        report = Reports(found).report(asked, previous=previous)
    if chart not in (None, "-"):
        charts.report_chart(str(chart), report, of)
    if as_json:
        say_json(report.to_dict())
    elif chart == "-":
        tables.show(charts.ReportBars(report, of))
    else:
        tables.show(tables.ReportTable(report))


@click.command()
@ledger_option
@click.argument("scope", required=False)
@click.option("-n", "limit", type=int, default=20, show_default=True, help="Lines.")
@json_option
def scopes(place: str | None, scope: str | None, limit: int, as_json: bool) -> None:
    """The latest usage scopes; or one of them in full, by call type, agent and model."""
    with ledger(place) as found:
        if scope is not None:
            _scope(Reports(found), scope, as_json=as_json)
            return
        listed, _ = Reports(found).scopes(limit)
    if as_json:
        say_json([one.to_dict() for one in listed])
    else:
        tables.show(tables.scopes(listed) if listed else Text("no scopes"))


def _scope(reports: Reports, scope: str, *, as_json: bool) -> None:
    parts = reports.scope(scope)
    total = parts["agent"].total
    if not total.records:
        raise click.ClickException(
            f"the ledger has no calls of a scope {tables.name(scope)!r}: "
            "`otel-llm-usage scopes` lists the latest"
        )
    if as_json:
        told: dict[str, Any] = {"id": scope, "total": total.to_dict()}
        say_json(told | {f"by_{part}": one.to_dict()["lines"] for part, one in parts.items()})
        return
    tables.show(Text.assemble(("LLM usage of ", "bold"), (tables.name(scope), "bold")))
    for part, one in parts.items():
        if part != "call_type" or any(line.group != ("",) for line in one.lines):
            tables.show(tables.ReportTable(one))
