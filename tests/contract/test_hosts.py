"""Hosts that reject the question for usage: the caller never notices, and they are asked once."""

from typing import Any

import pytest

from otel_llm_usage.standin import Answer, StandIn

from .kit import Caller, Mode, Ran, Shape, every, same_for_all, with_us, without_us
from .openai_shapes import CHAT


def _shape(run: Any, script: Any, **more: Any) -> Shape:
    return Shape(
        id="host",
        run=run,
        provider="openai",
        endpoint="chat.completions",
        asked="gpt-4.1-mini",
        script=script,
        **more,
    )


def _asked(ran: Ran) -> list[Any]:
    """The stream options of each request."""
    return [seen.body.get("stream_options") for seen in ran.requests]


def rejects(standin: StandIn) -> None:
    standin.reject_stream_options = True


def rejects_with_422(standin: StandIn) -> None:
    standin.script(
        lambda seen: (
            Answer(status=422, message="Extra inputs are not permitted: body.stream_options")
            if "stream_options" in seen.body
            else Answer()
        ),
        times=None,
    )


def rejects_something_else(standin: StandIn) -> None:
    standin.script(status=400, message="The model is on holiday.", times=None)


async def thrice(call: Caller) -> Any:
    client = call.openai(max_retries=0)
    return [await every(client.chat.completions.create(**CHAT, stream=True)) for _ in range(3)]


async def once(call: Caller, **more: Any) -> Any:
    client = call.openai(max_retries=0)
    return await every(client.chat.completions.create(**CHAT, stream=True, **more))


MODES = pytest.mark.parametrize("mode", ["sync", "async"])


@MODES
@pytest.mark.parametrize("script", [rejects, rejects_with_422])
def test_a_host_that_rejects_the_question_is_asked_once_and_remembered(
    mode: Mode, script: Any
) -> None:
    shape = _shape(thrice, script)
    before, after = without_us(shape, mode), with_us(shape, mode)
    assert after.received == before.received
    assert _asked(before) == [None] * 3
    assert _asked(after) == [{"include_usage": True}, None, None, None]
    assert after.requests[1].body == before.requests[0].body
    assert after.requests[1].headers["accept-encoding"] != "identity"
    assert len(after.records) == 3
    for record in after.records:
        assert (record.status, record.usage_source) == ("ok", "missing")
        assert record.cost.reasons == ("no_usage",)
        assert record.response_model == "gpt-4.1-mini-2025-04-14"


@MODES
def test_an_error_that_is_not_about_our_question_is_not_repeated(mode: Mode) -> None:
    shape = _shape(once, rejects_something_else, raises="BadRequestError", asks=True)
    before, after = without_us(shape, mode), with_us(shape, mode)
    same_for_all(shape, before, after)
    assert len(after.requests) == 1
    (record,) = after.records
    assert (record.status, record.http_status) == ("error", 400)
    assert record.cost.status == "not_billed"


@MODES
def test_a_question_of_the_callers_own_is_the_callers_own_affair(mode: Mode) -> None:
    async def run(call: Caller) -> Any:
        return await once(call, stream_options={"include_usage": True})

    shape = _shape(run, rejects, raises="BadRequestError")
    before, after = without_us(shape, mode), with_us(shape, mode)
    same_for_all(shape, before, after)
    assert len(after.requests) == 1
    assert len(after.records) == 1
