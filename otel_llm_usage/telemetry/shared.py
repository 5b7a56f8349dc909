"""The totals of all processes of an application: each writes its own file, whoever is asked adds up.

A file is locked for as long as its process lives, by the mapping itself, so no process id decides
who is dead. What the dead have counted is kept in a file of the past; what they were goes with them.
"""

import fcntl
import json
import logging
import mmap
import os
import stat
import struct
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from .. import backlog, forks, guard
from . import application

logger = logging.getLogger("otel_llm_usage")

COUNTER, HISTOGRAM, LARGEST, LATEST, FOLDED = range(5)
"""Kinds of entries: what is counted, two kinds of gauges, and which files the past has taken in."""
_KINDS = {"counter": COUNTER, "histogram": HISTOGRAM, "livemax": LARGEST, "mostrecent": LATEST}

_MAGIC = b"llmuse1\n"
_HEAD = struct.Struct("<8sQII8x")
"""Magic, bytes in use, the port that was chosen, the port that is served."""
_PORTS = struct.Struct("<II")
_USED = struct.Struct("<Q")
_ENTRY = struct.Struct("<IHHd")
"""Bytes of the key, kind, slots, time of the first one."""
_MOMENT = struct.Struct("<dd")
_SLOT = 16
_FIRST_SIZE = 1 << 15
_TRIES = 1000
_NAP = 0.002


About = tuple[str, str, tuple[str, ...], Any]
"""What a series is a part of: name, documentation, names of the labels, and its shape. That is for
a counter how many make one that is shown, and for a histogram the names of its buckets."""


class Number(NamedTuple):
    """The value of one series."""

    kind: int
    created: float
    counts: tuple[int, ...]
    value: float = 0.0
    """Of a histogram the sum; of a gauge what it says."""
    moment: float = 0.0
    """When a gauge was set."""

    def plus(self, other: "Number") -> "Number":
        """Both together."""
        if self.kind == LARGEST:
            return max(self, other, key=lambda one: one.value)
        if self.kind == LATEST:
            return max(self, other, key=lambda one: one.moment)
        counts = tuple([a + b for a, b in zip(self.counts, other.counts, strict=True)])
        return Number(self.kind, min(self.created, other.created), counts, self.value + other.value)


Numbers = dict[bytes, Number]


class Theirs(NamedTuple):
    """What the other processes say of one metric."""

    kind: int
    documentation: str
    shape: Any
    numbers: dict[tuple[tuple[str, ...], tuple[str, ...]], Number]
    """By the names and the values of the labels."""


class Slot:
    """Where one number of this process is written; a store into memory, and nobody waits."""

    __slots__ = ("_book", "_offset")

    def __init__(self, book: "Book", offset: int) -> None:
        self._book = book
        self._offset = offset

    def count(self, total: int, index: int = 0) -> None:
        """Say a count."""
        at = self._offset + index * _SLOT
        self._book.map[at : at + _SLOT] = total.to_bytes(_SLOT, "little", signed=True)

    def say(self, value: float, index: int = 0, moment: float = 0.0) -> None:
        """Say what is no count."""
        at = self._offset + index * _SLOT
        self._book.map[at : at + _SLOT] = _MOMENT.pack(value, moment)


