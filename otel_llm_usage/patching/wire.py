"""Bytes into events: server-sent events, binary event streams, compressed bodies. No I/O."""

import base64
import codecs
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

MAX_EVENT = 64 * 1024 * 1024
"""An event longer than this (bytes) is not an event: what came so far passes as it is."""

_BOUNDARY = re.compile(
    rb"\r\n\r\n|\r\n\n|\n\r\n|\n\n|\r\r\n?|\r\n\r(?=[^\n])|\n\r(?=[^\n])", re.DOTALL
)
"""Two ends of lines, each LF, CRLF or CR."""
_LINE = re.compile(rb"\r\n|\n|\r")


class Splitter(Protocol):
    """Cuts a byte stream into events, whatever the chunks are."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The raw events that this chunk completes, terminators included."""
        ...

    def rest(self) -> bytes:
        """What has not become an event."""
        ...


class SseSplitter:
    """Server-sent events; lines may end with LF, CRLF or CR."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def begun(self) -> bytearray:
        """The beginning of an event whose end has not come yet; always the same object."""
        return self._buffer

    def feed(self, chunk: bytes) -> list[bytes]:
        """See `Splitter`."""
        if not self._buffer and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            if chunk.find(b"\n\n") == len(chunk) - 2:
                return [chunk]
            return [event + b"\n\n" for event in chunk[:-2].split(b"\n\n")]
        # only what is new is searched: an event of megabytes comes in thousands of pieces
        searched = max(0, len(self._buffer) - 4)
        self._buffer += chunk
        ends = [boundary.end() for boundary in _BOUNDARY.finditer(self._buffer, searched)]
        starts = [0, *ends]
        events = [bytes(self._buffer[a:b]) for a, b in zip(starts, ends, strict=False)]
        if ends:
            del self._buffer[: ends[-1]]
        if len(self._buffer) > MAX_EVENT:
            events.append(bytes(self._buffer))  # no event, but the caller's bytes
            self._buffer.clear()
        return events

    def rest(self) -> bytes:
        """See `Splitter`."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest


def sse_data(event: bytes) -> tuple[bytes | None, str | None]:
    """The data and the name of one raw server-sent event; data is `None` for comments."""
    if event.startswith(b"data: ") and event.find(b"\n") >= len(event) - 2:
        return event[6:].rstrip(b"\r\n"), None
    data: list[bytes] = []
    name = None
    for line in _LINE.split(event.removeprefix(codecs.BOM_UTF8)):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return (b"\n".join(data) if data else None), name


def is_events(raw: bytes) -> bool:
    """Whether a whole body is a stream of events, where none was asked for."""
    return raw.startswith((b"data:", b"event:"))


def events_of(raw: bytes) -> Iterator[tuple[bytes, str | None]]:
    """The data and the name of each event of a whole stream; comments are left out."""
    splitter = SseSplitter()
    for event in (*splitter.feed(raw), splitter.rest()):
        data, name = sse_data(event)
        if data is not None:
            yield data, name


class FrameSplitter:
    """`application/vnd.amazon.eventstream`: u32 length, u32 header length, crc, headers, payload, crc."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lost = False
        """Whether something was no frame: nobody knows where the next one would begin."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """See `Splitter`."""
        if self._lost:
            return []
        buffer = self._buffer
        buffer += chunk
        frames = []
        start = 0
        while len(buffer) - start >= 12:
            length = int.from_bytes(buffer[start : start + 4], "big")
            if not 16 <= length <= MAX_EVENT:
                self._lost = True  # not this format: better no usage than a wrong one
                start = len(buffer)
                break
            if len(buffer) - start < length:
                break
            frames.append(bytes(buffer[start : start + length]))
            start += length
        if start:
            del buffer[:start]
        return frames

    def rest(self) -> bytes:
        """See `Splitter`."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest


def frame_data(frame: bytes) -> tuple[bytes | None, str | None]:
    """The inner JSON of one Bedrock frame: its payload is `{"bytes": base64}`."""
    headers = int.from_bytes(frame[4:8], "big")
    try:
        payload = json.loads(frame[12 + headers : -4])
        return base64.b64decode(payload["bytes"]), None
    except (ValueError, KeyError, TypeError):
        return None, None


class Decoder(Protocol):
    """Undoes a content encoding, piece by piece."""

    broken: bool
    """Whether the bytes are not what they were said to be."""

    def feed(self, chunk: bytes) -> bytes: ...
    def end(self) -> bytes: ...


class Plain:
    """No content encoding."""

    broken = False

    def feed(self, chunk: bytes) -> bytes:
        """The chunk as it is."""
        return chunk

    def end(self) -> bytes:
        """Nothing is left."""
        return b""


class Inflate:
    """`gzip` and `deflate`. What is broken is given up; the caller's copy is untouched."""

    def __init__(self, encoding: str) -> None:
        # 47: the gzip or zlib header is told apart by itself; `deflate` may also come bare
        self._inflate = zlib.decompressobj(47)
        self._bare = encoding == "deflate"
        self.broken = False

    def feed(self, chunk: bytes) -> bytes:
        """What the chunk holds, inflated."""
        if self.broken:
            return b""
        try:
            return self._inflate.decompress(chunk)
        except zlib.error:
            if self._bare:
                self._bare = False
                self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
                return self.feed(chunk)
            self.broken = True
            return b""

    def end(self) -> bytes:
        """What is left at the end of the stream."""
        try:
            return b"" if self.broken else self._inflate.flush()
        except zlib.error:
            self.broken = True
            return b""


class Later:
    """Any other encoding: keep the bytes, and let the SDK's own HTTP library decode at the end."""

    def __init__(self, decode: Callable[[bytes], bytes]) -> None:
        self._decode = decode
        self._chunks: list[bytes] = []
        self.broken = False

    def feed(self, chunk: bytes) -> bytes:
        """Nothing yet."""
        self._chunks.append(chunk)
        return b""

    def end(self) -> bytes:
        """Everything, decoded."""
        raw = b"".join(self._chunks)
        decoded = self._decode(raw) if raw else b""
        self.broken = bool(raw) and not decoded
        return decoded


def decoder(headers: Mapping[str, str], decode: Callable[[bytes], bytes]) -> Decoder:
    """The decoder for a response's `content-encoding`."""
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return Plain()
    if encoding in ("gzip", "x-gzip", "deflate"):
        return Inflate(encoding)
    return Later(decode)
