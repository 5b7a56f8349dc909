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

__all__ = [
    "Budget",
    "BudgetStatus",
    "BudgetThreshold",
    "ConfigurationError",
    "Cost",
    "CostLine",
    "LLMUsageError",
    "MissingExtra",
    "Reading",
    "Record",
    "Request",
    "Runtime",
    "Usage",
    "__version__",
    "agent",
    "attribute",
    "instrument",
    "price",
    "uninstrument",
]
