"""Sums of records: how many calls, tokens, dollars and seconds, in all and for each of what they differ in.

Exact and bounded: what is kept of a record is added to the sum of its group, and groups are the calls
that share call type, agent, provider, model and operation. Of more groups than may be, the last one
takes the rest.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from .records import KINDS, Record, Usage, as_text, dollars

OTHER = "other"
"""What stands for the values of a group beyond the bound."""

_EMBEDDINGS = "embeddings"


class Group(NamedTuple):
    """What the calls of one sum have in common."""

    call_type: str
    """The label `call_type`; empty where none was said."""
    agent: str
    provider: str
    model: str
    """The model that answered, else the one that was asked for."""
    operation: str

    @classmethod
    def of(cls, record: Record) -> "Group":
        """The group of a record."""
        return cls(
            record.labels.get("call_type", ""),
            record.agent,
            record.provider,
            record.model,
            record.operation,
        )


By = str | tuple[str, ...]
"""What sums are asked for by: a field of `Group`, or several."""


def fields(by: By) -> tuple[str, ...]:
    """The fields of `Group` that were asked for; `ValueError` if it has no such."""
    asked = (by,) if isinstance(by, str) else tuple(by)
    if not asked or not set(asked) <= set(Group._fields):
        raise ValueError(f"by={by!r}: this takes one or some of {', '.join(Group._fields)}")
    return asked


_REST = Group(OTHER, OTHER, OTHER, OTHER, OTHER)


class Sum:
    """The sum of some records. It grows while calls end; `+` makes a new one."""

    __slots__ = (
        "aborted",
        "billed",
        "calls",
        "embedding_tokens",
        "estimated",
        "estimated_pico",
        "failures",
        "longest",
        "missing",
        "pico",
        "records",
        "saved_pico",
        "seconds",
        "shortest",
        "successes",
        "timed",
        "tokens",
        "unpriced",
        "wasted_pico",
    )

    def __init__(self) -> None:
        self.calls = 0
        """Requests to providers; several billed entries of one answer are one."""
        self.records = 0
        """The same, with each billed entry of an answer."""
        self.successes = 0
        self.failures = 0
        """Requests that failed, and streams that broke off."""
        self.aborted = 0
        """Streams that the caller left early."""
        self.billed = 0
        """Calls that may have been billed: all but those for which the provider bills nothing."""
        self.tokens = [0] * len(KINDS)
        """By kind, in the order of `Usage`: each token once."""
        self.embedding_tokens = 0
        """Those of `input` that were embedded."""
        self.pico = 0
        """Pico-dollars of all that has a price."""
        self.unpriced = 0
        """Records of which at least a part has no known price: their dollars are not in the sum."""
        self.missing = 0
        """Calls that may have been billed, and of which nobody said how many tokens."""
        self.saved_pico = 0
        """Pico-dollars that caches have saved, see `Cost.saved_pico`."""
        self.wasted_pico = 0
        """Pico-dollars of calls that failed, broke off or were left early."""
        self.estimated = 0
        """Records whose token counts are our estimate."""
        self.estimated_pico = 0
        """Pico-dollars of these."""
        self.seconds = 0.0
        """All durations together."""
        self.shortest: float | None = None
        self.longest: float | None = None
        self.timed = 0
        """Calls whose duration is known."""

    def add(self, record: Record) -> None:
        """Count one record."""
        if record.usage is not None:
            self._add_tokens(record.usage, record.operation)
        cost = record.cost
        self.records += 1
        if cost.incomplete:
            self.unpriced += 1
        pico = cost.known_pico
        self.pico += pico
        self.saved_pico += cost.saved_pico
        if record.status != "ok":
            self.wasted_pico += pico
        if record.usage_source == "estimated":
            self.estimated += 1
            self.estimated_pico += pico
        if record.later_entry:
            return
        self.calls += 1
        if record.status == "ok":
            self.successes += 1
        elif record.status == "aborted":
            self.aborted += 1
        else:
            self.failures += 1
        if cost.status != "not_billed":
            self.billed += 1
        if cost.incomplete and not record.units and not _says_any(record.usage):
            self.missing += 1
        if record.duration is not None:
            self._add_seconds(record.duration, record.duration, record.duration, 1)

    def _add_tokens(self, usage: Usage, operation: str) -> None:
        tokens = self.tokens
        for place, count in enumerate(usage):
            if count:
                tokens[place] += count
        if operation == _EMBEDDINGS:
            self.embedding_tokens += sum(filter(None, usage))

    def _add_seconds(self, all_: float, shortest: float, longest: float, times: int) -> None:
        self.seconds += all_
        self.timed += times
        self.shortest = shortest if self.shortest is None else min(self.shortest, shortest)
        self.longest = longest if self.longest is None else max(self.longest, longest)

    def merge(self, other: "Sum") -> None:
        """Add another sum to this one."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.tokens = [
            mine + theirs for mine, theirs in zip(self.tokens, other.tokens, strict=True)
        ]
        if other.shortest is not None and other.longest is not None:
            self._add_seconds(other.seconds, other.shortest, other.longest, other.timed)

    def __add__(self, other: "Sum") -> "Sum":
        made = Sum()
        made.merge(self)
        made.merge(other)
        return made

    def without(self, parts: Iterable["Sum"]) -> "Sum":
        """What is left of this one without some of its parts; its shortest and longest call are not known."""
        left = self + Sum()
        for part in parts:
            for name in (*_COUNTS, "seconds", "timed"):
                setattr(left, name, getattr(left, name) - getattr(part, name))
            left.tokens = [
                mine - theirs for mine, theirs in zip(left.tokens, part.tokens, strict=True)
            ]
        left.shortest = left.longest = None
        return left

    def __repr__(self) -> str:
        return f"<Sum of {self.calls} calls: {self.total_tokens} tokens, {self.cost_text}>"

    # ------------------------------------------------------------ what it tells

    @property
    def usage(self) -> Usage:
        """The tokens by kind."""
        return Usage(*self.tokens)

    @property
    def input_tokens(self) -> int:
        """All of the input side, caches and embeddings included."""
        return self.usage.input_tokens or 0

    @property
    def output_tokens(self) -> int:
        """All of the output side, reasoning included."""
        return self.usage.output_tokens or 0

    @property
    def reasoning_tokens(self) -> int:
        """Those of the output that were thought and not shown."""
        return self.usage.reasoning or 0

    @property
    def cached_tokens(self) -> int:
        """Those of the input that were read from caches."""
        return self.usage.cache_read_tokens or 0

    @property
    def total_tokens(self) -> int:
        """Everything billed."""
        return sum(self.tokens)

    @property
    def cost_usd(self) -> Decimal | None:
        """US dollars, exact; `None` while any record has no known price, see `known_cost_usd`."""
        return None if self.unpriced else dollars(self.pico)

    @property
    def known_cost_usd(self) -> Decimal:
        """US dollars of what has a price: the cost, or its lower bound."""
        return dollars(self.pico)

    @property
    def saved_usd(self) -> Decimal:
        """US dollars that caches have saved; negative where writing them cost more."""
        return dollars(self.saved_pico)

    @property
    def wasted_usd(self) -> Decimal:
        """US dollars of calls that failed, broke off or were left early."""
        return dollars(self.wasted_pico)

    @property
    def estimated_usd(self) -> Decimal:
        """US dollars of records whose token counts are our estimate."""
        return dollars(self.estimated_pico)

    @property
    def cost_text(self) -> str:
        """The cost for people: `$0.0123`, or `at least $0.0123 (1 unpriced)`."""
        shown = f"${self.known_cost_usd:f}"
        return shown if not self.unpriced else f"at least {shown} ({self.unpriced} unpriced)"

    @property
    def average_seconds(self) -> float | None:
        """Of a call whose duration is known."""
        return self.seconds / self.timed if self.timed else None

    @property
    def average_tokens(self) -> float | None:
        """Of a call."""
        return self.total_tokens / self.calls if self.calls else None

    @property
    def average_cost_usd(self) -> Decimal | None:
        """Of a call; `None` where the cost is not known."""
        cost = self.cost_usd
        return None if cost is None or not self.calls else cost / self.calls

    def to_dict(self) -> dict[str, Any]:
        """For JSON; dollars as text, exact."""
        return {
            "calls": self.calls,
            "successes": self.successes,
            "failures": self.failures,
            "aborted": self.aborted,
            "billed": self.billed,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "cached_tokens": self.cached_tokens,
            "embedding_tokens": self.embedding_tokens,
            "total_tokens": self.total_tokens,
            "tokens": self.usage.nonzero(),
            "cost_usd": as_text(self.cost_usd),
            "known_cost_usd": as_text(self.known_cost_usd),
            "unpriced": self.unpriced,
            "missing_usage": self.missing,
            "saved_usd": as_text(self.saved_usd),
            "wasted_usd": as_text(self.wasted_usd),
            "estimated": self.estimated,
            "estimated_usd": as_text(self.estimated_usd),
            "seconds": self.seconds,
            "average_seconds": self.average_seconds,
            "shortest_seconds": self.shortest,
            "longest_seconds": self.longest,
            "average_tokens": self.average_tokens,
            "average_cost_usd": as_text(self.average_cost_usd),
        }


