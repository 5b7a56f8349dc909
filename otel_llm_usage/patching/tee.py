"""A response's byte stream that lets an observation read along.

The classes are made from the HTTP library that the response came from (httpx or httpx2), which is
never imported here. Whoever takes the bytes gets them unchanged, unless a filter takes out what we
asked for on the caller's behalf.
"""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

from .. import backlog, guard
from . import wire
from .observation import Observation

DRAIN_SECONDS = 60.0
DRAIN_BYTES = 32 * 1024 * 1024

Filter = Callable[[bytes], bytes]


class _Usual:
    """An event that holds nothing but a piece of text, as most of a stream do.

    What stands around the text is the same in the next ones, byte for byte; so those need not be
    looked into to know that they say nothing else, and hiding a part of them is a cut at a known place.
    """

    __slots__ = ("begin", "closing", "head", "kept", "tail")

    @classmethod
    def like(cls, event: bytes, mark: bytes, kept: bytes) -> "_Usual | None":
        """What to expect of events like this one, whose text stands behind `mark`.

        `kept`: what the caller sees of it.
        """
        begin = event.find(mark) + len(mark)
        end = event.find(b'"', begin)
        if begin < len(mark) or end < 0 or b"\\" in event[begin:end]:
            return None
        tail, closing = event[end:], b""
        padding = tail.find(_PADDING)
        if padding >= 0:
            value = padding + len(_PADDING)
            closing = tail[tail.find(b'"', value) :]
            tail = tail[:value]
            if len(closing) > _CLOSING:
                return None
        rest = len(event) - end - len(tail)
        seen = kept[end : len(kept) - rest]
        if kept != event[:end] + seen + event[len(event) - rest :]:
            return None
        return cls(event[:begin], tail, seen, closing)

    def __init__(self, head: bytes, tail: bytes, kept: bytes, closing: bytes) -> None:
        self.head = head
        self.begin = len(head)
        self.tail = tail
        self.kept = kept
        """What the caller sees of the tail."""
        self.closing = closing
        """What stands behind OpenAI's padding, whose letters differ; empty where there is none."""

    def text_end(self, event: bytes) -> int:
        """Where the text of the event ends; 0 if it is another kind of event."""
        if not event.startswith(self.head):
            return 0
        end = event.find(b'"', self.begin)
        if not event.startswith(self.tail, end):
            return 0
        rest = end + len(self.tail)
        if not self.closing:
            return end if rest == len(event) else 0
        last = len(event) - len(self.closing)
        return end if event.find(b'"', rest) == last and event.endswith(self.closing) else 0


_CUT = bytearray(b" ")
"""As good as the beginning of an event: chunks have to be cut."""

_PADDING = b'"obfuscation":"'
_CLOSING = len(b'"}\r\n\r\n')


