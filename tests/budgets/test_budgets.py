"""Budgets: whose calls they cover, what is spent, and that each threshold is told once."""

import copy
import pickle
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from otel_llm_usage import Budget, ConfigurationError, backlog, instrument
from otel_llm_usage.budgets import MemoryStore, Spending, parse
from otel_llm_usage.records import PICO, Cost, PricedLine, Record, Request, Usage
from otel_llm_usage.settings import load
from otel_llm_usage.testing import Records

NOVEMBER = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC).timestamp()


class Clock:
    """A clock that a test moves."""

    now = NOVEMBER

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def priced(dollars):
    pico = int(Decimal(str(dollars)) * PICO)
    return Cost("priced", pico, (PricedLine("input", 1, pico, "test"),))


def spent_by(agent="researcher", dollars=1, **changes):
    request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-5")
    record = Record(
        "0" * 32, NOVEMBER, request, "ok", Usage(input=1), "reported", priced(dollars), agent=agent
    )
    return record._replace(**changes)


def account(clock, **budget):
    told = []
    budget = Budget(**{"name": "team", "limit_usd": 50, "on_threshold": told.append, **budget})
    spending = Spending([budget], MemoryStore(), clock=clock)
    return spending, told


def test_spending_is_exact_to_the_last_tenth_of_a_cent(clock):
    spending, _ = account(clock)
    for _ in range(1000):
        spending(spent_by(dollars="0.0000001"))
    (status,) = spending.statuses()
    assert status.spent_usd == Decimal("0.0001")
    assert status.utilization == 0.000002
    assert (status.start, status.end) == (
        datetime(2026, 11, 1, tzinfo=UTC).timestamp(),
        datetime(2026, 12, 1, tzinfo=UTC).timestamp(),
    )


@pytest.mark.parametrize(
    ("match", "covered"),
    [
        ({}, True),
        ({"agent": "researcher"}, True),
        ({"agent": ["critic", "researcher"], "model": "gpt-5"}, True),
        ({"agent": "researcher", "model": "gpt-4"}, False),
        ({"provider": "openai", "operation": "chat", "platform": "openai-api"}, True),
        ({"tier": "batch"}, False),
        ({"team": "search"}, True),
        ({"team": ["ads"]}, False),
        ({"nobody_sets_this": "x"}, False),
    ],
)
def test_a_budget_covers_what_it_matches(clock, match, covered):
    spending, _ = account(clock, match=match)
    spending(spent_by(labels={"team": "search"}))
    assert spending.statuses()[0].spent_usd == (1 if covered else 0)


def test_each_threshold_is_told_once_in_a_period_and_again_in_the_next(clock, caplog):
    spending, told = account(clock)
    for dollars in ("24.99", "0.01", "14.99", "0.01", "4.99", "0.01", "4.99", "0.01", "30"):
        spending(spent_by(dollars=dollars))
    backlog.finish()
    assert [(one.threshold, one.spent_usd) for one in told] == [
        (Decimal("0.5"), 25),
        (Decimal("0.8"), 40),
        (Decimal("0.9"), 45),
        (1, 50),
    ]
    assert told[0].budget == "team"
    assert told[0].end == datetime(2026, 12, 1, tzinfo=UTC)
    assert len(caplog.messages) == 4
    assert caplog.messages[1] == (
        "Budget team: 80 % of $50.00 for the month is spent: $40.00. "
        "It begins anew at 2026-12-01T00:00:00+00:00."
    )
    clock.now = DECEMBER
    assert spending.statuses()[0].spent_usd == 0
    spending(spent_by(dollars=25))
    backlog.finish()
    assert [one.threshold for one in told[4:]] == [Decimal("0.5")]


def test_one_charge_that_passes_several_thresholds_is_one_line(clock, caplog):
    spending, told = account(clock)
    spending(spent_by(dollars=50))
    backlog.finish()
    assert [one.threshold for one in told] == [Decimal("0.5"), Decimal("0.8"), Decimal("0.9"), 1]
    (line,) = caplog.messages
    assert "100 % of $50.00" in line


@pytest.mark.faults
def test_a_callback_that_fails_stops_nothing(clock, caplog):
    def fail(told):
        raise RuntimeError("no mail today")

    spending, _ = account(clock, on_threshold=fail)
    spending(spent_by(dollars=45))
    assert spending.statuses()[0].spent_usd == 45


@pytest.mark.parametrize(
    ("cost", "spent"),
    [
        (Cost("unpriced", reasons=("unknown_model",)), 0),
        (Cost("partial", None, priced(3).priced_lines, ("no_rate:web_search",)), 3),
        (priced(2)._replace(status="prepaid"), 0),
        (Cost("priced", pico=2 * PICO), 2),
        (Cost("not_billed", 0), 0),
    ],
)
def test_what_is_known_of_a_cost_is_spent(clock, cost, spent):
    spending, _ = account(clock)
    spending(spent_by(cost=cost))
    assert spending.statuses()[0].spent_usd == spent


