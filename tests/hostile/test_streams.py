"""However the bytes of an answer come: the caller gets them as they are, the record is the same."""

import base64
import json
import struct
import zlib
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .kit import (
    BY_ID,
    NEWLINES,
    STREAMS,
    Body,
    Heard,
    Said,
    Shape,
    cut,
    packed,
    places,
    quickly,
    sound,
)

USAGES = {
    "openai": '{"prompt_tokens":20,"completion_tokens":9,"total_tokens":29}',
    "responses": '{"input_tokens":20,"output_tokens":9,"total_tokens":29}',
    "anthropic": '{"input_tokens":20,"output_tokens":9}',
    "google": '{"promptTokenCount":20,"candidatesTokenCount":9,"totalTokenCount":29}',
    "embeddings": '{"prompt_tokens":20,"total_tokens":20}',
    "embed_content": '{"promptTokenCount":20,"totalTokenCount":20}',
    "interactions": '{"total_input_tokens":20,"total_output_tokens":9,"total_tokens":29}',
}
_LIKE_RESPONSES = ("responses", "decisions", "images", "audio.transcriptions", "audio.speech")
COUNTED = [
    name
    for name, shape in BY_ID.items()
    if shape.endpoint not in ("complete", "generate_images", "audio.translations", "caches.create")
    and name != "audio.speech"
]
"""Whose answers tell tokens."""


def usage_of(shape: Shape) -> str:
    """A plain usage in the words of this endpoint."""
    if shape.endpoint in _LIKE_RESPONSES:
        return USAGES["responses"]
    return USAGES.get(shape.endpoint, USAGES[shape.sdk])


def joined(events: list[bytes], newline: bytes, *, ended: bool = True) -> bytes:
    """Events as one stream."""
    whole = b"".join(event.replace(b"\n", newline) + newline * 2 for event in events)
    return whole if ended or not events else whole[: -len(newline * 2)]


def exact(heard: Heard, shape: Shape) -> None:
    """Everything was understood."""
    (record,) = heard.records
    assert (record.status, record.usage_source, record.notes) == ("ok", "reported", ())
    assert record.usage is not None
    told = record.usage.input_tokens, record.usage.output_tokens
    assert told == (20, 0 if "embed" in shape.endpoint else 9)


# any pieces


@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("name", COUNTED)
@quickly
@given(where=places)
def test_any_pieces_give_the_same_bytes_and_the_same_record(name, encoding, rig, where):
    shape = BY_ID[name]
    body = packed(shape.body(usage_of(shape)), encoding)
    heard = rig.ask(shape, Said(cut(body, where), shape.content_type, encoding))
    exact(heard, shape)
    if shape.sdk != "google":
        assert heard.got == (body, None)
    else:
        assert heard.got[1] is None


@pytest.mark.parametrize("name", COUNTED)
def test_one_byte_at_a_time(name, rig):
    shape = BY_ID[name]
    for encoding in (None, "gzip"):
        body = packed(shape.body(usage_of(shape)), encoding)
        pieces = [body[at : at + 1] for at in range(len(body))]
        exact(rig.ask(shape, Said(pieces, shape.content_type, encoding)), shape)


# any ends of lines, comments and fields


@st.composite
def dressed(draw: Any, events: list[bytes], newlines: tuple[bytes, ...] = NEWLINES) -> bytes:
    """A stream of these events, with everything around them that server-sent events allow."""
    whole = []
    for event in events:
        newline = draw(st.sampled_from(newlines))
        lines = event.split(b"\n")
        for _ in range(draw(st.integers(0, 2))):
            extra = draw(
                st.sampled_from([b": comment", b":", b"id: 7", b"retry: 10", b"odd", b": \xc3\xa4"])
            )
            lines.insert(draw(st.integers(0, len(lines))), extra)
        if draw(st.booleans()):
            lines = [line.replace(b"data: ", b"data:", 1) for line in lines]
        if draw(st.integers(0, 4)) == 0:
            whole.append(b": alone" + newline * 2)
        whole.append(newline.join(lines) + newline * draw(st.integers(2, 4)))
    return b"".join(whole)


@pytest.mark.parametrize("name", [name for name in STREAMS if BY_ID[name].sdk != "google"])
@quickly
@given(data=st.data())
def test_events_may_be_dressed_in_any_way(name, rig, data):
    shape = BY_ID[name]
    body = data.draw(dressed(shape.events(usage_of(shape))))
    heard = rig.ask(shape, Said(cut(body, data.draw(places)), "text/event-stream"))
    assert heard.got == (body, None)
    exact(heard, shape)


# any order