class Book:
    """The file of this process."""

    def __init__(self, path: Path, port: int) -> None:
        self.path = path
        self._lock = threading.Lock()
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _fill(file, 0, _FIRST_SIZE)
            # the mapping keeps the lock, whatever becomes of the descriptor
            self.map = self._first = mmap.mmap(file, _FIRST_SIZE)
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            raise
        finally:
            os.close(file)
        self._used = _HEAD.size
        _HEAD.pack_into(self.map, 0, _MAGIC, self._used, port, 0)

    def slot(self, kind: int, key: bytes, slots: int, created: float) -> Slot:
        """A new place at zero. `OSError` if the disk is full."""
        padded = len(key) + -len(key) % _SLOT
        size = _ENTRY.size + padded + slots * _SLOT
        with self._lock:
            at = self._used
            if at + size > len(self.map):
                self._grow(at + size)
            _ENTRY.pack_into(self.map, at, padded, kind, slots, created)
            start = at + _ENTRY.size
            self.map[start : start + padded] = key.ljust(padded)
            # a reader sees whole entries only
            self._used = at + size
            _USED.pack_into(self.map, len(_MAGIC), self._used)
            return Slot(self, start + padded)

    def _grow(self, needed: int) -> None:
        old = len(self.map)
        new = old
        while new < needed:
            new *= 2
        file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            _fill(file, old, new)
            # who writes through the old one meanwhile writes into the same file
            self.map = mmap.mmap(file, new)
        finally:
            os.close(file)

    def close(self) -> None:
        """Let go of the file, and of its lock."""
        self.map.close()
        self._first.close()

    def ports(self, chosen: int, served: int) -> None:
        """Say which port shows these numbers."""
        _PORTS.pack_into(self.map, 16, chosen, served)


class _Heirs:
    """A lock that forked children inherit, and hold for as long as they have no file of their own."""

    def __init__(self, directory: Path) -> None:
        path = directory / f"{os.urandom(8).hex()}.heirs"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fstat(self._lock)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def let_go(self) -> None:
        """Hold it no more; others may."""
        with suppress(OSError):
            # whoever became a daemon has closed all that was open, and the number may be another's
            if os.path.samestat(self._file, os.fstat(self._lock)):
                os.close(self._lock)


def _fill(file: int, start: int, end: int) -> None:
    """Take the room on the disk now: a mapping without it would end the process when it is full."""
    while start < end:
        start += os.pwrite(file, bytes(end - start), start)


