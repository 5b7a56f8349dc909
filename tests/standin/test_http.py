"""The server under the SDKs: sockets, many at once, its own pages, its end."""

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from binascii import crc32

import httpx2
import pytest

from otel_llm_usage.standin import StandIn

BODY = json.dumps({"model": "gpt-4.1", "messages": [{"role": "user", "content": "Hello"}]}).encode()


def request(body: bytes = BODY, *headers: bytes) -> bytes:
    head = [
        b"POST /v1/chat/completions HTTP/1.1",
        b"host: x",
        b"content-type: application/json",
        *(headers or [b"content-length: %d" % len(body)]),
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def connect(standin: StandIn) -> socket.socket:
    return socket.create_connection((standin.host, standin.port), timeout=60)


def answers(sock: socket.socket, count: int) -> list[int]:
    """The statuses of so many answers on one socket."""
    statuses = []
    reader = sock.makefile("rb")
    for _ in range(count):
        statuses.append(int(reader.readline().split()[1]))
        headers = http.client.parse_headers(reader)
        reader.read(int(headers["content-length"]))
    reader.close()
    return statuses


def test_one_connection_carries_many_requests(standin):
    connection = http.client.HTTPConnection(standin.host, standin.port)
    for _ in range(3):
        headers = {"content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", BODY, headers)
        assert json.loads(connection.getresponse().read())["object"] == "chat.completion"
    connection.close()
    assert len(standin.ledger) == 3


def test_requests_may_come_in_a_row_or_in_bits(standin):
    with connect(standin) as sock:
        sock.sendall(request() * 3)
        assert answers(sock, 3) == [200] * 3
        for at in range(0, len(request()), 20):
            sock.sendall(request()[at : at + 20])
        assert answers(sock, 1) == [200]


def test_chunked_body_and_expectation_are_understood(standin):
    chunks = b"%x\r\n%b\r\n%x;ext=1\r\n%b\r\n0\r\n\r\n" % (10, BODY[:10], len(BODY) - 10, BODY[10:])
    with connect(standin) as sock:
        sock.sendall(request(chunks, b"transfer-encoding: chunked"))
        assert answers(sock, 1) == [200]
        length = b"content-length: %d" % len(BODY)
        sock.sendall(request(b"", length, b"expect: 100-continue"))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BODY)
        assert answers(sock, 1) == [200]


@pytest.mark.parametrize(
    "junk", [b"fish\r\n\r\n", b"GET / HTTP/1.1\r\nfish\r\n\r\n", b"x" * 70_000]
)
def test_junk_is_refused_and_the_connection_closed(standin, junk):
    with connect(standin) as sock:
        sock.sendall(junk)
        assert answers(sock, 1)[0] in (400, 431)
        assert sock.recv(1) == b""


def test_connection_closes_when_asked(standin):
    with connect(standin) as sock:
        sock.sendall(request(BODY, b"content-length: %d" % len(BODY), b"connection: close"))
        assert answers(sock, 1) == [200]
        assert sock.recv(1) == b""


async def test_64_connections_at_once_are_each_billed_once(standin):
    limits = httpx2.Limits(max_connections=64)
    async with httpx2.AsyncClient(limits=limits, timeout=120) as sdk:

        async def talk(number: int) -> tuple[str, int]:
            body = {
                "model": "gpt-4.1",
                "messages": [{"role": "user", "content": f"Hello {number}" * number}],
                "stream": bool(number % 2),
                "stream_options": {"include_usage": True},
            }
            headers = {"x-standin-tag": str(number)}
            url = f"{standin.url}/v1/chat/completions"
            answer = await sdk.post(url, json=body, headers=headers)
            found = re.findall(r'"total_tokens":(\d+)', answer.text)
            return str(number), int(found[-1])

        told = dict(await asyncio.gather(*(talk(number) for number in range(256))))
    assert {bill.tag: sum(bill.usage.values()) for bill in standin.ledger} == told
    assert len(standin.ledger) == 256


