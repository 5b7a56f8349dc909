"""Texts of the recorded traffic, and what was billed for them: `python -m tests.estimation.recorded`.

Two kinds of pairs: requests of nothing but text, with the input tokens that were billed, and answers of
nothing but text that came whole, with the output tokens. Every second one of each family, in the order of the
recordings, is for choosing a ratio; the others are for checking it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any, NamedTuple

from otel_llm_usage.errors import ConfigurationError
from otel_llm_usage.estimation import contents, estimator, families, tokenizer
from otel_llm_usage.providers import hosts
from tests.conftest import cassettes

FEWEST = 5
"""Tokens of the shortest texts: of shorter ones one token is more than the spread."""


class Pair(NamedTuple):
    """A text, and what was billed for it."""

    name: str
    side: str
    family: families.Family
    ours: int
    billed: int

    @property
    def ratio(self) -> float:
        return self.billed / self.ours


def pairs(folder: Path) -> list[Pair]:
    """All pairs of the recordings."""
    return list(_pairs(folder))


def halves(found: list[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Those to choose a ratio by, and those to check it by."""
    return found[::2], found[1::2]


def _pairs(folder: Path) -> Iterator[Pair]:
    for line in (folder / "index.jsonl").read_text().splitlines():
        about = json.loads(line)
        told = about["expected"] or {}
        vendor = about["provider"] if about["provider"] in hosts.NAMED else "other"
        model = about["response_model"] or about["request_model"]
        if not told or not model or about["grade"] not in ("plain", "derived"):
            continue
        host = hosts.named(vendor)
        family = families.family(model, host.vendor, host.platform)
        exchange = json.loads((folder / about["file"]).read_text())
        body = exchange["request"].get("body")
        if isinstance(body, dict) and told["input_tokens"] and not set(about["tags"]) & _NOT_ALL:
            try:
                asked = contents.read(body, embeddings="embed" in model or "voyage" in model)
            except ConfigurationError:
                continue
            if asked.plain and not set(body) & _MORE:
                ours, _ = estimator.text_tokens(asked, family)
                if sum(map(len, asked.texts)) and ours >= FEWEST:
                    yield Pair(about["label"], "request", family, ours, told["input_tokens"])
        hidden = _NOT_SAID if family.name == "gemini" else _NOT_SAID | {"reasoning"}
        text = "".join(map(_said, _events(exchange["response"].get("body"))))
        billed = told["output_tokens"] - told["reasoning_tokens"]
        if text and billed and not set(about["tags"]) & hidden:
            ours, _ = tokenizer.count(family.encoding, [text])
            if ours >= FEWEST:
                yield Pair(about["label"], "answer", family, ours, billed)


_NOT_ALL = {"input_grew_after_start", "iterations", "grade:ambiguous", "video_in"}
_MORE = {"thinking", "output_config"}
_NOT_SAID = {
    "tool_call",
    "server_tool_use",
    "tool_use_prompt",
    "iterations",
    "input_grew_after_start",
    "n>1",
    "last_chunk_lost_a_count",
    "output_audio",
    "output_image",
}


def _events(body: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(body, str):
        return
    if not body.lstrip().startswith(("{", "[")):
        chunks = [line[5:].strip() for line in body.splitlines() if line.startswith("data:")]
    else:
        chunks = [body]
    for chunk in chunks:
        try:
            value = json.loads(chunk)
        except ValueError:
            continue
        yield from (
            one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)
        )


def _said(event: dict[str, Any]) -> str:
    """The text of an answer, or of an event of it."""
    said = ""
    for choice in event.get("choices") or []:
        held = choice.get("delta") or choice.get("message") or {}
        said += (
            held.get("content")
            if isinstance(held.get("content"), str)
            else choice.get("text") or ""
        )
    if event.get("type") == "content_block_delta":
        said += event["delta"].get("text", "")
    if event.get("type") == "message":
        said += "".join(part.get("text", "") for part in event.get("content") or [])
    for candidate in event.get("candidates") or []:
        for part in (candidate.get("content") or {}).get("parts") or []:
            said += "" if part.get("thought") else part.get("text", "")
    if event.get("type") == "response.output_text.delta":
        said += event["delta"]
    return said


def main() -> None:
    """Print the pairs and what comes of them."""
    found = pairs(cassettes())
    for pair in found:
        print(
            f"{pair.family.name:7} {pair.side:8} {pair.name:45} {pair.ours:5} {pair.billed:5} {pair.ratio:.3f}"
        )
    for name in ("openai", "claude", "gemini", "other"):
        ours = [pair for pair in found if pair.family.name == name]
        seed, check = halves(ours)
        for what, some in (("all", ours), ("seed", seed), ("check", check)):
            ratios = [pair.ratio for pair in some]
            weighted = sum(pair.billed for pair in some) / sum(pair.ours for pair in some)
            print(
                f"{name:7} {what:6} n={len(some):3} mean {fmean(ratios):.3f} sd {pstdev(ratios):.3f} "
                f"median {median(ratios):.3f} range {min(ratios):.3f}-{max(ratios):.3f} by tokens {weighted:.3f}"
            )


if __name__ == "__main__":
    main()
