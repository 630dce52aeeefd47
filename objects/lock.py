"""The store's lock: held while a frame is appended or files are swapped, never for a process's life."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from piecrust.objects.disk import File
from piecrust.objects.errors import StoreLocked

LOCK_SECONDS: Final = 30.0
_PAUSE_SECONDS_MIN: Final = 0.0001
_PAUSE_SECONDS_MAX: Final = 0.005


class StoreLock:
    """`with lock:` holds it, against every other thread, and every other handle of every process.

    A blocking flock can't be given a time limit, so it is asked for at growing intervals. It is gone with its process.
    """

    def __init__(self, file: File, path: Path, seconds: float = LOCK_SECONDS) -> None:
        self._file, self._path, self.seconds = file, path, seconds
        self._threads = threading.RLock()  # an flock is the file's: it does not tell threads that share one apart

    def __enter__(self) -> None:
        """Wait for it; `StoreLocked` when the time is over."""
        deadline = time.monotonic() + self.seconds
        if not self._threads.acquire(timeout=self.seconds):
            raise StoreLocked(self._path, self.seconds)
        try:
            self._wait(deadline)
        except BaseException:
            self._threads.release()
            raise

    def try_enter(self) -> bool:
        """Take it if nobody holds it; `leave` gives it back."""
        if not self._threads.acquire(blocking=False):
            return False
        if self._file.try_lock():
            return True
        self._threads.release()
        return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Give it back."""
        self._file.unlock()
        self._threads.release()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _wait(self, deadline: float) -> None:
        pause = _PAUSE_SECONDS_MIN
        while not self._file.try_lock():
            if time.monotonic() >= deadline:
                raise StoreLocked(self._path, self.seconds)
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311  (so that waiting processes don't keep step)
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)
