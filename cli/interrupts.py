"""Ctrl-C ends the process at once.

Python's own handler would only run when WebAssembly returns, which an endless contract never does. Nothing of a store
is ever half-written, so the default action (the kernel ends the process, the shell sees 130) is safe at any moment.
"""

from __future__ import annotations

import signal


def die_on_interrupt() -> None:
    """Give SIGINT its default action back, unless the parent wants it ignored (`nohup`, a shell's background job)."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
