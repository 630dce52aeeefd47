"""Sessions: a mutable view on a commit, in which contracts are deployed and called.

Nothing that a session does is seen by anybody else, or survives it, until `commit`. A call that fails leaves the
session as it was before the call. A session belongs to one thread at a time; different sessions run in parallel.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from piecrust.objects.ids import CommitId, ContractId, StateRoot
from piecrust.vm import errors
from piecrust.vm.bytecode import read_bytecode
from piecrust.vm.calls import Calls
from piecrust.vm.contract import Contract
from piecrust.vm.contracts import ContractMetadata
from piecrust.vm.frames import CallHook, Execution, Feed
from piecrust.vm.limits import DEFAULT_GAS_LIMIT
from piecrust.vm.openings import PageOpening
from piecrust.vm.publication import Publication
from piecrust.vm.receipt import Receipt
from piecrust.vm.recorder import Recorder
from piecrust.vm.values import decode_result, encode_argument, encode_metadata

if TYPE_CHECKING:
    from piecrust.objects.oplog import Operation
    from piecrust.objects.refs import RefValue
    from piecrust.objects.steps import Step

Closure = Callable[[ContractId, "Session"], object]


class Session:
    """A mutable view on a commit, made by `VM.session`. A context manager: leaving the block closes it.

    Contracts are named by their `ContractId` (or its 32 bytes). `gas_limit` is what a call may spend at most. Any
    failed call raises a `CallFailed`, which carries the events that it emitted.

    Raises:
        SessionClosed: by every method, once the session is over.
        SessionBusy: by every method, while the session runs a call in another thread, or asks a host query.
    """

    def __init__(self, execution: Execution, calls: Calls, recorder: Recorder, publication: Publication) -> None:
        self._execution = execution
        self._calls = calls
        self._recorder = recorder
        self._publication = publication
        self._running = threading.Lock()
        self._over: str | None = None
        self._migrating = False
        _open_sessions.add(self)

    # Deployments and calls

    def deploy(
        self,
        wasm: bytes | str | Path,
        owner: bytes | None = None,
        *,
        contract_id: ContractId | bytes | None = None,
        init: object = None,
        gas_limit: int = DEFAULT_GAS_LIMIT,
    ) -> tuple[ContractId, Receipt[Any] | None]:
        """Deploys a contract and runs its `init` if it has one, with `init` as its argument.

        `wasm` is bytecode, the path of a .wasm or .wat file, or the text of a module. The id is by default the blake3
        hash of the bytecode. The result is the id, and the receipt of `init` or None.

        Raises:
            ContractRefused: The bytecode breaks a rule, or the owner is missing.
            InitializationError: The id is taken.
            CallFailed: `init` failed.
        """
        bytecode = read_bytecode(wasm)
        if owner is None:
            raise errors.MissingOwner
        wanted = None if contract_id is None else ContractId(contract_id)
        with self._exclusive():
            argument = None if init is None else encode_argument((init,))
            return self._calls.deploy(bytecode, bytes(owner), wanted, argument, gas_limit)

    def call(
        self,
        contract: ContractId | bytes,
        function: str,
        *arguments: object,
        gas_limit: int = DEFAULT_GAS_LIMIT,
        returns: Any = None,
        time_limit: float | None = None,
    ) -> Receipt[Any]:
        """Calls a function; its changes stay in the session, unless it fails.

        Arguments are values that know their type (`u64(7)`), bytes, which are given as they are, or plain values where
        the contract carries its interface. `returns` is the type of the receipt's `data`; without it and without an
        interface that is bytes. A call that takes longer than `time_limit` seconds is given up.

        Raises:
            CallFailed: and the session is as it was.
            EncodeError: An argument does not fit; nothing ran.
            DecodeError: The result is not of the type; the call's changes stay.
        """
        target = ContractId(contract)
        with self._exclusive():
            argument = encode_argument(arguments)
            receipt = self._calls.call(target, function, argument, gas_limit, time_limit)
            return decode_result(receipt, returns)

    def call_raw(
        self,
        contract: ContractId | bytes,
        function: str,
        argument: bytes = b"",
        *,
        gas_limit: int = DEFAULT_GAS_LIMIT,
        time_limit: float | None = None,
        caller: ContractId | None = None,
    ) -> Receipt[bytes]:
        """As `call`, with bytes in and bytes out, whatever interface the contract carries.

        `caller` is a deployed contract that the called one sees as its caller, though it does not run.
        """
        target = contract if type(contract) is ContractId else ContractId(contract)
        running = self._running
        if not running.acquire(blocking=False):
            raise errors.SessionBusy
        try:
            if self._over is not None:
                raise errors.SessionClosed(self._over)
            return self._calls.call(target, function, argument, gas_limit, time_limit, caller=caller)
        finally:
            running.release()

    def query(
        self,
        contract: ContractId | bytes,
        function: str,
        *arguments: object,
        gas_limit: int = DEFAULT_GAS_LIMIT,
        returns: Any = None,
        time_limit: float | None = None,
    ) -> Receipt[Any]:
        """As `call`, but taken back even if it succeeds: no page, root, pending event or transcript changes."""
        target = ContractId(contract)
        with self._exclusive():
            argument = encode_argument(arguments)
            receipt = self._calls.query(target, function, argument, gas_limit, time_limit)
            return decode_result(receipt, returns)

    def feeder_call(
        self,
        contract: ContractId | bytes,
        function: str,
        *arguments: object,
        feed: Feed | list[bytes],
        gas_limit: int = DEFAULT_GAS_LIMIT,
        returns: Any = None,
        time_limit: float | None = None,
    ) -> Receipt[Any]:
        """As `call`; what the contract feeds goes to `feed`, a callable or a list, even if the call fails later."""
        target = ContractId(contract)
        receiver = feed.append if isinstance(feed, list) else feed
        with self._exclusive():
            argument = encode_argument(arguments)
            receipt = self._calls.call(target, function, argument, gas_limit, time_limit, receiver)
            return decode_result(receipt, returns)

    def migrate(
        self,
        contract: ContractId | bytes,
        wasm: bytes | str | Path,
        closure: Closure | None = None,
        *,
        owner: bytes | None = None,
        contract_id: ContractId | bytes | None = None,
        init: object = None,
        gas_limit: int = DEFAULT_GAS_LIMIT,
    ) -> ContractId:
        """Replaces a contract by other bytecode, under its id; the owner stays unless another one is given.

        The new contract is deployed as `deploy` does, then `closure(new_id, session)` moves whatever should be moved,
        with both contracts there. Afterwards the new one has the old one's id, and the old one is gone. The result is
        the id that the new contract had meanwhile.

        Raises:
            MissingOwner: No contract is replaced, and no owner given.
            PiecrustError: Whatever `deploy` and `closure` raise; the session is over then.
        """
        old = ContractId(contract)
        bytecode = read_bytecode(wasm)
        with self._exclusive():
            replaced = self._execution.contracts.find(old)
        if owner is None and replaced is not None:
            owner = replaced.owner
        try:
            self._recorder.begin_migration()
            self._migrating = True
            new, _ = self.deploy(bytecode, owner, contract_id=contract_id, init=init, gas_limit=gas_limit)
            if closure is not None:
                closure(new, self)
            with self._exclusive():
                self._execution.settle()
                self._execution.contracts.replace(old, new)
                self._recorder.end_migration(old)
        except BaseException:
            self._end("a migration failed")
            raise
        finally:
            self._migrating = False
        return new

    def contract(self, contract: ContractId | bytes, **options: Any) -> Contract:
        """A contract with its functions as methods, as far as it carries its interface; `options` are `call`'s."""
        target = ContractId(contract)
        with self._exclusive():
            return Contract(self, target, options)

    # State

    def root(self) -> StateRoot:
        """The state root that a commit would have. Costs a hash of every page that was written."""
        with self._exclusive():
            return self._publication.root()

    def commit(
        self,
        message: str | None = None,
        *,
        author: str | None = None,
        time: int | None = None,
        allow_empty: bool = False,
        operation: Operation | None = None,
        refs: Mapping[str, RefValue | None] | None = None,
    ) -> CommitId:
        """Makes what the session did permanent, and ends it. Durable when it returns.

        A session on a branch moves the branch. If nothing has changed and there is no message, no commit is made and
        the base's id returned; a draft is over all the same. `time` is seconds since 1970; it is part of the commit, so
        the same calls at another time make another commit. `operation` is what the operation log says, `refs` are moved
        together with the branch.

        Raises:
            Conflict: The branch moved since the session was opened; the session goes on.
            StoreError: Nothing was written; the session goes on.
        """
        with self._exclusive(outside_migration=True):
            commit = self._publication.commit(message, author, time, operation, refs or {}, allow_empty=allow_empty)
            self._over = "committed"
        return commit

    def save_draft(
        self, operation: Operation | None = None, *, refs: Mapping[str, RefValue | None] | None = None
    ) -> CommitId:
        """Keeps what the session did so far as the draft of a store, for `VM.session(draft=True)` to go on with.

        `refs` are moved together with the draft.

        Raises:
            Conflict: Somebody else saved a draft since this session was opened.
        """
        with self._exclusive(outside_migration=True):
            return self._publication.save_draft(operation, refs or {})

    def rollback(self) -> None:
        """Goes back to the base: everything that the session did, its metadata included, is forgotten."""
        with self._exclusive(outside_migration=True):
            self._publication.rollback()

    def close(self) -> None:
        """Ends the session; what was not committed is gone. Does nothing if it is over."""
        if self._over is None:
            with self._exclusive(outside_migration=True):
                self._end("closed")

    def memory_len(self, contract: ContractId | bytes) -> int | None:
        """Bytes of the contract's memory, None if there is no such contract."""
        with self._exclusive():
            found = self._execution.contracts.find(ContractId(contract))
            return None if found is None else found.memory_length

    def memory_pages(self, contract: ContractId | bytes) -> Iterator[tuple[int, bytes, PageOpening]] | None:
        """Index, content and opening to the state root of every page ever written, in order.

        None if the session has not used the contract.
        """
        with self._exclusive():
            target = ContractId(contract)
            return None if self._execution.contracts.loaded(target) is None else self._publication.pages(target)

    def contract_metadata(self, contract: ContractId | bytes) -> ContractMetadata | None:
        """The contract's id and owner, None if there is no such contract."""
        with self._exclusive():
            found = self._execution.contracts.find(ContractId(contract))
            return None if found is None else ContractMetadata(found.id, found.owner)

    def contracts(self) -> list[ContractId]:
        """Every contract in the session's state, sorted."""
        with self._exclusive():
            return sorted(self._execution.contracts.ids())

    # Metadata, which contracts read with `hd`; part of the session, not of the state

    def meta(self, name: str) -> bytes | None:
        """A metadata value, as the bytes that contracts see."""
        with self._exclusive():
            return self._execution.metadata.get(name)

    def set_meta(self, name: str, value: object) -> bytes | None:
        """Sets a metadata value (bytes, or a value that knows its type); returns the one before it.

        Raises:
            CompositeSerializerError: It is longer than 64 KiB.
        """
        data = encode_metadata(value)
        with self._exclusive():
            metadata = self._execution.metadata
            previous = metadata.get(name)
            metadata[name] = data
            self._recorder.set_meta(name, data)
            return previous

    def remove_meta(self, name: str) -> bytes | None:
        """Removes a metadata value, and returns it."""
        with self._exclusive():
            self._recorder.remove_meta(name)
            return self._execution.metadata.pop(name, None)

    # Observation

    def set_call_hook(self, hook: CallHook | None) -> CallHook | None:
        """Sets what is asked before each call of one contract by another; returns the one before it.

        `hook(callee, function, argument, stack)` returns None to allow it, or why not: the caller then sees a panic of
        the callee with that message, which costs nothing. `stack` are the running contracts, nearest first.
        """
        with self._exclusive():
            previous, self._execution.hook = self._execution.hook, hook
            return previous

    @property
    def debug_messages(self) -> tuple[str, ...]:
        """What contracts said through `hdebug`, in order; failed calls included."""
        return tuple(self._execution.debug_messages)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What the session did so far, as its commit's transcript will tell it."""
        return self._recorder.steps()

    @property
    def base(self) -> CommitId | None:
        """The commit that the session stands on; None if it began with the empty state."""
        return self._publication.base.commit

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _exclusive(self, *, outside_migration: bool = False) -> Iterator[None]:
        if not self._running.acquire(blocking=False):
            raise errors.SessionBusy
        try:
            if self._over is not None:
                raise errors.SessionClosed(self._over)
            if outside_migration and self._migrating:
                raise errors.SessionBusy
            yield
        finally:
            self._running.release()

    def __del__(self) -> None:
        self._end("dropped")

    def _end(self, reason: str) -> None:
        if getattr(self, "_over", reason) is None:
            self._over = reason
            self._publication.close()


_open_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _after_fork() -> None:
    """A child has neither the write tracking of its parent's memories nor its store: its sessions are over."""
    for session in list(_open_sessions):
        session._over = "fork"  # noqa: SLF001  (the class's own handler)


os.register_at_fork(after_in_child=_after_fork)
