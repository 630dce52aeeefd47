"""Errors of the contract VM, below the one root `PiecrustError`.

`kind` (in the tree: the second column) is the name that the original VM has for the same failure, where it has one.
Fields say what happened; the text is made of them. Grouped by what a caller does about them:

    PiecrustError
    ├── CallFailed                                  a call or an `init` failed; the state is as before it
    │   ├── OutOfGas                                OutOfGas
    │   ├── Panic                                   Panic                       the contract gave up, with a message
    │   ├── ContractTrap                            RuntimeError                WebAssembly trapped
    │   ├── ContractDoesNotExist                    ContractDoesNotExist
    │   ├── InvalidFunction (also ContractRefused)  InvalidFunction
    │   ├── InvalidUtf8                             Utf8
    │   ├── MemoryAccessOutOfBounds                 MemoryAccessOutOfBounds
    │   ├── MissingHostQuery                        MissingHostQuery
    │   ├── MissingFeed                             MissingFeed
    │   ├── InitializationError                     InitalizationError          `init` called, or an id deployed twice
    │   └── TimeLimitExceeded                                                   given up by the host
    ├── ContractRefused                             the bytecode can not become a contract; nothing was deployed
    │   ├── InvalidModule                           RuntimeError
    │   ├── InvalidMemory                           PersistenceError
    │   ├── InvalidArgumentBuffer                   InvalidArgumentBuffer
    │   ├── InvalidFunction (also CallFailed)       InvalidFunction
    │   ├── InvalidAbi
    │   └── MissingOwner                            HostPanic
    ├── ArgumentError                               what the caller gave is wrong; nothing ran
    │   ├── EncodeError (also ValueError)           CompositeSerializerError    a value does not fit its type
    │   │   └── InvalidArgument                     CompositeSerializerError    the same, of a function's argument
    │   ├── InvalidType (also ValueError)                                       no Rust type is written like this
    │   ├── WrongArguments                                                      too few, too many, or unknown ones
    │   ├── NotInAbi                                                            no such function, event or type
    │   ├── CompositeSerializerError                CompositeSerializerError    owner or metadata too long
    │   ├── GasLimitInvalid
    │   ├── TimeLimitInvalid
    │   ├── InvalidName
    │   └── InvalidHostQuery
    ├── DecodeError (also ValueError)               ValidationError             bytes are not of the asked type
    ├── SessionError                                SessionError                the session can not be used (like this)
    │   ├── SessionClosed                           SessionError
    │   └── SessionBusy                             SessionError
    ├── HistoryError                                HEAD or the working state does not allow it; nothing was written
    │   ├── UncommittedChanges
    │   ├── NothingCommitted
    │   ├── NothingToUndo
    │   ├── NothingToRedo
    │   ├── NoBisection
    │   └── MergeConflict                                                       both sides changed the same contracts
    └── EngineError                                 contracts can not run on this machine or installation
        ├── UnsupportedWasmtime
        ├── EngineFailure
        ├── NativeStackTooSmall
        ├── AddressSpaceExhausted
        └── UnsafeCacheDirectory
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from piecrust.objects.errors import PiecrustError
from piecrust.vm.call_errors import CallFailed as CallFailed
from piecrust.vm.call_errors import ContractDoesNotExist as ContractDoesNotExist
from piecrust.vm.call_errors import ContractRefused as ContractRefused
from piecrust.vm.call_errors import ContractTrap as ContractTrap
from piecrust.vm.call_errors import InitializationError as InitializationError
from piecrust.vm.call_errors import InvalidAbi as InvalidAbi
from piecrust.vm.call_errors import InvalidArgumentBuffer as InvalidArgumentBuffer
from piecrust.vm.call_errors import InvalidFunction as InvalidFunction
from piecrust.vm.call_errors import InvalidMemory as InvalidMemory
from piecrust.vm.call_errors import InvalidModule as InvalidModule
from piecrust.vm.call_errors import InvalidUtf8 as InvalidUtf8
from piecrust.vm.call_errors import MemoryAccessOutOfBounds as MemoryAccessOutOfBounds
from piecrust.vm.call_errors import MissingFeed as MissingFeed
from piecrust.vm.call_errors import MissingHostQuery as MissingHostQuery
from piecrust.vm.call_errors import MissingOwner as MissingOwner
from piecrust.vm.call_errors import OutOfGas as OutOfGas
from piecrust.vm.call_errors import Panic as Panic
from piecrust.vm.call_errors import TimeLimitExceeded as TimeLimitExceeded

if TYPE_CHECKING:
    from pathlib import Path

    from piecrust.objects.ids import CommitId, ContractId


class ArgumentError(PiecrustError):
    """What the caller gave can not be used; nothing ran."""


class EncodeError(ArgumentError, ValueError):
    """A value does not fit the type it should be encoded as.

    `path` leads to the place in the value, as in `1.balance`; it is empty for the whole.
    """

    kind = "CompositeSerializerError"

    def __init__(self, expected: str, got: str, path: str = "") -> None:
        super().__init__(f"{path}: expected {expected}, got {got}" if path else f"expected {expected}, got {got}")
        self.expected = expected
        self.got = got
        self.path = path


class InvalidArgument(EncodeError):
    """An argument of a contract's function does not fit the contract's interface. `position` counts from 1."""

    def __init__(self, function: str, position: int, name: str, error: EncodeError) -> None:
        where = f"argument {position}"
        super().__init__(error.expected, error.got, f"{where}.{error.path}" if error.path else where)
        self.function = function
        self.position = position
        self.name = name


class InvalidType(ArgumentError, ValueError):
    """No Rust type that rkyv archives is written like this. `position` is the character, in a string."""

    def __init__(self, written: str, reason: str, position: int | None = None) -> None:
        super().__init__(
            f"{written}: {reason}" if position is None else f"{written!r}, character {position + 1}: {reason}"
        )
        self.written = written
        self.reason = reason
        self.position = position


class WrongArguments(ArgumentError):
    """A contract's function was given too few or too many arguments, or one by a name that it does not have."""

    def __init__(self, signature: str, reason: str) -> None:
        super().__init__(f"{signature}: {reason}")
        self.signature = signature
        self.reason = reason


