"""One provider and one ledger: what a command calls."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal

from ..errors import ConfigurationError
from ..ledger import Ledger
from ..ledger.daily import daily
from ..records import NOTHING
from . import anthropic, google, openai
from .comparing import SOLD, Reconciliation, compare

PROVIDERS = tuple(SOLD)
"""Whose record can be read."""

_ASKED = {"openai": openai, "anthropic": anthropic}


def reconcile(
    ledger: Ledger,
    provider: str,
    *,
    since: date,
    until: date,
    admin_key: str | None = None,
    base_url: str | None = None,
    exports: Sequence[str | os.PathLike[str]] = (),
    rates: Mapping[str, Decimal] = NOTHING,
    now: datetime | None = None,
) -> Reconciliation:
    """The ledger beside the record of `openai`, `anthropic` or `google`, from one day until another.

    `until` is not in it. The days are UTC's, for Google those of California. `admin_key`: for OpenAI and
    Anthropic, see `settings.admin_key`. `exports`: for Google, files of the billing export, and `rates`:
    US dollars for one of another currency.

    `StatementError` where the provider's record can't be had or read, `ConfigurationError` for what is
    said wrongly, and the database's errors.
    """
    if provider not in PROVIDERS:
        raise ConfigurationError(
            f"there is no record of {provider!r} to read: choose one of {', '.join(PROVIDERS)}"
        )
    if until <= since:
        raise ConfigurationError(f"until {until} is not after since {since}: say a later day")
    zone: tzinfo = google.PACIFIC if provider == "google" else UTC
    if provider == "google":
        statement = google.statement(exports, since, until, rates=rates)
    else:
        asked = _ASKED[provider]
        if not admin_key:
            raise ConfigurationError(
                f"{asked.KEY} is not set: an administrator's key of the organisation is needed, not one "
                "for calling models"
            )
        if not all(letter.isascii() and letter.isprintable() for letter in admin_key.strip()):
            raise ConfigurationError(f"{asked.KEY} has a sign in it that no key has: copy it again")
        if base_url is not None and not base_url.startswith(("https://", "http://")):
            raise ConfigurationError(f"base_url={base_url!r}: it begins with https://")
        statement = asked.statement(since, until, admin_key=admin_key.strip(), base_url=base_url)
    moment = (now or datetime.now(UTC)).astimezone(zone)
    return compare(daily(ledger, since, until, zone), statement, since, until, now=moment)
