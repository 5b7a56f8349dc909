"""LLM spend: what it costs, what it may cost, and who and what makes it so."""

from grafana_foundation_sdk.builders import dashboard

from . import layout
from . import panels as p
from . import promql as q
from .layout import Place, Row
from .panels import Column, Head, Panel, now, over_time

UID = "llm-spend"

PAIR = "agent, model"
EACH_BUDGET = "{{budget}} ({{period}})"
BUDGET_ALERTS = ("LLMBudget80Percent", "LLMBudget90Percent", "LLMBudgetExceeded")
PER_HOUR = "Each point is the sum of the hour before it."

MORE: p.Steps = ((None, "green"), (0.25, "orange"), (1, "red"))
FAST: p.Steps = ((None, "text"), (6, "orange"), (14.4, "red"))
FAILING: p.Steps = ((None, "green"), (0.02, "orange"), (0.05, "red"))


def board() -> dashboard.Dashboard:
    """The board."""
    series = "llm_cost_total"
    by_provider = 'provider=~"$provider"'
    return layout.board(
        UID,
        "LLM spend",
        "What LLM calls cost: budgets, changes, who spends, why, and whether it works.",
        [
            layout.choice("budget", "Budget", "llm_budget_limit_usd"),
            layout.choice("provider", "Provider", series),
            layout.choice("agent", "Agent", f"{series}{{{by_provider}}}"),
            layout.choice("model", "Model", f'{series}{{{by_provider}, agent=~"$agent"}}'),
        ],
        [_in_budget(), _changed(), _who(), _why(), _working()],
    )


def _in_budget() -> Row:
    used, spent, limit, forecast, burn, ends = map(
        q.of_budget, (q.USED, q.SPENT, q.LIMIT, q.FORECAST, q.BURN, q.ENDS)
    )
    fullest = p.stat_of(
        Head(
            1,
            "Fullest budget",
            "How much of its limit the fullest budget has spent in its current period. Orange from "
            "80 %, red when all is spent.",
            BUDGET_ALERTS,
        ),
        p.SHARE,
        now(f"topk(1, {used})", EACH_BUDGET),
        steps=p.OF_LIMIT,
    )
    highest = p.stat_of(
        Head(
            2,
            "Highest forecast",
            "Where spending at the rate of the last hours leads until the period ends, as a share "
            "of the limit: the last 6 hours for days and weeks, 24 hours for months and more. Red: "
            "the limit will not do.",
            ("LLMBudgetForecastExceeds",),
        ),
        p.SHARE,
        now(f"topk(1, {forecast} / {limit})", EACH_BUDGET),
        steps=p.OF_LIMIT,
    )
    table = p.table_of(
        Head(
            3,
            "Budgets",
            "Each budget in its current period. The forecast is for the period's end. Burn is how "
            "many times faster than evenly over the period the last hour spent: 1 is just right. "
            "These are the budgets' own counts; provider, agent and model do not narrow them.",
            ("LLMBudgetFastBurn", "LLMBudgetForecastExceeds"),
        ),
        {"budget": "Budget", "period": "Period"},
        [
            Column("Used", p.SHARE, used, p.gauge_cell(p.OF_LIMIT, max=1, **{"custom.width": 120})),
            Column("Spent", p.USD, spent),
            Column("Limit", p.USD, limit),
            Column("Forecast", p.USD, forecast),
            Column("of limit", p.SHARE, f"{forecast} / {limit}", p.text_cell(p.OF_LIMIT)),
            Column("Burn, 1 h", p.TIMES, burn, p.text_cell(FAST)),
            Column("Anew in", p.SECONDS, f"{ends} - time()"),
        ],
        sort="Used",
    )
    history = p.lines_of(
        Head(
            4,
            "Used, over time",
            "The share of the limit that was spent. It falls to zero when a period begins.",
            BUDGET_ALERTS,
        ),
        p.SHARE,
        over_time(used, EACH_BUDGET),
        limits=p.OF_LIMIT,
    )
    return Row(
        100,
        "Am I in budget?",
        (
            Place(0, 0, 4, 4, fullest),
            Place(0, 4, 4, 4, highest),
            Place(4, 0, 14, 8, table),
            Place(18, 0, 6, 8, history),
        ),
    )


