"""Bytes into events, whatever the chunks are."""

import base64
import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm_usage.patching import wire

STREAM = (
    b': a comment\n\ndata: {"n": 1}\n\nevent: ping\ndata: {"n": 2}\n\n'
    b"data: two\ndata: lines\n\ndata: [DONE]\n\n"
)
EVENTS = [
    (None, None),
    (b'{"n": 1}', None),
    (b'{"n": 2}', "ping"),
    (b"two\nlines", None),
    (b"[DONE]", None),
]


def _events(splitter, chunks, data=wire.sse_data):
    return [data(event) for chunk in chunks for event in splitter.feed(chunk)]


def _cut(data, places):
    places = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(
    places=st.lists(st.integers(0, 500), max_size=30),
    newline=st.sampled_from([b"\n", b"\r\n", b"\r"]),
)
def test_any_cut_of_the_bytes_gives_the_same_events(places, newline):
    data = STREAM.replace(b"\n", newline)
    splitter = wire.SseSplitter()
    assert _events(splitter, _cut(data, places)) == [
        (value.replace(b"\n", b"\n") if value else value, name) for value, name in EVENTS
    ]
    assert splitter.rest() == b""


@given(places=st.lists(st.integers(0, 500), max_size=30))
def test_raw_events_join_to_the_bytes_that_came(places):
    splitter = wire.SseSplitter()
    data = STREAM + b"data: unfinished"
    raw = [event for chunk in _cut(data, places) for event in splitter.feed(chunk)]
    assert b"".join(raw) + splitter.rest() == data


def _frame(inner: dict) -> bytes:
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(inner).encode()).decode()}).encode()
    headers = b"\x0b:event-type\x07\x00\x05chunk"
    length = 12 + len(headers) + len(payload) + 4
    head = length.to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    head += zlib.crc32(head).to_bytes(4, "big")
    message = head + headers + payload
    return message + zlib.crc32(message).to_bytes(4, "big")


@given(places=st.lists(st.integers(0, 500), max_size=20))
def test_any_cut_of_binary_frames_gives_the_same_events(places):
    data = _frame({"n": 1}) + _frame({"n": 2})
    found = _events(wire.FrameSplitter(), _cut(data, places), wire.frame_data)
    assert [json.loads(inner) for inner, _ in found] == [{"n": 1}, {"n": 2}]


def test_bytes_that_are_no_frames_give_no_event_and_no_error():
    splitter = wire.FrameSplitter()
    assert splitter.feed(b"<html>502 Bad Gateway</html> and more") == []
    assert wire.frame_data(b"\0\0\0\x14\0\0\0\0abcdnotjsonabcd") == (None, None)


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda raw: zlib.compressobj(wbits=-15).compress(raw) + _raw_tail(raw)),
    ],
)
def test_compressed_bodies_are_read_on_the_side(encoding, encode):
    raw = STREAM * 50
    if encode(raw)[:1] == b"":
        pytest.fail("the fixture is empty")
    decoder = wire.decoder({"content-encoding": encoding}, lambda whole: whole)
    compressed = encode(raw)
    pieces = [decoder.feed(compressed[i : i + 7]) for i in range(0, len(compressed), 7)]
    assert b"".join(pieces) + decoder.end() == raw


def _raw_tail(raw):
    compressor = zlib.compressobj(wbits=-15)
    head = compressor.compress(raw)
    return (head + compressor.flush())[len(zlib.compressobj(wbits=-15).compress(raw)) :]


def test_broken_compression_is_given_up_without_an_error():
    decoder = wire.decoder({"content-encoding": "gzip"}, lambda whole: whole)
    assert decoder.feed(b"this is not gzip") + decoder.end() == b""


def test_other_encodings_are_decoded_by_the_http_library_at_the_end():
    decoder = wire.decoder({"content-encoding": "br"}, bytes.upper)
    assert decoder.feed(b"ab") + decoder.feed(b"cd") == b""
    assert decoder.end() == b"ABCD"
