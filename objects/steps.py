"""What a transcript is made of: the steps of a session, what they gave, and what the host answered.

Everything here is deterministic: the same calls on the same state give the same steps on every machine. So there are no
times and no texts of the engine in it, and no calls that were ended from outside (time limits, interrupts).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from blake3 import blake3
from piecrust.objects.ids import BytecodeHash, ContractId


@dataclass(frozen=True, slots=True)
class Event:
    """What a contract emitted; `reverted` if the frame that emitted it failed."""

    source: ContractId
    topic: str
    data: bytes
    reverted: bool


@dataclass(frozen=True, slots=True)
class Success:
    """A call that returned; `events` as in its receipt, so those of failed calls before it come first."""

    gas_spent: int
    data: bytes
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that failed; `kind` is the error's.

    `detail` is what the contract or the caller made part of the error: the text of a panic, the name of a function or
    query. `events` are those of this call alone.
    """

    kind: str
    detail: str = ""
    events: tuple[Event, ...] = ()


Outcome = Success | Failure


@dataclass(frozen=True, slots=True)
class QueryFailure:
    """A host query that gave no answer, as the contract's call saw it."""

    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """What the host answered, in the order of asking; `price` is the gas charged before it was executed."""

    name: str
    price: int
    answer: bytes | QueryFailure


@dataclass(frozen=True, slots=True)
class Feed:
    """What a feeder was given: how many items, and one hash over them."""

    count: int
    digest: bytes


def feed_of(items: Iterable[bytes]) -> Feed:
    """The `Feed` for these items: each is hashed with its length (u64, little-endian) before it."""
    hasher, count = blake3(), 0
    for item in items:
        hasher.update(len(item).to_bytes(8, "little"))
        hasher.update(item)
        count += 1
    return Feed(count, hasher.digest())


@dataclass(frozen=True, slots=True)
class Deploy:
    """A deployment. `init` is the argument that was given; `outcome` that of `init`, None if the contract has none.

    Whoever stores the step puts its bytecode, too, also when the deployment failed.
    """

    contract: ContractId
    bytecode: BytecodeHash
    owner: bytes
    init: bytes | None
    gas_limit: int
    outcome: Outcome | None
    answers: tuple[QueryAnswer, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """A top-level call; `feed` is None if it was made without a feeder."""

    contract: ContractId
    function: str
    argument: bytes
    gas_limit: int
    outcome: Outcome
    answers: tuple[QueryAnswer, ...] = ()
    feed: Feed | None = None


@dataclass(frozen=True, slots=True)
class SetMeta:
    """A change of the session's metadata."""

    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class RemoveMeta:
    """A removal from the session's metadata."""

    name: str


@dataclass(frozen=True, slots=True)
class Migrate:
    """A migration that succeeded: the deployment of the new contract, then what was done to fill it."""

    contract: ContractId
    deploy: Deploy
    steps: tuple[Step, ...] = ()


Step = Deploy | Call | SetMeta | RemoveMeta | Migrate
