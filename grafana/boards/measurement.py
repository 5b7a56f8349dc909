"""LLM measurement health: whether the numbers of the other board can be trusted."""

from grafana_foundation_sdk.builders import dashboard

from . import layout
from . import panels as p
from . import promql as q
from .layout import Place, Row
from .panels import Column, Head, now, over_time

UID = "llm-measurement"

UP = f"up{{{q.JOB}}}"
WAS_CALLED = "provider, model, reason"
SEAMS = "min by (sdk, seam) (llm_seam_patched)"

ALL_UP: p.Steps = ((None, "red"), (1, "green"))
OLD: p.Steps = ((None, "green"), (60 * 86400, "orange"), (180 * 86400, "red"))
ESTIMATES: p.Steps = ((None, "green"), (0.05, "orange"))
UNREADABLE: p.Steps = ((None, "green"), (0.001, "orange"), (0.01, "red"))


def board() -> dashboard.Dashboard:
    """The board."""
    series = "llm_requests_total"
    return layout.board(
        UID,
        "LLM measurement health",
        "Whether every call is seen, counted and priced: what is missing here, LLM spend lacks.",
        [
            layout.choice("provider", "Provider", series),
            layout.choice("model", "Model", f'{series}{{provider=~"$provider"}}'),
        ],
        [_running(), _counted(), _priced(), _patched()],
    )


def _running() -> Row:
    down_if_unknown = f"{UP} or 0 * absent({UP})"
    targets = p.stat_of(
        Head(
            1,
            "Targets",
            "Whether Prometheus reaches each process that serves metrics. What is spent while one "
            "is down appears when it is back, unless its process ends before.",
            ("LLMMeterDown",),
        ),
        p.NUMBER,
        now(down_if_unknown, "{{instance}}"),
        steps=ALL_UP,
        words={"0": ("down", "red"), "1": ("up", "green")},
    )
    processes = p.stat_of(
        Head(
            2,
            "Processes",
            "How many processes have this library at work.",
            ("LLMMeterAbsent",),
        ),
        p.COUNT,
        now("count(llm_build_info) or vector(0)"),
        steps=ALL_UP,
    )
    unpatched = p.stat_of(
        Head(
            3,
            "Not patched",
            "Places of the SDKs where calls are not seen: another version may have moved them.",
        ),
        p.COUNT,
        now(f"count({SEAMS} == 0) or 0 * count({SEAMS})"),
        steps=p.BAD_FROM_ONE,
    )
    prices = p.stat_of(
        Head(
            4,
            "Age of the price table",
            "Time since each layer of the price table was made. Providers change prices: orange "
            "from 60 days, red from 180.",
        ),
        p.SECONDS,
        now("max by (layer) (llm_price_catalogue_age_seconds)", "{{layer}}"),
        steps=OLD,
    )
    builds = p.table_of(
        Head(5, "What runs", "Which versions of this library and of Python are at work."),
        {"version": "Version", "python": "Python"},
        [Column("Processes", p.COUNT, "count by (version, python) (llm_build_info)")],
        sort="Processes",
    )
    scrapes = p.lines_of(
        Head(6, "Duration of scrapes", "How long Prometheus takes to read the metrics."),
        p.SECONDS,
        over_time(f"scrape_duration_seconds{{{q.JOB}}}", "{{instance}}"),
    )
    return Row(
        100,
        "Is the meter running?",
        (
            Place(0, 0, 8, 4, targets),
            Place(8, 0, 4, 4, processes),
            Place(12, 0, 4, 4, unpatched),
            Place(16, 0, 8, 4, prices),
            Place(0, 4, 12, 7, scrapes),
            Place(12, 4, 12, 7, builds),
        ),
    )


