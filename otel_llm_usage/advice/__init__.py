"""Where money goes that need not: findings with dollars, from the records of a ledger."""

from .advise import Advice, advise
from .finding import Finding
from .showing import AdviceList

__all__ = ["Advice", "AdviceList", "Finding", "advise"]
