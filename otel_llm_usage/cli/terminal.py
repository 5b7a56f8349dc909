"""What the commands share of the terminal."""

import json
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console


def console() -> Console:
    """Standard output; a pipe has no edge."""
    made = Console()
    if not made.is_terminal:
        made.width = 140
    return made


def date(moment: float | None) -> str:
    """The day of a moment in seconds since the epoch."""
    return "…" if moment is None else datetime.fromtimestamp(moment, UTC).date().isoformat()


def say_json(document: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))
