"""The pitfalls of the SDKs that no other room proves; the table is in this room's caption."""

import copy
import gc
from typing import Any

import httpx2
import openai
import pytest
from google import genai
from pydantic import BaseModel, ValidationError

from otel_llm_usage import agent
from otel_llm_usage.patching.tee import tee

from .kit import CHAT, CONTENT, MESSAGE, MESSAGES, Clients, instrumented, recorded, twice


class Plan(BaseModel):
    steps: int


# 1. parsing can raise after billing


@pytest.mark.parametrize("text", ["not JSON", '{"steps": "many"}', "{}"])
def test_1_an_answer_that_pydantic_refuses_was_billed(text):
    def program(clients):
        clients.standin.script(text=text)
        with pytest.raises(ValidationError) as caught:
            clients.gpt.chat.completions.parse(**CHAT, response_format=Plan)
        return str(caught.value)

    both = twice(program)
    assert both.with_us == both.without
    (record,) = both.records
    assert (record.status, record.usage_source) == ("ok", "reported")


def test_1_an_answer_that_anthropic_cannot_parse_was_billed():
    def program(clients):
        clients.standin.script(text="not JSON")
        with pytest.raises(ValidationError) as caught:
            clients.claude.messages.parse(**MESSAGE, output_format=Plan)
        return str(caught.value)

    both = twice(program)
    assert both.with_us == both.without
    assert [record.usage_source for record in both.records] == ["reported"]


# 3. background responses: what repeats a bill is none


def test_3_looking_again_at_a_finished_response_is_no_second_bill():
    def program(clients):
        made = clients.gpt.responses.create(model="gpt-4.1", input="hello")
        again = [clients.gpt.responses.retrieve(made.id) for _ in range(3)]
        return [one.usage.total_tokens == made.usage.total_tokens for one in again]

    both = twice(program)
    assert both.with_us == both.without == [True] * 3
    assert len(both.records) == 1


# 5. lazy Gemini streams


def test_5_a_lazy_stream_sends_nothing_before_it_is_read():
    def program(clients):
        stream = clients.gemini.models.generate_content_stream(**CONTENT)
        sent = [len(clients.standin.requests)]
        next(stream)
        sent.append(len(clients.standin.requests))
        list(stream)
        unread = clients.gemini.models.generate_content_stream(**CONTENT)
        sent.append(len(clients.standin.requests))
        del unread
        gc.collect()
        return [*sent, len(clients.standin.requests)]

    both = twice(program)
    assert both.with_us == both.without == [0, 1, 1, 1]
    assert len(both.records) == 1


def test_5_a_wrong_argument_of_a_lazy_stream_is_told_at_the_same_moment():
    def program(clients):
        said = []
        for wrong in ({}, {"model": "x", "contents": "y", "nonsense": 1}, {"model": None}):
            try:
                stream = clients.gemini.models.generate_content_stream(**wrong)
            except Exception as error:
                said.append(("at once", type(error), str(error)))
                continue
            try:
                next(stream)
            except Exception as error:
                said.append(("when read", type(error), str(error).splitlines()[0]))
        return said

    both = twice(program)
    assert both.with_us == both.without
    assert len(both.without) == 3


@pytest.mark.parametrize("within", ["an agent", "nobody"])
def test_5_values_may_be_sent_and_thrown_into_a_lazy_stream(within, llm_standin):
    """A generator takes more than `next`."""

    class Mine(Exception):  # noqa: N818
        pass

    def use(client):
        stream = client.models.generate_content_stream(**CONTENT)
        seen: list[Any] = [type(next(stream)), type(stream.send(None))]
        try:
            stream.throw(Mine("of the caller"))
        except Mine as error:
            seen.append(str(error))
        seen.append(list(stream))
        return seen

    clients = Clients(llm_standin)
    llm_standin.script(text="word " * 20, pieces=6, times=None)
    without = use(clients.gemini)
    with instrumented() as records:
        if within == "an agent":
            with agent("planner"):
                with_us = use(clients.gemini)
        else:
            with_us = use(clients.gemini)
        recorded(records, 1)
    assert with_us == without
    clients.close()


