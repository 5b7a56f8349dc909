"""Is it what the provider counted: `reconcile`."""

from datetime import UTC, date
from decimal import Decimal, InvalidOperation

import click

from .. import reconciling
from ..ledger import asking
from ..settings import admin_key
from ..telemetry.textfile import write_residuals
from .asking import json_option, ledger, ledger_option
from .terminal import say_json


@click.command()
@ledger_option
@click.argument("provider", type=click.Choice(reconciling.PROVIDERS))
@click.option("--since", default="30d", show_default=True, help="From the day of then on.")
@click.option("--until", default="today", show_default=True, help="Until that day, without it.")
@click.option(
    "--export",
    "exports",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="For google: a file of the billing export; may be repeated.",
)
@click.option(
    "--rate", "rates", multiple=True, metavar="EUR=1.08", help="US dollars for one of it."
)
@click.option("--base-url", help="Another address of the provider.")
@click.option(
    "--threshold",
    type=click.FloatRange(0),
    default=0.01,
    show_default=True,
    help="The share that may differ.",
)
@click.option("--textfile", type=click.Path(dir_okay=False), help="For node_exporter.")
@json_option
def reconcile(
    place: str | None,
    provider: str,
    since: str,
    until: str,
    exports: tuple[str, ...],
    rates: tuple[str, ...],
    base_url: str | None,
    threshold: float,
    textfile: str | None,
    as_json: bool,
) -> None:
    """Lay the ledger beside what openai, anthropic or google say that they have counted.

    The administrator's key is taken from OPENAI_ADMIN_KEY or ANTHROPIC_ADMIN_KEY. Exit codes: 0, 2 if
    more than the threshold differs, 1 if it can't be told.
    """
    with ledger(place) as found:
        told = reconciling.reconcile(
            found,
            provider,
            since=_day(since),
            until=_day(until),
            admin_key=admin_key(provider),
            base_url=base_url,
            exports=exports,
            rates=dict(map(_rate, rates)),
        )
    if textfile is not None:
        write_residuals(textfile, provider, told.residuals)
    if as_json:
        say_json(told.to_dict())
    else:
        reconciling.show(told)
    raise SystemExit(told.exit_code(threshold))


def _day(text: str) -> date:
    return asking.moment(text).astimezone(UTC).date()


def _rate(text: str) -> tuple[str, Decimal]:
    currency, _, amount = text.partition("=")
    try:
        rate = Decimal(amount)
    except InvalidOperation:
        rate = Decimal("NaN")
    if not currency or not rate.is_finite() or rate <= 0:
        raise click.ClickException(f"--rate {text!r}: say EUR=1.08")
    return currency.upper(), rate
