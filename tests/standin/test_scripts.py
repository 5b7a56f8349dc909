"""What a test can ask of the stand-in: scripts, raw replies, what it saw, and to start anew."""

import gzip
import json
import re
from decimal import Decimal

import httpx2
import openai
import pytest

from otel_llm_usage.standin import ABSENT, Answer, Call, StandIn

CHAT = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "Hello"}]}


def post(standin: StandIn, path: str = "/v1/chat/completions", body: object = CHAT, **more):
    return httpx2.post(f"{standin.url}{path}", json=body, **more)


def drain(standin: StandIn, got: list[bytes]) -> None:
    with httpx2.stream("POST", f"{standin.url}/v1/chat/completions", json=CHAT) as answer:
        for data in answer.iter_raw():
            got.append(data)  # noqa: PERF402


def said(answer: httpx2.Response) -> str:
    return answer.json()["choices"][0]["message"]["content"]


def test_scripts_are_used_in_order_and_up(standin):
    standin.script(text="one")
    standin.script(text="two", times=2)
    assert [said(post(standin)) for _ in range(3)] == ["one", "two", "two"]
    assert said(post(standin)) not in ("one", "two")


def test_scripts_wait_for_their_request(standin):
    standin.script(text="by path", match=r"/deployments/")
    standin.script(text="by question", match=lambda seen: seen.model == "gpt-5", times=None)
    standin.script(text="by pattern", match=re.compile(r"completions\?x=1$"))
    assert said(post(standin, body={**CHAT, "model": "gpt-5"})) == "by question"
    assert said(post(standin, "/openai/deployments/d/chat/completions")) == "by path"
    assert said(post(standin, "/v1/chat/completions?x=1")) == "by pattern"
    assert said(post(standin, body={**CHAT, "model": "gpt-5"})) == "by question"


def test_script_may_answer_from_the_request(standin):
    standin.script(lambda seen: Answer(text=seen.body["messages"][0]["content"][::-1]))
    assert said(post(standin)) == "olleH"


def test_script_may_ask_for_calls_and_leave_the_usage_out(standin):
    standin.script(calls=[Call("a", {}), Call("b", {"x": 1})], wire_usage=ABSENT)
    answer = post(standin).json()
    assert [c["function"]["name"] for c in answer["choices"][0]["message"]["tool_calls"]] == [
        "a",
        "b",
    ]
    assert "usage" not in answer
    assert not standin.ledger.last.reported


def test_null_usage_can_be_scripted(standin):
    standin.script(wire_usage=None)
    assert post(standin).json()["usage"] is None


@pytest.mark.parametrize("chunks", [None, 5, [1, 2, 3], [b'{"a"', b": 1}"]])
@pytest.mark.parametrize("zipped", [False, True])
def test_raw_reply_arrives_to_the_byte(standin, chunks, zipped):
    body = b'{"a": 1}'
    standin.reply(body, status=203, headers={"X-One": "1"}, chunks=chunks, gzip=zipped)
    answer = post(standin)
    assert (answer.status_code, answer.content) == (203, body)
    assert answer.headers["x-one"] == "1"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers.get("content-encoding") == ("gzip" if zipped else None)
    assert len(standin.ledger) == 0


def test_raw_reply_of_a_dict_is_json_and_of_events_a_stream(standin):
    standin.reply({"id": "x", "choices": []})
    standin.reply("data: {}\n\n")
    standin.reply(b"<html>bad gateway</html>", status=502, headers={"content-type": "text/html"})
    assert post(standin).json() == {"id": "x", "choices": []}
    assert post(standin).headers["content-type"] == "text/event-stream"
    assert post(standin).status_code == 502


def test_raw_stream_is_read_by_the_sdk_however_it_is_cut_up(standin):
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    delta = {"index": 0, "delta": {"content": "fish"}, "finish_reason": None}
    stream = f"data: {json.dumps({**chunk, 'choices': [delta]})}\r\n\r\ndata: [DONE]\r\n\r\n"
    with openai.OpenAI(base_url=f"{standin.url}/v1", api_key="any") as sdk:
        for size in (1, 2, 3, 1000):
            standin.reply(stream, chunks=size)
            chunks = list(sdk.chat.completions.create(**CHAT, stream=True))
            assert [c.choices[0].delta.content for c in chunks] == ["fish"]


def test_raw_reply_can_be_cut_and_slow(standin):
    standin.reply(b"data: {}\n\n" * 3, chunks=10, cut_after=2, delay=0.01, pace=0.01)
    got: list[bytes] = []
    with pytest.raises(httpx2.TransportError):
        drain(standin, got)
    assert b"".join(got) == b"data: {}\n\n" * 2


def test_raw_reply_can_be_billed(standin):
    standin.reply({"ok": 1}, usage={"input": 1000, "output": 10})
    standin.reply({"ok": 1}, usage={"input": 1}, model="fish")
    post(standin)
    post(standin)
    first, second = standin.ledger.bills
    assert (first.model, first.usage) == ("gpt-4.1-2025-04-14", {"input": 1000, "output": 10})
    assert first.usd == Decimal("0.00208")
    assert (second.model, second.usd) == ("fish", None)


def test_requests_are_seen_and_their_number_is_bounded():
    with StandIn(keep=2) as standin:
        for path in ("/v1/one", "/v1/two?x=1", "/v1/three"):
            assert post(standin, path).status_code == 404
        assert [(seen.path, seen.query) for seen in standin.requests] == [
            ("/v1/two", "x=1"),
            ("/v1/three", ""),
        ]
        assert standin.requests[0].body == CHAT
        assert standin.requests[0].headers["content-type"] == "application/json"


def test_forms_and_zipped_bodies_are_seen_parsed(standin):
    url = f"{standin.url}/v1/audio/transcriptions"
    httpx2.post(url, data={"model": "whisper-1"}, files={"file": ("a.wav", b"a\r\nb")})
    assert standin.requests[-1].body == {"model": "whisper-1", "file": b"a\r\nb"}
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    zipped = gzip.compress(json.dumps(CHAT).encode())
    answer = httpx2.post(f"{standin.url}/v1/chat/completions", content=zipped, headers=headers)
    assert answer.status_code == 200
    assert standin.requests[-1].body == CHAT


def test_reset_forgets_everything(standin):
    post(standin)
    standin.script(text="one")
    standin.reset()
    assert (len(standin.ledger), len(standin.requests)) == (0, 0)
    assert said(post(standin)) != "one"


@pytest.mark.parametrize("body", [{}, [], 7, {"messages": 3, "model": "x"}, None])
def test_senseless_requests_get_a_400_and_are_free(standin, body):
    answer = post(standin, body=body)
    assert answer.status_code == 400
    assert "make sense" in answer.json()["error"]["message"]
    assert len(standin.ledger) == 0


def test_seeds_make_other_numbers_and_the_same_seed_the_same():
    usages = []
    for seed in (1, 1, 2):
        with StandIn(seed=seed) as standin:
            post(standin)
            usages.append(standin.ledger.last.usage)
    assert usages[0] == usages[1] != usages[2]
