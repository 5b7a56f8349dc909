"""What the ledger holds, day by day, in SQLite and in PostgreSQL alike."""

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from otel_llm_usage.ledger.daily import daily
from otel_llm_usage.records import Cost, PricedLine, Record, Request, Usage

MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)


def record(number, at, cost, *, model="gpt-5", usage=None, tier=None, **more):
    request = Request("openai", "openai", "openai-api", "chat", "chat.completions", model)
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()
    id_ = f"{number:032}"
    return Record(id_, moment, request, "ok", usage, "reported", cost, tier=tier, **more)


def test_sums_are_exact_and_of_every_tier(ledger):
    most = 2**62  # two of them do not fit into 64 bits
    dear = Cost("priced", most)
    part = Cost("partial", None, (PricedLine("input", 1, 7, "card"),))
    ledger(record(1, "2026-03-05T00:00:00", dear, usage=Usage(input=5, output=2**61)))
    ledger(record(2, "2026-03-05T23:59:59.999999", dear, usage=Usage(input=1), tier="batch"))
    ledger(record(3, "2026-03-05T12:00:00", part, units={"s": Decimal("1.5"), "n": 2}))
    ledger(record(4, "2026-03-05T13:00:00", part, units={"s": Decimal("0.25")}))
    ledger(record(5, "2026-03-06T00:00:00", dear, model="o3"))
    ledger(record(6, "2026-02-28T23:59:59", dear))
    ledger(record(7, "2026-04-01T00:00:00", dear))
    first, second = daily(ledger, MARCH, APRIL)
    assert (first.day, first.provider, first.vendor) == (date(2026, 3, 5), "openai", "openai")
    assert (first.platform, first.model) == ("openai-api", "gpt-5")
    assert first.tokens == {"input": 6, "output": 2**61}
    assert first.units == {"s": Decimal("1.75"), "n": 2}
    assert (first.pico, first.calls, first.unpriced) == (2 * most + 14, 4, 2)
    assert (second.day, second.model, second.pico) == (date(2026, 3, 6), "o3", most)


def test_a_day_begins_where_its_zone_is(ledger):
    free = Cost("free", 0)
    for number, at in enumerate(
        ("2026-03-08T07:59:59", "2026-03-08T08:00:00", "2026-03-09T06:59:59")
    ):
        ledger(record(number, at, free, usage=Usage(input=1)))
    ledger(record(9, "2026-03-09T07:00:00", free, usage=Usage(input=1)))  # the clocks have gone on
    california = daily(ledger, MARCH, APRIL, ZoneInfo("America/Los_Angeles"))
    assert [(one.day.day, one.calls) for one in california] == [(7, 1), (8, 2), (9, 1)]
    assert [(one.day.day, one.calls) for one in daily(ledger, MARCH, APRIL)] == [(8, 2), (9, 2)]


def test_an_empty_ledger_has_no_days(ledger):
    assert daily(ledger, MARCH, APRIL) == []
