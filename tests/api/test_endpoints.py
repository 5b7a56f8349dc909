"""What the API says is what the provider billed; what it does not understand, it says."""

import json
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal

import fastapi
import httpx
import openai
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from otel_llm_usage import ConfigurationError, api, estimate, instrument
from otel_llm_usage.ledger import Ledger
from otel_llm_usage.standin.tariff import charge

from .conftest import ASK

CALLS = 6


def billed(bills):
    """Tokens and dollars, as the provider has them."""
    bills = list(bills)
    return (
        sum(sum(bill.usage.values()) for bill in bills),
        sum((bill.usd for bill in bills), Decimal(0)),
    )


def told(sum_):
    return sum_["total_tokens"], Decimal(sum_["cost_usd"])


def by_model(bills):
    found = defaultdict(list)
    for bill in bills:
        found[bill.model].append(bill)
    return {model: billed(part) for model, part in found.items()}


def get(http, path, **query):
    answer = http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def lines(report, name):
    """Of those that the provider has billed."""
    return {line[name]: told(line) for line in report["lines"] if line["billed"]}


# ------------------------------------------------------------ what is said


def test_totals_and_models(called, http):
    bills = list(called.ledger)
    total = get(http, "/analytics/tokens")["total"]
    assert told(total) == billed(bills)
    assert (total["calls"], total["failures"]) == (CALLS, 1)
    assert lines(get(http, "/analytics/tokens/models"), "model") == by_model(bills)
    assert lines(get(http, "/analytics/tokens", by="model"), "model") == by_model(bills)
    days = get(http, "/analytics/tokens/by/day,model", zone="Europe/Berlin")
    assert lines(days, "model") == by_model(bills)


def test_agents_users_and_filters(called, http):
    bills = list(called.ledger)  # the call that failed is none
    planner, other = bills[:3], bills[3:]
    agents = get(http, "/analytics/tokens/agents")
    assert lines(agents, "agent") == {"planner": billed(planner), "a/b c": billed(other)}
    assert lines(get(http, "/analytics/tokens/agents/a%2Fb%20c/models"), "model") == by_model(other)
    ann = get(http, "/analytics/tokens/users/ann")
    assert (told(ann["total"]), lines(ann, "model")) == (billed(planner), by_model(planner))
    for query in ({"agent": "planner"}, {"where": "label:symbol=X"}, {"call_type": "plan"}):
        assert told(get(http, "/analytics/tokens", **query)["total"]) == billed(planner)
    both = get(http, "/analytics/tokens", agent=["planner", "a/b c"], since="1h", previous="true")
    assert told(both["total"]) == billed(bills)
    assert both["total"]["previous"]["calls"] == 0
    assert both["total"]["change_usd"] == both["total"]["cost_usd"]
    assert get(http, "/analytics/tokens", user="nobody")["total"]["calls"] == 0
    one = get(http, "/analytics/tokens/models", limit=1)
    assert one["groups"] == 5  # one that failed
    rest = told(one["others"])
    assert tuple(map(sum, zip(rest, told(one["lines"][0]), strict=True))) == billed(bills)


