"""Failures of calls and deployments; `piecrust.vm.errors` has them all, and their tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from piecrust.objects.errors import PiecrustError

if TYPE_CHECKING:
    from piecrust.objects.ids import ContractId
    from piecrust.objects.steps import Event
    from piecrust.vm.receipt import FailedFrame


class CallFailed(PiecrustError):
    """A call failed, and left the state as it was.

    `events` are what the call had emitted, in order, all marked reverted: the next receipt of the session begins with
    them, too. `gas_limit` is the limit that the call was given, None if it failed before it began. `frames` are the
    calls that were running at the moment of failure, outermost first.
    """

    events: tuple[Event, ...] = ()
    gas_limit: int | None = None
    frames: tuple[FailedFrame, ...] = ()


class OutOfGas(CallFailed):
    """The gas limit did not suffice. Any failure with no gas left is this one."""

    kind = "OutOfGas"

    def __init__(self) -> None:
        super().__init__("out of gas")


class Panic(CallFailed):
    """The contract, a host query or the call hook gave up, and says why.

    After a failing host query `__cause__` is the query's own exception.
    """

    kind = "Panic"

    def __init__(self, message: str) -> None:
        super().__init__(f"panic: {message}")
        self.message = message


class ContractTrap(CallFailed):
    """WebAssembly trapped: `unreachable`, division by zero, an exhausted stack, an address beyond 4 GiB, ..."""

    kind = "RuntimeError"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ContractDoesNotExist(CallFailed):
    """No contract has this id in the session's state."""

    kind = "ContractDoesNotExist"

    def __init__(self, contract: ContractId) -> None:
        super().__init__(f"contract does not exist: {contract.hex()}")
        self.contract = contract


class InvalidUtf8(CallFailed):
    """A contract gave text that is not UTF-8."""

    kind = "Utf8"

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(f"{what} is not UTF-8 (at byte {offset})")
        self.what = what
        self.offset = offset


class MemoryAccessOutOfBounds(CallFailed):
    """A pointer or a length that a host function can not accept (all in bytes)."""

    kind = "MemoryAccessOutOfBounds"

    def __init__(self, offset: int, length: int, memory_length: int) -> None:
        super().__init__(
            f"memory access out of bounds: offset {offset}, length {length}, memory length {memory_length}"
        )
        self.offset = offset
        self.length = length
        self.memory_length = memory_length


class MissingHostQuery(CallFailed):
    """A contract asked a host query that nobody registered, or that the session excludes."""

    kind = "MissingHostQuery"

    def __init__(self, name: str) -> None:
        super().__init__(f"missing host query: {name}")
        self.name = name


class MissingFeed(CallFailed):
    """A contract fed data in a call that is no feeder call."""

    kind = "MissingFeed"

    def __init__(self) -> None:
        super().__init__("missing feed: only feeder calls accept data")


class InitializationError(CallFailed):
    """`init` was called (it runs at deployment only), or the id that should be deployed exists."""

    kind = "InitalizationError"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TimeLimitExceeded(CallFailed):
    """The call took longer than its `time_limit`. It is undone, and not part of the transcript; the session goes on."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the call took longer than {seconds} s")
        self.seconds = seconds


class ContractRefused(PiecrustError):
    """The bytecode can not become a contract; nothing was deployed."""


class InvalidModule(ContractRefused):
    """The bytecode is no WebAssembly module, or uses a feature that contracts may not use."""

    kind = "RuntimeError"

    def __init__(self, reason: str, offset: int | None = None) -> None:
        super().__init__(reason if offset is None else f"{reason} (at byte {offset})")
        self.reason = reason
        self.offset = offset


class InvalidMemory(ContractRefused):
    """A contract needs exactly one memory, exported once."""

    kind = "PersistenceError"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidArgumentBuffer(ContractRefused):
    """The export `A` is not what it must be: an immutable global with the offset of 64 KiB inside the address range."""

    kind = "InvalidArgumentBuffer"

    def __init__(self, reason: str) -> None:
        super().__init__(f"argument buffer A: {reason}")
        self.reason = reason


class InvalidFunction(CallFailed, ContractRefused):
    """A function that is not exported (in a call), or an export or import that may not be (at deployment)."""

    kind = "InvalidFunction"

    def __init__(self, name: str, reason: str = "not an exported function") -> None:
        super().__init__(f"invalid function {name!r}: {reason}")
        self.name = name
        self.reason = reason


class InvalidAbi(ContractRefused):
    """The interface description that a contract carries does not make sense, or does not fit its exports.

    `path` says where in the JSON document, as in `functions.0.arguments.1.type`; it is empty for the whole.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(f"contract interface: {path}: {reason}" if path else f"contract interface: {reason}")
        self.reason = reason
        self.path = path


class MissingOwner(ContractRefused):
    """A contract was to be deployed without an owner, and replaces none whose owner it could inherit."""

    kind = "HostPanic"

    def __init__(self) -> None:
        super().__init__("owner must be specified when deploying a contract")