_COUNTS = (
    "calls",
    "records",
    "successes",
    "failures",
    "aborted",
    "billed",
    "embedding_tokens",
    "pico",
    "unpriced",
    "missing",
    "saved_pico",
    "wasted_pico",
    "estimated",
    "estimated_pico",
)


def _says_any(usage: Usage | None) -> bool:
    """Whether it has any count."""
    return usage is not None and usage.total_tokens is not None


class Sums:
    """A sum for each group."""

    __slots__ = ("_groups", "_most")

    def __init__(self, most: int = 10_000) -> None:
        """`most`: how many groups are told apart."""
        self._groups: dict[Group, Sum] = {}
        self._most = most

    def add(self, record: Record) -> None:
        """Count one record in its group."""
        group = Group.of(record)
        found = self._groups.get(group)
        if found is None:
            if len(self._groups) >= self._most:
                group = _REST
                found = self._groups.get(group)
            if found is None:
                found = self._groups[group] = Sum()
        found.add(record)

    def clear(self) -> None:
        """Begin anew."""
        self._groups = {}

    def copy(self) -> "Sums":
        """As they are now."""
        made = Sums(self._most)
        for group, found in self._groups.items():
            made._groups[group] = found + Sum()
        return made

    def __iter__(self) -> Iterator[tuple[Group, Sum]]:
        return iter(self._groups.items())

    @property
    def total(self) -> Sum:
        """All groups together."""
        made = Sum()
        for _, found in self:
            made.merge(found)
        return made

    def by(self, *fields: str) -> dict[tuple[str, ...], Sum]:
        """The sums of the groups that agree in these fields of `Group`, the dearest first."""
        found: dict[tuple[str, ...], Sum] = {}
        for group, part in self:
            found.setdefault(tuple(getattr(group, field) for field in fields), Sum()).merge(part)
        return dict(sorted(found.items(), key=lambda one: (-one[1].pico, one[0])))

    def by_one(self, field: str) -> dict[str, Sum]:
        """`by` one field."""
        return {values[0]: part for values, part in self.by(field).items()}


class Gathered(NamedTuple):
    """What a scope has gathered until one moment."""

    sums: Sums
    records: tuple[Record, ...]
    """Those that are kept, in the order in which the calls ended."""
    dropped: int
    """How many older ones are not kept any more; the sums hold them."""

    @property
    def failures(self) -> tuple[Record, ...]:
        """Those of requests that failed, and of streams that broke off."""
        return tuple(
            record
            for record in self.records
            if record.status in ("error", "broken") and not record.later_entry
        )
