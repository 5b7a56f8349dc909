"""Write every board to `grafana/dashboards`: `python -m grafana.boards`."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from . import BOARDS

DASHBOARDS = Path(__file__).parent.parent / "dashboards"


def written(uid: str) -> str:
    """A board as its file says it: the same code always gives the same bytes."""
    return json.dumps(BOARDS[uid]().build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    DASHBOARDS.mkdir(exist_ok=True)
    for uid in BOARDS:
        (DASHBOARDS / f"{uid}.json").write_text(written(uid))
