"""The ledger beside what the provider says that it has billed, over real sockets."""

import datetime
import io
import json
import sys
from decimal import Decimal

import openai
import pytest

from otel_llm_usage.errors import ConfigurationError, MissingExtra, StatementError
from otel_llm_usage.ledger import Ledger
from otel_llm_usage.reconciling import compare, reconcile, show
from otel_llm_usage.reconciling.comparing import Own
from otel_llm_usage.reconciling.statement import Charged, Statement, Used
from otel_llm_usage.settings import admin_key
from otel_llm_usage.standin import billing
from otel_llm_usage.telemetry.textfile import write_residuals

DAY = datetime.timedelta(days=1)


def totals(found):
    return {total.kind: (total.ours, total.theirs) for total in found.totals()}


def test_what_both_have_counted_differs_in_nothing(books):
    books.chat(times=3)
    books.chat("gpt-5")
    with openai.OpenAI() as client:
        client.embeddings.create(model="text-embedding-3-small", input="hello")
        client.audio.speech.create(model="tts-1", voice="alloy", input="hello")
    found = books.reconcile()
    usage = books.standin.ledger.usage()
    said = totals(found)
    assert said["input"] == (usage["input"],) * 2
    assert said["output"] == (usage["output"] + usage["reasoning"],) * 2
    assert said.get("cache_read", (0, 0)) == (usage.get("cache_read", 0),) * 2
    assert said["usd"][0] == books.standin.ledger.usd()
    assert abs(said["usd"][1] - said["usd"][0]) < Decimal("1e-12")  # theirs is a float
    assert said["characters"] == (5, 5)
    assert all(one.residual == 0 for one in found.lines)
    assert found.share < 1e-9
    assert found.exit_code(0.0001) == 0
    assert (found.only_theirs, found.only_ours, found.notes) == ((), (), ())


def test_what_anthropic_tells_is_compared_with_its_caches_and_searches(books):
    books.standin.script(
        usage={
            "input": 7,
            "output": 9,
            "cache_read": 11,
            "cache_write_5m": 13,
            "cache_write_1h": 17,
        },
        units={"web_search": 2},
    )
    books.message()
    books.message()
    found = books.reconcile("anthropic")
    said = totals(found)
    assert said["cache_write_1h"] == (17, 17)
    assert said["cache_write_5m"] == (13, 13)
    assert said["web_search"] == (2, 2)
    assert said["usd"] == (books.standin.ledger.usd(),) * 2
    assert found.share == 0


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_calls_that_nobody_counted_are_the_residual(books, provider):
    call = books.chat if provider == "openai" else books.message
    call(times=3)
    books.bills(lambda bills: [*bills, bills[0]])  # with another key, by another program
    found = books.reconcile(provider)
    ours, theirs = totals(found)["tokens"]
    once = sum(books.standin.ledger.bills[0].usage.values())
    assert theirs - ours == once
    assert found.residuals["tokens"] == pytest.approx(once / theirs)
    assert found.exit_code(0.01) == 2
    assert found.exit_code(0.9) == 0


def test_a_model_that_the_ledger_never_saw_is_told(books):
    books.chat()
    foreign = [books.standin.ledger.last._replace(model="gpt-4o-2024-08-06", usd=Decimal("3.5"))]
    books.bills(lambda bills: [*bills, *foreign])
    found = books.reconcile()
    assert found.only_theirs == ("gpt-4o-2024-08-06",)
    assert found.exit_code() == 2
    out = io.StringIO()
    show(found, out)
    assert "never seen by the ledger: gpt-4o-2024-08-06" in out.getvalue()


def test_what_was_counted_twice_has_no_bill_beside_it(books):
    books.chat(times=2)
    books.bills(lambda bills: bills[:1])
    found = books.reconcile()
    assert totals(found)["tokens"][0] > totals(found)["tokens"][1]
    assert max(line.capture for line in found.lines) > 1
    assert found.exit_code() == 2


def test_a_model_that_they_never_billed_is_told(books):
    books.chat("gpt-4.1")
    books.chat("gpt-4.1-mini")
    books.bills(lambda bills: bills[:1])
    assert books.reconcile().only_ours == ("gpt-4.1-mini-2025-04-14",)


def test_a_wrong_price_shows_in_the_dollars_alone(books):
    books.chat(times=2)
    books.bills(lambda bills: [bill._replace(usd=bill.usd * 2) for bill in bills])
    found = books.reconcile()
    assert found.residuals["tokens"] == 0
    assert found.residuals["usd"] == pytest.approx(0.5)
    assert found.exit_code() == 2


