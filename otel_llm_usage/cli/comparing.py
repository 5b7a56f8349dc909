"""Commands that price recorded calls otherwise: `compare`, `what-if`."""

import click

from .. import hindsight, tables
from ..ledger import Reports
from ..runtime import catalogue
from ..settings import load
from .asking import Calls, calls_options, json_option, ledger, ledger_option, progress
from .terminal import say_json


@click.command()
@ledger_option
@click.argument("model")
@click.argument("other")
@calls_options()
@json_option
def compare(place: str | None, model: str, other: str, calls: Calls, as_json: bool) -> None:
    """Two models as they were used, and the calls of each at the prices of the other."""
    asked, prices = calls.question(), catalogue(load({}))
    with ledger(place) as found, progress("Compared") as tell:
        told = hindsight.compare_models(Reports(found), prices, asked, model, other, progress=tell)
    if as_json:
        say_json(told.to_dict())
    else:
        tables.show(tables.compared(told))
    if not (told.a.calls or told.b.calls):
        raise click.ClickException(
            f"no calls of {model} or {other} in that time: `otel-llm-usage top model` tells which there are"
        )


@click.command("what-if")
@ledger_option
@click.option("--model", help="The other model.")
@click.option("--tier", help="The other tier: batch, flex, priority, standard…")
@click.option("--provider", help="Who else would have sold it.")
@click.option("--of-model", help="Only calls of this model.")
@calls_options()
@json_option
def what_if(
    place: str | None,
    model: str | None,
    tier: str | None,
    provider: str | None,
    of_model: str | None,
    calls: Calls,
    as_json: bool,
) -> None:
    """What recorded calls would have cost on another model, at another tier, or elsewhere."""
    if model is None and tier is None and provider is None:
        raise click.ClickException("what is to be different? say --model, --tier or --provider")
    asked, prices = calls.question(), catalogue(load({}))
    with ledger(place) as found, progress("Priced anew") as tell:
        told = hindsight.what_if(
            Reports(found),
            prices,
            asked,
            model=model,
            tier=tier,
            provider=provider,
            of_model=of_model,
            progress=tell,
        )
    if as_json:
        say_json(told.to_dict())
    else:
        tables.show(tables.instead(told))
