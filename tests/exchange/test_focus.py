"""FOCUS: what the specification asks of rows, asked of ours."""

import csv
import json
import re
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal, localcontext

import anthropic
import openai
import pytest
from google import genai

from otel_llm_usage import agent, attribute, instrument
from otel_llm_usage.exchange import export_focus, focus_rows, import_usage, sheets
from otel_llm_usage.exchange.focus import COLUMNS
from otel_llm_usage.ledger import Ledger
from otel_llm_usage.records import Cost, PricedLine, Record, Request, Usage

# of the specification 1.2: columns that have to be there, and those that must not be null
MANDATORY = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
]
NEVER_NULL = [
    "BilledCost",
    "BillingAccountId",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
]
OF_USAGE = [
    "PricingQuantity",
    "PricingUnit",
    "SkuId",
    "SkuPriceId",
    "ConsumedQuantity",
    "ConsumedUnit",
]
"""Not null where the category is Usage and the class no correction."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NUMBER = re.compile(r"-?\d+(\.\d+)?")


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path / "usage.db")
    yield made
    made.close()


def call_all(standin):
    hello = [{"role": "user", "content": "hello"}]
    with (
        openai.OpenAI() as client,
        anthropic.Anthropic() as claude,
        agent("planner"),
        attribute(call_type="plan", user="u1"),
    ):
        for model in ("gpt-4.1", "gpt-4.1", "gpt-5"):
            client.chat.completions.create(model=model, messages=hello)
        client.audio.speech.create(model="tts-1", voice="alloy", input="hello")
        standin.script(
            usage={"input": 7, "output": 9, "cache_read": 11, "cache_write_1h": 17},
            units={"web_search": 2},
        )
        claude.messages.create(model="claude-haiku-4-5", max_tokens=99, messages=hello)
    with genai.Client() as client:
        client.models.generate_content(model="gemini-2.5-pro", contents="hello")


@pytest.fixture
def charges(ledger, tmp_path, llm_standin):
    runtime = instrument(sinks=[ledger], otlp=False)
    call_all(llm_standin)
    runtime.flush()
    done = export_focus(ledger, tmp_path / "focus.csv", billing_account="acct-1")
    assert done.left_out == ()
    with (tmp_path / "focus.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == done.rows
    return rows


def test_rows_are_what_the_specification_asks_for(charges):
    assert charges
    assert set(MANDATORY) | set(NEVER_NULL) | set(OF_USAGE) <= set(charges[0])
    for row in charges:
        for name in (*NEVER_NULL, *OF_USAGE):
            assert row[name] != "", name
        for name in row:
            if name.endswith(("PeriodStart", "PeriodEnd")):
                assert TIME.fullmatch(row[name])
            if name.endswith(("Cost", "Quantity", "UnitPrice")):
                assert NUMBER.fullmatch(row[name]), (name, row[name])
        assert row["ChargeCategory"] == "Usage"
        assert row["ChargeClass"] == ""
        assert (row["BillingCurrency"], row["ChargeFrequency"]) == ("USD", "Usage-Based")
        assert row["ServiceCategory"] == "AI and Machine Learning"
        quantity = Decimal(row["PricingQuantity"])
        assert quantity * Decimal(row["ListUnitPrice"]) == Decimal(row["ListCost"])
        assert quantity * Decimal(row["ContractedUnitPrice"]) == Decimal(row["ContractedCost"])
        assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"]
        assert row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
        assert row["BillingPeriodStart"][8:10] == row["BillingPeriodEnd"][8:10] == "01"
        tags = json.loads(row["Tags"])
        assert all(isinstance(value, str) for value in tags.values())
        assert "user" not in tags
    owners = defaultdict(set)
    for row in charges:
        owners[row["SkuPriceId"]].add(row["SkuId"])
    assert all(len(of_one) == 1 for of_one in owners.values())


def test_the_sums_are_what_was_billed(charges, llm_standin):
    ledger = llm_standin.ledger
    assert sum(Decimal(row["BilledCost"]) for row in charges) == ledger.usd()
    tokens = defaultdict(int)
    for row in charges:
        if row["ConsumedUnit"] == "Tokens":
            assert Decimal(row["PricingQuantity"]) * 10**6 == Decimal(row["ConsumedQuantity"])
            assert row["PricingUnit"] == "1000000 Tokens"
            tokens[row["SkuId"].rpartition("/")[2]] += int(row["ConsumedQuantity"])
    assert tokens == ledger.usage()
    sellers = {row["ProviderName"]: row["ServiceName"] for row in charges}
    assert sellers == {
        "OpenAI": "OpenAI API",
        "Anthropic": "Claude API",
        "Google": "Gemini API",
    }
    tagged = [row for row in charges if row["ProviderName"] == "OpenAI"]
    assert {row["Tags"] for row in tagged} == {'{"agent":"planner","call_type":"plan"}'}
    searches = [row for row in charges if row["SkuId"].endswith("web_search")]
    assert [(row["ConsumedQuantity"], row["ListUnitPrice"]) for row in searches] == [("2", "0.01")]


def test_in_parquet_money_is_exact_and_times_are_times(ledger, tmp_path, llm_standin):
    import pyarrow.parquet

    runtime = instrument(sinks=[ledger], otlp=False)
    call_all(llm_standin)
    runtime.flush()
    export_focus(ledger, tmp_path / "focus.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "focus.parquet")
    assert table.column_names == [column.name for column in COLUMNS]
    assert sum(one.as_py() for one in table["BilledCost"]) == llm_standin.ledger.usd()
    assert str(table.schema.field("ChargePeriodStart").type) == "timestamp[us, tz=UTC]"


def record(day, cost, usage=None, **more):
    request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-5")
    at = datetime(2026, 12, day, 23, 59, tzinfo=UTC).timestamp()
    return Record("id", at, request, "ok", usage, "reported", cost, **more)


def line(sku, quantity, pico):
    return PricedLine(sku, quantity, pico, "card")


def rows(*records, **more):
    names = [column.name for column in COLUMNS]
    return [dict(zip(names, row, strict=True)) for row in focus_rows(records, **more)]


def test_what_has_no_known_price_is_told_and_not_written_as_zero():
    left_out = {}
    part = Cost("partial", None, (line("input", 5, 50),))
    found = rows(
        record(1, part, Usage(input=5, output=7)),
        record(1, Cost("unpriced"), Usage(input=3)),
        record(2, Cost("unpriced")),
        record(2, Cost("not_billed", 0), Usage(input=9)),
        left_out=left_out,
    )
    assert [(row["SkuId"], row["ConsumedQuantity"]) for row in found] == [
        ("openai-api/gpt-5/input", 5)
    ]
    assert {(key[0].day, key[2]): count for key, count in left_out.items()} == {
        (1, "output"): 7,
        (1, "input"): 3,
        (2, "requests"): 1,
    }


def test_what_is_free_costs_nothing_and_is_there():
    (row,) = rows(record(1, Cost("free", 0), Usage(input=5)))
    assert (row["BilledCost"], row["ListUnitPrice"], row["ConsumedQuantity"]) == (0, 0, 5)


def test_another_price_is_another_row_and_a_year_may_end():
    cheap = Cost("priced", 50, (line("input", 5, 50),))
    dear = Cost("priced", 100, (line("input", 5, 100),))
    usage = Usage(input=5)
    found = rows(record(31, cheap, usage), record(31, dear, usage), record(31, cheap, usage))
    assert [(row["ConsumedQuantity"], row["ListUnitPrice"]) for row in found] == [
        (10, Decimal("0.00001")),
        (5, Decimal("0.00002")),
    ]
    assert str(found[0]["BillingPeriodEnd"]) == "2027-01-01 00:00:00+00:00"
    assert found[0]["ChargePeriodEnd"] == found[0]["BillingPeriodEnd"]


def test_a_tier_and_a_region_are_part_of_the_price():
    cost = Cost("priced", 50, (line("input", 5, 50),))
    (row,) = rows(record(1, cost, Usage(input=5), tier="batch", region="eu"))
    assert row["SkuPriceId"] == "openai-api/gpt-5/input/batch/eu"
    assert row["RegionId"] == "eu"


def test_a_cost_that_was_given_as_a_whole_is_a_row(ledger, tmp_path):
    (tmp_path / "in.csv").write_text(
        "time,model,cost\n2026-03-01,gpt-5,0.1\n2026-03-01,gpt-5,0.2\n2026-03-01,gpt-5,0.4\n"
    )
    import_usage(ledger, tmp_path / "in.csv")
    (row,) = rows(*ledger.records())
    assert (row["BilledCost"], row["ConsumedUnit"], row["PricingQuantity"]) == (
        Decimal("0.7"),
        "Requests",
        3,
    )
    assert row["ListUnitPrice"] is None  # a third has no end in decimals


def test_what_has_more_decimals_than_a_sheet_holds(tmp_path):
    import pyarrow.parquet

    whole = [record(1, Cost("priced", pico)) for pico in [3] + [2] * 127]
    spoken = record(
        2,
        Cost("priced", 5, (line("audio_seconds", Decimal("1e-19"), 5),)),
        units={"audio_seconds": Decimal("1e-19")},
    )
    with sheets.sheet(tmp_path / "out.parquet", COLUMNS) as write:
        write(focus_rows([*whole, spoken]))
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table["ListUnitPrice"].to_pylist() == [None, None]
    assert sum(table["BilledCost"].to_pylist()) == Decimal("262e-12")


def test_an_application_may_count_with_few_digits(ledger, llm_standin):
    with localcontext(prec=3):
        runtime = instrument(sinks=[ledger], otlp=False)
        with openai.OpenAI() as client:
            for _ in range(3):
                client.chat.completions.create(
                    model="gpt-4.1", messages=[{"role": "user", "content": "hello " * 1234}]
                )
        runtime.flush()
        found = rows(*ledger.records())
        costs = [record.cost_usd for record in ledger.records()]
    assert sum(row["BilledCost"] for row in found) == llm_standin.ledger.usd() == sum(costs)
    assert sum(row["ConsumedQuantity"] for row in found) == sum(llm_standin.ledger.usage().values())


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_where_nothing_is_charged_there_are_no_rows(ledger, tmp_path, form):
    ledger(record(1, Cost("unpriced"), Usage(input=3)))
    done = export_focus(ledger, tmp_path / f"focus.{form}")
    assert (done.rows, len(done.left_out)) == (0, 1)
