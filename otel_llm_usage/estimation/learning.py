"""Learning from calls how many tokens a model bills for one of ours; numbers are kept, never a text."""

import time
from collections.abc import Callable, Mapping, Sequence

from .. import backlog, guard
from ..errors import ConfigurationError, MissingExtra
from ..providers.values import parsed
from ..records import Reading, Request
from . import contents, estimator, families, tokenizer
from .ratios import Ratios

EVERY = 1.0
"""Seconds between two calls that are learned from."""

MOST_BYTES = 200_000
"""Bodies that are longer are not counted: it would keep the counting of other calls waiting."""

FEWEST_TOKENS, MOST_TOKENS = 100, 50_000
"""Of shorter prompts too much is what the provider puts around the text; longer ones are not even looked at."""

SAVED_EVERY = 30.0

_ENDPOINTS = frozenset({"chat.completions", "responses", "messages", "generate_content"})


class Learner:
    """Compares what was sent with what was billed for it, now and then, in the thread that counts."""

    def __init__(self, ratios: Ratios) -> None:
        """`MissingExtra` where nothing could be counted."""
        if not tokenizer.installed():
            raise MissingExtra("learning from calls how many tokens models bill", "tokens")
        self.ratios = ratios
        self._next = 0.0
        self._save_at = time.monotonic() + SAVED_EVERY
        self._warming: set[str] = set()

    def heed(
        self, request: Request, readings: Sequence[Reading], body: Callable[[], bytes | None]
    ) -> None:
        """A call has ended well: leave it to the counting thread, if it is time and can be learned from."""
        now = time.monotonic()
        if now < self._next or request.endpoint not in _ENDPOINTS or len(readings) != 1:
            return
        usage = readings[0].usage
        if usage is None or readings[0].notes or backlog.counting.immediate:
            return
        if usage.input_audio or usage.input_image or usage.input_video or usage.input_tool_use:
            return
        model = readings[0].model or request.model
        billed = usage.input_tokens
        if model is None or not billed or not FEWEST_TOKENS <= billed <= MOST_TOKENS:
            return
        self._next = now + EVERY
        family = families.family(model, request.vendor, request.platform)
        if not tokenizer.loaded(family.encoding):
            if family.encoding not in self._warming:
                self._warming.add(family.encoding)
                tokenizer.warm(family.encoding)
            return
        backlog.counting.later(self._learn, family, billed, body)

    def _learn(
        self, family: families.Family, billed: int, body: Callable[[], bytes | None]
    ) -> None:
        sent = body()
        if sent is None or len(sent) > MOST_BYTES:
            return
        told = parsed(sent)
        if not isinstance(told, Mapping):
            return
        try:
            asked = contents.read(told)
        except ConfigurationError:
            return  # a shape that is not known: nothing to learn from
        if asked.plain:
            ours, _ = estimator.text_tokens(asked, family)
            if ours >= FEWEST_TOKENS:
                self.ratios.learn(family.model, billed / ours)
        if time.monotonic() >= self._save_at:
            self.save()

    def save(self) -> None:
        """Write what was learned; what the system can't write is lost, and said once."""
        self._save_at = time.monotonic() + SAVED_EVERY
        guard.call("estimates", self.ratios.save)
