"""The page of the reports shows what the commands print over the ledger of two examples."""

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from otel_llm_usage.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "reports.md"
TIMES = re.compile(r"\d\d-\d\d \d\d:\d\d:\d\d|\d+\.\d\d s|seconds of a call.*")


def test_the_page_shows_what_is_printed(run_example, tmp_path, monkeypatch):
    run_example("stock_analysis")
    run_example("research_workflow")
    monkeypatch.setenv("OTEL_LLM_USAGE_LEDGER", str(tmp_path / "usage.db"))
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    shown = [part for block in blocks for part in block.split("$ otel-llm-usage ") if part]
    assert len(shown) == 9
    for part in shown:
        command, _, output = part.partition("\n")
        done = CliRunner().invoke(main, shlex.split(command))
        printed = [line.rstrip() for line in done.output.splitlines() if line.strip()]
        assert TIMES.sub("", "\n".join(printed)) == TIMES.sub("", output.rstrip()), command
