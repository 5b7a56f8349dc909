"""Usage that others have written down, into the ledger."""

import csv
import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from otel_llm_usage import price
from otel_llm_usage.errors import ConfigurationError
from otel_llm_usage.exchange import import_usage
from otel_llm_usage.ledger import Ledger

AT = "2026-03-01T12:00:00Z"


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path / "usage.db")
    yield made
    made.close()


@pytest.fixture
def took(ledger, tmp_path):
    """Imports rows, and gives the records of the ledger beside what was said of the file."""

    def take(rows, **more):
        path = tmp_path / "in.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        done = import_usage(ledger, path, **more)
        return done, list(ledger.records())

    return take


def test_usual_names_are_known_and_the_price_is_that_of_the_time(took):
    row = {
        "timestamp": AT,
        "provider": "openai",
        "model": "gpt-4.1",
        "prompt_tokens": 1000,
        "completion_tokens": 300,
        "cached_tokens": 400,
        "user": "u1",
        "session": "s1",
        "feature": "search",
        "call_type": "rank",
        "request_id": "r1",
        "duration_ms": 1500,
    }
    done, (record,) = took([row])
    assert (done.rows, done.new, done.rejected, done.ignored) == (1, 1, 0, ())
    assert record.usage.nonzero() == {"input": 600, "cache_read": 400, "output": 300}
    assert record.time == datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 300,
        "prompt_tokens_details": {"cached_tokens": 400},
    }
    expected = price(usage, provider="openai", model="gpt-4.1", at="2026-03-01")
    assert record.cost_usd == expected.total == Decimal("0.0038")
    assert record.agent == "search"
    assert record.labels == {"user": "u1", "session": "s1", "call_type": "rank"}
    assert (record.response_id, record.duration, record.request.platform) == (
        "r1",
        1.5,
        "openai-api",
    )


@pytest.mark.parametrize(
    ("row", "more", "usage"),
    [
        # OpenAI's input has the cache in it, Anthropic's has not
        ({"model": "gpt-4.1", "input_tokens": 10, "output_tokens": 5, "cached_tokens": 4}, {},
         {"input": 6, "cache_read": 4, "output": 5}),
        ({"model": "claude-haiku-4-5", "input_tokens": 10, "output_tokens": 5,
          "cache_read_input_tokens": 40, "cache_creation_input_tokens": 7}, {},
         {"input": 10, "cache_read": 40, "cache_write": 7, "output": 5}),
        ({"model": "claude-haiku-4-5", "prompt_tokens": 57, "completion_tokens": 5,
          "cache_read_input_tokens": 40, "cache_creation_input_tokens": 7}, {},
         {"input": 10, "cache_read": 40, "cache_write": 7, "output": 5}),
        ({"model": "gpt-5", "prompt_tokens": 10, "completion_tokens": 50, "reasoning_tokens": 30},
         {}, {"input": 10, "output": 20, "reasoning": 30}),
        ({"model": "gpt-5", "prompt_tokens": 10, "completion_tokens": 50, "reasoning_tokens": 30},
         {"counts": "disjoint"}, {"input": 10, "output": 50, "reasoning": 30}),
        # Gemini's
        ({"modelVersion": "gemini-2.5-flash", "usageMetadata": {
            "promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 5,
            "thoughtsTokenCount": 7, "totalTokenCount": 22}},
         {"columns": {"modelVersion": "model"}},
         {"input": 6, "cache_read": 4, "output": 5, "reasoning": 7}),
        # OpenAI's own shape, as it lies
        ({"model": "gpt-5", "usage": {
            "prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 8}}}, {},
         {"input": 6, "cache_read": 4, "output": 1, "reasoning": 8}),
        # kinds of our own
        ({"model": "claude-haiku-4-5", "input": 1, "cache_write_1h": 2, "output_audio": 3}, {},
         {"input": 1, "cache_write_1h": 2, "output_audio": 3}),
        ({"model": "m", "provider": "groq", "input_tokens": "1,024", "output_tokens": "7.0"}, {},
         {"input": 1024, "output": 7}),
    ],
)  # fmt: skip
def test_totals_and_what_is_counted_apart(took, row, more, usage):
    done, (record,) = took([{"created_at": AT} | row], **more)
    assert done.problems == ()
    assert record.usage.nonzero() == usage


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4.1-mini", "openai"),
        ("claude-haiku-4-5", "anthropic"),
        ("gemini-2.5-flash", "gcp.gemini"),
        ("nobody-knows-it", "unknown"),
    ],
)
def test_the_model_tells_the_provider_where_nobody_does(took, model, provider):
    done, (record,) = took([{"time": AT, "model": model, "input_tokens": 1, "output_tokens": 1}])
    assert record.provider == provider
    assert done.unpriced == int(provider == "unknown")
    assert (record.cost_usd is None) == (provider == "unknown")


