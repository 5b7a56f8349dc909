"""Import and export (see modules)."""
