"""A progress bar for work that turns out to be long.

- Only on a terminal, only on stderr, and only after half a second, so that short work shows nothing.
- It is erased at the end: what remains on the screen is the result.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

DELAY_SECONDS = 0.5
REFRESH_SECONDS = 0.1
WIDTH = 30


class Progress:
    """One bar; `update` is cheap enough to be called per item."""

    def __init__(self, label: str, stream: TextIO) -> None:
        self._label = label
        self._stream = stream
        self._shown = False
        self._next = time.monotonic() + DELAY_SECONDS
        self._enabled = stream.isatty()

    @property
    def enabled(self) -> bool:
        """Whether anybody sees it."""
        return self._enabled

    def update(self, done: int, total: int | None = None) -> None:
        """Say that `done` of `total` items are done (None: nobody knows how many there are)."""
        if self._enabled and time.monotonic() >= self._next:
            self._show(bar(self._label, done, total))

    def tick(self, seconds: float) -> None:
        """Say how long it has taken."""
        if self._enabled and time.monotonic() >= self._next:
            self._show(f"{self._label} {seconds:.0f} s")

    def _show(self, text: str) -> None:
        self._next = time.monotonic() + REFRESH_SECONDS
        self._shown = True
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()

    def tell(self, what: str, done: int, total: int) -> None:
        """Say what is being done, and how far it is: the library's way."""
        self._label = what
        self.update(done, total)

    def close(self) -> None:
        """Take the bar from the screen."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False


def bar(label: str, done: int, total: int | None) -> str:
    """The text of a bar.

    >>> bar("fsck", 5, 10)
    'fsck [###############...............] 5/10'
    >>> bar("fsck", 5, None)
    'fsck 5'
    """
    if not total:
        return f"{label} {done:,}"
    filled = min(WIDTH, WIDTH * done // total)
    return f"{label} [{'#' * filled}{'.' * (WIDTH - filled)}] {done:,}/{total:,}"


@contextmanager
def progress(label: str) -> Iterator[Progress]:
    """A bar on stderr for the time of a block."""
    shown = Progress(label, sys.stderr)
    try:
        yield shown
    finally:
        shown.close()


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """The seconds that have passed, on stderr, for the time of a block that cannot say how far it is.

    A thread of its own counts them: a contract that runs or is compiled gives Python no turn.
    """
    with progress(label) as shown:
        if not shown.enabled:
            yield
            return
        start, over = time.monotonic(), threading.Event()

        def count() -> None:
            while not over.wait(REFRESH_SECONDS):
                shown.tick(time.monotonic() - start)

        counter = threading.Thread(target=count, name="progress", daemon=True)
        counter.start()
        try:
            yield
        finally:
            over.set()
            counter.join()
