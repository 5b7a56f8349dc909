"""Small applications to copy from, each run by a test against the stand-in provider's ledger."""
