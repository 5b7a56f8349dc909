"""The demo's audit must be able to fail."""

from decimal import Decimal

import pytest

from otel_llm_usage.demo import Audit
from otel_llm_usage.records import Cost, PricedLine, Record, Request, Usage
from otel_llm_usage.standin import Bill

REQUEST = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-4.1")
USAGE = Usage(input=100, output=10)
COST = Cost("priced", 280_000_000, (PricedLine("input", 110, 280_000_000, "list"),))
RECORD = Record("0" * 32, 0.0, REQUEST, "ok", USAGE, "reported", COST)
BILL = Bill(
    "1", 0.0, "openai", "chat.completions", "gpt-4.1", "gpt-4.1", False,
    {"input": 100, "output": 10}, {}, Decimal("0.00028"), True,
)  # fmt: skip
SERVED = {"llm_tokens_total": Decimal(110), "llm_cost_total": Decimal("0.00028")}


def test_bills_that_agree_have_no_difference():
    assert Audit([BILL], [RECORD], SERVED).differences() == []


@pytest.mark.parametrize(
    ("bills", "records", "served"),
    [
        ([BILL, BILL], [RECORD], SERVED),
        ([BILL], [RECORD, RECORD], SERVED),
        ([BILL._replace(usage={"input": 101, "output": 10})], [RECORD], SERVED),
        ([BILL._replace(usage={"input": 90, "cache_read": 10, "output": 10})], [RECORD], SERVED),
        ([BILL._replace(usd=Decimal("0.000281"))], [RECORD], SERVED),
        ([BILL._replace(usd=None)], [RECORD], SERVED),
        ([BILL], [RECORD._replace(cost=Cost("unpriced"))], SERVED),
        ([BILL], [RECORD], SERVED | {"llm_tokens_total": Decimal(111)}),
        ([BILL], [RECORD], SERVED | {"llm_cost_total": Decimal("0.00029")}),
        ([], [], {"llm_tokens_total": Decimal(0), "llm_cost_total": Decimal(0)}),
        ([BILL, BILL._replace(reported=False)], [RECORD], SERVED),
    ],
)
def test_every_disagreement_is_a_difference(bills, records, served):
    assert Audit(bills, records, served).differences()


def test_of_what_the_wire_did_not_report_only_the_calls_are_judged():
    left = BILL._replace(reported=False, usage={"input": 100, "output": 12})
    estimated = RECORD._replace(usage_source="estimated")
    audit = Audit([BILL, left], [RECORD, estimated], SERVED)
    served = {"llm_tokens_total": Decimal(220), "llm_cost_total": Decimal("0.00056")}
    assert Audit([BILL, left], [RECORD, estimated], served).differences() == []
    assert len(audit.tables()) == 2