@pytest.mark.parametrize("name", STREAMS)
@quickly
@given(data=st.data())
def test_events_in_any_order_and_number_are_read_without_harm(name, rig, data):
    """Shuffled, repeated, left out, after the end, with others between: the pieces change nothing."""
    shape = BY_ID[name]
    events = shape.events(usage_of(shape))
    others = [
        *(b"data: [DONE]", b"data:", b"data: null", b"data: 7", b"event: error\ndata: {}"),
        *(b'data: {"error":{"type":"overloaded","message":"x"}}', b'data: {"usage":', b"\0\xff"),
        *(b'data: {"type":"error","error":{"type":"api_error"}}', b"data: [1,2]", b": c"),
        *(b'event: response.failed\ndata: {"type":"response.failed","response":{}}', b"event:"),
        *(b'data: {"choices":[null,{"finish_reason":7}],"usage":[]}', b"data: \xed\xa0\x80"),
    ]
    drawn = data.draw(st.lists(st.sampled_from([*events, *events, *others]), max_size=12))
    newline = data.draw(st.sampled_from(NEWLINES))
    body = joined(drawn, newline, ended=data.draw(st.booleans()))
    whole = rig.ask(shape, Said([body], "text/event-stream"))
    sound(whole)
    again = rig.ask(shape, Said(cut(body, data.draw(places)), "text/event-stream"))
    assert again.records == whole.records
    if shape.sdk != "google":
        assert again.got == whole.got == (body, None)
    else:
        assert again.got == whole.got


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("times", [2, 30])
def test_an_end_that_is_told_again_and_again_is_told_once(name, times, rig):
    shape = BY_ID[name]
    if shape.endpoint == "images":
        return  # each of its ends is an image of its own
    *before, last = shape.events(usage_of(shape))
    heard = rig.ask(shape, Said([joined([*before, *[last] * times], b"\n")], "text/event-stream"))
    exact(heard, shape)


# any bytes, and any end


@pytest.mark.parametrize("name", BY_ID)
@quickly
@given(data=st.data())
def test_any_bytes_are_read_without_harm_and_passed_on(name, rig, data):
    shape = BY_ID[name]
    body = bytearray(shape.body(usage_of(shape)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        patch = data.draw(st.sampled_from([b"\0", b"\xff", b"\n", b"\n\n", b"\r", b'"', b"}", b"\\", b"\xef\xbb\xbf", b"9" * 40, b"data: "]) | st.binary(max_size=3))  # fmt: skip
        body[at : at + data.draw(st.integers(0, 6))] = patch
    said = bytes(body)
    whole = rig.ask(shape, Said([said], shape.content_type))
    sound(whole)
    again = rig.ask(shape, Said(cut(said, data.draw(places)), shape.content_type))
    assert again.records == whole.records
    if shape.sdk != "google":
        assert again.got == (said, None)


@pytest.mark.parametrize("encoding", [None, "gzip"])
@pytest.mark.parametrize("name", [name for name in BY_ID if BY_ID[name].sdk != "google"])
@quickly
@given(at=st.integers(0, 10_000), fails=st.booleans(), where=places)
def test_an_answer_that_breaks_off_is_passed_on_as_far_as_it_came(
    name, encoding, rig, at, fails, where
):
    shape = BY_ID[name]
    body = packed(shape.body(usage_of(shape)), encoding)
    body = body[: at % (len(body) + 1)]
    error = httpx2.ReadError("cut") if fails else None
    whole = rig.ask(shape, Said([body], shape.content_type, encoding, error))
    sound(whole)
    assert whole.got == (body, error)
    again = rig.ask(shape, Said(cut(body, where), shape.content_type, encoding, error))
    assert again.got == (body, error)
    assert again.records == whole.records


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "compress", "gzip, br", "x"])
@pytest.mark.parametrize("name", ["chat.completions", "chat.completions, streamed", "messages"])
def test_an_encoding_that_is_none_is_passed_on(name, encoding, rig):
    shape = BY_ID[name]
    body = shape.body(usage_of(shape))
    for said in (body, b"", packed(body, "gzip")[:40], packed(body, "gzip") + b"rest"):
        heard = rig.ask(shape, Said([said[:7], said[7:]], shape.content_type, encoding))
        assert heard.got == (said, None)
        sound(heard)


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/html", None, "x"])
@pytest.mark.parametrize("name", ["chat.completions", "chat.completions, streamed", "messages"])
def test_a_content_type_that_is_not_true_changes_nothing(name, kind, rig):
    shape = BY_ID[name]
    body = shape.body(usage_of(shape))
    exact(rig.ask(shape, Said([body], kind)), shape)


# huge events


@pytest.mark.parametrize(
    "name", ["chat.completions, streamed", "messages, streamed", "responses, streamed"]
)
def test_a_huge_event_in_small_pieces(name, rig):
    shape = BY_ID[name]
    first, *rest = shape.events(usage_of(shape))
    huge = first.replace("Grüße".encode(), b"x" * 3_000_000).replace(
        b'"id":"', b'"id":"' + b"y" * 3_000_000
    )
    body = joined([huge, *rest], b"\n")
    heard = rig.ask(shape, Said([body[at : at + 4096] for at in range(0, len(body), 4096)]))
    assert heard.got == (body, None)
    exact(heard, shape)


def test_a_stream_of_nothing_but_comments_and_empty_lines(rig):
    shape = BY_ID["chat.completions, streamed"]
    body = (b": keep-alive\n\n" + b"\n" * 50) * 400
    heard = rig.ask(shape, Said(cut(body, range(0, len(body), 97))))
    assert heard.got == (body, None)
    sound(heard)


