"""What waits on the disk while the database is away: a file for each process, a line for each row.

A file belongs to whoever holds its lock, which ends with the process; then whoever finds the file takes it
over. Its first line says its format and the names of its columns: what an older version has written is
taken over, too, and what a newer one has written is left to a newer one. Needs the file locks of Unix.
"""

import fcntl
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
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
_OTHERS = ".other"
"""What is put behind the name of a file that cannot be taken over, for a version that knows better."""
_FORMAT = "otel-llm-usage journal 1"
"""Of another one nothing is known, neither what the lines mean."""
_HEAD = json.dumps([_FORMAT, COLUMNS], separators=(",", ":")).encode() + b"\n"
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
                _write_all(file, lines if end else _HEAD + lines)
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
            count += _hand_on(path, COLUMNS, hand_on)
            path.unlink()
            file.close()
            del self._full[0]
        for path in self._others():
            count += _taken_over(path, hand_on)
        return count

    def _others(self) -> list[Path]:
        mine = self._mine
        found = sorted(self._folder.glob(f"*{_SUFFIX}*"))
        return [path for path in found if mine is None or path != mine.path]

    def has_more(self) -> bool:
        """Whether there is a file of others, at work or gone, that was not set aside."""
        return any(path.suffix == _SUFFIX for path in self._others())

    def reject(self, told: Mapping[str, Any]) -> None:
        """Keep what no database takes, for somebody to look at. Raises `OSError`."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.rejected, "ab", buffering=0, opener=_private) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _write_all(file, json.dumps(told).encode() + b"\n")

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
        head = file.readline()
        columns = _columns(head)
        if columns is not None:
            count = _hand_on(path, columns, hand_on)
        elif _HEAD.startswith(head):
            count = 0  # its process was killed before there was a row
        else:
            _set_aside(path)
            return 0
        path.unlink()
        return count


def _columns(head: bytes) -> tuple[str, ...] | None:
    """The names of a file's columns; `None` if it is for another version to know what it holds."""
    try:
        kind, names = json.loads(head)
        columns = tuple(map(str, names))
    except (ValueError, TypeError):
        return None
    return columns if kind == _FORMAT and set(columns) <= set(COLUMNS) else None


def _set_aside(path: Path) -> None:
    """Leave a file as it is to a version that knows it, which takes it over from there."""
    if path.suffix == _OTHERS:
        return
    aside = path.with_name(path.name + _OTHERS)
    try:
        path.rename(aside)
    except OSError as error:
        guard.failed("ledger.journal", error)
        return
    guard.count("ledger.journal")
    logger.error(
        "A journal of the ledger was written by another version of otel-llm-usage, or is damaged; it is "
        "kept as %s until a version that knows it comes.",
        aside,
    )


def _hand_on(path: Path, columns: Sequence[str], hand_on: Callable[[Sequence[Kept]], None]) -> int:
    count = 0
    with path.open("rb") as lines:
        lines.readline()
        while portion := list(islice(lines, _PORTION)):
            rows = [row for line in portion if (row := _row(path, columns, line)) is not None]
            if rows:
                hand_on(rows)
            count += len(rows)
    return count


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _line(kept: Kept) -> bytes:
    return json.dumps(kept, separators=(",", ":")).encode() + b"\n"


def _row(path: Path, columns: Sequence[str], line: bytes) -> Kept | None:
    """The row of a line; a process that was killed may have left half of one."""
    try:
        row, scopes = json.loads(line)
        known = dict(zip(columns, row, strict=True))
        return tuple(map(known.get, COLUMNS)), tuple(scopes)
    except (ValueError, TypeError):
        pass
    guard.count("ledger.journal")
    logger.error("otel-llm-usage cannot read a line of the journal %s; it is left out.", path)
    return None


def _write_all(file: IO[bytes], content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
