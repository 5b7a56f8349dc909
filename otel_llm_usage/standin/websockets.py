"""The stand-in over websockets: a connection, and a script that plays the provider on it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from ..records import NOTHING
from . import tariff
from .answers import Seen
from .ledger import Bill, Ledger
from .wire import Connection, Incoming, dumps


class LeftError(Exception):
    """The client has gone."""


class Peer:
    """The provider's end of one connection, for a script: hears, says, bills and hangs up."""

    def __init__(
        self,
        seen: Seen,
        ledger: Ledger,
        number: Callable[[], int],
        clock: Callable[[], float],
        send: Callable[..., None],
    ) -> None:
        self.seen = seen
        """The request that opened it; its body is the list of all messages since."""
        self._ledger = ledger
        self._number = number
        self._clock = clock
        self._send = send
        self._heard: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.gone = asyncio.Event()

    def name(self, prefix: str) -> str:
        """A new name for something."""
        return f"{prefix}_{self._number()}"

    def tell(self, message: bytes | None) -> None:
        """A message came; `None`: nothing will come any more."""
        if message is None:
            self.gone.set()
        else:
            self.seen.body.append(json.loads(message))
        self._heard.put_nowait(message)

    async def hear(self) -> Any:
        """The client's next message; raises `LeftError` when there will be none."""
        message = await self._heard.get()
        if message is None:
            raise LeftError
        return json.loads(message)

    async def say(self, event: Any, *, binary: bool = False) -> None:
        """Send an event, or bytes as they are."""
        if self.gone.is_set():
            raise LeftError
        data = event if isinstance(event, bytes) else dumps(event)
        self._send("binary" if binary else "text", data)
        await asyncio.sleep(0)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Hang up properly."""
        self._send("close", code, reason)

    def cut(self) -> None:
        """Reset the connection."""
        self._send("cut")

    def bill(
        self,
        provider: str,
        endpoint: str,
        model: str,
        usage: Mapping[str, int],
        *,
        id: str,
        asked: str | None = None,
        units: Mapping[str, int | Decimal] = NOTHING,
        reported: bool = True,
        ending: str = "complete",
    ) -> None:
        """Bill one answer. Before its last event is sent: who has read that finds it here."""
        usage = {kind: count for kind, count in usage.items() if count}
        self._ledger.add(
            Bill(
                id=id,
                time=self._clock(),
                provider=provider,
                endpoint=endpoint,
                model=model,
                asked=asked or model,
                stream=True,
                usage=usage,
                units=units,
                usd=tariff.charge(model, usage, units),
                reported=reported,
                ending=ending,
            )
        )


Script = Callable[[Peer], Awaitable[None]]


class Upgrade(NamedTuple):
    """What a server gives to a connection that becomes a websocket."""

    seen: Seen
    ledger: Ledger
    number: Callable[[], int]
    clock: Callable[[], float]
    script: Script


class _Side(asyncio.Protocol):
    """The bytes of one websocket."""

    def __init__(self, connection: Connection, speaks: Any) -> None:
        self._connection = connection
        self._speaks = speaks
        self._parts: list[bytes] = []
        self.peer: Peer

    def do(self, what: str, *about: Any) -> None:
        """Send something, close or cut."""
        if self._connection.lost:
            return
        if what == "cut":
            self._connection.cut()
            return
        getattr(self._speaks, f"send_{what}")(*about)
        self._flush()

    def _flush(self) -> None:
        transport = self._connection.transport
        for data in self._speaks.data_to_send():
            if data:
                transport.write(data)
            else:
                transport.close()
        if self._speaks.close_expected():
            self.peer.tell(None)
            asyncio.get_running_loop().call_later(0.2, transport.close)

    def data_received(self, data: bytes) -> None:
        self._speaks.receive_data(data)
        for frame in self._speaks.events_received():
            if frame.opcode in (0, 1, 2):  # a text, bytes, or more of one of these
                self._parts.append(bytes(frame.data))
                if frame.fin:
                    message, self._parts = b"".join(self._parts), []
                    self.peer.tell(message)
        self._flush()

    def eof_received(self) -> None:
        self._speaks.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)
        self.peer.tell(None)


async def play(connection: Connection, incoming: Incoming, upgrade: Upgrade) -> None:
    """Make a websocket of a connection, and play the script until the client has gone."""
    # comes with google-genai: who has no SDK can do without it
    from websockets.server import ServerProtocol  # noqa: PLC0415

    speaks = ServerProtocol(max_size=None)
    side = _Side(connection, speaks)
    side.peer = Peer(*upgrade[:4], side.do)
    named = "".join(f"{name}: {value}\r\n" for name, value in incoming.headers.items())
    speaks.receive_data(f"GET {incoming.target} HTTP/1.1\r\n{named}\r\n".encode("latin-1"))
    asked: list[Any] = speaks.events_received()
    answer = speaks.accept(asked[0])
    answer.headers.pop("Date", None)
    speaks.send_response(answer)
    connection.transport.set_protocol(side)
    side._flush()
    try:
        await upgrade.script(side.peer)
        await side.peer.gone.wait()
    except LeftError:
        pass
