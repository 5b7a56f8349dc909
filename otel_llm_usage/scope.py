"""Who pays: the labels of the calls inside a block, held in the OpenTelemetry context."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, ParamSpec, Protocol, Self, TypeVar

from opentelemetry import context, trace

from . import around, baggage
from .callers import Callers
from .records import NOTHING, Record

P = ParamSpec("P")
R = TypeVar("R")

_AGENT = "otel_llm_usage.agent"
_LABELS = "otel_llm_usage.labels"
_SCOPES = "otel_llm_usage.scopes"
_LOAN = "otel_llm_usage.loan"

PAYER = (_AGENT, _LABELS, _SCOPES)
"""What of a context says who pays."""


class _Entry(NamedTuple):
    """One block that was entered and not yet left."""

    block: "Block"
    before: context.Context
    """What was current when it was entered."""
    inside: context.Context


_made = tuple.__new__
"""Makes an entry in half the time of its own constructor."""

_entered: ContextVar[tuple[_Entry, ...]] = ContextVar("otel_llm_usage_entered", default=())


class Block:
    """Says who pays for the calls inside, as a block or around a function."""

    __slots__ = ()

    def _inside(self, before: context.Context) -> context.Context:
        """The context of the block."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        # the object may be entered again, also in other tasks: what was before belongs to the entry
        before = context.get_current()
        inside = self._inside(before)
        if baggage.shared():
            inside = _told(inside)
        context.attach(inside)
        _entered.set((*_entered.get(), _made(_Entry, (self, before, inside))))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Whoever leaves the block in another context than it was entered in changes nothing there.

        A generator's halves may run in several contexts, and blocks in generators may overlap: then
        those hold that are still open, as if the one that is left had never been entered.
        """
        entries = _entered.get()
        if entries:
            block, before, inside = entries[-1]
            if block is self and context.get_current() is inside:  # as nearly always
                context.attach(before)
                _entered.set(entries[:-1])
                return
        places = [place for place, entry in enumerate(entries) if entry.block is self]
        if not places:
            return
        place = places[-1]
        # blocks that overlap: those after it are entered anew, as if it had not been there
        now = entries[place].before
        later = []
        for block, before, inside in entries[place + 1 :]:
            anew = _charged_as(block._inside(now), inside)
            later.append(_Entry(block, _charged_as(now, before), anew))
            now = anew
        current, last = context.get_current(), entries[-1].inside
        if all(current.get(key) is last.get(key) for key in PAYER):
            context.attach(now if current is last else _charged_as(now, current))
        _entered.set((*entries[:place], *later))

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, whose every call is such a block.

        A generator's block is there while its code runs, and not between its steps: its reader's
        calls are the reader's.
        """
        if isinstance(function, staticmethod | classmethod):
            method: Any = type(function)(self(function.__func__))
            return method  # type: ignore[no-any-return]
        if isinstance(function, type) or not callable(function):
            raise TypeError(f"{type(self).__name__}() decorates functions, not {function!r}")
        return around.function(self, function)


class agent(Block):  # noqa: N801 (a block reads `with agent("planner"):`)
    """Charge the calls inside the block to an agent: `with agent("planner"): ...`.

    Or each call of a function: `@agent("planner")`, also on coroutines and generators. The name lives
    in the OpenTelemetry context, so it follows the work wherever that context goes, and an inner block
    wins over an outer one.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        named("agent() takes a name", name)
        self.name = name

    def _inside(self, before: context.Context) -> context.Context:
        return context.set_value(_AGENT, self.name, before)


class attribute(Block):  # noqa: N801 (as above)
    """Say more about the calls inside the block: `with attribute(call_type="chart", user="u1"): ...`.

    Every word but `agent` becomes a label of the records (`Record.labels`), and a metric label only
    where the setting `metric_labels` names it. An inner block adds its labels to those around it, and
    wins where both say the same one; `None` says nothing. Values are kept as text.
    """

    __slots__ = ("agent", "labels")

    def __init__(
        self,
        *,
        agent: str | None = None,
        call_type: str | None = None,
        user: object = None,
        session: object = None,
        **labels: object,
    ) -> None:
        if agent is not None:
            named("attribute(agent=...) takes a name", agent)
        said = {"call_type": call_type, "user": user, "session": session, **labels}
        self.agent = agent
        self.labels = texts(said)

    def _inside(self, before: context.Context) -> context.Context:
        changed = dict(before)
        if self.agent is not None:
            changed[_AGENT] = self.agent
        if self.labels:
            changed[_LABELS] = _over(before, self.labels)
        return context.Context(changed)


def named(what: str, name: object) -> None:
    """`TypeError` if this is no name."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"{what}, a string that is not empty: got {name!r}")


