"""How much may be spent: limits in US dollars for calendar periods, and how much of them is spent."""

from .budget import Budget, parse
from .spending import Spending
from .stores import MemoryStore, Store

__all__ = ["Budget", "MemoryStore", "Spending", "Store", "parse"]