def test_every_page_is_read(books):
    books.chat()
    then = books.standin.ledger.last
    long_ago = [then._replace(time=then.time - 86_400 * days) for days in range(1, 100)]
    books.bills(lambda bills: bills + long_ago)
    found = books.reconcile(since=books.today - 120 * DAY)
    usage = books.standin.ledger.usage()
    assert totals(found)["tokens"][1] == sum(usage.values())
    asked = [one for one in books.standin.requests if one.path.endswith("usage/completions")]
    assert len(asked) == 4
    assert "page=page_" in asked[-1].query
    assert len({line.day for line in found.lines}) == 100


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_provider_that_is_busy_is_asked_again(books, status):
    books.chat()
    books.standin.script(status=status, retry_after=0.001, match="/organization/", times=3)
    found = books.reconcile()
    assert found.share < 1e-9
    assert totals(found)["tokens"][1] > 0


def test_a_retry_is_not_before_the_time_that_was_asked_for(books, monkeypatch):
    waited = []
    monkeypatch.setattr("otel_llm_usage.reconciling.api.time.sleep", waited.append)
    books.standin.script(status=429, retry_after=7, match="/organization/usage/completions")
    books.standin.script(status=429, retry_after=86_400, match="/organization/costs")
    books.reconcile()
    assert waited == [7, 60]  # nobody waits for a day


def test_a_provider_that_stays_away_is_an_error_that_says_so(books):
    books.standin.script(status=500, match="/organization/costs", times=None)
    with pytest.raises(StatementError, match=r"costs: no answer after 5 attempts \(status 500\)"):
        books.reconcile()


def test_what_ends_in_the_middle_is_asked_for_again_and_then_an_error(books):
    books.chat()
    half = '{"object": "page", "data": [{"object": "bucket", "start_t'
    books.standin.reply(half, match="usage/completions")
    assert books.reconcile().share < 1e-9
    books.standin.reply(half, match="usage/completions", times=None)
    with pytest.raises(StatementError, match="the answer is no JSON"):
        books.reconcile()
    books.standin.reset()
    books.standin.reply(half, match="usage/completions", cut_after=1, times=None)
    with pytest.raises(StatementError, match=r"RemoteProtocolError|ReadError"):
        books.reconcile()


def test_a_key_that_is_not_accepted_is_said_without_it(books, caplog):
    for provider, name in (("openai", "OPENAI_ADMIN_KEY"), ("anthropic", "ANTHROPIC_ADMIN_KEY")):
        with pytest.raises(StatementError, match=name) as caught:
            books.reconcile(provider, admin_key="sk-admin-secret")
        assert "secret" not in str(caught.value)
        with pytest.raises(ConfigurationError, match=name):
            books.reconcile(provider, admin_key=None)
    assert "secret" not in caplog.text


def test_what_can_be_no_key_or_no_address_is_said_before_anybody_is_asked(books):
    for key in ("sk-\u00fc-secret", "sk-\nsecret"):
        with pytest.raises(ConfigurationError, match="copy it again") as caught:
            books.reconcile(admin_key=key)
        assert "secret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="begins with https"):
        books.reconcile(base_url="api.openai.com/v1")
    assert not books.standin.requests
    assert books.reconcile(admin_key=f" {billing.ADMIN_KEY}\n").share == 0


def test_without_the_library_the_extra_is_named(books, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtra, match=r"otel-llm-usage\[reconcile\]"):
        books.reconcile()


def test_keys_come_from_the_variables_of_the_providers():
    assert admin_key("openai", {"OPENAI_ADMIN_KEY": "a"}) == "a"
    assert admin_key("anthropic", {"ANTHROPIC_ADMIN_API_KEY": "b"}) == "b"
    assert admin_key("google", {"OPENAI_ADMIN_KEY": "a"}) is None


@pytest.mark.parametrize(
    "page",
    [
        {"data": [{"object": "bucket", "results": [1]}], "has_more": False},
        {"data": [{"results": [{"input_tokens": 1}]}], "has_more": False},
        {"data": [{"start_time": 1, "results": [{"input_tokens": "many"}]}], "has_more": False},
        {"data": [], "has_more": True, "next_page": None},
        {"data": [], "has_more": True, "next_page": "again"},
    ],
)
def test_another_shape_than_the_documented_is_an_error(books, page):
    books.standin.reply(page, match="usage/completions", times=None)
    with pytest.raises(StatementError):
        books.reconcile()


def test_two_empty_books_agree(books):
    found = books.reconcile()
    assert (found.lines, found.dollars, found.share, found.exit_code()) == ((), (), 0, 0)