def _counted() -> Row:
    calls = q.added(q.CALLS, q.MODEL)
    made = p.stat_of(
        Head(7, "Calls, last 24 h", "Requests to providers that were seen."),
        p.COUNT,
        now(q.or_zero(calls)),
    )
    missing = p.stat_of(
        Head(
            8,
            "No usage, 24 h",
            "The share of calls that were billed and told no usage that could be read: neither "
            "their tokens nor their cost are counted. The alert asks whether it is over 1 % of the "
            "calls of one model in an hour.",
            ("LLMUsageMissing",),
        ),
        p.SMALL_SHARE,
        now(q.share(q.or_zero(q.added(q.MISSING, q.MODEL)), calls)),
        steps=UNREADABLE,
    )
    estimated = p.stat_of(
        Head(
            9,
            "Estimated, 24 h",
            "The share of tokens that is our estimate, because the provider did not tell: streams "
            "that were left early, mostly. Orange from 5 %.",
        ),
        p.SHARE,
        now(
            q.share(q.or_zero(q.added(q.ESTIMATED, q.MODEL)), q.added(q.TOKENS, q.MODEL)),
        ),
        steps=ESTIMATES,
    )
    faults = p.stat_of(
        Head(
            10,
            "Faults, 24 h",
            "How often the measurement itself failed. The calls are not affected; what they cost "
            "may be counted wrongly or not at all.",
            ("LLMInstrumentationErrors",),
        ),
        p.COUNT,
        now(q.or_zero(q.added(q.FAULTS, ""))),
        steps=p.FINE_AT_ZERO,
    )
    statuses = p.lines_of(
        Head(
            11,
            "Calls per hour, by status",
            "ok, error (no billed answer), aborted (your side left the stream), broken (the stream "
            "failed). Each point is the sum of the hour before it.",
        ),
        p.COUNT,
        over_time(q.added(q.CALLS, q.MODEL, q.HOUR, by="status"), "{{status}}"),
        stacked=True,
        colours=p.STATUS_COLOURS,
    )
    reasons = p.ranking_of(
        Head(
            12,
            "Calls without usage by reason, last 24 h",
            "Why billed calls of the last 24 hours have no usage.",
            ("LLMUsageMissing",),
        ),
        p.COUNT,
        "reason",
        q.largest(q.added(q.MISSING, q.MODEL, by="reason"), "reason"),
    )
    places = p.ranking_of(
        Head(
            13,
            "Faults by place, last 24 h",
            "Where the measurement failed in the last 24 hours.",
            ("LLMInstrumentationErrors",),
        ),
        p.COUNT,
        "where",
        q.largest(q.added(q.FAULTS, "", by="where"), "where"),
    )
    return Row(
        200,
        "Is every call counted?",
        (
            Place(0, 0, 4, 4, made),
            Place(4, 0, 4, 4, missing),
            Place(0, 4, 4, 4, estimated),
            Place(4, 4, 4, 4, faults),
            Place(8, 0, 8, 8, statuses),
            Place(16, 0, 8, 4, reasons),
            Place(16, 4, 8, 4, places),
        ),
    )


def _priced() -> Row:
    calls = q.added(q.UNPRICED, q.MODEL, by=WAS_CALLED)
    share = p.stat_of(
        Head(
            14,
            "Unpriced, 24 h",
            "The share of calls whose cost is not known, or only a part of it.",
            ("LLMUnpricedCalls",),
        ),
        p.SHARE,
        now(q.share(q.or_zero(q.added(q.UNPRICED, q.MODEL)), q.added(q.CALLS, q.MODEL))),
        steps=p.FINE_AT_ZERO,
    )
    table = p.table_of(
        Head(
            15,
            "Unpriced calls, last 24 h",
            "Which models, and why. unknown_model: put its price into a price file.",
            ("LLMUnpricedCalls",),
        ),
        {"provider": "Provider", "model": "Model", "reason": "Reason"},
        [
            Column(
                "Calls",
                p.COUNT,
                q.or_zero(calls, provider="none", model="none", reason="none"),
            )
        ],
        sort="Calls",
    )
    tokens = p.ranking_of(
        Head(
            16,
            "Unpriced tokens by model, last 24 h",
            "How much was billed at a rate that is not known.",
            ("LLMUnpricedCalls",),
        ),
        p.COUNT,
        "model",
        q.largest(q.added(q.UNPRICED_TOKENS, q.MODEL, by="model"), "model"),
    )
    return Row(
        300,
        "Is every call priced?",
        (
            Place(0, 0, 4, 6, share),
            Place(4, 0, 12, 6, table),
            Place(16, 0, 8, 6, tokens),
        ),
    )


def _patched() -> Row:
    table = p.table_of(
        Head(
            17,
            "Places of the SDKs",
            "Where calls are seen. A place of an SDK that is not imported yet is not shown.",
        ),
        {"sdk": "SDK", "seam": "Place"},
        [
            Column(
                "State",
                p.NUMBER,
                SEAMS,
                p.text_cell(
                    ((None, "red"), (1, "green")),
                    mappings=p.mapping({"0": ("not patched", "red"), "1": ("patched", "green")}),
                ),
            )
        ],
        sort="State",
        desc=False,
    )
    return Row(400, "Is every place patched?", (Place(0, 0, 24, 16, table),))
