"""A ledger in SQLite, and one in a PostgreSQL server of the tests' own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_llm_usage.ledger import Ledger
from tests.postgres import Server, programs, serving


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    found = programs()
    if found is None:
        pytest.skip("not installed: postgresql (apt-get install postgresql)")
    with serving(found) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "usage.db")
    return request.getfixturevalue("postgres").database()


@pytest.fixture
def ledger(place: str, tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(place, service="tests", journal=tmp_path / "journal")
    yield made
    made.close()
