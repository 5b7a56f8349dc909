"""Records to a file and back: no number, no text and no scope is lost."""

import csv
import io
import json
import sqlite3
from datetime import UTC, date, datetime
from decimal import Decimal

import openai
import pytest

from otel_llm_usage import agent, files, instrument, track
from otel_llm_usage.errors import ConfigurationError
from otel_llm_usage.exchange import FORMS, export_records, import_usage
from otel_llm_usage.ledger import Ledger
from otel_llm_usage.ledger.bulk import keep, read
from otel_llm_usage.records import Cost, PricedLine, Record, Request, Usage

ODD = Record(
    id="0" * 32,
    time=1_790_000_000.123456,
    request=Request(
        "openai", "openai", "openai-api", "chat", "chat.completions", "gpt-4.1", stream=True
    ),
    status="broken",
    usage=Usage(input=0, output=2**40, cache_read=None),
    usage_source="estimated",
    cost=Cost(
        "partial",
        None,
        (PricedLine("output", 2**40, 10**15 + 1, "card"),),
        reasons=("no_rate:audio_seconds",),
        card="card",
    ),
    units={"audio_seconds": Decimal("95.25"), "web_search": 3},
    agent='a "quoted", \n agent',
    labels={"call_type": "", "user": "ü😀", "x.y": "dotted", "x": "plain"},
    finish_reasons=("stop",),
    estimated_kinds=("output",),
    scopes=("outer", "inner, with a comma"),
    duration=1.5,
)


def content(ledger):
    return [(row, sorted(scopes)) for row, scopes in read(ledger)]


@pytest.mark.parametrize("form", FORMS)
def test_what_was_exported_comes_back_as_it_was(ledger, tmp_path, llm_standin, form):
    runtime = instrument(sinks=[ledger], otlp=False)
    with openai.OpenAI() as client, track("analysis", symbol="X"), agent("planner"):
        for model in ("gpt-4.1-mini", "gpt-5", "nobody-knows-it"):
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "hello"}]
            )
    runtime.flush()
    ledger(ODD if form != "csv" else ODD._replace(labels={**ODD.labels, "call_type": "c"}))
    before = content(ledger)
    assert len(before) == 4
    path = tmp_path / f"out.{form}"
    assert export_records(ledger, path) == 4
    other = Ledger(tmp_path / "other.db", service="another")
    done = import_usage(other, path)
    assert (done.rows, done.new, done.rejected, done.problems) == (4, 4, 0, ())
    assert content(other) == before
    again = import_usage(other, path)
    assert (again.rows, again.new) == (4, 0)
    assert content(other) == before
    assert import_usage(ledger, path).new == 0
    other.close()


def test_an_empty_text_in_a_csv_is_unknown(tmp_path):
    ledger = Ledger(tmp_path / "usage.db")
    ledger(ODD)
    export_records(ledger, tmp_path / "out.csv")
    other = Ledger(tmp_path / "other.db")
    import_usage(other, tmp_path / "out.csv")
    (record,) = other.records()
    assert "call_type" not in record.labels
    other.close()
    ledger.close()


def test_only_the_days_that_were_asked_for(tmp_path):
    ledger = Ledger(tmp_path / "usage.db")
    for day in (1, 2, 3):
        at = datetime(2026, 3, day, 23, 59, 59, tzinfo=UTC).timestamp()
        ledger(ODD._replace(id=str(day), time=at))
    out = io.BytesIO()
    count = export_records(
        ledger, out, since=date(2026, 3, 2), until=date(2026, 3, 3), form="jsonl"
    )
    assert (count, json.loads(out.getvalue())["id"]) == (1, "2")
    ledger.close()


def test_a_file_that_is_there_is_not_overwritten_by_chance(tmp_path):
    ledger = Ledger(tmp_path / "usage.db")
    ledger(ODD)
    path = tmp_path / "out.jsonl"
    path.write_text("precious")
    with pytest.raises(ConfigurationError, match="is there already"):
        export_records(ledger, path)
    assert path.read_text() == "precious"
    export_records(ledger, path, overwrite=True)
    assert json.loads(path.read_text())["status"] == "broken"
    with pytest.raises(ConfigurationError, match="there is no folder"):
        export_records(ledger, tmp_path / "none" / "out.jsonl")
    with pytest.raises(ConfigurationError, match="jsonl, csv, parquet"):
        export_records(ledger, tmp_path / "out.xlsx")
    assert {one.name for one in tmp_path.iterdir() if "out" in one.name} == {"out.jsonl"}
    ledger.close()


