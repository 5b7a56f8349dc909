"""A budget as its owner says it, in code or in the settings file."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import tzinfo
from decimal import Decimal, InvalidOperation
from functools import partial
from types import MappingProxyType
from typing import Any, cast

from ..errors import ConfigurationError
from ..records import NOTHING, PICO, BudgetThreshold, Record
from .periods import PERIODS, Period, zone

_LONGEST_NAME = 100
_OF_RECORDS: Mapping[str, Callable[[Record], tuple[str | None, ...]]] = {
    "agent": lambda record: (record.agent,),
    # `gpt-5` is asked for, and `gpt-5-2025-08-07` answers: either name means it
    "model": lambda record: (record.model, record.request.model),
    "provider": lambda record: (record.provider,),
    "operation": lambda record: (record.operation,),
    "platform": lambda record: (record.request.platform,),
    "tier": lambda record: (record.tier,),
}
"""What of a record `match` may ask for by a fixed name; every other name is one of its labels."""

Amount = Decimal | float | int | str


@dataclass(frozen=True, slots=True, init=False)
class Budget:
    """So many US dollars for each calendar period: `Budget(name="team", limit_usd=50)`.

    `match` says whose calls it is about: `{"agent": "researcher"}`, or one of several,
    `{"model": ["gpt-5", "gpt-5-mini"]}`; by agent, model, provider, operation, platform, tier, or by
    any label. Every condition must hold; none means every call.

    `thresholds` are shares of the limit. When the spending reaches one, which happens once in a
    period, it is logged and `on_threshold` is called in the thread that settled the call.
    """

    name: str
    limit_usd: Decimal
    period: Period
    match: Mapping[str, tuple[str, ...]] = field(hash=False)
    timezone: str
    thresholds: tuple[Decimal, ...]
    on_threshold: Callable[[BudgetThreshold], None] | None = field(compare=False, repr=False)

    def __init__(
        self,
        *,
        name: str,
        limit_usd: Amount,
        period: Period = "month",
        match: Mapping[str, str | Sequence[str]] = NOTHING,
        timezone: str = "UTC",
        thresholds: Sequence[Amount] = ("0.5", "0.8", "0.9", "1"),
        on_threshold: Callable[[BudgetThreshold], None] | None = None,
    ) -> None:
        if not _is_text(name) or not 0 < len(name) <= _LONGEST_NAME or not _is_plain(name):
            raise ConfigurationError(
                f"budget: name={name!r} has to be a text of 1 to {_LONGEST_NAME} characters that "
                "can be read, without blanks around it"
            )
        if period not in PERIODS:
            raise _wrong(name, f"period={period!r}: choose one of {', '.join(PERIODS)}")
        if on_threshold is not None and not callable(on_threshold):
            raise _wrong(name, f"on_threshold={on_threshold!r} can't be called")
        if not _is_text(timezone) or timezone == "localtime":
            raise _wrong(name, f"timezone={timezone!r} is no name of a time zone")
        zone(timezone)
        checked = {
            "name": name,
            "limit_usd": _amount(name, "limit_usd", limit_usd),
            "period": period,
            "match": _conditions(name, match),
            "timezone": timezone,
            "thresholds": _thresholds(name, thresholds),
            "on_threshold": on_threshold,
        }
        for attribute, value in checked.items():
            object.__setattr__(self, attribute, value)

    @property
    def zone(self) -> tzinfo:
        """The time zone of its calendar."""
        return zone(self.timezone)

    @property
    def limit_pico(self) -> int:
        """The limit in whole pico-dollars."""
        return int(self.limit_usd * PICO)

    def covers(self, record: Record) -> bool:
        """Whether this record is spent from this budget."""
        for name, allowed in self.match.items():
            of_record = _OF_RECORDS.get(name)
            values = (record.labels.get(name),) if of_record is None else of_record(record)
            if not any(value in allowed for value in values):
                return False
        return True

    def __reduce__(self) -> tuple[Callable[[], "Budget"], tuple[()]]:
        # a worker may be given it: a view of a mapping can't be pickled
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        return partial(Budget, **{**said, "match": dict(self.match)}), ()


def parse(said: Iterable[Budget | Mapping[str, Any]]) -> tuple[Budget, ...]:
    """Budgets out of what the settings hold; `ConfigurationError` says which one is wrong, and why."""
    budgets = tuple(_budget(number, one) for number, one in enumerate(said, 1))
    seen: set[tuple[str, str]] = set()
    for budget in budgets:
        key = budget.name, budget.period
        if key in seen:
            raise _wrong(budget.name, f"there are two of this name with the period {budget.period}")
        seen.add(key)
    return budgets


_KEYS = ("name", "limit_usd", "period", "match", "timezone", "thresholds")


def _budget(number: int, said: Any) -> Budget:
    if isinstance(said, Budget):
        return said
    if not isinstance(said, Mapping):
        raise ConfigurationError(f"budgets: entry {number} is {said!r}, not a table or a Budget")
    unknown = sorted(map(str, set(said) - set(_KEYS)))
    if unknown:
        raise ConfigurationError(
            f"budgets: entry {number} has a key {unknown[0]!r}; there are: {', '.join(_KEYS)}"
        )
    for needed in ("name", "limit_usd"):
        if needed not in said:
            raise ConfigurationError(f"budgets: entry {number} has no {needed}")
    return Budget(**cast(dict[str, Any], said))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_plain(name: str) -> bool:
    """Whether it stays what it is on a metric."""
    return name == name.strip() and name.isprintable()


def _wrong(name: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"budget {name!r}: {what}")


def _amount(name: str, what: str, value: Any) -> Decimal:
    try:
        if isinstance(value, bool) or not isinstance(value, Decimal | int | float | str):
            raise TypeError
        if isinstance(value, str) and "_" in value:
            raise ValueError
        # 0.1 means a tenth, not the binary fraction beside it
        amount = Decimal(str(value) if isinstance(value, float) else value)
    except (TypeError, ValueError, InvalidOperation):
        raise _wrong(name, f"{what}={value!r} is no number") from None
    if not amount.is_finite() or amount <= 0:
        raise _wrong(name, f"{what}={value!r} has to be more than zero")
    if not _LEAST <= amount <= _MOST:
        raise _wrong(name, f"{what}={value!r} can't be meant: take {_LEAST} to {_MOST:,}")
    return amount


_LEAST, _MOST = Decimal("0.000001"), Decimal(10**12)
"""A micro-dollar, and more than there is."""


def _thresholds(name: str, said: Any) -> tuple[Decimal, ...]:
    if isinstance(said, str) or not isinstance(said, Sequence):
        raise _wrong(name, f"thresholds={said!r}: this takes a list of shares such as 0.8")
    shares = sorted({_amount(name, "thresholds", share) for share in said})
    if shares and shares[-1] > 10:  # a percentage that was meant as a share
        raise _wrong(name, f"thresholds: {shares[-1]} is {shares[-1]:%} of the limit; 80 % is 0.8")
    return tuple(shares)


def _conditions(name: str, said: Any) -> Mapping[str, tuple[str, ...]]:
    if not isinstance(said, Mapping):
        raise _wrong(name, f'match={said!r}: this takes a table such as {{agent = "researcher"}}')
    conditions: dict[str, tuple[str, ...]] = {}
    for key, value in said.items():
        allowed = (value,) if isinstance(value, str) else value
        if not isinstance(key, str) or not key.isidentifier():
            raise _wrong(name, f"match: {key!r} is no name of a label")
        if not isinstance(allowed, Sequence) or not allowed:
            raise _wrong(name, f"match: {key}={value!r}: this takes a text or a list of texts")
        if not all(isinstance(one, str) for one in allowed):
            raise _wrong(name, f"match: {key}={value!r}: this takes a text or a list of texts")
        conditions[key] = tuple(allowed)
    return MappingProxyType(conditions)