def texts(labels: Mapping[str, object]) -> dict[str, str]:
    """Labels as text, without those that say nothing."""
    return {name: str(value) for name, value in labels.items() if value is not None}


def _over(before: context.Context, labels: Mapping[str, str]) -> Mapping[str, str]:
    """The labels that hold there, and these over them."""
    return MappingProxyType({**payer(before)[1], **labels})


class Scope(Protocol):
    """What gathers the calls of a block."""

    def add(self, record: Record) -> None: ...


def charged_to(scope: Scope, labels: Mapping[str, str], before: context.Context) -> context.Context:
    """The context in which calls belong to a scope, too, and have its labels."""
    changed = dict(before)
    outer = scopes(before)
    if not outer or outer[-1] is not scope:
        # once, however often it is entered; and the innermost is the one that was entered last
        changed[_SCOPES] = (*(one for one in outer if one is not scope), scope)
    if labels:
        changed[_LABELS] = _over(before, labels)
    return context.Context(changed)


def scopes(place: context.Context) -> tuple[Scope, ...]:
    """The scopes around a call that is made there; the innermost is the last."""
    found = place.get(_SCOPES)
    return found if isinstance(found, tuple) else ()


def hush() -> Callable[[], None] | None:
    """Say nothing to others of who pays, until the result is called; `None` where nothing was said."""
    before = context.get_current()
    inside = baggage.quiet(before)
    if inside is before:
        return None
    context.attach(inside)

    def undo() -> None:
        if context.get_current() is inside:
            context.attach(before)

    return undo


def _charged_as(model: context.Context, place: context.Context) -> context.Context:
    """`place`, with who pays in `model`."""
    kept = {key: value for key, value in place.items() if key not in PAYER}
    charged = context.Context(kept | {key: model[key] for key in PAYER if key in model})
    # what was told there is another one's
    return _told(baggage.quiet(charged), model)


def _told(place: context.Context, model: context.Context | None = None) -> context.Context:
    """The context from which other services hear who pays (in `model`), if they are to hear it."""
    if not baggage.shared():
        return place
    name, labels = payer(place if model is None else model)
    return baggage.told(place, {**labels, baggage.AGENT: name})


def current_agent() -> str | None:
    """The agent of the innermost block, or `None` outside all blocks."""
    name = context.get_value(_AGENT)
    return name if isinstance(name, str) else None


def payer(place: context.Context | None = None) -> tuple[str | None, Mapping[str, str]]:
    """The agent of the innermost block, and the labels of all blocks around this call.

    Outermost of all is what another service has said. `place`: where it is made, if not in the current
    context.
    """
    place = context.get_current() if place is None else place
    name, labels = place.get(_AGENT), place.get(_LABELS)
    said = (
        name if isinstance(name, str) else None,
        labels if isinstance(labels, Mapping) else NOTHING,
    )
    return _with_heard(said, baggage.heard(place)) if baggage.shared() else said


def _with_heard(
    said: tuple[str | None, Mapping[str, str]], heard: Mapping[str, str]
) -> tuple[str | None, Mapping[str, str]]:
    if not heard:
        return said
    labels = {**heard, **said[1]}
    name = labels.pop(baggage.AGENT, None)
    return said[0] or name, MappingProxyType(labels)


