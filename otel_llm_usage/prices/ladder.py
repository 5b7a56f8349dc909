"""A rate that may step up with the size of the prompt."""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

Rate = Fraction | None
"""US dollars per million (tokens), exact; `None`: not listed."""


class Ladder(NamedTuple):
    """A rate for small prompts, and the rates that replace it above certain sizes.

    The step is a cliff: above it the whole request pays the upper rate.
    """

    base: Rate
    rungs: tuple[tuple[int, Rate], ...] = ()
    """`(above, rate)`, ascending: the rate when the prompt has more than `above` tokens."""

    def over(self, size: int) -> Rate:
        """The rate of a prompt with more than `size` tokens, as seen from its highest step."""
        rate = self.base
        for above, step in self.rungs:
            if size < above:
                break
            rate = step
        return rate

    def times(self, factor: Fraction) -> "Ladder":
        """Every step multiplied."""
        return combine(lambda rate: None if rate is None else rate * factor, self)

    def __bool__(self) -> bool:
        return self.base is not None or any(rate is not None for _, rate in self.rungs)


UNLISTED = Ladder(None)


def combine(function: Callable[..., Rate], *ladders: Ladder) -> Ladder:
    """Apply `function` to the rates of all ladders on each of their steps."""
    sizes = sorted({above for ladder in ladders for above, _ in ladder.rungs})
    base = function(*(ladder.base for ladder in ladders))
    return Ladder(base, tuple((at, function(*(each.over(at) for each in ladders))) for at in sizes))


def rescaled(own: Ladder, theirs: Ladder, tier: Ladder) -> Ladder:
    """Move a tier's rate from the standard rate it was listed for to another standard rate."""

    def scale(mine: Rate, standard: Rate, rate: Rate) -> Rate:
        if mine is None or rate is None or not standard:
            return None
        return mine * rate / standard

    return combine(scale, own, theirs, tier)
