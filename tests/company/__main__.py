"""Builds one environment after the other, runs its checks there, and writes what they gave."""

import argparse
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from . import page
from .environments import ROOT, Environment, chosen

HOME = ROOT / ".venv" / ".company"
UV = Path(sys.executable).parent / "uv"


def main() -> int:
    """0 if nothing failed."""
    parser = argparse.ArgumentParser(prog="make company", description=__doc__)
    parser.add_argument("--only", default="", help="logfire,litellm")
    parser.add_argument("--pin", action="store_true", help="take the newest versions from now on")
    asked = parser.parse_args()
    environments = chosen(asked.only)
    results, lost = [], []
    for environment in environments:
        print(f"{environment.name:<16}", end=" ", flush=True)
        problem = _pin(environment) if asked.pin else None
        result = problem or _run(environment)
        if isinstance(result, str):
            lost.append(environment.name)
            print(result)
            continue
        results.append(result)
        print(
            f"{result.answers} answers counted, {result.passed} checks passed, "
            f"{len(result.failed)} failed",
            flush=True,
        )
        for failure in result.failed:
            print(f"    {failure}")
    if not (asked.only or lost):
        path = ROOT / "docs" / "compatibility.md"
        section = page.section(results, f"{datetime.now(UTC):%Y-%m-%d}")
        path.write_text(page.written(path.read_text(), section))
        print(f"written: {path.relative_to(ROOT)}")
    failed = sum(len(result.failed) for result in results) + len(lost)
    # the closing line that says how much was run
    print(f"{sum(result.passed for result in results)} passed, {failed} failed")
    return int(bool(failed))


def _run(environment: Environment) -> page.Result | str:
    """The checks in this environment, or why they could not be run."""
    python = _made(environment)
    if isinstance(python, str):
        return python
    report = HOME / f"{environment.name}.xml"
    report.unlink(missing_ok=True)
    ran = subprocess.run(
        [
            *(python, "-m", "pytest", f"tests/company/{environment.module}.py", "-q"),
            *("-p", "no:cacheprovider", f"--junitxml={report}", "-o", "junit_family=xunit1"),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    (HOME / f"{environment.name}.log").write_text(ran.stdout)
    if not report.exists():
        return f"did not run:\n{ran.stdout[-2000:]}"
    result = page.read(environment, report)
    if ran.returncode and not result.failed:
        return f"pytest ended with {ran.returncode}"
    return result


def _made(environment: Environment) -> Path | str:
    """Its interpreter, after installing what is pinned if that has changed; or what went wrong."""
    place = HOME / environment.name
    python, note = place / "bin" / "python", place / "pins.txt"
    pins = environment.pins.read_text()
    if note.exists() and note.read_text() == pins:
        return python
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for command in (
        ("venv", "-q", "--python", sys.executable, "--clear", place),
        ("pip", "install", "-q", "-p", python, "-r", environment.pins),
    ):
        problem = _uv(*command)
        if problem is not None:
            return f"can't be installed:\n{problem}"
    note.write_text(pins)
    return python


def _pin(environment: Environment) -> str | None:
    """Write the newest versions that go together; what is wrong if none do."""
    environment.pins.parent.mkdir(exist_ok=True)
    asked = HOME / f"{environment.name}.in"
    asked.parent.mkdir(parents=True, exist_ok=True)
    asked.write_text("\n".join(environment.requirements))
    plain = ("-q", "--no-annotate", "--no-header", "--python-version", "3.11")
    return _uv("pip", "compile", *plain, asked, ROOT / "pyproject.toml", "-o", environment.pins)


def _uv(*command: str | Path) -> str | None:
    """What uv says if it fails."""
    done = subprocess.run([UV, *command], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else None


if __name__ == "__main__":
    raise SystemExit(main())
