"""Charts of a scope: files of the right kind, bars as long as what was billed, and no shared state."""

import io
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import openai
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from otel_llm_usage import (
    ConfigurationError,
    MissingExtra,
    agent,
    charts,
    instrument,
    record_usage,
    track,
)
from otel_llm_usage.standin import Answer
from otel_llm_usage.tracking import UsageScope

HELLO = [{"role": "user", "content": "hello"}]
MAGIC = {".png": b"\x89PNG\r\n", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture
def gpt(llm_standin):
    instrument(otlp=False)
    with openai.OpenAI(max_retries=0) as client:
        yield lambda model="gpt-4.1", **more: client.chat.completions.create(
            model=model, messages=HELLO, **more
        )


@pytest.fixture
def usage(gpt):
    with track("analysis-123") as made:
        for name, model in (("planner", "gpt-4.1"), ("planner", "o3"), ("writer", "gpt-5")):
            with agent(name):
                gpt(model)
    return made


@pytest.fixture
def drawn(monkeypatch):
    """The axes of every picture that is drawn."""
    found = []
    save = charts._Picture.save

    def keep(picture):
        save(picture)
        found.extend(picture._figure.axes)

    monkeypatch.setattr(charts._Picture, "save", keep)
    return found


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def lengths(axes):
    """By row, the lengths of what its bar is made of."""
    found = {}
    for bar in axes.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        found.setdefault(row, []).append(bar.get_width())
    return found


def printed(usage, what, **more):
    file = io.StringIO()
    getattr(usage, what)(file=file, **more)
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_the_suffix_says_what_is_written(usage, tmp_path, suffix):
    for number, draw in enumerate((usage.bar_chart, usage.timeline)):
        path = tmp_path / f"{number}{suffix}"
        draw(path)
        assert path.read_bytes().startswith(MAGIC[suffix.lower()])
    assert len(list(tmp_path.iterdir())) == 2


def test_bars_are_as_long_as_what_was_billed(llm_standin, usage, tmp_path, drawn):
    bills = list(llm_standin.ledger)
    usage.bar_chart(tmp_path / "a.svg")
    (axes,) = drawn
    by_agent = {"planner": bills[:2], "writer": bills[2:]}
    dearest_first = sorted(by_agent, key=lambda name: -sum(bill.usd for bill in by_agent[name]))
    assert labels(axes) == dearest_first
    for row, name in enumerate(dearest_first):
        expected = sorted(float(bill.usd) for bill in by_agent[name])
        assert sorted(lengths(axes)[row]) == pytest.approx(expected)


@pytest.mark.parametrize("of", ["cost", "tokens", "calls"])
def test_bars_of_one_field(llm_standin, usage, tmp_path, drawn, of):
    usage.bar_chart(tmp_path / "a.svg", by="model", of=of)
    bills = llm_standin.ledger.bills
    expected = {
        "cost": [float(bill.usd) for bill in bills],
        "tokens": [sum(bill.usage.values()) for bill in bills],
        "calls": [1, 1, 1],
    }[of]
    found = [length for row in lengths(drawn[0]).values() for length in row]
    assert found == pytest.approx(sorted(expected, reverse=True))


def test_sixty_agents_are_the_largest_and_all_others(llm_standin, gpt, tmp_path, drawn):
    with track() as usage:
        for number in range(60):
            with agent(f"an agent with a name of many words, the number is {number}"):
                gpt("gpt-4.1" if number % 2 else "gpt-4.1-mini")
    usage.bar_chart(tmp_path / "a.png")
    usage.timeline(tmp_path / "b.png")
    bars, lanes = drawn
    assert len(labels(bars)) == len(labels(lanes)) == charts._MOST_ROWS
    assert labels(bars)[-1] == labels(lanes)[-1] == "46 others"
    assert all(len(label) <= 30 for label in labels(bars))
    whole = sum(length for row in lengths(bars).values() for length in row)
    assert whole == pytest.approx(float(llm_standin.ledger.usd()))
    assert "46 others" in printed(usage, "print_chart")


def test_labels_do_not_overlap(gpt, tmp_path, drawn):
    with track() as usage:
        for number in range(20):
            with agent(f"agent {number}"):
                gpt()
    usage.bar_chart(tmp_path / "a.png")
    usage.timeline(tmp_path / "b.png")
    for axes in drawn:
        renderer = FigureCanvasAgg(axes.figure).get_renderer()
        for ticks in (axes.get_yticklabels(), axes.get_xticklabels()):
            boxes = [tick.get_window_extent(renderer) for tick in ticks if tick.get_text()]
            for one in boxes:
                assert not any(one.overlaps(other) for other in boxes if other is not one)


def test_formulas_markup_and_strange_signs_are_names(gpt, tmp_path, drawn):
    with track("$x^2$") as usage:
        for name in ("a$b$c", "$\\frac{", "日本語\x1b[0m", "[red]x[/red]"):
            with agent(name):
                gpt()
    usage.bar_chart(tmp_path / "a.svg", by="agent")
    usage.timeline(tmp_path / "b.png")
    assert {"a\\$b\\$c", "\\$\\frac{", "????[0m", "[red]x[/red]"} == set(labels(drawn[0]))


def test_long_names_that_differ_in_the_middle_are_told_apart(tmp_path, drawn):
    models = [f"us.anthropic.claude-{kind}-4-20250514-v1:0" for kind in ("opus", "sonnet")]
    with track() as usage:
        for model in models:
            record_usage(
                {"usage": {"input_tokens": 10, "output_tokens": 5}},
                provider="aws.bedrock", model=model, duration_ms=1000,
            )  # fmt: skip
    usage.bar_chart(tmp_path / "a.svg", by=("agent", "model"))
    usage.timeline(tmp_path / "b.svg", by="model")
    for axes in drawn:
        (legend,) = axes.figure.legends
        assert {text.get_text() for text in legend.get_texts()} == set(models)
    rows = {label.get_text() for label in drawn[1].get_yticklabels()}
    assert rows == set(models)
    told = io.StringIO()
    usage.print_chart(file=told)
    usage.print_timeline(file=told, by="model")
    assert all(told.getvalue().count(model) == 2 for model in models)


def test_an_empty_scope_is_a_picture_that_says_so(tmp_path, drawn):
    empty = track("nothing")
    empty.bar_chart(tmp_path / "a.png")
    empty.timeline(tmp_path / "b.svg")
    for axes in drawn:
        assert "no calls" in [text.get_text() for text in axes.texts]


def test_costs_that_are_not_known_are_lower_bounds(gpt, llm_standin, tmp_path, drawn):
    with track() as usage:
        with agent("half"):
            gpt()
            gpt("nobody-knows-1")
        with agent("nothing known"):
            gpt("nobody-knows-1")
    usage.bar_chart(tmp_path / "a.png")
    texts = [text.get_text().replace("\\", "") for text in drawn[0].texts]
    assert any(text.startswith("at least $") for text in texts)
    assert "unknown" in texts
    assert "at least $" in printed(usage, "print_chart")


def test_a_timeline_is_there_for_whoever_is_failing_and_fast(llm_standin, gpt, tmp_path, drawn):
    with track() as usage:
        record_usage({"input_tokens": 1, "output_tokens": 1}, provider="openai", model="gpt-4.1")
        llm_standin.script(Answer(status=400))
        with pytest.raises(openai.BadRequestError):
            gpt("o3")
    usage.timeline(tmp_path / "a.png", by=("agent", "model"))
    assert len(labels(drawn[0])) == 2
    text = printed(usage, "print_timeline")
    assert "✗ failed" in text
    assert "unknown · gpt-4.1 " in text


def test_calls_at_the_same_time_lie_beside_each_other():
    starts = (0.0, 0.5, 1.0, 1.2)
    packed = charts._packed([charts._Span("a", "m", start, start + 1.0, False) for start in starts])
    assert [[span.start for span in lane] for lane in packed] == [[0.0, 1.0], [0.5], [1.2]]
    crowd = [charts._Span("a", "m", 0.0, 1.0, False)] * 100
    assert sum(map(len, charts._packed(crowd))) == 100
    assert len(charts._packed(crowd)) == charts._MOST_LANES


@pytest.mark.parametrize("name", ["a.jpg", "a", ".png"])
def test_other_kinds_of_files_are_refused(name, tmp_path):
    with pytest.raises(ConfigurationError, match=r"\.png, \.svg, \.pdf"):
        track().bar_chart(tmp_path / name)


def test_what_is_asked_wrongly_is_said(tmp_path):
    with pytest.raises(ValueError, match="cost, tokens, calls"):
        track().bar_chart(tmp_path / "a.png", of="colour")
    with pytest.raises(ValueError, match="cost, tokens, calls"):
        track().print_chart("colour")
    with pytest.raises(ValueError, match="agent, provider"):
        track().timeline(tmp_path / "a.png", by="colour")
    with pytest.raises(ConfigurationError, match="no folder"):
        track().timeline(tmp_path / "nowhere" / "a.png")


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"pip install 'otel-llm-usage\[charts\]'"):
        track().bar_chart(tmp_path / "a.png")
    assert "no calls" in printed(track(), "print_chart")


