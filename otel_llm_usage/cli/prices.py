"""Commands that look at prices."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.table import Table

from ..prices import Difference, ShownCard, check_file, overlay_differences, owner, show
from ..runtime import catalogue
from ..settings import load
from .terminal import console, date


@click.group()
def prices() -> None:
    """Look at prices: what a model costs, and whether a price file is right."""


def _day(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.ClickException(f"{text!r} is no date: say 2026-11-20") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


_TIERS = ("standard", "batch", "flex", "priority", "fast", "ultrafast")


@prices.command("show")
@click.argument("model")
@click.option("--provider", help="Whose model it is: openai, anthropic, google, groq…")
@click.option("--platform", help="Where it is bought: vertex, azure, bedrock…")
@click.option("--tier", "tiers", multiple=True, help="Only this tier; may be repeated.")
@click.option(
    "--region", help="A location or an inference geography, where the price depends on it."
)
@click.option("--at", help="The price of this day, as 2026-11-20.  [default: today]")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show_prices(
    model: str,
    provider: str | None,
    platform: str | None,
    tiers: tuple[str, ...],
    region: str | None,
    at: str | None,
    as_json: bool,
) -> None:
    """What MODEL costs in each tier, and where each number comes from."""
    effective, moment = catalogue(load({})), _when(at)
    cards = show(
        effective,
        model,
        vendor=provider or owner(effective, model, at=moment),
        platform=platform,
        tiers=tiers or _TIERS,
        region=region,
        at=moment,
    )
    if as_json:
        click.echo(json.dumps([_plain(card) for card in cards], indent=2, default=str))
    else:
        _print_cards(cards, every=bool(tiers))
    if not any(card.rates for card in cards):
        raise SystemExit(1)


@prices.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--at", help="Show the prices of this day.  [default: today]")
def check_prices(files: tuple[str, ...], at: str | None) -> None:
    """Check price FILES, and show the effective prices of the models that they name."""
    for file in files:
        report = check_file(file, at=_when(at))
        counts = ", ".join(f"{count} {kind}" for kind, count in report.entries.items() if count)
        click.echo(f"{file}: valid; {counts or 'empty'}")
        for warning in report.warnings:
            click.echo(f"warning: {warning}", err=True)
        _print_cards(report.cards, every=True)
        _print_differences(report.differences)


@prices.command("diff")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False))
@click.option("--at", help="Compare the prices of this day.  [default: today]")
def diff_prices(files: tuple[str, ...], at: str | None) -> None:
    """What price FILES (or those that are configured) change; without any, what our overlay does."""
    moment = _when(at)
    chosen = files or load({}).prices
    if chosen:
        changed = [one for file in chosen for one in check_file(file, at=moment).differences]
    else:
        changed = list(overlay_differences(at=moment))
    _print_differences(changed)
    if not changed:
        click.echo("no differences")


def _when(at: str | None) -> float:
    day = _day(at)
    return time.time() if day is None else day.timestamp()


def _plain(card: Any) -> dict[str, Any]:
    plain: dict[str, Any] = card._asdict()
    return plain | {"rates": [rate._asdict() for rate in card.rates]}


def _print_cards(cards: Sequence[ShownCard], *, every: bool) -> None:
    terminal = console()
    for card in cards:
        if not card.rates:
            if every or card.tier == "standard":
                terminal.print(f"{card.label}: no price ({card.reason})")
            continue
        window = " to ".join(date(moment) for moment in (card.since, card.until))
        title = f"{card.label}   {window}" if window != "… to …" else card.label
        table = Table("what", title=title, title_justify="left")
        table.add_column("US dollars", justify="right")
        table.add_column("for")
        table.add_column("source", overflow="fold")
        for rate in card.rates:
            above = f", prompt over {rate.above:,} tokens" if rate.above else ""
            table.add_row(rate.sku, f"{rate.price:f}", f"{rate.unit}{above}", rate.source)
        terminal.print(table)
        for word in card.assumed:
            terminal.print(f"  assumed: {word}")


def _print_differences(differences: Sequence[Difference]) -> None:
    if not differences:
        return
    table = Table("model", "tier", "what", title="What changes", title_justify="left")
    for heading in ("before", "after"):
        table.add_column(heading, justify="right")
    table.add_column("source", overflow="fold")
    for one in differences:
        above = f" >{one.above:,}" if one.above else ""
        before, after = (("-" if p is None else f"{p:f}") for p in (one.before, one.after))
        table.add_row(one.model, one.tier, one.sku + above, before, after, one.source)
    console().print(table)
