"""Stock analysis by six kinds of Gemini calls, several stocks at once, each with its own bill.

    python -m examples.stock_analysis RELIANCE TCS INFY

Without a key in the environment (`GEMINI_API_KEY`) it runs against the packaged stand-in provider, which
refuses one call, to show that the analysis goes on without it.

`with track(symbol)` around an analysis gathers its calls, and `attribute(call_type=...)` names their
kinds; the functions take no tracker and return no tokens. `instrument(ledger=...)` stores every call, and
each analysis is read back from there by its id.
"""

import io
import random
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

from google import genai
from google.genai import errors, types
from matplotlib.figure import Figure

from otel_llm_usage import agent, attribute, instrument, track
from otel_llm_usage.ledger import Question

from .kept import PLACE, kept
from .provider import provider

FAST = "gemini-2.5-flash"
STRONG = "gemini-2.5-pro"

RUN_CODE = types.GenerateContentConfig(tools=[types.Tool(code_execution=types.ToolCodeExecution())])


class Stock(NamedTuple):
    """What is known of a stock, a number for each day."""

    symbol: str
    closes: Sequence[float]
    volumes: Sequence[float]


def history(symbol: str, days: int = 120) -> Stock:
    """Made-up prices and volumes, always the same ones for a symbol."""
    dice = random.Random(symbol)
    steps = (dice.gauss(0.2, 2.0) for _ in range(days))
    return Stock(
        symbol,
        list(accumulate(steps, initial=500.0)),
        [dice.uniform(1, 9) for _ in range(days + 1)],
    )


def picture(title: str, numbers: Sequence[float], *, bars: bool = False) -> types.Part:
    """A chart for the model to look at. Without pyplot, so that threads may draw at once."""
    figure = Figure(figsize=(6, 3))
    axes = figure.add_subplot(title=title)
    if bars:
        axes.bar(range(len(numbers)), numbers)
    else:
        axes.plot(numbers)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return types.Part.from_bytes(data=png.getvalue(), mime_type="image/png")


# ------------------------------------------------------------ the calls


Ask = Callable[..., str]
"""Asks a model: `ask(model, contents)`."""


def ask(client: genai.Client, model: str, contents: Any, config: Any = None) -> str:
    """The text of one answer."""
    answer = client.models.generate_content(model=model, contents=contents, config=config)
    return answer.text or ""


def indicator_summary(ask: Ask, stock: Stock) -> str:
    """Has the model compute the indicators with code of its own."""
    prompt = f"Compute RSI and MACD of {stock.symbol} from {stock.closes[-30:]} and sum them up."
    return ask(FAST, prompt, RUN_CODE)


def overview_chart(ask: Ask, stock: Stock) -> str:
    """Looks at the prices."""
    chart = picture(f"{stock.symbol}, closes", stock.closes)
    return ask(FAST, [chart, f"Describe the trend of {stock.symbol}."])


def volume_chart(ask: Ask, stock: Stock) -> str:
    """Looks at the volumes."""
    chart = picture(f"{stock.symbol}, volumes", stock.volumes, bars=True)
    return ask(FAST, [chart, f"Does the volume of {stock.symbol} confirm its trend?"])


def reversal_patterns(ask: Ask, stock: Stock) -> str:
    """Looks for the end of the trend."""
    return ask(STRONG, f"Which reversal patterns does {stock.symbol} show? {stock.closes[-60:]}")


def continuation_levels(ask: Ask, stock: Stock) -> str:
    """Looks for what would confirm the trend."""
    return ask(STRONG, f"Above which levels does {stock.symbol} go on? {stock.closes[-60:]}")


STEPS: Sequence[Callable[[Ask, Stock], str]] = (
    indicator_summary,
    overview_chart,
    volume_chart,
    reversal_patterns,
    continuation_levels,
)


def final_decision(ask: Ask, stock: Stock, findings: dict[str, str]) -> str:
    """Weighs what was found."""
    return ask(STRONG, f"Buy, hold or sell {stock.symbol}? {findings}")


# ------------------------------------------------------------ the analysis


def analyse(client: genai.Client, stock: Stock) -> dict[str, Any]:
    """All steps for one stock; what failed is said under `failures`, with the provider's words."""
    findings: dict[str, str] = {}
    failures: dict[str, str] = {}

    def attempt(step: Callable[..., str], *more: Any) -> None:
        name = step.__name__
        with attribute(call_type=name):
            try:
                findings[name] = step(partial(ask, client), stock, *more)
            except errors.APIError as error:
                failures[name] = f"{error.code}: {error.message}"

    with agent("stock analyst"), track(symbol=stock.symbol) as usage:
        for step in STEPS:
            attempt(step)
        attempt(final_decision, dict(findings))
    usage.print_summary()
    return {
        "symbol": stock.symbol,
        "decision": findings.pop("final_decision", None),
        "findings": findings,
        "failures": failures,
        "token_usage": usage.to_dict(),
    }


def analyse_all(client: genai.Client, symbols: Sequence[str]) -> list[dict[str, Any]]:
    """Several stocks at once."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda symbol: analyse(client, history(symbol)), symbols))


def main(symbols: Sequence[str]) -> None:
    """Analyse, and print one line for each stock after the summaries."""
    with provider("GEMINI_API_KEY") as standin:
        if standin is not None:
            refused = f"reversal patterns does {symbols[0]} "
            standin.script(
                status=503,
                message="The model is overloaded.",
                match=lambda seen: refused in str(seen.body),
            )
        runtime = instrument(ledger=PLACE)
        with genai.Client() as client:
            results = analyse_all(client, symbols)
        for result in results:
            total = result["token_usage"]["total"]
            print(
                f"{result['symbol']}: {total['calls']} calls, {total['total_tokens']} tokens, "
                f"${total['cost_usd']}, failed: {result['failures'] or 'none'}"
            )
        for result in results:
            stored = kept(runtime, Question(scope=result["token_usage"]["id"]))
            if stored is not None:
                found = stored.total
                print(f"{result['symbol']} in the ledger: {found.calls} calls, {found.cost_text}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["RELIANCE", "TCS", "INFY"])
