"""`make stack`: the chain from a token to a notification, live on loopback.

Without a duration the agents of the demo, and some that spend more, work until Ctrl-C. With one (`make stack FOR=60s`) it drives a budget of $50 a
minute through its warning and its limit into the next minute, and fails (exit 1) unless the warning,
the critical and the resolved notification come within that time, with the right amounts.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial

from otel_llm_usage import Budget, instrument, uninstrument
from otel_llm_usage.demo import Workload
from otel_llm_usage.notifications import Notification, Receiver
from otel_llm_usage.standin import StandIn

from .servers import NotInstalledError, Servers, until
from .workload import Spender

BUDGET = Budget(name="research", limit_usd=50, period="minute", match={"agent": "researcher"})
_ENOUGH = 15
"""Seconds that must be left of a minute for the warning and the critical notification."""


def main() -> int:
    """Run the chain; 0 if all that had to come came."""
    parser = argparse.ArgumentParser(prog="make stack", description=__doc__)
    parser.add_argument("--for", dest="seconds", type=_duration, default=None)
    options = parser.parse_args()
    try:
        with ExitStack() as stack:
            return _run(stack, options.seconds)
    except NotInstalledError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _run(stack: ExitStack, seconds: float | None) -> int:
    standin = stack.enter_context(StandIn())
    stack.callback(uninstrument)
    runtime = instrument(metrics_port=0, budgets=[BUDGET])
    receiver = stack.enter_context(Receiver().start(print))
    servers = stack.enter_context(
        Servers(target=f"127.0.0.1:{runtime.server.port}", webhook=receiver.url)
    )
    spender = Spender(standin)
    stack.callback(spender.close)
    print(f"application   {runtime.server.url}")
    print(f"Prometheus    {servers.prometheus}/alerts")
    print(f"Alertmanager  {servers.alertmanager}")
    print(f"budget        {BUDGET.name}: ${BUDGET.limit_usd} for the {BUDGET.period}", flush=True)
    until(lambda: servers.query("llm_budget_limit_usd"), 60, "the first scrape")
    if seconds is None:
        workload = Workload(standin.url)  # the agents of `make demo`, for the boards and the rules
        stack.callback(workload.stop)
        workload.start()
        _spend_for_ever(spender)
    try:
        _prove(spender, receiver, seconds or 0)
    except TimeoutError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    print("The warning, the critical and the resolved notification came, to the cent.")
    return 0


def _spend_for_ever(spender: Spender) -> None:
    """Through the budget in less than a minute, over and over."""
    while True:
        for who, dollars in (("critic", 1), ("researcher", 3), ("writer", "0.50")):
            spender.spend(who, dollars)
            time.sleep(1)


def _prove(spender: Spender, receiver: Receiver, seconds: float) -> None:
    """Spend through the budget, and wait for each notification."""
    left = 60 - time.time() % 60
    if left < _ENOUGH:
        print(f"the minute ends in {left:.0f} s: waiting for the next one", flush=True)
        time.sleep(left)
    end = time.monotonic() + seconds
    resets = f"{datetime.fromtimestamp(time.time() // 60 * 60 + 60, UTC):%Y-%m-%d %H:%M:%S}"
    spender.spend("critic", 7)  # another agent's: not this budget's
    for dollars in (30, 9):
        spender.spend("researcher", dollars)
    print("spent $39 of $50: nothing is to be said yet", flush=True)
    time.sleep(3)
    if receiver.received:
        raise TimeoutError(f"nothing is to be said yet, but there came {receiver.received[0]}")
    spender.spend("researcher", 2)
    expect = partial(_expect, receiver, end, resets)
    expect("firing", "LLMBudget80Percent", "$41.00 of $50.00")
    spender.spend("researcher", 11)
    expect("firing", "LLMBudgetExceeded", "$52.00 of $50.00")
    expect("resolved", "LLMBudgetExceeded", "$52.00 of $50.00")


def _expect(
    receiver: Receiver, end: float, resets: str, status: str, alert: str, amount: str
) -> None:
    what = f"the {status} notification of {alert}"
    notification = until(_came(receiver, status, alert), end - time.monotonic(), what)
    told = notification.annotations
    for words in (amount, resets):
        if words not in told["description"]:
            raise TimeoutError(f"{what}: {words!r} is not in {told['description']!r}")
    spent = f"researcher {amount.partition(' ')[0]}"
    if spent not in told["top_spenders"]:
        raise TimeoutError(f"{what}: {spent!r} is not in {told['top_spenders']!r}")


def _came(receiver: Receiver, status: str, alert: str) -> Callable[[], Notification | None]:
    def find() -> Notification | None:
        found = (one for one in receiver.received if (one.status, one.alert) == (status, alert))
        return next(found, None)

    return find


def _duration(text: str) -> float:
    number, unit = text.rstrip("smh"), text[len(text.rstrip("smh")) :]
    try:
        seconds = float(number) * {"": 1, "s": 1, "m": 60, "h": 3600}[unit]
    except (ValueError, KeyError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: say 60s or 2m")
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
