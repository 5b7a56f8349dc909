"""What to look at first: every record once, then the rules, and the dearest findings on top."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from ..hindsight import passing
from ..ledger import Question, Reports
from ..ledger.upkeep import Progress, unheard
from ..prices import Catalogue
from ..records import as_text, dollars
from ..sums import Sum
from .finding import Finding
from .habits import Habit, Who
from .rules import findings

_MONTH = timedelta(days=30)
_SHORTEST = timedelta(days=1)
_MICRO_DOLLAR = Decimal("0.000001")


class Advice(NamedTuple):
    """What was found in some time."""

    since: datetime | None
    """Of the first call; `None` without calls."""
    until: datetime
    days: float
    """How long that is; what is said of a month follows from it. One day at least."""
    total: Sum
    least_usd: Decimal
    """US dollars per month from which on a finding is shown."""
    findings: tuple[Finding, ...]
    """The dearest first, those of unknown dollars last. They overlap: don't add them up."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON; dollars as text."""
        return {
            "since": self.since and self.since.isoformat(),
            "until": self.until.isoformat(),
            "days": self.days,
            "least_usd_per_month": as_text(self.least_usd),
            "total": self.total.to_dict(),
            "findings": [one.to_dict() for one in self.findings],
        }


def advise(
    reports: Reports,
    catalogue: Catalogue,
    question: Question,
    *,
    least_usd: Decimal = Decimal(1),
    now: datetime | None = None,
    progress: Progress = unheard,
) -> Advice:
    """What may be saved in the calls of a question (`since`, `until`, `where`, `scope`).

    Every record is read once and priced on smaller models and as a batch; of each two numbers are kept.
    `least_usd`: dollars per month under which nothing is said. `BadQuestion`, and the database's errors.
    """
    catalogue.warm()
    habits: dict[Who, Habit] = {}
    total = Sum()
    first: float | None = None
    for record in passing(reports, question, progress):
        first = record.time if first is None else first
        who = Who.of(record)
        habit = habits.get(who)
        if habit is None:
            habit = habits[who] = Habit(catalogue, record)
        habit.add(record)
        total.add(record)
    until = question.until or now or datetime.now(UTC)
    since = None if first is None else datetime.fromtimestamp(first, UTC)
    length = max(until - since, _SHORTEST) if since is not None else _SHORTEST
    told = [_in_dollars(one, length) for one in findings(habits)]
    shown = [one for one in told if one.usd_per_month is None or one.usd_per_month >= least_usd]
    shown.sort(key=lambda one: (-(one.usd_per_month or 0), one.kind, sorted(one.about.items())))
    return Advice(since, until, length / timedelta(days=1), total, least_usd, tuple(shown))


def _in_dollars(finding: Finding, length: timedelta) -> Finding:
    if finding.pico is None:
        return finding
    usd = dollars(finding.pico)
    micro = timedelta(microseconds=1)
    month = usd * (_MONTH // micro) / (length // micro)
    return finding._replace(usd=usd, usd_per_month=month.quantize(_MICRO_DOLLAR))
