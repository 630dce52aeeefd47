"""One place that turns whatever a command raises into an exit code and the lines that people read."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from piecrust.cli.command_errors import CommandError
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.render import count
from piecrust.objects.errors import (
    AmbiguousRevision,
    CommitInUse,
    InvalidRevision,
    PiecrustError,
    StoreIOError,
)
from piecrust.objects.refs import HEAD
from piecrust.vm.limits import ARGUMENT_BYTES_MAX

if TYPE_CHECKING:
    from piecrust.vm.errors import CallFailed

# Typer exports only this one of the errors of its parser; the base of all of them is its parent.
PARSER_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
_NEAR_COMMANDS = re.compile(r"(no such command '.*')\. did you mean (.*)\?", re.IGNORECASE)
CAUSES_MAX = 8
CANDIDATES_MAX = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, ready to be shown: `message` says what happened, `details` where, `causes` why, `hints` what to do."""

    exit_code: ExitCode
    code: str
    message: str
    details: Sequence[str] = ()
    causes: Sequence[str] = ()
    hints: Sequence[str] = ()
    command: str | None = None
    data: Mapping[str, Any] | None = None


# The first class of an error's ancestry that stands here gives the exit code.
EXIT_CODES: dict[str, ExitCode] = {
    # The store
    "NotFound": ExitCode.NOT_FOUND,
    "NotAStore": ExitCode.NOT_FOUND,
    "CorruptStore": ExitCode.CORRUPT,
    "CorruptObject": ExitCode.CORRUPT,
    "InvalidFormat": ExitCode.CORRUPT,
    "UnsupportedFormat": ExitCode.CORRUPT,
    "StoreError": ExitCode.CONFLICT,
    "Conflict": ExitCode.CONFLICT,
    "CorruptRemote": ExitCode.CORRUPT,
    "RemoteSupportMissing": ExitCode.USAGE,
    "RemoteError": ExitCode.CONFLICT,
    "InvalidRemote": ExitCode.USAGE,
    "Refused": ExitCode.CONFLICT,
    "ContractPositionCollision": ExitCode.CONFLICT,
    "InvalidProof": ExitCode.NEGATIVE,
    "NotProvable": ExitCode.NOT_FOUND,
    "InvalidRefName": ExitCode.USAGE,
    "InvalidRevision": ExitCode.USAGE,
    # The machine
    "OutOfGas": ExitCode.OUT_OF_GAS,
    "TimeLimitExceeded": ExitCode.OUT_OF_GAS,
    "ContractDoesNotExist": ExitCode.NOT_FOUND,
    "InvalidFunction": ExitCode.ABI,
    "InitializationError": ExitCode.ABI,
    "CallFailed": ExitCode.PANIC,
    "ContractRefused": ExitCode.ABI,
    "MissingOwner": ExitCode.USAGE,
    "GasLimitInvalid": ExitCode.USAGE,
    "TimeLimitInvalid": ExitCode.USAGE,
    "InvalidHostQuery": ExitCode.USAGE,
    "ArgumentError": ExitCode.ABI,
    "DecodeError": ExitCode.ABI,
    "SessionError": ExitCode.CONFLICT,
    "EngineError": ExitCode.CONFLICT,
    "NothingToUndo": ExitCode.NOT_FOUND,
    "NothingToRedo": ExitCode.NOT_FOUND,
    "NoBisection": ExitCode.NOT_FOUND,
    "NothingCommitted": ExitCode.NOT_FOUND,
    "HistoryError": ExitCode.CONFLICT,
}


def problem_of(error: Exception, labels: Mapping[bytes, str] | None = None, command: str = "") -> Problem:
    """What to tell about `error`; anything that is not foreseen is a bug of this program (exit code 70).

    `labels` are names of contracts, by their ids; `command` is what was typed.
    """
    code = snake_case(type(error).__name__)
    match error:
        case CommandError():
            return Problem(error.exit_code, code, str(error), error.details, _causes(error), error.hints)
        case PiecrustError():
            if _is_long_argument(error):
                length = getattr(error, "length", 0)
                return Problem(
                    ExitCode.ABI, code, f"the argument has {length:,} bytes, at most {ARGUMENT_BYTES_MAX:,} fit"
                )
            exit_code = next((EXIT_CODES[c.__name__] for c in type(error).__mro__ if c.__name__ in EXIT_CODES), None)
            if _is_missing_file(error):
                exit_code = ExitCode.NOT_FOUND
            if exit_code is not None:
                message, details = _told(error, labels or {})
                details += getattr(error, "__notes__", [])
                return Problem(
                    exit_code, code, message, details, _causes(error), _hints(error, command), data=_data(error)
                )
        case OSError():
            where = "" if error.filename is None else f"{str(error.filename)!r}: "
            return Problem(ExitCode.CONFLICT, "io_error", where + reason_of(error), causes=_causes(error))
    if isinstance(error, PARSER_ERROR):
        return _parsing(error, code, command)
    message = f"this is a bug in piecrust: {type(error).__name__}: {error}"
    return Problem(ExitCode.BUG, "bug", message, hints=["run the command again with --debug and report what it prints"])


