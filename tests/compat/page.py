"""What the runs gave, as the tables of docs/compatibility.md."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from .matrix import Environment

BEGIN, END = "<!-- begin: written by `make compat` -->", "<!-- end -->"
ROW = "test_one_record_and_nothing_changes"

Absent = Mapping[str, str]
"""The calls that a version has no API for, each with what is missing."""


class Result(NamedTuple):
    """What one environment gave."""

    environment: Environment
    python: str
    versions: Mapping[str, str]
    """Of the packages that the table names."""
    passed: int
    failed: tuple[str, ...]
    absent: Absent


def read(report: Path) -> tuple[int, tuple[str, ...], Absent]:
    """How many calls passed, what failed, what is absent: from pytest's XML report."""
    passed, failed, absent = 0, [], {}
    for case in ElementTree.parse(report).iter("testcase"):
        call = case.get("name", "")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(call)
        elif call.startswith(ROW):
            passed += 1
        for told in case.iter("property"):
            if told.get("name") == "absent":
                row, _, missing = told.get("value", "").rpartition(": ")
                absent[row] = missing
    return passed, tuple(failed), absent


def tables(results: Iterable[Result], day: str) -> str:
    """The generated part of the page."""
    results = list(results)
    parts = [f"Run on {day}."]
    for sdk in dict.fromkeys(one.environment.sdk for one in results):
        own = [one for one in results if one.environment.sdk == sdk]
        parts += [f"## {sdk}", "\n".join(_table(own)), "\n".join(_absent(own))]
    return "\n\n".join(filter(None, parts))


def _table(results: list[Result]) -> list[str]:
    return [
        "| version | Python | with | passed | no such API | failed |",
        "| --- | --- | --- | ---: | ---: | ---: |",
        *(
            f"| {one.environment.version} | {one.python} | {beside(one)} | {one.passed} "
            f"| {len(one.absent)} | {len(one.failed)} |"
            for one in results
        ),
    ]


def beside(result: Result) -> str:
    """What an environment has, as the table names it."""
    return ", ".join(f"{package} {version}" for package, version in result.versions.items())


def _absent(results: list[Result]) -> list[str]:
    """Which API is missing where, and how many calls need it."""
    where: dict[str, dict[str, None]] = {}
    for one in results:
        for missing in one.absent.values():
            where.setdefault(missing, {})[one.environment.version] = None
    if not where:
        return []
    return [
        "| API | not in |",
        "| --- | --- |",
        *(
            f"| `{missing}` | {', '.join(versions)} |"
            for missing, versions in sorted(where.items())
        ),
    ]


def written(page: str, generated: str) -> str:
    """The page with this as its generated part."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    assert pattern.search(page), "the page has no place for it"
    return pattern.sub(lambda _: f"{BEGIN}\n{generated}\n{END}", page)
