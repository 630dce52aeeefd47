"""Which way into wasmtime this process uses, chosen by trying.

`unchecked` is the C API with plain integers, `public` wasmtime's Python classes: the same answers, ten times slower.
Linkers, which hold the host functions, are shared by all contracts of the process.
"""

from __future__ import annotations

import threading
from typing import Final, Literal

from piecrust.vm import host, public, unchecked
from piecrust.vm.engine import engine

PathName = Literal["unchecked", "public"]
NAMES: Final[tuple[PathName, ...]] = ("unchecked", "public")

Linker = unchecked.Linker | public.Linker
Prepared = unchecked.Prepared | public.Prepared


_chosen: PathName | None = None
_reason: str | None = None
_lock = threading.Lock()
_linkers: dict[tuple[PathName, int, bool, int], Linker] = {}


def select(name: PathName | None) -> None:
    """Uses a path from here on; None: the best one that works. Code that is prepared keeps its own.

    Raises:
        ValueError: there is no path of that name.
    """
    global _chosen, _reason
    if name is not None and name not in NAMES:
        raise ValueError(f"no native path {name!r}")
    _chosen, _reason = name, None


def active() -> PathName:
    """The path in use."""
    global _chosen
    if _chosen is None:
        _chosen = "unchecked"
    return _chosen


def linker(*, kind: int, interruptible: bool) -> Linker:
    """The host functions for contracts with memories of that kind (32 or 64)."""
    version, functions = host.installed()
    path = active()
    key = path, kind, interruptible, version
    found = _linkers.get(key)
    if found is None:
        with _lock:
            found = _linkers.get(key)
            if found is None:
                make = unchecked.Linker if path == "unchecked" else public.Linker
                found = _linkers[key] = make(engine(interruptible=interruptible), functions, "I" if kind == 64 else "i")
    return found
