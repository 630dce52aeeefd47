"""`doctor`: what this machine offers, and how the store is."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from piecrust.cli.command import Outcome, settings
from piecrust.cli.errors import reason_of
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.render import count, size, table
from piecrust.cli.working_state import STORE_DIRECTORY, select_implementations, store_directory
from piecrust.objects.errors import NotAStore, PiecrustError

if TYPE_CHECKING:
    from piecrust.cli.command import Settings

CHECKED = (OSError, PiecrustError)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `fine` is None where it is neither good nor bad."""

    name: str
    detail: str
    fine: bool | None = None


def doctor(context: typer.Context) -> Outcome:
    """Say what this machine offers (kernel, write tracker, stack, wasmtime, caches) and how the store is.

    Examples:
      piecrust doctor
      piecrust doctor --json
    """
    current = settings(context)
    style = current.style
    findings = [*_installation(), *_machine(current.environment), *_store(current)]
    marks = {True: style.added("ok"), False: style.error("bad"), None: ""}
    lines = table([[marks[finding.fine], finding.name, finding.detail] for finding in findings])
    bad = [finding.name for finding in findings if finding.fine is False]
    data = {"findings": [{"name": f.name, "detail": f.detail, "fine": f.fine} for f in findings], "bad": bad}
    return Outcome(data, lines, ExitCode.NEGATIVE if bad else ExitCode.OK)


def _installation() -> Iterator[Finding]:
    yield Finding("piecrust", version("piecrust-vm"))
    yield Finding("python", f"{platform.python_version()} ({platform.python_implementation()})")
    yield Finding("system", f"{platform.system()} {platform.release()} {platform.machine()}")
    yield _tried("wasmtime", _wasmtime)


def _wasmtime() -> str:
    from piecrust.vm import engine

    engine.engine()  # refuses a version whose structures are not known
    return version("wasmtime")


def _machine(environment: Mapping[str, str]) -> Iterator[Finding]:
    yield _kernel()
    yield _tried("choice", lambda: _selected(environment))
    yield _tried("write tracker", _tracker)
    yield _tried("engine calls", _engine_calls)
    yield _tried("native stack", _stack)
    yield _tried("compiled contracts", lambda: _cache(environment))


def _kernel() -> Finding:
    """Whether the kernel has what the fast write tracker needs; without it the compiled one serves."""
    from piecrust.vm import tracking

    try:
        tracking.check()
    except OSError as error:
        return Finding("kernel features", f"no userfaultfd that tracks writes: {reason_of(error)}")
    return Finding("kernel features", "userfaultfd, asynchronous write protection, PAGEMAP_SCAN", fine=True)


def _selected(environment: Mapping[str, str]) -> str:
    select_implementations(environment)
    asked = [f"{name}={environment[name]}" for name in ("PIECRUST_TRACKER", "PIECRUST_NATIVE") if environment.get(name)]
    return ", ".join(asked) or "left to the self-tests"


def _tracker() -> str:
    from piecrust.vm import tracking

    active, reason = tracking.active(), tracking.reason()
    return active if reason is None else f"{active} (userfaultfd: {reason})"


def _engine_calls() -> str:
    from piecrust.vm import native

    active, reason = native.active(), native.reason()
    return active if reason is None else f"{active} (unchecked: {reason})"


def _stack() -> str:
    from piecrust.vm import stack

    where = "of this thread" if stack.ensure_room() else "of a thread made for it"
    return f"{size(stack.STACK_BYTES)} {where}"


def _cache(environment: Mapping[str, str]) -> str:
    from piecrust.vm.code_files import default_directory

    directory = Path(environment.get("PIECRUST_CACHE") or default_directory())
    if not directory.is_dir():
        return f"{directory} (will be made)"
    files = [path for path in directory.iterdir() if path.is_file()]
    return f"{directory}, {count(len(files), 'file')}, {size(sum(path.stat().st_size for path in files))}"


def _store(current: Settings) -> Iterator[Finding]:
    try:
        directory = store_directory(current)
    except NotAStore:
        yield Finding("store", "none here")
        return
    yield _tried("store", lambda: _health(directory))
    if (directory / STORE_DIRECTORY).is_dir() and not os.access(directory / STORE_DIRECTORY, os.W_OK):
        yield Finding("store access", "reading only: this user may not write there")


def _health(directory: Path) -> str:
    from piecrust.objects.store import Store

    with Store.open(directory, read_only=True) as store:
        if store.damage:
            raise store.damage[0]
        return f"{directory / '.piecrust'}, {count(len(store.commits()), 'commit')}"


def _tried(name: str, check: Callable[[], str]) -> Finding:
    """A finding that is good if it can be had."""
    try:
        return Finding(name, check(), fine=True)
    except CHECKED as error:
        return Finding(name, str(error), fine=False)
    except ImportError as error:  # a wasmtime that does not load
        return Finding(name, str(error), fine=False)
