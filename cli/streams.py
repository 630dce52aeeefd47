"""The three streams of the process, made fit for use whatever the caller left of them.

- A descriptor that the caller closed is opened on nothing: else the next file that is opened, one of the store, would
  be standard output.
- What the terminal cannot show is no reason to fail.
- A message that nobody can be told is dropped; a result that cannot be written is an error.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

STANDARD_DESCRIPTORS = (0, 1, 2)


def open_descriptors() -> None:
    """Open standard input, output and error on nothing where the caller closed them."""
    for descriptor in STANDARD_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gives the lowest number that is free: this one
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def forgive_encoding() -> None:
    """Show a question mark for what the terminal's encoding does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def can_show(text: str) -> bool:
    """Whether stdout's encoding has these characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def tell(line: str) -> None:
    """Print a line on stderr."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def silence_stdout() -> None:
    """Send what is left in stdout's buffer nowhere, so that the interpreter exits quietly."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
