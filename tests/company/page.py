"""What the runs gave, as the part of docs/compatibility.md that is ours."""

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from .environments import HERE, Environment

BEGIN, END = "<!-- begin: written by `make company` -->", "<!-- end: written by `make company` -->"


class Result(NamedTuple):
    """What one environment gave."""

    environment: Environment
    passed: int
    failed: tuple[str, ...]
    answers: int
    """Billed answers that were to be counted."""


def read(environment: Environment, report: Path) -> Result:
    """The result that a JUnit report holds."""
    passed, answers = 0, 0
    failed = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        if case.find("failure") is None and case.find("error") is None:
            passed += 1
        else:
            failed.append(str(case.get("name")))
        for told in case.iter("property"):
            answers += int(told.get("value", 0)) if told.get("name") == "answers" else 0
    return Result(environment, passed, tuple(failed), answers)


def section(results: Iterable[Result], day: str) -> str:
    """The generated part."""
    results = list(results)
    beside = [one for one in results if one.environment.module.startswith("beside")]
    under = [one for one in results if one.environment.module.startswith("under")]
    parts = (
        f"Run on {day}.",
        "### Beside other instrumentations",
        *_table(beside),
        "### Under frameworks",
        *_table(under),
    )
    return "\n\n".join(parts)


def _table(results: list[Result]) -> tuple[str, str]:
    rows = ["| with | SDKs | answers billed and counted | checks passed | failed |"]
    rows.append("| --- | --- | ---: | ---: | ---: |")
    notes = []
    for one in results:
        name, said = _says(one.environment)
        versions = _versions(one.environment)
        package = re.split(r"[\[<]", one.environment.packages[0])[0]
        sdks = ", ".join(f"{sdk} {versions[sdk]}" for sdk in _sdks(one.environment))
        rows.append(
            f"| {name} (`{package}` {versions[package]}) | {sdks} | {one.answers} | {one.passed} "
            f"| {len(one.failed)} |"
        )
        notes += [f"- {name}: {note}" for note in said]
    return "\n".join(rows), "\n".join(notes)


def _says(environment: Environment) -> tuple[str, tuple[str, ...]]:
    """What the module calls its package, and notes of it. It can't be imported here."""
    told: dict[str, Any] = {}
    for line in ast.parse((HERE / f"{environment.module}.py").read_text()).body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            name = line.targets[0].id
            if name in ("NAME", "NOTES"):
                told[name] = ast.literal_eval(line.value)
    return told["NAME"], told["NOTES"]


def _versions(environment: Environment) -> dict[str, str]:
    lines = environment.pins.read_text().splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line)


def _sdks(environment: Environment) -> tuple[str, ...]:
    used = (HERE / f"{environment.module}.py").read_text()
    names = {"openai": "openai", "anthropic": "anthropic", "google": "google-genai"}
    return tuple(sdk for name, sdk in names.items() if f'"{name}' in used)


def written(page: str, generated: str) -> str:
    """The page with this as its generated part."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    assert pattern.search(page), "the page has no place for it"
    return pattern.sub(lambda _: f"{BEGIN}\n{generated}\n{END}", page)