def test_drawing_changes_nothing_of_the_application(python, tmp_path):
    out = python(
        "import sys, matplotlib, otel_llm_usage\n"
        "params = matplotlib.rcParams\n"
        "before = list(dict.items(params))\n"
        f"otel_llm_usage.track().bar_chart({str(tmp_path / 'a.png')!r})\n"
        "print(before == list(dict.items(params)), 'matplotlib.pyplot' in sys.modules)\n"
    )
    assert out.split() == ["True", "False"]


def test_pictures_are_drawn_by_several_threads_while_calls_are_made(gpt, tmp_path):
    done = threading.Event()
    with track() as usage:

        def call():
            while not done.is_set():
                gpt()

        calling = threading.Thread(target=call)
        calling.start()
        try:
            with ThreadPoolExecutor(4) as pool:
                draws = [usage.bar_chart, usage.timeline] * 4
                paths = [tmp_path / f"{number}.png" for number in range(len(draws))]
                list(pool.map(lambda draw, path: draw(path), draws, paths))
        finally:
            done.set()
            calling.join()
    assert all(path.read_bytes().startswith(MAGIC[".png"]) for path in paths)


# -- in a terminal


def test_bars_of_signs_are_in_proportion(llm_standin, gpt):
    for count in (1_000_000, 500_000):
        llm_standin.script(Answer(usage={"input": count, "output": 0}))
    with track() as usage:
        for name in ("whole", "half"):
            with agent(name):
                gpt()
    whole, half = printed(usage, "print_chart", by="agent").splitlines()[1:]
    assert whole.startswith("whole")
    assert abs(whole.count("█") / 2 - half.count("█")) <= 1
    assert (whole.split()[-1], half.split()[-1]) == ("$2.00", "$1.00")
    assert Decimal(whole.split("$")[-1]) == llm_standin.ledger.bills[0].usd


def test_a_timeline_of_signs_shows_when_calls_ran():
    spans = [
        charts._Span("a", "m", 0.0, 5.0, False),
        charts._Span("a", "m", 7.5, 7.5, False),
        charts._Span("a", "m", 9.0, 10.0, True),
    ]
    line = charts._line(spans, 10.0, 20, charts._BLOCKS)
    assert line.plain == "██████████·····█··█✗"


@pytest.mark.parametrize("seconds", [1e-9, 0.013, 1.0, 59.0, 61.0, 3_601.0, 1e6, 3e9])
def test_ticks_are_few_and_within(seconds):
    ticks = charts._ticks(seconds, 6)
    assert 1 <= len(ticks) <= 7
    assert 0 == ticks[0] <= ticks[-1] <= seconds
    texts = [charts._duration(tick) for tick in ticks]
    assert len(set(texts)) == len(texts)


def test_records_that_are_not_kept_are_said(gpt, tmp_path, drawn):
    small = UsageScope("small", most_calls=2)
    with small:
        for _ in range(3):
            gpt()
    small.timeline(tmp_path / "a.png")
    assert any("1 older ones are not kept" in text.get_text() for text in drawn[0].texts)
