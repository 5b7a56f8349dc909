"""Every billed LLM token counted once, priced to the cent, and seen before the invoice comes."""

from ._version import __version__
from .budgets import Budget
from .errors import ConfigurationError, LLMUsageError, MissingExtra
from .records import (
    BudgetStatus,
    BudgetThreshold,
    Cost,
    CostLine,
    Reading,
    Record,
    Request,
    Usage,
)
from .runtime import Runtime, instrument, price, uninstrument
from .scope import agent, attribute
from .sums import Group, Sum
from .tracking import UsageScope, close_tracker, get_or_create_tracker, track

__all__ = [
    "Budget",
    "BudgetStatus",
    "BudgetThreshold",
    "ConfigurationError",
    "Cost",
    "CostLine",
    "Group",
    "LLMUsageError",
    "MissingExtra",
    "Reading",
    "Record",
    "Request",
    "Runtime",
    "Sum",
    "Usage",
    "UsageScope",
    "__version__",
    "agent",
    "attribute",
    "close_tracker",
    "get_or_create_tracker",
    "instrument",
    "price",
    "track",
    "uninstrument",
]
