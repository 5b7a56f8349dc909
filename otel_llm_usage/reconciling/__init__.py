"""Is it what the provider counted: the ledger beside the provider's own record."""

from .comparing import Line, Reconciliation, Total, compare
from .reconcile import PROVIDERS, reconcile
from .showing import show, table
from .statement import Charged, Statement, Unrecognised, Used

__all__ = [
    "PROVIDERS",
    "Charged",
    "Line",
    "Reconciliation",
    "Statement",
    "Total",
    "Unrecognised",
    "Used",
    "compare",
    "reconcile",
    "show",
    "table",
]