class Tap:
    """Takes each chunk of the body, and gives back what the caller is to see of it."""

    def __init__(
        self,
        observation: Observation,
        decoder: wire.Decoder,
        *,
        splitter: wire.Splitter | None,
        data: Callable[[bytes], tuple[bytes | None, str | None]] = wire.sse_data,
        keep: Filter | None = None,
        blind: bool = False,
        length: int | None = None,
    ) -> None:
        """`keep`: what the caller sees of an event. `blind`: the body tells nothing of the bill.

        `length`: how many bytes the head of the response promised.
        """
        self.observation = observation
        self._decoder = decoder
        self._plain = isinstance(decoder, wire.Plain)
        self._splitter = splitter
        self._data = data
        self._keep = keep
        self._usual: _Usual | None = None
        # where chunks are the events' own bytes, one that is an event need not be cut
        self._begun = (
            splitter.begun if self._plain and isinstance(splitter, wire.SseSplitter) else _CUT
        )
        self._lessons = 100
        self._blind = blind
        self._body: list[bytes] = []
        self._left_of_it = length

    def feed(self, chunk: bytes) -> bytes:
        """One chunk passes; what the caller sees of it. Where this fails, `give_up` says so."""
        usual = self._usual
        if usual is not None and not self._begun and (end := usual.text_end(chunk)):
            if chunk.isascii() and chunk.find(b"\\", usual.begin, end) < 0:
                self.observation.reader.delivered += end - usual.begin
            else:
                self.observation.delivered(chunk[usual.begin : end])
            if self._keep is None:
                return chunk
            return chunk[:end] + usual.kept + chunk[end + len(usual.tail) :]
        # what we asked for is hidden to the end, also when the observation has been settled
        if self._keep is None and not self.observation.open:
            return chunk
        splitter = self._splitter
        if splitter is None:
            if self._left_of_it is not None:
                self._left_of_it -= len(chunk)
            if not self._blind:
                self._body.append(self._decoder.feed(chunk))
            return chunk
        events = splitter.feed(chunk if self._plain else self._decoder.feed(chunk))
        keep = self._keep
        if keep is None:
            self._read(events)
            return chunk
        if len(events) == 1:
            return self._hide(keep, events[0])
        return b"".join([self._hide(keep, event) for event in events])

    def take(self, chunk: bytes) -> bytes:
        """`feed`, and `give_up` where that fails."""
        kept = guard.call("tee", self.feed, chunk)
        return self.give_up(chunk) if kept is None else kept

    def give_up(self, chunk: bytes) -> bytes:
        """We have failed at this chunk: the caller sees all of it, and of what comes."""
        self._keep = None
        return chunk

    def _read(self, events: list[bytes]) -> None:
        for event in events:
            usual = self._usual
            if usual is not None and (end := usual.text_end(event)):
                self.observation.delivered(event[usual.begin : end])
            else:
                self._read_one(event, event)

    def _hide(self, keep: Filter, event: bytes) -> bytes:
        """Read one event, and give back what the caller is to see of it."""
        usual = self._usual
        if usual is not None and (end := usual.text_end(event)):
            self.observation.delivered(event[usual.begin : end])
            return event[:end] + usual.kept + event[end + len(usual.tail) :]
        kept = hidden(keep, event)
        self._read_one(event, kept)
        return kept

    def _read_one(self, event: bytes, kept: bytes) -> None:
        data, name = self._data(event)
        if data is not None and self.observation.event(data, name) and self._lessons:
            mark = self.observation.text_mark
            if mark is not None:
                self._lessons -= 1
                self._usual = _Usual.like(event, mark, kept) or self._usual

    def end(self) -> bytes:
        """The body is at its end: what the caller has yet to see."""
        held = guard.call("tee", self._end) or b""
        self.observation.finish("eof")
        return held

    def _end(self) -> bytes:
        tail = self._decoder.end()
        if self._splitter is None:
            body = b"".join((*self._body, tail))
            if body or self._blind:
                self.observation.content(body)
            return b""
        if tail:
            self._read(self._splitter.feed(tail))
        rest = self._splitter.rest()
        if rest.lstrip().startswith(b"{"):
            self.observation.body(rest)  # a plain body where a stream was asked for
        elif rest:
            self._read([rest])
        return rest if self._keep is not None else b""

    def cut(self, error: BaseException) -> bytes:
        """The connection failed: what the caller has yet to see of what came before."""
        held = guard.call("tee", self._held) or b""
        self.observation.finish("failed", error)
        return held

    def _held(self) -> bytes:
        """The beginning of an event whose end did not come."""
        return self._splitter.rest() if self._splitter is not None and self._keep else b""

    def left(self) -> None:
        """Closed before the end of the body: `[DONE]` was enough, or nobody wants more of it."""
        if self.observation.open:
            guard.call("tee", self._left)
            self.observation.finish("closed")

    def _left(self) -> None:
        if self._splitter is None:
            if self._left_of_it == 0:  # all of it was read, only its end was not looked for
                self._end()
            return
        self._read(self._splitter.feed(self._decoder.end()))
        if self._decoder.broken:  # the SDK could not read it either
            self.observation.finish("eof")