@pytest.mark.parametrize(
    ("said", "zone", "expected"),
    [
        ("2026-03-01T12:00:00+02:00", UTC, "2026-03-01T10:00:00"),
        ("2026-03-01 12:00:00", timezone(timedelta(hours=1)), "2026-03-01T11:00:00"),
        ("2026-03-01 12:00:00 UTC", UTC, "2026-03-01T12:00:00"),
        ("2026-03-01", UTC, "2026-03-01T00:00:00"),
        (1772366400, UTC, "2026-03-01T12:00:00"),
        ("1772366400123", UTC, "2026-03-01T12:00:00.123000"),
        (1772366400.5, UTC, "2026-03-01T12:00:00.500000"),
        (1772366400000000, UTC, "2026-03-01T12:00:00"),
    ],
)
def test_times_in_many_spellings(took, said, zone, expected):
    done, (record,) = took([{"ts": said, "model": "gpt-5", "input_tokens": 1}], zone=zone)
    moment = datetime.fromtimestamp(record.time, UTC).replace(tzinfo=None)
    assert (done.rejected, moment) == (0, datetime.fromisoformat(expected))


def test_a_cost_that_is_given_is_kept_exactly_and_marked(took):
    row = {"time": AT, "model": "gpt-4.1", "input_tokens": 9, "cost": "$1.234567890123"}
    done, records = took([row, row | {"model": "nobody-knows-it", "input_tokens": None}])
    assert (done.new, done.unpriced) == (2, 0)
    for record in records:
        assert record.cost_usd == Decimal("1.234567890123")
        assert record.notes == ("imported", "cost_given")


@pytest.mark.parametrize(
    ("said", "status"),
    [("ok", "ok"), (200, "ok"), (True, "ok"), (500, "error"), ("429", "error"), (False, "error")],
)
def test_a_call_that_failed_is_one(took, said, status):
    _, (record,) = took([{"time": AT, "model": "gpt-4.1", "input_tokens": 9, "status": said}])
    assert record.status == status


def test_a_file_may_be_imported_again_and_what_is_in_it_twice_is_there_twice(ledger, tmp_path):
    row = json.dumps({"time": AT, "model": "gpt-5", "input_tokens": 1})
    other = json.dumps({"time": AT, "model": "gpt-5", "input_tokens": 2})
    path = tmp_path / "a.jsonl"
    path.write_text(f"{row}\n{row}\n{other}\n")
    assert import_usage(ledger, path).new == 3
    assert import_usage(ledger, path).new == 0
    path.write_text(f"{other}\n{row}\n{row}\n{row}\n")  # grown, and in another order
    assert import_usage(ledger, path).new == 1
    assert len(list(ledger.records())) == 4