def test_a_clock_that_goes_back_loses_nothing(clock):
    spending, _ = account(clock)
    clock.now = DECEMBER + 1
    spending(spent_by(dollars=5))
    clock.now = DECEMBER - 1
    spending(spent_by(dollars=2))
    clock.now = DECEMBER + 2
    assert spending.statuses()[0].spent_usd == 7


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": ""}, "1 to 100 characters"),
        ({"name": 7}, "1 to 100 characters"),
        ({"limit_usd": 0}, "more than zero"),
        ({"limit_usd": -1}, "more than zero"),
        ({"limit_usd": float("nan")}, "more than zero"),
        ({"limit_usd": "much"}, "no number"),
        ({"limit_usd": True}, "no number"),
        ({"limit_usd": None}, "no number"),
        ({"limit_usd": "1_000"}, "no number"),
        ({"limit_usd": (0, (1, 2), 0)}, "no number"),
        ({"limit_usd": "1e-13"}, "can't be meant"),
        ({"limit_usd": "1e400"}, "can't be meant"),
        ({"name": " "}, "without blanks"),
        ({"name": "a\nb"}, "can be read"),
        ({"name": "\ud800"}, "can be read"),
        ({"timezone": "localtime"}, "no name"),
        ({"period": "fortnight"}, "minute, hour, day, week, month, quarter, year"),
        ({"timezone": "Middle/Earth"}, "tzdata"),
        ({"timezone": 1}, "no name"),
        ({"thresholds": [80, 90]}, "80 % is 0.8"),
        ({"thresholds": [0]}, "more than zero"),
        ({"thresholds": "0.8"}, "list of shares"),
        ({"match": "researcher"}, "agent = "),
        ({"match": {"agent": []}}, "a text or a list"),
        ({"match": {"agent": [1]}}, "a text or a list"),
        ({"match": {"bad key": "x"}}, "no name of a label"),
        ({"on_threshold": "mail"}, "can't be called"),
    ],
)
def test_what_is_wrong_is_said(wrong, says):
    with pytest.raises(ConfigurationError, match=says):
        Budget(**{"name": "team", "limit_usd": 50, **wrong})


def test_budgets_are_the_same_in_code_and_in_the_file(tmp_path):
    file = tmp_path / "llm.toml"
    file.write_text(
        '[[budgets]]\nname = "team-month"\nlimit_usd = 50.10\nmatch = { agent = "researcher" }\n'
        '[[budgets]]\nname = "day"\nlimit_usd = "2"\nperiod = "day"\ntimezone = "Europe/Berlin"\n'
        'match = { model = ["gpt-5", "gpt-5-mini"] }\nthresholds = [0.75, 1]\n'
    )
    in_code = (
        Budget(name="team-month", limit_usd="50.10", match={"agent": "researcher"}),
        Budget(
            name="day",
            limit_usd=2,
            period="day",
            timezone="Europe/Berlin",
            match={"model": ["gpt-5", "gpt-5-mini"]},
            thresholds=[Decimal("0.75"), 1],
        ),
    )
    assert load({}, {}, file).budgets == in_code
    assert load({"budgets": in_code}, {}).budgets == in_code


@pytest.mark.parametrize(
    ("budgets", "says"),
    [
        ('budgets = "team"', "list of Budget"),
        ("budgets = [1]", "entry 1 is 1"),
        ('[[budgets]]\nname = "a"', "entry 1 has no limit_usd"),
        ('[[budgets]]\nname = "a"\nlimit_usd = 1\nlimit = 2', "a key 'limit'"),
        (
            '[[budgets]]\nname = "a"\nlimit_usd = 1\n[[budgets]]\nname = "a"\nlimit_usd = 2',
            "two of this name",
        ),
    ],
)
def test_a_wrong_file_is_an_error_at_the_start(tmp_path, budgets, says):
    file = tmp_path / "llm.toml"
    file.write_text(budgets + "\n")
    with pytest.raises(ConfigurationError, match=says):
        load({}, {}, file)


def test_a_budget_can_be_given_to_a_worker_and_kept_in_a_set():
    budget = Budget(name="a", limit_usd=1, match={"agent": "x"}, timezone="Europe/Berlin")
    assert pickle.loads(pickle.dumps(budget)) == copy.deepcopy(budget) == budget
    assert len({budget, copy.copy(budget)}) == 1


def test_the_same_name_may_have_two_periods():
    assert len(parse([{"name": "a", "limit_usd": 1, "period": p} for p in ("day", "month")])) == 2


def test_a_budget_is_what_calls_of_its_agent_cost(llm_standin):
    import openai

    from otel_llm_usage import agent

    records = Records()
    budgets = [
        Budget(name="agent", limit_usd=50, match={"agent": "researcher"}),
        Budget(name="model", limit_usd=50, match={"model": ["gpt-4.1"]}),
        Budget(name="answer", limit_usd=50, match={"model": "gpt-4.1-2025-04-14"}),
        Budget(name="another", limit_usd=50, match={"model": "gpt-4"}),
    ]
    runtime = instrument(otlp=False, sinks=[records.append], budgets=budgets)
    with openai.OpenAI() as client:
        for name in ("researcher", "critic", "researcher"):
            with agent(name):
                client.chat.completions.create(
                    model="gpt-4.1", messages=[{"role": "user", "content": "hello"}]
                )
    of_agent, of_model, of_answer, of_another = (status.spent_usd for status in runtime.budgets())
    assert of_agent == records[0].cost_usd + records[2].cost_usd > 0
    assert of_model == of_answer == sum(record.cost_usd for record in records)
    assert records[0].model != "gpt-4.1"  # it is asked for by this name, and answers by another
    assert of_another == 0