def test_young_days_are_shown_and_do_not_count(books):
    books.chat()
    books.bills(lambda bills: [])
    found = books.reconcile(now=datetime.datetime.now(datetime.UTC))
    assert found.lines
    assert not any(line.settled for line in found.lines)
    assert found.share == 0
    assert found.exit_code() == 0
    assert found.settled_until == books.today - DAY
    alone = books.reconcile(since=books.today, now=datetime.datetime.now(datetime.UTC))
    assert alone.exit_code() == 1  # nothing was compared at all
    assert "too young" in _shown(alone)


def _shown(found):
    out = io.StringIO()
    show(found, out)
    return out.getvalue()


def test_it_goes_into_json_and_a_table(books):
    books.chat()
    books.bills(lambda bills: bills * 2)
    found = books.reconcile()
    said = json.loads(json.dumps(found.to_dict()))
    assert said["provider"] == "openai"
    by_kind = {one["kind"]: one for one in said["totals"]}
    assert by_kind["tokens"]["capture"] == pytest.approx(0.5)
    assert Decimal(by_kind["usd"]["ours"]) * 2 == books.standin.ledger.usd()
    assert "50.00%" in _shown(found)


def test_other_sellers_and_free_calls_are_no_part_of_it(books):
    own = [
        Own(books.today, "azure.ai.openai", "openai", "azure", "gpt-5", {"input": 5}, {}, 7, 1, 0),
        Own(books.today, "openai", "openai", "openai-api", "gpt-9", {}, {}, 0, 1, 0),
    ]
    now = datetime.datetime.now(datetime.UTC) + 9 * DAY
    found = compare(own, Statement("openai"), books.today, books.today + DAY, now=now)
    assert (found.lines, found.only_ours) == ((), ())


@pytest.mark.parametrize(
    ("ours", "theirs", "matched"),
    [
        ("gpt-4.1", ["gpt-4.1-2025-04-14"], "gpt-4.1-2025-04-14"),
        ("gpt-4.1", ["gpt-4.1-mini-2025-04-14"], "gpt-4.1"),
        ("gpt-4o", ["gpt-4o-2024-05-13", "gpt-4o-2024-08-06"], "gpt-4o"),
        ("models/gemini-2.5-flash", ["gemini-2.5-flash"], "gemini-2.5-flash"),
        ("gemini-3-flash-preview", ["gemini-3-flash"], "gemini-3-flash"),
        ("gemini-2.5-flash-lite", ["gemini-2.5-flash"], "gemini-2.5-flash-lite"),
        ("claude-opus-4-1", ["claude-opus-4", "claude-opus-4-1-20250805"], "claude-opus-4-1-20250805"),
    ],
)  # fmt: skip
def test_a_model_is_found_under_its_other_name(ours, theirs, matched):
    day = datetime.date(2026, 3, 1)
    own = [Own(day, "p", "openai", "openai-api", ours, {"input": 1}, {}, 0, 1, 0)]
    statement = Statement("openai", tuple(Used(day, name, "input", 1) for name in theirs))
    now = datetime.datetime(2026, 4, 1, tzinfo=datetime.UTC)
    found = compare(own, statement, day, day + DAY, now=now)
    assert {line.model for line in found.lines if line.ours} == {matched}


def test_days_take_from_each_other_and_models_do_not():
    day = datetime.date(2026, 3, 1)

    def own(day, model, count):
        return Own(day, "p", "openai", "openai-api", model, {"input": count}, {}, 0, 1, 0)

    now = datetime.datetime(2026, 4, 1, tzinfo=datetime.UTC)
    # sent before midnight, billed after it
    used = (Used(day + DAY, "a", "input", 10), Used(day, "b", "input", 5))
    midnight = compare(
        [own(day, "a", 10), own(day, "b", 5)],
        Statement("openai", used), day, day + 2 * DAY, now=now,
    )  # fmt: skip
    assert midnight.share == 0
    assert any(line.residual for line in midnight.lines)
    crossed = compare(
        [own(day, "a", 5), own(day, "b", 10)],
        Statement("openai", (Used(day, "a", "input", 10), Used(day, "b", "input", 5))),
        day, day + 2 * DAY, now=now,
    )  # fmt: skip
    assert crossed.residuals["tokens"] == pytest.approx(10 / 15)


def test_dollars_of_another_currency_are_not_compared():
    day = datetime.date(2026, 3, 1)
    now = datetime.datetime(2026, 4, 1, tzinfo=datetime.UTC)
    found = compare([], Statement("openai", charged=None), day, day + DAY, now=now)
    assert found.dollars is None
    assert "usd" not in found.residuals
    told = Statement("openai", charged=(Charged(day, "", Decimal(1)),))
    assert compare([], told, day, day + DAY, now=now).residuals["usd"] == 1