def _changed() -> Row:
    day, day_before, week_before = (
        q.or_zero(q.added(q.COST, ago=ago), ago=ago) for ago in ("", q.DAY, q.WEEK)
    )
    spend = p.stat_of(
        Head(
            5,
            "Spend of 24 hours",
            "What was billed in the last 24 hours, in the 24 hours before them, and in the same 24 "
            "hours a week earlier. Calls without a known price are not in it.",
        ),
        p.USD,
        now(day, "last 24 h"),
        now(day_before, "24 h before"),
        now(week_before, "a week earlier"),
    )
    change = p.stat_of(
        Head(
            6,
            "Change of the last 24 h",
            "How much more (or less) the last 24 hours cost. Orange from a quarter more, red from "
            "twice as much.",
        ),
        p.PERCENT,
        now(f"{q.share(day, f'({day_before})')} - 1", "against 24 h before"),
        now(f"{q.share(day, f'({week_before})')} - 1", "against a week earlier"),
        steps=MORE,
    )
    hour = p.stat_of(
        Head(7, "Spend, last hour", "What was billed in the last 60 minutes."),
        p.USD,
        now(q.or_zero(q.added(q.COST, window=q.HOUR), q.HOUR)),
    )
    ranged = p.stat_of(
        Head(
            8,
            "Spend in range",
            "What was billed in the time range that is chosen above.",
        ),
        p.USD,
        now(q.or_zero(q.added(q.COST, window="$__range"), "$__range")),
    )
    compared = p.lines_of(
        Head(
            9,
            "Spend per hour: now, a day and a week earlier",
            f"Today's curve over those of yesterday and of the same weekday. {PER_HOUR}",
        ),
        p.USD,
        *(
            over_time(q.added(q.COST, window=q.HOUR, ago=ago), name)
            for ago, name in (("", "now"), (q.DAY, "a day earlier"), (q.WEEK, "a week earlier"))
        ),
        colours={"now": "blue", "a day earlier": "orange", "a week earlier": "#8e8e8e"},
    )
    return Row(
        200,
        "What changed?",
        (
            Place(0, 0, 10, 4, spend),
            Place(10, 0, 6, 4, change),
            Place(16, 0, 4, 4, hour),
            Place(20, 0, 4, 4, ranged),
            Place(0, 4, 12, 8, compared),
            Place(12, 4, 12, 8, _movers()),
        ),
    )


def _movers() -> Panel:
    is_now, was = q.added(q.COST, by=PAIR), q.added(q.COST, by=PAIR, ago=q.DAY)
    last, before = f"({is_now} or 0 * {was})", f"({was} or 0 * {is_now})"
    among = f"and on ({PAIR}) topk(6, abs({last} - {before}))"
    return p.table_of(
        Head(
            10,
            "Movers: last 24 h against the 24 h before",
            "The six agents with their models whose spend changed most, in dollars: what grew "
            "stands on top, what shrank at the bottom.",
        ),
        {"agent": "Agent", "model": "Model"},
        [
            Column("Last 24 h", p.USD, f"{last} {among}"),
            Column("24 h before", p.USD, f"{before} {among}"),
            Column(
                "Change",
                p.USD,
                f"{last} - {before} {among}",
                p.text_cell(((None, "green"), (0, "text"), (0.005, "orange"))),
            ),
        ],
        sort="Change",
    )


