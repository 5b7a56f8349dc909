"""The semantic conventions' own metrics, `gen_ai.client.*`, for dashboards that know only them.

These are the names of the last release of the conventions. Their token types are `input` and
`output`, each with everything in it.
"""

from collections.abc import Sequence

from ..records import Record
from .otel_metrics import Export
from .series import Histograms, Values

TOKENS = tuple(4**power for power in range(14))
SECONDS = tuple(0.01 * 2**power for power in range(14))
"""The buckets that the conventions advise."""

TOKEN_USAGE = "gen_ai.client.token.usage"
DURATION = "gen_ai.client.operation.duration"

_COMMON = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
)


class GenAI:
    """Counts records into the two histograms that the conventions ask for."""

    def __init__(self, max_label_values: int) -> None:
        self._models = Values(max_label_values)
        self.tokens = Histograms(
            "gen_ai_client_token_usage",
            "Number of input and output tokens used.",
            _labels("gen_ai.token.type"),
            otel=TOKEN_USAGE,
            unit="{token}",
            bounds=TOKENS,
        )
        self.duration = Histograms(
            "gen_ai_client_operation_duration_seconds",
            "GenAI operation duration.",
            _labels("error.type"),
            otel=DURATION,
            unit="s",
            bounds=SECONDS,
        )
        self.families = (self.tokens, self.duration)

    def count(self, record: Record, export: Export | None) -> None:
        """Count one record, and hand it on to OTLP."""
        request = record.request
        common = (
            request.operation,
            request.provider,
            self._models.admit(request.model or ""),
            self._models.admit(record.response_model or ""),
        )
        if record.usage is not None:
            sides = ("input", record.usage.input_tokens), ("output", record.usage.output_tokens)
            for side, count in sides:
                if count is not None:
                    self.tokens.at(*common, side).observe(count)
                    _hand_on(export, TOKEN_USAGE, count, (*common, side), "gen_ai.token.type")
        if record.duration is not None and record.id[32:33] != "-":
            error = self._models.admit(record.error_type or "")
            self.duration.at(*common, error).observe(record.duration)
            _hand_on(export, DURATION, record.duration, (*common, error), "error.type")


def _labels(last: str) -> Sequence[str]:
    return [name.replace(".", "_") for name in (*_COMMON, last)]


def _hand_on(
    export: Export | None, name: str, value: float, values: tuple[str, ...], last: str
) -> None:
    if export is not None:
        pairs = zip((*_COMMON, last), values, strict=True)
        export.observe(name, value, {key: word for key, word in pairs if word})
