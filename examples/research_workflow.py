"""Research by six agents on three providers: what each cost, and what it would cost otherwise.

    python -m examples.research_workflow "solid-state batteries"

prints a cost report by agent and model and a chart, compares cheaper ways to run the same work, and
writes `research-usage.json` and (with the extra `charts`) `research-usage.png` into the folder where it
is run. Every call is stored in a ledger, and the last table is read back from it: also what earlier runs on
the topic took. Without keys of all three in the environment (`OPENAI_API_KEY`, `ANTHROPIC_API_KEY`,
`GEMINI_API_KEY`) it runs against the packaged stand-in provider.
"""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import anthropic
import openai
from google import genai

from otel_llm_usage import MissingExtra, UsageScope, WhatIf, agent, instrument, tables, track
from otel_llm_usage.ledger import Question

from .kept import PLACE, kept
from .provider import provider

LARGE = "gpt-4.1"
SMALL = "gpt-4.1-mini"
READER = "gemini-2.5-flash"
WRITER = "gemini-2.5-pro"
CODER = "claude-haiku-4-5"

ASPECTS = ("the state of the art", "open problems", "who pays for it")
ATTEMPTS = 2
"""How often the code is written before it goes on as it is."""


class Clients(NamedTuple):
    """One client of each provider."""

    openai: openai.OpenAI
    anthropic: anthropic.Anthropic
    gemini: genai.Client

    def chat(self, model: str, prompt: str) -> str:
        """One answer of an OpenAI model."""
        answer = self.openai.chat.completions.create(
            model=model, messages=[{"role": "user", "content": prompt}]
        )
        return answer.choices[0].message.content or ""

    def claude(self, model: str, prompt: str) -> str:
        """One answer of an Anthropic model, read as a stream."""
        with self.anthropic.messages.stream(
            model=model, max_tokens=800, messages=[{"role": "user", "content": prompt}]
        ) as stream:
            return stream.get_final_text()

    def google(self, model: str, prompt: str) -> str:
        """One answer of a Gemini model."""
        return self.gemini.models.generate_content(model=model, contents=prompt).text or ""


@contextmanager
def clients() -> Iterator[Clients]:
    """The clients, found by the environment, until the block ends."""
    with openai.OpenAI() as gpt, anthropic.Anthropic() as claude, genai.Client() as gemini:
        yield Clients(gpt, claude, gemini)


# ------------------------------------------------------------ the agents


@agent("planner")
def plan(ask: Clients, topic: str) -> str:
    """What is to be found out."""
    return ask.chat(LARGE, f"Plan research on {topic}: {'; '.join(ASPECTS)}.")


@agent("researcher")
def find_out(ask: Clients, topic: str, steps: str) -> list[str]:
    """Notes on each aspect, looked up at once: threads are charged to whoever started them."""
    with ThreadPoolExecutor(len(ASPECTS)) as pool:
        prompts = [f"Notes on {aspect} of {topic}. Plan: {steps}" for aspect in ASPECTS]
        return list(pool.map(lambda prompt: ask.google(READER, prompt), prompts))


@agent("coder")
def write_code(ask: Clients, notes: Sequence[str], complaint: str) -> str:
    """A program that checks the numbers of the notes."""
    return ask.claude(CODER, f"Write a program that checks {notes}. Mend this: {complaint}")


@agent("tester")
def complain(ask: Clients, code: str) -> str:
    """What is wrong with the code; nothing if it is good."""
    verdict = ask.chat(SMALL, f"Say PASS, or what is wrong with this program: {code}")
    return "" if verdict.startswith("PASS") else verdict


@agent("critic")
def criticise(ask: Clients, notes: Sequence[str], code: str) -> str:
    """What a sceptic would say."""
    return ask.chat(LARGE, f"What is doubtful in these notes: {notes} and in this program: {code}")


@agent("synthesizer")
def synthesize(ask: Clients, notes: Sequence[str], criticism: str) -> str:
    """The report."""
    return ask.google(WRITER, f"Write a report from {notes} that answers: {criticism}")


def research(ask: Clients, topic: str) -> tuple[str, UsageScope]:
    """The report on a topic, and what it took."""
    with track(f"research {topic}", topic=topic) as usage:
        notes = find_out(ask, topic, plan(ask, topic))
        code = complaint = ""
        for _ in range(ATTEMPTS):
            code = write_code(ask, notes, complaint)
            complaint = complain(ask, code)
            if not complaint:
                break
        report = synthesize(ask, notes, criticise(ask, notes, code))
    return report, usage


# ------------------------------------------------------------ what it cost


def tiering(usage: UsageScope) -> dict[str, WhatIf]:
    """Cheaper ways to run the same work, with the same tokens: another model would answer otherwise."""
    return {
        f"planner and critic on {SMALL}": usage.what_if(SMALL, agent=("planner", "critic")),
        "everything as batch": usage.what_if(tier="batch"),
    }


def report_costs(usage: UsageScope, folder: Path) -> None:
    """Print who spent what, and keep it in files."""
    usage.print_summary()
    usage.print_chart(by="agent")
    print("What if?")
    for way, told in tiering(usage).items():
        print(f"{way}: {dollars(told.other_usd)} instead of {dollars(told.actual_usd)}")
    usage.export_json(folder / "research-usage.json")
    try:
        usage.bar_chart(folder / "research-usage.png")
    except MissingExtra as missing:
        print(f"no picture: {missing}")


def dollars(amount: Decimal | None) -> str:
    """An amount for people."""
    return "unknown" if amount is None else f"${amount:.6f}"


def main(topic: str = "solid-state batteries") -> None:
    """Research a topic, and report what that cost."""
    with provider("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        runtime = instrument(ledger=PLACE)
        with clients() as ask:
            report, usage = research(ask, topic)
        print(report[:300], end="\n\n")
        report_costs(usage, Path())
        stored = kept(runtime, Question(scope=usage.id, by=("agent", "model")))
        if stored is not None:
            print(f"All research on {topic} in the ledger")
            tables.show(tables.ReportTable(stored))


if __name__ == "__main__":
    main(*sys.argv[1:2])