class NotInAbi(ArgumentError):
    """The contract's interface has no such `what` ("function", "event", "type", "value"); `known` are those it has."""

    def __init__(self, what: str, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"the contract's interface has no {what} {name!r} (it has: {', '.join(known) or 'none'})")
        self.what = what
        self.name = name
        self.known = known


class CompositeSerializerError(ArgumentError):
    """An owner or a metadata value is longer than its buffer (bytes, as serialized)."""

    kind = "CompositeSerializerError"

    def __init__(self, what: str, length: int, length_max: int) -> None:
        super().__init__(f"{what} takes {length} bytes, at most {length_max} fit")
        self.what = what
        self.length = length
        self.length_max = length_max


class GasLimitInvalid(ArgumentError):
    """Gas limits are whole numbers from 0 to 2**64 - 1."""

    def __init__(self, gas_limit: object) -> None:
        super().__init__(f"gas limit {gas_limit!r} is not a whole number from 0 to 2**64 - 1")
        self.gas_limit = gas_limit


class TimeLimitInvalid(ArgumentError):
    """Time limits are more than no seconds."""

    def __init__(self, time_limit: object) -> None:
        super().__init__(f"time limit {time_limit!r} is not a positive number of seconds")
        self.time_limit = time_limit


class InvalidName(ArgumentError):
    """A name that no UTF-8 text can be, such as one with half of a surrogate pair."""

    def __init__(self, name: str) -> None:
        super().__init__(f"name {name!r} can not be encoded")
        self.name = name