BAD = [
    ("{", "it is no JSON"),
    ("[1]", "it is no JSON object"),
    ('{"time": "2026-03-01", "input_tokens": 1}', "there is no model"),
    ('{"model": "gpt-5", "input_tokens": 1}', "there is no time"),
    (
        '{"time": "soon", "model": "gpt-5", "input_tokens": 1}',
        "time is no time: ISO 8601 and seconds are known",
    ),
    (
        '{"time": 7, "model": "gpt-5", "input_tokens": 1}',
        "time is no time at which models were called",
    ),
    (
        '{"time": "2026-03-01", "model": "gpt-5", "input_tokens": "secret"}',
        "input_tokens is no number",
    ),
    (
        '{"time": "2026-03-01", "model": "gpt-5", "input_tokens": -1}',
        "input_tokens is no number of this kind",
    ),
    (
        '{"time": "2026-03-01", "model": "gpt-5", "input_tokens": 1.5}',
        "input_tokens is no whole number",
    ),
    (
        '{"time": "2026-03-01", "model": "gpt-5", "cost": -1}',
        "cost is no number of this kind",
    ),
    (
        '{"time": "2026-03-01", "model": "gpt-5", "total_tokens": 5}',
        "there are neither tokens nor a cost",
    ),
    (
        '{"time": "2026-03-01", "model": "gpt-5", "prompt_tokens": 1, "cached_tokens": 2}',
        "its parts are more than the whole input: if they are counted apart, say counts='disjoint'",
    ),
]


@pytest.mark.parametrize(("line", "reason"), BAD, ids=range(len(BAD)))
def test_a_bad_row_is_said_with_its_line_and_the_others_are_taken(ledger, tmp_path, line, reason):
    good = json.dumps({"time": AT, "model": "gpt-5", "input_tokens": 1})
    path = tmp_path / "a.jsonl"
    path.write_text(f"{good}\n\n{line}\n{good}\n")
    done = import_usage(ledger, path)
    assert (done.rows, done.new, done.problems) == (3, 2, ((3, reason),))
    assert "secret" not in str(done.problems)


def test_strictly_nothing_is_taken_if_one_row_is_bad(ledger, tmp_path):
    good = json.dumps({"time": AT, "model": "gpt-5", "input_tokens": 1})
    path = tmp_path / "a.jsonl"
    path.write_text(f"{good}\n{{\n")
    with pytest.raises(ConfigurationError, match=r"a\.jsonl, row 2: it is no JSON"):
        import_usage(ledger, path, strict=True)
    assert not list(ledger.records())
    path.write_text(f"{good}\n")
    assert import_usage(ledger, path, strict=True).new == 1


def test_a_table_with_everything_that_a_csv_may_have(ledger, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"\xef\xbb\xbfDate,Model,Prompt tokens,Completion tokens,Remark,Project\r\n"
        b'2026-03-01,gpt-5,10,5,"a, b\r\nc",one\r\n'
        b"2026-03-01,gpt-5,10,5\r\n"
        b"2026-03-01,gpt-5,10,5,\xff,two\r\n"
        b"\r\n"
        b"2026-03-02,gpt-5,,7,,\r\n"
    )
    done = import_usage(ledger, path, columns={"Project": "label.project"})
    assert (done.rows, done.new, done.ignored) == (4, 2, ("Remark",))
    assert done.problems == (
        (4, "it has 4 cells, and there are 6 columns"),
        (5, "it is not UTF-8"),
    )
    first, second = ledger.records()
    assert (first.labels, second.labels) == ({"project": "one"}, {})
    assert second.usage.nonzero() == {"output": 7}


def test_a_column_becomes_what_the_user_says(took):
    row = {"when": AT, "llm": "gpt-5", "in": 3, "out": 4, "model": "of another kind"}
    columns = {"when": "time", "llm": "model", "in": "input", "out": "output"}
    done, (record,) = took([row], columns=columns)
    assert (record.model, record.usage.nonzero()) == ("gpt-5", {"input": 3, "output": 4})
    assert done.ignored == ("model",)
    with pytest.raises(ConfigurationError, match=r"'llm' can't become 'engine'.*label\.NAME"):
        took([row], columns={"llm": "engine"})
    with pytest.raises(ConfigurationError, match="auto, totals, disjoint"):
        took([row], counts="guess")


def test_a_total_that_is_another_one_is_marked(took):
    row = {"time": AT, "model": "gpt-5", "prompt_tokens": 5, "completion_tokens": 3}
    _, (record,) = took([row | {"total_tokens": 10}])
    assert "total_mismatch:-2" in record.notes


