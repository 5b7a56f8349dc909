"""Commands that change what is in a ledger: `reprice`, `purge`, `anonymise`, `period`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import click

from .. import hindsight, tables
from ..ledger import BadQuestion, Ledger, Question, Reports, Repriced, Upkeep, asking
from ..records import as_text, dollars
from ..runtime import catalogue
from ..settings import load
from .asking import confirmed, json_option, ledger, ledger_option, progress
from .terminal import say_json

yes_option = click.option("--yes", is_flag=True, help="Do it without asking.")


@click.command()
@ledger_option
@click.option("--since", required=True, help="From then on: 30d, month, 2026-11-01.")
@click.option("--until", help="Until then, which is not a part of it.")
@click.option(
    "--prices",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="A price file, over those of the settings; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would change; write nothing.")
@yes_option
@json_option
def reprice(
    place: str | None,
    since: str,
    until: str | None,
    files: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Price recorded calls anew, with the prices of now for the time of each."""
    settings = load({})
    prices = catalogue(replace(settings, prices=(*settings.prices, *files)))
    prices.warm()
    asked = Question(
        since=asking.moment(since), until=None if until is None else asking.moment(until)
    )
    with ledger(place) as found:
        with progress("Looked at") as tell:
            told = hindsight.reprice(Reports(found), prices.price, asked, progress=tell)
        changed = sum(one.changed for one in told.values())
        failed = sum(one.failed for one in told.values())
        if not as_json:
            tables.show(tables.repriced(told))
            if failed:
                click.echo(
                    f"The price of {failed:,} records cannot be told; they stay as they are."
                )
        if changed and not dry_run:
            confirmed(f"Price {changed:,} records anew?", yes)
            with progress("Priced anew") as tell:
                Upkeep(found).reprice(
                    prices.price, since=asked.since, until=asked.until, progress=tell
                )
    if as_json:
        say_json({"written": bool(changed) and not dry_run, "models": _by_model(told)})
    elif dry_run and changed:
        click.echo("Nothing is written: leave out --dry-run.")


def _by_model(told: Mapping[str, Repriced]) -> dict[str, Any]:
    return {
        model: {
            "records": one.records,
            "changed": one.changed,
            "failed": one.failed,
            "before_usd": as_text(dollars(one.before_pico)),
            "after_usd": as_text(dollars(one.after_pico)),
        }
        for model, one in told.items()
    }


def _which_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        json_option,
        yes_option,
        click.option("--user", help="Those of this user; with --older-than what is both."),
        click.option("--older-than", "older", metavar="AGE", help="90d, or a day: 2026-01-31."),
        ledger_option,
    ):
        command = option(command)
    return command


@click.command()
@_which_options
def purge(place: str | None, older: str | None, user: str | None, yes: bool, as_json: bool) -> None:
    """Delete records: what is old, what is a user's, or what is both."""
    _change(place, older, user, yes=yes, as_json=as_json, how=Upkeep.purge, what="deleted")


@click.command()
@_which_options
def anonymise(
    place: str | None, older: str | None, user: str | None, yes: bool, as_json: bool
) -> None:
    """Forget who called, and keep what it cost: in old records, or in those of a user."""
    how = Upkeep.anonymise
    _change(place, older, user, yes=yes, as_json=as_json, how=how, what="anonymised")


def _change(
    place: str | None,
    older: str | None,
    user: str | None,
    *,
    yes: bool,
    as_json: bool,
    how: Callable[..., int],
    what: str,
) -> None:
    if older is None and user is None:
        raise BadQuestion("which records? say --older-than 90d, --user NAME, or both")
    before = None if older is None else asking.moment(older)
    with ledger(place) as found:
        confirmed(_told(found, Question(until=before), user, what), yes)
        with progress(what.capitalize()) as tell:
            done = how(Upkeep(found), before=before, user=user, progress=tell)
    if as_json:
        say_json({what: done})
    else:
        click.echo(f"{done:,} records {what}")


def _told(found: Ledger, asked: Question, user: str | None, what: str) -> str:
    where = {} if user is None else {"user": (user,)}
    total = Reports(found).report(asked._replace(where=where)).total
    whose = "" if user is None else f" of {tables.name(user)}"
    age = "" if asked.until is None else f" from before {asked.until:%Y-%m-%d %H:%M} UTC"
    return f"{total.records:,} records{whose}{age} ({tables.cost(total)}) will be {what}. Go on?"


@click.group(invoke_without_command=True)
@ledger_option
@json_option
@click.pass_context
def period(context: click.Context, place: str | None, as_json: bool) -> None:
    """What was used since the present counting period began; `period begin` begins a new one."""
    context.obj = place
    if context.invoked_subcommand is not None:
        return
    with ledger(place) as found:
        began = Upkeep(found).period()
        report = Reports(found).report(Question(since=began))
    if as_json:
        say_json({"began": began and began.isoformat(), "total": report.total.to_dict()})
        return
    click.echo(f"since {began:%Y-%m-%d %H:%M:%S} UTC" if began else "since the first call")
    tables.show(tables.ReportTable(report))


@period.command("begin")
@ledger_option
@click.option("--note", help="Why, or what for.")
@json_option
@click.pass_obj
def begin(outer: str | None, place: str | None, note: str | None, as_json: bool) -> None:
    """Begin to count anew, for those who ask since then; nothing is deleted."""
    with ledger(place or outer) as found:
        began = Upkeep(found).begin_period(note)
    if as_json:
        say_json({"began": began.isoformat()})
    else:
        click.echo(f"counting since {began:%Y-%m-%d %H:%M:%S} UTC")
