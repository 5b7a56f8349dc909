"""Several processes, one right sum."""