class Together:
    """This process among those of its application. Until `share()` it touches no file."""

    def __init__(self, name: str | None = None, port: int = 0, base: Path | None = None) -> None:
        """`name`: all that say it are one application. `port`: the one that shows this process;
        processes that chose different ones show their own numbers."""
        self.port = port
        self._served = 0
        self._root = application.root()
        self._name = name
        self._base = base
        self.directory = self._directory()
        self.shared = False
        """Whether there may be other processes."""
        self._begun = False
        self._heirs: _Heirs | None = None
        self._listeners: list[Callable[[], object]] = []
        self._renew()
        _living.add(self)

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._book: Book | None = None
        self._failed = False
        self._held: list[int] = []

    def _directory(self) -> Path:
        base = self._base or _base()
        where = application.surroundings()
        name = application.place(self._name, self._root)
        return base / f"otel-llm-usage-{os.geteuid()}-{where}-{name}"

    @property
    def is_child(self) -> bool:
        """Whether the application is older than this process: a worker, that is ended by others."""
        return self._root.pid != self._pid

    def begin(self) -> None:
        """This process will count."""
        self._begun = True
        if self._name is not None or self.is_child:
            self.share()

    def on_share(self, listener: Callable[[], object]) -> None:
        """Call this when others may look from now on: it shows them what was counted until then."""
        self._listeners.append(listener)

    def share(self) -> None:
        """From now on there may be others."""
        if not self.shared:
            with backlog.counting.alone():
                self._share()

    def before_fork(self) -> None:
        """A child will count on, perhaps when this process has ended."""
        self.share()
        if self._join() is not None and self._heirs is None:
            try:
                self._heirs = _Heirs(self.directory)
            except OSError as error:
                self._fail(error)

    def _share(self) -> None:
        if self.shared:  # another thread was quicker
            return
        self.shared = True
        if self._join() is not None:
            for listener in self._listeners:
                guard.call("processes", listener)

    def slot(
        self, kind: str, about: About, values: Sequence[str], slots: int, created: float
    ) -> Slot | None:
        """Where a number is written; `None` if it is kept in memory alone.

        `kind`: of a counter or a histogram its name, of a gauge how several become one.
        """
        book = self._join()
        if book is None:
            return None
        key = json.dumps([*about, *values], separators=(",", ":")).encode()
        try:
            return book.slot(_KINDS[kind], key, slots, created)
        except OSError as error:
            self._fail(error)
            return None

    def others(self) -> dict[str, Theirs]:
        """By metric: what all other processes have counted, the dead ones too, and what the living are.

        The files of those that have died since are taken into the past.
        """
        self._look_around()
        if not self.shared or self._join() is None or self._failed:
            return {}
        numbers: Numbers = {}
        try:
            with self._locked():
                for port, file in self._files():
                    if not port or not self.port or port == self.port:
                        _add(numbers, file)
        except (PermissionError, FileNotFoundError) as error:  # somebody has cleaned up
            self._fail(error)
        # anything else fails the scrape: a sum without the others' would be a counter that falls
        return _by_metric(numbers)

    def serves(self, port: int) -> None:
        """This process has opened this port; 0: it has none any more."""
        self._served = port
        if port:
            self.port = port
        book = self._join() if self.shared else None
        if book is not None:
            book.ports(self.port, port)

    @contextmanager
    def served(self) -> Iterator[int]:
        """The port that another living process serves, or 0; in the block, none opens another one."""
        with ExitStack() as locked:
            served = 0
            if self.shared and self._join() is not None:
                try:
                    locked.enter_context(self._locked())
                    served = self._served_by_others()
                except OSError as error:
                    self._fail(error)
            yield served

    def _served_by_others(self) -> int:
        for path in self._paths(".live"):
            head, dead = _inspect(path)
            if not dead and head is not None and head[3]:
                return int(head[3])
        return 0

    def leave(self) -> None:
        """This process ends. The last one takes the directory away."""
        self._look_around()
        if self._book is None:
            return
        try:
            with self._locked():
                if not self._needed():
                    _remove(self.directory)
        except OSError as error:
            logger.debug("the directory of the application stays", exc_info=error)

    def close(self) -> None:
        """This process shares nothing any more; what it has counted stays in the sum."""
        self.leave()
        _living.discard(self)
        book, self._book = self._book, None
        self._failed = True
        if book is not None:
            book.close()

    def _look_around(self) -> None:
        """A child that was started anew shares from its beginning: the directory tells of it."""
        if self._begun and not self.shared and self.directory.is_dir():
            self.share()

    def _join(self) -> Book | None:
        with self._lock:
            if self._book is None and not self._failed:
                try:
                    self._book = self._joined()
                except OSError as error:
                    self._fail(error)
            return self._book

    def _joined(self) -> Book:
        with self._locked(make=True):
            with suppress(FileExistsError):
                os.close(
                    os.open(
                        self.directory / f"root-{self._root.pid}-{self._root.started}",
                        os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_WRONLY,
                        0o600,
                    )
                )
            book = Book(self.directory / f"{os.urandom(8).hex()}.live", self.port)
        book.ports(self.port, self._served)
        if self._heirs is not None:
            self._heirs.let_go()  # the parent's: from now on the book tells that we live
            self._heirs = None
        return book

    def _fail(self, error: OSError) -> None:
        """What this process counts is its own again."""
        first, self._failed = not self._failed, True
        guard.count("processes")
        if first:
            logger.error(
                "otel-llm-usage can't share the numbers of several processes in %s: %s. This "
                "process shows what it counts itself, and no other process shows that.",
                self.directory,
                error,
            )

    @contextmanager
    def _locked(self, *, make: bool = False) -> Iterator[None]:
        """Alone among all processes. `OSError` if that can't be."""
        lock = self._lock_file(make)
        self._held.append(lock)
        try:
            yield
        finally:
            self._held.remove(lock)
            # explicitly: a child that was forked meanwhile may have a copy of the descriptor
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)

    def _lock_file(self, make: bool) -> int:
        path = self.directory / "lock"
        for _ in range(_TRIES):
            if make:
                _make(self.directory)
            _check(self.directory)
            flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if make else 0)
            try:
                lock = os.open(path, flags, 0o600)
            except FileNotFoundError:
                if make:
                    continue  # the last one has just taken it away
                raise
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(lock), os.stat(path)):
                        return lock
            except BlockingIOError:
                time.sleep(_NAP)
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)
        raise TimeoutError(f"{path} is held by another process")

    def _paths(self, suffix: str) -> list[Path]:
        mine = None if self._book is None else self._book.path.name
        return [
            self.directory / name
            for name in sorted(os.listdir(self.directory))
            if name.endswith(suffix) and name != mine
        ]

    def _files(self) -> list[tuple[int, bytes]]:
        """The ports and contents of all files but ours, after the dead were taken into the past."""
        past: dict[int, bytes] = {}
        gone: set[str] = set()
        for path in self._paths(".past"):
            content = path.read_bytes()
            past[int(path.stem)] = content
            gone.update(_folded(content))
        living: list[tuple[int, bytes]] = []
        dead: dict[int, list[Path]] = {}
        for path in self._paths(".live"):
            if path.name in gone:  # somebody was ended just before he removed it
                path.unlink()
                continue
            head, is_dead = _inspect(path)
            if head is None:
                if is_dead:
                    path.unlink()
                continue
            if is_dead:
                dead.setdefault(head[2], []).append(path)
            else:
                living.append((head[2], path.read_bytes()))
        for port, paths in dead.items():
            past[port] = self._fold(port, past.get(port), paths)
        return [*past.items(), *living]

    def _fold(self, port: int, past: bytes | None, dead: Sequence[Path]) -> bytes:
        numbers: Numbers = {}
        for content in (past, *(path.read_bytes() for path in dead)):
            if content:
                _add(numbers, content, dead=True)
        content = _written(port, numbers, [path.name for path in dead])
        with suppress(OSError):  # a full disk: they stay as they are, and are read again
            new = self.directory / "new"
            new.write_bytes(content)
            os.replace(new, self.directory / f"{port}.past")
            for path in dead:
                path.unlink()
        return content

    def _needed(self) -> bool:
        """Whether there is a process, besides this one, that will want to go on from these totals."""
        if self._heirs is not None:
            self._heirs.let_go()
        return _inhabited(self.directory, but=self._book, root=self._pid)

    def _forked(self) -> None:
        """In a child: what is open here is the parent's, and the parent's alone."""
        for lock in self._held:
            os.close(lock)
        if self._book is not None:
            self._book.close()
        self._renew()
        self._served = 0
        self.shared = True