def hidden(keep: Filter, event: bytes) -> bytes:
    """What the caller sees of one event: all of it, if we fail to hide a part."""
    kept = guard.call("filter", keep, event)
    return event if kept is None else kept


class HidingDecoder:
    """A response's own decoder of compressed bytes, and the filter behind it."""

    def __init__(self, inner: Any, keep: Filter) -> None:
        self._inner = inner
        self._keep = keep
        self._splitter = wire.SseSplitter()

    def decode(self, data: bytes) -> Any:
        """See the HTTP library's decoders: httpx's give bytes, httpx2's give them piece by piece."""
        decoded = self._inner.decode(data)
        if isinstance(decoded, bytes):
            return self._kept(decoded)
        return map(self._kept, decoded)

    def flush(self) -> Any:
        """See `decode`."""
        decoded = self._inner.flush()
        if isinstance(decoded, bytes):
            return self._kept(decoded) + self._splitter.rest()
        return (self._kept(piece) + self._splitter.rest() for piece in (*decoded, b""))

    def _kept(self, data: bytes) -> bytes:
        return b"".join([hidden(self._keep, event) for event in self._splitter.feed(data)])


def read_along(response: Any, tap: Tap) -> None:
    """Let a tap see what the caller reads of a response that was not read yet."""
    observed = tee(response.stream, tap)
    if observed is not None:
        response.stream = observed


def decoder_of(response: Any) -> wire.Decoder:
    """What undoes the content encoding of a response, if need be by the library that made it."""
    kind = type(response)
    encoding = {"content-encoding": response.headers.get("content-encoding", "")}

    def decode(raw: bytes) -> bytes:
        decoded: list[bytes] = []
        # a stream may be closed before its last bytes came: what they would end is there
        with suppress(_decoding_error(kind)):
            decoded.extend(kind(200, headers=encoding, content=iter([raw])).iter_bytes())
        return b"".join(decoded)

    return wire.decoder(response.headers, decode)


def _decoding_error(response: type) -> type[Exception]:
    """What the HTTP library that made the response raises if it cannot decode it."""
    library = next(base for base in response.__mro__ if base.__name__ == "Response")
    error = getattr(sys.modules[library.__module__.partition(".")[0]], "DecodingError", None)
    return error if isinstance(error, type) else ValueError


def length_of(response: Any) -> int | None:
    """How many bytes of body its head promised."""
    said = response.headers.get("content-length", "")
    return int(said) if said.isdecimal() else None


class _Tee:
    """What the sync and the async stream share."""

    _inner: Any
    _tap: Tap
    _rest: Any
    _draining: bool

    def __init__(self, inner: Any, tap: Tap) -> None:
        self._inner = inner
        self._tap = tap
        self._rest = None
        self._draining = False

    def __getattr__(self, name: str) -> Any:
        # httpx2 reads `elapsed` from the stream, anthropic its `stream_observer`
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __del__(self) -> None:
        tap = self.__dict__.get("_tap")
        if tap is not None:
            tap.observation.finish("dropped")


class _SyncTee(_Tee):
    def __iter__(self) -> Iterator[bytes]:
        tap = self._tap
        feed = tap.feed
        self._rest = iter(self._inner)
        try:
            for chunk in self._rest:
                kept = guard.call("tee", feed, chunk)
                if kept is None:
                    kept = tap.give_up(chunk)
                if kept or not chunk:
                    yield kept
        except GeneratorExit:
            raise  # left early: `close` or the garbage collector has the last word
        except Exception as error:
            held = tap.cut(error)
            if held:
                yield held
            raise
        except BaseException as error:  # cancelled or interrupted: nothing may come before that
            tap.cut(error)
            raise
        finally:
            if not tap.observation.wants_draining:
                self._rest = None  # it ends with the loop, as it would without us
        held = tap.end()
        if held:
            yield held

    def close(self) -> None:
        observation = self._tap.observation
        if self._draining:
            return
        if observation.wants_draining and self._rest is not None and not backlog.collecting():
            self._draining = True
            thread = threading.Thread(target=_drain, args=(self,), daemon=True)
            if guard.theirs(thread.start) is None:
                return
            self._draining = False  # no more threads: it is left, then
        self._tap.left()
        self._inner.close()


