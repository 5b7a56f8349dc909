"""The catalogue of the day: swapped whole, and never for a broken one."""

import logging
from collections.abc import Callable

from ..errors import ConfigurationError
from ..records import Cost, Reading, Request
from .catalogue import Catalogue

logger = logging.getLogger("otel_llm_usage")


class CatalogueHolder:
    """Keeps a catalogue that may be reloaded while others price with it."""

    def __init__(
        self, catalogue: Catalogue, *, on_error: Callable[[], None] = lambda: None
    ) -> None:
        self._catalogue = catalogue
        self._on_error = on_error
        self.reload_errors = 0
        """How often a reload failed and the old prices were kept."""

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue that holds now."""
        return self._catalogue

    def price(self, request: Request, reading: Reading, at: float) -> Cost:
        """See `Catalogue.price`."""
        return self._catalogue.price(request, reading, at)

    def reload(self) -> bool:
        """Read all files again; False if one is broken: then the old prices stay."""
        try:
            fresh = self._catalogue.reloaded()
            fresh.warm()
        except ConfigurationError as error:
            self.reload_errors += 1
            self._on_error()
            logger.error("The prices were not reloaded, the old ones stay: %s", error)
            return False
        self._catalogue = fresh
        return True
