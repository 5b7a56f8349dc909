"""Runs the contract in one environment after the other, and writes what they gave."""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from . import page
from .matrix import ROOT, Environment, chosen, constraints, name, requirements

HOME = ROOT / ".venv" / ".compat"
UV = Path(sys.executable).parent / "uv"
TABLES = {
    "openai_shapes.py": "openai",
    "anthropic_shapes.py": "anthropic",
    "gemini_shapes.py": "google-genai",
    "interactions_shapes.py": "google-genai",
}
"""The tables that only one SDK needs."""
SHOWN = ("httpx", "aiohttp", "uvloop")
SHOWN_AT_THE_FLOOR = ("wrapt", "opentelemetry-sdk", "prometheus-client")


def main() -> int:
    """0 if nothing failed."""
    parser = argparse.ArgumentParser(prog="make compat", description=__doc__)
    parser.add_argument("--only", default="", help="openai, or google-genai-3,anthropic-0.40")
    parser.add_argument("--floor", action="store_true", help="only the oldest of everything")
    parser.add_argument("--workers", default="auto")
    asked = parser.parse_args()
    environments = chosen(asked.only, floor=asked.floor)
    if not environments:
        print(f"no environment has a name like {asked.only}", file=sys.stderr)
        return 2
    results, lost = [], []
    for environment in environments:
        print(f"{environment.name:<40}", end=" ", flush=True)
        result = run(environment, asked.workers)
        if result is None:
            lost.append(environment.name)
            continue
        results.append(result)
        print(
            f"{result.passed} passed, {len(result.absent)} absent, {len(result.failed)} failed",
            flush=True,
        )
        for failure in result.failed[:10]:
            print(f"    {failure}")
    if not (asked.only or asked.floor or lost):
        path = ROOT / "docs" / "compatibility.md"
        tables = page.tables(results, f"{datetime.now(UTC):%Y-%m-%d}")
        path.write_text(page.written(path.read_text(), tables))
        print(f"written: {path.relative_to(ROOT)}")
    failed = sum(len(result.failed) for result in results) + len(lost)
    # the closing line that says how much was run
    print(f"{sum(result.passed for result in results)} passed, {failed} failed")
    return int(bool(failed))


def run(environment: Environment, workers: str) -> page.Result | None:
    """The contract in this environment; `None`, and why, where it can't be made."""
    python = made(environment)
    if python is None:
        return None
    report, note = HOME / f"{environment.name}.xml", HOME / f"{environment.name}.state"
    state = digest(environment)
    if report.exists() and note.exists() and note.read_text() == state:
        print("unchanged:", end=" ")
        return page.Result(environment, *_versions(environment, python), *page.read(report))
    for old in (report, note):
        old.unlink(missing_ok=True)
    ran = subprocess.run(
        [
            *(python, "-m", "pytest", "tests/contract/test_contract.py", "-q", "-n", workers),
            *("-p", "no:cacheprovider", f"--junitxml={report}"),
            # an old SDK's own: at its import, and of what it leaves open
            *("-Wignore::DeprecationWarning", "-Wignore::ResourceWarning"),
            "--deselect=tests/contract/test_contract.py::test_nothing_is_absent",
        ],
        cwd=ROOT,
        env=os.environ | {"CONTRACT_LOOP": environment.loop, "CONTRACT_LEAKS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    (HOME / f"{environment.name}.log").write_text(ran.stdout)
    if not report.exists():
        print(f"did not run:\n{ran.stdout[-2000:]}")
        return None
    passed, failed, absent = page.read(report)
    if ran.returncode and not failed:
        failed = (f"pytest ended with {ran.returncode}",)
    if not failed:
        note.write_text(state)  # a long run that was broken off goes on here
    return page.Result(environment, *_versions(environment, python), passed, failed, absent)


def digest(environment: Environment) -> str:
    """Of all that a result depends on."""
    contract = ROOT / "tests" / "contract"
    files = {
        *(ROOT / "otel_llm_usage").rglob("*.*"),
        *contract.glob("*.py"),
        ROOT / "tests" / "conftest.py",
    }
    files -= set(contract.glob("test_*.py")) - {contract / "test_contract.py"}
    files -= {contract / table for table, sdk in TABLES.items() if sdk != environment.sdk}
    read = hashlib.sha256(repr(environment).encode())
    for file in sorted(one for one in files if "__pycache__" not in one.parts):
        read.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return read.hexdigest()


def made(environment: Environment) -> Path | None:
    """Its interpreter, after installing what it needs if that has changed."""
    place = HOME / environment.name
    python, note = place / "bin" / "python", place / "requirements.txt"
    required = requirements(environment)
    held = constraints(required)
    wanted = "\n".join([*required, "", *held])
    if note.exists() and note.read_text() == wanted:
        return python
    base = interpreter(environment.python)
    if base is None:
        print(f"there is no Python {environment.python} here")
        return None
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    holding = HOME / f"{environment.name}.constraints"
    holding.write_text("\n".join(held))
    floor = ("--resolution", "lowest-direct") if environment.floor else ()
    for command in (
        ("venv", "-q", "--python", base, "--clear", place),
        ("pip", "install", "-q", "-p", python, "-c", holding, *floor, *required),
    ):
        done = subprocess.run([UV, *command], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"can't be installed:\n{done.stderr}")
            return None
    note.write_text(wanted)
    return python


def interpreter(version: str) -> str | None:
    """A Python of this version that works."""
    found = shutil.which(f"python{version}")
    manager = os.environ.get("PYENV_ROOT", "")
    others = sorted(Path(manager).glob(f"versions/{version}.*/bin/python")) if manager else []
    for candidate in (found, *others):
        if (
            candidate is not None
            and not subprocess.run(
                [candidate, "-c", ""], capture_output=True, check=False
            ).returncode
        ):
            return str(candidate)
    return None


def _versions(environment: Environment, python: Path) -> tuple[str, dict[str, str]]:
    """Of Python, and of the packages that the table names."""
    done = subprocess.run(
        [UV, "pip", "list", "-q", "-p", python, "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    installed = {name(one["name"]): one["version"] for one in json.loads(done.stdout)}
    shown = (*SHOWN, *(SHOWN_AT_THE_FLOOR if environment.floor else ()))
    said = subprocess.run([python, "-V"], capture_output=True, text=True, check=True)
    return said.stdout.split()[1], {one: installed[one] for one in shown if one in installed}


if __name__ == "__main__":
    raise SystemExit(main())
