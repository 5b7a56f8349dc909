"""A mark of the byte order before the first byte of the text, as some gateways put it there."""

import codecs
import json

import pytest

from .kit import BY_ID, Said, cut
from .test_streams import CHUNK, COUNTED, USAGES, exact, joined, usage_of

STREAMED = [name for name in COUNTED if BY_ID[name].stream and BY_ID[name].sdk != "google"]
WHOLE = [name for name in COUNTED if not BY_ID[name].stream]


@pytest.mark.parametrize("name", WHOLE)
def test_a_body_with_a_mark_is_counted(name, rig):
    shape = BY_ID[name]
    body = codecs.BOM_UTF8 + shape.body(usage_of(shape))
    for pieces in ([body], cut(body, range(len(body)))):
        exact(rig.ask(shape, Said(pieces, shape.content_type)), shape)


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_that_tells_all_in_its_first_event_is_counted(name, rig):
    shape = BY_ID[name]
    last = -1 if not shape.endpoint.endswith("completions") else -2
    event = shape.events(usage_of(shape))[last].partition(b"data: ")[2]
    if shape.endpoint == "messages":
        event = shape.events(usage_of(shape))[0].partition(b"data: ")[2]
    body = codecs.BOM_UTF8 + joined([b"data: " + event, b"data: [DONE]"], b"\n")
    heard = rig.ask(shape, Said(cut(body, range(5)), "text/event-stream"))
    assert heard.got == (body, None)
    assert heard.record.usage is not None
    assert heard.record.usage.input_tokens == 20


def test_what_we_ask_for_is_hidden_behind_a_mark(rig):
    shape = BY_ID["chat.completions, streamed"]
    first = f'data: {CHUNK}[],"usage":null}}\n\n'
    usage = f'data: {CHUNK}[],"usage":{USAGES["openai"]}}}\n\n'
    end = "data: [DONE]\n\n"
    said = codecs.BOM_UTF8 + f"{first}{usage}{end}".encode()
    heard = rig.ask(shape, Said([said], "text/event-stream"), asks=False)
    unasked = codecs.BOM_UTF8 + f"data: {CHUNK}[]}}\n\n{end}".encode()
    assert heard.got == (unasked, None)
    assert json.loads(unasked.split(b"\n")[0].partition(b"data: ")[2])
