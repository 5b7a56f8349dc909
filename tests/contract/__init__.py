"""What a caller gets with and without us, and what we counted: one table of call shapes."""
