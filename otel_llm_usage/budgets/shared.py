"""The spending of several processes, in a file for each budget. Needs the file locks of Unix."""

import fcntl
import hashlib
import os
import struct
import threading
import time
from pathlib import Path

from .stores import Change

_LAYOUT = struct.Struct("<d16s")
"""Beginning of the period, and the total as a 128-bit integer: dollars in pico outgrow 64 bits."""

_TRIES = 50
_NAP = 0.0001
"""Seconds between two tries to get a lock that another process holds for microseconds."""


class SharedFileStore:
    """Totals of all processes that share a directory; one small file for each budget.

    A process that cannot get the lock at once keeps the amount and adds it with the next one: no
    call of the host waits for another process.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, int] = {}
        self._owed: dict[str, int] = {}
        self._lock = threading.RLock()

    def add(self, key: str, start: float, pico: int) -> Change | None:
        """See `Store`."""
        with self._lock:
            owed = self._owed.pop(key, 0) + pico
            file = self._file(key)
            if not _locked(file):
                self._owed[key] = owed
                return None
            try:
                # locks belong to the process: a forked child has none of its parent's
                began, total = _read(file)
                before = total if began >= start else 0
                os.pwrite(file, _packed(max(began, start), before + owed), 0)
            finally:
                fcntl.lockf(file, fcntl.LOCK_UN)
        return Change(before, before + owed)

    def total(self, key: str, start: float) -> int:
        """See `Store`."""
        with self._lock:
            began, total = _read(self._file(key))
            return (total if began >= start else 0) + self._owed.get(key, 0)

    def _file(self, key: str) -> int:
        file = self._files.get(key)
        if file is None:
            digest = hashlib.sha256(key.encode()).hexdigest()[:16]
            path = self._directory / f"otel_llm_usage_budget_{digest}"
            file = self._files[key] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return file


def _locked(file: int) -> bool:
    for turn in range(_TRIES):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if turn < _TRIES - 1:
                time.sleep(_NAP)
        else:
            return True
    return False


def _read(file: int) -> tuple[float, int]:
    content = os.pread(file, _LAYOUT.size, 0)
    if len(content) < _LAYOUT.size:  # new
        return 0.0, 0
    began, total = _LAYOUT.unpack(content)
    return began, int.from_bytes(total, "little", signed=True)


def _packed(start: float, total: int) -> bytes:
    return _LAYOUT.pack(start, total.to_bytes(16, "little", signed=True))
