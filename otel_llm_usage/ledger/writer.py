"""Records on their way into the ledger: a thread takes them in batches, and nobody waits for it.

While the database is away they go into a journal on the disk, and from there into the database as soon as
it is back. What is sent twice is kept once, by the ids of the records.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from .. import guard
from ..records import Record
from .journal import Journal, Kept
from .rows import clean, cleaned, row_of

logger = logging.getLogger("otel_llm_usage")

INTERVAL = 0.5
"""Seconds until records are written: what a killed process may lose, with the moment that counting takes."""

MOST = 100_000
"""Records that may wait in memory; of more the oldest is dropped, counted and said."""

_BATCH = 5_000
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 30.0
"""Seconds until a database that is away is asked again."""

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
        self._begin()

    def _begin(self) -> None:
        self._left: deque[Record] = deque()
        self._lock = threading.Lock()
        """Held while rows are written."""
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._asked_again = 0.0
        """From when on the database is asked; what is in the journal goes first."""
        self._pause = _FIRST_PAUSE
        self._journaled = True
        """Whether there may be something in the journal: of processes that are gone, at first."""

    def __call__(self, record: Record) -> None:
        """Take a record."""
        if self._thread is None and not self._ended:
            self._start()
        if self._sync and self._into_journal(self._rows([record])):
            return
        left = self._left
        left.append(record)
        if self._ended:
            self.flush()
        elif len(left) > MOST:
            self._drop()

    def _start(self) -> None:
        self._thread = threading.Thread(
            target=self._work, args=(self._wake,), name="otel-llm-usage-ledger", daemon=True
        )
        self._thread.start()

    def _work(self, wake: threading.Event) -> None:
        while wake is self._wake and not self._ended:
            wake.wait(INTERVAL)
            guard.alone("ledger", self.flush)

    def flush(self) -> None:
        """Write what is there until now: into the database, or else into the journal."""
        with self._lock:
            if time.monotonic() >= self._asked_again:
                self._into_database()
            while records := self._first():
                if not self._into_journal(self._rows(records)):
                    return
                self._written(records)

    def close(self) -> None:
        """Write what is there, and end; what comes later is written at once."""
        self._ended = True
        self._wake.set()
        self._asked_again = 0.0
        self.flush()
        self._journal.close()

    def forget(self) -> None:
        """Leave all to the parent: we are its forked child."""
        self._journal.close()
        self._begin()

    # ------------------------------------------------------------ where to

    def _into_database(self) -> None:
        if self._journaled:
            # at first whether the database is there at all
            error = guard.theirs(partial(self._keep, ())) or guard.theirs(
                lambda: self._journal.replay(self._store)
            )
            if error is not None:
                self._away(error)
                return
            self._journaled = False
        while records := self._first():
            error = guard.theirs(partial(self._store, self._rows(records)))
            if error is not None:
                self._away(error)
                return
            self._written(records)
        self._pause = _FIRST_PAUSE

    def _store(self, rows: Sequence[Kept]) -> None:
        """Have rows kept; those that the database cannot take for what they are, elsewhere."""
        error = guard.theirs(partial(self._keep, rows))
        if error is None:
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
            self._store([fit])
            return
        guard.failed("ledger.rejected", error)
        self._journal.reject(fit)

    def _away(self, error: Exception) -> None:
        if self._pause == _FIRST_PAUSE:
            logger.warning(
                "The ledger cannot be written (%s); records are kept in the journal until it can.",
                str(error).partition("\n")[0],
            )
            guard.count("ledger.away")
        self._asked_again = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, _LAST_PAUSE)

    def _into_journal(self, rows: Sequence[Kept]) -> bool:
        error = guard.theirs(lambda: self._journal.write(rows))
        if error is not None:
            guard.failed("ledger.journal", error)
            return False
        self._journaled = True
        return True

    # ------------------------------------------------------------ what waits

    def _first(self) -> list[Record]:
        left = self._left
        records: list[Record] = []
        with suppress(IndexError):  # some may be dropped meanwhile
            records.extend(left[place] for place in range(min(len(left), _BATCH)))
        return records

    def _rows(self, records: Sequence[Record]) -> list[Kept]:
        return [(row_of(record, self._service), record.scopes) for record in records]

    def _written(self, records: Sequence[Record]) -> None:
        left = self._left
        for record in records:
            with suppress(IndexError):
                if left[0] is record:  # unless it was dropped
                    left.popleft()

    def _drop(self) -> None:
        self._left.popleft()
        if not guard.errors["ledger.dropped"]:
            logger.error(
                "otel-llm-usage drops the oldest of %d records: neither the ledger nor its journal can "
                "be written. Further ones are only counted (llm_instrumentation_errors_total).",
                MOST,
            )
        guard.count("ledger.dropped")
