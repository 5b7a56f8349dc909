"""News for everybody who looks at a page: one question to the ledger every two seconds, however many look."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

EVERY = 2.0
"""Seconds between two looks."""

BEAT = 15.0
"""Seconds after which something is said, so that nobody in between takes the line for dead."""

MOST = 200
"""How many may listen at once."""

Look = Callable[[], Awaitable[dict[str, Any] | None]]
"""What is there now; `None` if nobody knows."""


class News:
    """Tells all listeners what has changed; nobody looks while nobody listens."""

    def __init__(self, look: Look) -> None:
        self._look = look
        # an application may be served by several event loops, one after the other
        self._rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, _Room] = WeakKeyDictionary()

    def _room(self) -> "_Room":
        loop = asyncio.get_running_loop()
        return self._rooms.setdefault(loop, _Room())

    @property
    def full(self) -> bool:
        """Whether nobody else may listen."""
        return self._room().listeners >= MOST

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events, until the listener goes: first what is there, then each change."""
        room = self._room()
        room.listeners += 1
        try:
            if room.poll is None:
                room.poll = asyncio.create_task(self._poll(room))
            seen = None
            while True:
                if room.said is not None and room.said is not seen:
                    seen = room.said
                    yield _event(*seen)
                changed = room.changed
                try:
                    async with asyncio.timeout(BEAT):
                        await changed.wait()
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            room.listeners -= 1
            if not room.listeners and room.poll is not None:
                room.poll.cancel()
                room.poll = room.said = None

    async def _poll(self, room: "_Room") -> None:
        while True:
            found = await self._look()
            now = ("away", {}) if found is None else ("usage", found)
            if now != room.said:
                room.said = now
                room.changed.set()
                room.changed = asyncio.Event()
            await asyncio.sleep(EVERY)


class _Room:
    """The listeners of one event loop."""

    def __init__(self) -> None:
        self.listeners = 0
        self.poll: asyncio.Task[None] | None = None
        self.said: tuple[str, dict[str, Any]] | None = None
        self.changed = asyncio.Event()


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
