"""What is spent of each budget: summed from the records as they settle, told at each threshold."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal

from .. import guard
from ..backlog import counting, telling
from ..records import BudgetStatus, BudgetThreshold, Record, dollars
from .budget import Budget
from .periods import bounds
from .stores import Change, Store

logger = logging.getLogger("otel_llm_usage")


class Spending:
    """Keeps the spending of all budgets. A sink.

    A cost counts in the period in which its call ended. What has no known cost is not counted
    (`llm_unpriced_requests_total` tells of it); of a partly known one, the known part is.
    """

    def __init__(
        self,
        budgets: Sequence[Budget],
        store: Store,
        *,
        on_change: Callable[[BudgetStatus], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`on_change` is told of each budget whose spending grew. `clock`: seconds since the epoch."""
        self._accounts = tuple(_Account(budget, store, clock) for budget in budgets)
        self._store = store
        self._on_change = on_change

    def __call__(self, record: Record) -> None:
        """Count a finished record."""
        cost = record.cost
        if cost.status == "prepaid":
            return
        pico = cost.known_pico
        if not pico:
            return
        for account in self._accounts:
            if account.budget.covers(record):
                account.spend(pico)
                if self._on_change is not None:
                    self._on_change(account.status())

    def close(self) -> None:
        """Nothing is spent any more: what a busy store has left owing is paid, and told."""
        for account in self._accounts:
            account.settle()
        self._store.close()

    def statuses(self) -> tuple[BudgetStatus, ...]:
        """How each budget stands now."""
        return tuple(account.status() for account in self._accounts)


class _Account:
    """One budget in its current period."""

    def __init__(self, budget: Budget, store: Store, clock: Callable[[], float]) -> None:
        self.budget = budget
        self._store = store
        self._clock = clock
        self._key = f"{budget.name}\n{budget.period}"
        self._zone = budget.zone
        self._limit = budget.limit_pico
        self._period = (0.0, 0.0)

    def current(self) -> tuple[float, float]:
        """Beginning and end of the period of now."""
        now = self._clock()
        start, end = self._period
        if not start <= now < end:
            self._period = start, end = bounds(self.budget.period, now, self._zone)
        return start, end

    def spend(self, pico: int) -> None:
        start, end = self.current()
        change = self._store.add(self._key, start, pico)
        if change is not None:
            self._tell(change, start, end)

    def settle(self) -> None:
        start, end = self.current()
        change = self._store.add(self._key, start, 0, patient=True)
        if change is not None:
            self._tell(change, start, end)

    def status(self) -> BudgetStatus:
        start, end = self.current()
        spent = self._store.total(self._key, start)
        return BudgetStatus(
            self.budget.name, self.budget.period, self.budget.limit_usd, dollars(spent), start, end
        )

    def _tell(self, change: Change, start: float, end: float) -> None:
        """The total passes each threshold once in a period, whichever process makes it do so."""
        reached = [
            share
            for share in self.budget.thresholds
            if change.before < share * self._limit <= change.after
        ]
        if not reached:
            return
        spent = dollars(change.after)
        reset = datetime.fromtimestamp(end, self._zone)
        logger.warning(
            "Budget %s: %s of $%s for the %s is spent: $%.2f. It begins anew at %s.",
            self.budget.name,
            _percent(reached[-1]),
            f"{self.budget.limit_usd:,.2f}",
            self.budget.period,
            spent,
            reset.isoformat(timespec="seconds"),
        )
        tell = self.budget.on_threshold
        if tell is None:
            return
        began = datetime.fromtimestamp(start, self._zone)
        for share in reached:
            told = BudgetThreshold(
                self.budget.name,
                self.budget.period,
                share,
                self.budget.limit_usd,
                spent,
                began,
                reset,
            )
            if counting.immediate:  # this process may end any time
                guard.call("budget.on_threshold", tell, told)
            else:  # whoever is told may take his time: the counting goes on meanwhile
                telling.later(guard.call, "budget.on_threshold", tell, told)


def _percent(share: Decimal) -> str:
    return f"{(share * 100).normalize():f} %"
