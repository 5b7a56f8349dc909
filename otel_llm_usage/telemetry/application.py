"""Which processes are one application, and so show one sum."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_FARTHEST = 64
"""Generations that are looked at."""

_STARTED_BY_PYTHON = (
    b"--multiprocessing-fork",
    b"multiprocessing.forkserver",
    b"--billiard-fork",
    b"billiard.forkserver",
    b"loky.backend.popen_loky_posix",
)
"""What stands in the command lines of children that a process pool starts anew."""


class Process(NamedTuple):
    """One process; two of the same id differ in their start."""

    pid: int
    started: int
    """In clock ticks since the machine's; 0 where nobody can tell."""

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        found = _look(self.pid)
        if found is not None:
            return found.process == self and found.state not in "ZX"
        if _told(_PROC / "self" / "stat"):
            return False
        try:
            os.kill(self.pid, 0)
        except OSError as error:
            return isinstance(error, PermissionError)
        return True


class _Found(NamedTuple):
    process: Process
    parent: int
    state: str
    layout: tuple[str, ...]
    """Where its program, its data, its heap and its stack begin; zeros where that is not shown to us."""
    command: tuple[bytes, ...]
    program: str


def root() -> Process:
    """The process with which this application began.

    That is the farthest ancestor that ran the same program and has forked us, however far down, or
    had multiprocessing start us: the one that a server has forked its workers from, say.
    """
    mine = _look(os.getpid())
    if mine is None:
        return Process(os.getpid(), 0)
    for _ in range(_FARTHEST):
        above = _look(mine.parent)
        if above is None or not _same_application(mine, above):
            break
        mine = above
    return mine.process


def _same_application(child: _Found, parent: _Found) -> bool:
    if any(mark in word for word in child.command for mark in _STARTED_BY_PYTHON):
        return True
    # what was forked and has not run another program since lies where its parent lies
    if child.layout == parent.layout and set(child.layout) != {"0"} and _scattered():
        return True
    # a reloader runs its own command once more; a worker may not be allowed to see where root's lie
    arguments = child.command[1:]
    program = parent.program or child.program
    return bool(arguments) and arguments == parent.command[1:] and child.program == program


def place(name: str | None, began: Process) -> str:
    """What tells the application on this machine from all others: a name of the user's, or its root."""
    return _digest(name if name else f"{began.pid} {began.started}")


def surroundings() -> str:
    """Where ids of processes mean the same: this boot, this container."""
    boot = _told(_PROC / "sys" / "kernel" / "random" / "boot_id") or b""
    try:
        space = os.stat(_PROC / "self" / "ns" / "pid").st_ino
    except OSError:
        space = 0
    return _digest(f"{boot!r} {space}")[:8]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _scattered() -> bool:
    """Whether Linux puts each program somewhere else, so that a place tells programs apart."""
    return (_told(_PROC / "sys" / "kernel" / "randomize_va_space") or b"0").strip() != b"0"


def _look(pid: int) -> _Found | None:
    folder = _PROC / str(pid)
    stat = _told(folder / "stat")
    if not stat:
        return None
    # the name before the bracket may hold anything; then come state, parent…
    fields = stat.rpartition(b")")[2].decode().split()
    command = _told(folder / "cmdline") or b""
    try:
        program = os.readlink(folder / "exe")
    except OSError:
        program = ""
    return _Found(
        Process(pid, int(fields[19])),
        int(fields[1]),
        fields[0],
        tuple(fields[index] for index in (23, 25, 42, 44)),
        tuple(command.rstrip(b"\0").split(b"\0")),
        program,
    )


def _told(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None