# 9. two HTTP libraries: what they are called is all that differs


@pytest.mark.parametrize("kinds", ["sync", "async", "both"])
def test_9_a_stream_is_of_the_classes_of_the_library_that_it_came_from(kinds):
    sync = type("SyncByteStream", (), {"__module__": "httpx"})
    asynchronous = type("AsyncByteStream", (), {"__module__": "httpx"})
    bases = {"sync": (sync,), "async": (asynchronous,), "both": (sync, asynchronous)}[kinds]
    theirs = type("BoundStream", bases, {"elapsed": 7})()
    observed = tee(theirs, None)  # type: ignore[arg-type]
    del observed._tap
    for kind in (sync, asynchronous, httpx2.SyncByteStream, httpx2.AsyncByteStream):
        assert isinstance(observed, kind) == isinstance(theirs, kind)
    assert observed.elapsed == 7
    assert tee(object(), None) is None  # type: ignore[arg-type]


# 10. what the caller passes in is the caller's


@pytest.mark.parametrize("stream", [False, True])
def test_10_a_body_of_the_callers_own_is_not_written_to(stream):
    body = {**copy.deepcopy(CHAT), "stream": stream, "stream_options": {"x": 1}, "stop": ["a"]}
    body = body if stream else {k: v for k, v in body.items() if k != "stream_options"}
    before, ids = copy.deepcopy(body), {key: id(value) for key, value in body.items()}

    def program(clients):
        answer = clients.gpt.post(
            "/chat/completions",
            body=body,
            cast_to=openai.types.chat.ChatCompletion,
            stream=stream,
            stream_cls=openai.Stream[openai.types.chat.ChatCompletionChunk],
        )
        got = [type(one) for one in answer] if stream else type(answer)
        assert body == before
        assert {key: id(value) for key, value in body.items()} == ids
        return got

    both = twice(program)
    assert both.with_us == both.without
    assert len(both.records) == 1
    assert both.records[0].usage_source == "reported"


def test_10_lists_options_and_headers_of_the_callers_own_are_not_written_to():
    messages = copy.deepcopy(MESSAGES)
    options = {"include_obfuscation": False}
    extra = {"x": [1]}
    headers = {"x-mine": "1"}
    tools: list[Any] = [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    ]
    theirs = (messages, options, extra, headers, tools)
    before = copy.deepcopy(theirs)

    def program(clients):
        asked: dict[str, Any] = {"model": "gpt-4.1", "messages": messages, "tools": tools}
        list(
            clients.gpt.chat.completions.create(
                **asked,
                stream=True,
                stream_options=options,
                extra_body=extra,
                extra_headers=headers,
            )
        )
        contents = [{"role": "user", "parts": [{"text": "hi"}]}]
        config = genai.types.GenerateContentConfig(temperature=0.1, stop_sequences=["x"])
        kept = copy.deepcopy((contents, config))
        clients.gemini.models.generate_content(
            model="gemini-2.5-flash", contents=contents, config=config
        )
        assert (contents, config) == kept
        clients.claude.messages.create(**{**MESSAGE, "messages": messages}, extra_headers=headers)
        assert theirs == before

    assert len(twice(program).records) == 3


# 15. what does not pass where we look


def test_15_what_passes_elsewhere_is_left_alone():
    """An application's own requests with the same HTTP library, and free calls of the SDKs."""

    def program(clients):
        url = f"{clients.standin.url}/v1/chat/completions"
        with httpx2.Client() as http:
            answer = http.post(url, json=CHAT, headers={"authorization": "Bearer x"})
            seen = [answer.status_code, sorted(answer.request.extensions), type(answer.stream)]
            with http.stream("POST", url, json={**CHAT, "stream": True}) as streamed:
                seen += [type(streamed.stream), sorted(streamed.request.extensions)]
                streamed.read()
        seen.append(len(clients.gpt.models.list().data) > 0)
        seen.append(
            clients.claude.messages.count_tokens(
                model="claude-haiku-4-5", messages=MESSAGES
            ).input_tokens
        )
        return seen

    both = twice(program)
    assert both.with_us == both.without
    assert both.records == []
