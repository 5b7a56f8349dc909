"""What must hold beside every other instrumentation, whoever came first and whoever goes first.

A module of a package says how it is put `on` and taken `off`, and imports these checks.
"""

import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from .calls import left
from .seen import (
    Passage,
    Passages,
    Round,
    answer,
    counted,
    our_spans,
    their_spans,
    tokens,
    usages,
)

__all__ = [
    "met",
    "passages",
    "test_a_call_has_one_span_with_usage_at_most",
    "test_a_refusal_is_a_record_without_a_bill",
    "test_each_billed_answer_is_one_record",
    "test_nobody_notices_us",
    "test_nothing_misleading_is_said",
    "test_who_is_gone_counts_nothing",
]

NOBODY = ("", "")
ALONE = ("theirs", "theirs")
TOGETHER = [
    (arrive, leave)
    for arrive in ("ours,theirs", "theirs,ours")
    for leave in ("ours,theirs", "theirs,ours")
]

IDLE = r"leaves its \(now idle\) wrapper"
MENDED = r"was taken off .* and is there again"


class Met(NamedTuple):
    """One order of arriving and leaving."""

    passage: Passage
    nobody: Passage
    alone: Passage
    arrived_first: str
    left_first: str
    module: ModuleType

    def without_us(self, one: Round) -> Round:
        """What the programs got when we were not there."""
        return (self.alone if "theirs" in one.here else self.nobody).rounds[0]

    def says(self, name: str) -> bool:
        """Whether the module says so of its package."""
        return bool(getattr(self.module, name, False))


@pytest.fixture(scope="module")
def passages(request: pytest.FixtureRequest) -> Passages:
    stem = Path(request.module.__file__).stem
    return Passages(f"tests.company.{stem}", [NOBODY, ALONE, *TOGETHER])


@pytest.fixture(params=TOGETHER, ids=lambda order: f"{order[0]} - {order[1]}".replace(",", " "))
def met(request: pytest.FixtureRequest, passages: Passages) -> Met:
    arrive, leave = request.param
    return Met(
        passages(arrive, leave),
        passages(*NOBODY),
        passages(*ALONE),
        arrive.partition(",")[0],
        leave.partition(",")[0],
        request.module,
    )


def test_nobody_notices_us(met: Met) -> None:
    """The same answers, chunks and errors, with us and without; nothing else is logged as an error."""
    for one in met.passage.rounds:
        before = met.without_us(one)
        for name, call in one.calls.items():
            assert answer(call) == answer(before.calls[name]), (one.here, name)
    assert met.passage.errors == met.alone.errors
    assert met.passage.faults == {}


def test_each_billed_answer_is_one_record(met: Met, record_property) -> None:
    """Equal to the provider's ledger; the metrics hold the same, and nothing twice."""
    seen = 0
    for one, name, call in met.passage.calls(with_us=True):
        if left(name):
            assert len(counted(call)) == len(call["bills"]), (one.here, name)
        else:
            assert usages(counted(call)) == usages(call["bills"]), (one.here, name)
        seen += len(call["bills"])
    record_property("answers", seen)
    for one in met.passage.rounds:
        records = [record for call in one.calls.values() for record in call["records"]]
        assert one.tokens == sum(map(tokens, records)), one.here


def test_a_refusal_is_a_record_without_a_bill(met: Met) -> None:
    for one, name, call in met.passage.calls(with_us=True):
        refused = [record for record in call["records"] if record["status"] == "error"]
        assert len(refused) == ("error" in name), (one.here, name)
        for record in refused:
            assert (record["cost"], record["http"]) == ("not_billed", _status(name)), name


def _status(name: str) -> int:
    return {"openai: chat, stream, error": 429, "anthropic: messages, stream, error": 529}.get(
        name, 400
    )


def test_a_call_has_one_span_with_usage_at_most(met: Met) -> None:
    """Of those that we could have a part in: others may tell it twice among themselves."""
    silent = getattr(met.module, "WITHOUT_USAGE", "$^")
    for one, name, call in met.passage.calls(with_us=True):
        ours, theirs = our_spans(call), their_spans(call)
        assert not (ours and theirs), (one.here, name, ours, theirs)
        assert len(ours) <= len(call["bills"]), (one.here, name)
        gone = "theirs" not in one.here
        if gone and met.says("STAYS"):
            continue
        if gone and not theirs:
            assert len(ours) == len(call["bills"]), (one.here, name)
        elif call["bills"] and not left(name) and not re.search(silent, name):
            assert ours or theirs, (one.here, name)


def test_who_is_gone_counts_nothing(met: Met) -> None:
    for one, name, call in met.passage.calls(with_us=False):
        assert not call["records"], (one.here, name)
        assert not our_spans(call), (one.here, name)
        assert one.tokens == 0


def test_nothing_misleading_is_said(met: Met) -> None:
    """We speak of a wrapper of ours only where one stays behind, or was taken off."""
    right = []
    if met.left_first == "ours" or met.says("STAYS"):
        right.append(IDLE)
    if met.arrived_first == met.left_first == "theirs":
        right.append(MENDED)
    wrong = [text for text in met.passage.said if not any(re.search(one, text) for one in right)]
    assert wrong == []
