"""An interrupt at any moment of a call, a deployment or a commit: all of it, nothing of it, or the session is over."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType

import pytest
from piecrust import VM, CommitId, ContractId, SessionClosed
from piecrust.vm.session import Session
from piecrust.vm.shield import shielded
from support.fixtures import contract
from support.programs import SCRATCH, Program

A, B, C = (ContractId(bytes(31) + bytes([n])) for n in (1, 2, 3))
TRIALS = 120

# Python has nobody to tell of an interrupt that comes while an object is being given up.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def interrupting_alarm() -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def interrupted(action: Callable[[], object], seconds: float) -> bool:
    """Performs an action with an alarm after some time; whether the alarm came before the end."""
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
            action()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        return True
    return False


def moments(action: Callable[[], object]) -> Iterator[float]:
    """Random moments of an action that takes as long as this one."""
    start = time.perf_counter()
    action()
    taken = time.perf_counter() - start
    rng = random.Random(1)
    return (rng.uniform(0, taken) for _ in range(TRIALS))


@pytest.fixture
def base(vm: VM) -> CommitId:
    with vm.session() as session:
        for name in (A, B):
            session.deploy(contract("script"), b"owner", contract_id=name)
        return session.commit()


def call(session: Session) -> None:
    failing = Program().store(SCRATCH + 8, b"lost").panic("")
    program = Program().store(SCRATCH, b"one").call(B, 0, Program().store(SCRATCH, b"two").call(A, 0, failing)).grow(1)
    session.call_raw(A, "run", program.emit("done").bytes())


def deploy(session: Session) -> None:
    program = Program().call(A, 0, Program().store(SCRATCH, b"one"))
    session.deploy(contract("script_init"), b"owner", contract_id=C, init=program.bytes())


def observed(session: Session) -> tuple[object, ...]:
    return session.root(), session.contracts(), session.steps, session.memory_len(A)


@pytest.mark.parametrize("action", [call, deploy])
def test_an_interrupt_leaves_all_or_nothing(vm: VM, base: CommitId, action: Callable[[Session], None]) -> None:
    with vm.session(base) as session:
        before = observed(session)
        action(session)
    with vm.session(base) as session:
        delays = moments(lambda: action(session))
        after = observed(session)
        commit = session.commit()
    for seconds in delays:
        session = vm.session(base)
        interrupted(lambda: action(session), seconds)  # noqa: B023  (called at once)
        try:
            state = observed(session)
        except SessionClosed as error:
            assert error.reason.startswith("interrupted")  # noqa: PT017  (it may come or not)
            continue
        assert state in (before, after)
        if state == before:
            action(session)
        assert observed(session) == after
        assert session.commit() == commit


def test_an_interrupt_of_a_commit_leaves_the_store_whole(vm: VM, base: CommitId) -> None:
    with vm.session(base) as session:
        call(session)
        made: list[CommitId] = []
        delays = moments(lambda: made.append(session.commit()))
    for seconds in delays:
        session = vm.session(base)
        call(session)
        interrupted(session.commit, seconds)
        with suppress(SessionClosed):
            assert session.commit() == made[0]
        assert set(vm.commits()) == {base, *made}
        with vm.session(made[0]) as again:
            assert again.query(A, "run", Program().load(SCRATCH, 3).bytes()).data == b"one"


def test_an_interrupt_between_the_contract_and_the_host_skips_no_host_function(vm: VM, base: CommitId) -> None:
    program = Program().repeat(300, Program().self_id().burn(5).add64(SCRATCH, 1)).load(SCRATCH, 8).bytes()
    with vm.session(base) as session:
        delays = moments(lambda: session.query(A, "run", program))
        expected = session.query(A, "run", program)
    for seconds in delays:
        received = []
        with vm.session(base) as session:
            interrupted(lambda: received.append(session.query(A, "run", program)), seconds)  # noqa: B023
        assert received in ([], [expected])


def test_a_shielded_function_is_the_same_function() -> None:
    offset = 5

    def add(a: int, b: int = 2) -> int:
        return a + b + offset

    copy = shielded(add)
    assert (copy(1), copy(1, b=3)) == (8, 9)
    with pytest.raises(AssertionError):
        shielded(len)
