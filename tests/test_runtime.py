"""Prices of a running process, and prices without one."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from click.testing import CliRunner

from otel_llm_usage import ConfigurationError, Request, instrument, price
from otel_llm_usage.cli import main
from otel_llm_usage.meter import Outcome
from otel_llm_usage.testing import Records

CONTRACT = """
[[price]]
provider = "openai"
model = "acme-1"
input = "{}"
output = "10"
source = "contract"
checked_on = 2026-11-20
"""
USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}


def _cost():
    return price(USAGE, provider="openai", model="acme-1", endpoint="chat.completions").total


def test_prices_are_read_again_when_told(tmp_path, caplog):
    file = tmp_path / "contract.toml"
    file.write_text(CONTRACT.format("1"))
    runtime = instrument(otlp=False, prices=[file])
    assert _cost() == 1
    file.write_text(CONTRACT.format("2"))
    assert _cost() == 1
    assert runtime.reload_prices()
    assert _cost() == 2


@pytest.mark.faults
def test_a_broken_file_changes_nothing_and_is_counted(tmp_path, caplog):
    file = tmp_path / "contract.toml"
    file.write_text(CONTRACT.format("1"))
    runtime = instrument(otlp=False, prices=[file])
    file.write_text("[[price]]\ncolour = 1\n")
    assert not runtime.reload_prices()
    assert _cost() == 1
    assert runtime.status()["errors"] == {"prices.reload": 1}
    assert "contract.toml" in caplog.text


def test_a_later_price_file_wins(tmp_path):
    for name, rate in (("list", "1"), ("contract", "3")):
        (tmp_path / name).write_text(CONTRACT.format(rate))
    instrument(otlp=False, prices=[tmp_path / "list", tmp_path / "contract"])
    assert _cost() == 3


@pytest.mark.parametrize(
    "at",
    [
        "2027-01-15",
        "2027-01-15T08:00:00",
        "2027-01-15T08:00:00+01:00",
        date(2027, 1, 15),
        datetime(2027, 1, 15, 8, tzinfo=UTC),
        datetime(2027, 1, 15, 8),  # noqa: DTZ001
        datetime(2027, 1, 15, tzinfo=UTC).timestamp(),
    ],
)
def test_a_price_has_a_date_in_any_spelling(at):
    usage = {"promptTokenCount": 1_000_000, "candidatesTokenCount": 0}
    cost = price(usage, provider="google", model="gemini-3.8-flash", at=at)
    assert cost.total == Decimal("1.5")
    assert price(
        usage, provider="google", model="gemini-3.8-flash", at="2026-11-20"
    ).total == Decimal("0.75")


def test_a_date_that_is_none_is_said():
    with pytest.raises(ConfigurationError, match="not an ISO date"):
        price(USAGE, provider="openai", model="gpt-5", at="next week")


def test_several_billed_entries_are_one_cost():
    usage = {
        "input_tokens": 100,
        "output_tokens": 10,
        "iterations": [
            {"type": "message", "input_tokens": 100, "output_tokens": 10},
            {
                "type": "advisor_message",
                "model": "claude-opus-5",
                "input_tokens": 1000,
                "output_tokens": 100,
            },
        ],
    }
    cost = price(usage, provider="anthropic", model="claude-sonnet-5", at="2026-09-15")
    assert cost.total == Decimal("0.0003") + Decimal("0.0075")
    unknown = usage["iterations"][1] | {"model": "claude-nobody-1"}
    cost = price(
        usage | {"iterations": [usage["iterations"][0], unknown]},
        provider="anthropic",
        model="claude-sonnet-5",
        at="2026-09-15",
    )
    assert (cost.status, cost.total, cost.known) == ("partial", None, Decimal("0.0003"))
    assert cost.reasons == ("unknown_model",)


@pytest.mark.parametrize(
    "at",
    [float("nan"), float("inf"), 1_800_000_000_000, 10**400, 0, 1_400_000_000, True, [], b"2026"],
)
def test_a_number_that_is_no_second_of_our_time_is_said(at):
    with pytest.raises(ConfigurationError, match="seconds since the epoch"):
        price(USAGE, provider="openai", model="gpt-5", at=at)


def test_the_terminal_and_the_program_take_the_same_of_two_price_files(tmp_path, monkeypatch):
    for name, rate in (("list", "1"), ("contract", "3")):
        (tmp_path / name).write_text(CONTRACT.format(rate))
    monkeypatch.setenv("OTEL_LLM_USAGE_PRICES", f"{tmp_path / 'list'},{tmp_path / 'contract'}")
    shown = CliRunner().invoke(main, ["prices", "show", "acme-1", "--json"])
    rates = {rate["sku"]: rate["price"] for rate in json.loads(shown.output)[0]["rates"]}
    assert rates["input"] == "3"
    instrument(otlp=False)
    assert _cost() == 3


@pytest.mark.parametrize("content", [None, "{", '{"no": "table"}'])
def test_price_data_that_cannot_be_used_is_said_at_the_start(tmp_path, content):
    data = tmp_path / "data.json"
    if content is not None:
        data.write_text(content)
    with pytest.raises(ConfigurationError, match=r"data\.json"):
        instrument(otlp=False, price_data=str(data))


REQUEST = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-4.1")


def test_sinks_of_a_later_call_are_called_too_and_each_once(caplog):
    first = Records()
    second = Records()
    runtime = instrument(otlp=False, sinks=[first.append])
    assert instrument(sinks=[second.append, first.append]) is runtime
    instrument(sinks=[second.append])
    assert not caplog.records
    runtime.meter.begin(REQUEST).settle(Outcome("ok"))
    assert (len(first), len(second)) == (1, 1)
    runtime.remove_sink(first.append)
    runtime.meter.begin(REQUEST).settle(Outcome("ok"))
    assert (len(first), len(second)) == (1, 2)


def test_sinks_that_are_equal_are_not_the_same():
    class Equal(list):
        __call__ = list.append

    one, other = Equal(), Equal()
    instrument(otlp=False, sinks=[one])
    runtime = instrument(sinks=[other])
    runtime.meter.begin(REQUEST).settle(Outcome("ok"))
    runtime.flush()
    assert (len(one), len(other)) == (1, 1)


@pytest.mark.faults
def test_a_later_sink_that_fails_is_counted_under_its_name():
    def broken(record):
        raise RuntimeError("boom")

    instrument(otlp=False)
    runtime = instrument(sinks=[broken])
    runtime.meter.begin(REQUEST).settle(Outcome("ok"))
    (where,) = runtime.status()["errors"]
    assert where.startswith("sink ")
    assert where.endswith("broken")
