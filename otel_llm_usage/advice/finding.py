"""What was found: how many dollars, by what evidence, how sure, and what to do."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from ..records import as_text


class Finding(NamedTuple):
    """One way in which money may be saved, or is not seen."""

    kind: str
    """`uncached_prefix`, `cache_below_others`, `cache_costs_more`, `cheaper_model`, `outliers`,
    `paid_for_nothing`, `reasoning`, `batch`, `unpriced` or `estimated`."""
    about: Mapping[str, str]
    """Whose calls: agent, call type and model."""
    pico: int | None
    """Pico-dollars in the time that was looked at: what may be saved, or is at stake; `None`: not known."""
    what: str
    """What was found, in a sentence."""
    evidence: Mapping[str, Any]
    """The numbers that it follows from."""
    examples: tuple[str, ...]
    """Ids of records."""
    uncertainty: str
    """What is not known, or may be otherwise."""
    todo: str
    usd: Decimal | None = None
    """US dollars in the time that was looked at."""
    usd_per_month: Decimal | None = None
    """US dollars in 30 days, if they are like those."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON; dollars as text."""
        told = self._asdict()
        del told["pico"]
        return told | {
            "about": dict(self.about),
            "evidence": dict(self.evidence),
            "examples": list(self.examples),
            "usd": as_text(self.usd),
            "usd_per_month": as_text(self.usd_per_month),
        }
