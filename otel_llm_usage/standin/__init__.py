"""A stand-in provider for tests, demos and benchmarks: real SDKs talk to it, and it keeps a ledger.

It is an independent witness: it shares no reader and no price with the rest of the package.
"""

from .answers import ABSENT, MAGIC, Answer, Call, Seen
from .ledger import Bill, Ledger
from .server import StandIn
from .serving import serve

__all__ = [
    "ABSENT",
    "MAGIC",
    "Answer",
    "Bill",
    "Call",
    "Ledger",
    "Seen",
    "StandIn",
    "serve",
]
