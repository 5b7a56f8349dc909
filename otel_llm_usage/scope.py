"""Who pays: the labels of the calls inside a block, held in the OpenTelemetry context."""

from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType

from opentelemetry import context

from .records import NOTHING

_AGENT = "otel_llm_usage.agent"
_LABELS = "otel_llm_usage.labels"

_entered: ContextVar[tuple[Token[context.Context], ...]] = ContextVar(
    "otel_llm_usage_entered", default=()
)


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
        # the object may be entered again, also in other tasks: the token belongs to the entry
        token = context.attach(context.set_value(_AGENT, self.name))
        _entered.set((*_entered.get(), token))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        *others, token = _entered.get()
        _entered.set(tuple(others))
        context.detach(token)


def current_agent() -> str | None:
    """The agent of the innermost block, or `None` outside all blocks."""
    name = context.get_value(_AGENT)
    return name if isinstance(name, str) else None


def current_labels() -> Mapping[str, str]:
    """The labels of the blocks around this call."""
    labels = context.get_value(_LABELS)
    return labels if isinstance(labels, Mapping) else NOTHING
