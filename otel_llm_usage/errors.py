"""What can go wrong for the caller.

LLMUsageError
├── ConfigurationError      something is set wrongly; raised at start-up, never during a call
│   └── MissingExtra        … because an optional part is not installed
├── LedgerError             a ledger can't be read or changed
└── StatementError          a provider's own record of the usage can't be had, or can't be read
"""


class LLMUsageError(Exception):
    """The base of every exception of this package."""


class ConfigurationError(LLMUsageError):
    """A setting, a price file or an argument is wrong; the message says what to do."""


class MissingExtra(ConfigurationError):  # noqa: N818 (it reads as what is wrong)
    """An optional part is needed and not installed; the message says which extra to install."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'otel-llm-usage[{extra}]'")


class LedgerError(LLMUsageError):
    """A ledger can't be read or changed; the message says why, and what to do."""


class StatementError(LLMUsageError):
    """A provider's own record of the usage can't be had or read; the message says what to do."""
