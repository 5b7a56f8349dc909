"""What an SDK has, told by looking at it: no shape asks for a version."""

import importlib
import importlib.util
import inspect
import re
from functools import cache
from types import ModuleType
from typing import Any


@cache
def installed(module: str) -> bool:
    """Whether a module can be imported, or at least found."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def optional(module: str) -> Any:
    """The module, or `None` where it is not installed."""
    return importlib.import_module(module) if installed(module) else None


def has(root: Any, need: str) -> bool:
    """Whether `root` has `a.b.c`; with `(name)` behind it, whether that takes such an argument; with
    `{name}`, whether its code uses that name.

    With no `root`, `a` is a module: `openai.DefaultAioHttpClient`. ` or ` stands between places.
    """
    return any(_has(root, one) for one in need.split(" or "))


def _has(root: Any, need: str) -> bool:
    path, argument, used = _NEED.fullmatch(need).groups()
    found = root
    for part in path.split("."):
        found = _part(found, part)
        if found is None:
            return False
    if used:
        return used in found.__code__.co_names
    return not argument or argument in _arguments(found)


_NEED: Any = re.compile(r"([\w.]+)(?:\((\w+)\)|\{(\w+)\})?")


def _part(parent: Any, name: str) -> Any:
    if parent is None:
        return optional(name)
    found = getattr(parent, name, None)
    if found is None and isinstance(parent, ModuleType):
        return optional(f"{parent.__name__}.{name}")
    return found


def _arguments(found: Any) -> Any:
    # the fields of a model, or the parameters of a function
    return getattr(found, "model_fields", None) or inspect.signature(found).parameters