def _who() -> Row:
    places = []
    for index, label in enumerate(("agent", "model", "provider")):
        ranking = p.ranking_of(
            Head(
                11 + index,
                f"Spend by {label}, last 24 h",
                f"What each {label} was billed in the last 24 hours; the ten largest.",
            ),
            p.USD,
            label,
            q.largest(q.added(q.COST, by=label), label),
        )
        lines = p.lines_of(
            Head(14 + index, f"Spend per hour, by {label}", f"Stacked dollars. {PER_HOUR}"),
            p.USD,
            over_time(q.added(q.COST, window=q.HOUR, by=label), f"{{{{{label}}}}}"),
            stacked=True,
            colours=p.PROVIDER_COLOURS if label == "provider" else None,
        )
        places += [Place(8 * index, 0, 8, 8, ranking), Place(8 * index, 8, 8, 8, lines)]
    cost, calls = q.added(q.COST, by=PAIR), q.added(q.CALLS, by=PAIR)
    spenders = p.table_of(
        Head(
            17,
            "Agent and model, last 24 h",
            "Who used what, how often, and for how much. Calls are all that were made, failed ones "
            "too. A model without a known price stands at $0.00 and has no cost per call: what it "
            "costs is not known.",
            ("LLMUnpricedCalls",),
        ),
        {"agent": "Agent", "model": "Model"},
        [
            Column("Cost", p.USD, cost, p.gauge_cell()),
            Column("Share", p.SHARE, f"{cost} / on () group_left () ({q.added(q.COST)} > 0)"),
            Column("Calls", p.COUNT, calls),
            Column("Cost per call", p.USD_PER_CALL, q.share(f"{cost} > 0", calls)),
            Column("Tokens", p.COUNT, q.added(q.TOKENS, by=PAIR)),
        ],
        sort="Cost",
    )
    return Row(300, "Who spends?", (*places, Place(0, 16, 24, 10, spenders)))


def _why() -> Row:
    cached = p.stat_of(
        Head(
            18,
            "Input from cache, 24 h",
            "The share of the last 24 hours' input tokens that the providers served from their "
            "caches, which costs a fraction of plain input.",
        ),
        p.SHARE,
        now(q.share(_tokens("cache_read.*"), f"({_tokens('input.*|cache_.*')})")),
    )
    saved = p.stat_of(
        Head(
            19,
            "Cache savings, 24 h",
            "An estimate for the last 24 hours: what the cached tokens would have cost at the rate "
            "that each model's plain input was billed at in the same time, less what reading from "
            "and writing to the caches did cost. Below zero, writing cost more than reading saved.",
        ),
        p.USD,
        now(q.or_zero(_saved())),
    )
    reasoning = p.stat_of(
        Head(
            20,
            "Reasoning, 24 h",
            "What those tokens of the last 24 hours cost that models thought with and that no "
            "answer shows.",
        ),
        p.USD,
        now(q.or_zero(q.added(q.COST_BY_TYPE, f'type="reasoning", {q.WHO}'))),
    )
    unpriced = p.stat_of(
        Head(
            21,
            "Unpriced calls, 24 h",
            "Billed calls of the last 24 hours whose cost is not known, or only a part of it: what "
            "they cost is missing from every number here. Not by agent.",
            ("LLMUnpricedCalls",),
        ),
        p.COUNT,
        now(q.or_zero(q.added(q.UNPRICED, q.MODEL))),
        steps=p.FINE_AT_ZERO,
    )
    spend = _by_kind(22, "Spend", p.USD, q.COST_BY_TYPE, "Fees stand under their own names.")
    tokens = _by_kind(23, "Tokens", p.COUNT, q.TOKENS, "Each token stands in one kind.")
    kinds = p.lines_of(
        Head(24, "Spend per hour, by kind", f"Stacked dollars. {PER_HOUR}"),
        p.USD,
        over_time(q.added(q.COST_BY_TYPE, window=q.HOUR, by="type"), "{{type}}"),
        stacked=True,
        colours=p.KIND_COLOURS,
    )
    cost, calls = (q.added(one, window=q.HOUR, by="agent") for one in (q.COST, q.CALLS))
    per_call = p.lines_of(
        Head(
            25,
            "Cost per call, by agent",
            "Dollars of an hour, divided by its calls: longer prompts, longer answers and dearer "
            "models show here, busier hours do not.",
        ),
        p.USD_PER_CALL,
        over_time(q.share(cost, calls), "{{agent}}"),
    )
    return Row(
        400,
        "Why?",
        (
            Place(0, 0, 5, 4, cached),
            Place(5, 0, 5, 4, saved),
            Place(0, 4, 5, 4, reasoning),
            Place(5, 4, 5, 4, unpriced),
            Place(10, 0, 7, 8, spend),
            Place(17, 0, 7, 8, tokens),
            Place(0, 8, 12, 8, kinds),
            Place(12, 8, 12, 8, per_call),
        ),
    )