def carried() -> Mapping[str, object] | None:
    """What of the current context says who pays; `None` where nobody was named."""
    place = _current()
    if not place:
        return None
    found = {key: place[key] for key in PAYER if key in place}
    if baggage.shared():
        name, labels = payer(place)
        found |= ({} if name is None else {_AGENT: name}) | ({_LABELS: labels} if labels else {})
    return found or None


class Carried:
    """A function that is called elsewhere, and charged to whoever handed it on."""

    __slots__ = ("_function", "_payer")

    def __init__(self, function: Callable[..., Any], payer: Mapping[str, object]) -> None:
        self._function = function
        self._payer = payer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        here = context.get_current()
        token = context.attach(_told(context.Context({**here, **self._payer})))
        try:
            return self._function(*args, **kwargs)
        finally:
            context.detach(token)


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
    for key in PAYER:
        if key in lender:
            loan.place = context.set_value(key, lender[key], loan.place)
    return loan.place


Attribution = tuple[str, Mapping[str, str], tuple[Scope, ...], context.Context]
"""The agent, the labels, the scopes around, and the context in which the call was asked for."""

_held = getattr(getattr(context, "_RUNTIME_CONTEXT", None), "_current_context", None)
_current: Callable[[], context.Context] = (
    # what `get_current` asks, too, unless the user has chosen another kind of context
    _held.get if isinstance(_held, ContextVar) else context.get_current
)


def attribution(otherwise: str, callers: Callers | None = None) -> Attribution:
    """Who pays for the call that begins now.

    Where no block names an agent: the one of the code that makes the call, the one that the span
    around it names, or this one.
    """
    place = _current()
    if not place:  # no block, no span, nothing
        name = callers.agent() if callers is not None else None
        return name or otherwise, NOTHING, (), place
    place = caller()
    name, labels = payer(place)
    if name is None and callers is not None:
        name = callers.agent()
    name = name or agent_of(trace.get_current_span(place)) or otherwise
    return name, labels, scopes(place), place


_NAMES = ("gen_ai.agent.name", "agent.name", "crewai.agent.role")
"""How spans name an agent: the semantic conventions, OpenInference, CrewAI."""
_ENTITY = ("traceloop.entity.name", "traceloop.span.kind", "agent")
"""A name that is an agent's on spans of this kind (OpenLLMetry)."""
_INHERITED = "_otel_llm_usage_agent"
"""Where a span keeps the agent of the spans around it."""


def agent_of(span: trace.Span) -> str | None:
    """Whom a span says, or the nearest one around it: agent frameworks open one for each agent."""
    return _said(getattr(span, "attributes", None)) or getattr(span, _INHERITED, None)


def _said(attributes: Mapping[str, object] | None) -> str | None:
    if not attributes:
        return None
    for known in _NAMES:
        name = attributes.get(known)
        if isinstance(name, str) and name:
            return name
    entity, kind, agents = _ENTITY
    name = attributes.get(entity) if attributes.get(kind) == agents else None
    return name if isinstance(name, str) and name else None


def begun(span: trace.Span, outer: trace.Span, attributes: Mapping[str, object] | None) -> None:
    """A span begins inside another one: what is done in it is done for the same agent.

    One that is not sampled keeps no attributes: the agent is remembered all the same, for money does
    not depend on sampling.
    """
    own = None if span.is_recording() else _said(attributes)
    name = own or agent_of(outer)
    if name is not None and span is not outer and span is not trace.INVALID_SPAN:
        setattr(span, _INHERITED, name)


def caller() -> context.Context:
    """The context in which the call was asked for that begins now."""
    place = _current()
    loan = place.get(_LOAN)
    # whoever has opened a span or a block since then makes calls of his own
    return loan.lender if isinstance(loan, _Loan) and loan.place is place else place
