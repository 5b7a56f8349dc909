"""What was spent: every record in a database, each once."""

from .ledger import Ledger

__all__ = ["Ledger"]
