"""What the ledger has kept of an analysis: stored by a setting, read back by the id of its scope."""

import os

from otel_llm_usage import Runtime
from otel_llm_usage.ledger import Question, Report, Reports

PLACE = os.environ.get("OTEL_LLM_USAGE_LEDGER") or "usage.db"
"""Where the examples keep every call, if they are run as modules."""


def kept(runtime: Runtime, question: Question) -> Report | None:
    """What the ledger says, with the calls that have just ended; `None` if there is no ledger."""
    if runtime.ledger is None:
        return None
    runtime.flush()
    return Reports(runtime.ledger).report(question)
