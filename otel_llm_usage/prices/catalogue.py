"""The catalogue: layers of prices, the cards compiled from them, and what each answer costs."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..records import Cost, Reading, Request
from . import entries, loading, stanzas
from .cards import Card
from .entries import Entries

if TYPE_CHECKING:
    from .base import BaseTable
    from .compiler import Compiler

logger = logging.getLogger("otel_llm_usage")

DAY = 86_400
STALE_AFTER_DAYS = 45
_OVERLAY = Path(__file__).with_name("overlay.toml")
_MOST_CARDS = 4096
_MOST_WARNINGS = 1000


class Layer(NamedTuple):
    """Where prices come from; of two layers the one named first wins."""

    name: str
    """A file's name, `overlay` or `genai-prices`."""
    version: str
    as_of: float | None
    """The day that its prices were right, in seconds since the epoch; `None`: it does not say."""


class Catalogue:
    """Prices from the user's files, the packaged overlay and the maintained table; immutable.

    `price` is a `Pricer`. A new state of the files is a new catalogue (`reloaded`).
    """

    def __init__(
        self,
        users: Sequence[Entries],
        overlay: Entries,
        *,
        base_data: Path | None = None,
        stale_after_days: float = STALE_AFTER_DAYS,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        self._entries = (*users, overlay)
        self._overlay = overlay
        self._base_data = base_data
        self._stale_after_days = stale_after_days
        self._origin = dict(origin or {})
        self._compiler: Compiler | None = None
        self._layers: tuple[Layer, ...] = ()
        self._stale_from = float("inf")
        self._cards: dict[tuple[str | None, ...], Card] = {}
        self._warned: set[tuple[str, str]] = set()

    # ------------------------------------------------------------ prices

    def price(self, request: Request, reading: Reading, at: float) -> Cost:
        """What a reading costs at a time (seconds since the epoch)."""
        key = (
            request.vendor,
            request.platform,
            request.endpoint,
            request.model,
            request.tier,
            request.region,
            reading.model,
            reading.tier,
            reading.region,
        )
        card = self._cards.get(key)
        if card is None or not card.since <= at < card.until:
            card = self.card(request, reading, at)
            if len(self._cards) >= _MOST_CARDS:
                self._cards.clear()
            self._cards[key] = card
        stale = at > self._stale_from
        cost = card.bill(reading, stale)
        if cost.reasons:
            self._warn(request, reading, card, cost)
        if stale:
            self._warn_stale()
        return cost

    def card(self, request: Request, reading: Reading, at: float) -> Card:
        """The rate card of a reading, compiled afresh."""
        compiler = self.compiler()
        # only after the table is loaded, see there
        from .compiler import question  # noqa: PLC0415

        return compiler.card(question(request, reading, at))

    def warm(self) -> None:
        """Load the maintained table now. Call it from a background thread, or the first price does."""
        self.compiler()

    def compiler(self) -> "Compiler":
        """What compiles the cards; loads the maintained table if nobody did so yet."""
        return self._compiler or self._load()

    def _load(self) -> "Compiler":
        with loading.lock:
            if self._compiler is None:
                # the table takes 0.2 s and pydantic: never at import, and off the request if warmed
                from . import base, compiler  # noqa: PLC0415

                table = base.load(
                    self._base_data,
                    self._overlay.base_releases or {},
                    self._overlay.base_typed_in,
                )
                self._layers = self._described(table)
                if table.as_of is not None:
                    self._stale_from = table.as_of + self._stale_after_days * DAY
                self._compiler = compiler.Compiler(self._entries, table, _version(self._layers))
        return self._compiler

    # ------------------------------------------------------------ what it is made of

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, the winning one first. Loads the maintained table."""
        self.compiler()
        return self._layers

    @property
    def version(self) -> str:
        """The versions of all layers in one word: in every `Cost`, so that it can be re-priced."""
        return _version(self.layers)

    def age_seconds(self, layer: str, now: float) -> float | None:
        """How old a layer's prices are; `None` where it does not say (or there is no such layer)."""
        for one in self.layers:
            if one.name == layer and one.as_of is not None:
                return now - one.as_of
        return None

    def reloaded(self) -> "Catalogue":
        """The same files read again; `ConfigurationError` if one is broken now."""
        return load_catalogue(**self._origin)

    def without_overlay(self) -> "Catalogue":
        """The same without the packaged prices: the rules of which kind is billed as which stay."""
        bare = replace(
            self._overlay, prices=(), tiers=(), fees=(), multipliers=(), aliases=(), as_of=None
        )
        return Catalogue(self._entries[:-1], bare, base_data=self._base_data)

    def _described(self, table: "BaseTable") -> tuple[Layer, ...]:
        files = tuple(
            Layer(one.name, one.digest or _day(one.as_of), one.as_of) for one in self._entries
        )
        return (*files, Layer("genai-prices", table.version, table.as_of))

    # ------------------------------------------------------------ being loud

    def stanza(self, request: Request, reading: Reading, at: float) -> str:
        """What to paste into a price file so that this reading gets a price; empty if it has one."""
        cost = self.price(request, reading, at)
        model = self.card(request, reading, at).model
        return stanzas.stanza(model, request, reading, cost)

    def _warn(self, request: Request, reading: Reading, card: Card, cost: Cost) -> None:
        model = card.model
        new = [reason for reason in cost.reasons if (model, reason) not in self._warned]
        if not new or len(self._warned) >= _MOST_WARNINGS:
            return
        self._warned.update((model, reason) for reason in new)
        if advice := stanzas.stanza(model, request, reading, cost._replace(reasons=tuple(new))):
            logger.warning(
                "No price for %s (%s): its cost is unknown, not zero. If you know the price, put "
                "this into a price file:\n%s",
                stanzas.shown(model),
                ", ".join(new),
                advice,
            )

    def _warn_stale(self) -> None:
        if ("", "stale") in self._warned:
            return
        self._warned.add(("", "stale"))
        logger.warning(
            "The price table genai-prices %s is more than %g days old: upgrade it "
            "(pip install -U genai-prices), or set price_data to a newer data.json.",
            self._layers[-1].version,
            self._stale_after_days,
        )


def load_catalogue(
    user_files: Sequence[Path | str] = (),
    user_entries: Mapping[str, Any] | None = None,
    base_data: Path | str | None = None,
    *,
    stale_after_days: float = STALE_AFTER_DAYS,
) -> Catalogue:
    """The catalogue of these layers; `ConfigurationError` if one of the files is broken.

    `user_entries` is a price document as a mapping (`{"price": [...]}`); it wins over the files,
    and a file over those behind it. `base_data` replaces the installed genai-prices table by a
    `data.json` of its project. Nothing is fetched, and the table is loaded when first needed.
    """
    users = []
    if user_entries:
        made = entries.parse(user_entries, "settings")
        users.append(_with_digest(made, repr(user_entries).encode()))
    for file in user_files:
        path = Path(file)
        users.append(_with_digest(entries.read_file(path), path.read_bytes()))
    overlay = entries.read_file(_OVERLAY, name="overlay", strict=True)
    return Catalogue(
        users,
        overlay,
        base_data=None if base_data is None else Path(base_data),
        stale_after_days=stale_after_days,
        origin={
            "user_files": tuple(user_files),
            "user_entries": user_entries,
            "base_data": base_data,
            "stale_after_days": stale_after_days,
        },
    )


def _with_digest(read: Entries, content: bytes) -> Entries:
    return replace(read, digest=hashlib.sha256(content).hexdigest()[:8])


def _version(layers: Sequence[Layer]) -> str:
    return "+".join(f"{layer.name}@{layer.version}" for layer in layers)


def _day(moment: float | None) -> str:
    return "?" if moment is None else datetime.fromtimestamp(moment, UTC).date().isoformat()
