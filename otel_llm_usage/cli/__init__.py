"""The terminal door: `otel-llm-usage`."""

import importlib
from keyword import iskeyword
from typing import Any

import click

from .._version import __version__
from ..errors import LLMUsageError

_COMMANDS = {
    "run": "running",
    "status": "running",
    "demo": "running",
    "standin": "running",
    "notifications": "running",
    "prices": "prices",
    "estimate": "estimating",
    "report": "reports",
    "top": "reports",
    "scopes": "reports",
    "tail": "tailing",
    "compare": "comparing",
    "what-if": "comparing",
    "advise": "advising",
    "serve": "serving",
    "reconcile": "reconciling",
    "export": "exchanging",
    "import": "exchanging",
    "reprice": "upkeep",
    "purge": "upkeep",
    "anonymise": "upkeep",
    "period": "upkeep",
}
"""Each command, and the module that has it: imported when it is called, for some take long to import."""


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        found = importlib.import_module(f".{module}", __name__)
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(found, f"{name}_" if iskeyword(name) else name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Our own errors are one line for the user, not a traceback."""
        try:
            return super().invoke(ctx)
        except LLMUsageError as error:
            raise click.ClickException(str(error)) from None
        except BrokenPipeError:
            raise  # nobody reads on, as in `| head`: click ends quietly
        except OSError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="otel-llm-usage")
def main() -> None:
    """Count every billed LLM token once, price it to the cent, see it before the invoice comes."""