def _base() -> Path:
    """Memory, if there is such a file system: it does no work on a disk, and no cleaner ages it."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK | os.X_OK):
        return memory
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return memory  # nothing can be written anywhere: which is said when it is tried


def _make(directory: Path) -> None:
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        return
    _sweep(directory)


def _check(directory: Path) -> None:
    """Nobody else may have put it there, nor be able to look into it."""
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{directory} is not a directory of this user's alone")


def _sweep(mine: Path) -> None:
    """Take away what applications have left whose last process was killed."""
    family = mine.name.rpartition("-")[0]
    for path in mine.parent.glob(f"{family}-*"):
        if path == mine:
            continue
        with suppress(OSError):
            _check(path)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not _inhabited(path):
                    _remove(path)
            finally:
                os.close(lock)


def _inhabited(directory: Path, but: Book | None = None, root: int = 0) -> bool:
    for name in os.listdir(directory):
        path = directory / name
        if name.endswith((".live", ".heirs")):
            if (but is None or name != but.path.name) and not _inspect(path)[1]:
                return True
        elif name.startswith("root-"):
            _, pid, started = name.split("-")
            if int(pid) != root and application.Process(int(pid), int(started)).alive:
                return True
    return False


def _remove(directory: Path) -> None:
    # the lock last: who waits for it finds it gone, and begins anew
    for name in sorted(os.listdir(directory), key="lock".__eq__):
        os.unlink(directory / name)
    os.rmdir(directory)


def _inspect(path: Path) -> tuple[tuple[Any, ...] | None, bool]:
    """The head of a file, if it has one, and whether its process is dead."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            dead = True
        except BlockingIOError:
            dead = False
        head = os.read(file, _HEAD.size)
    finally:
        os.close(file)
    if len(head) < _HEAD.size or not head.startswith(_MAGIC):
        return None, dead
    return _HEAD.unpack(head), dead


