"""Where money may be saved: `advise`."""

from decimal import Decimal, InvalidOperation
from typing import Any

import click

from .. import tables
from ..advice import AdviceList
from ..advice import advise as find
from ..ledger import Reports
from ..runtime import catalogue
from ..settings import load
from .asking import Calls, calls_options, json_option, ledger, ledger_option, progress
from .terminal import say_json


class _Dollars(click.ParamType):  # type: ignore[type-arg]
    name = "usd"

    def convert(self, value: Any, param: Any, ctx: Any) -> Decimal:
        try:
            amount = Decimal(value)
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or amount < 0:
            self.fail(f"{value!r} is no amount: say 5 or 0.5", param, ctx)
        return amount


@click.command()
@ledger_option
@calls_options("30d")
@click.option(
    "--least",
    type=_Dollars(),
    default="1",
    show_default=True,
    help="US dollars per month under which nothing is said.",
)
@json_option
def advise(place: str | None, calls: Calls, least: Decimal, as_json: bool) -> None:
    """Where money may be saved: findings with dollars, evidence, and what to do."""
    asked, prices = calls.question(), catalogue(load({}))
    with ledger(place) as found, progress("Looked at") as tell:
        told = find(Reports(found), prices, asked, least_usd=least, progress=tell)
    if as_json:
        say_json(told.to_dict())
    else:
        tables.show(AdviceList(told))
