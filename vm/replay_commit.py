"""Executes the transcript of a commit again and compares: every outcome, then the state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Self

from piecrust.objects import transcript
from piecrust.objects.access import Overlay
from piecrust.objects.commit import Commit
from piecrust.objects.diff import diff_bytes, diff_states
from piecrust.objects.errors import CorruptObject, ObjectNotFound, PiecrustError
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.state import EMPTY_STATE, State, write_state
from piecrust.objects.steps import (
    Call,
    Deploy,
    Failure,
    Feed,
    Migrate,
    Outcome,
    RemoveMeta,
    SetMeta,
    Step,
    Success,
    feed_of,
)
from piecrust.objects.transcript import Transcript
from piecrust.vm import imports
from piecrust.vm.calls import Calls
from piecrust.vm.contracts import ContractTable
from piecrust.vm.errors import CallFailed
from piecrust.vm.frames import Execution
from piecrust.vm.host_queries import HostQueryFailure, RegisteredQuery
from piecrust.vm.modules import Modules
from piecrust.vm.receipt import Receipt
from piecrust.vm.recorded_host import FailedAsRecorded, NotAsRecorded, RecordedHost, asked
from piecrust.vm.recorder import Recorder, failure_of
from piecrust.vm.remote_history import History
from piecrust.vm.replay_derivation import derived_state
from piecrust.vm.resting import RestingContracts
from piecrust.vm.transient import TransientQuery, TransientStorage
from piecrust.vm.verdict import Derived, Divergence, Holds, ReplayFrame, Verdict

assert imports.HOST_FUNCTIONS, "importing them is what makes them known to the engine"

SHOWN_BYTES_MAX = 64


class Diverged(Exception):
    """The execution differs from the record."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(divergence.what)
        self.divergence = divergence


class Replayer:
    """Checks commits of one store or remote, one after another. A context manager: leaving the block closes it.

    Writes nothing to the store. Commits in the order of history are quickest: what one leaves is what the next one
    begins with.
    """

    def __init__(self, store: History, cache_directory: Path | None) -> None:
        """Compiled contracts are kept in `cache_directory`, in memory alone without one."""
        self._store = store
        self._modules = Modules(cache_directory)
        self._resting = RestingContracts()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resting.close()

    def verdict(self, commit: CommitId) -> Verdict:
        """Whether a commit is what its transcript leads to.

        Raises:
            CorruptObject: an object of the store is damaged.
        """
        try:
            return self._verdict(commit)
        except ObjectNotFound as error:
            return Verdict(commit, Derived.NOTHING, Holds.UNKNOWN, reason=str(error))

    def _verdict(self, identity: CommitId) -> Verdict:
        commit: Commit = self._store.load(Kind.COMMIT, identity)
        told = None if commit.transcript is None else transcript.load(self._store, commit.transcript)
        base = self._state(commit.parents[0]) if commit.parents else EMPTY_STATE
        if not isinstance(told, Transcript):
            return derived_state(self._store, identity, commit, base, told)
        if len(commit.parents) > 1:
            divergence = Divergence("history", "one parent", f"{len(commit.parents)} parents")
            return Verdict(identity, Derived.CALLS, Holds.NO, len(told.steps), divergence=divergence)
        execution = _Replay(self._store, self._modules, self._resting, base, told)
        try:
            execution.run()
            execution.compare(commit.state)
        except Diverged as error:
            return Verdict(
                identity, Derived.CALLS, Holds.NO, len(told.steps), execution.gas_spent, divergence=error.divergence
            )
        finally:
            execution.close()
        return Verdict(identity, Derived.CALLS, Holds.YES, len(told.steps), execution.gas_spent)

    def _state(self, commit: CommitId) -> State:
        found: Commit = self._store.load(Kind.COMMIT, commit)
        return found.state


