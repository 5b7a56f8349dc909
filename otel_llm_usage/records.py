"""The words that every room speaks: `Usage`, `Request`, `Reading`, `Cost`, `Record`.

What is made on every call is a `NamedTuple`: immutable, and a quarter of the price of a frozen
dataclass. `None` always means *unknown*; zero always means that somebody said zero.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Context, Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

NOTHING: Mapping[str, Any] = MappingProxyType({})
"""The empty mapping that the records share."""

MAPPING = (dict, Mapping)
"""For `isinstance`, which stops at the first that fits: `Mapping` alone runs code of Python's each time."""

LARGEST = 2**40
"""Counts beyond this are nonsense: a million of them add up within the 64 bits of a database."""

PICO = 10**12
"""Money is counted in whole pico-dollars (1e-12 USD): every published rate is exact in them."""


class Usage(NamedTuple):
    """The billed tokens of one response, in **disjoint** kinds: each token stands in one field.

    The field names are the only spelling of a kind anywhere: price keys, metric labels (`type`) and
    ledger columns are derived from `Usage._fields`. A field is `None` where the provider did not
    say (or said nonsense), so the sum of the fields is what was billed as far as it is known.
    """

    input: int | None = None
    """Prompt tokens at the plain rate: not cached, not audio, image or video."""
    input_audio: int | None = None
    input_image: int | None = None
    input_video: int | None = None
    input_tool_use: int | None = None
    """Gemini's `toolUsePromptTokenCount`: what the provider's own tools put into the prompt."""
    cache_read: int | None = None
    """Prompt tokens served from a cache (text, or of a modality that was not told)."""
    cache_read_audio: int | None = None
    cache_read_image: int | None = None
    cache_read_video: int | None = None
    cache_write: int | None = None
    """Written to a cache whose lifetime the provider did not tell."""
    cache_write_5m: int | None = None
    cache_write_30m: int | None = None
    cache_write_1h: int | None = None
    cache_write_12h: int | None = None
    output: int | None = None
    """Answer tokens at the plain rate: not reasoning, not audio, image or video."""
    reasoning: int | None = None
    output_audio: int | None = None
    output_image: int | None = None
    output_video: int | None = None

    @property
    def cache_read_tokens(self) -> int | None:
        """All tokens read from caches, whatever their modality."""
        return _sum(self, _CACHE_READ)

    @property
    def cache_write_tokens(self) -> int | None:
        """All tokens written to caches, whatever their lifetime."""
        return _sum(self, _CACHE_WRITE)

    @property
    def input_tokens(self) -> int | None:
        """Everything billed on the input side, caches included (OpenTelemetry's meaning)."""
        return _sum(self, _INPUT)

    @property
    def output_tokens(self) -> int | None:
        """Everything billed on the output side, reasoning included (OpenTelemetry's meaning)."""
        return _sum(self, _OUTPUT)

    @property
    def total_tokens(self) -> int | None:
        """Everything billed."""
        return _sum(self, slice(None))

    def nonzero(self) -> dict[str, int]:
        """The kinds that were billed, as a dict: `{"input": 12, "output": 3}`."""
        return {kind: count for kind, count in zip(KINDS, self, strict=True) if count}


KINDS: tuple[str, ...] = Usage._fields
"""Every kind of token, in the order of `Usage`."""

_INPUT = slice(0, KINDS.index("output"))
_OUTPUT = slice(KINDS.index("output"), len(KINDS))
_CACHE_READ = slice(KINDS.index("cache_read"), KINDS.index("cache_write"))
_CACHE_WRITE = slice(KINDS.index("cache_write"), KINDS.index("output"))
INPUT_KINDS: tuple[str, ...] = KINDS[_INPUT]
CACHE_READ_KINDS: tuple[str, ...] = KINDS[_CACHE_READ]
CACHE_WRITE_KINDS: tuple[str, ...] = KINDS[_CACHE_WRITE]
OUTPUT_KINDS: tuple[str, ...] = KINDS[_OUTPUT]


def _sum(usage: tuple[int | None, ...], part: slice) -> int | None:
    counts = usage[part]
    total = sum(filter(None, counts))
    return total if total or counts.count(None) < len(counts) else None


