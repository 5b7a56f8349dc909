"""Counting the tokens of a text: exactly as OpenAI does where the extra `tokens` is there, else by characters."""

import importlib.util
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

from .. import forks, guard

Encoding = Literal["o200k", "cl100k"]
CHARACTERS = "characters"
"""The method where no tokenizer is installed."""

_NAMES: dict[str, str] = {"o200k": "o200k_base", "cl100k": "cl100k_base"}
_CHARACTERS_PER_TOKEN = 4

_lock = threading.Lock()
_loaded: dict[str, Callable[[Sequence[str]], int]] = {}


def installed() -> bool:
    """Whether the extra `tokens` is there; looks for it, and loads nothing."""
    return importlib.util.find_spec("toktok") is not None


def loaded(encoding: Encoding) -> bool:
    """Whether counting would begin at once."""
    return encoding in _loaded


def warm(encoding: Encoding = "o200k") -> threading.Thread:
    """Load the tokenizer in a thread of its own, so that no later call has to wait for it.

    Whoever wants to wait joins the thread, which is what this returns.
    """
    thread = threading.Thread(
        target=guard.call, args=("estimates", count, encoding, ["x"]), name="otel-llm-usage-tokens"
    )
    thread.daemon = True
    thread.start()
    return thread


def count(encoding: Encoding, texts: Sequence[str]) -> tuple[int, str]:
    """How many tokens these are together, and how they were counted: the encoding, or `characters`."""
    counter = _loaded.get(encoding)
    if counter is None:
        counter = _load(encoding)
    if counter is None:
        return sum(-(-len(text) // _CHARACTERS_PER_TOKEN) for text in texts), CHARACTERS
    return counter(texts), encoding


def _load(encoding: Encoding) -> Callable[[Sequence[str]], int] | None:
    with _lock:
        if encoding not in _loaded and installed():
            # a third of a second and 60 MB: for those who estimate
            import toktok  # type: ignore[import-untyped]  # noqa: PLC0415

            name = _NAMES[encoding]
            toktok.batch_count(["x"], name, 1)
            _loaded[encoding] = lambda texts: _counted(toktok, name, texts)
        return _loaded.get(encoding)


def _counted(toktok: Any, name: str, texts: Sequence[str]) -> int:
    try:
        counts = toktok.batch_count(texts, name, 1)
    except UnicodeEncodeError:  # half a pair of surrogates, which JSON may hold
        whole = [text.encode("utf-8", "replace").decode() for text in texts]
        counts = toktok.batch_count(whole, name, 1)
    return sum(counts)


@forks.in_child
def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()
