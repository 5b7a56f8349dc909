"""What a call will cost, before it is made: `estimate`."""

import json
from typing import Any

import click
from rich.table import Table

from .. import runtime, tables
from ..records import Estimate
from .asking import json_option
from .terminal import say_json


@click.command()
@click.argument("model")
@click.argument("file", type=click.File("r", encoding="utf-8"), default="-")
@click.option("--system", type=click.File("r", encoding="utf-8"), help="A file: the system prompt.")
@click.option("--max-output", type=click.IntRange(0), help="Tokens of the longest answer.")
@click.option("--provider", help="Who sells it: azure, vertex, bedrock, groq…")
@click.option("--tier", help="The tier, as batch.")
@json_option
def estimate(
    model: str,
    file: Any,
    system: Any,
    max_output: int | None,
    provider: str | None,
    tier: str | None,
    as_json: bool,
) -> None:
    """How many tokens FILE (- or nothing: the input) is to MODEL, and what it costs.

    A file whose name ends with .json holds messages, contents or a whole request; any other a text.
    """
    told = runtime.estimate(
        model,
        _contents(file),
        system=None if system is None else _text(system),
        max_output_tokens=max_output,
        provider=provider,
        service_tier=tier,
    )
    if as_json:
        say_json(told.to_dict())
    else:
        tables.show(_table(told))
        for word in (*told.assumed, *told.reasons):
            click.echo(word)


def _text(file: Any) -> str:
    try:
        text: str = file.read()
    except UnicodeDecodeError:
        raise click.ClickException(f"{file.name} is no text in UTF-8") from None
    return text


def _contents(file: Any) -> Any:
    text = _text(file)
    if not file.name.endswith(".json"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.ClickException(f"{file.name} is no JSON: {error}") from None


def _table(told: Estimate) -> Table:
    made = tables.plain_table("model", "provider", "input tokens", "input", "at most", "counted by")
    made.add_row(
        tables.name(told.model),
        told.provider,
        f"{told.input_tokens:,} ({told.input_tokens_low:,} to {told.input_tokens_high:,})",
        "unknown" if told.input_usd is None else tables.usd(told.input_usd),
        "unknown" if told.max_usd is None else tables.usd(told.max_usd),
        told.method,
    )
    return made
