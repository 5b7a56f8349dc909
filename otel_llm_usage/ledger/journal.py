"""What waits on the disk while the database is away: a file for each process, a line for each row.

A file belongs to whoever holds its lock, which ends with the process; then whoever finds the file takes it
over. Needs the file locks of Unix.
"""

import fcntl
import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from .. import guard
from .rows import COLUMNS, Row

logger = logging.getLogger("otel_llm_usage")

Kept = tuple[Row, tuple[str, ...]]
"""A row, and the scopes that it belongs to."""

_SUFFIX = ".journal"
_FORMAT = [1, len(COLUMNS)]
"""What a line begins with; a line of another version is left out, counted and said."""
_PORTION = 2_000
"""Rows that are handed on at once."""


class Journal:
    """Keeps rows in a folder until they can be handed on. One thread at a time replays it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rejected = folder / "rejected.jsonl"
        """Where the rows are that no database takes."""
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()  # a signal may end the process while it writes
        self._mine: _File | None = None
        """Where rows are appended."""
        self._full: list[_File] = []
        """Where none are any more."""

    def write(self, rows: Sequence[Kept]) -> None:
        """Append rows, and see them on the disk. Raises `OSError`: then none of them is kept."""
        lines = b"".join(map(_line, rows))
        with self._lock:
            _, file = self._mine = self._mine or self._new()
            end = file.seek(0, os.SEEK_END)
            try:
                _write_all(file, lines)
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise

    def _new(self) -> "_File":
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # of an earlier process with the same number there may be one already
        while True:
            path = self._folder / f"{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}"
            file = open(path, "xb", buffering=0, opener=_private)  # noqa: SIM115 (it stays open)
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists():
                return _File(path, file)
            file.close()  # somebody took it for one of a process that is gone

    def replay(self, hand_on: Callable[[Sequence[Kept]], None]) -> int:
        """Hand on what is kept, ours and that of processes that are gone, and forget it; how many rows.

        What `hand_on` raises ends it: the file stays, and rows that were handed on come once more.
        """
        with self._lock:
            if self._mine is not None:
                self._full.append(self._mine)
                self._mine = None
        count = 0
        while self._full:
            path, file = self._full[0]
            count += _hand_on(path, hand_on)
            path.unlink()
            file.close()
            del self._full[0]
        for path in self._others():
            count += _taken_over(path, hand_on)
        return count

    def _others(self) -> list[Path]:
        mine = self._mine
        found = sorted(self._folder.glob(f"*{_SUFFIX}"))
        return [path for path in found if mine is None or path != mine.path]

    def reject(self, row: Kept) -> None:
        """Keep a row that no database takes, for somebody to look at. Raises `OSError`."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.rejected, "ab", buffering=0, opener=_private) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _write_all(file, _line(row))

    def close(self) -> None:
        """Leave what is kept to the next one: another process, or in a forked child its parent, whose
        locks hold as long as he has the files open."""
        for one in (self._mine, *self._full):
            if one is not None:
                one.file.close()
        self._begin()


class _File(NamedTuple):
    path: Path
    file: IO[bytes]
    """Unbuffered, and locked."""


def _taken_over(path: Path, hand_on: Callable[[Sequence[Kept]], None]) -> int:
    with ExitStack() as opened:
        try:
            file = opened.enter_context(path.open("r+b"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, BlockingIOError):
            return 0  # its process is at work on it
        except OSError as error:
            # of another user, it may be: that does not keep ours from the database
            guard.failed("ledger.journal", error)
            return 0
        if not path.exists():
            return 0  # somebody else was here meanwhile
        count = _hand_on(path, hand_on)
        path.unlink()
        return count


def _hand_on(path: Path, hand_on: Callable[[Sequence[Kept]], None]) -> int:
    count = 0
    with path.open("rb") as lines:
        while portion := list(islice(lines, _PORTION)):
            rows = [row for line in portion if (row := _row(path, line)) is not None]
            if rows:
                hand_on(rows)
            count += len(rows)
    return count


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _line(kept: Kept) -> bytes:
    row, scopes = kept
    return json.dumps([*_FORMAT, row, scopes], separators=(",", ":")).encode() + b"\n"


def _row(path: Path, line: bytes) -> Kept | None:
    """The row of a line; a process that was killed may have left half of one."""
    try:
        made: Any = json.loads(line)
        version, columns, row, scopes = made
        if [version, columns] == _FORMAT and len(row) == len(COLUMNS):
            return tuple(row), tuple(scopes)
    except (ValueError, TypeError):
        pass
    guard.count("ledger.journal")
    logger.error("otel-llm-usage cannot read a line of the journal %s; it is left out.", path)
    return None


def _write_all(file: IO[bytes], content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
