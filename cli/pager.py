"""Long output goes through the user's pager, where a person reads."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping


def page(lines: Iterable[str], *, enabled: bool, environment: Mapping[str, str]) -> None:
    """Print `lines`, through a pager if stdout is a terminal that they do not fit on.

    The pager is `PIECRUST_PAGER`, else `PAGER`, else `less`; an empty value or `cat` means none.
    """
    text = "\n".join(lines)
    command = environment.get("PIECRUST_PAGER", environment.get("PAGER", "less"))
    rows = shutil.get_terminal_size().lines
    if not text:
        return
    if not enabled or not sys.stdout.isatty() or command in ("", "cat") or text.count("\n") + 2 <= rows:
        print(text)
        return
    # F: quit if it fits, R: keep colours, X: leave the text on the screen.
    environment = {"LESS": "FRX", **environment}
    try:
        words = shlex.split(command)
        process = subprocess.Popen(words, stdin=subprocess.PIPE, text=True, env=environment)  # noqa: S603
    except (OSError, ValueError):
        print(text)
        return
    # Ctrl-C is for the pager while it runs.
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.communicate(text + "\n")
    finally:
        signal.signal(signal.SIGINT, former)
