"""What comes of checking that a commit is what its transcript leads to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from piecrust.objects.ids import CommitId, ContractId


class Derived(Enum):
    """How a commit came of its parents."""

    CALLS = "calls"
    MERGE = "merge"
    RESTORE = "restore"
    IMPORT = "import"
    NOTHING = "nothing"  # no transcript: a message alone


class Holds(Enum):
    """Whether a commit is what it says."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"  # what it came of is not here, or is outside of any store


@dataclass(frozen=True, slots=True)
class ReplayFrame:
    """A call in the execution that differs, as it went here; `depth` 0 is the call of the session."""

    depth: int
    contract: ContractId
    function: str
    gas_limit: int
    gas_spent: int


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first thing that differs.

    `what` is what differs: "gas", "data", "events", "outcome", "answers", "feed", "step", "state", "history".
    `step` is the place in the transcript, counted from 0, with a place inside a migration behind it. Where memory
    differs, `offset` is that of the first differing byte in it, `page` its page, and both sides are the bytes there.
    """

    what: str
    expected: str
    actual: str
    step: tuple[int, ...] = ()
    contract: ContractId | None = None
    function: str | None = None
    frames: tuple[ReplayFrame, ...] = ()
    page: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one commit; `gas_spent` is that of the calls that succeeded, `reason` says why it is unknown."""

    commit: CommitId
    derived: Derived
    holds: Holds
    steps: int = 0
    gas_spent: int = 0
    divergence: Divergence | None = None
    reason: str = ""