class _AsyncTee(_Tee):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        tap = self._tap
        feed = tap.feed
        self._rest = aiter(self._inner)
        try:
            async for chunk in self._rest:
                kept = guard.call("tee", feed, chunk)
                if kept is None:
                    kept = tap.give_up(chunk)
                if kept or not chunk:
                    yield kept
        except GeneratorExit:
            raise
        except Exception as error:
            held = tap.cut(error)
            if held:
                yield held
            raise
        except BaseException as error:
            tap.cut(error)
            raise
        finally:
            if not tap.observation.wants_draining:
                rest, self._rest = self._rest, None
                close = getattr(rest, "aclose", None)
                if close is not None:
                    await close()
        held = tap.end()
        if held:
            yield held

    async def aclose(self) -> None:
        observation = self._tap.observation
        if self._draining:
            return
        if observation.wants_draining and self._rest is not None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # another event loop library
                pass
            else:
                self._draining = True
                _forget_closed_loops()
                task = loop.create_task(_drain_async(self))
                _tasks[task] = self._tap
                task.add_done_callback(lambda done: _tasks.pop(done, None))
                return
        self._tap.left()
        await self._inner.aclose()


class _BothTee(_SyncTee, _AsyncTee):
    pass


_tasks: "dict[asyncio.Task[None], Tap]" = {}
"""What is being drained: asyncio itself holds its tasks only weakly."""


def _forget_closed_loops() -> None:
    """A loop that was closed runs its tasks no more: what they were draining is left."""
    for task, tap in tuple(_tasks.items()):
        if task.get_loop().is_closed():
            _tasks.pop(task, None)
            tap.observation.finish("closed")


def _drain(stream: _SyncTee) -> None:
    """Read the rest. It holds the stream, whose finaliser would end the observation before."""
    tap = stream._tap
    failed = guard.theirs(lambda: _read_rest(stream))
    if failed is not None:  # the connection, or its client, was closed meanwhile
        tap.observation.finish("failed", failed)
    tap.observation.finish("closed")
    guard.theirs(stream._inner.close)


def _read_rest(stream: _SyncTee) -> None:
    give_up = time.monotonic() + DRAIN_SECONDS
    size = 0
    for chunk in stream._rest:
        stream._tap.take(chunk)
        size += len(chunk)
        if size > DRAIN_BYTES or time.monotonic() > give_up:
            return
    stream._tap.end()


async def _drain_async(stream: _AsyncTee) -> None:
    """The same in a task; when the loop ends before, it ends here."""
    tap = stream._tap
    try:
        failed = await guard.theirs_async(_read_rest_async(stream))
        if failed is not None:
            tap.observation.finish("failed", failed)
    finally:
        tap.observation.finish("closed")
        await guard.theirs_async(stream._inner.aclose())


async def _read_rest_async(stream: _AsyncTee) -> None:
    size = 0
    async with asyncio.timeout(DRAIN_SECONDS):
        async for chunk in stream._rest:
            stream._tap.take(chunk)
            size += len(chunk)
            if size > DRAIN_BYTES:
                return
        stream._tap.end()


@lru_cache(maxsize=32)
def _tee_class(sync: type | None, asynchronous: type | None) -> type:
    ours = _BothTee if sync and asynchronous else _SyncTee if sync else _AsyncTee
    theirs = tuple(base for base in (sync, asynchronous) if base is not None)
    return type("ObservedStream", (ours, *theirs), {"__doc__": "A stream that is read along."})


def tee(stream: Any, tap: Tap) -> Any:
    """A stream of the same kind as `stream` whose bytes pass the tap; `None` if it is of no kind."""
    bases = {base.__name__: base for base in type(stream).__mro__}
    sync, asynchronous = bases.get("SyncByteStream"), bases.get("AsyncByteStream")
    if sync is None and asynchronous is None:
        return None
    return _tee_class(sync, asynchronous)(stream, tap)
