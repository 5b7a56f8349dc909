"""What every test needs: faults of ours are raised, and nothing leaks from test to test."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from otel_llm_usage import backlog, guard, uninstrument

pytest_plugins = ["otel_llm_usage.testing"]

ROOT = Path(__file__).parent.parent

# CI tries the same examples each time: it fails for what was changed, not by chance for an old
# fault. `pytest --hypothesis-profile=deep` looks for those. A slow machine fails nothing.
settings.register_profile(
    "local",
    settings.get_profile("default"),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.register_profile("deep", settings.get_profile("local"), max_examples=20_000)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="module", autouse=True)
def _what_a_module_leaves_open_fails_there() -> Iterator[None]:
    """And not whatever test is running when the collector finds it."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _strict_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """What production swallows and counts fails the test, unless it is marked `faults`."""
    guard.reset()
    guard.strict = "faults" not in request.keywords
    faulty = not guard.strict
    yield
    backlog.finish()
    ours = dict(guard.errors)
    guard.strict = False
    uninstrument()
    assert faulty or not ours, f"faults of ours, see the log: {ours}"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OTEL_", "PROMETHEUS_")):
            monkeypatch.delenv(name)
    # the price table ages: without this, what the log says would depend on the day
    monkeypatch.setenv("OTEL_LLM_USAGE_STALE_AFTER_DAYS", "100000")


@pytest.fixture
def python():
    """Run a script in a fresh interpreter; its output, or a failure that shows what it said."""

    def run(script: str, **environment: str) -> str:
        env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        env |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **environment}
        done = subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def cassettes() -> Path:
    """Where the recorded traffic is: beside the checkout, or where the environment says."""
    named = os.environ.get("OTEL_LLM_USAGE_CASSETTES")
    return Path(named) if named else ROOT.parent / "shared" / "cassettes"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """CI allows no skipped test: what can't run there is not proven."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter is not None else []
    if skipped and os.environ.get("CI") == "true":
        reporter.write_line(f"{len(skipped)} skipped: CI allows none", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