def _working() -> Row:
    calls = q.added(q.CALLS)
    made = p.stat_of(
        Head(26, "Calls, last 24 h", "Requests to providers, failed ones too."),
        p.COUNT,
        now(q.or_zero(calls)),
    )
    failed = p.stat_of(
        Head(
            27,
            "Failed, last 24 h",
            "The share of calls that ended with an error and were not billed. Orange from 2 %, red "
            "from 5 %.",
        ),
        p.SHARE,
        now(q.share(q.or_zero(q.added(q.CALLS, f'status="error", {q.WHO}')), calls)),
        steps=FAILING,
    )
    unwell = f'status!="ok", {q.WHO}'
    statuses = p.lines_of(
        Head(
            28,
            "Calls per hour that did not end well",
            "error: no billed answer. aborted: your side left a stream. broken: a stream failed. "
            f"Aborted and broken ones are billed up to where they ended. {PER_HOUR}",
        ),
        p.COUNT,
        over_time(
            q.or_zero(q.added(q.CALLS, unwell, q.HOUR, by="status"), q.HOUR, status="none of them"),
            "{{status}}",
        ),
        stacked=True,
        colours=p.STATUS_COLOURS,
    )
    answer, first = (
        p.lines_of(
            Head(
                id,
                title,
                f"{what} Half of the calls are faster than p50, 95 % than p95. Not by agent.",
            ),
            p.SECONDS,
            over_time(q.quantile(0.5, histogram), "p50"),
            over_time(q.quantile(0.95, histogram), "p95"),
            colours={"p50": "blue", "p95": "orange"},
            every="15m",
        )
        for id, title, what, histogram in (
            (
                29,
                "Time to the whole answer",
                "From request to end.",
                "llm_request_duration_seconds",
            ),
            (30, "Time to the first token", "Streams only.", "llm_time_to_first_token_seconds"),
        )
    )
    return Row(
        500,
        "Is it working?",
        (
            Place(0, 0, 4, 4, made),
            Place(0, 4, 4, 4, failed),
            Place(4, 0, 8, 8, statuses),
            Place(12, 0, 6, 8, answer),
            Place(18, 0, 6, 8, first),
        ),
    )


def _tokens(kinds: str) -> str:
    return q.added(q.TOKENS, f'type=~"{kinds}", {q.WHO}')


def _saved() -> str:
    """At each model's own rates; a kind without a price is left out: it only looks free."""
    model, kind = "provider, model", "type, provider, model"
    plain, cached = f'type="input", {q.WHO}', f'type=~"{q.CACHE}", {q.WHO}'
    rate = q.share(q.added(q.COST_BY_TYPE, plain, by=model), q.added(q.TOKENS, plain, by=model))
    tokens, cost = (q.added(one, cached, by=kind) for one in (q.TOKENS, q.COST_BY_TYPE))
    return f"sum ({tokens} * on ({model}) group_left () ({rate}) - ({cost} > 0))"


def _by_kind(id: int, what: str, unit: p.Unit, recording: str, more: str) -> Panel:
    return p.ranking_of(
        Head(
            id,
            f"{what} by kind, last 24 h",
            f"What was billed as input, from caches, as output, as reasoning. {more}",
        ),
        unit,
        "type",
        q.largest(q.added(recording, by="type"), "type"),
    )
