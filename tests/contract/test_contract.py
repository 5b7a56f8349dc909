"""The contract: each shape once without and once with us; the caller sees no difference."""

import pytest

from . import anthropic_shapes, gemini_shapes, openai_shapes
from .kit import Mode, Shape, check

SHAPES: list[Shape] = [*openai_shapes.SHAPES, *anthropic_shapes.SHAPES, *gemini_shapes.SHAPES]


@pytest.mark.parametrize(
    ("shape", "mode"),
    [pytest.param(s, mode, id=f"{s.id}-{mode}") for s in SHAPES for mode in s.modes],
)
def test_one_record_and_nothing_changes(shape: Shape, mode: Mode) -> None:
    check(shape, mode)


def test_no_two_rows_have_one_name() -> None:
    names = [shape.id for shape in SHAPES]
    assert len(set(names)) == len(names)
    assert len(names) >= 40
