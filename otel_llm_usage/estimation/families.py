"""What is known of how the models of a family count: encoding, what stands around messages, seed ratios."""

import re
from typing import NamedTuple

from ..prices import names
from .media import newer_claude
from .tokenizer import Encoding

_OLDER_OPENAI = re.compile(r"(?:gpt-4(?![.o\d])|gpt-3\.?5|text-embedding|davinci|babbage)")
_OPENAI = re.compile(r"(?:gpt|chatgpt|o\d|text-embedding|computer-use|codex|davinci|babbage)")
_REASONING = re.compile(r"(?:gpt-(?:[5-9]|\d\d)|o\d)")


class Seed(NamedTuple):
    """Billed tokens for one of o200k, as measured on recorded traffic."""

    ratio: float
    band: float
    """±, relative: wider than what was seen, for what was not."""
    texts: int
    """How many texts were measured; 0: none, `why` says what stands in for that."""
    why: str = ""


class Family(NamedTuple):
    """How the models of a provider count."""

    name: str
    """`openai`, `claude`, `gemini` or `other`."""
    model: str
    """The model's name without platform, maker and date."""
    encoding: Encoding = "o200k"
    seed: Seed = Seed(1.0, 0.02, 0)
    each: int = 4
    """Tokens around each message."""
    once: int = 3
    """Tokens around all of them."""
    slack: int = 2
    """Tokens by which that may be wrong for a message."""
    hidden: int = 0
    """Tokens that a provider may add to any prompt."""
    assumed: str = ""


# Measured on the recorded traffic by tests/estimation/recorded.py, on requests and answers of nothing but text: the
# ratio is the median of every second text; the others lie within the band and two tokens of slack. 16 of 18 texts of OpenAI come out
# exactly. Seen: Claude 0.996 to 1.43, and 1.97 for one word that is repeated a thousand times (which the band
# leaves out); Gemini 1.0 to 1.43. Most of the texts are short: hence the wide bands.
_OPENAI_SEED = Seed(1.0, 0.02, 18)
_CLAUDE = Seed(1.15, 0.3, 10)
_NEWER_CLAUDE = Seed(
    1.4,
    0.35,
    0,
    "no recorded traffic of this tokenizer; it is documented to take up to 1.35 times as many "
    "tokens as the earlier one",
)
_GEMINI = Seed(1.07, 0.25, 15)
_OTHERS = Seed(1.1, 0.4, 0, "the tokenizer of this model is not known: counted as OpenAI's")


def family(model: str, vendor: str, platform: str) -> Family:
    """The family of a model, by its name; where that does not tell, by who sells it."""
    text = bare(model, platform)
    if "claude" in text:
        text = text[text.index("claude") :]
        return Family("claude", text, seed=_NEWER_CLAUDE if newer_claude(text) else _CLAUDE)
    if "gemini" in text or "gemma" in text or (vendor == "google" and "embedding" in text):
        return Family("gemini", text, seed=_GEMINI, each=0, once=0)
    if _OPENAI.match(text) and not text.startswith("gpt-oss"):
        return Family(
            "openai",
            text,
            "cl100k" if _OLDER_OPENAI.match(text) else "o200k",
            _OPENAI_SEED,
            once=2 if _REASONING.match(text) else 3,
            slack=1,
        )
    if vendor == "openai":
        return Family(
            "openai", text, seed=Seed(1.0, 0.5, 0), assumed="counted as OpenAI's newer models"
        )
    return Family("other", text, seed=_OTHERS, hidden=200)


def bare(model: str, platform: str) -> str:
    """A model's name without platform, maker, date and tuning: they all share one tokenizer."""
    text = names.tuned_stem(names.parse(model, platform).text.rpartition("/")[2])
    text = text.removeprefix("ft:")
    while cut := names.shorter(text):
        text = cut[0]
    return text
