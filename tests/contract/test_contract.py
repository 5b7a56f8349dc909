"""The contract: each shape once without and once with us; the caller sees no difference."""

import importlib
from typing import Any

import pytest

from .kit import Mode, Shape, check, lacks, sdks
from .needs import installed

TABLES = {
    "openai_shapes": "openai",
    "anthropic_shapes": "anthropic",
    "gemini_shapes": "google.genai",
    "jobs_shapes": "openai",
    "interactions_shapes": "google.genai",
    "websocket_shapes": "websockets",
}
"""The tables of shapes, and the SDK that each of them calls."""

SHAPES: list[Shape] = [
    shape
    for table, sdk in TABLES.items()
    if installed(sdk)
    for shape in importlib.import_module(f".{table}", __package__).SHAPES
    if all(map(installed, sdks(shape)))
]
ROWS: dict[str, tuple[Shape, Mode]] = {
    f"{shape.id}-{mode}": (shape, mode) for shape in SHAPES for mode in shape.modes
}
ABSENT = {row: missing for row, one in ROWS.items() if (missing := lacks(*one))}
"""What the installed versions of the SDKs have no API for, and which."""


@pytest.mark.parametrize(
    ("shape", "mode"),
    [pytest.param(*one, id=row) for row, one in ROWS.items() if row not in ABSENT],
)
def test_one_record_and_nothing_changes(shape: Shape, mode: Mode) -> None:
    check(shape, mode)


def test_no_two_rows_have_one_name() -> None:
    assert len(ROWS) == sum(len(shape.modes) for shape in SHAPES)
    assert len(SHAPES) >= 40


def test_what_is_absent_is_told(record_property: Any) -> None:
    for row, missing in ABSENT.items():
        record_property("absent", f"{row}: {', '.join(missing)}")
    assert len(ABSENT) < len(ROWS)


def test_nothing_is_absent() -> None:
    """In the versions that `constraints.txt` names; `make compat` tells of the others."""
    assert all(map(installed, TABLES.values()))
    assert ABSENT == {}
