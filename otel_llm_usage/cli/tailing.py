"""The latest calls, and those that come: `tail`."""

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, tzinfo

import click

from .. import tables
from ..ledger import Question, Reports
from ..records import Record
from ..tracking import call_detail
from .asking import Calls, calls_options, json_option, ledger, ledger_option


@click.command()
@ledger_option
@calls_options()
@click.option("-n", "lines", type=int, default=20, show_default=True, help="How many calls.")
@click.option("-f", "--follow", is_flag=True, help="Go on with those that come, until Ctrl-C.")
@json_option
def tail(place: str | None, calls: Calls, lines: int, follow: bool, as_json: bool) -> None:
    """The latest calls, one line each; with --json a line of JSON each."""
    asked = calls.question()._replace(limit=lines)
    with ledger(place) as found, suppress(KeyboardInterrupt):
        reports = Reports(found)
        page, _ = reports.latest(asked)
        _say(page, asked.zone, as_json=as_json)
        if follow:
            # what was there before is old, also behind the lines that were shown
            old, _ = reports.latest(asked._replace(limit=_PAGE))
            _follow(reports, asked, {record.id for record in old}, as_json=as_json)


def _follow(reports: Reports, asked: Question, seen: set[str], *, as_json: bool) -> None:
    while True:
        time.sleep(1)
        fresh: list[Record] = []
        page, place = reports.latest(asked._replace(limit=_PAGE))
        new = [record for record in page if record.id not in seen]
        while new:
            fresh += new
            if place is None:
                break
            page, place = reports.latest(asked._replace(limit=_PAGE), before=place)
            new = [record for record in page if record.id not in seen]
        seen.update(record.id for record in fresh)
        _say(fresh, asked.zone, as_json=as_json)


_PAGE = 500
"""A call that ends late is seen as long as so many younger ones have not been written before it."""


def _say(records: Iterable[Record], zone: tzinfo, *, as_json: bool) -> None:
    for record in reversed(list(records)):
        if as_json:
            click.echo(json.dumps(call_detail(record), ensure_ascii=False))
        else:
            click.echo(_line(record, zone))


def _line(record: Record, zone: tzinfo) -> str:
    usage = record.usage
    tokens = "no usage" if usage is None else f"{usage.input_tokens or 0:,}"
    if usage is not None:
        tokens += f" → {usage.output_tokens or 0:,} tokens"
    if record.estimated:
        tokens += " (estimated)"
    seconds = "" if record.duration is None else f"{record.duration:.2f} s"
    status = record.status if record.status != "error" else f"error {record.error_type or ''}"
    labels = " ".join(
        f"{tables.name(word)}={tables.name(value)}" for word, value in record.labels.items()
    )
    at = datetime.fromtimestamp(record.time, zone).strftime("%m-%d %H:%M:%S")
    return (
        f"{at}  {tables.name(record.agent):<16}  {tables.name(record.model):<26}  {tokens:<26}  "
        f"{tables.cost_of(record.cost):>10}  {seconds:>8}  {status:<8}  {labels}"
    ).rstrip()
