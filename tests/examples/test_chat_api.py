"""The chat service, asked over a real socket and held against the provider's bills."""

import asyncio
import json
import time
from decimal import Decimal

import httpx
import pytest

from examples import chat_api
from examples.kept import kept
from otel_llm_usage import close_tracker, instrument
from otel_llm_usage.ledger import Question


@pytest.fixture
def url(llm_standin, served, tmp_path):
    instrument(otlp=False, ledger=tmp_path / "usage.db")
    with served(chat_api.app) as url:
        yield url
    for name in ("ann", "bob", *(f"u{number}" for number in range(8))):
        close_tracker(f"user {name}")
    for number in range(10):
        close_tracker(f"conversation c{number}")


def say(url, text, *, user="ann", id="c1", how="", **headers):
    return httpx.post(
        f"{url}/conversations/{id}/messages{how}",
        json={"text": text},
        headers={"x-user-id": user, **headers},
        timeout=60,
    )


def figures(bills):
    """What the service must show for these bills."""
    embedded = sum(bill.usage["input"] for bill in bills if bill.endpoint == "embeddings")
    total = sum(sum(bill.usage.values()) for bill in bills)
    output = sum(bill.usage.get("output", 0) for bill in bills)
    return {
        "prompt_tokens": total - embedded - output,
        "completion_tokens": output,
        "embedding_tokens": embedded,
        "total_tokens": total,
        "cost_usd": float(sum((bill.usd for bill in bills), Decimal(0))),
    }


def usage_of(url, what):
    return httpx.get(f"{url}/{what}/usage").json()


def test_every_answer_says_what_it_took(llm_standin, url):
    first = say(url, "Where is my parcel?")
    assert first.json()["token_usage"] == figures(llm_standin.ledger)
    assert [bill.endpoint for bill in llm_standin.ledger] == ["embeddings", "chat.completions"]
    assert first.json()["text"]
    assert int(first.headers["x-llm-tokens"]) == first.json()["token_usage"]["total_tokens"]
    llm_standin.ledger.clear()
    second = say(url, "It was sent on Monday.")
    assert second.json()["token_usage"] == figures(llm_standin.ledger)
    assert "Where is my parcel?" in str(llm_standin.requests[-1].body)


def test_totals_by_user_and_by_conversation(llm_standin, url):
    bills = {}
    for user, id in (("ann", "c1"), ("ann", "c2"), ("bob", "c3"), ("ann", "c1")):
        before = len(llm_standin.ledger)
        say(url, f"Hello from {user}, {before} bills later", user=user, id=id)
        bills.setdefault(user, []).extend(llm_standin.ledger.bills[before:])
        bills.setdefault(id, []).extend(llm_standin.ledger.bills[before:])
    for user in ("ann", "bob"):
        assert usage_of(url, f"users/{user}") == figures(bills[user])
    for id in ("c1", "c2", "c3"):
        assert usage_of(url, f"conversations/{id}") == figures(bills[id])
    assert len(bills["ann"]) == 6


def test_a_stream_ends_with_what_it_took(llm_standin, url):
    answer = say(url, "Where is my parcel?", how="/stream")
    events = [json.loads(block[6:]) for block in answer.text.split("\n\n") if block]
    assert {event["type"] for event in events[:-1]} == {"text"}
    assert len(events) > 2
    assert events[-1] == {"type": "token_usage", **figures(llm_standin.ledger)}
    assert usage_of(url, "users/ann") == figures(llm_standin.ledger)


