"""HTTP/1.1 on a socket, as little of it as a provider needs: keep-alive, chunks, gzip, resets."""

import asyncio
import binascii
import json
import socket
import struct
import zlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

MAX_HEAD = 64 * 1024
MAX_BODY = 256 * 1024 * 1024

_REASONS: dict[int, bytes] = {status: status.phrase.encode() for status in HTTPStatus}


class Incoming(NamedTuple):
    """One request, as it came over the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def dumps(value: Any) -> bytes:
    """Compact JSON."""
    return _encode(value).encode(errors="replace")


def sse(value: Any, event: str | None = None, end: bytes = b"\n\n") -> bytes:
    """One server-sent event."""
    name = b"" if event is None else b"event: " + event.encode() + b"\n"
    return name + b"data: " + dumps(value) + end


def aws_frame(payload: bytes, **headers: str) -> bytes:
    """One message of `application/vnd.amazon.eventstream`: lengths, headers, payload, checksums."""
    head = b"".join(
        bytes([len(name) + 1])
        + b":"
        + name.encode()
        + b"\x07"
        + struct.pack(">H", len(text))
        + text
        for name, text in ((n.replace("_", "-"), t.encode()) for n, t in headers.items())
    )
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    prelude += struct.pack(">I", binascii.crc32(prelude))
    message = prelude + head + payload
    return message + struct.pack(">I", binascii.crc32(message))


class Connection(asyncio.Protocol):
    """One client's connection. `handle(connection, request)` is called for one request at a time;
    it must end in `reply`, `end` or `cut`."""

    def __init__(
        self, handle: Callable[["Connection", Incoming], None], open_: set["Connection"]
    ) -> None:
        self._handle = handle
        self._open = open_
        self._buffer = bytearray()
        self._busy = False
        self._keep = True
        self._continued = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._deflate: Any = None
        self._split: int | None = None
        self.lost = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._writable.set()
        self._open.discard(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        while not self._busy and not self.lost:
            request = self._next()
            if request is None:
                return
            self._busy = True
            self._handle(self, request)

    def _next(self) -> Incoming | None:
        """The next whole request of the buffer, taken off it."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > MAX_HEAD:
                self._refuse(431)
            return None
        first, *lines = bytes(buffer[:end]).decode("latin-1").split("\r\n")
        try:
            method, target, version = first.split(" ")
            headers = {n.lower(): v.strip() for n, v in (line.split(":", 1) for line in lines)}
            length = int(headers.get("content-length", 0))
        except ValueError:
            self._refuse(400)
            return None
        if length > MAX_BODY:
            self._refuse(413)
            return None
        start = end + 4
        if headers.get("transfer-encoding", "").lower() == "chunked":
            found = _dechunk(buffer, start)
        else:
            found = (bytes(buffer[start : start + length]), start + length)
            if len(buffer) < start + length:
                found = None
        if found is None:
            if "expect" in headers and not self._continued:
                self._continued = True
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return None
        body, end = found
        del buffer[:end]
        self._continued = False
        self._keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return Incoming(method, target, headers, body)

    def _refuse(self, status: int) -> None:
        self._keep = False
        self.reply(status, {}, b"")

    def reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Answer in one write."""
        if not self.lost:
            self.transport.write(
                self._head(status, headers, b"content-length: %d" % len(body)) + body
            )
        self._done()

    def begin(
        self,
        status: int,
        headers: Mapping[str, str],
        *,
        gzip: bool = False,
        split: int | None = None,
    ) -> None:
        """Start an answer that comes in chunks."""
        self._split = split
        self._deflate = zlib.compressobj(wbits=31) if gzip else None
        extra = {"content-encoding": "gzip"} if gzip else {}
        self.transport.write(
            self._head(status, {**headers, **extra}, b"transfer-encoding: chunked")
        )

    async def send(self, data: bytes) -> None:
        """Send one event, in chunks of `split` bytes; waits while the client reads slowly."""
        if self._deflate is not None:
            data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        step = self._split or len(data)
        for at in range(0, len(data), step or 1):
            if at:
                await asyncio.sleep(0)
            self._chunk(data[at : at + step])
        if not self._writable.is_set():
            await self._writable.wait()

    def _chunk(self, data: bytes) -> None:
        if data and not self.lost:
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """End the chunks properly."""
        if not self.lost:
            if self._deflate is not None:
                self._chunk(self._deflate.flush())
            self.transport.write(b"0\r\n\r\n")
        self._done()

    def cut(self) -> None:
        """Reset the connection, in the middle of whatever it is."""
        if not self.lost:
            sock: socket.socket = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        self._busy = False

    def _head(self, status: int, headers: Mapping[str, str], framing: bytes) -> bytes:
        named = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
        keep = b"" if self._keep else b"connection: close\r\n"
        reason = _REASONS.get(status, b"Unknown")
        return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n\r\n" % (status, reason, named, keep, framing)

    def _done(self) -> None:
        self._busy = False
        if not self._keep:
            self.transport.close()
        elif self._buffer:
            asyncio.get_running_loop().call_soon(self._advance)


def _dechunk(buffer: bytearray, at: int) -> tuple[bytes, int] | None:
    """A chunked body from `at` on, and where it ends; `None` if it has not come in whole."""
    parts: list[bytes] = []
    while True:
        line = buffer.find(b"\r\n", at)
        if line < 0:
            return None
        try:
            size = int(bytes(buffer[at:line]).split(b";")[0], 16)
        except ValueError:
            size = 0
        at = line + 2
        if len(buffer) < at + size + 2:
            return None
        if not size:
            return b"".join(parts), at + 2
        parts.append(bytes(buffer[at : at + size]))
        at += size + 2


def multipart(body: bytes, content_type: str) -> dict[str, Any]:
    """The fields of a form: text as `str`, files as `bytes`; a name that repeats keeps the last."""
    _, _, boundary = content_type.partition("boundary=")
    fields: dict[str, Any] = {}
    for part in body.split(b"--" + boundary.strip('"').encode("latin-1"))[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        described = head.decode("utf-8", "replace")
        _, _, name = described.partition(' name="')
        content = content.removesuffix(b"\r\n")
        is_file = "filename=" in described
        fields[name.partition('"')[0]] = content if is_file else content.decode("utf-8", "replace")
    return fields
