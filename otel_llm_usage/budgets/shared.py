"""The spending of several processes, in a file for each budget. Needs the file locks of Unix."""

import fcntl
import hashlib
import os
import struct
import threading
import time
from pathlib import Path

from .stores import Change, renew_in_children

_LAYOUT = struct.Struct("<d16s")
"""Beginning of the period, and the total as a 128-bit integer: dollars in pico outgrow 64 bits."""

_TRIES = 20
"""How often a lock is tried, without a pause, that another process holds for microseconds."""

_LAST_TRIES = 500
_NAP = 0.002
"""Seconds between two tries at the end, when there is no later call to wait for."""


class SharedFileStore:
    """Totals of all processes that share a directory; one small file for each budget.

    A process that cannot get the lock at once keeps the amount and adds it with the next one, or when
    it ends: no call of the host waits for another process.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, int] = {}
        self._owed: dict[str, int] = {}
        self._lock = threading.RLock()
        renew_in_children(self)

    def add(self, key: str, start: float, pico: int, *, patient: bool = False) -> Change | None:
        """See `Store`."""
        with self._lock:
            owed = self._owed.pop(key, 0) + pico
            file = self._file(key)
            if not _locked(file, patient=patient):
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
            # what is still owed is not shown: a total must not shrink when another process is asked
            return total if began >= start else 0

    def close(self) -> None:
        """See `Store`."""
        with self._lock:
            for file in self._files.values():
                os.close(file)
            self._files.clear()

    def renew(self) -> None:
        """In a forked child: nobody holds the lock, and the parent pays what it owes."""
        self._lock = threading.RLock()
        self._owed.clear()

    def _file(self, key: str) -> int:
        file = self._files.get(key)
        if file is None:
            digest = hashlib.sha256(key.encode()).hexdigest()[:16]
            path = self._directory / f"otel_llm_usage_budget_{digest}"
            file = self._files[key] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return file


def _locked(file: int, *, patient: bool) -> bool:
    for _ in range(_LAST_TRIES if patient else _TRIES):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if patient:
                time.sleep(_NAP)
            continue
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
