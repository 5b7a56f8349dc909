"""Paired measurements: each round runs the plain client and the instrumented one, in turn.

Times are of computing, not of the clock, and medians over rounds and over processes (where a process
has its code in memory makes a difference of some per cent). The recorded span of the OpenTelemetry
SDK, measured in the same processes, is the yardstick that travels between machines.
"""

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

from . import measures
from .clients import EVENTS, Clients


def calls(rounds: int, number: int) -> dict[str, float]:
    """What is measured in each of several processes, in microseconds."""
    clients = Clients()
    provider = measures.tracing()
    loop, around = measures.recorded_span(clients.chat, number, rounds)
    found = {
        "span in a loop": loop,
        "span around": around,
        "in a loop": measures.in_a_loop(rounds, spans="never"),
        "in a loop, span": measures.in_a_loop(rounds, spans="auto", tracer_provider=provider),
        "charged": measures.in_a_loop(rounds, measures.charged, spans="never"),
        "block": measures.block(rounds),
        "event in a loop": measures.events_in_a_loop(rounds, hidden=False),
        "hidden event in a loop": measures.events_in_a_loop(rounds, hidden=True),
    }
    spans = {"spans": "auto", "tracer_provider": provider}
    streams = max(4, number // 20)
    for name, action, times, options in (
        ("openai chat", clients.chat, number, {"spans": "never"}),
        ("anthropic messages", clients.messages, number, {"spans": "never"}),
        ("gemini generate_content", clients.generate, number, {"spans": "never"}),
        ("openai chat, with a span", clients.chat, number, spans),
        ("stream, usage asked", clients.stream, streams, {"spans": "never"}),
        ("stream, usage hidden", clients.stream_unasked, streams, {"spans": "never"}),
    ):
        one = measures.paired(action, times, rounds, **options)
        found |= {f"{name}: {part}": value for part, value in one._asdict().items()}
    clients.close()
    return found


def elsewhere(*arguments: str) -> Any:
    """The same module in a process of its own."""
    command = [sys.executable, "-m", "tests.bench", *arguments]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def report(options: argparse.Namespace) -> None:
    """Print every figure."""
    rounds = ("--rounds", str(options.rounds), "--number", str(options.number))
    runs = [elsewhere("--part", "calls", *rounds) for _ in range(options.processes)]
    found = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    loop, around = found["span in a loop"], found["span around"]
    print("one recorded span of the OpenTelemetry SDK with 12 attributes, the yardstick:")
    print(f"  {loop:.1f} µs in a loop, {around:.1f} µs around a call")
    print("what one call adds for whoever makes it, in a loop with nothing else:")
    for name, value in (
        ("without a span", found["in a loop"]),
        ("with a span", found["in a loop, span"]),
    ):
        print(f"  {name:26} {value:6.1f} µs  {value / loop:.2f} of that span")
    charged = found["charged"] - found["in a loop"]
    print(f"  {'inside a scope, with labels':26} {charged:6.1f} µs  more")
    print(f"  {'a block of its own':26} {found['block']:6.1f} µs  more")
    for name in ("event", "hidden event"):
        print(f"  {name + ' of a stream':26} {found[f'{name} in a loop']:6.1f} µs")
    print("around real calls of the SDKs, to a provider inside the process:")
    for name in (
        "openai chat",
        "anthropic messages",
        "gemini generate_content",
        "openai chat, with a span",
    ):
        plain, caller, everything = (
            found[f"{name}: {part}"] for part in ("plain", "caller", "all")
        )
        print(
            f"  {name:26} {caller:6.1f} µs  {caller / around:.2f} of that span, {everything:6.1f} µs "
            f"with what threads of ours do later (plain {plain:.0f} µs)"
        )
    for name in ("stream, usage asked", "stream, usage hidden"):
        plain, caller = (found[f"{name}: {part}"] / EVENTS for part in ("plain", "caller"))
        print(f"  {name:26} {caller:6.1f} µs  an event (plain {plain:.0f} µs)")
    for how, said in (
        ("loop", "in a loop with nothing else"),
        ("calls", "of OpenAI without a pause"),
    ):
        print(f"what a ledger in SQLite adds to a call {said} (95 of 100 drawings between):")
        added = elsewhere("--part", f"ledger-{how}")
        for name, what in (
            ("caller", "of the caller's computing"),
            ("clock", "of the caller's time"),
            ("all", "with what threads of ours do"),
        ):
            middle, low, high = measures.between(added[name])
            print(f"  {what:28} {middle:6.1f} µs  ({low:.1f} to {high:.1f})")
    best, median = measures.start_up()
    print(f"import and instrument(): best {best:.0f} ms, median {median:.0f} ms")
    at_once, with_prices = measures.held()
    print(f"resident memory: {at_once:.1f} MiB, {with_prices:.1f} MiB with the prices")
    for wait, said in ((0.01, "10 ms"), (0.0, "at once")):
        kept = measures.kept(8, wait, options.rounds, 1.5)
        print(f"8 threads keep {kept:.1%} of the plain throughput (answers after {said})")
    if options.calls:
        grown = {
            who: elsewhere("--part", f"growth-{who}", "--calls", str(options.calls))
            for who in ("plain", "ours")
        }
        by_calls, by_streams, objects = grown["ours"]
        print(
            f"growth: {by_calls:+.1f} MiB by {options.calls:,} calls (plain {grown['plain'][0]:+.1f}), "
            f"{by_streams:+.1f} MiB by {options.calls // 10:,} dropped streams (plain "
            f"{grown['plain'][1]:+.1f}), {objects:+d} objects of ours"
        )


def main() -> None:
    """See `make bench`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--number", type=int, default=180)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--calls", type=int, default=100_000, help="for growth; 0 leaves it out")
    parser.add_argument(
        "--part",
        choices=("calls", "ledger-loop", "ledger-calls", "growth-plain", "growth-ours"),
        help="for itself",
    )
    options = parser.parse_args()
    if options.part is None:
        report(options)
    elif options.part == "calls":
        print(json.dumps(calls(options.rounds, options.number)))
    elif options.part == "ledger-loop":
        print(json.dumps(measures.ledger_in_a_loop(1_000)))
    elif options.part == "ledger-calls":
        clients = Clients()
        print(json.dumps(measures.ledger(clients.chat, 2_000, 60)))
        clients.close()
    else:
        instrumented = options.part == "growth-ours"
        print(json.dumps(measures.growth(instrumented, options.calls, options.calls // 10)))


if __name__ == "__main__":
    main()
