"""Native stack: deep calls must not end the process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
import threading

import pytest
from piecrust.vm import stack
from piecrust.vm.errors import NativeStackTooSmall

DEEP = """
    import sys, threading
    from piecrust.vm import stack
    from piecrust.vm.engine import to_wasm
    from piecrust.vm.errors import ContractTrap
    from piecrust.vm.instance import Instance
    from piecrust.vm.memory import Memory
    from piecrust.vm.modules import Modules
    from support.scratch import host_functions

    # Fills nearly all of its 512 KiB, then calls the host.
    WAT = '''(module (import "env" "hd" (func $next (param i32 i32) (result i32)))
      (memory (export "memory") 1) (global (export "A") i32 (i32.const 0))
      (func $deep (export "deep") (param i32) (result i32) (local i64)
        (local.set 1 (i64.extend_i32_u (local.get 0)))
        (if (result i32) (i32.eqz (local.get 0))
          (then (call $next (i32.const 0) (i32.const 0)))
          (else (i32.add (call $deep (i32.sub (local.get 0) (i32.const 1))) (i32.wrap_i64 (local.get 1)))))))'''
    LEVELS = 48
    code = Modules().compile(to_wasm(WAT))
    depth = 0

    def run(frames):
        memory = Memory(32, code.initial_length)
        instance = Instance(code, memory)
        instance.set_gas(1 << 40)
        try:
            return instance.call("deep", frames)
        finally:
            instance.close()
            memory.close()

    def most():
        "How many frames just fit."
        low, high = 1000, 100_000
        while high - low > 50:
            middle = (low + high) // 2
            try:
                with host_functions():
                    run(middle)
                low = middle
            except ContractTrap:
                high = middle
        return low

    def nest(*_):
        global depth
        depth += 1
        if depth < LEVELS:
            run(frames)
        return 0

    def work():
        with host_functions(hd=nest):
            run(frames)
        return threading.current_thread() is threading.main_thread()

    frames = most() - 300  # the host's own frames count, too
    on_main = []
    if sys.argv[1] == "main":
        on_main.append(stack.run(work))
    else:
        thread = threading.Thread(target=lambda: on_main.append(stack.run(work)))
        thread.start()
        thread.join()
    print(depth, on_main)
"""


def run(program: str, *arguments: str, hard_limit: int | None = None) -> str:
    def limit() -> None:
        if hard_limit is not None:
            resource.setrlimit(resource.RLIMIT_STACK, (hard_limit, hard_limit))

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, preexec_fn=limit)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_48_full_stores_fit_on_the_main_thread() -> None:
    assert run(DEEP, "main") == "48 [True]\n"


def test_48_full_stores_fit_in_a_thread_of_default_size() -> None:
    assert run(DEEP, "thread") == "48 [False]\n"


def test_48_full_stores_fit_where_the_main_threads_stack_cannot_grow() -> None:
    assert run(DEEP, "main", hard_limit=8 << 20) == "48 [False]\n"


def test_a_small_thread_hands_over_and_gets_the_result_back() -> None:
    seen: list[object] = []

    def work() -> None:
        seen.append(stack.ensure_room())
        seen.append(stack.run(lambda: threading.current_thread().name))
        try:
            stack.run(lambda: [][0])
        except IndexError as error:
            seen.append(type(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, "piecrust-call", IndexError]


def test_a_large_thread_runs_calls_itself() -> None:
    seen: list[object] = []
    previous = threading.stack_size(stack.STACK_BYTES + (1 << 20))
    try:
        thread = threading.Thread(target=lambda: seen.append(stack.run(threading.get_ident)), name="large")
        thread.start()
    finally:
        threading.stack_size(previous)
    thread.join()
    assert seen == [thread.ident]


def test_the_size_of_later_threads_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "_idle", [])
    before = threading.stack_size(2 << 20)
    try:
        thread = threading.Thread(target=lambda: stack.run(lambda: None))
        thread.start()
        thread.join()
        assert threading.stack_size() == 2 << 20
    finally:
        threading.stack_size(before)


def test_a_large_thread_serves_call_after_call() -> None:
    identities: list[int] = []

    def work() -> None:
        identities.extend(stack.run(threading.get_ident) for _ in range(5))

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(set(identities)) == 1


def test_many_small_threads_are_served_at_once() -> None:
    count = 8
    together = threading.Barrier(count)
    served: list[int] = []

    def work() -> None:
        stack.run(together.wait)
        served.append(stack.run(lambda: 1))

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert served == [1] * count
    assert len(stack._idle) <= stack._IDLE_MAX


def test_no_room_anywhere_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "_stack_size", lambda: 1 << 20)
    monkeypatch.setattr(stack, "_known", threading.local())
    with pytest.raises(NativeStackTooSmall) as caught:
        stack.run(lambda: None)
    assert (caught.value.stack_bytes, caught.value.stack_bytes_min) == (1 << 20, stack.STACK_BYTES)


def test_an_interrupt_waits_for_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session must not be left while another thread uses it."""
    worker = stack._Worker()
    outcomes, interrupts = worker._outcomes, [KeyboardInterrupt(), KeyboardInterrupt()]
    finished: list[bool] = []

    class Interrupted:
        def get(self) -> object:
            if interrupts:
                raise interrupts.pop()
            return outcomes.get()

        put = outcomes.put

    worker._outcomes = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        worker.run(lambda: finished.append(True))
    assert finished == [True]
    worker.end()


def test_recursion_has_room() -> None:
    stack.ensure_room()
    assert sys.getrecursionlimit() >= stack.RECURSION_LIMIT
