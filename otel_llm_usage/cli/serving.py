"""The command that serves the REST API and the page: `serve`."""

import click

from .. import api
from ..errors import ConfigurationError
from ..settings import load, variables
from .asking import ledger_option


@click.command()
@ledger_option
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8130, show_default=True)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False),
    help=f"Holds the bearer token.  [default: {variables()['api_token']}]",
)
def serve(place: str | None, host: str, port: int, token_file: str | None) -> None:
    """Serve a live page of what is spent, and the REST API over a ledger."""
    settings = load({})
    chosen = place or settings.ledger
    if not chosen:
        raise ConfigurationError(
            f"which ledger? say --ledger usage.db, or set {variables()['ledger']} or `ledger` in the "
            "settings file"
        )
    token = settings.api_token if token_file is None else api.token_in(token_file)
    api.serve(chosen, host=host, port=port, token=token, say=click.echo)
