"""What led to a commit: facts about its steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from piecrust.objects import transcript
from piecrust.objects.ids import CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.steps import Call, Deploy, Failure, Migrate, Outcome, Step, Success
from piecrust.objects.transcript import Derivation, Import, Restore, Transcript

if TYPE_CHECKING:
    from piecrust.objects.store import Store


def derivation_of(store: Store, commit: CommitId | None) -> Derivation | None:
    """What led to a commit; None for no commit, or one that does not say."""
    if commit is None:
        return None
    address = store.load(Kind.COMMIT, commit).transcript
    return None if address is None else transcript.load(store, address)


def steps_of(derivation: Derivation | None) -> tuple[Step, ...]:
    """The steps of a session; none for another derivation."""
    return derivation.steps if isinstance(derivation, Transcript) else ()


def kinds_of_steps(derivation: Derivation | None) -> dict[str, int]:
    """How many deploys, calls, failed calls and so on there were."""
    counts: dict[str, int] = {}
    for step in steps_of(derivation):
        kind = _kind(step)
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _kind(step: Step) -> str:
    match step:
        case Deploy(outcome=Failure()):
            return "failed deploy"
        case Deploy():
            return "deploy"
        case Call(outcome=Failure()):
            return "failed call"
        case Call():
            return "call"
        case Migrate():
            return "migration"
        case _:
            return "metadata change"


def gas_of(derivation: Derivation | None) -> int:
    """Gas that the steps spent; failed ones do not tell theirs."""
    return sum(outcome.gas_spent for outcome in _outcomes(steps_of(derivation)) if isinstance(outcome, Success))


def _outcomes(steps: tuple[Step, ...]) -> Iterator[Outcome | None]:
    for step in steps:
        match step:
            case Deploy() | Call():
                yield step.outcome
            case Migrate():
                yield step.deploy.outcome
                yield from _outcomes(step.steps)


def touched_by(derivation: Derivation | None) -> list[ContractId]:
    """The contracts that the steps name, in the order of their first mention."""
    found: dict[ContractId, None] = {}
    for step in steps_of(derivation):
        if isinstance(step, Deploy | Call | Migrate):
            found[step.contract] = None
    if isinstance(derivation, Restore | Import):
        found.update(dict.fromkeys(sorted(derivation.contracts)))
    return list(found)
