"""The page of docs/ runs, and names what there is."""

import re
from pathlib import Path

from otel_llm_usage.exchange.focus import COLUMNS, focus_rows
from otel_llm_usage.exchange.foreign import FIELDS
from otel_llm_usage.records import KINDS, Cost, Record, Request, Usage

PAGE = (Path(__file__).parents[2] / "docs" / "exchange.md").read_text()


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere.csv").write_text(
        "Date,Model,Prompt tokens,Completion tokens,Project\n2026-03-01,gpt-5,10,5,one\n"
    )
    place: dict[str, object] = {}
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(example, place)
    place["ledger"].close()
    assert capsys.readouterr().out == "1 1 0 () ()\n"
    assert len((tmp_path / "focus.csv").read_text().splitlines()) == 3


def test_the_page_names_every_column_that_is_known():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    told = {
        name: tuple(re.findall(r"`(\w+)`", row.partition(";")[0])) for name, row in rows.items()
    }
    assert told == {
        name: known for name, known in FIELDS.items() if known != (name,) or name not in KINDS
    }


def test_the_page_says_which_columns_are_always_null():
    usage = Usage(input=1)
    request = Request("p", "openai", "openai-api", "chat", "c", "m", region="eu")
    record = Record("i", 0.0, request, "ok", usage, "reported", Cost("free", 0))
    (row,) = focus_rows([record])
    null = {column.name for column, value in zip(COLUMNS, row, strict=True) if value is None}
    said = re.search(r"Always null: (.*?)\. `RegionId`", PAGE, re.DOTALL)[1]
    assert set(re.findall(r"`(\w+)`", said)) == null