class Request(NamedTuple):
    """What is asked of a provider, read from one outgoing HTTP request."""

    provider: str
    """`gen_ai.provider.name` of the semantic conventions: `openai`, `azure.ai.openai`, `anthropic`,
    `aws.bedrock`, `gcp.gemini`, `gcp.vertex_ai`, `groq`…"""
    vendor: str
    """Whose price list applies: `openai`, `anthropic`, `google`, or another id of the price table."""
    platform: str
    """Where it is sold: `openai-api`, `azure`, `claude-api`, `bedrock`, `gemini-api`, `vertex`…"""
    operation: str
    """`gen_ai.operation.name`: `chat`, `generate_content`, `embeddings`, `text_completion`…"""
    endpoint: str
    """Which shape the answer has: `chat.completions`, `responses`, `messages`, `generate_content`…"""
    model: str | None = None
    """The model asked for, as the caller spelled it."""
    stream: bool = False
    server_address: str | None = None
    server_port: int | None = None
    tier: str | None = None
    """The service tier that was asked for; the response's own word wins."""
    region: str | None = None
    """Where it is served, if the price depends on it: a Vertex location, a Bedrock prefix."""
    hints: Mapping[str, Any] = NOTHING
    """What else of the request the bill depends on, without content: `{"tools": ("web_search",)}`,
    `{"ttl": 7200}`, `{"betas": (...)}`."""


class Reading(NamedTuple):
    """What one answer says was billed. Most answers hold one; Anthropic's `iterations` several."""

    usage: Usage | None = None
    """`None`: the answer reported no usage."""
    units: Mapping[str, int | Decimal] = NOTHING
    """Billed quantities that are not tokens, by SKU: `{"web_search": 2}`, `{"audio_seconds": 95}`."""
    model: str | None = None
    """The model that answered, where the answer says so."""
    tier: str | None = None
    """The tier that was used: `standard`, `batch`, `flex`, `priority`, `fast`…, or the provider's
    own word where we don't know it; `None` where the answer does not say."""
    region: str | None = None
    """Where it was served, if the answer says so (Anthropic's `inference_geo`)."""
    response_id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    entry: str | None = None
    """Type of the iteration: `message`, `advisor_message`, `compaction`, `fallback_message`."""
    final: bool = True
    """False while these are running numbers: the stream had not ended."""
    notes: tuple[str, ...] = ()
    """What contradicts itself or was unreadable, as `word` or `word:field`: `total_mismatch:2`,
    `bad_usage:prompt_tokens`, `cache_exceeds_input`. Marked, never guessed."""

    @property
    def bad(self) -> str | None:
        """The first note of something that could not be read."""
        return next((note for note in self.notes if note.startswith("bad_")), None)


CostStatus = Literal["priced", "derived", "free", "prepaid", "not_billed", "partial", "unpriced"]
UsageSource = Literal["reported", "partial", "estimated", "missing", "bad"]


class CostLine(NamedTuple):
    """One line of a bill."""

    sku: str
    """A kind of `Usage`, or the SKU of a unit."""
    quantity: int | Decimal
    unit_price: Decimal
    """US dollars for one token or unit, after every multiplier."""
    amount: Decimal
    """US dollars: `quantity * unit_price`, exact."""
    source: str
    """Where the rate comes from."""


class PricedLine(NamedTuple):
    """A `CostLine` in the integers it was counted in."""

    sku: str
    quantity: int | Decimal
    pico: int
    """Whole pico-dollars."""
    source: str


