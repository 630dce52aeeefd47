"""Commits that no session made: their state is derived from other commits', and their transcript says how."""

from __future__ import annotations

from collections.abc import Sequence

from piecrust.objects import transcript
from piecrust.objects.commit import commit_id, new_commit
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.state import State
from piecrust.objects.transaction import Transaction
from piecrust.objects.transcript import Derivation


def state_of(reader: Transaction, commit: CommitId) -> State:
    """The state that a commit holds."""
    found = reader.load(Kind.COMMIT, commit)
    return State(found.state_root, found.map_root, found.positions)


def put_commit(
    transaction: Transaction,
    state: State,
    parents: Sequence[CommitId],
    derivation: Derivation,
    message: str | None,
    author: str | None,
) -> CommitId:
    """Stage a commit that is kept until it is deleted; its id."""
    address = transcript.store(transaction, derivation)
    commit = new_commit(transaction, state, parents, address, message=message, author=author)
    identifier = commit_id(commit)
    transaction.put(Kind.COMMIT, identifier, commit)
    transaction.keep(identifier)
    return identifier
