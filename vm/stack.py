"""Native stack for nested calls.

Each contract that runs may fill 512 KiB of native stack, and 48 may run inside one another, with the host's frames
between them: 25 MiB, where a thread has 8 MiB by default, and running out of it ends the process. So a call runs where
64 MiB are: here if there is room, else in a thread that is made for it.

- Linux: the main thread's stack grows up to a limit that can be raised while it runs. Other threads keep the size that
  they were made with.
- Elsewhere the size of no stack can be changed.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import threading
from collections.abc import Callable
from ctypes import c_size_t, c_void_p
from queue import SimpleQueue
from typing import Any, Final, TypeVar, cast

from piecrust.vm.errors import NativeStackTooSmall

STACK_BYTES: Final = 64 << 20
"""What a thread that runs contracts must have. Calls take up to 25 MiB; the rest is the caller's."""

_IDLE_MAX = 4  # large threads that wait for the next call
_MARGIN_BYTES = 1 << 20  # thread libraries take guard pages and their own data from a stack

RECURSION_LIMIT: Final = 10_000
"""Python frames: each nested call needs about ten, on top of the caller's."""

Result = TypeVar("Result")

_known = threading.local()
_posix = ctypes.CDLL(None)


def ensure_room() -> bool:
    """Whether this thread has room for nested calls; on the main thread it makes room if it can.

    Costs 0.1 us after the first time in each thread. A thread whose stack suffices must not begin a call from deep
    inside a recursion of native frames.
    """
    room: bool | None = getattr(_known, "room", None)
    if room is None:
        room = _known.room = _measure() >= STACK_BYTES
        if sys.getrecursionlimit() < RECURSION_LIMIT:
            sys.setrecursionlimit(RECURSION_LIMIT)
    return room


def run(function: Callable[[], Result]) -> Result:
    """Calls a function where there is room, and returns what it returns or raises what it raises.

    Raises:
        NativeStackTooSmall: this thread has no room, and none that has can be made.
    """
    return function() if ensure_room() else _in_large_thread(function)


def _in_large_thread(function: Callable[[], Result]) -> Result:
    """Calls a function in a thread with room (some 50 us, the first time 150)."""
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    try:
        return worker.run(function)
    finally:
        if len(_idle) < _IDLE_MAX:
            _idle.append(worker)
        else:
            worker.end()


class _Worker:
    """A thread with a large stack, which calls what it is given, one after the other."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._outcomes: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        with _sizes:
            previous = threading.stack_size(STACK_BYTES + _MARGIN_BYTES)
            try:
                threading.Thread(target=self._work, name="piecrust-call", daemon=True).start()
            except RuntimeError as error:
                raise NativeStackTooSmall(_measure(), STACK_BYTES) from error
            finally:
                threading.stack_size(previous)

    def run(self, function: Callable[[], Result]) -> Result:
        """Waits for the function, even when interrupted, because it uses its caller's session: then raises that."""
        self._tasks.put(function)
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                result, failure = self._outcomes.get()
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
        if failure is not None:
            raise failure
        return cast(Result, result)

    def end(self) -> None:
        """Lets the thread end."""
        self._tasks.put(None)

    def _work(self) -> None:
        while (function := self._tasks.get()) is not None:
            try:
                outcome: tuple[object, BaseException | None] = _checked(function), None
            except BaseException as error:
                outcome = None, error
            del function
            self._outcomes.put(outcome)
            del outcome


def _checked(function: Callable[[], Result]) -> Result:
    if not ensure_room():
        raise NativeStackTooSmall(_measure(), STACK_BYTES)
    return function()


_sizes = threading.Lock()
_idle: list[_Worker] = []


def _after_fork() -> None:
    """The child has none of its parent's threads."""
    global _sizes
    _sizes = threading.Lock()
    _idle.clear()


os.register_at_fork(after_in_child=_after_fork)


def _measure() -> int:
    """Bytes that this thread's stack has or can grow to; on the main thread it is enlarged if it can be."""
    size = _stack_size()
    if size < STACK_BYTES and threading.current_thread() is threading.main_thread():
        _raise_limit()
        size = _stack_size()
    return size


def _raise_limit() -> None:
    """Lets the main thread's stack grow further, where the system looks at the limit while it grows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted, unlimited = STACK_BYTES + _MARGIN_BYTES, resource.RLIM_INFINITY
    if soft != unlimited and soft < wanted and (hard == unlimited or hard >= wanted):
        resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))


def _stack_size() -> int:
    """Bytes of this thread's stack as the thread library has it; 0 where it does not say."""
    _posix.pthread_self.restype = c_void_p
    this = c_void_p(_posix.pthread_self())
    if sys.platform == "darwin":
        _posix.pthread_get_stacksize_np.restype = c_size_t
        return int(_posix.pthread_get_stacksize_np(this))
    if sys.platform != "linux":
        return 0
    attributes = ctypes.create_string_buffer(128)  # pthread_attr_t: 56 bytes (x86-64), 64 (ARM)
    address, size = c_void_p(), c_size_t()
    if _posix.pthread_getattr_np(this, attributes):
        return 0
    _posix.pthread_attr_getstack(attributes, ctypes.byref(address), ctypes.byref(size))
    _posix.pthread_attr_destroy(attributes)
    return size.value
