"""The boards' queries against a Prometheus that holds the ledger: each answers, and to the cent."""

import math

import pytest

from . import kit
from . import ledger as story
from .ledger import DAY, END, HOUR, MINUTE, NOW

pytestmark = pytest.mark.servers

ALL: dict[str, list[str]] = {"provider": [], "agent": [], "model": [], "budget": []}
ONE = {
    "provider": ["anthropic"],
    "agent": ["coder"],
    "model": ["claude-sonnet-4-5-20250929"],
    "budget": ["everything"],
}
TWO = {
    "provider": ["gcp.gemini", "openai"],
    "agent": ["researcher", "triage"],
    "model": ["gemini-2.5-pro", "gpt-5-2025-08-07"],
    "budget": ["platform", "research"],
}
SELECTIONS = {"all": ALL, "one": ONE, "two": TWO}
WEEK = 7 * DAY
YESTERDAY, DAY_BEFORE = END - DAY, END - 2 * DAY

spend, measurement = kit.UIDS


@pytest.fixture
def shown(prometheus):
    """What a panel's query shows: one number, or numbers by labels."""

    def ask(uid, title, ref="A", by="", chosen=ALL, span=DAY):
        expr, _ = kit.target(uid, title, ref).at(chosen, span)
        return prometheus.numbers(expr, by) if by else prometheus.number(expr)

    return ask


def close(what):
    return pytest.approx(what, rel=1e-3, abs=1e-9)


def largest(amounts):
    """As a ranking shows them: nothing is left out but nothing."""
    return close({name: amount for name, amount in amounts.items() if amount})


@pytest.mark.parametrize("span", [HOUR, DAY, WEEK], ids=["1h", "24h", "7d"])
@pytest.mark.parametrize("chosen", SELECTIONS)
@pytest.mark.parametrize("uid", kit.UIDS)
def test_every_query_answers(prometheus, uid, chosen, span):
    silent = []
    for one in kit.targets(uid):
        expr, step = one.at(SELECTIONS[chosen], span)
        if one.instant:
            points = [series["value"] for series in prometheus.query(expr)]
        else:
            found = prometheus.range(expr, span, step)
            points = [point for series in found for point in series["values"]]
        if not any(math.isfinite(float(value)) for _, value in points):
            silent.append(f"{one}: {expr}")
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("uid", kit.UIDS)
def test_every_variable_offers_what_the_ledger_holds(prometheus, uid):
    offered = {
        variable["name"]: prometheus.values(
            variable["name"], variable["query"].split("(")[1].split(", ")[0].split("{")[0]
        )
        for variable in kit.dashboard(uid)["templating"]["list"][1:]
    }
    held = {
        label: sorted({getattr(work, label) for work in story.WORKS})
        for label in ("provider", "agent", "model")
    } | {"budget": sorted(plan.budget for plan in story.PLANS)}
    assert offered == {name: held[name] for name in offered}


def test_the_spend_of_24_hours_is_the_ledgers(shown, ledger):
    title = "Spend of 24 hours"
    assert shown(spend, title, "A") == close(ledger.spent(YESTERDAY))
    assert shown(spend, title, "B") == close(ledger.spent(DAY_BEFORE, YESTERDAY))
    assert shown(spend, title, "C") == close(ledger.spent(YESTERDAY - WEEK, END - WEEK))


@pytest.mark.parametrize("chosen", [ONE, TWO], ids=["one", "two"])
def test_what_is_chosen_narrows_the_spend(shown, ledger, chosen):
    pairs = zip(chosen["agent"], chosen["model"], strict=True)
    paid = sum(ledger.spent(YESTERDAY, agent=agent, model=model) for agent, model in pairs)
    assert shown(spend, "Spend of 24 hours", chosen=chosen) == close(paid)


def test_the_change_is_that_of_the_ledger(shown, ledger):
    now, title = ledger.spent(YESTERDAY), "Change of the last 24 h"
    before, week = ledger.spent(DAY_BEFORE, YESTERDAY), ledger.spent(YESTERDAY - WEEK, END - WEEK)
    assert shown(spend, title, "A") == close(now / before - 1)
    assert shown(spend, title, "B") == close(now / week - 1)


