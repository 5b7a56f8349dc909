"""The page of docs/ runs, and names what there is."""

import re
from pathlib import Path

from otel_llm_usage.reconciling import Reconciliation
from otel_llm_usage.standin import billing

PAGE = (Path(__file__).parents[2] / "docs" / "reconciling.md").read_text()


def test_the_code_of_the_page_runs(books, tmp_path, monkeypatch, capsys):
    books.chat()
    books.runtime.flush()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", billing.ADMIN_KEY)
    place: dict[str, object] = {}
    asked = f'admin_key("openai"), base_url="{books.standin.url}/v1"'
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        code = example.replace('admin_key("openai")', asked)
        exec(code.replace("until=today,", "until=today + timedelta(days=1),"), place)
    place["found"].to_dict()
    assert "too young" in capsys.readouterr().out
    assert "llm_reconcile_residual_ratio" in (tmp_path / "llm-openai.prom").read_text()


def test_the_page_names_every_field():
    told = set(re.findall(r"`(\w+)(?:\(\w*\))?`", PAGE.partition("## What it says")[2]))
    of_itself = {"provider", "since", "until", "settled_until"}
    assert set(Reconciliation._fields) - of_itself <= told
