"""Calendar periods, in any time zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm_usage.budgets.periods import PERIODS, bounds, zone
from otel_llm_usage.errors import ConfigurationError


def _around(period, text, where="UTC"):
    place = zone(where)
    moment = datetime.fromisoformat(text).replace(tzinfo=place).timestamp()
    return [
        datetime.fromtimestamp(bound, place).strftime("%Y-%m-%d %H:%M")
        for bound in bounds(period, moment, place)
    ]


@pytest.mark.parametrize(
    ("period", "moment", "expected"),
    [
        ("minute", "2026-11-24T10:30:59", ["2026-11-24 10:30", "2026-11-24 10:31"]),
        ("hour", "2026-11-24T10:30:00", ["2026-11-24 10:00", "2026-11-24 11:00"]),
        ("day", "2026-11-24T00:00:00", ["2026-11-24 00:00", "2026-11-25 00:00"]),
        ("week", "2026-11-29T23:59:59", ["2026-11-23 00:00", "2026-11-30 00:00"]),
        ("week", "2026-01-01T12:00:00", ["2025-12-29 00:00", "2026-01-05 00:00"]),
        ("month", "2026-12-31T23:59:59", ["2026-12-01 00:00", "2027-01-01 00:00"]),
        ("month", "2028-02-29T12:00:00", ["2028-02-01 00:00", "2028-03-01 00:00"]),
        ("quarter", "2026-06-30T23:00:00", ["2026-04-01 00:00", "2026-07-01 00:00"]),
        ("quarter", "2026-10-01T00:00:00", ["2026-10-01 00:00", "2027-01-01 00:00"]),
        ("year", "2028-12-31T00:00:00", ["2028-01-01 00:00", "2029-01-01 00:00"]),
    ],
)
def test_a_period_is_the_calendars(period, moment, expected):
    assert _around(period, moment) == expected
    assert _around(period, moment, "Asia/Kathmandu") == expected
    assert _around(period, moment, "America/St_Johns") == expected


def test_a_day_has_23_and_25_hours_when_the_clocks_change():
    berlin = ZoneInfo("Europe/Berlin")
    for day, hours in (((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 11, 24), 24)):
        start, end = bounds("day", datetime(*day, 12, tzinfo=berlin).timestamp(), berlin)
        assert (end - start) / 3600 == hours


@given(
    moment=st.floats(0, 4e9),
    period=st.sampled_from(PERIODS),
    where=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Sao_Paulo"]),
)
def test_periods_hold_their_moment_and_join_without_gap_or_overlap(moment, period, where):
    place = zone(where)
    start, end = bounds(period, moment, place)
    assert start <= moment < end
    assert bounds(period, start, place) == (start, end)
    assert bounds(period, end, place)[0] == end


@pytest.mark.parametrize(
    ("period", "moment", "where", "expected"),
    [
        ("hour", 0.05, "America/Sao_Paulo", (0.0, 3600.0)),
        ("minute", 2147483645.1234567, "Europe/Berlin", (2147483640.0, 2147483700.0)),
    ],
)
def test_a_period_begins_at_a_whole_second(period, moment, where, expected):
    assert bounds(period, moment, zone(where)) == expected


def test_a_zone_that_nobody_knows_is_an_error_that_says_what_to_do():
    assert zone("utc") is UTC
    for wrong in ("Middle/Earth", "../../etc/passwd", ""):
        with pytest.raises(ConfigurationError, match="tzdata"):
            zone(wrong)
