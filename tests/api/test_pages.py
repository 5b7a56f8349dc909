"""What the pages about the API say is what there is."""

import re
from pathlib import Path

import httpx

from otel_llm_usage.api.endpoints import OPERATIONS
from otel_llm_usage.api.parameters import LINES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text()


def test_every_path_and_parameter_is_told():
    told = set(re.findall(r"[`/][\w/{}]+", PAGE))
    for path in OPERATIONS:
        path = path.replace(":path", "")
        assert path in PAGE or f"/{path.rpartition('/')[2]}" in told, path
    words = set(re.findall(r"\w+", PAGE))
    assert {one.name for one in LINES if not one.many} <= words


def test_the_python_runs(tmp_path, monkeypatch, served):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    place: dict[str, object] = {}
    exec(code, place)
    with served(place["app"]) as url:
        assert httpx.get(f"{url}/usage/analytics/tokens").status_code == 401
        given = {"authorization": "Bearer a-long-random-text"}
        assert httpx.get(f"{url}/usage/analytics/tokens", headers=given).status_code == 200


def test_the_problem_that_is_shown_is_one(http):
    said = http.get("/analytics/tokens?since=soon").text
    (shown,) = re.findall(r"```\n({.*?)…\"}\n```", PAGE, re.DOTALL)
    assert said.startswith(shown)


def test_the_library_for_charts_is_there_with_its_licence():
    folder = ROOT / "otel_llm_usage" / "api" / "static" / "uplot"
    assert "MIT License" in (folder / "LICENSE").read_text()
    (version,) = re.findall(r"uPlot ([\d.]+)", (folder / "ORIGIN.md").read_text())
    assert f"(v{version})" in (folder / "uPlot.iife.min.js").read_text()[:100]
