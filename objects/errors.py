"""The root of every error that piecrust raises, and the errors of objects and the store.

Grouped by what a handler would do about them; `piecrust.vm.errors` adds its own below the same root::

    PiecrustError
    ├── StoreError                    the store as a whole: open it otherwise, wait, make room, repair it
    │   ├── NotAStore                   the directory holds something else
    │   ├── UnsupportedFormat           written by a version that this one can't read or write
    │   ├── StoreReadOnly               opened for reading only
    │   ├── StoreClosed                 this handle is dead; open another
    │   ├── StoreLocked                 another process held the lock for too long
    │   ├── StoreFull                   the disk is full; nothing was written
    │   ├── StoreIOError                the operating system refused
    │   └── CorruptStore                a file of the store is damaged: run fsck
    ├── CorruptObject                 an object's bytes are not what its address says
    ├── InvalidFormat                 bytes are not in the format that they claim
    ├── RemoteError                   a remote can't serve
    │   ├── RemoteUnavailable           it can't be reached, or refuses: try again, look at the credentials
    │   ├── CorruptRemote               what it gave is damaged, or lies; nothing of it was believed
    │   └── RemoteSupportMissing        the package that speaks to remotes is not installed
    ├── NotFound                      ask for something else
    │   ├── ObjectNotFound
    │   ├── UnknownRevision             kind "PersistenceError"
    │   ├── AmbiguousRevision
    │   ├── UnknownRef
    │   └── UnknownRemote
    ├── Conflict                      somebody else was first: read again, then decide
    │   └── NonFastForward              a branch of a remote has commits that would be lost: pull first
    ├── Refused                       a rule of the store forbids it
    │   ├── CommitInUse                 a branch or a tag stands on the commit
    │   └── CommitPinned                the commit is finalized
    ├── InvalidRevision               not in the grammar of revisions
    ├── InvalidRefName                not a name for a branch or a tag
    ├── InvalidRemote                 not a name or an address for a remote
    ├── ContractPositionCollision     two contract ids share one position
    ├── InvalidProof                  a proof doesn't hold: believe nothing of it
    └── NotProvable                   what a proof was asked for isn't so

Fields say what happened; the text is made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class PiecrustError(Exception):
    """What every error of this project is. `kind` is the original's name for it, where it has one."""

    kind: ClassVar[str | None] = None

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process pools with their fields; pickle's default would call `__init__` with the text."""
        return _restored, (type(self), self.args, self.__dict__)


class StoreError(PiecrustError):
    """The store as a whole can't serve."""


class NotAStore(StoreError):
    """The directory holds no store, and is not empty or may not be made one."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path} is not a store: {reason}")
        self.path, self.reason = path, reason


class UnsupportedFormat(StoreError):
    """The store was written in a format that this version does not know."""

    def __init__(self, path: object, found: object, supported: object) -> None:
        super().__init__(f"{path} has format {found}; this version knows {supported}")
        self.path, self.found, self.supported = path, found, supported


class StoreReadOnly(StoreError):
    """Something would have been written through a handle that only reads."""

    def __init__(self, path: object) -> None:
        super().__init__(f"{path} is open for reading only")
        self.path = path


class StoreClosed(StoreError):
    """The handle is dead: `reason` is "closed", "fork" or "sync failed"; open another one."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the store is closed: {reason}")
        self.reason = reason


class StoreLocked(StoreError):
    """Another process held the lock for all of `seconds`."""

    def __init__(self, path: object, seconds: float) -> None:
        super().__init__(f"{path} is locked by another process (waited {seconds:g} s)")
        self.path, self.seconds = path, seconds


class StoreFull(StoreError):
    """There is no room on the disk; nothing was written."""

    def __init__(self, path: object) -> None:
        super().__init__(f"no space left for {path}")
        self.path = path


class StoreIOError(StoreError):
    """The operating system refused `operation`; `errno` says why."""

    def __init__(self, path: object, operation: str, errno: int | None) -> None:
        super().__init__(f"{operation} failed on {path}: errno {errno}")
        self.path, self.operation, self.errno = path, operation, errno


class CorruptStore(StoreError):
    """A file of the store is damaged at `offset`."""

    def __init__(self, path: object, offset: int, reason: str) -> None:
        super().__init__(f"{path} is damaged at offset {offset}: {reason}")
        self.path, self.offset, self.reason = path, offset, reason


class CorruptObject(PiecrustError):
    """The bytes of an object are not what its address says."""

    def __init__(self, object_kind: object, address: bytes, reason: str) -> None:
        super().__init__(f"{_lower(object_kind)} {address.hex()} is corrupt: {reason}")
        self.object_kind, self.address, self.reason = object_kind, address, reason


class InvalidFormat(PiecrustError):
    """Bytes that claim to be `what` are not; `offset` is where, if it is known."""

    def __init__(self, what: str, reason: str, offset: int | None = None) -> None:
        super().__init__(f"invalid {what}{'' if offset is None else f' at offset {offset}'}: {reason}")
        self.what, self.reason, self.offset = what, reason, offset


class RemoteError(PiecrustError):
    """A remote can't serve."""


