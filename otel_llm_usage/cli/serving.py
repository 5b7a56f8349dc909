"""The command that serves the REST API and the page: `serve`."""

import click

from .. import api
from ..settings import variables
from .asking import chosen, ledger_option


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
    settings = chosen(place)
    token = settings.api_token if token_file is None else api.token_in(token_file)
    api.serve(str(settings.ledger), host=host, port=port, token=token, say=click.echo)
