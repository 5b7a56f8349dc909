"""Frames that are none: what is read does not depend on the pieces that the bytes came in."""

from hypothesis import example, given
from hypothesis import strategies as st

from otel_llm_usage.patching import wire

from .kit import BY_ID, Said, cut, places, quickly, sound
from .test_streams import FRAMED, framed, usage_of

GOOD = [
    framed(event)
    for event in BY_ID["messages, streamed"].events(usage_of(BY_ID["messages, streamed"]))
]
BAD = [b"\0" * 16, b"\xff" * 16, b"data: 1", b"{}", b"\0\0\0\x10" + b"\0" * 12]


@quickly
@given(parts=st.lists(st.sampled_from([*GOOD, *BAD]), max_size=8), where=places)
@example(parts=[BAD[0], *GOOD], where=[16])
def test_after_what_is_no_frame_nothing_is_read_whatever_the_pieces(rig, parts, where):
    shape = BY_ID["messages, streamed"]
    body = b"".join(parts)
    whole = rig.ask(shape, Said([body], FRAMED))
    sound(whole)
    again = rig.ask(shape, Said(cut(body, where), FRAMED))
    assert again.got == whole.got == (body, None)
    assert again.records == whole.records


def test_a_frame_after_what_is_none_is_not_taken_for_one():
    splitter = wire.FrameSplitter()
    assert splitter.feed(bytes(16)) == []
    assert splitter.feed(GOOD[0]) == []
    assert splitter.rest() == b""
