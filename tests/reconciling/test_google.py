"""Google's billing export: what its lines say, and what nobody can say of them."""

import csv
import datetime
import json
from decimal import Decimal

import pytest
from google import genai

from otel_llm_usage.errors import ConfigurationError, StatementError
from otel_llm_usage.reconciling import google

DAY = datetime.timedelta(days=1)
APRIL = datetime.date(2026, 4, 1)
MAY = datetime.date(2026, 5, 1)


@pytest.mark.parametrize(
    ("description", "model", "kind"),
    [
        ("Generate content input token count gemini 2.5 flash short input text", "gemini-2.5-flash", "input"),
        ("Generate content output token count gemini 2.5 flash text output", "gemini-2.5-flash", "output"),
        ("Generate content input token count Gemini 2.5 Pro long input text", "gemini-2.5-pro", "input"),
        ("Generate content cached input token count gemini 2.5 flash lite text", "gemini-2.5-flash-lite", "cache_read"),
        ("Generate content input token count gemini 3.7 flash image flex caching", "gemini-3.7-flash", "cache_read"),
        ("Generate_content_cached_input_token_count_gemini_3_pro_short_image", "gemini-3-pro", "cache_read"),
        ("Generate_content image output token count for Gemini 3 Pro Image", "gemini-3-pro-image", "output"),
        ("Generate_content image input token count for gemini 3 flash", "gemini-3-flash", "input"),
        ("Generate content input token count gemini 3.1 flash lite preview text", "gemini-3.1-flash-lite-preview", "input"),
        ("Generate content output token count gemini 3 flash text batch", "gemini-3-flash", "output"),
        ("Gemini 2.5 Flash GA Text Input - Predictions", "gemini-2.5-flash", "input"),
        ("Gemini 2.5 Flash Thinking Text Output - Predictions", "gemini-2.5-flash", "output"),
        ("Embed content input token count gemini embedding 2 text", "gemini-embedding-2", "input"),
    ],
)  # fmt: skip
def test_a_description_tells_the_model_and_the_kind(description, model, kind):
    assert google.sku(description) == (model, kind)


@pytest.mark.parametrize(
    "description",
    [
        "Generate content cached text storage token hours for gemini 3 flash",
        "Grounding with Google Search for Gemini",
        "N1 Predefined Instance Core running in Americas",
        "Imagen 4 fast Generation (output)",
        "Gemini input",
        "",
    ],
)
def test_what_a_description_does_not_tell_is_not_guessed(description):
    assert google.sku(description) is None


def line(sku, amount, cost, **more):
    return {
        "service": {"id": "AEFD-7695-64FA", "description": "Gemini API"},
        "sku": {"id": "1234", "description": sku},
        "usage_start_time": "2026-04-02 15:00:00 UTC",
        "usage_end_time": "2026-04-02 16:00:00 UTC",
        "usage": {"amount": amount, "unit": "count"},
        "cost": cost,
        "currency": "USD",
        "cost_type": "regular",
        "credits": [],
        "labels": [],
    } | more


INPUT = "Generate content input token count gemini 2.5 flash short input text"
OUTPUT = "Generate content output token count gemini 2.5 flash short output text"


