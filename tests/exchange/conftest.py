"""The databases of the ledger's own tests."""

from tests.ledger.conftest import ledger, place, postgres

__all__ = ["ledger", "place", "postgres"]