def test_the_last_hour_and_the_time_range_are_the_ledgers(shown, ledger):
    assert shown(spend, "Spend, last hour") == close(ledger.spent(END - HOUR))
    for span in (HOUR, DAY, WEEK):
        paid = ledger.spent(END - span)
        assert shown(spend, "Spend in range", span=span) == close(paid)


@pytest.mark.parametrize("label", ["agent", "model", "provider"])
def test_who_spends_is_who_spent(shown, ledger, label):
    paid = ledger.total("cost", YESTERDAY, by=label)
    assert shown(spend, f"Spend by {label}, last 24 h", by=label) == largest(paid)


def test_the_kinds_of_spend_and_tokens_are_the_ledgers(shown, ledger):
    paid, used = (ledger.total(name, YESTERDAY, by="type") for name in ("cost", "tokens"))
    assert "web_search" in paid
    assert shown(spend, "Spend by kind, last 24 h", by="type") == largest(paid)
    assert shown(spend, "Tokens by kind, last 24 h", by="type") == largest(used)
    assert shown(spend, "Reasoning, 24 h") == close(paid["reasoning"])


def test_the_table_of_agents_and_models_is_the_ledgers(shown, ledger):
    title, pair = "Agent and model, last 24 h", "agent model"
    cost, calls, tokens = (
        ledger.total(name, YESTERDAY, by=pair) for name in ("cost", "requests", "tokens")
    )
    whole = sum(cost.values())
    each = {who: paid / calls[who] for who, paid in cost.items() if paid}
    assert shown(spend, title, "A", by=pair) == close(cost)
    assert shown(spend, title, "B", by=pair) == close(
        {who: paid / whole for who, paid in cost.items()}
    )
    assert shown(spend, title, "C", by=pair) == close(calls)
    assert shown(spend, title, "D", by=pair) == close(each)
    assert shown(spend, title, "E", by=pair) == close(tokens)


def test_movers_are_the_pairs_that_changed_most(shown, ledger):
    title, pair = "Movers: last 24 h against the 24 h before", "agent model"
    now = ledger.total("cost", YESTERDAY, by=pair)
    before = ledger.total("cost", DAY_BEFORE, YESTERDAY, by=pair)
    change = {who: now[who] - before[who] for who in now}
    six = sorted(change, key=lambda who: abs(change[who]), reverse=True)[:6]
    for ref, numbers in zip("ABC", (now, before, change), strict=True):
        assert shown(spend, title, ref, by=pair) == close({who: numbers[who] for who in six})


def test_a_first_charge_is_in_the_sums_though_increase_does_not_see_it(prometheus, shown, ledger):
    paid = ledger.spent(YESTERDAY, agent="auditor")
    seen = prometheus.number('sum(increase(llm_cost_total{agent="auditor"}[24h]))')
    assert shown(spend, "Spend by agent, last 24 h", by="agent")["auditor"] == close(paid)
    assert seen < 0.95 * paid


def test_what_caching_saved_is_what_plain_input_would_have_cost(shown, ledger):
    saved = 0.0
    for model, rates in story.RATES.items():
        used = ledger.total("tokens", YESTERDAY, by="type", model=model)
        for kind in {"cache_read", "cache_write_5m"} & rates.keys():
            saved += used[kind] * (rates["input"] - rates[kind]) / 1e6
    assert shown(spend, "Cache savings, 24 h") == close(saved)
    used = ledger.total("tokens", YESTERDAY, by="type")
    prompts = sum(used[kind] for kind in ("input", "cache_read", "cache_write_5m"))
    assert shown(spend, "Input from cache, 24 h") == close(used["cache_read"] / prompts)


def test_budgets_stand_as_in_the_ledger(shown, ledger):
    spent = {
        plan.budget: plan.before
        + ledger.spent(plan.start - 1, **({"agent": plan.agent} if plan.agent else {}))
        for plan in story.PLANS
    }
    limits = {plan.budget: plan.limit for plan in story.PLANS}
    used = {name: paid / limits[name] for name, paid in spent.items()}
    ends = {plan.budget: plan.end - NOW for plan in story.PLANS}
    for ref, numbers in zip("ABCG", (used, spent, limits, ends), strict=True):
        assert shown(spend, "Budgets", ref, by="budget") == close(numbers)
    assert shown(spend, "Fullest budget", by="budget") == close({"everything": used["everything"]})