class _Replay:
    """One execution of a transcript."""

    def __init__(
        self, store: History, modules: Modules, resting: RestingContracts, base: State, told: Transcript
    ) -> None:
        self.gas_spent = 0
        self._store, self._told, self._base = store, told, base
        self._host = RecordedHost()
        queries: dict[str, RegisteredQuery | TransientQuery] = {
            name: self._host.query(name) for name in asked(told.steps)
        }
        if told.transient_storage:
            queries |= {query.value: query for query in TransientQuery}
        for name in told.excluded_queries:
            queries.pop(name, None)
        self._contracts = ContractTable(store, modules, resting, base, base)
        self._execution = Execution(
            self._contracts,
            queries,
            dict(told.metadata),
            contain_failures=told.contain_host_query_failures,
            transient=TransientStorage() if told.transient_storage else None,
        )
        self._execution.hook = self._host.hook
        self._recorder = Recorder(told)
        self._recorder.reset()
        self._calls = Calls(self._execution, modules, self._recorder)
        self._state: tuple[Overlay, State] | None = None

    def run(self) -> None:
        """Every step; `Diverged` at the first whose outcome differs."""
        for number, step in enumerate(self._told.steps):
            self._step(step, (number,))
            self._recorder.reset()

    def compare(self, expected: State) -> None:
        """`Diverged` if the state is another one."""
        overlay = Overlay(self._store)
        actual = write_state(overlay, self._base, self._contracts.changes())
        if actual != expected:
            raise Diverged(_state_divergence(overlay, expected, actual))
        self._state = overlay, actual

    def close(self) -> None:
        """Gives the contracts up; if all went well they rest for the commit that comes after this one."""
        self._execution.abandon()
        self._contracts.close(*(self._state or ()))

    def _step(self, step: Step, place: tuple[int, ...]) -> None:
        metadata = self._execution.metadata
        match step:
            case SetMeta(name, value):
                metadata[name] = value
            case RemoveMeta(name):
                metadata.pop(name, None)
            case Migrate(old, deploy, steps):
                self._step(deploy, (*place, 0))
                for number, inner in enumerate(steps, 1):
                    self._step(inner, (*place, number))
                self._execution.settle()
                self._contracts.replace(old, deploy.contract)
            case Deploy():
                bytecode = self._store.load(Kind.BYTECODE, step.bytecode)
                self._attempt(
                    step,
                    place,
                    "init",
                    lambda: self._calls.deploy(bytecode, step.owner, step.contract, step.init, step.gas_limit)[1],
                )
            case Call():
                fed: list[bytes] | None = None if step.feed is None else []
                self._attempt(step, place, step.function, lambda: self._call(step, fed))
                feed = None if fed is None else feed_of(fed)
                if feed != step.feed:
                    self._fail(step, place, "feed", _shown_feed(step.feed), _shown_feed(feed))

    def _call(self, step: Call, fed: list[bytes] | None) -> Receipt[bytes]:
        feed = None if fed is None else fed.append
        return self._calls.call(
            step.contract, step.function, step.argument, step.gas_limit, None, feed, self._host.caller
        )

    def _attempt(
        self, step: Call | Deploy, place: tuple[int, ...], function: str, run: Callable[[], Receipt[bytes] | None]
    ) -> None:
        """Run a step and compare what comes of it."""
        self._host.begin(step.answers)
        first_event = len(self._execution.events)
        frames: tuple[ReplayFrame, ...] = ()
        outcome: Outcome | None = None
        try:
            receipt = run()
            if receipt is not None:
                outcome = Success(receipt.gas_spent, receipt.data, receipt.events)
                frames = tuple(
                    ReplayFrame(e.depth, e.contract, e.function, e.limit, e.spent) for e in reversed(receipt.call_tree)
                )
                self.gas_spent += receipt.gas_spent
        except CallFailed as error:
            outcome = failure_of(error, self._execution.events[first_event:])
            frames = tuple(
                ReplayFrame(depth, f.contract, f.function, f.gas_limit, f.gas_spent)
                for depth, f in enumerate(error.frames)
            )
        except (FailedAsRecorded, NotAsRecorded):
            outcome = failure_of(HostQueryFailure(), self._execution.events[first_event:])
        except (CorruptObject, ObjectNotFound):
            raise
        except PiecrustError as error:
            self._fail(step, place, "step", "executed", f"refused: {error}")
        what, expected, actual = _difference(step.outcome, outcome)
        if what is None and (self._host.mismatch or self._host.left):
            what, expected, actual = "answers", "as recorded", self._host.mismatch or f"{self._host.left} was not asked"
        if what is not None:
            self._fail(step, place, what, expected, actual, frames=frames, function=function)

    def _fail(
        self,
        step: Call | Deploy,
        place: tuple[int, ...],
        what: str,
        expected: str,
        actual: str,
        *,
        frames: tuple[ReplayFrame, ...] = (),
        function: str | None = None,
    ) -> NoReturn:
        name = function or (step.function if isinstance(step, Call) else "init")
        raise Diverged(Divergence(what, expected, actual, place, step.contract, name, frames))


def _difference(expected: Outcome | None, actual: Outcome | None) -> tuple[str | None, str, str]:
    """What differs first between two outcomes, and both sides of it; None if nothing does."""
    match expected, actual:
        case Success(), Success():
            for what in ("gas_spent", "data", "events"):
                one, other = getattr(expected, what), getattr(actual, what)
                if one != other:
                    return what.removesuffix("_spent"), *_sides(one, other)
            return None, "", ""
        case Failure(), Failure():
            if (expected.kind, expected.detail) == (actual.kind, actual.detail):
                same = expected.events == actual.events
                return None if same else "events", *_sides(expected.events, actual.events)
    return None if expected == actual else "outcome", _outcome(expected), _outcome(actual)


def _sides(one: object, other: object) -> tuple[str, str]:
    """Both sides as text; of two sequences the first items that differ."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        for number, pair in enumerate(zip(one, other, strict=False)):
            if pair[0] != pair[1]:
                return f"event {number}: {pair[0]}", f"event {number}: {pair[1]}"
        return f"{len(one)} events", f"{len(other)} events"
    return _text(one), _text(other)


def _outcome(outcome: Outcome | None) -> str:
    match outcome:
        case None:
            return "no init"
        case Success():
            return f"success, {outcome.gas_spent} gas, {_text(outcome.data)}"
        case Failure():
            return f"{outcome.kind}: {outcome.detail}" if outcome.detail else outcome.kind


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes {value[:SHOWN_BYTES_MAX].hex()}{'...' if len(value) > SHOWN_BYTES_MAX else ''}"
    return str(value)


def _shown_feed(feed: Feed | None) -> str:
    return "no feeder" if feed is None else f"{feed.count} items, {feed.digest.hex()}"


def _state_divergence(reader: Overlay, expected: State, actual: State) -> Divergence:
    """The first contract, page and bytes that differ."""
    for contract in diff_states(reader, expected, actual):
        for page in contract.pages(reader):
            for run in diff_bytes(reader, page):
                return Divergence(
                    "state",
                    run.old[:SHOWN_BYTES_MAX].hex(),
                    run.new[:SHOWN_BYTES_MAX].hex(),
                    contract=contract.id,
                    page=page.index,
                    offset=run.offset,
                )
            was, now = ("not written" if side is None else "written" for side in (page.old, page.new))
            return Divergence("state", was, now, contract=contract.id, page=page.index)
        return Divergence("state", str(contract.old), str(contract.new), contract=contract.id)
    return Divergence("state", str(expected), str(actual))
