"""The semantic conventions' own metrics, `gen_ai.client.*`, for dashboards that know only them.

These are the names of the last release of the conventions. Their token types are `input` and
`output`, each with everything in it.
"""

from ..records import Record
from .otel_metrics import Export
from .series import Histograms, Values

TOKENS = tuple(4**power for power in range(14))
SECONDS = tuple(0.01 * 2**power for power in range(14))
"""The buckets that the conventions advise."""

TOKEN_USAGE = "gen_ai.client.token.usage"
DURATION = "gen_ai.client.operation.duration"
FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"

_COMMON = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
)
_ATTRIBUTES = {
    TOKEN_USAGE: (*_COMMON, "gen_ai.token.type"),
    DURATION: (*_COMMON, "error.type"),
    FIRST_CHUNK: _COMMON,
}


class GenAI:
    """Counts records into the histograms that the conventions ask for."""

    def __init__(self, max_label_values: int) -> None:
        self._admit = [Values(max_label_values) for _ in _COMMON]
        self._errors = Values(max_label_values)
        self.tokens = Histograms(
            "gen_ai_client_token_usage",
            "Number of input and output tokens used.",
            _labels(TOKEN_USAGE),
            otel=TOKEN_USAGE,
            unit="{token}",
            bounds=TOKENS,
        )
        self.duration = Histograms(
            "gen_ai_client_operation_duration_seconds",
            "GenAI operation duration.",
            _labels(DURATION),
            otel=DURATION,
            unit="s",
            bounds=SECONDS,
        )
        self.first_chunk = Histograms(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "Time from the request to the first chunk of a stream.",
            _labels(FIRST_CHUNK),
            otel=FIRST_CHUNK,
            unit="s",
            bounds=SECONDS,
        )
        self.families = (self.tokens, self.duration, self.first_chunk)

    def count(self, record: Record, export: Export | None) -> None:
        """Count one record, and hand it on to OTLP."""
        request = record.request
        asked = request.operation, request.provider, request.model or ""
        common = tuple(
            admit.admit(value)
            for admit, value in zip(self._admit, (*asked, record.response_model or ""), strict=True)
        )
        if record.usage is not None:
            sides = ("input", record.usage.input_tokens), ("output", record.usage.output_tokens)
            for side, count in sides:
                if count is not None:
                    _observe(self.tokens, count, (*common, side), export)
        if record.later_entry:
            return
        if record.duration is not None:
            error = self._errors.admit(record.error_type or "")
            _observe(self.duration, record.duration, (*common, error), export)
        if record.time_to_first_chunk is not None:
            _observe(self.first_chunk, record.time_to_first_chunk, common, export)


def _labels(name: str) -> list[str]:
    return [attribute.replace(".", "_") for attribute in _ATTRIBUTES[name]]


def _observe(
    family: Histograms, value: float, values: tuple[str, ...], export: Export | None
) -> None:
    family.at(*values).observe(value)
    if export is not None:
        pairs = zip(_ATTRIBUTES[family.otel], values, strict=True)
        export.observe(family.otel, value, {name: word for name, word in pairs if word})