def lines(tmp_path, *rows, name="export.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_lines_add_up_and_what_is_not_recognised_is_told(tmp_path):
    path = lines(
        tmp_path,
        line(INPUT, 1000, "0.0003"),
        line(INPUT, 500, 0.00015),
        line(OUTPUT, 40, 0.0001),
        line("Grounding with Google Search", 3, 1),
        line("Tax", 0, 0.25, cost_type="tax"),
        line("N1 Core", 9, 9, service={"description": "Compute Engine"}),
        line(INPUT, 7, 7, usage_start_time="2026-06-01 15:00:00 UTC"),
    )
    found = google.statement([path], APRIL, MAY)
    day = datetime.date(2026, 4, 2)
    assert found.used == (
        (day, "gemini-2.5-flash", "input", 1500),
        (day, "gemini-2.5-flash", "output", 40),
    )
    # a fee is a part of the bill, whatever it is called; a tax is in no price list
    assert found.charged == ((day, "", 1), (day, "gemini-2.5-flash", Decimal("0.00055")))
    assert [(one.what, one.lines, one.usd) for one in found.unrecognised] == [
        ("Grounding with Google Search", 1, 1),
        ("tax: Tax", 1, Decimal("0.25")),
    ]
    assert found.notes == ("1 lines of other services are left out",)


def test_a_day_is_one_of_california(tmp_path):
    starts = ("2026-04-02 06:59:59 UTC", "2026-04-02T07:00:00Z", "2026-04-02T23:30:00-07:00")
    rows = [line(INPUT, 1, 0, usage_start_time=start) for start in (*starts, "1775199600.0")]
    found = google.statement([lines(tmp_path, *rows)], APRIL, MAY)
    assert [(one.day.day, one.quantity) for one in found.used] == [(1, 1), (2, 2), (3, 1)]


def test_credits_are_told_apart(tmp_path):
    taken_off = [{"name": "FreeTrial", "amount": -0.75}, {"name": "Promotion", "amount": "-0.05"}]
    path = lines(tmp_path, line(INPUT, 1, 1, credits=taken_off))
    found = google.statement([path], APRIL, MAY)
    assert (found.credits_usd, found.charged[0].usd) == (Decimal("-0.8"), 1)


def test_another_currency_needs_a_rate(tmp_path):
    euros = line(INPUT, 1, 2, currency="EUR")
    path = lines(tmp_path, euros, line(OUTPUT, 1, 1))
    found = google.statement([path], APRIL, MAY)
    assert found.charged is None
    assert found.used[0].quantity == 1
    assert "EUR" in found.notes[0]
    converted = google.statement([path], APRIL, MAY, rates={"eur": Decimal("1.25")})
    assert converted.charged[0].usd == Decimal("3.5")
    told = lines(tmp_path, euros | {"currency_conversion_rate": 0.8}, name="b.jsonl")
    assert google.statement([told], APRIL, MAY).charged[0].usd == Decimal("2.5")


def test_a_table_of_the_console_is_read_below_what_stands_before_it(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(
        "Invoice number,,\nBilling account,,\n\n"
        "Service description,SKU description,Usage start date,Usage amount,Usage unit,"
        "Unrounded cost ($),Cost type\n"
        f'Gemini API,{INPUT},2026-04-02,"1,234",count,0.0004,Usage\n'
    )
    found = google.statement([path], APRIL, MAY)
    assert found.used == ((datetime.date(2026, 4, 2), "gemini-2.5-flash", "input", 1234),)
    assert found.notes == ("no currency is told: the amounts are taken as US dollars",)


def test_a_file_of_another_shape_is_an_error_that_says_where(tmp_path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text(json.dumps(line(INPUT, 1, 1)) + "\n" + '{"service": {"descr')
    with pytest.raises(StatementError, match=r"broken\.jsonl, line 2: it is no JSON"):
        google.statement([broken], APRIL, MAY)
    with pytest.raises(StatementError, match=r"line 1: usage\.amount is no number"):
        google.statement([lines(tmp_path, line(INPUT, "many", 1))], APRIL, MAY)
    with pytest.raises(StatementError, match="line 1: there is no cost"):
        google.statement([lines(tmp_path, line(INPUT, 1, None))], APRIL, MAY)
    with pytest.raises(StatementError, match="line 1: credits"):
        google.statement([lines(tmp_path, line(INPUT, 1, 1, credits=[5]))], APRIL, MAY)
    with pytest.raises(ConfigurationError, match="can't be read"):
        google.statement([tmp_path / "none.csv"], APRIL, MAY)
    empty = tmp_path / "empty.csv"
    empty.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigurationError, match="no line with the names of the columns"):
        google.statement([empty], APRIL, MAY)


def test_the_ledger_agrees_with_an_export_of_what_was_billed(books, tmp_path):
    client = genai.Client()
    for model in ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-flash"):
        client.models.generate_content(model=model, contents="hello")
    client.close()
    path = tmp_path / "export.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(
            [
                "service.description",
                "sku.description",
                "usage_start_time",
                "usage.amount",
                "usage.unit",
                "cost",
                "currency",
            ]
        )
        for bill in books.standin.ledger:
            began = datetime.datetime.fromtimestamp(bill.time, datetime.UTC).isoformat()
            name = bill.model.replace("-", " ")
            cost = bill.usd
            for kind, count in bill.usage.items():
                side = "output" if kind in ("output", "reasoning") else "input"
                cached = "cached " if kind.startswith("cache") else ""
                sku = f"Generate content {cached}{side} token count {name} text"
                out.writerow(["Gemini API", sku, began, count, "count", cost, "USD"])
                cost = 0
    found = books.reconcile("google", exports=[path])
    assert found.share == 0
    totals = {total.kind: total.theirs for total in found.totals()}
    assert totals["tokens"] == sum(books.standin.ledger.usage().values())
    assert totals["usd"] == books.standin.ledger.usd()
    path.write_text(path.read_text() + path.read_text().partition("\n")[2])
    assert books.reconcile("google", exports=[path]).exit_code() == 2


@pytest.mark.parametrize(
    "change",
    [
        {"usage_start_time": "2026-99-99"},
        {"usage_start_time": "0001-01-01T00:00:00Z"},
        {"usage": {"amount": "1.234,56", "unit": "count"}},
        {"cost": "0,25"},
    ],
)
def test_what_can_be_misread_is_an_error(tmp_path, change):
    with pytest.raises(StatementError, match="not the documented shape"):
        google.statement([lines(tmp_path, line(INPUT, 1, 1) | change)], APRIL, MAY)


def test_the_cost_before_it_was_rounded_counts(tmp_path):
    path = tmp_path / "table.csv"
    names = "Service description,SKU description,Usage start date,Usage amount,Usage unit"
    path.write_text(
        f"{names},Unrounded cost ($),Cost ($)\nGemini API,{INPUT},2026-04-02,9,count,0.0042,0.00\n"
    )
    assert google.statement([path], APRIL, MAY).charged[0].usd == Decimal("0.0042")
