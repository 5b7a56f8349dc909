"""The command's own logic: which environments, what is in them, and what the page says of them."""

import re
import subprocess
import sys
import tomllib

import pytest

from . import __main__ as command
from . import page
from .matrix import (
    LOOSE,
    ROOT,
    VERSIONS,
    Environment,
    chosen,
    constraints,
    environments,
    name,
    requirements,
)

REPORT = """<testsuites><testsuite>
<testcase name="test_one_record_and_nothing_changes[chat-sync]"/>
<testcase name="test_one_record_and_nothing_changes[chat-async]"><failure message="no"/></testcase>
<testcase name="test_one_record_and_nothing_changes[post-sync]"><error message="no"/></testcase>
<testcase name="test_what_is_absent_is_told"><properties>
<property name="absent" value="parse: sync: openai:chat.parse"/>
<property name="absent" value="parse-async: openai:chat.parse"/>
<property name="other" value="x"/>
</properties></testcase>
</testsuite></testsuites>"""

ENVIRONMENT = Environment("openai", "1.40.8", beside=("httpx<0.28",))
RESULT = page.Result(
    ENVIRONMENT, "3.11.7", {"httpx": "0.27.2"}, 12, (), {"a": "openai:x", "b": "openai:x"}
)


def test_no_two_environments_have_one_name():
    names = [one.name for one in environments()]
    assert len(set(names)) == len(names)


def test_every_version_is_run_with_the_newest_of_the_rest():
    plain = {
        (one.sdk, one.version)
        for one in environments()
        if (one.python, one.loop, one.floor) == ("3.11", "asyncio", False)
    }
    assert plain == {(sdk, v) for sdk, versions in VERSIONS.items() for v in versions.split()}


def test_the_oldest_are_what_the_project_allows_and_the_newest_what_the_tests_run_with():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    for sdk, versions in VERSIONS.items():
        oldest, *_, newest = versions.split()
        (allowed,) = (
            one
            for extra in project["optional-dependencies"].values()
            for one in extra
            if name(one) == sdk
        )
        assert oldest.startswith(allowed.partition(">=")[2])
        assert f"{sdk}=={newest}" in pins


@pytest.mark.parametrize(
    ("only", "count"),
    [("openai-1.40.8", 2), ("anthropic-0.60.0,openai-1.55.3", 2), ("ai", 0), ("google-genai-1.0.0-", 2)],
)  # fmt: skip
def test_only_narrows_by_the_beginning_of_a_name(only, count):
    assert len(chosen(only)) == count


def test_without_a_word_all_are_chosen_and_with_floor_the_oldest_of_each():
    assert chosen() == list(environments())
    assert [(one.sdk, one.floor) for one in chosen(floor=True)] == [(sdk, True) for sdk in VERSIONS]
    assert [one.sdk for one in chosen("anthropic", floor=True)] == ["anthropic"]


def test_ours_are_pinned_and_at_the_floor_as_the_project_says():
    newest, floor = requirements(ENVIRONMENT), requirements(ENVIRONMENT._replace(floor=True))
    assert newest[0] == floor[0] == "openai[aiohttp,realtime]==1.40.8"
    assert any(one.startswith("wrapt==") for one in newest)
    assert "wrapt>=1.16" in floor
    assert any(one.startswith("pytest==") for one in newest)
    assert any(one.startswith("pytest==") for one in floor)


def test_what_a_row_says_itself_is_not_held_to_what_the_others_have():
    held = {name(one) for one in constraints(requirements(ENVIRONMENT))}
    assert held.isdisjoint(
        {"openai", "httpx", "wrapt", "pytest", "opentelemetry-semantic-conventions", *LOOSE}
    )
    assert {"pydantic", "anyio", "idna"} <= held
    # without a version of its own it is held
    assert "aiohttp" in {name(one) for one in constraints(["aiohttp"])}


@pytest.mark.parametrize(
    ("requirement", "package"),
    [("prometheus_client==0.26.0", "prometheus-client"), ("openai[aiohttp]==1", "openai"), ("httpx<0.28", "httpx")],
)  # fmt: skip
def test_a_requirement_names_a_package(requirement, package):
    assert name(requirement) == package


