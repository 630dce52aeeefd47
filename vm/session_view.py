"""What can be read and set of a session, and who may use it when."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from piecrust.objects.errors import PiecrustError
from piecrust.objects.ids import CommitId, ContractId
from piecrust.vm import errors
from piecrust.vm.abi import Abi, Function
from piecrust.vm.calls import Calls
from piecrust.vm.contracts import ContractMetadata
from piecrust.vm.frames import CallHook, Execution
from piecrust.vm.openings import PageOpening
from piecrust.vm.publication import Publication
from piecrust.vm.recorder import Recorder
from piecrust.vm.values import Interfaces, encode_metadata

if TYPE_CHECKING:
    from piecrust.objects.steps import Step

INTERRUPTED = "interrupted at a moment that it could not survive"


class Use:
    """One use of a session, which excludes others. Ends by itself if an interrupt kept `end` from being called."""

    __slots__ = ("_user",)

    def __init__(self, user: dict[None, int]) -> None:
        self._user = user

    def begin(self) -> None:
        """Raises `SessionBusy` if another use goes on."""
        if self._user.setdefault(None, id(self)) != id(self):
            raise errors.SessionBusy

    @property
    def goes_on(self) -> bool:
        """Whether it has begun, and not ended."""
        return self._user.get(None) == id(self)

    def end(self) -> None:
        """Lets others use the session, if this use had begun."""
        if self.goes_on:
            self._user.clear()

    def __del__(self) -> None:
        if hasattr(self, "_user"):
            self.end()


class SessionView:
    """The parts of a session, guarded: it is used by one thread at a time, and by nobody once it is over."""

    def __init__(
        self,
        execution: Execution,
        calls: Calls,
        interfaces: Interfaces,
        recorder: Recorder,
        publication: Publication,
    ) -> None:
        self._execution = execution
        self._calls = calls
        self._interfaces = interfaces
        self._recorder = recorder
        self._publication = publication
        self._user: dict[None, int] = {}  # at most one: `setdefault` is what makes that atomic
        self._over: str | None = None
        self._migrating = False
        _open_sessions.add(self)

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
        with self._exclusive(whole=True):
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
            EncodeError: It does not know its type.
            InvalidName: Nothing can have this name.
        """
        data = encode_metadata(name, value)
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

    def _interface(self, contract: ContractId) -> Abi | None:
        """The interface that a contract carries; `InvalidAbi` if it makes no sense."""
        contracts = self._execution.contracts
        found = contracts.find(contract)
        if found is None:
            return None
        deployed = found
        return self._interfaces.get(deployed.bytecode_hash, lambda: contracts.bytecode(deployed))

    def _function(self, contract: ContractId, name: str) -> Function | None:
        """What the contract's interface says of a function; nothing if there is none, or it makes no sense."""
        try:
            interface = self._interface(contract)
        except errors.InvalidAbi:
            return None
        return None if interface is None else interface.functions.get(name)

    @contextmanager
    def _exclusive(self, *, outside_migration: bool = False, whole: bool = False) -> Iterator[None]:
        """The session is this thread's within the block. If `whole`, an interrupt in the block ends it."""
        use = Use(self._user)
        try:
            use.begin()
            if self._over is not None:
                raise errors.SessionClosed(self._over)
            if outside_migration and self._migrating:
                raise errors.SessionBusy
            self._execution.torn = whole
            yield
            self._execution.torn = False
        except PiecrustError:
            if whole and use.goes_on:
                self._execution.torn = False
            raise
        finally:
            if self._execution.torn and use.goes_on:
                self._end(INTERRUPTED)
            use.end()

    def __del__(self) -> None:
        self._end("dropped")

    def _end(self, reason: str) -> None:
        if getattr(self, "_over", reason) is None:
            self._over = reason
            self._publication.close()


_open_sessions: weakref.WeakSet[SessionView] = weakref.WeakSet()


def _after_fork() -> None:
    """A child has neither the write tracking of its parent's memories nor its store: its sessions are over."""
    for session in list(_open_sessions):
        session._over = "fork"  # noqa: SLF001  (the class's own handler)


os.register_at_fork(after_in_child=_after_fork)