class Cost(NamedTuple):
    """The dollars of one response, or why there are none.

    `status` is one of:

    - `priced`: every quantity had a listed rate;
    - `derived`: priced, some rate through a documented factor instead of a listed number;
    - `free`: the price list says that this is free;
    - `prepaid`: paid in advance (provisioned throughput…): costs nothing more. With fees on top it
      is `priced`, and `assumed` says that the tokens are paid;
    - `not_billed`: the provider refused or failed, and bills nothing;
    - `partial`: some quantity has no known rate: `total` is unknown, `known` is what is sure;
    - `unpriced`: nothing could be priced, `reasons` says why.
    """

    status: CostStatus
    pico: int | None = None
    """The total in pico-dollars; `None` when it is not known."""
    priced_lines: tuple[PricedLine, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why not: `unknown_model`, `unknown_tier`, `unknown_region`, `no_rate:<sku>`, `no_usage`,
    `no_count:<what>`, `bad_usage`, `stream_aborted`, `no_response`, `background`."""
    assumed: tuple[str, ...] = ()
    """What is metered per account and was assumed, such as a used-up free allowance."""
    catalogue_version: str = ""
    card: str = ""
    """Which rate card: model, platform, tier and validity."""
    stale: bool = False
    """The price table is older than the user allows."""
    notes: tuple[str, ...] = ()
    """What in the usage contradicted itself and was priced all the same, see `Reading.notes`."""
    saved_pico: int = 0
    """Pico-dollars that caches have saved: what their tokens cost less than plain input. Negative where
    writing cost more than reading saved."""

    @property
    def total(self) -> Decimal | None:
        """US dollars, exact; `None` when unknown (never zero for unknown)."""
        return None if self.pico is None else dollars(self.pico)

    @property
    def known_pico(self) -> int:
        """Pico-dollars of what has a price: the total, else what is sure of it."""
        if self.pico is not None:
            return self.pico
        return sum(line.pico for line in self.priced_lines)

    @property
    def incomplete(self) -> bool:
        """Whether any part of what was billed has no known price."""
        return self.status in ("partial", "unpriced")

    @property
    def known(self) -> Decimal:
        """US dollars of the lines that have a rate: the total, or its lower bound."""
        return dollars(sum(line.pico for line in self.priced_lines))

    @property
    def lines(self) -> tuple[CostLine, ...]:
        """The bill, line by line, in dollars."""
        return tuple(
            CostLine(
                line.sku,
                line.quantity,
                _MONEY.divide(dollars(line.pico), line.quantity) if line.quantity else Decimal(0),
                dollars(line.pico),
                line.source,
            )
            for line in self.priced_lines
        )


_MONEY = Context(prec=28, traps=[InvalidOperation])
"""Of our own: an application may count with fewer digits, and money must not become less exact by it."""


def dollars(pico: int) -> Decimal:
    """Pico-dollars as exact dollars without trailing zeros: `dollars(260_000_000) == 0.00026`."""
    exact = Decimal(pico).scaleb(-12, _MONEY)
    whole = exact.to_integral(context=_MONEY)
    return whole if exact == whole else exact.normalize(_MONEY)


def as_text(amount: Decimal | None) -> str | None:
    """Dollars for JSON."""
    return None if amount is None else f"{amount:f}"


class Record(NamedTuple):
    """One billed response, or one request that failed. It stands on its own and never changes."""

    id: str
    """Unique; the ledger's idempotency key."""
    time: float
    """When the request was sent, in seconds since the epoch, UTC."""
    request: Request
    status: str
    """`ok`, `error` (no billed answer), `aborted` (the caller left the stream early) or `broken`
    (the stream failed, or ended before its end)."""
    usage: Usage | None
    usage_source: UsageSource
    """`reported`: the provider's final numbers; `partial`: its running numbers; `estimated`: ours,
    from the delivered text; `missing`: none were sent; `bad`: they could not be read."""
    cost: Cost
    units: Mapping[str, int | Decimal] = NOTHING
    response_model: str | None = None
    response_id: str | None = None
    tier: str | None = None
    """The tier that was used; `None` where the answer does not say."""
    region: str | None = None
    entry: str | None = None
    finish_reasons: tuple[str, ...] = ()
    duration: float | None = None
    """Seconds from the request to the end of the answer."""
    time_to_first_chunk: float | None = None
    """Seconds from the request to the first event of a stream; `None` without a stream."""
    error_type: str | None = None
    """The HTTP status, or the exception's type name."""
    http_status: int | None = None
    agent: str = "unknown"
    labels: Mapping[str, str] = NOTHING
    trace_id: str | None = None
    """32 hexadecimal digits, or `None` outside a trace."""
    span_id: str | None = None
    notes: tuple[str, ...] = ()
    estimated_kinds: tuple[str, ...] = ()
    """Which counts of an `estimated` usage are ours; the others the provider told."""
    trace_sampled: bool = True
    """False where the trace is not recorded: `trace_id` joins logs, but leads to no span."""
    error_message: str | None = None
    """What the user said of a failure by hand; what providers say may hold anybody's text."""
    scopes: tuple[str, ...] = ()
    """Ids of the usage scopes around it, the outermost first."""

    @property
    def provider(self) -> str:
        """`gen_ai.provider.name`."""
        return self.request.provider

    @property
    def operation(self) -> str:
        """`gen_ai.operation.name`."""
        return self.request.operation

    @property
    def model(self) -> str:
        """The model that is billed: the one that answered, else the one asked for."""
        return self.response_model or self.request.model or "unknown"

    @property
    def later_entry(self) -> bool:
        """Whether it is another billed entry of an answer that has a record already."""
        return self.id[32:33] == "-"  # "<32 digits>-1"

    @property
    def reading(self) -> Reading:
        """What the answer said was billed."""
        return Reading(
            usage=self.usage,
            units=self.units,
            model=self.response_model,
            tier=self.tier,
            region=self.region,
            entry=self.entry,
            notes=self.notes,
        )

    @property
    def estimated(self) -> bool:
        """Whether any count is our estimate."""
        return self.usage_source == "estimated"

    @property
    def cost_usd(self) -> Decimal | None:
        """US dollars, exact; `None` when unknown, and `cost.reasons` says why."""
        return self.cost.total


class Estimate(NamedTuple):
    """What a call would use and cost. Everything that was assumed is said."""

    model: str
    provider: str
    """`openai`, `gcp.gemini`, `anthropic`…, as in a record."""
    input_tokens: int
    input_tokens_low: int
    input_tokens_high: int
    max_output_tokens: int | None
    """Of all answers together; `None`: nobody said, and the model's own limit is not known here."""
    input_usd: Decimal | None
    """US dollars of the input, nothing of it from a cache; `None` where no price is known."""
    max_usd: Decimal | None
    """US dollars of the input and of the longest answer; `None` where a price or the limit is not known."""
    method: str
    """`o200k`, `o200k × 1.1 (measured on 7 texts)`, `o200k × 1.16 (learned from 120 calls)`, `characters`."""
    error_band: float
    """By how much the input tokens may be wrong, relative: 0.3 is ±30 %."""
    assumed: tuple[str, ...] = ()
    """What was assumed, in words."""
    reasons: tuple[str, ...] = ()
    """Why there are no dollars, if there are none: `unknown_model`, `no_rate:…`, `no_max_output_tokens`."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON; dollars as text, exact."""
        return self._asdict() | {
            "input_usd": as_text(self.input_usd),
            "max_usd": as_text(self.max_usd),
            "assumed": list(self.assumed),
            "reasons": list(self.reasons),
        }


class BudgetStatus(NamedTuple):
    """How a budget stands in its current period."""

    budget: str
    period: str
    limit_usd: Decimal
    spent_usd: Decimal
    """US dollars, exact; what has no known price is not in it."""
    start: float
    """When the period began, in seconds since the epoch."""
    end: float
    """When the next one begins."""

    @property
    def utilization(self) -> float:
        """The share of the limit that is spent: 0.8 is 80 %."""
        return float(self.spent_usd / self.limit_usd)


class BudgetThreshold(NamedTuple):
    """The spending of a budget has reached a threshold. Told once in a period."""

    budget: str
    period: str
    threshold: Decimal
    """A share of the limit: 0.8 is 80 %."""
    limit_usd: Decimal
    spent_usd: Decimal
    start: datetime
    end: datetime
    """When the budget begins anew."""


Sink = Callable[[Record], None]
"""Takes each finished record, soon after its call. Called by one thread at a time, in the order in
which the calls ended; `Runtime.flush()` waits for it."""

Pricer = Callable[[Request, Reading, float], Cost]
"""What a reading costs at a time (seconds since the epoch)."""
