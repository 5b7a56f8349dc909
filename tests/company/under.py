"""What must hold under every framework: each answer that the provider bills is counted once.

A module of a framework says what `programs` it is used by, and imports these checks.
"""

import re
from pathlib import Path

import pytest

from .seen import Passages, answer, our_spans, their_spans, tokens, usages

__all__ = [
    "invisible",
    "passages",
    "test_a_call_has_one_span_with_usage_at_most",
    "test_each_billed_answer_is_one_record",
    "test_nobody_notices_us",
    "test_what_does_not_pass_the_sdk_is_not_seen",
]

NOBODY, WE = ("", ""), ("ours", "ours")


@pytest.fixture(scope="module")
def passages(request: pytest.FixtureRequest) -> Passages:
    stem = Path(request.module.__file__).stem
    return Passages(f"tests.company.{stem}", [NOBODY, WE])


@pytest.fixture
def invisible(request: pytest.FixtureRequest) -> re.Pattern[str]:
    return re.compile(getattr(request.module, "INVISIBLE", "$^"))


def test_nobody_notices_us(passages: Passages) -> None:
    without, passage = passages(*NOBODY), passages(*WE)
    for one in passage.rounds:
        for name, call in one.calls.items():
            assert call["error"] is None, (one.here, name)
            assert answer(call) == answer(without.rounds[0].calls[name]), (one.here, name)
    assert passage.errors == without.errors
    assert passage.faults == {}
    assert passage.said == ()


def test_each_billed_answer_is_one_record(
    passages: Passages, invisible: re.Pattern[str], record_property
) -> None:
    seen = 0
    for _, name, call in passages(*WE).calls(with_us=True):
        assert call["bills"], name
        if not invisible.search(name):
            assert usages(call["records"]) == usages(call["bills"]), name
            seen += len(call["bills"])
    record_property("answers", seen)
    for one in passages(*WE).rounds:
        records = [record for call in one.calls.values() for record in call["records"]]
        assert one.tokens == sum(map(tokens, records)), one.here


def test_what_does_not_pass_the_sdk_is_not_seen(
    passages: Passages, invisible: re.Pattern[str]
) -> None:
    """So the page that says so is wrong as soon as this fails."""
    for _, name, call in passages(*WE).calls(with_us=True):
        if invisible.search(name):
            assert not call["records"], name


def test_a_call_has_one_span_with_usage_at_most(
    passages: Passages, invisible: re.Pattern[str]
) -> None:
    for _, name, call in passages(*WE).calls(with_us=True):
        ours, theirs = our_spans(call), their_spans(call)
        assert not (ours and theirs), name
        if not invisible.search(name) and not theirs:
            assert len(ours) == len(call["bills"]), name
