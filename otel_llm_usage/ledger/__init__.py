"""What was spent: every record in a database, each once, and what can be asked of it."""

from .asking import BadQuestion
from .database import DatabaseError
from .ledger import Ledger
from .reports import DIMENSIONS, Line, Place, Question, Report, Reports, ScopeLine
from .upkeep import Repriced, Upkeep

__all__ = [
    "DIMENSIONS",
    "BadQuestion",
    "DatabaseError",
    "Ledger",
    "Line",
    "Place",
    "Question",
    "Report",
    "Reports",
    "Repriced",
    "ScopeLine",
    "Upkeep",
]
