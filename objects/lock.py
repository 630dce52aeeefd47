"""The store's lock: held while a frame is appended or files are swapped, never for a process's life."""

from __future__ import annotations

import random
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
    """`with lock:` holds it, against every other handle of every process.

    A blocking flock can't be given a time limit, so it is asked for at growing intervals. It is gone with its process.
    """

    def __init__(self, file: File, path: Path, seconds: float = LOCK_SECONDS) -> None:
        self._file, self._path, self.seconds = file, path, seconds

    def __enter__(self) -> None:
        """Wait for it; `StoreLocked` when the time is over."""
        if self._file.try_lock():
            return
        deadline = time.monotonic() + self.seconds
        pause = _PAUSE_SECONDS_MIN
        while not self._file.try_lock():
            if time.monotonic() >= deadline:
                raise StoreLocked(self._path, self.seconds)
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311  (so that waiting processes don't keep step)
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.unlock()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()