def _is_missing_file(error: PiecrustError) -> bool:
    """Whether a file was named that is not there."""
    return isinstance(error, StoreIOError) and error.errno == errno.ENOENT


def _is_long_argument(error: PiecrustError) -> bool:
    """Whether a call failed before it began, because its argument is longer than the buffer."""
    from piecrust.vm.errors import MemoryAccessOutOfBounds

    if not isinstance(error, MemoryAccessOutOfBounds):
        return False
    return error.offset == 0 and error.memory_length == ARGUMENT_BYTES_MAX < error.length


def reason_of(error: OSError) -> str:
    """Why the operating system refused, in its words."""
    return (error.strerror or str(error)).lower()


def snake_case(name: str) -> str:
    """A class's name as the `code` of an envelope.

    >>> snake_case("OutOfGas"), snake_case("StoreIOError")
    ('out_of_gas', 'store_io_error')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _parsing(error: Any, code: str, command: str) -> Problem:
    """An error of the command line's parser, in the words of the others."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else f"piecrust {command}".rstrip()
    message, near = error.format_message().rstrip("."), sorted(getattr(error, "possibilities", None) or ())
    if near:
        message = f"no such option: {error.option_name}"
    elif (found := _NEAR_COMMANDS.fullmatch(message)) is not None:
        message, near = found[1], re.findall(r"'([^']+)'", found[2])
    return Problem(
        ExitCode.USAGE,
        code,
        message[:1].lower() + message[1:],
        hints=[*(f"{path} {word}" for word in near), f"{path} --help"],
        command=path.partition(" ")[2],
    )


def _causes(error: BaseException) -> list[str]:
    """The messages of the errors that led to this one."""
    if isinstance(error, PiecrustError) and error.kind == "OutOfGas":
        return []  # the trap that ends it says nothing more
    if isinstance(error, StoreIOError) and getattr(error.__cause__, "filename", None) == str(error.path):
        return []  # the message says it
    causes: list[str] = []
    cause = error.__cause__
    while cause is not None and len(causes) < CAUSES_MAX:
        text = str(cause) or type(cause).__name__
        told = text if isinstance(cause, PiecrustError) else f"{type(cause).__name__}: {text}"
        if told not in causes and text != str(error):
            causes.append(told)
        cause = cause.__cause__
    return causes


def _told(error: PiecrustError, labels: Mapping[bytes, str]) -> tuple[str, list[str]]:
    """Message and details of an error of the library."""
    from piecrust.vm.errors import CallFailed, InvalidArgument

    match error:
        case CallFailed():
            return _call_failed(error, labels)
        case AmbiguousRevision():
            found = [candidate.hex() for candidate in error.candidates]
            return f"{error.revision!r} could be any of {len(found)} commits", found[:CANDIDATES_MAX]
        case InvalidArgument():
            return f"argument {error.name!r}: expected {error.expected}, got {error.got}", []
        case InvalidRevision():
            return f"{error.text!r} is not a revision", []
        case StoreIOError() if error.errno is not None:
            return f"{error.operation} failed on {error.path}: {os.strerror(error.errno).lower()}", []
        case CommitInUse():
            return f"commit {error.commit.hex()[:12]} is in use", [f"by {ref}" for ref in error.refs]
        case _:
            return str(error), []


def _call_failed(error: CallFailed, labels: Mapping[bytes, str]) -> tuple[str, list[str]]:
    """A failed call: what the contract said, the frames that were running, the gas."""
    from piecrust.vm.errors import ContractTrap, OutOfGas, Panic

    match error:
        case Panic():
            message = f"the contract panicked: {error.message}" if error.message else "the contract panicked"
        case OutOfGas() if error.gas_limit is not None:
            message = f"out of gas: the limit of {error.gas_limit:,} does not suffice"
        case ContractTrap():
            message = f"the contract trapped: {error.reason}"
        case _:
            message = str(error)
    details = []
    for depth, frame in enumerate(error.frames):
        name = labels.get(frame.contract, frame.contract.hex()[:12])
        details.append(f"{'  ' * depth}in {name}.{frame.function}  gas {frame.gas_spent:,} of {frame.gas_limit:,}")
    if error.events:
        details.append(f"{count(len(error.events), 'event')} reverted")
    return message, details


