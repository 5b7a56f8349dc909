"""Tables and exports of a scope: whole numbers and names, whatever they are and wherever they go."""

import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from otel_llm_usage import (
    ConfigurationError,
    agent,
    attribute,
    instrument,
    record_usage,
    track,
)
from otel_llm_usage.standin import Answer
from otel_llm_usage.tables import usd
from otel_llm_usage.tracking import SCHEMA, UsageScope

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def gpt(llm_standin):
    instrument(otlp=False)
    with openai.OpenAI(max_retries=0) as client:
        yield lambda model="gpt-4.1", **more: client.chat.completions.create(
            model=model, messages=HELLO, **more
        )


def printed(usage, what="print_summary", **more):
    file = io.StringIO()
    getattr(usage, what)(file=file, **more)
    return file.getvalue()


def cells(usage, by):
    """The rows of a table, by their names."""
    made = usage.table(by)
    names = [str(column.header) for column in made.columns]
    columns = [[str(cell) for cell in column.cells] for column in made.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def test_a_table_says_what_was_billed(llm_standin, gpt):
    counts = {"input": 1_200_000, "cache_read": 34_567, "output": 900, "reasoning": 100}
    llm_standin.script(Answer(usage=counts))
    with track() as usage:
        with agent("planner"):
            gpt("gpt-5")
        with agent("writer"):
            gpt()
    first, second = llm_standin.ledger
    planner, writer, whole = cells(usage, "agent")
    assert planner["agent"] == "planner"
    assert planner["input"] == "1,234,567"
    assert (planner["cached"], planner["output"], planner["reasoning"]) == (
        "34,567",
        "1,000",
        "100",
    )
    assert planner["total"] == "1,235,567"
    assert planner["cost"] == f"${first.usd:.2f}"
    assert float(writer["share"].strip("<%")) == pytest.approx(
        float(100 * second.usd / (first.usd + second.usd)), abs=0.1
    )
    assert (whole["agent"], whole["calls"], whole["share"]) == ("all", "2", "100.0%")
    by_both = cells(usage, ("agent", "model"))
    assert [(row["agent"], row["model"]) for row in by_both[:2]] == [
        ("planner", "gpt-5-2025-08-07"),
        ("writer", "gpt-4.1-2025-04-14"),
    ]
    with pytest.raises(ValueError, match="agent, provider"):
        usage.table("colour")


def test_the_summary_says_who_what_and_what_failed(llm_standin, gpt):
    with track("analysis-123", symbol="RELIANCE") as usage, agent("planner"):
        with attribute(call_type="chart_analysis"):
            gpt()
        llm_standin.script(Answer(status=429, retry_after=0))
        with pytest.raises(openai.RateLimitError):
            gpt()
        with attribute(call_type="chart"):
            record_usage(provider="openai", model="o3", success=False, error_message="out of quota")
        gpt("nobody-knows-1")
    text = printed(usage)
    assert "analysis-123" in text
    assert "symbol=RELIANCE" in text
    assert f"4 calls, 2 failed, {usage.total.total_tokens:,} tokens, at least $" in text
    assert "chart_analysis" in text
    assert "planner, gpt-4.1: 429" in text
    assert "planner, chart, o3: out of quota" in text
    assert "nobody-knows-1 of openai (1)" in text
    assert f"≥ {usd(llm_standin.ledger.usd())}" in text


def test_many_failures_and_many_groups_are_bounded(gpt):
    with track() as usage:
        for number in range(50):
            with agent(f"agent-{number}"):
                record_usage(provider="openai", success=False, error_message=f"error {number}")
    text = printed(usage)
    assert text.count(": error ") == 10
    assert "The last that failed (40 more before)" in text
    assert "20 more" in text
    assert len(text.splitlines()) < 60


def test_names_of_others_are_text_and_nothing_else(gpt):
    evil = agent("[link=x]evil[/link]\x1b[31m\n\udc80")
    with track("[red]id[/red]\x1b[2J", label="[bold]\x07") as usage, evil:
        gpt()
        record_usage(provider="openai", success=False, error_message="[/]\x1b[0m" + "e" * 500)
    for text in (printed(usage), printed(usage, "print_chart"), printed(usage, "print_timeline")):
        assert "[link=x]" in text
        assert not set(text) & {"\x1b", "\x07", "\udc80"}
    assert "[red]id[/red]?[2J" in printed(usage)
    assert "e" * 201 not in printed(usage)


def test_nothing_is_cut_off_in_a_file(llm_standin, gpt):
    name = "an-agent-with-a-name-that-is-a-good-deal-longer-than-any-column-of-a-table-should-be"
    llm_standin.script(Answer(usage={"input": 123_456_789_012, "output": 987_654_321}))
    with track() as usage, agent(name):
        gpt()
    text = printed(usage)
    assert name in text
    assert "123,456,789,012" in text
    assert "…" not in text


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_a_terminal_shows_whole_numbers(llm_standin, gpt, width):
    with track() as usage:
        for name in ("planner", "chart_analysis"):
            with agent(name):
                gpt()
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=True, color_system=None).print(usage)
    text = file.getvalue()
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())
    if width >= 80:
        assert f"{usage.total.total_tokens:,}" in text
        assert usd(llm_standin.ledger.usd()) in text
    assert ("reasoning" in text) is (width >= 200)


