"""A bisection: which commit brought a change that a later one has and an earlier one has not.

Its state is refs of the store, so that it survives between commands and can be undone: `bisect/bad`, `bisect/good/<id>`
and `bisect/start`, where HEAD was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from piecrust.objects.ancestry import halfway, suspects
from piecrust.objects.ids import CommitId
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import BISECT, DEFAULT_HEAD, DRAFT, HEAD, RefValue
from piecrust.objects.store import Store
from piecrust.objects.transaction import Transaction
from piecrust.vm.errors import NoBisection, UncommittedChanges

BAD = BISECT + "bad"
GOOD = BISECT + "good/"
START = BISECT + "start"
SKIPPED = BISECT + "skipped/"


@dataclass(frozen=True, slots=True)
class BisectionState:
    """What is known so far.

    Attributes:
        bad: a commit that has the change, None if that is not known yet.
        good: commits that do not have it.
        candidates: what may have brought it, `bad` last; empty as long as `bad` or `good` is missing.
        next: the commit to look at; None if the culprit is found, something is missing, or what is left was skipped.
    """

    bad: CommitId | None
    good: tuple[CommitId, ...]
    candidates: tuple[CommitId, ...]
    next: CommitId | None

    @property
    def culprit(self) -> CommitId | None:
        """The commit that brought the change, once it is known."""
        return self.bad if self.candidates == (self.bad,) else None


class Bisection:
    """The bisection of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def start(self, bad: CommitId | None, good: Sequence[CommitId]) -> BisectionState:
        """Begin one, in place of any other. HEAD moves to the commit to look at.

        Raises:
            UncommittedChanges: There is a working state.
        """
        transaction = self._transaction()
        refs = self._store.refs()
        begin = refs.get(START, refs.get(HEAD, DEFAULT_HEAD))
        marks: dict[str, RefValue] = {START: begin}
        if bad is not None:
            marks[BAD] = bad
        marks.update({GOOD + commit.hex(): commit for commit in good})
        for name in refs:
            if name.startswith(BISECT) and name not in marks:
                transaction.set_ref(name, None)
        return self._publish(transaction, marks, Operation("bisect", ("start",)))

    def mark(self, commit: CommitId, verdict: str) -> BisectionState:
        """Note that a commit is `good`, `bad`, or can not be judged (`skip`). HEAD moves on.

        Raises:
            NoBisection: None was started.
            UncommittedChanges: There is a working state.
        """
        self._check()
        name = {"bad": BAD, "good": GOOD + commit.hex(), "skip": SKIPPED + commit.hex()}[verdict]
        return self._publish(self._transaction(), {name: commit}, Operation("bisect", (verdict, commit.hex())))

    def state(self) -> BisectionState:
        """What is known.

        Raises:
            NoBisection: None was started.
        """
        self._check()
        return self._state(self._store.refs())

    def reset(self) -> RefValue:
        """End it; HEAD goes back to where it was, which is returned.

        Raises:
            NoBisection: None was started.
            UncommittedChanges: There is a working state.
        """
        self._check()
        transaction = self._transaction()
        begin = self._store.ref(START)
        for name in self._store.refs():
            if name.startswith(BISECT):
                transaction.set_ref(name, None)
        transaction.set_ref(HEAD, begin)
        transaction.publish(Operation("bisect", ("reset",)))
        return begin

    def _check(self) -> None:
        if START not in self._store.refs():
            raise NoBisection

    def _transaction(self) -> Transaction:
        draft = self._store.refs().get(DRAFT)
        if isinstance(draft, CommitId):
            raise UncommittedChanges(draft)
        return self._store.transaction()

    def _publish(self, transaction: Transaction, marks: dict[str, RefValue], operation: Operation) -> BisectionState:
        refs = {name: v for name, v in self._store.refs().items() if name not in transaction.ref_updates} | marks
        state = self._state(refs)
        for name, value in marks.items():
            transaction.set_ref(name, value)
        target = state.next or state.culprit
        if target is not None:
            transaction.set_ref(HEAD, target)
        transaction.publish(operation)
        return state

    def _state(self, refs: Mapping[str, RefValue]) -> BisectionState:
        marks = {name: value for name, value in refs.items() if isinstance(value, CommitId)}
        bad = marks.get(BAD)
        good = tuple(sorted(commit for name, commit in marks.items() if name.startswith(GOOD)))
        skipped = {commit for name, commit in marks.items() if name.startswith(SKIPPED)}
        if bad is None or not good:
            return BisectionState(bad, good, (), None)
        left = suspects(self._store.graph, good, bad)
        return BisectionState(bad, good, tuple(left), halfway([c for c in left if c == bad or c not in skipped]))