def test_a_list_of_json_is_read_item_by_item(ledger, tmp_path):
    rows = [
        {"time": AT, "model": "gpt-5", "input_tokens": number, "text": '[{,]}"\\ü' * 40}
        for number in range(1, 1000)
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, indent=1))
    assert import_usage(ledger, path).new == 999
    assert sum(record.usage.input for record in ledger.records()) == sum(range(1000))
    path.write_text(json.dumps(rows)[:-500])
    with pytest.raises(ConfigurationError, match="the list is no JSON after its item"):
        import_usage(ledger, path)
    path.write_text("[]")
    assert import_usage(ledger, path).rows == 0
    with pytest.raises(ConfigurationError, match="can't be read"):
        import_usage(ledger, tmp_path / "none.json")


def test_many_rows_need_no_memory_and_tell_how_far_they_are(ledger, tmp_path):
    def write(count):
        text = io.StringIO()
        lines = csv.writer(text)
        lines.writerow(["time", "model", "input_tokens", "output_tokens"])
        lines.writerows([AT, "gpt-5", number, number % 7] for number in range(count))
        path = tmp_path / f"{count}.csv"
        path.write_text(text.getvalue())
        return path

    small, large = write(3_000), write(12_000)
    seen = []
    import_usage(ledger, small)
    peaks = []
    for path in (small, large):
        tracemalloc.start()
        import_usage(ledger, path, progress=seen.append)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert seen == [2000, 3000, 2000, 4000, 6000, 8000, 10_000, 12_000]
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize("said", ["0,25", "1.234,56", "1,23", "1_000", "12,34,567", "1,2345"])
def test_a_comma_that_may_be_a_decimal_point_is_no_number(took, said):
    done, records = took([{"time": AT, "model": "gpt-5", "input_tokens": 1, "cost": said}])
    assert (done.problems, records) == (((1, "cost is no number"),), [])


@pytest.mark.parametrize("number", ["1e9999999", "1e999999999999", "-1e999999999999", "9" * 4000])
@pytest.mark.parametrize("field", ["time", "cost", "input_tokens", "duration_ms"])
def test_a_number_beyond_all_sense_fails_its_row_alone(ledger, tmp_path, field, number):
    good = {"time": AT, "model": "gpt-5", "input_tokens": 1}
    bad = json.dumps(good | {field: "here"}).replace('"here"', number)
    path = tmp_path / "a.jsonl"
    path.write_text(f"{bad}\n{json.dumps(good)}\n")
    done = import_usage(ledger, path)
    assert (done.rows, done.new, done.rejected) == (2, 1, 1)


def test_what_stands_behind_a_list_is_not_lost_in_silence(ledger, tmp_path):
    row = json.dumps({"time": AT, "model": "gpt-5", "input_tokens": 1})
    path = tmp_path / "a.json"
    for behind in (f"[{row}]", "oops", " " * 70_000 + "oops"):
        path.write_text(f"[{row}]{behind}")
        with pytest.raises(ConfigurationError, match="behind the list, after its item 1"):
            import_usage(ledger, path)
    path.write_text(f"[{row}] \n\n")
    assert import_usage(ledger, path).rows == 1


def test_a_quote_that_is_never_closed_does_not_swallow_rows(ledger, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('time,model,cost,x\n2026-03-01,gpt-5,1,"a\n' + "2026-03-01,gpt-5,1,b\n" * 5)
    done = import_usage(ledger, path)
    assert (done.new, done.problems[0].reason) == (0, "it is no CSV: unexpected end of data")


def test_two_columns_of_one_name_are_not_chosen_between(ledger, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time,model,cost,cost,,\n2026-03-01,gpt-5,1,2,,\n")
    with pytest.raises(ConfigurationError, match="two columns are called 'cost'"):
        import_usage(ledger, path)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_table_may_be_separated_by_something_else(ledger, tmp_path, separator):
    lines = ["time,model,cost,a", "2026-03-01,gpt-5,0.25,x", "2026-03-01,gpt-5,!,x"]
    text = "\n".join(lines).replace(",", separator).replace("!", "0,25")
    path = tmp_path / "a.csv"
    path.write_text(text)
    done = import_usage(ledger, path, columns={"a": "label.a"})
    assert done.problems == ((3, "cost is no number"),)
    (record,) = ledger.records()
    assert (record.cost_usd, record.labels) == (Decimal("0.25"), {"a": "x"})
