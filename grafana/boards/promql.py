"""The words of the queries: recordings, selectors, windows.

Money, tokens and calls are sums of the rules' recordings, each of which holds what one minute
added. `increase()` is blind to what a new series is born with, and so is never used for them.
"""

COST = "model_agent_provider:llm_cost_usd:delta1m"
COST_BY_TYPE = "type_model_agent_provider:llm_cost_usd:delta1m"
TOKENS = "type_model_agent_provider:llm_tokens:delta1m"
CALLS = "status_model_agent_provider:llm_requests:delta1m"
ESTIMATED = "type_model_agent_provider:llm_estimated_tokens:delta1m"
UNPRICED = "provider_model_reason:llm_unpriced_requests:delta1m"
UNPRICED_TOKENS = "type_provider_model:llm_unpriced_tokens:delta1m"
MISSING = "provider_model_reason:llm_usage_missing:delta1m"
FAULTS = "where:llm_instrumentation_errors:delta1m"

SPENT = "budget_period:llm_budget_spent_usd:sum"
LIMIT = "budget_period:llm_budget_limit_usd:max"
USED = "budget_period:llm_budget_utilization:ratio"
FORECAST = "budget_period:llm_budget_forecast_usd:value"
BURN = "budget_period:llm_budget_burn:ratio1h"
ENDS = "llm_budget_period_end_timestamp_seconds"

WHO = 'provider=~"$provider", agent=~"$agent", model=~"$model"'
MODEL = 'provider=~"$provider", model=~"$model"'
BUDGET = 'budget=~"$budget"'
JOB = 'job="llm-usage"'
"""The name of the scrape job, which the alerts look for, too."""

HOUR, DAY, WEEK = "1h", "24h", "7d"
CACHE = "cache_read|cache_write.*"
"""Text that was read from caches or written to them; other modalities have rates of their own."""


def of_budget(gauge: str) -> str:
    """How each budget stands, whatever process says it."""
    return f"max by (budget, period) ({gauge}{{{BUDGET}}})"


def added(
    recording: str, where: str = WHO, window: str = DAY, *, by: str = "", ago: str = ""
) -> str:
    """What a window added, for each value of the labels `by`; `ago` moves the window back."""
    moved = f" offset {ago}" if ago else ""
    return f"sum{_by(by)} (sum_over_time({recording}{_of(where)}[{window}]{moved}))"


def or_zero(expr: str, window: str = DAY, *, ago: str = "", **name: str) -> str:
    """Zero where calls were recorded and nothing is found among them.

    Without the rules there is no zero: nothing is known then. `name` is the label of that zero.
    """
    zero = f"0 * {added(CALLS, '', window, ago=ago)}"
    for label, value in name.items():
        zero = f'label_replace({zero}, "{label}", "{value}", "", "")'
    return f"{expr} or on () {zero}"


def share(part: str, whole: str) -> str:
    """A part of a whole that is not nothing."""
    return f"({part}) / ({whole} > 0)"


def quantile(q: float, histogram: str, where: str = MODEL) -> str:
    """A quantile of a histogram, over each step of the graph."""
    rate = f"sum by (le) (rate({histogram}_bucket{{{where}}}[$__rate_interval]))"
    return f"histogram_quantile({q}, {rate})"


def largest(expr: str, by: str) -> str:
    """The ten largest that are not nothing."""
    return or_zero(f"topk(10, {expr} > 0)", **{by: "none"})


def _of(where: str) -> str:
    return f"{{{where}}}" if where else ""


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