def test_what_is_said_wrongly_is_an_error_that_says_what_to_do(tmp_path):
    ledger = Ledger(str(tmp_path / "a.db"))
    day = datetime.date(2026, 3, 1)
    with pytest.raises(ConfigurationError, match="choose one of openai, anthropic, google"):
        reconcile(ledger, "groq", since=day, until=day + DAY)
    with pytest.raises(ConfigurationError, match="say a later day"):
        reconcile(ledger, "openai", since=day, until=day)
    with pytest.raises(ConfigurationError, match="files of the billing export"):
        reconcile(ledger, "google", since=day, until=day + DAY)
    ledger.close()


def test_the_residual_is_shown_on_the_metrics_and_in_a_text_file(books, tmp_path):
    from prometheus_client import CollectorRegistry, generate_latest

    from otel_llm_usage.telemetry.metrics import Metrics

    books.chat()
    books.bills(lambda bills: bills * 2)
    found = books.reconcile()
    write_residuals(tmp_path / "llm.prom", found.provider, found.residuals)
    line = 'llm_reconcile_residual_ratio{kind="tokens",provider="openai"} 0.5'
    assert line in (tmp_path / "llm.prom").read_text().splitlines()
    assert [path.name for path in tmp_path.glob("*prom*")] == ["llm.prom"]
    registry = CollectorRegistry()
    metrics = Metrics(registry=registry)
    metrics.show_residuals(found.provider, found.residuals)
    assert line in generate_latest(registry).decode().splitlines()
    metrics.close()


def test_the_stand_in_takes_no_other_key(books):
    import httpx

    url = f"{books.standin.url}/v1/organization/costs?start_time=0&limit=1"
    assert httpx.get(url).status_code == 401
    key = {"authorization": f"Bearer {billing.ADMIN_KEY}"}
    assert httpx.get(url, headers=key).json()["has_more"] is True


@pytest.mark.parametrize("usd", ["-5", "0"])
def test_a_refund_does_not_hide_what_differs(usd):
    day = datetime.date(2026, 3, 1)
    now = datetime.datetime(2026, 4, 1, tzinfo=datetime.UTC)
    own = [Own(day, "p", "openai", "openai-api", "gpt-5", {}, {}, 100 * 10**12, 1, 0)]
    refund = Statement("openai", charged=(Charged(day, "", Decimal(usd)),))
    found = compare(own, refund, day, day + DAY, now=now)
    assert (found.share, found.exit_code()) == (1, 2)


@pytest.mark.parametrize(
    ("provider", "path", "page"),
    [
        ("openai", "usage/completions", {"start_time": 10**20, "results": [{"input_tokens": 1}]}),
        ("openai", "usage/completions", {"start_time": 0, "results": [{"input_tokens": 1.5}]}),
        ("openai", "usage/completions", {"start_time": 0, "results": [{"input_tokens": True}]}),
        ("openai", "usage/completions", {"start_time": 0, "results": [{"input_tokens": "1,5"}]}),
        ("anthropic", "usage_report", {"starting_at": "0001-01-01T00:00:00+09:00", "results": [{}]}),
        ("anthropic", "cost_report", {"starting_at": "2026-03-01T00:00:00Z",
                                      "results": [{"currency": "USD", "amount": "0,25"}]}),
    ],
)  # fmt: skip
def test_a_number_that_can_be_misread_is_an_error(books, provider, path, page):
    one = {"input_tokens": 0, "uncached_input_tokens": 1}
    page["results"] = [one | result for result in page["results"]]
    books.standin.reply({"data": [page], "has_more": False}, match=path, times=None)
    with pytest.raises(StatementError, match="this is not the documented shape"):
        books.reconcile(provider)


def test_a_cost_without_an_amount_is_none(books):
    result = {"object": "organization.costs.result", "amount": None, "line_item": "x"}
    page = {"data": [{"start_time": 0, "results": [result]}], "has_more": False}
    books.standin.reply(page, match="/organization/costs")
    assert books.reconcile().dollars == ()


def test_a_model_of_which_nothing_was_used_is_not_told():
    day = datetime.date(2026, 3, 1)
    now = datetime.datetime(2026, 4, 1, tzinfo=datetime.UTC)
    nothing = Statement("openai", charged=(Charged(day, "gpt-5", Decimal(0)),))
    assert compare([], nothing, day, day + DAY, now=now).only_theirs == ()
