"""The latest calls, and those that come: `tail`."""

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, tzinfo
from itertools import islice

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
        # where more is to come, what was there before is old, also behind the lines that are shown
        page, more = reports.latest(asked._replace(limit=max(lines, _PAGE)) if follow else asked)
        _say(page[:lines], asked.zone, as_json=as_json)
        if follow:
            seen = dict.fromkeys(record.id for record in reversed(page))
            first = page[-1].time if more is not None else 0.0
            _follow(reports, asked._replace(limit=_PAGE), seen, first, as_json=as_json)


def _follow(
    reports: Reports, asked: Question, seen: dict[str, None], first: float, *, as_json: bool
) -> None:
    """`seen`: ids of those that were told; `first`: the time before which nothing is told."""
    while True:
        time.sleep(1)
        fresh: list[Record] = []
        page, place = reports.latest(asked)
        while new := [one for one in page if one.id not in seen and one.time >= first]:
            fresh += new
            if place is None or len(new) < len(page):
                break
            page, place = reports.latest(asked, before=place)
        seen.update(dict.fromkeys(record.id for record in reversed(fresh)))
        for id_ in list(islice(seen, max(0, len(seen) - _REMEMBERED))):
            del seen[id_]
        _say(fresh, asked.zone, as_json=as_json)


_PAGE = 500
"""A call that ends late is seen as long as so many younger ones have not been written before it."""
_REMEMBERED = 100_000


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
