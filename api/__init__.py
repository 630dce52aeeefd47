"""piecrust: a git-style, content-addressed state store with a WebAssembly contract VM in front.

    with VM("state") as vm, vm.session() as session:
        counter, _ = session.deploy(wasm, owner=b"me")
        session.call(counter, "increment")
        first = session.commit(message="first")

`piecrust.rkyv` has the types of arguments and results. Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from piecrust.objects.bundle_reader import Imported
    from piecrust.objects.errors import (
        AmbiguousRevision,
        CommitInUse,
        CommitPinned,
        Conflict,
        ContractPositionCollision,
        CorruptObject,
        CorruptRemote,
        CorruptStore,
        InvalidFormat,
        InvalidProof,
        InvalidRefName,
        InvalidRemote,
        InvalidRevision,
        NonFastForward,
        NotAStore,
        NotFound,
        NotProvable,
        ObjectNotFound,
        PiecrustError,
        Refused,
        RemoteError,
        RemoteSupportMissing,
        RemoteUnavailable,
        StoreClosed,
        StoreError,
        StoreFull,
        StoreIOError,
        StoreLocked,
        StoreReadOnly,
        UnknownRef,
        UnknownRemote,
        UnknownRevision,
        UnsupportedFormat,
    )
    from piecrust.objects.history import CommitInfo
    from piecrust.objects.ids import BytecodeHash, CommitId, ContractId, StateRoot
    from piecrust.objects.remote.fetch import FetchReport
    from piecrust.objects.remote.push import PushReport
    from piecrust.objects.remote.remotes import RemoteEntry
    from piecrust.vm.contract import Contract
    from piecrust.vm.contracts import ContractMetadata
    from piecrust.vm.errors import (
        AddressSpaceExhausted,
        ArgumentError,
        CallFailed,
        CompositeSerializerError,
        ContractDoesNotExist,
        ContractRefused,
        ContractTrap,
        DecodeError,
        EncodeError,
        EngineError,
        EngineFailure,
        GasLimitInvalid,
        HistoryError,
        InitializationError,
        InvalidAbi,
        InvalidArgument,
        InvalidArgumentBuffer,
        InvalidFunction,
        InvalidHostQuery,
        InvalidMemory,
        InvalidModule,
        InvalidName,
        InvalidType,
        InvalidUtf8,
        MemoryAccessOutOfBounds,
        MergeConflict,
        MissingFeed,
        MissingHostQuery,
        MissingOwner,
        NativeStackTooSmall,
        NoBisection,
        NothingCommitted,
        NothingToRedo,
        NothingToUndo,
        NotInAbi,
        OutOfGas,
        Panic,
        SessionBusy,
        SessionClosed,
        SessionError,
        TimeLimitExceeded,
        TimeLimitInvalid,
        UncommittedChanges,
        UnsafeCacheDirectory,
        UnsupportedWasmtime,
        WrongArguments,
    )
    from piecrust.vm.events import Event
    from piecrust.vm.host_queries import HostQuery
    from piecrust.vm.limits import DEFAULT_GAS_LIMIT
    from piecrust.vm.openings import PageOpening
    from piecrust.vm.original.importing import ImportedCommit, ImportedDirectory
    from piecrust.vm.receipt import CallTree, CallTreeElement, FailedCall, FailedFrame, Receipt
    from piecrust.vm.remotes import Pulled
    from piecrust.vm.session import Session
    from piecrust.vm.verdict import Derived, Divergence, Holds, Verdict
    from piecrust.vm.vm import VM

_MODULES = {
    "piecrust.objects.errors": (
        "AmbiguousRevision CommitInUse CommitPinned Conflict ContractPositionCollision CorruptObject "
        "CorruptRemote CorruptStore InvalidFormat InvalidProof InvalidRefName InvalidRemote InvalidRevision "
        "NonFastForward NotAStore NotFound NotProvable ObjectNotFound PiecrustError Refused RemoteError "
        "RemoteSupportMissing RemoteUnavailable StoreClosed StoreError StoreFull StoreIOError StoreLocked "
        "StoreReadOnly UnknownRef UnknownRemote UnknownRevision UnsupportedFormat"
    ),
    "piecrust.objects.bundle_reader": "Imported",
    "piecrust.objects.remote.fetch": "FetchReport",
    "piecrust.objects.remote.push": "PushReport",
    "piecrust.objects.remote.remotes": "RemoteEntry",
    "piecrust.vm.remotes": "Pulled",
    "piecrust.objects.ids": "BytecodeHash CommitId ContractId StateRoot",
    "piecrust.vm.contract": "Contract",
    "piecrust.vm.contracts": "ContractMetadata",
    "piecrust.vm.errors": (
        "AddressSpaceExhausted ArgumentError CallFailed CompositeSerializerError ContractDoesNotExist "
        "ContractRefused ContractTrap DecodeError EncodeError EngineError EngineFailure GasLimitInvalid "
        "HistoryError InitializationError InvalidAbi InvalidArgument InvalidArgumentBuffer InvalidFunction "
        "InvalidHostQuery InvalidMemory InvalidModule InvalidName InvalidType InvalidUtf8 MemoryAccessOutOfBounds "
        "MergeConflict MissingFeed MissingHostQuery MissingOwner NativeStackTooSmall NoBisection NotInAbi "
        "NothingCommitted NothingToRedo NothingToUndo OutOfGas Panic SessionBusy SessionClosed SessionError "
        "TimeLimitExceeded TimeLimitInvalid UncommittedChanges UnsafeCacheDirectory UnsupportedWasmtime "
        "WrongArguments"
    ),
    "piecrust.vm.events": "Event",
    "piecrust.objects.history": "CommitInfo",
    "piecrust.vm.host_queries": "HostQuery",
    "piecrust.vm.limits": "DEFAULT_GAS_LIMIT",
    "piecrust.vm.openings": "PageOpening",
    "piecrust.vm.original.importing": "ImportedCommit ImportedDirectory",
    "piecrust.vm.receipt": "CallTree CallTreeElement FailedCall FailedFrame Receipt",
    "piecrust.vm.session": "Session",
    "piecrust.vm.verdict": "Derived Divergence Holds Verdict",
    "piecrust.vm.vm": "VM",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "DEFAULT_GAS_LIMIT",
    "VM",
    "AddressSpaceExhausted",
    "AmbiguousRevision",
    "ArgumentError",
    "BytecodeHash",
    "CallFailed",
    "CallTree",
    "CallTreeElement",
    "CommitId",
    "CommitInUse",
    "CommitInfo",
    "CommitPinned",
    "CompositeSerializerError",
    "Conflict",
    "Contract",
    "ContractDoesNotExist",
    "ContractId",
    "ContractMetadata",
    "ContractPositionCollision",
    "ContractRefused",
    "ContractTrap",
    "CorruptObject",
    "CorruptRemote",
    "CorruptStore",
    "DecodeError",
    "Derived",
    "Divergence",
    "EncodeError",
    "EngineError",
    "EngineFailure",
    "Event",
    "FailedCall",
    "FailedFrame",
    "FetchReport",
    "GasLimitInvalid",
    "HistoryError",
    "Holds",
    "HostQuery",
    "Imported",
    "ImportedCommit",
    "ImportedDirectory",
    "InitializationError",
    "InvalidAbi",
    "InvalidArgument",
    "InvalidArgumentBuffer",
    "InvalidFormat",
    "InvalidFunction",
    "InvalidHostQuery",
    "InvalidMemory",
    "InvalidModule",
    "InvalidName",
    "InvalidProof",
    "InvalidRefName",
    "InvalidRemote",
    "InvalidRevision",
    "InvalidType",
    "InvalidUtf8",
    "MemoryAccessOutOfBounds",
    "MergeConflict",
    "MissingFeed",
    "MissingHostQuery",
    "MissingOwner",
    "NativeStackTooSmall",
    "NoBisection",
    "NonFastForward",
    "NotAStore",
    "NotFound",
    "NotInAbi",
    "NotProvable",
    "NothingCommitted",
    "NothingToRedo",
    "NothingToUndo",
    "ObjectNotFound",
    "OutOfGas",
    "PageOpening",
    "Panic",
    "PiecrustError",
    "Pulled",
    "PushReport",
    "Receipt",
    "Refused",
    "RemoteEntry",
    "RemoteError",
    "RemoteSupportMissing",
    "RemoteUnavailable",
    "Session",
    "SessionBusy",
    "SessionClosed",
    "SessionError",
    "StateRoot",
    "StoreClosed",
    "StoreError",
    "StoreFull",
    "StoreIOError",
    "StoreLocked",
    "StoreReadOnly",
    "TimeLimitExceeded",
    "TimeLimitInvalid",
    "UncommittedChanges",
    "UnknownRef",
    "UnknownRemote",
    "UnknownRevision",
    "UnsafeCacheDirectory",
    "UnsupportedFormat",
    "UnsupportedWasmtime",
    "Verdict",
    "WrongArguments",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