class RemoteUnavailable(RemoteError):
    """The remote can't be reached, or refuses what was asked of it.

    Of a write nobody knows whether it was done; to repeat it is safe.
    """

    def __init__(self, remote: str, operation: str, reason: str) -> None:
        super().__init__(f"remote {remote}: {operation} failed: {reason}")
        self.remote, self.operation, self.reason = remote, operation, reason


class CorruptRemote(RemoteError):
    """What a remote has under `key` is damaged, or not what it claims to be."""

    def __init__(self, remote: str, key: str, reason: str) -> None:
        super().__init__(f"remote {remote}: {key} is damaged: {reason}")
        self.remote, self.key, self.reason = remote, key, reason


class RemoteSupportMissing(RemoteError):
    """Remotes need the package `obstore`, which is not installed."""

    def __init__(self) -> None:
        super().__init__("remotes need the package obstore: pip install 'piecrust-vm[remote]'")


class NotFound(PiecrustError):
    """What was asked for does not exist, or is not told apart."""


class ObjectNotFound(NotFound):
    """No object of this kind has this address."""

    def __init__(self, object_kind: object, address: bytes) -> None:
        super().__init__(f"no {_lower(object_kind)} {address.hex()}")
        self.object_kind, self.address = object_kind, address


class UnknownRevision(NotFound):
    """No commit is meant by this revision."""

    kind = "PersistenceError"

    def __init__(self, revision: str) -> None:
        super().__init__(f"unknown revision {revision!r}")
        self.revision = revision


class AmbiguousRevision(NotFound):
    """Several commits are meant by this revision; `candidates` are their ids."""

    def __init__(self, revision: str, candidates: Sequence[bytes]) -> None:
        listed = ", ".join(c.hex() for c in candidates[:8]) + (", ..." if len(candidates) > 8 else "")
        super().__init__(f"revision {revision!r} is ambiguous: {listed}")
        self.revision, self.candidates = revision, tuple(candidates)


class UnknownRef(NotFound):
    """No branch, tag or other ref has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no ref {name!r}")
        self.name = name


class UnknownRemote(NotFound):
    """The store knows no remote of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no remote {name!r}")
        self.name = name


class Conflict(PiecrustError):
    """A ref was not where it was expected; `actual` is where it is, None if it is gone."""

    def __init__(self, ref: str, expected: object, actual: object) -> None:
        super().__init__(f"{ref} is at {_shown(actual)}, not at {_shown(expected)}")
        self.ref, self.expected, self.actual = ref, expected, actual


class NonFastForward(Conflict):
    """A remote's ref is at a commit that what was pushed does not descend from; `actual` is its head."""

    def __init__(self, ref: str, expected: object, actual: object) -> None:
        super().__init__(ref, expected, actual)
        self.args = (f"{ref} of the remote is at {_shown(actual)}, which the pushed commit does not have: pull first",)


class Refused(PiecrustError):
    """A rule of the store forbids it."""


class CommitInUse(Refused):
    """The commit can't be deleted while `refs` stand on it."""

    def __init__(self, commit: bytes, refs: Sequence[str]) -> None:
        super().__init__(f"commit {commit.hex()} is in use by {', '.join(refs)}")
        self.commit, self.refs = commit, tuple(refs)


class CommitPinned(Refused):
    """The commit, or a descendant of it, is finalized and can't be taken away."""

    def __init__(self, commit: bytes) -> None:
        super().__init__(f"commit {commit.hex()} is finalized")
        self.commit = commit


class InvalidRevision(PiecrustError):
    """The text does not follow the grammar of revisions."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"invalid revision {text!r}: {reason}")
        self.text, self.reason = text, reason


class InvalidRefName(PiecrustError):
    """A branch or tag can't have this name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"invalid name {name!r}: {reason}")
        self.name, self.reason = name, reason


class InvalidRemote(PiecrustError):
    """A remote can't have this name or address."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"invalid remote {text!r}: {reason}")
        self.text, self.reason = text, reason


class ContractPositionCollision(PiecrustError):
    """Two contract ids fold to one position key, so that one state can't hold both."""

    kind = "ContractPositionCollision"

    def __init__(self, existing: bytes, contract: bytes) -> None:
        super().__init__(f"contract {contract.hex()} has the position of {existing.hex()}")
        self.existing, self.contract = existing, contract


class InvalidProof(PiecrustError):
    """A proof doesn't prove what it claims, or isn't about the commit or state that was asked about."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"invalid proof: {reason}")
        self.reason = reason


class NotProvable(PiecrustError):
    """What should be proven isn't so in this state."""

    def __init__(self, claim: str, reason: str) -> None:
        super().__init__(f"not provable: {claim}: {reason}")
        self.claim, self.reason = claim, reason


def _restored(cls: type[PiecrustError], args: tuple[object, ...], fields: dict[str, object]) -> PiecrustError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(fields)
    return error


def _lower(object_kind: object) -> str:
    name = getattr(object_kind, "name", object_kind)
    return str(name).lower().replace("_", " ")


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else "nothing" if value is None else str(value)
