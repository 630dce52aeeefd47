"""Upkeep: what is done to a store beside committing, by one process at a time, in small steps.

A thread does it while others commit: it ends when there is nothing left to do. It works a fraction of a millisecond at
a time, so that a commit never waits for more than one step of it. What a process that is killed leaves behind is taken
up by the next one; nothing depends on it being finished.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Final, TypeVar

from piecrust.objects.compaction import FRESH_OBJECTS_MAX, compact
from piecrust.objects.disk import Mode
from piecrust.objects.errors import PiecrustError
from piecrust.objects.graph import CommitGraph
from piecrust.objects.lock import StoreLock
from piecrust.objects.log_writer import LogWriter
from piecrust.objects.sealing import seal
from piecrust.objects.table import TableDamaged
from piecrust.objects.table_writer import exhaust

_WORK_SECONDS: Final = 0.0001  # at a time; then others have a turn
_PAUSE_SECONDS: Final = 0.0004
_REST_SECONDS: Final = 0.5  # after another process was found at work, or after a failure

T = TypeVar("T")


class Upkeep:
    """The upkeep of one handle."""

    def __init__(self, log: LogWriter, lock: StoreLock, graph: CommitGraph, *, background: bool) -> None:
        """With `background` a thread is started when there is something to do; without, only `run` does it."""
        self.failure: Exception | None = None  # why the thread gave up the last time
        self._log, self._lock, self._graph = log, lock, graph
        self._background = background
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._rest_until = 0.0
        self._file = log.disk.open(log.layout.upkeep, Mode.ENSURE)
        self.alone = StoreLock(self._file, log.layout.upkeep, lock.seconds)

    def notice(self) -> None:
        """See whether there is something to do, and have it done."""
        if not self._background or not self.due():
            return
        idle = self._thread is None or not self._thread.is_alive()
        if idle and time.monotonic() >= self._rest_until:
            self._thread = threading.Thread(target=self._work, name="piecrust upkeep", daemon=True)
            self._thread.start()

    def due(self) -> bool:
        """Whether there is something to do."""
        return self._log.catalog.fresh_count() > FRESH_OBJECTS_MAX or bool(self._log.ledger.segments)

    def run(self, work: Callable[[], Generator[None, None, T]]) -> T:
        """Do some work at once, alone; `StoreLocked` if another process goes on with its own upkeep."""
        with self.alone:
            return exhaust(work())

    def close(self) -> None:
        """Stop the thread; leave little to scan for whoever opens the store next."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if self._background and self._log.catalog.fresh_count() > FRESH_OBJECTS_MAX:
            self._attempt(lambda: self.run(self._compact))
        self._file.close()

    def _work(self) -> None:
        self._attempt(self._slowly)

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except TableDamaged:
            self._log.rescan()
        except (PiecrustError, OSError) as error:
            self.failure = error
            self._rest_until = time.monotonic() + _REST_SECONDS

    def _slowly(self) -> None:
        if not self.alone.try_enter():
            self._rest_until = time.monotonic() + _REST_SECONDS
            return
        try:
            begun = time.perf_counter()
            for _ in self._steps():
                if time.perf_counter() - begun > _WORK_SECONDS:
                    if self._stop.wait(_PAUSE_SECONDS):
                        return
                    begun = time.perf_counter()
        finally:
            self.alone.leave()

    def _steps(self) -> Generator[None, None, None]:
        yield from self._compact()
        yield from seal(self._log, self._lock, self._graph)

    def _compact(self) -> Generator[None, None, None]:
        self._log.adopt_snapshot()
        if self.due():
            yield from compact(self._log, self._graph)