class InvalidHostQuery(ArgumentError):
    """Something registered as a host query that can not be one."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"host query {name!r}: {reason}")
        self.name = name
        self.reason = reason


class DecodeError(PiecrustError, ValueError):
    """Bytes are not a valid archive of the type they should be decoded as.

    `path` leads to the place in the value, as in `1.balance`; it is empty for the whole. `offset` is the byte where
    it went wrong.
    """

    kind = "ValidationError"

    def __init__(self, expected: str, got: str, path: str = "", offset: int = 0) -> None:
        where = f"{path} (byte {offset})" if path else f"byte {offset}"
        super().__init__(f"{where}: expected {expected}, got {got}")
        self.expected = expected
        self.got = got
        self.path = path
        self.offset = offset


class SessionError(PiecrustError):
    """The session can not be used, or not like this."""

    kind = "SessionError"


class SessionClosed(SessionError):
    """The session is over: committed, closed, ended by a failed migration, or inherited through `fork`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the session is over: {reason}")
        self.reason = reason


class SessionBusy(SessionError):
    """The session is running a call: it was used from a second thread, or from inside a host query or hook."""

    def __init__(self) -> None:
        super().__init__("the session is running a call")


class HistoryError(PiecrustError):
    """HEAD or the working state is not such that this could be done."""


class UncommittedChanges(HistoryError):
    """HEAD can not move: `draft` is the working state that would be lost."""

    def __init__(self, draft: CommitId) -> None:
        super().__init__("the working state has changes that are not committed")
        self.draft = draft


class NothingCommitted(HistoryError):
    """HEAD is on a branch without commits."""

    def __init__(self) -> None:
        super().__init__("HEAD is on a branch without commits")


class NothingToUndo(HistoryError):
    """Every operation was taken back, or they are too old to be known."""

    def __init__(self) -> None:
        super().__init__("there is no operation that could be taken back")


class NothingToRedo(HistoryError):
    """The last operation was no `undo`."""

    def __init__(self) -> None:
        super().__init__("nothing was taken back")


class NoBisection(HistoryError):
    """No bisection was started."""

    def __init__(self) -> None:
        super().__init__("no bisection was started")


@dataclass(frozen=True, slots=True)
class ConflictingContract:
    """A contract that both sides of a merge changed: `pages` (indices) are those in which they differ."""

    contract: ContractId
    pages: tuple[int, ...]
    reason: str


class MergeConflict(HistoryError):
    """Both sides changed the same contracts; `conflicts` are in the order of their ids."""

    def __init__(self, conflicts: Sequence[ConflictingContract]) -> None:
        super().__init__(f"both sides changed {', '.join(conflict.contract.hex() for conflict in conflicts)}")
        self.conflicts = tuple(conflicts)


class EngineError(PiecrustError):
    """Contracts can not run on this machine or installation."""


class UnsupportedWasmtime(EngineError):
    """The installed wasmtime is not a version whose private structures and defaults are known."""

    def __init__(self, found: str, supported: str) -> None:
        super().__init__(f"wasmtime {found} is not supported (needs {supported})")
        self.found = found
        self.supported = supported


class NativeStackTooSmall(EngineError):
    """No thread with enough native stack for nested calls could be had (bytes)."""

    def __init__(self, stack_bytes: int, stack_bytes_min: int) -> None:
        super().__init__(f"{stack_bytes} bytes of native stack, calls need {stack_bytes_min}")
        self.stack_bytes = stack_bytes
        self.stack_bytes_min = stack_bytes_min


class AddressSpaceExhausted(EngineError):
    """The system gives no address space of that size (bytes) for a contract's memory; `errno` is its reason."""

    def __init__(self, size: int, errno: int) -> None:
        super().__init__(f"no room for {size} bytes of address space (errno {errno})")
        self.size = size
        self.errno = errno


class UnsafeCacheDirectory(EngineError):
    """Compiled code is not kept in a directory that others could have written to."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} can not hold compiled code: {reason}")
        self.path = path
        self.reason = reason


class EngineFailure(EngineError):
    """The WebAssembly engine did not do what it must, for no reason that a contract could give."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