def test_a_file_that_comes_meanwhile_stays(tmp_path):
    path = tmp_path / "out"

    def write():
        with files.writing(path) as file:
            file.write(b"mine")
            path.write_text("theirs")

    with pytest.raises(ConfigurationError, match="is there already"):
        write()
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_in_the_middle_leaves_no_file(tmp_path):
    def write():
        with files.writing(tmp_path / "out") as file:
            file.write(b"half of it")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": None}, "id is missing"),
        ({"time": "yesterday"}, "time is not what such a column holds"),
        ({"input": 1.5}, "input is not what such a column holds"),
        ({"stream": 1}, "stream is not what such a column holds"),
        ({"agent": 5}, "agent is not what such a column holds"),
        ({"labels": "{"}, "labels is no JSON"),
        ({"scopes": {"a": 1}}, "scopes is no list of texts"),
        ({"carbon": 7}, "there is no column 'carbon' here: a newer version has written it"),
        ({"input": 2**54}, "input is not what such a column holds"),
        ({"known_pico": 2**63}, "known_pico is not what such a column holds"),
        # what the ledger would take, and then fail to read
        ({"time": 2**63 - 1}, "time is not what such a column holds"),
        ({"time": -1}, "time is not what such a column holds"),
        ({"input": -5}, "input is not what such a column holds"),
        ({"known_pico": -5}, "known_pico is not what such a column holds"),
        ({"cost_status": "cheap"}, "cost_status is not what such a column holds"),
        ({"units": {"x": "many"}}, "units is not what such a column holds"),
        ({"units": {"x": "NaN"}}, "units is not what such a column holds"),
        ({"units": {"x": [1]}}, "units is not what such a column holds"),
        ({"units": {"x": 1.5}}, "units is not what such a column holds"),
        ({"units": {"x": -1}}, "units is not what such a column holds"),
        ({"labels": [1]}, "labels is not what such a column holds"),
        ({"labels": {"a": {"b": 1}}}, "labels is not what such a column holds"),
        ({"cost_lines": {"input": "x"}}, "cost_lines is not what such a column holds"),
        ({"finish_reasons": 5}, "finish_reasons is not what such a column holds"),
        ({"notes": {"a": 1}}, "notes is not what such a column holds"),
    ],
)
def test_a_row_that_was_changed_by_hand_is_said_and_the_others_are_taken(tmp_path, change, reason):
    ledger = Ledger(tmp_path / "usage.db")
    ledger(ODD)
    out = io.BytesIO()
    export_records(ledger, out, form="jsonl")
    told = json.loads(out.getvalue())
    path = tmp_path / "out.jsonl"
    rows = [told | {"id": "a"}, told | {"id": "b"} | change, told | {"id": "c"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    done = import_usage(ledger, path)
    assert (done.rows, done.new, done.problems) == (3, 2, ((2, reason),))
    ledger.close()


def test_what_the_database_does_not_take_is_said_and_the_rest_is_taken(ledger, tmp_path):
    ledger(ODD)
    out = io.BytesIO()
    export_records(ledger, out, form="jsonl")
    told = json.loads(out.getvalue())
    rows = [told | {"id": f"{number:032}", "agent": "nul \0 here"} for number in range(50)]
    rows[7]["server_port"] = 10**12 if "postgres" in repr(ledger.database) else None
    path = tmp_path / "out.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    done = import_usage(ledger, path)
    if "postgres" in repr(ledger.database):
        assert done.problems == ((8, "the database does not take it"),)
    assert len(content(ledger)) == 50 - done.rejected


def test_how_many_are_new_is_told(ledger):
    ledger(ODD)
    kept = list(read(ledger))
    row = kept[0][0]
    fresh = tuple("1" * 32 if value == ODD.id else value for value in row)
    texts = tuple(json.dumps(v) if isinstance(v, dict | list) else v for v in fresh)
    assert keep(ledger, [(texts, ())]) == 1
    assert keep(ledger, [(texts, ())]) == 0


def test_a_parquet_file_has_types(tmp_path):
    import pyarrow.parquet

    ledger = Ledger(tmp_path / "usage.db")
    ledger(ODD)
    export_records(ledger, tmp_path / "out.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert (str(table.schema.field("input").type), table["output"][0].as_py()) == ("int64", 2**40)
    (tmp_path / "half.parquet").write_bytes((tmp_path / "out.parquet").read_bytes()[:500])
    with pytest.raises(ConfigurationError, match="no whole Parquet file"):
        import_usage(ledger, tmp_path / "half.parquet")
    ledger.close()


def test_an_export_is_one_state_of_the_ledger(tmp_path):
    """Whoever writes meanwhile is neither held up nor half in it."""
    ledger = Ledger(tmp_path / "usage.db")
    for number in range(2500):
        ledger(ODD._replace(id=f"{number:032}", scopes=(), usage=Usage(input=1)))
    found = read(ledger)
    next(found)
    with sqlite3.connect(tmp_path / "usage.db") as other:
        other.execute("DELETE FROM llm_usage WHERE id >= '00000000000000000000000000002000'")
    other.close()
    assert sum(1 for _ in found) == 2499
    ledger.close()


@pytest.mark.parametrize(
    "text", ["=1+1", "+49 30", "-1", "@sum", "\tx", "'=1", "''x", "'x", "a=b", "a\rb", "\r\n"]
)
def test_a_csv_runs_nothing_in_a_spreadsheet_and_comes_back_as_it_was(tmp_path, text):
    ledger = Ledger(tmp_path / "usage.db")
    ledger(ODD._replace(agent=text, labels={"user": text, "call_type": "c", "more": text}))
    before = content(ledger)
    export_records(ledger, tmp_path / "out.csv")
    (told,) = csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(), newline=""))
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in told.values())
    other = Ledger(tmp_path / "other.db")
    import_usage(other, tmp_path / "out.csv")
    assert content(other) == before
    other.close()
    ledger.close()


def test_where_there_are_no_links_a_file_is_there_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("otel_llm_usage.files.os.link", refuse)
    path = tmp_path / "out"

    def write(content, disturb=lambda: None):
        with files.writing(path) as file:
            file.write(content)
            disturb()

    write(b"mine")
    assert path.read_bytes() == b"mine"
    path.unlink()
    with pytest.raises(ConfigurationError, match="is there already"):
        write(b"mine", lambda: path.write_text("theirs"))
    assert (path.read_text(), list(tmp_path.iterdir())) == ("theirs", [path])


def test_a_file_that_is_written_anew_stays_as_private_as_it_was(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    path.chmod(0o600)
    files.write(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)