def test_ledger_stands_on_a_page_and_can_be_reset(standin):
    httpx2.post(
        f"{standin.url}/v1/chat/completions",
        content=BODY,
        headers={"content-type": "application/json"},
    )
    page = httpx2.get(f"{standin.url}/__standin__/ledger").json()
    bill = standin.ledger.last
    assert page["bills"][0]["usage"] == bill.usage == page["usage"]
    assert page["usd"] == page["bills"][0]["usd"] == str(bill.usd)
    assert httpx2.post(f"{standin.url}/__standin__/reset").json() == {"ok": True}
    assert len(standin.ledger) == 0
    assert httpx2.get(f"{standin.url}/__standin__/fish").status_code == 404


def test_frames_of_bedrock_have_right_lengths_and_sums(standin):
    url = (
        f"{standin.url}/model/anthropic.claude-haiku-4-5-20251001-v1:0/invoke-with-response-stream"
    )
    data = httpx2.post(url, json={"messages": [{"role": "user", "content": "Hello"}]}).content
    kinds = 0
    while data:
        total, head, head_sum = struct.unpack(">III", data[:12])
        frame, data = data[:total], data[total:]
        assert head_sum == crc32(frame[:8])
        assert struct.unpack(">I", frame[-4:])[0] == crc32(frame[:-4])
        assert frame[12:].startswith(b"\x0b:event-type\x07\x00\x05chunk")
        assert set(json.loads(frame[12 + head : -4])) == {"bytes", "p"}
        kinds += 1
    assert kinds > 5


def test_zipped_stream_can_be_read_as_it_comes(standin):
    standin.script(gzip=True, pace=0.01)
    body = {**json.loads(BODY), "stream": True}
    unzip = zlib.decompressobj(wbits=31)
    with httpx2.stream("POST", f"{standin.url}/v1/chat/completions", json=body) as answer:
        first = unzip.decompress(next(answer.iter_raw()))
    assert first.startswith(b"data: {")
    assert standin.settled()


def close_while_reading(standin: StandIn) -> None:
    body = {**json.loads(BODY), "stream": True}
    with httpx2.stream("POST", f"{standin.url}/v1/chat/completions", json=body) as answer:
        for _ in answer.iter_raw():
            standin.close()


def test_closing_ends_streams_and_threads_and_may_be_done_twice():
    before = set(threading.enumerate())
    standin = StandIn()
    standin.script(pace=60)
    with pytest.raises(httpx2.TransportError):
        close_while_reading(standin)
    standin.close()
    assert set(threading.enumerate()) <= before  # another test's may end meanwhile
    with pytest.raises(ConnectionRefusedError):
        connect(standin)


async def test_it_can_be_made_where_an_event_loop_runs():
    with StandIn() as standin:
        httpx2.post(f"{standin.url}/v1/chat/completions", json=json.loads(BODY))
        assert [bill.endpoint for bill in standin.ledger] == ["chat.completions"]


def test_taken_port_is_told(standin):
    with pytest.raises(OSError, match="in use"):
        StandIn(port=standin.port)


def test_environment_names_every_door(standin):
    variables = standin.environment()
    doors = {name for name in variables if name.endswith(("_URL", "ENDPOINT"))}
    assert doors == {
        "OPENAI_BASE_URL",
        "AZURE_OPENAI_ENDPOINT",
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_BEDROCK_BASE_URL",
        "ANTHROPIC_VERTEX_BASE_URL",
        "GOOGLE_GEMINI_BASE_URL",
        "GOOGLE_VERTEX_BASE_URL",
    }
    assert all(variables[name].startswith(standin.url) for name in doors)


def test_command_says_how_to_reach_it_and_what_it_billed():
    script = "from otel_llm_usage.standin import serve; serve(port=0, seed=3)"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        lines = [process.stdout.readline() for _ in range(3)]
        headers = {"content-type": "application/json"}
        httpx2.post(f"{url}/v1/chat/completions", content=BODY, headers=headers)
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert process.wait(60) == 0
    assert lines[0] == f"export OPENAI_BASE_URL={url}/v1\n"
    assert "# billed: 1 answers" in rest
