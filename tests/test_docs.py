"""What is documented is what there is."""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from otel_llm_usage.budgets.periods import PERIODS
from otel_llm_usage.runtime import current
from otel_llm_usage.settings import Settings, load, variables
from otel_llm_usage.telemetry.definitions import DEFINITIONS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_setting_and_its_variable_are_documented():
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.MULTILINE))
    assert rows == variables()
    assert "| `budgets` | only in code or in the file |" in page
    assert {*rows, "budgets"} == {one.name for one in fields(Settings)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_python_of_the_readme_runs(llm_standin, python):
    readme = (ROOT / "README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert len(examples) >= 2
    for example in examples:
        python(example.replace("metrics_port=9464", "metrics_port=0"), **llm_standin.environment())
    assert [bill.endpoint for bill in llm_standin.ledger] == ["chat.completions"] * 2


def test_the_page_of_what_a_scope_tells_runs_and_names_every_field(
    llm_standin, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "telling.md").read_text()
    place: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(example.replace("instrument()", "instrument(otlp=False)"), place)
    place["client"].close()
    said = json.loads((tmp_path / "usage.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {
        "usage.json",
        "usage.png",
        "by-agent.svg",
        "when.pdf",
    }
    assert "analysis-123" in capsys.readouterr().out
    named = set(re.findall(r"`(\w+)`", page.partition("## Export")[2]))
    for part in (
        said,
        said["total"],
        said["timing"],
        said["timing"]["all"],
        said["call_details"][0],
    ):
        assert part.keys() <= named


def test_the_budgets_of_the_page_are_the_same_in_code_and_in_the_file(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "budgets.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (file,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "llm.toml").write_text(file)
    exec(code.replace("9464", "0"), {})
    assert current().settings.budgets == load({}, {}, tmp_path / "llm.toml").budgets
    periods = re.search(r"\| `period` \| `month` \| ([^|]*) of the calendar", page)[1]
    assert tuple(re.findall(r"`(\w+)`", periods)) == PERIODS


def test_the_page_of_the_metrics_is_what_the_code_defines():
    page = (ROOT / "docs" / "metrics.md").read_text()
    rows = [
        f"| `{one.exposed()}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} "
        f"| {one.documentation} |"
        for one in DEFINITIONS
    ]
    table = [line for line in page.splitlines() if line.startswith("| `llm_")]
    assert sorted(table) == sorted(rows)


def test_the_shell_of_the_standin_page_runs(tmp_path):
    page = (ROOT / "docs" / "standin.md").read_text()
    (block,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    (tmp_path / "app.py").write_text(
        "import openai\n"
        "messages = [{'role': 'user', 'content': 'hello'}]\n"
        "openai.OpenAI().chat.completions.create(model='gpt-4.1', messages=messages)\n"
    )
    (tmp_path / "standin.env").write_text("exit 7  # of an earlier time\n")
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-ec", block.replace("8129", "0") + "wait"],
        cwd=tmp_path,
        env=os.environ | {"PATH": paths, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# billed: 1 answers" in (tmp_path / "standin.env").read_text()