def _entries(content: bytes) -> Iterator[tuple[int, bytes, float, memoryview]]:
    if not content.startswith(_MAGIC) or len(content) < _HEAD.size:
        return
    used = min(_USED.unpack_from(content, len(_MAGIC))[0], len(content))
    at = _HEAD.size
    view = memoryview(content)
    while at + _ENTRY.size <= used:
        length, kind, slots, created = _ENTRY.unpack_from(content, at)
        start = at + _ENTRY.size + length
        at = start + slots * _SLOT
        yield kind, content[start - length : start].rstrip(b" "), created, view[start:at]


def _add(numbers: Numbers, content: bytes, *, dead: bool = False) -> None:
    for kind, key, created, slots in _entries(content):
        if kind == FOLDED or (kind == LARGEST and dead):
            continue
        number = _number(kind, created, slots)
        known = numbers.get(key)
        same = known is None or len(known.counts) == len(number.counts)
        if same:
            numbers[key] = number if known is None else known.plus(number)


def _number(kind: int, created: float, slots: memoryview) -> Number:
    counted = len(slots) // _SLOT - (kind != COUNTER)
    counts = tuple(
        int.from_bytes(slots[index * _SLOT : (index + 1) * _SLOT], "little", signed=True)
        for index in range(counted)
    )
    if kind == COUNTER:
        return Number(kind, created, counts)
    value, moment = _MOMENT.unpack_from(slots, counted * _SLOT)
    return Number(kind, created, counts, value, moment)


def _folded(content: bytes) -> list[str]:
    for kind, key, _, _ in _entries(content):
        if kind == FOLDED:
            names: list[str] = json.loads(key)
            return names
    return []


def _written(port: int, numbers: Numbers, folded: Sequence[str]) -> bytes:
    parts = [_entry(FOLDED, json.dumps(folded).encode(), 0.0, b"")]
    for key, number in numbers.items():
        slots = b"".join(count.to_bytes(_SLOT, "little", signed=True) for count in number.counts)
        if number.kind != COUNTER:
            slots += _MOMENT.pack(number.value, number.moment)
        parts.append(_entry(number.kind, key, number.created, slots))
    body = b"".join(parts)
    return _HEAD.pack(_MAGIC, _HEAD.size + len(body), port, 0) + body


def _entry(kind: int, key: bytes, created: float, slots: bytes) -> bytes:
    padded = len(key) + -len(key) % _SLOT
    return _ENTRY.pack(padded, kind, len(slots) // _SLOT, created) + key.ljust(padded) + slots


def _by_metric(numbers: Numbers) -> dict[str, Theirs]:
    found: dict[str, Theirs] = {}
    for key, number in numbers.items():
        (name, documentation, labels, shape), values = _meaning(key)
        theirs = found.setdefault(name, Theirs(number.kind, documentation, shape, {}))
        if (theirs.kind, theirs.shape) != (number.kind, shape):
            continue  # of another release, which counts otherwise
        at = (labels, values)
        known = theirs.numbers.get(at)
        theirs.numbers[at] = number if known is None else known.plus(number)
    return found


@lru_cache(maxsize=10_000)
def _meaning(key: bytes) -> tuple[About, tuple[str, ...]]:
    name, documentation, labels, shape, *values = json.loads(key)
    shape = tuple(shape) if isinstance(shape, list) else shape
    return (name, documentation, tuple(labels), shape), tuple(values)


_living: "weakref.WeakSet[Together]" = weakref.WeakSet()


@forks.in_child
def _after_fork() -> None:
    for together in list(_living):
        together._forked()
