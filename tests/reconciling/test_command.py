"""`reconcile` in the terminal: what it prints, writes and ends with."""

import json

import pytest
from click.testing import CliRunner

from otel_llm_usage.cli import main
from otel_llm_usage.ledger import Ledger
from otel_llm_usage.standin import billing

AGO = 5 * 86_400


@pytest.fixture
def run(books, tmp_path, monkeypatch):
    """The command, over calls of five days ago, which providers tell in full."""
    books.chat(times=3)
    books.runtime.flush()
    place = tmp_path / "then.db"
    then = Ledger(place)
    for record in books.ledger.records():
        then(record._replace(time=record.time - AGO))
    then.close()
    books.bills(lambda bills: [bill._replace(time=bill.time - AGO) for bill in bills])
    monkeypatch.setenv("OPENAI_ADMIN_KEY", billing.ADMIN_KEY)
    address = ("--base-url", f"{books.standin.url}/v1", "--ledger", str(place))
    return lambda *more: CliRunner().invoke(main, ["reconcile", "openai", *address, *more])


def test_the_same_on_both_sides(run, books, tmp_path):
    file = tmp_path / "llm.prom"
    done = run("--json", "--textfile", str(file))
    assert done.exit_code == 0, done.output
    totals = {total["kind"]: total for total in json.loads(done.stdout)["totals"]}
    assert totals["tokens"]["ours"] == sum(books.standin.ledger.usage().values())
    assert 'provider="openai"' in file.read_text()
    assert "tokens" in run().stdout


def test_what_nobody_counted_ends_with_2(run, books):
    books.bills(lambda bills: [*bills, bills[0]._replace(id="somebody else's")])
    assert run().exit_code == 2
    assert run("--threshold", "0.9").exit_code == 0


def test_a_key_that_is_not_taken_is_one_line(run, monkeypatch):
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-wrong")
    done = run()
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert "sk-wrong" not in done.output
    assert len(done.output.splitlines()) == 1
