"""What is ordered rather than answered: runs of assistants, and videos."""

from collections.abc import Mapping
from typing import Any

from ..records import Usage
from .openai import OpenAIReader
from .reading import BaseReader, note_once
from .values import mappings, parsed, quantity, word


class RunReader(OpenAIReader):
    """A run of an assistant: its usage is told when it has ended."""

    __slots__ = ()

    def answer(self, answer: Mapping[str, Any]) -> None:
        """A run as it stands."""
        self.about(answer)
        status = word(answer.get("status"))
        self.pending = status in _GOING_ON
        self.billed = not self.pending
        if self.pending:
            return
        self.count_usage(answer.get("usage"))
        for tool in mappings(answer.get("tools")):
            if tool.get("type") in _BILLED_TOOLS:  # how often they were used, no run says
                note_once(self.notes, f"fees_unknown:{tool['type']}")
        if status is not None:
            self.finish_reasons = (status,)
        if status == "failed":
            self.fail(answer.get("last_error"))
            self.billed = self.usage is not None

    def event(self, data: bytes | str, name: str | None = None) -> bool | None:
        """One event; those of the run itself hold it as it stands."""
        if name is not None and name.startswith("thread.run.") and name.count(".") == 2:
            run = parsed(data)
            if isinstance(run, Mapping):
                self.answer(run)
                self.complete = not self.pending
        elif name == "error":
            self.fail(parsed(data))
        return None


_BILLED_TOOLS = ("code_interpreter", "file_search")
_GOING_ON = frozenset({"queued", "in_progress", "requires_action", "cancelling"})


class VideoReader(BaseReader):
    """A video that was ordered: by its seconds where anybody tells them, else unknown."""

    __slots__ = ()

    def answer(self, answer: Mapping[str, Any]) -> None:
        """The order as it was taken."""
        self.model = word(answer.get("model")) or self.model
        self.response_id = word(answer.get("id")) or word(answer.get("name")) or self.response_id
        seconds = self.request.hints.get("seconds")
        if seconds is None:
            seconds = number(answer.get("seconds"))
        if seconds:
            self.usage = Usage()
            self.units["video_seconds"] = seconds
        if answer.get("status") == "failed" or answer.get("error"):
            self.failed = "video_failed"
            self.billed = False


def number(said: Any) -> Any:
    """A number, which may be written as text."""
    return quantity(parsed(said) if isinstance(said, str) else said)
