"""What calls teach, and where it is kept."""

import json
import multiprocessing
import os
import random
from statistics import fmean

import anthropic
import openai
import pytest
from google import genai

from otel_llm_usage import ConfigurationError, estimate, instrument
from otel_llm_usage.estimation import Ratios, learning, tokenizer
from otel_llm_usage.estimation.ratios import ENOUGH
from otel_llm_usage.records import Reading, Request, Usage

WORDS = ("ship", "harbour", "morning", "coffee", "window", "letter", "garden", "quietly", "seven")


def prompts(count):
    dice = random.Random(7)
    return [" ".join(dice.choices(WORDS, k=300)) for _ in range(count)]


@pytest.fixture
def at_once(monkeypatch):
    """Every call is one to learn from, and nobody has to wait for the tokenizer."""
    monkeypatch.setattr(learning, "EVERY", 0.0)
    tokenizer.count("o200k", ["x"])


def ask_openai(text):
    with openai.OpenAI() as client:
        client.chat.completions.create(
            model="gpt-4.1-mini", messages=[{"role": "user", "content": text}]
        )


def ask_openai_streaming(text):
    with openai.OpenAI() as client:
        list(client.responses.create(model="gpt-4.1-mini", input=text, stream=True))


def ask_claude(text):
    with anthropic.Anthropic() as client:
        client.messages.create(
            model="claude-haiku-4-5", max_tokens=50, messages=[{"role": "user", "content": text}]
        )


def ask_gemini(text):
    client = genai.Client()
    client.models.generate_content(model="gemini-2.5-flash", contents=text)
    client.close()


@pytest.mark.parametrize(
    ("ask", "model"),
    [
        (ask_openai, "gpt-4.1-mini"),
        (ask_openai_streaming, "gpt-4.1-mini"),
        (ask_claude, "claude-haiku-4-5"),
        (ask_gemini, "gemini-2.5-flash"),
    ],
)
def test_calls_teach_what_the_provider_really_counts(llm_standin, at_once, tmp_path, ask, model):
    path = tmp_path / "ratios.json"
    runtime = instrument(otlp=False, estimate_learning=path)
    *taught, asked = prompts(ENOUGH + 3)
    # the stand-in counts characters, far from any tokenizer's count of such words
    before = estimate(model, asked)
    for text in taught:
        ask(text)
    runtime.flush()
    runtime.flush()  # what calls leave to be done after them
    after = estimate(model, asked)
    assert f"learned from {len(taught)} calls" in after.method
    ask(asked)
    (*_, bill) = llm_standin.ledger
    true = sum(
        count for kind, count in bill.usage.items() if not kind.startswith(("output", "reas"))
    )
    assert abs(after.input_tokens - true) <= 0.05 * true
    assert abs(before.input_tokens - true) > abs(after.input_tokens - true)
    assert after.input_tokens_low <= true <= after.input_tokens_high
    runtime.close()
    kept = path.read_text()
    assert model in kept
    assert not any(word in kept for word in WORDS)
    assert set(json.loads(kept)) == {"models"}


def test_nothing_is_learned_unless_it_was_asked_for(llm_standin, at_once, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runtime = instrument(otlp=False)
    for text in prompts(ENOUGH):
        ask_openai(text)
    runtime.flush()
    assert "learned" not in estimate("gpt-4.1-mini", "hello").method
    assert list(tmp_path.iterdir()) == []


def test_at_most_one_call_a_second_and_no_long_ones(llm_standin, tmp_path, monkeypatch):
    tokenizer.count("o200k", ["x"])
    runtime = instrument(otlp=False, estimate_learning=tmp_path / "ratios.json")
    monkeypatch.setattr(learning, "EVERY", 3600.0)
    for text in prompts(3):
        ask_openai(text)
    runtime.close()
    assert json.loads((tmp_path / "ratios.json").read_text())["models"]["gpt-4.1-mini"][0] == 1
    monkeypatch.setattr(learning, "EVERY", 0.0)
    monkeypatch.setattr(learning, "MOST_BYTES", 1000)
    runtime = instrument(otlp=False, estimate_learning=tmp_path / "others.json")
    ask_openai(prompts(1)[0])
    runtime.close()
    assert not (tmp_path / "others.json").exists()


def test_calls_with_tools_or_pictures_teach_nothing(llm_standin, at_once, tmp_path):
    runtime = instrument(otlp=False, estimate_learning=tmp_path / "ratios.json")
    text = prompts(1)[0]
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    picture = {"type": "image_url", "image_url": {"url": "https://pictures.example/1"}}
    content = [{"type": "text", "text": text}, picture]
    with openai.OpenAI() as client:
        client.chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": text}], tools=[tool]
        )
        client.chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": content}]
        )
    runtime.close()
    assert len(llm_standin.ledger) == 2
    assert not (tmp_path / "ratios.json").exists()


def test_a_process_that_only_estimates_knows_what_others_have_learned(tmp_path, python):
    ratios = Ratios(tmp_path / "ratios.json")
    for _ in range(ENOUGH):
        ratios.learn("claude-haiku-4-5", 1.5)
    ratios.save()
    out = python(
        "import otel_llm_usage\n"
        "print(otel_llm_usage.estimate('claude-haiku-4-5-20251001', 'hello').method)\n",
        OTEL_LLM_USAGE_ESTIMATE_LEARNING=str(tmp_path / "ratios.json"),
    )
    assert out.strip() == f"o200k × 1.5 (learned from {ENOUGH} calls)"


