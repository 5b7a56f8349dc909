"""The house keeps its shape."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "otel_llm_usage").rglob("*.py"))


def test_rooms_import_only_lower_rooms():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT)))
def test_every_module_opens_with_its_caption(module):
    caption = ast.get_docstring(ast.parse(module.read_text()))
    assert caption
    assert caption.splitlines()[0].rstrip().endswith((".", ":", "`"))


def test_only_the_guard_catches_everything():
    catching = []
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ExceptHandler):
                names = ast.unparse(node.type) if node.type else "everything"
                reraises = isinstance(node.body[-1], ast.Raise)
                if names in ("Exception", "BaseException", "everything") and not reraises:
                    catching.append(module.name)
    # `around` hands on what is thrown into an async generator: there is no `yield from` for those
    assert set(catching) == {"guard.py", "around.py"}


def test_only_settings_read_the_environment():
    readers = {
        module.relative_to(ROOT / "otel_llm_usage").as_posix()
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    # `run` hands the whole environment on to the program that it starts
    assert readers <= {"settings.py", "cli/running.py"}