def test_a_stream_that_is_left_counts_as_far_as_it_came(llm_standin, url):
    llm_standin.script(match="chat/completions", pace=0.05, pieces=40)
    with httpx.stream(
        "POST",
        f"{url}/conversations/c1/messages/stream",
        json={"text": "Tell me everything."},
        headers={"x-user-id": "ann"},
    ) as answer:
        next(answer.iter_lines())
    until = time.monotonic() + 30
    while chat_api.user_usage("ann").total.calls < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert llm_standin.settled()
    total = chat_api.user_usage("ann").total
    embedded, chatted = llm_standin.ledger
    assert chatted.ending == "left"
    assert (total.calls, total.aborted, total.missing) == (2, 1, 0)
    assert total.embedding_tokens == embedded.usage["input"]
    # OpenAI tells nobody who leaves: ours is an estimate from the text that came
    assert total.output_tokens == pytest.approx(chatted.usage["output"], abs=10)


def test_users_and_sessions_label_the_records(llm_records, url):
    say(url, "Hello", user="bob", **{"x-session-id": "s1"})
    assert [
        (record.operation, record.labels["user"], record.labels["session"])
        for record in llm_records
    ] == [("embeddings", "bob", "s1"), ("chat", "bob", "s1")]


async def test_users_at_once_do_not_pay_for_each_other(llm_standin, url):
    async with httpx.AsyncClient(timeout=60) as http:

        async def talk(number):
            answers = []
            for turn in range(3):
                answer = await http.post(
                    f"{url}/conversations/c{number}/messages",
                    json={"text": f"{turn} " + "word " * 10 * number},
                    headers={"x-user-id": f"u{number}"},
                )
                answers.append(answer.json()["token_usage"])
            return answers

        said = await asyncio.gather(*map(talk, range(8)))
        totals = [(await http.get(f"{url}/users/u{number}/usage")).json() for number in range(8)]
    for answers, total in zip(said, totals, strict=True):
        assert total["total_tokens"] == sum(one["total_tokens"] for one in answers)
        assert total["cost_usd"] == pytest.approx(sum(one["cost_usd"] for one in answers))
    together = {field: sum(total[field] for total in totals) for field in totals[0]}
    assert together == pytest.approx(figures(llm_standin.ledger))
    embedded = [total["embedding_tokens"] for total in totals]
    assert embedded == sorted(set(embedded))


@pytest.mark.parametrize(("how", "status"), [("", 502), ("/stream", 200)])
def test_a_model_that_fails_says_so_and_costs_what_was_billed(llm_standin, url, how, status):
    llm_standin.script(match="chat/completions", status=400)
    answer = say(url, "Hello", how=how)
    assert answer.status_code == status
    assert "the model did not answer" in answer.text
    assert usage_of(url, "conversations/c1") == figures(llm_standin.ledger)
    assert len(llm_standin.ledger) == 1


def test_nobody_talks_in_somebody_elses_conversation(llm_standin, url):
    say(url, "Hello")
    llm_standin.ledger.clear()
    assert say(url, "Hello", user="bob").status_code == 403
    assert len(llm_standin.ledger) == 0


def test_as_a_program(run_example):
    lines = run_example("chat_api").splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "ann in c1", "ann in c1", "bob in c2", "bob in c3, the last event",
        "conversations/c1", "users/ann", "users/bob", "ann in the ledger", "bob in the ledger",
    ]  # fmt: skip
    assert all("total_tokens" in line for line in lines)
    assert lines[4].split(": ", 1)[1] == lines[5].split(": ", 1)[1]
    for whole, stored in zip(lines[5:7], lines[7:], strict=True):
        assert whole.split("{", 1)[1].rstrip("}") in stored


def test_what_a_user_took_is_stored_and_read_back(llm_standin, url):
    say(url, "Hello")
    say(url, "Hello again", how="/stream")
    say(url, "Good day", user="bob", id="c2")
    (day,) = httpx.get(f"{url}/users/ann/history", timeout=60).json()
    assert httpx.get(f"{url}/users/nobody/history", timeout=60).json() == []
    anns = list(llm_standin.ledger)[:4]
    assert {name: day[name] for name in figures(anns)} == pytest.approx(figures(anns))


def test_without_a_ledger_there_is_no_history():
    assert kept(instrument(otlp=False), Question()) is None
