"""Answers of a hostile provider, byte by byte: nobody notices us, and no count is made up."""
