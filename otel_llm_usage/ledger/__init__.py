"""What was spent: every record in a database, each once, and what can be asked of it."""

from .asking import BadQuestion
from .database import DatabaseError
from .door import opened
from .ledger import Ledger
from .reports import DIMENSIONS, Line, Place, Question, Report, Reports, ScopeSum
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
    "ScopeSum",
    "Upkeep",
    "opened",
]
