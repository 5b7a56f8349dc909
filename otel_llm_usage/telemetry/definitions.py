"""Every metric: name, kind, labels and what it says. The docs and the dashboards' checks read this."""

from typing import Literal, NamedTuple

Kind = Literal["counter", "histogram", "gauge"]

DURATIONS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300)
"""Upper bounds of the buckets of the durations, in seconds."""

WHO = ("provider", "model", "agent")
"""Where these labels stand, the labels that the user chose follow."""


class Definition(NamedTuple):
    """One metric."""

    name: str
    """Without the namespace, and without the suffix that Prometheus wants."""
    kind: Kind
    unit: str
    """OpenTelemetry's; what stands in braces is no part of a name."""
    labels: tuple[str, ...]
    documentation: str
    mode: Literal["", "mostrecent", "livemax"] = ""
    """How the processes' values of a gauge become one."""

    def family(self, namespace: str) -> str:
        """Prometheus's name of it, without `_total`: `llm_tokens`, `llm_request_duration_seconds`."""
        return "_".join(part for part in (namespace, self.name, self.suffix) if part)

    def exposed(self, namespace: str = "llm") -> str:
        """As a query says it: `llm_tokens_total`, `llm_request_duration_seconds`."""
        return self.family(namespace) + ("_total" if self.kind == "counter" else "")

    def otel(self, namespace: str) -> str:
        """OpenTelemetry's name, of which Prometheus's is the translation: `llm.tokens`."""
        return ".".join(part for part in (namespace, self.name) if part)

    def all_labels(self, extra: tuple[str, ...]) -> tuple[str, ...]:
        """The labels, with the user's own where they belong."""
        where = self.labels.index("agent") + 1 if "agent" in self.labels else len(self.labels)
        chosen = extra if "agent" in self.labels else ()
        return (*self.labels[:where], *chosen, *self.labels[where:])

    @property
    def suffix(self) -> str:
        return {"s": "seconds", "1": "ratio"}.get(self.unit, "")


TOKENS = Definition(
    "tokens", "counter", "{token}", ("type", *WHO), "Billed tokens, in disjoint types."
)
COST = Definition("cost", "counter", "{USD}", ("type", *WHO), "What was billed, in US dollars.")
REQUESTS = Definition(
    "requests", "counter", "{request}", (*WHO, "operation", "status"), "Requests to providers."
)
ESTIMATED = Definition(
    "estimated_tokens",
    "counter",
    "{token}",
    ("type", *WHO),
    "Tokens that are counted as billed by our estimate.",
)
UNPRICED_REQUESTS = Definition(
    "unpriced_requests",
    "counter",
    "{request}",
    ("provider", "model", "reason"),
    "Billed answers whose cost is not known, or only a part of it.",
)
UNPRICED_TOKENS = Definition(
    "unpriced_tokens",
    "counter",
    "{token}",
    ("type", "provider", "model"),
    "Billed tokens without a known price.",
)
MISSING = Definition(
    "usage_missing",
    "counter",
    "{request}",
    ("provider", "model", "reason"),
    "Billed answers without readable usage.",
)
ERRORS = Definition(
    "instrumentation_errors",
    "counter",
    "{error}",
    ("where",),
    "Failures of the instrumentation itself.",
)
DURATION = Definition(
    "request_duration",
    "histogram",
    "s",
    ("provider", "model", "operation"),
    "From the request to the end of its answer.",
)
FIRST_TOKEN = Definition(
    "time_to_first_token",
    "histogram",
    "s",
    ("provider", "model", "operation"),
    "From the request to the first event of a stream.",
)
CATALOGUE_AGE = Definition(
    "price_catalogue_age",
    "gauge",
    "s",
    ("layer",),
    "Time since a layer of the price table was made.",
    "mostrecent",
)
SEAM_PATCHED = Definition(
    "seam_patched",
    "gauge",
    "",
    ("sdk", "seam"),
    "Whether a place of an SDK is instrumented; 0: calls there are not counted.",
    "livemax",
)
BUILD_INFO = Definition(
    "build_info", "gauge", "", ("version", "python"), "What runs here.", "livemax"
)

_BUDGET = ("budget", "period")
BUDGET_LIMIT = Definition(
    "budget_limit_usd", "gauge", "{USD}", _BUDGET, "What may be spent in a period.", "mostrecent"
)
BUDGET_SPENT = Definition(
    "budget_spent_usd",
    "gauge",
    "{USD}",
    _BUDGET,
    "What is spent of the budget in the current period.",
    "mostrecent",
)
BUDGET_UTILIZATION = Definition(
    "budget_utilization",
    "gauge",
    "1",
    _BUDGET,
    "The share of the budget that is spent: 1 is all of it.",
    "mostrecent",
)
BUDGET_START = Definition(
    "budget_period_start_timestamp",
    "gauge",
    "s",
    _BUDGET,
    "When the current period began.",
    "mostrecent",
)
BUDGET_END = Definition(
    "budget_period_end_timestamp",
    "gauge",
    "s",
    _BUDGET,
    "When the budget begins anew.",
    "mostrecent",
)
RECONCILE_RESIDUAL = Definition(
    "reconcile_residual",
    "gauge",
    "1",
    ("provider", "kind"),
    "How much the ledger and the provider's own record differ, as a share of the provider's.",
    "mostrecent",
)

DEFINITIONS = (
    TOKENS,
    COST,
    REQUESTS,
    ESTIMATED,
    UNPRICED_REQUESTS,
    UNPRICED_TOKENS,
    MISSING,
    ERRORS,
    DURATION,
    FIRST_TOKEN,
    CATALOGUE_AGE,
    SEAM_PATCHED,
    BUILD_INFO,
    BUDGET_LIMIT,
    BUDGET_SPENT,
    BUDGET_UTILIZATION,
    BUDGET_START,
    BUDGET_END,
    RECONCILE_RESIDUAL,
)
RESERVED = {"le", "pid"}.union(*(one.labels for one in DEFINITIONS if "agent" in one.labels))
"""Label names that the user's labels would clash with."""
