"""Sessions: a mutable view on a commit, in which contracts are deployed and called.

Nothing that a session does is seen by anybody else, or survives it, until `commit`. A call that fails leaves the
session as it was before the call. A session belongs to one thread at a time; different sessions run in parallel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3
from piecrust.objects.ids import BytecodeHash, CommitId, ContractId, StateRoot
from piecrust.vm import abi, errors
from piecrust.vm.abi import Function
from piecrust.vm.bytecode import file_of, read_bytecode
from piecrust.vm.contract import Contract
from piecrust.vm.frames import Feed
from piecrust.vm.limits import DEFAULT_GAS_LIMIT
from piecrust.vm.receipt import Receipt
from piecrust.vm.session_view import INTERRUPTED, SessionView, Use
from piecrust.vm.values import decode_result, encode_arguments

if TYPE_CHECKING:
    from piecrust.objects.oplog import Operation
    from piecrust.objects.refs import RefValue

Closure = Callable[[ContractId, "Session"], object]


class Session(SessionView):
    """A mutable view on a commit, made by `VM.session`. A context manager: leaving the block closes it.

    Contracts are named by their `ContractId` (or its 32 bytes). `gas_limit` is what a call may spend at most. Any
    failed call raises a `CallFailed`, which carries the events that it emitted.

    Raises:
        SessionClosed: by every method, once the session is over.
        SessionBusy: by every method, while the session runs a call in another thread, or asks a host query.
    """

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
            function = self._learn(bytecode, file_of(wasm))
            argument = None
            if init is not None:
                argument = encode_arguments(init if isinstance(init, tuple) else (init,), function)
            deployed, receipt = self._calls.deploy(bytecode, bytes(owner), wanted, argument, gas_limit)
            return deployed, None if receipt is None else decode_result(receipt, None, function)

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
        the contract carries its interface; several are archived as a tuple. `returns` is the type of the receipt's
        `data`; without it and without an interface that is bytes. A call that takes longer than `time_limit` seconds is
        given up.

        Raises:
            CallFailed: and the session is as it was.
            EncodeError: An argument does not fit; nothing ran.
            DecodeError: The result is not of the type; the call's changes stay.
        """
        target = ContractId(contract)
        with self._exclusive():
            known = self._function(target, function)
            argument = encode_arguments(arguments, known)
            receipt = self._calls.call(target, function, argument, gas_limit, time_limit)
            return decode_result(receipt, returns, known)

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
        if type(argument) is not bytes:
            argument = bytes(memoryview(argument))
        use = Use(self._user)
        try:
            use.begin()
            if self._over is not None:
                raise errors.SessionClosed(self._over)
            return self._calls.call(target, function, argument, gas_limit, time_limit, caller=caller)
        finally:
            if self._execution.torn and use.goes_on:
                self._end(INTERRUPTED)
            use.end()

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
            known = self._function(target, function)
            argument = encode_arguments(arguments, known)
            receipt = self._calls.query(target, function, argument, gas_limit, time_limit)
            return decode_result(receipt, returns, known)

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
            known = self._function(target, function)
            argument = encode_arguments(arguments, known)
            receipt = self._calls.call(target, function, argument, gas_limit, time_limit, receiver)
            return decode_result(receipt, returns, known)

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
        with self._exclusive(outside_migration=True):
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
        """A contract with its functions as methods; `options` (`gas_limit`, ...) are those of every call.

        Raises:
            InvalidAbi: It carries an interface that makes no sense.
        """
        target = ContractId(contract)
        with self._exclusive():
            return Contract(self, target, self._interface(target), options)

    # State

    def root(self) -> StateRoot:
        """The state root that a commit would have. Costs a hash of every page that was written."""
        with self._exclusive(whole=True):
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
        with self._exclusive(outside_migration=True, whole=True):
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
        with self._exclusive(outside_migration=True, whole=True):
            return self._publication.save_draft(operation, refs or {})

    def rollback(self) -> None:
        """Goes back to the base: everything that the session did, its metadata included, is forgotten."""
        with self._exclusive(outside_migration=True, whole=True):
            self._publication.rollback()

    def _learn(self, bytecode: bytes, file: Path | None) -> Function | None:
        """Takes in the interface beside a file that is deployed; what the interface says of `init`."""
        address = BytecodeHash(blake3(bytecode).digest())
        beside = None if file is None else abi.beside(file)
        if beside is not None:
            self._interfaces.add(address, abi.resolve(bytecode, beside))
        try:
            interface = self._interfaces.get(address, lambda: bytecode)
        except (errors.InvalidAbi, errors.InvalidModule):
            return None
        return None if interface is None else interface.init