@pytest.mark.parametrize("what", ["print_summary", "print_chart", "print_timeline"])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_encoding_takes_it(gpt, what, encoding):
    with track("日本") as usage, agent("エージェント"):
        gpt()
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    getattr(usage, what)(file=file)
    assert "gpt-4.1" in file.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("what", ["print_summary", "print_chart", "print_timeline"])
def test_an_empty_scope_says_so(what):
    assert "no calls" in printed(track("nothing"), what)


def test_it_prints_to_standard_output_by_itself(gpt, capsys):
    with track("here") as usage:
        gpt()
        usage.print_summary()
    assert "here" in capsys.readouterr().out


@given(st.decimals(0, 10**9, places=12))
def test_dollars_are_never_nothing_unless_they_are(amount):
    text = usd(amount)
    value = Decimal(text[1:].replace(",", ""))
    assert bool(value) == bool(amount)
    assert abs(value - amount) <= max(amount * Decimal("0.051"), 0)
    if amount >= 1:
        assert abs(value - amount) <= Decimal("0.005")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0"),
        ("1234567.891", "$1,234,567.89"),
        ("0.25", "$0.2500"),
        ("0.00026", "$0.00026"),
        ("0.000000000001", "$0.0000000000010"),
        ("-0.5", "$-0.5000"),
    ],
)
def test_dollars_for_people(amount, text):
    assert usd(Decimal(amount)) == text


# -- export


def test_an_export_is_everything_as_json(llm_standin, gpt, tmp_path):
    with track("a1", team="日本") as usage, agent("planner"):
        gpt()
        gpt("nobody-knows-1")
        usage.export_json(tmp_path / "usage.json")
        gpt()
        usage.export_json(str(tmp_path / "usage.json"))
    assert os.listdir(tmp_path) == ["usage.json"]
    text = (tmp_path / "usage.json").read_text(encoding="utf-8")
    said = json.loads(text)
    assert said == json.loads(usage.to_json()) == json.loads(json.dumps(usage.to_dict()))
    assert "日本" in text
    assert said["schema"] == SCHEMA == "otel-llm-usage/scope/1"
    priced = [call for call in said["call_details"] if call["cost_usd"] is not None]
    assert sum(Decimal(call["cost_usd"]) for call in priced) == llm_standin.ledger.usd()
    (unpriced,) = [call for call in said["call_details"] if call["cost_usd"] is None]
    assert (unpriced["cost_status"], unpriced["cost_reasons"]) == ("unpriced", ["unknown_model"])
    assert said["call_details"][0]["asked_model"] == "gpt-4.1"
    assert said["timing"]["all"]["calls"] == said["timing"]["by_agent"]["planner"]["calls"] == 3
    assert said["timing"]["all"]["total"] == pytest.approx(said["total"]["seconds"])
    assert said["total"]["billed"] == 3


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigurationError, match=r"there is no folder .*nowhere: make it first"):
        track().export_json(tmp_path / "nowhere" / "usage.json")


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "usage.json"
    track("old").export_json(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        track("new").export_json(path)
    assert json.loads(path.read_text())["id"] == "old"
    assert os.listdir(tmp_path) == ["usage.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_an_export_follows_links_and_takes_any_text(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "real" / "usage.json")
    UsageScope("half \udc80", {"a": "\x00"}).export_json(tmp_path / "link.json")
    assert json.loads((tmp_path / "real" / "usage.json").read_text())["id"] == "half ?"


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes there")
def test_what_is_no_file_is_written_to_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_text)
        track("through a pipe").export_json(pipe)
        assert json.loads(read.result(10))["id"] == "through a pipe"
    assert pipe.is_fifo()
