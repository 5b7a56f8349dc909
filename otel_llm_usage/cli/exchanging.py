"""Commands that take usage to and from files: `export`, `import`."""

import sys
from datetime import UTC, date
from typing import Any

import click

from .. import tables
from ..exchange import FORMS, Imported, export_focus, export_records, import_usage
from ..ledger import asking
from ..runtime import catalogue
from ..settings import load
from .asking import json_option, ledger, ledger_option, progress
from .terminal import say_json

_FOCUS = "focus"


@click.command()
@ledger_option
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMS, _FOCUS]),
    help="focus: charges as FOCUS 1.2 has them.  [default: the end of the name tells]",
)
@click.option("--since", help="From the day of then on, UTC: 30d, month, 2026-11-01.")
@click.option("--until", help="Until the day of then, which is not a part of it.")
@click.option("--billing-account", default="unknown", show_default=True, help="For FOCUS.")
@click.option("--overwrite", is_flag=True, help="Also if there is such a file.")
@json_option
def export(
    place: str | None,
    file: str,
    form: str | None,
    since: str | None,
    until: str | None,
    billing_account: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write records (or charges as FOCUS) of a ledger into FILE: .jsonl, .csv or .parquet; - is the
    output."""
    focus = form == _FOCUS
    piped = file == "-"
    if piped and as_json:
        raise click.ClickException("--json tells of a file: the output is taken by the export")
    shape = None if focus else form
    if piped and shape is None:
        shape = "csv" if focus else "jsonl"
    more: dict[str, Any] = {
        "since": _day(since),
        "until": _day(until),
        "form": shape,
        "overwrite": overwrite,
    }
    to: Any = sys.stdout.buffer if piped else file
    with ledger(place) as found:
        if not focus:
            told: dict[str, Any] = {"rows": export_records(found, to, **more)}
        else:
            done = export_focus(found, to, billing_account=billing_account, **more)
            left = [{**one._asdict(), "quantity": str(one.quantity)} for one in done.left_out]
            told = {"rows": done.rows, "left_out": left}
    if as_json:
        say_json(told)
    elif not piped:
        click.echo(f"{told['rows']:,} rows")
    for one in told.get("left_out", ()) if not as_json else ():
        click.echo(
            f"left out, without a known price: {one['day']} {tables.name(one['model'])}, "
            f"{one['quantity']} {one['kind']}",
            err=True,
        )


def _day(text: str | None) -> date | None:
    return None if text is None else asking.moment(text).astimezone(UTC).date()


@click.command("import")
@ledger_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--map",
    "columns",
    multiple=True,
    metavar="THEIRS=OURS",
    help="What a column is: Project=label.project; may be repeated.",
)
@click.option("--provider", help="Whose usage it is, where rows do not say.")
@click.option(
    "--counts",
    type=click.Choice(["auto", "totals", "disjoint"]),
    default="auto",
    help="Whether input and output have what was cached and reasoned in them.",
)
@click.option("--zone", default="UTC", show_default=True, help="Of times without one.")
@click.option("--strict", is_flag=True, help="Take nothing if a row can't be taken.")
@json_option
def import_(
    place: str | None,
    file: str,
    columns: tuple[str, ...],
    provider: str | None,
    counts: Any,
    zone: str,
    strict: bool,
    as_json: bool,
) -> None:
    """Take usage that others have written down, or an export of ours, into a ledger: each row once.

    1 as exit code says that some rows could not be taken.
    """
    # a column may have an = in its name, a field has not
    named = {}
    for text in columns:
        theirs, separator, ours = text.rpartition("=")
        if not separator or not theirs or not ours:
            raise click.ClickException(f"--map {text!r}: say theirs=ours, as Project=label.project")
        named[theirs] = ours
    with ledger(place, new=True) as found, progress("Rows read") as tell:
        done = import_usage(
            found,
            file,
            catalogue=catalogue(load({})),
            columns=named,
            counts=counts,
            provider=provider,
            zone=asking.time_zone(zone),
            strict=strict,
            progress=lambda rows: tell(rows, rows),
        )
    if as_json:
        problems = [one._asdict() for one in done.problems]
        say_json(done._asdict() | {"problems": problems})
    else:
        _print(done)
    if done.rejected:
        raise SystemExit(1)


_MOST_PROBLEMS = 20


def _print(done: Imported) -> None:
    click.echo(f"{done.rows:,} rows, {done.new:,} new, {done.rejected:,} not taken")
    if done.unpriced:
        click.echo(f"{done.unpriced:,} have no known price, or not for all of it")
    if done.ignored:
        click.echo(f"nothing was made of: {', '.join(map(tables.name, done.ignored))}")
    for one in done.problems[:_MOST_PROBLEMS]:
        click.echo(f"row {one.number}: {tables.name(one.reason)}", err=True)
    if done.rejected > _MOST_PROBLEMS:
        click.echo(f"… {done.rejected - _MOST_PROBLEMS:,} more", err=True)