def test_the_highest_forecast_is_of_the_budget_that_will_not_do(shown, ledger):
    (plan,) = (plan for plan in story.PLANS if plan.budget == "everything")
    rate = ledger.spent(END - 6 * HOUR) / (6 * HOUR)
    forecast = (ledger.spent(plan.start - 1) + rate * (plan.end - END)) / plan.limit
    assert shown(spend, "Highest forecast", by="budget") == close({"everything": forecast})


def test_calls_and_how_they_ended_are_the_ledgers(shown, ledger):
    ended = ledger.total("requests", YESTERDAY, by="status")
    calls = sum(ended.values())
    for uid in kit.UIDS:
        assert shown(uid, "Calls, last 24 h") == close(calls)
    assert shown(spend, "Failed, last 24 h") == close(ended["error"] / calls)


def test_what_is_not_counted_or_not_priced_is_the_ledgers(shown, ledger):
    def total(name):
        return sum(ledger.total(name, YESTERDAY).values())

    unpriced, calls = total("unpriced_requests"), total("requests")
    assert shown(spend, "Unpriced calls, 24 h") == close(unpriced)
    assert shown(measurement, "Unpriced, 24 h") == close(unpriced / calls)
    called = "provider model reason"
    assert shown(measurement, "Unpriced calls, last 24 h", by=called) == close(
        ledger.total("unpriced_requests", YESTERDAY, by=called)
    )
    assert shown(measurement, "Unpriced tokens by model, last 24 h", by="model") == close(
        ledger.total("unpriced_tokens", YESTERDAY, by="model")
    )
    missing = ledger.total("usage_missing", YESTERDAY, by="reason")
    assert shown(measurement, "Calls without usage by reason, last 24 h", by="reason") == close(
        missing
    )
    assert shown(measurement, "No usage, 24 h") == close(total("usage_missing") / calls)
    estimated = total("estimated_tokens") / total("tokens")
    assert shown(measurement, "Estimated, 24 h") == close(estimated)


def test_faults_of_the_measurement_are_the_ledgers(shown, ledger):
    faults = ledger.total("instrumentation_errors", YESTERDAY, by="where")
    assert shown(measurement, "Faults by place, last 24 h", by="where") == close(faults)
    assert shown(measurement, "Faults, 24 h") == close(sum(faults.values()))


def test_where_nothing_is_found_there_is_a_zero(shown):
    chosen = {**ALL, "provider": ["anthropic"]}
    assert shown(spend, "Unpriced calls, 24 h", chosen=chosen) == 0
    assert shown(measurement, "Unpriced, 24 h", chosen=chosen) == 0
    ranking = "Calls without usage by reason, last 24 h"
    assert shown(measurement, ranking, by="reason", chosen=chosen) == {"none": 0}
    nobody = {**ALL, "agent": ["nobody"]}
    assert shown(spend, "Spend of 24 hours", chosen=nobody) == 0
    assert shown(spend, "Spend by agent, last 24 h", by="agent", chosen=nobody) == {"none": 0}


def test_where_nothing_is_recorded_nothing_is_said_to_be_zero(prometheus):
    for one in kit.targets(spend):
        expr, _ = one.at(ALL, DAY)
        assert not prometheus.query(expr, at=END - 30 * DAY), one


@pytest.mark.parametrize("title", ["Targets", "Processes"])
def test_a_meter_that_is_not_there_is_down(prometheus, title):
    expr, _ = kit.target(measurement, title).at(ALL, DAY)
    (series,) = prometheus.query(expr, at=END - 30 * DAY)
    assert float(series["value"][1]) == 0


@pytest.mark.parametrize("rule", story.rules(), ids=lambda rule: rule["record"])
def test_the_rules_record_what_the_ledger_says_they_do(prometheus, rule):
    def series(expr):
        found = prometheus.range(expr, 3 * HOUR, MINUTE, end=END)
        return {
            tuple(sorted((k, v) for k, v in one["metric"].items() if k != "__name__")): {
                t: float(value) for t, value in one["values"]
            }
            for one in found
        }

    told, evaluated = series(rule["record"]), series(rule["expr"])
    assert told
    assert told.keys() == evaluated.keys()
    # a rate is over what its window holds, and Prometheus 2 and 3 hold one sample more or less
    near = 1e-9 if ":delta1m" in rule["record"] else 0.05
    for who, numbers in told.items():
        assert evaluated[who] == pytest.approx(numbers, rel=near, abs=1e-9), who
