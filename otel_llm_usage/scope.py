"""Who pays: the labels of the calls inside a block, held in the OpenTelemetry context."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import NamedTuple

from opentelemetry import context

from .records import NOTHING

_AGENT = "otel_llm_usage.agent"
_LABELS = "otel_llm_usage.labels"
_LOAN = "otel_llm_usage.loan"

PAYER = (_AGENT, _LABELS)
"""What of a context says who pays."""


class _Entry(NamedTuple):
    """One block that was entered and not yet left."""

    block: "agent"
    before: context.Context
    """What was current when it was entered."""
    inside: context.Context


_entered: ContextVar[tuple[_Entry, ...]] = ContextVar("otel_llm_usage_entered", default=())


class agent:  # noqa: N801 (a block reads `with agent("planner"):`)
    """Charge the calls inside the block to an agent: `with agent("planner"): ...`.

    The name lives in the OpenTelemetry context, so it follows the work wherever that context goes,
    and an inner block wins over an outer one.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:  # type: ignore[redundant-expr]
            raise TypeError(f"agent() takes a name, a string that is not empty: got {name!r}")
        self.name = name

    def __enter__(self) -> "agent":
        # the object may be entered again, also in other tasks: what was before belongs to the entry
        before = context.get_current()
        inside = context.set_value(_AGENT, self.name)
        context.attach(inside)
        _entered.set((*_entered.get(), _Entry(self, before, inside)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Whoever leaves the block in another context than it was entered in changes nothing there.

        A generator's halves may run in several contexts, and blocks in generators may overlap: then
        the agent is that of the last block that is still open.
        """
        entries = _entered.get()
        places = [place for place, entry in enumerate(entries) if entry.block is self]
        if not places:
            return
        place = places[-1]
        left, later = entries[place], list(entries[place + 1 :])
        outer = left.before.get(_AGENT)
        if later:
            # a block that overlaps: when the one after it is left, this one is not to come back
            later[0] = later[0]._replace(before=_with_agent(later[0].before, outer))
        elif context.get_current() is left.inside:
            context.attach(left.before)
        elif current_agent() == self.name:
            context.attach(_with_agent(context.get_current(), outer))
        _entered.set((*entries[:place], *later))


def _with_agent(place: context.Context, name: object) -> context.Context:
    if name is not None:
        return context.set_value(_AGENT, name, place)
    return context.Context({key: value for key, value in place.items() if key != _AGENT})


def current_agent() -> str | None:
    """The agent of the innermost block, or `None` outside all blocks."""
    name = context.get_value(_AGENT)
    return name if isinstance(name, str) else None


def payer(place: context.Context | None = None) -> tuple[str | None, Mapping[str, str]]:
    """The agent of the innermost block, and the labels of all blocks around this call.

    `place`: where it is made, if not in the current context.
    """
    place = context.get_current() if place is None else place
    name, labels = place.get(_AGENT), place.get(_LABELS)
    return (
        name if isinstance(name, str) else None,
        labels if isinstance(labels, Mapping) else NOTHING,
    )


class _Loan:
    """A context that another one lends."""

    def __init__(self, lender: context.Context) -> None:
        self.lender = lender
        self.place = context.set_value(_LOAN, self)


def lent(lender: context.Context) -> context.Context:
    """The current context, in which calls are charged to, and traced under, another one.

    Everything else stays the reader's: a lazy stream may run the reader's own functions.
    """
    loan = _Loan(lender)
    for key in (_AGENT, _LABELS):
        if key in lender:
            loan.place = context.set_value(key, lender[key], loan.place)
    return loan.place


_held = getattr(getattr(context, "_RUNTIME_CONTEXT", None), "_current_context", None)
_current: Callable[[], context.Context] = (
    # what `get_current` asks, too, unless the user has chosen another kind of context
    _held.get if isinstance(_held, ContextVar) else context.get_current
)


def attribution(otherwise: str) -> tuple[str, Mapping[str, str], context.Context]:
    """Who pays for the call that begins now: see `payer`, with an agent for where nobody is named.

    And the context in which it was asked for.
    """
    place = _current()
    if not place:  # no block, no span, nothing
        return otherwise, NOTHING, place
    place = caller()
    name, labels = payer(place)
    return name or otherwise, labels, place


def caller() -> context.Context:
    """The context in which the call was asked for that begins now."""
    place = _current()
    loan = place.get(_LOAN)
    # whoever has opened a span or a block since then makes calls of his own
    return loan.lender if isinstance(loan, _Loan) and loan.place is place else place