def test_a_folder_that_is_not_there_is_said_at_the_start(tmp_path):
    with pytest.raises(ConfigurationError, match="estimate_learning"):
        instrument(otlp=False, estimate_learning=tmp_path / "no" / "ratios.json")


# ------------------------------------------------------------ the numbers


def test_the_mean_and_the_spread_follow_what_comes(tmp_path):
    dice = random.Random(3)
    came = [dice.gauss(1.2, 0.05) for _ in range(400)]
    ratios = Ratios(tmp_path / "ratios.json")
    for ratio in came:
        ratios.learn("m", ratio)
    found = ratios.of("m")
    assert found.calls == 400
    assert found.ratio == pytest.approx(fmean(came[-40:]), abs=0.03)
    assert 0.05 < found.band < 0.15
    for _ in range(100):
        ratios.learn("m", 1.6)
    assert ratios.of("m").ratio == pytest.approx(1.6, abs=0.01)


def test_a_few_calls_are_not_enough_and_nonsense_is_left_out(tmp_path):
    ratios = Ratios(tmp_path / "ratios.json")
    for ratio in (0.0, -1.0, 100.0, float("nan"), float("inf")):
        for _ in range(ENOUGH):
            ratios.learn("m", ratio)
    for _ in range(ENOUGH - 1):
        ratios.learn("m", 1.1)
    assert ratios.of("m") is None
    ratios.learn("m", 1.1)
    assert ratios.of("m").calls == ENOUGH


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{",
        b'{"models": []}',
        b'{"models": {"m": 1}}',
        b'{"models": {"m": [1, 2]}}',
        b'{"models": {"m": ["x", 1, 1]}}',
        b'{"models": {"m": [5, "x", 1]}}',
        b'{"models": {"m": [5, NaN, 1]}}',
        b'{"models": {"m": [-5, 1, 1]}}',
        b"[" * 100_000,
    ],
)
def test_a_file_that_cannot_be_read_is_one_log_line_and_a_new_beginning(tmp_path, caplog, content):
    path = tmp_path / "ratios.json"
    path.write_bytes(content)
    ratios = Ratios(path)
    assert ratios.of("m") is None
    for _ in range(ENOUGH):
        ratios.learn("m", 1.3)
    ratios.save()
    assert len(caplog.records) == 1
    assert "begins anew" in caplog.text
    assert Ratios(path).of("m").ratio == pytest.approx(1.3)


def _learn(path, model, count):
    for _ in range(count):
        ratios = Ratios(path)
        ratios.learn(model, 1.25)
        ratios.save()
        json.loads(path.read_bytes())  # never half a file


def test_several_processes_write_one_file(tmp_path):
    path = tmp_path / "ratios.json"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_learn, args=(path, f"m{n}", 30)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    kept = json.loads(path.read_bytes())["models"]
    assert kept
    assert all(numbers[1] == 1.25 for numbers in kept.values())
    assert [name for name in os.listdir(tmp_path) if name != "ratios.json"] == []


def test_what_two_have_learned_of_a_model_is_added_up(tmp_path):
    path = tmp_path / "ratios.json"
    one, other = Ratios(path), Ratios(path)
    for _ in range(6):
        one.learn("m", 1.2)
        other.learn("m", 1.2)
    one.save()
    other.save()
    assert one.of("m").calls == other.of("m").calls == 12


PROGRAM = """
import os, sys
import openai
from otel_llm_usage import instrument
from otel_llm_usage.estimation import learning, tokenizer
learning.EVERY = 0.0
tokenizer.count("o200k", ["x"])
instrument(otlp=False, estimate_learning=PATH)
client = openai.OpenAI()
for n in range(3):
    client.responses.create(model="gpt-4.1", input="every morning a letter comes " * 100)
if hasattr(os, "fork"):
    child = os.fork()
    if child == 0:
        sys.exit()
    os.waitpid(child, 0)
"""


def test_a_program_that_just_ends_has_written_what_it_learned_and_its_children_nothing(
    llm_standin, tmp_path, python
):
    path = tmp_path / "ratios.json"
    python(PROGRAM.replace("PATH", repr(str(path))), **llm_standin.environment())
    assert json.loads(path.read_text())["models"]["gpt-4.1"][0] == 3


def test_without_a_tokenizer_nothing_can_be_learned_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer, "installed", lambda: False)
    with pytest.raises(ConfigurationError, match=r"otel-llm-usage\[tokens\]"):
        instrument(otlp=False, estimate_learning=tmp_path / "ratios.json")


def test_each_encoding_is_loaded(tmp_path, llm_standin, monkeypatch):
    warmed = []
    monkeypatch.setattr(learning, "EVERY", 0.0)
    monkeypatch.setattr(tokenizer, "_loaded", {})
    monkeypatch.setattr(tokenizer, "warm", warmed.append)
    learner = learning.Learner(Ratios(tmp_path / "ratios.json"))
    reading = Reading(Usage(input=500, output=1))
    for model in ("gpt-4.1", "gpt-3.5-turbo", "gpt-4.1"):
        request = Request("openai", "openai", "openai-api", "chat", "chat.completions", model)
        learner.heed(request, (reading,), bytes)
    assert warmed == ["o200k", "cl100k"]
