"""What the page about estimates says."""

import re
from pathlib import Path

from otel_llm_usage import Estimate
from otel_llm_usage.runtime import current

PAGE = (Path(__file__).parents[2] / "docs" / "estimating.md").read_text()


def test_the_python_of_the_page_runs_and_its_figures_are_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    place: dict[str, object] = {}
    exec(first, place)
    found = place["found"]
    says = dict(re.findall(r"^(found\.[\w., ]+)  # (.*)$", first, re.MULTILINE))
    tokens = (found.input_tokens, found.input_tokens_low, found.input_tokens_high)
    assert says["found.input_tokens, found.input_tokens_low, found.input_tokens_high"] == str(
        tokens
    ).strip("()")
    assert says["found.input_usd"] == repr(found.input_usd)
    assert says["found.max_usd"].startswith(repr(found.max_usd) + ":")
    assert says["found.method"] == repr(found.method)
    exec(second.replace("instrument(estimate", "instrument(otlp=False, estimate"), place)
    assert current().settings.estimate_learning == "token-ratios.json"


def test_every_field_is_on_the_page():
    table = PAGE.partition("## What it says")[2].partition("\n\nAn unknown")[0]
    assert set(re.findall(r"`(\w+)`", table)) >= set(Estimate._fields)