# what we ask for unseen stays unseen

CHUNK = '{"id":"c1","object":"chunk","created":1,"model":"gpt-4.1","choices":'


def _pair(draw: Any, place: str, newlines: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """A stream as it is when usage is asked for, and as it would be if it were not."""
    asked: list[bytes] = []
    unasked: list[bytes] = []
    for _ in range(draw(st.integers(1, 4))):
        said = draw(
            st.sampled_from(
                ['"Grüße"', '"\\"usage\\":null"', '"\\u00fc"', '"}"', '"a\\\\"', "null"]
            )
        )
        choice = f'[{{"index":0,"delta":{{"content":{said}}},"finish_reason":null}}]'
        newline = draw(st.sampled_from(newlines))
        space = draw(st.sampled_from([" ", ""]))
        name = draw(st.sampled_from(["", "id: 1\n", ": c\n"]))
        for stream, usage in ((asked, ',"usage":null'), (unasked, "")):
            if place == "before":
                event = CHUNK.replace('"choices"', (usage[1:] + "," if usage else "") + '"choices"')
                event += choice + "}"
            else:
                event = CHUNK + choice + usage + "}"
            text = f"{name}data:{space}{event}\n\n".encode().replace(b"\n", newline)
            stream.append(text)
    last = f'data: {CHUNK}[],"usage":{USAGES["openai"]}}}\n\n'.encode()
    asked.append(last)
    end = draw(st.sampled_from([b"data: [DONE]\n\n", b"data: [DONE]", b""]))
    return b"".join([*asked, end]), b"".join([*unasked, end])


@pytest.mark.parametrize("encoding", [None, "gzip"])
@pytest.mark.parametrize("place", ["after", "before"])
@quickly
@given(data=st.data())
def test_what_we_ask_for_is_hidden_whatever_the_pieces(place, encoding, rig, data):
    asked, unasked = data.draw(st.composite(lambda draw: _pair(draw, place, (b"\n", b"\r\n")))())
    sent = packed(asked, encoding)
    rig.transport.said = Said(cut(sent, data.draw(places)), "text/event-stream", encoding)
    with rig.openai.chat.completions.with_streaming_response.create(
        model="gpt-4.1", messages=[], stream=True
    ) as answer:
        seen = list(answer.iter_bytes())
    assert b"".join(seen) == unasked
    assert all(seen)
    assert rig.transport.asked.get("stream_options") == {"include_usage": True}
    (record,) = rig.hear()
    assert record.usage is not None
    assert (record.usage.input, record.usage.output) == (20, 9)


# Bedrock's frames


def frame(payload: bytes, headers: bytes = b"\x0b:event-type\x07\x00\x05chunk") -> bytes:
    """One message of `application/vnd.amazon.eventstream`."""
    head = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    head += struct.pack(">I", zlib.crc32(head))
    body = head + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


def framed(event: bytes) -> bytes:
    """An event as Bedrock sends it."""
    inner = base64.b64encode(event.partition(b"data: ")[2])
    return frame(json.dumps({"bytes": inner.decode(), "p": "abc"}).encode())


FRAMED = "application/vnd.amazon.eventstream"


@quickly
@given(where=places)
def test_frames_in_any_pieces(rig, where):
    shape = BY_ID["messages, streamed"]
    body = b"".join(map(framed, shape.events(usage_of(shape))))
    heard = rig.ask(shape, Said(cut(body, where), FRAMED))
    assert heard.got == (body, None)
    exact(heard, shape)


@quickly
@given(data=st.data())
def test_frames_that_are_none_are_read_without_harm(rig, data):
    shape = BY_ID["messages, streamed"]
    good = [framed(event) for event in shape.events(usage_of(shape))]
    bad = [
        *(frame(b""), frame(b"[]"), frame(b'{"bytes":7}'), frame(b'{"bytes":"*"}'), frame(b"{")),
        *(
            frame(b'{"bytes":"/w=="}'),
            b"\0" * 16,
            b"\xff" * 16,
            frame(b"{}", b"\xff" * 9),
            b"data: 1",
        ),
    ]
    body = b"".join(data.draw(st.lists(st.sampled_from([*good, *bad]), max_size=10)))
    body = body[: data.draw(st.integers(0, max(0, len(body))))]
    whole = rig.ask(shape, Said([body], FRAMED))
    sound(whole)
    again = rig.ask(shape, Said(cut(body, data.draw(places)), FRAMED))
    sound(again)
    assert again.got == whole.got == (body, None)


def test_a_stream_is_closed_once_whatever_it_says(rig):
    """What stands under the tee is closed as often as without it."""
    closed = []

    class Counting(Body):
        def close(self) -> None:
            closed.append(self)

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=Counting([b"data: \xff\n\n", b"\0"], None))

    rig.transport.handle_request = answer
    create = rig.openai.chat.completions.with_streaming_response.create
    with create(model="gpt-4.1", messages=[], stream=True) as response:
        response.read()
    assert len(closed) == 1