def test_a_report_tells_what_passed_failed_and_is_absent(tmp_path):
    (tmp_path / "report.xml").write_text(REPORT)
    passed, failed, absent = page.read(tmp_path / "report.xml")
    assert passed == 1
    assert [one.partition("[")[2] for one in failed] == ["chat-async]", "post-sync]"]
    assert absent == {"parse: sync": "openai:chat.parse", "parse-async": "openai:chat.parse"}


def test_the_tables_have_the_numbers_and_what_is_missing_where():
    later = RESULT._replace(environment=ENVIRONMENT._replace(version="2.0.0"), failed=("chat",))
    told = page.tables([RESULT, later], "2026-01-31")
    assert "| 1.40.8 | 3.11.7 | httpx 0.27.2 | 12 | 2 | 0 |" in told
    assert "| 2.0.0 | 3.11.7 | httpx 0.27.2 | 12 | 2 | 1 |" in told
    assert "| `openai:x` | 1.40.8, 2.0.0 |" in told
    assert "not in" not in page.tables([RESULT._replace(absent={})], "2026-01-31")


def test_only_the_generated_part_of_the_page_is_written():
    before = f"# Title\n\n{page.BEGIN}\nold\n{page.END}\n\nThe end.\n"
    after = page.written(before, "new")
    assert after == f"# Title\n\n{page.BEGIN}\nnew\n{page.END}\n\nThe end.\n"
    assert page.written(after, "new") == after
    with pytest.raises(AssertionError):
        page.written("# Title\n", "new")


def test_the_page_has_every_environment_and_no_failure():
    text = (ROOT / "docs" / "compatibility.md").read_text()
    shown = text.partition(page.BEGIN)[2].partition(page.END)[0]
    rows = {}
    for part in shown.split("\n## ")[1:]:
        sdk, _, table = part.partition("\n")
        rows[sdk] = re.findall(r"^\| ([\d.]+) \| ([\d.]+) \| .* \| (\d+) \| \d+ \| (\d+) \|$", table, re.M)  # fmt: skip
    for sdk in VERSIONS:
        run = [(one.version, one.python) for one in environments() if one.sdk == sdk]
        assert [(v, python.rpartition(".")[0]) for v, python, _, _ in rows[sdk]] == run
        assert all(int(passed) for _, _, passed, _ in rows[sdk])
        assert all(failed == "0" for _, _, _, failed in rows[sdk])


def test_an_environment_that_nobody_knows_is_an_error():
    done = subprocess.run(
        [sys.executable, "-m", "tests.compat", "--only", "nobody"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "nobody" in done.stderr


@pytest.mark.parametrize(
    ("file", "matters"),
    [
        ("otel_llm_usage/meter.py", True),
        ("otel_llm_usage/prices/overlay.toml", True),
        ("tests/conftest.py", True),
        ("tests/contract/kit.py", True),
        ("tests/contract/test_contract.py", True),
        ("tests/contract/openai_shapes.py", True),
        ("tests/contract/anthropic_shapes.py", False),
        ("tests/contract/test_order.py", False),
        ("README.md", False),
    ],
)
def test_a_result_is_good_until_something_that_it_depends_on_changes(
    tmp_path, monkeypatch, file, matters
):
    monkeypatch.setattr(command, "ROOT", tmp_path)
    for one in ("tests/conftest.py", file):
        (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / one).write_text("before")
    before = command.digest(ENVIRONMENT)
    assert command.digest(ENVIRONMENT) == before
    assert command.digest(ENVIRONMENT._replace(loop="uvloop")) != before
    (tmp_path / file).write_text("after")
    assert (command.digest(ENVIRONMENT) != before) is matters


def test_a_python_that_is_not_there_is_said(capsys):
    assert command.interpreter("9.9") is None
    assert command.made(Environment("openai", "0.0.0", "9.9")) is None
    assert "no Python 9.9" in capsys.readouterr().out