def test_scopes(called, http):
    bills = list(called.ledger)
    found = {line["id"]: line for line in get(http, "/analytics/scopes")["scopes"]}
    assert told(found["analysis/1"]) == billed(bills)
    assert told(found["analysis/2"]) == billed(bills[3:])
    one = get(http, "/analytics/scopes/analysis/2")
    assert told(one["total"]) == billed(bills[3:])
    assert lines({"lines": one["by_model"]}, "model") == by_model(bills[3:])
    assert [line["agent"] for line in one["by_agent"]] == ["a/b c"]
    assert [call["status"] for call in one["failures"]] == ["error"]
    assert len(one["latest"]) == 3
    seen, cursor = [], {}
    while True:
        page = get(http, "/analytics/scopes", limit=1, **cursor)
        seen += [line["id"] for line in page["scopes"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert sorted(seen) == ["analysis/1", "analysis/2"]


def test_calls_page_by_page(called, http):
    everything = get(http, "/analytics/calls")
    assert everything["next"] is None
    assert len(everything["calls"]) == CALLS
    times = [call["time"] for call in everything["calls"]]
    assert times == sorted(times, reverse=True)
    seen, cursor = [], {}
    while True:
        page = get(http, "/analytics/calls", limit=4, **cursor)
        seen += page["calls"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == everything["calls"]
    costs = [Decimal(call["cost_usd"]) for call in seen if call["status"] == "ok"]
    assert sum(costs) == billed(called.ledger)[1]
    (failed,) = get(http, "/analytics/calls", status="error")["calls"]
    assert (failed["model"], failed["labels"]["user"]) == ("gpt-4.1", "bob")


def test_two_models_compared_at_the_providers_prices(called, http):
    body = {"models": ["gpt-4.1", "gpt-4.1-mini"], "where": {"user": ["ann"]}}
    answer = http.post("/analytics/tokens/compare", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    strong, small = called.ledger.bills[0], called.ledger.bills[1]
    assert Decimal(found["a"]["total_usd"]) == strong.usd
    assert Decimal(found["a_on_b"]["other_usd"]) == charge("gpt-4.1-mini", strong.usage)
    assert Decimal(found["b_on_a"]["other_usd"]) == charge("gpt-4.1", small.usage)


def test_a_new_period_begins_and_nothing_is_lost(called, http, runtime, llm_standin):
    before = datetime.now(UTC)
    answer = http.post("/analytics/tokens/reset", json={"note": "a new month"})
    assert answer.status_code == 201
    assert before <= datetime.fromisoformat(answer.json()["began"]) <= datetime.now(UTC)
    assert get(http, "/analytics/tokens")["total"]["calls"] == 0
    assert told(get(http, "/analytics/tokens", since="all")["total"]) == billed(called.ledger)
    llm_standin.ledger.clear()
    with openai.OpenAI() as client:
        client.chat.completions.create(model="gpt-4.1", messages=ASK)
    runtime.flush()
    assert told(get(http, "/analytics/tokens")["total"]) == billed(llm_standin.ledger)


def test_estimates_are_those_of_the_library(http):
    asked = {"model": "gpt-4.1", "contents": "hello", "max_output_tokens": 50}
    there = estimate("gpt-4.1", "hello", max_output_tokens=50).to_dict()
    assert there["max_usd"] is not None
    assert get(http, "/usage/estimate", **asked) == there
    assert http.post("/usage/estimate", json=asked).json() == there
    messages = {"model": "claude-haiku-4-5", "contents": ASK, "system": "be short"}
    assert http.post("/usage/estimate", json=messages).json() == json.loads(
        json.dumps(estimate("claude-haiku-4-5", ASK, system="be short").to_dict())
    )


def test_an_empty_ledger_says_zero(runtime, http):
    assert get(http, "/analytics/tokens")["total"]["calls"] == 0
    assert get(http, "/analytics/tokens/by/hour", since="24h")["total"]["calls"] == 0
    assert get(http, "/analytics/calls") == {"calls": [], "next": None}
    assert get(http, "/analytics/scopes") == {"scopes": [], "next": None}


# ------------------------------------------------------------ what cannot be answered


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/analytics/tokens?modle=x", 400, "there are: since, until"),
        ("/analytics/tokens?since=soon", 400, "7d"),
        ("/analytics/tokens?since=today&since=all", 400, "twice"),
        ("/analytics/tokens?since=2026-02-30", 400, "2026-02-30"),
        ("/analytics/tokens?since=1d&until=2d", 400, "before until"),
        ("/analytics/tokens?since=0001-01-02&previous=true", 400, "1970 to 8941"),
        ("/analytics/tokens?zone=Mars/Base", 400, "Europe/Berlin"),
        ("/analytics/tokens?limit=many", 400, "integer"),
        ("/analytics/tokens?limit=0", 400, "1 to"),
        ("/analytics/tokens?limit=99999999999999999999", 400, "limit"),
        ("/analytics/tokens?previous=perhaps", 400, "boolean"),
        ("/analytics/tokens?previous=true&since=all", 400, "since"),
        ("/analytics/tokens?sort=nonsense", 400, "cost, tokens"),
        ("/analytics/tokens?where=agent", 400, "name=value"),
        ("/analytics/tokens?where=agnet=x", 400, "name=value"),
        ("/analytics/tokens/by/agent,agent", 400, "once"),
        ("/analytics/tokens/by/1;drop table", 400, "label:<name>"),
        ("/analytics/tokens/by/hour?since=1980-01-01", 400, "shorter"),
        ("/analytics/calls?cursor=x", 400, "next"),
        ("/analytics/calls?cursor=WzEsMl0", 400, "next"),
        ("/analytics/scopes/none", 404, "/analytics/scopes"),
        ("/analytics/tokens/users/", 404, "missing"),
        ("/analytics/", 404, "openapi.json"),
        ("/usage/estimate?model=gpt-4.1", 400, "contents"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(http, path, status, says):
    answer = http.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["status"] == status
    assert says in said["detail"]


@pytest.mark.parametrize(
    ("path", "send", "status"),
    [
        ("/usage/estimate", {"json": {"model": "gpt-4.1", "contents": ""}}, 400),
        ("/usage/estimate", {"json": {"model": "gpt-4.1", "contents": "x", "colour": 1}}, 400),
        ("/usage/estimate", {"json": {"model": 5, "contents": "x"}}, 400),
        ("/usage/estimate", {"content": b"{}"}, 415),
        ("/analytics/tokens/reset", {}, 415),
        ("/analytics/tokens/reset", {"data": {"note": "x"}}, 415),
        ("/analytics/tokens/reset", {"json": []}, 400),
        ("/analytics/tokens/reset", {"json": {"note": "x" * 1001}}, 400),
        ("/analytics/tokens/compare", {"json": {"models": ["a"]}}, 400),
        ("/analytics/tokens/compare", {"json": {"models": ["a", "b"], "since": 5}}, 400),
        ("/analytics/tokens/compare", {"json": {"models": ["a", "b"], "where": {"x": ["y"]}}}, 400),
        ("/analytics/tokens/compare", {"json": {"models": ["a", "b"], "where": {"agent": 5}}}, 400),
    ],
)  # fmt: skip
def test_wrong_bodies(http, path, send, status):
    answer = http.post(path, **send)
    assert (answer.status_code, answer.json()["status"]) == (status, status)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 100_000, 400),
        (b'{"note": NaN}', 400),
        (b'{"note": ' + b"9" * 5000 + b"}", 400),
        (b"\xff\xfe", 400),
        (b"", 400),
        (b'{"note": "' + b"x" * 5_000_000 + b'"}', 413),
    ],
    ids=["deep", "nan", "digits", "no text", "nothing", "big"],
)
def test_bodies_that_are_meant_to_hurt(http, body, status):
    headers = {"content-type": "application/json"}
    answer = http.post("/analytics/tokens/reset", content=body, headers=headers)
    assert answer.status_code == status


def test_names_that_no_database_takes_are_nothing_special(called, http):
    assert get(http, "/analytics/tokens", agent="a\0b")["total"]["calls"] == 0
    body = '{"models": ["\\ud800", "gpt-4.1"]}'
    headers = {"content-type": "application/json"}
    answer = http.post("/analytics/tokens/compare", content=body, headers=headers)
    assert answer.status_code == 200


def test_methods(http):
    answer = http.post("/analytics/tokens", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    answer = http.get("/analytics/tokens/reset")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    answer = http.options("/analytics/tokens", headers={"origin": "http://evil.example"})
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


def test_what_somebody_has_already_is_not_sent_again(called, runtime, http):
    first = http.get("/analytics/tokens")
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for known in (tag, f'"x", W/{tag}', "*"):
        again = http.get("/analytics/tokens", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    head = http.head("/analytics/tokens")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", tag)
    assert head.headers["content-length"] == first.headers["content-length"]
    with openai.OpenAI() as client:
        client.chat.completions.create(model="gpt-4.1", messages=ASK)
    runtime.flush()
    assert http.get("/analytics/tokens", headers={"if-none-match": tag}).status_code == 200


@pytest.mark.faults
def test_a_ledger_that_is_away_is_said_without_its_address(tmp_path, served):
    place = tmp_path / "secret-place.db"
    place.write_bytes(b"this is no database " * 500)
    ledger = Ledger(place, journal=tmp_path / "journal")
    with served(api.app(ledger, token=False)) as url:
        for path in ("/analytics/tokens", "/readyz", "/analytics/calls"):
            answer = httpx.get(url + path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert "secret" not in answer.text
        assert httpx.get(url + "/healthz").json() == {"status": "ok"}
    ledger.close()


def test_without_a_ledger_it_says_what_to_do(served):
    instrument(otlp=False)
    with served(api.app(token=False)) as url:
        answer = httpx.get(f"{url}/analytics/tokens")
    assert (answer.status_code, "instrument(ledger=" in answer.text) == (503, True)


# ------------------------------------------------------------ who may ask


def test_nobody_is_let_in_by_silence(ledger):
    with pytest.raises(TypeError):
        api.app(ledger)
    with pytest.raises(TypeError, match="False"):
        api.app(ledger, token=None)
    with pytest.raises(ConfigurationError, match="token"):
        api.app(ledger, token="")


def test_the_token(ledger, served):
    with served(api.app(ledger, token="s3cret")) as url:
        for given in ({}, {"authorization": "Bearer s3cre"}, {"authorization": "Basic s3cret"}):
            for path in ("/analytics/tokens", "/events", "/metrics", "/usage/estimate?model=x"):
                answer = httpx.get(url + path, headers=given)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")
            answer = httpx.post(f"{url}/analytics/tokens/reset", json={}, headers=given)
            assert answer.status_code == 401
        right = {"authorization": "Bearer s3cret"}
        assert httpx.get(f"{url}/analytics/tokens", headers=right).status_code == 200
        assert "python_info" in httpx.get(f"{url}/metrics", headers=right).text
        for path in ("/", "/page.js", "/healthz", "/readyz", "/openapi.json"):
            answer = httpx.get(url + path)
            assert (answer.status_code, "s3cret" in answer.text) == (200, False)


def test_browsers_are_told_to_be_careful(http):
    for path in ("/", "/analytics/tokens", "/nothing", "/analytics/tokens?x=1", "/openapi.json"):
        headers = http.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


# ------------------------------------------------------------ inside an application


def test_mounted_in_fastapi_below_a_path(called, runtime, served):
    application = fastapi.FastAPI()
    application.mount("/usage", api.app(runtime.ledger, token=False))
    with served(application) as url:
        total = httpx.get(f"{url}/usage/analytics/tokens").json()["total"]
        assert told(total) == billed(called.ledger)
        page = httpx.get(f"{url}/usage", follow_redirects=True)
        assert "<title>LLM usage</title>" in page.text
        described = httpx.get(f"{url}/usage/openapi.json").json()
        assert described["servers"] == [{"url": "/usage"}]


def test_as_routes_of_a_starlette_application(called, runtime, served):
    inner = api.routes(runtime.ledger, token="t")
    with served(Starlette(routes=[Mount("/usage", routes=inner)])) as url:
        assert httpx.get(f"{url}/usage/analytics/tokens").status_code == 401
        answer = httpx.get(f"{url}/usage/analytics/tokens", headers={"authorization": "Bearer t"})
        assert told(answer.json()["total"]) == billed(called.ledger)