def _data(error: PiecrustError) -> dict[str, Any] | None:
    """The fields of an error that a script may want."""
    from piecrust.vm.errors import CallFailed

    if isinstance(error, CallFailed):
        return {
            "kind": error.kind,
            "gas_limit": None if error.gas_limit is None else str(error.gas_limit),
            "frames": [
                {
                    "contract": frame.contract,
                    "function": frame.function,
                    "gas_limit": str(frame.gas_limit),
                    "gas_spent": str(frame.gas_spent),
                    "reason": frame.reason,
                }
                for frame in error.frames
            ],
        }
    return {"candidates": list(error.candidates)} if isinstance(error, AmbiguousRevision) else None


def _hints(error: PiecrustError, command: str) -> list[str]:
    """What to type next, for the errors where that is known."""
    match type(error).__name__:
        case "NotAStore":
            return ["piecrust init   (make this directory a store)", "piecrust -C DIR ...   (the store is elsewhere)"]
        case "UnknownRevision":  # what a bundle builds on; others are explained where they are looked up
            return ["piecrust import OLDER.bundle   (which has that commit), or export without --since"]
        case "UnknownRef":
            return ["piecrust log --all", "piecrust branch   (branches by name)"]
        case "AmbiguousRevision":
            return ["give more digits, or one of the ids above"]
        case "InvalidRevision":
            return ["main, v1, HEAD~2, main@{1}, an id or its first digits, root:HEX"]
        case "InitializationError" if str(error).endswith("exists"):
            return ["piecrust contracts   (what is there)", "piecrust deploy ... --id HEX   (once more, by another id)"]
        case "ContractDoesNotExist":
            return ["piecrust contracts"]
        case "OutOfGas":
            return [f"piecrust {command} ... --gas-limit N   (a higher limit)"]
        case "TimeLimitExceeded":
            return [f"piecrust {command} ... --time-limit SECONDS"]
        case "MissingHostQuery":
            return [f"piecrust {command} ... --host-queries MODULE:OBJECT   (Python code that answers it)"]
        case "MissingOwner":
            return ["piecrust deploy ... --owner HEX"]
        case "StoreLocked":
            return ["another process is writing: run the command again when it is done"]
        case "NonFastForward":
            return ["piecrust pull   (then push again)", "piecrust push --force   (their commits lose the branch)"]
        case "UnknownRemote":
            return ["piecrust remote   (the remotes that there are)", "piecrust remote add NAME URL"]
        case "RemoteUnavailable":
            return ["run the command again: what was done is not done twice"]
        case "CorruptRemote":
            return ["nothing of it was taken; push again from a store that is whole"]
        case "RemoteSupportMissing":
            return ["pip install 'piecrust-vm[remote]'"]
        case "Conflict" if getattr(error, "ref", "") == HEAD:
            return [
                "piecrust checkout HEAD --keep   (the branch went on meanwhile: set your work aside as a commit)",
                "piecrust checkout HEAD --discard   (drop it)",
            ]
        case "Conflict":
            return ["piecrust status   (somebody else moved the branch or the working state)"]
        case "CorruptStore" | "CorruptObject":
            return ["piecrust fsck"]
        case "StoreIOError" if _is_missing_file(error):
            return []
        case "StoreReadOnly" | "StoreFull" | "StoreIOError":
            return ["nothing was written; run the command again when the cause is gone"]
        case "CommitInUse":
            return ["piecrust branch   (who still uses it)"]
        case "InvalidFunction":
            return ["piecrust contracts --functions   (what can be called)"]
        case "NoBisection":
            return ["piecrust bisect start BAD GOOD"]
        case "NothingCommitted":
            return ["piecrust commit -m MESSAGE"]
        case "NothingToUndo":
            return ["piecrust op-log"]
        case "NothingToRedo":
            return ["piecrust undo   (comes before redo)"]
        case "UncommittedChanges":
            return ["piecrust commit -m MESSAGE", "piecrust checkout HEAD --discard"]
        case _:
            return []
