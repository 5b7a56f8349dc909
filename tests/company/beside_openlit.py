"""Beside OpenLIT, which instruments the HTTP libraries as well."""

import json
import tempfile
from pathlib import Path

from . import calls
from .beside import *  # noqa: F403  (the checks are the same for all)

NAME = "OpenLIT"
NOTES = (
    "Its spans of Gemini's streams have no cost. A stream that is left has no span with usage: what "
    "its own would tell never comes, and `auto` opens none beside it.",
    "Its `uninstrument()` takes nothing off the SDKs: its spans go on.",
)
"""What docs/compatibility.md says of it."""
STAYS = True
"""Its `uninstrument()` does not end its spans."""

SDKS = ("openai", "anthropic", "google")


def on():
    import openlit

    with tempfile.TemporaryDirectory() as place:
        prices = Path(place) / "prices.json"  # it would fetch them otherwise
        prices.write_text(json.dumps({"chat": {}, "embeddings": {}, "images": {}, "audio": {}}))
        openlit.init(pricing_json=str(prices), disable_metrics=True, disable_events=True)


def off():
    from openlit._instrumentors import get_all_instrumentors

    for one in get_all_instrumentors().values():
        if one is not None and one.is_instrumented_by_opentelemetry:
            one.uninstrument()


def programs():
    return calls.programs(SDKS)
