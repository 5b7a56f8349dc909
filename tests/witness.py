"""What the stand-in's ledger and a scope say of the same calls, in one shape."""

from decimal import Decimal


def billed(llm_standin, tag=None):
    """Calls, tokens and dollars of the ledger; `tag`: of the requests that bear it."""
    bills = [bill for bill in llm_standin.ledger if tag is None or bill.tag == tag]
    return (
        len(bills),
        sum(sum(bill.usage.values()) for bill in bills),
        sum((bill.usd for bill in bills), Decimal(0)),
    )


def counted(usage):
    """The same of a scope."""
    total = usage.total
    return total.calls, total.total_tokens, total.cost_usd
