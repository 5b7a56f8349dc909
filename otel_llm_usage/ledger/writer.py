"""Records on their way into the ledger: threads take them in batches, and nobody waits for it.

While the database is away, or does not answer, they go into a journal on the disk, and from there into the
database as soon as it is back. What is sent twice is kept once, by the ids of the records.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from .. import guard
from ..records import Record
from .journal import Journal, Kept
from .rows import COLUMNS, beyond, clean, cleaned, plain, row_of

logger = logging.getLogger("otel_llm_usage")

INTERVAL = 0.5
"""Seconds until records are written: what a killed process may lose, with the moment that counting takes."""

MOST = 100_000
"""Records that may wait in memory; of more the oldest is dropped, counted and said."""

_BATCH = 2_000
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 30.0
"""Seconds until a database that is away is asked again."""

AGAIN = 3600.0
"""Seconds after which it is said once more that the database is still away."""

LOOK = 30.0
"""Seconds between two looks at what others have left in the journal."""

PATIENCE = 5.0
"""Seconds that somebody who wants records written, or ends, waits for a database that does not answer."""

Keep = Callable[[Sequence[Kept]], None]
"""Keeps rows, all or none of them."""


class Writer:
    """Takes records, and sees them written. A sink."""

    def __init__(
        self,
        keep: Keep,
        journal: Journal,
        service: str,
        *,
        unfit: tuple[type[Exception], ...],
        sync: bool = False,
    ) -> None:
        """`unfit`: the errors of `keep` that say that it will never take these rows; after others it is
        asked again. `sync`: whoever hands over a record waits until it is on the disk, in the journal."""
        self._keep = keep
        self._journal = journal
        self._unfit = unfit
        self._service = service
        self._sync = sync
        self._hands_over = False
        self._begin()

    def _begin(self) -> None:
        self._left: deque[Record] = deque()
        # a signal may end the process in the middle of either
        self._lock = threading.RLock()
        """Held while records go into the journal."""
        self._at_database = threading.Lock()
        """Held while somebody speaks with the database."""
        self._moved = 0.0
        """When the database has been asked, or has taken a batch."""
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._asked_again = 0.0
        """From when on the database is asked; what is in the journal goes first."""
        self._pause = _FIRST_PAUSE
        self._said_again = 0.0
        """From when on it is said that the database is away."""
        self._journaled = True
        """Whether there may be something in the journal: of processes that are gone, at first."""
        self._looked_again = time.monotonic() + LOOK
        """From when on somebody looks what there is of others."""

    def __call__(self, record: Record) -> None:
        """Take a record."""
        if not (self._sync and self._into_journal(self._rows([record]))):
            self._left.append(record)
        if self._ended:
            self.flush()
            self._journal.close()
            return
        if self._thread is None:
            self._start()
        if len(self._left) > MOST:
            self._drop()

    def _start(self) -> None:
        thread = threading.Thread(
            target=self._work, args=(self._wake,), name="otel-llm-usage-ledger", daemon=True
        )
        if guard.theirs(thread.start) is None:  # else the next record asks again
            self._thread = thread

    def _work(self, wake: threading.Event) -> None:
        while wake is self._wake and not self._ended:
            wake.wait(INTERVAL)
            guard.alone("ledger", self._see_kept, INTERVAL / 2)

    def flush(self) -> None:
        """See what is there until now written: into the database, or else into the journal."""
        self._see_kept(PATIENCE)

    def _see_kept(self, patience: float) -> None:
        """`patience`: how many seconds the database may take for a batch."""
        now = time.monotonic()
        if now >= self._looked_again:
            self._looked_again = now + LOOK
            self._journaled = self._journaled or self._journal.has_more()
        if (self._left or self._journaled) and now >= self._asked_again:
            self._ask_database(patience)
        if not self._lock.acquire(timeout=PATIENCE):
            return  # whoever writes the journal goes on with what is there
        try:
            while records := self._first():
                if not self._into_journal(self._rows(records)):
                    return
                self._written(records)
        finally:
            self._lock.release()

    def _ask_database(self, patience: float) -> None:
        """In a thread of its own: whoever waits must be able to leave one that hangs."""
        if not self._at_database.acquire(timeout=patience):
            self._look_at_watch()
            return
        lock, done = self._at_database, threading.Event()
        self._moved = time.monotonic()

        def ask() -> None:
            try:
                guard.alone("ledger", self._into_database)
            finally:
                lock.release()
                done.set()

        thread = threading.Thread(target=ask, name="otel-llm-usage-ledger-database", daemon=True)
        if guard.theirs(thread.start) is not None:
            ask()  # the interpreter ends, and gives no more threads
        while not done.wait(patience) and time.monotonic() - self._moved < patience:
            pass
        if not done.is_set():
            self._look_at_watch()

    def _look_at_watch(self) -> None:
        if time.monotonic() - self._moved >= PATIENCE:
            self._away(TimeoutError("it does not answer"))

    def close(self) -> None:
        """Write what is there, and end; what comes later is written at once."""
        self._ended = True
        self._wake.set()
        self._asked_again = 0.0
        self.flush()
        self._journal.close()

    @property
    def asking(self) -> bool:
        """Whether somebody speaks with the database."""
        return self._at_database.locked()

    def hold(self) -> Callable[[], None]:
        """Have nobody speak with the database while the process forks: what its driver has locked would be
        locked in the child for ever. The result ends that. But a fork waits a second at most."""
        lock = self._at_database
        return lock.release if lock.acquire(timeout=1.0) else lambda: None

    def forget(self, *, hands_over: bool = False) -> None:
        """Leave all to the parent: we are its forked child. `hands_over`: what is in the journal is for
        others to take at any time, since we can't write it ourselves."""
        self._journal.close()
        self._begin()
        self._hands_over = hands_over

    # ------------------------------------------------------------ where to

    def _into_database(self) -> None:
        if not self._replayed():
            return
        while records := self._first():
            error = guard.theirs(partial(self._store, self._rows(records)))
            if error is not None:
                self._away(error)
                return
            self._written(records)
        # where the database is slow, some have gone there meanwhile
        if self._replayed():
            self._pause = _FIRST_PAUSE
            self._said_again = 0.0

    def _replayed(self) -> bool:
        """Write what is in the journal. False if the database is away."""
        if not self._journaled:
            return True
        self._journaled = False  # what comes meanwhile sets it again
        # at first whether the database is there at all
        error = guard.theirs(partial(self._keep, ())) or guard.theirs(
            lambda: self._journal.replay(self._store)
        )
        if error is not None:
            self._journaled = True
            self._away(error)
        return error is None

    def _store(self, rows: Sequence[Kept]) -> None:
        """Have rows kept; those that the database cannot take for what they are, elsewhere."""
        error = guard.theirs(partial(self._keep, rows))
        if error is None:
            self._moved = time.monotonic()
            return
        if not isinstance(error, self._unfit):
            raise error
        if len(rows) > 1:
            middle = len(rows) // 2
            self._store(rows[:middle])
            self._store(rows[middle:])
            return
        row, scopes = rows[0]
        fit = cleaned(row), tuple(map(clean, scopes))
        if fit != rows[0]:
            if any(map(beyond, row)):
                self._clamped()
            self._store([fit])
            return
        self._reject({**dict(zip(COLUMNS, fit[0], strict=True)), "scopes": fit[1]}, error)

    def _clamped(self) -> None:
        if not guard.errors["ledger.clamped"]:
            logger.error(
                "otel-llm-usage keeps a number beyond 64 bits as the largest that a database takes. "
                "Further ones are only counted (llm_instrumentation_errors_total)."
            )
        guard.count("ledger.clamped")

    def _reject(self, told: Mapping[str, Any], error: Exception) -> None:
        if not guard.errors["ledger.rejected"]:
            # without what the error says: the values are somebody's
            logger.error(
                "otel-llm-usage keeps a record that no database takes (%s) in %s. Further ones are only "
                "counted (llm_instrumentation_errors_total).",
                type(error).__name__,
                self._journal.rejected,
            )
        guard.count("ledger.rejected")
        self._journal.reject(told)

    def _away(self, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._said_again:
            self._said_again = now + AGAIN
            logger.warning(
                "The ledger cannot be written (%s); records are kept in the journal until it can.",
                str(error).partition("\n")[0],
            )
            guard.count("ledger.away")
        self._asked_again = now + self._pause
        self._pause = min(self._pause * 2, _LAST_PAUSE)

    def _into_journal(self, rows: Sequence[Kept]) -> bool:
        error = guard.theirs(lambda: self._journal.write(rows))
        if error is not None:
            guard.failed("ledger.journal", error)
            return False
        self._journaled = True
        if self._hands_over:
            self._journal.close()
        return True

    # ------------------------------------------------------------ what waits

    def _first(self) -> list[Record]:
        left = self._left
        records: list[Record] = []
        with suppress(IndexError):  # some may be dropped meanwhile
            records.extend(left[place] for place in range(min(len(left), _BATCH)))
        return records

    def _rows(self, records: Sequence[Record]) -> list[Kept]:
        rows: list[Kept] = []

        def add(record: Record) -> None:
            rows.append((plain(row_of(record, self._service)), record.scopes))

        for record in records:
            error = guard.theirs(partial(add, record))
            if error is not None:
                told = dict(zip(Record._fields, map(str, record), strict=True))
                guard.call("ledger.journal", self._reject, told, error)
        return rows

    def _written(self, records: Sequence[Record]) -> None:
        left = self._left
        for record in records:
            with suppress(IndexError):
                first = left.popleft()
                if first is not record:  # it was dropped, or somebody else has written it
                    left.appendleft(first)

    def _drop(self) -> None:
        self._left.popleft()
        if not guard.errors["ledger.dropped"]:
            logger.error(
                "otel-llm-usage drops the oldest of %d records: neither the ledger nor its journal can "
                "be written. Further ones are only counted (llm_instrumentation_errors_total).",
                MOST,
            )
        guard.count("ledger.dropped")
