"""Time limits: a clock that ticks while calls with a limit run, and interrupts those whose time is up.

Only code compiled by the interruptible engine looks at the clock, so calls without a limit cost nothing more.
"""

from __future__ import annotations

import math
import os
import threading
import time
from types import TracebackType
from typing import Self

from piecrust.vm.engine import engine

TICK_SECONDS = 0.02


class Deadline:
    """A moment after which instances made with it are interrupted; a context manager, inside which its clock runs.

    `seconds` is how long from entering the block.
    """

    __slots__ = ("_end", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = 0.0

    def __enter__(self) -> Self:
        self._end = time.monotonic() + self.seconds
        _clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _clock.stop()

    def epochs(self) -> int:
        """Ticks from now until the deadline has passed."""
        return max(0, math.ceil((self._end - time.monotonic()) / TICK_SECONDS)) + 1

    @property
    def passed(self) -> bool:
        """Whether its time is up."""
        return time.monotonic() >= self._end


class _Clock:
    """Advances the interruptible engine's epoch as long as somebody needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._lock:
            self._users += 1
            self._wanted.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._tick, name="piecrust-clock", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._wanted.clear()

    def _tick(self) -> None:
        ticking = engine(interruptible=True)
        while True:
            self._wanted.wait()
            time.sleep(TICK_SECONDS)
            ticking.increment_epoch()


_clock = _Clock()


def _after_fork() -> None:
    """The child has no clock thread, and another engine."""
    global _clock
    _clock = _Clock()


os.register_at_fork(after_in_child=_after_fork)
