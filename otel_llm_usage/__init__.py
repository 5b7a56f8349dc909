"""Every billed LLM token counted once, priced to the cent, and seen before the invoice comes."""

from ._version import __version__
from .budgets import Budget
from .comparison import Comparison, ModelFigures, Timing, WhatIf
from .errors import ConfigurationError, LLMUsageError, MissingExtra
from .manual import record_usage, register_extractor
from .records import (
    BudgetStatus,
    BudgetThreshold,
    Cost,
    CostLine,
    Estimate,
    Reading,
    Record,
    Request,
    Usage,
)
from .runtime import Runtime, estimate, instrument, price, uninstrument
from .scope import agent, attribute
from .streaming import stream_with_usage
from .sums import Group, Sum
from .tracking import (
    UsageScope,
    agent_models,
    close_tracker,
    current_usage,
    get_or_create_tracker,
    reset_usage,
    track,
    usage_by_agent,
    usage_by_model,
    usage_summary,
)

__all__ = [
    "Budget",
    "BudgetStatus",
    "BudgetThreshold",
    "Comparison",
    "ConfigurationError",
    "Cost",
    "CostLine",
    "Estimate",
    "Group",
    "LLMUsageError",
    "MissingExtra",
    "ModelFigures",
    "Reading",
    "Record",
    "Request",
    "Runtime",
    "Sum",
    "Timing",
    "Usage",
    "UsageScope",
    "WhatIf",
    "__version__",
    "agent",
    "agent_models",
    "attribute",
    "close_tracker",
    "current_usage",
    "estimate",
    "get_or_create_tracker",
    "instrument",
    "price",
    "record_usage",
    "register_extractor",
    "reset_usage",
    "stream_with_usage",
    "track",
    "uninstrument",
    "usage_by_agent",
    "usage_by_model",
    "usage_summary",
]
