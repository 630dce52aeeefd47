"""The running side of a session: frames of nested calls, their gas, and what a failure takes back.

* A top-level call is all or nothing: when it fails, memories, lengths and transient data are what they were.
* A callee that fails takes back what it and its callees changed in any contract, its caller's memory included; the
  globals of instances stay as they are, as in the original.
* All calls to a contract inside one top-level call share one instance. It is kept for the next top-level call where the
  rewriter proves that a fresh one could not differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from piecrust.objects.ids import ContractId
from piecrust.objects.steps import QueryAnswer, QueryFailure
from piecrust.vm import errors
from piecrust.vm.contracts import ContractTable, DeployedContract
from piecrust.vm.events import Event, revert
from piecrust.vm.frame import Frame, failed_frames
from piecrust.vm.host import active
from piecrust.vm.host_queries import RegisteredQuery
from piecrust.vm.instance import Instance
from piecrust.vm.limits import ARGUMENT_BYTES_MAX, CALL_DEPTH_MAX
from piecrust.vm.receipt import CaughtFailure
from piecrust.vm.transient import TransientQuery, TransientStorage
from piecrust.vm.undo import MERGED_MIN, UndoLog

if TYPE_CHECKING:
    from piecrust.vm.deadline import Deadline
    from piecrust.vm.memory import Memory

CallHook = Callable[[ContractId, str, bytes, tuple[ContractId, ...]], str | None]
Feed = Callable[[bytes], object]

# Inputs of a call that transcripts tell like answers of host queries; no query has such a name.
CALL_HOOK = "\0call hook"
ROOT_CALLER = "\0caller"


class Execution:
    """What host functions see of a session, and the machinery of its calls. Used by one thread at a time.

    `top` is the frame that runs, while one does. `torn` says that something was changed and neither taken back nor
    told to the transcript: if it is still set after a call, an interrupt came at a moment that the session can not
    survive.
    """

    __slots__ = (
        "_deadline",
        "_ran",
        "_undo",
        "_used",
        "answers",
        "caught",
        "contain_failures",
        "contracts",
        "debug_messages",
        "events",
        "feed",
        "hook",
        "host_queries",
        "metadata",
        "nested",
        "root_caller",
        "top",
        "torn",
        "transient",
    )

    top: Frame

    def __init__(
        self,
        contracts: ContractTable,
        host_queries: dict[str, RegisteredQuery | TransientQuery],
        metadata: dict[str, bytes],
        *,
        contain_failures: bool,
        transient: TransientStorage | None,
    ) -> None:
        self.contracts = contracts
        self.host_queries = host_queries
        self.metadata = metadata
        self.contain_failures = contain_failures
        self.transient = transient
        self.events: list[Event] = []
        self.answers: list[QueryAnswer] = []
        self.caught: list[CaughtFailure] = []  # failed callees of the running top-level call
        self.debug_messages: list[str] = []
        self.feed: Feed | None = None
        self.hook: CallHook | None = None
        self.root_caller: ContractId | None = None
        self.nested = 0  # calls of one contract by another, in the running top-level call
        self.torn = False
        self._undo = UndoLog()
        self._ran: set[Memory] = set()
        self._used: list[DeployedContract] = []
        self._deadline: Deadline | None = None

    def run(
        self,
        contract_id: ContractId,
        function: str,
        argument: bytes,
        limit: int,
        *,
        keep: bool = True,
        deadline: Deadline | None = None,
        caller: ContractId | None = None,
    ) -> tuple[bytes, Frame]:
        """A top-level call: the returned data and its frame. With `keep` False a success is taken back, too.

        Whoever keeps it sets `torn` back to False when it is part of the transcript.

        `caller` is a contract that the called one sees as its caller, though it does not run.

        Raises:
            CallFailed: The call failed. Its events are in `events`, reverted.
        """
        self.answers = []
        if self.caught:
            self.caught = []
        self.nested = 0
        self.root_caller = caller
        if caller is not None:
            self._begin_for(caller, contract_id, function, argument)
        contract = self.contracts.open(contract_id)
        self.torn = True
        self._undo.settle(self._ran)
        self._ran = {contract.memory}
        if deadline is not None:
            self._begin_interruptible(deadline)
        frame = self.top = Frame(contract, function, limit, None)
        if caller is not None:
            frame.depth = 2
        first_event = len(self.events)
        outer = active.session
        active.session = self
        try:
            data = self._call(frame, argument)
        except BaseException as error:
            self._fail(frame, error, first_event)
            raise
        finally:
            active.session = outer
        if not keep:
            self._take_back(0)
            self._end()
            self.torn = False
        else:
            self._end()
        return data, frame

    def call(self, callee_id: ContractId, function: str, argument: bytes, limit: int) -> tuple[bytes, Frame]:
        """A nested call by the contract that runs: the returned data and the callee's frame.

        Raises:
            ContractDoesNotExist: As it says; nothing was charged, and no frame made.
            CallTooDeep: The same.
            CallFailed: The callee failed, and is undone.
        """
        caller = self.top
        if caller.depth >= CALL_DEPTH_MAX:
            raise CallTooDeep
        contract = self.contracts.open(callee_id)
        mark = self._undo.checkpoint(self._ran)
        if mark > caller.merge_at:
            mark = self._merge(caller)
        transient_mark = 0 if self.transient is None else self.transient.mark()
        first_event = len(self.events)
        self._ran = {contract.memory}
        frame = self.top = Frame(contract, function, limit, caller, mark)
        try:
            if function == "init":
                raise errors.InitializationError("init runs at deployment only")
            data = self._call(frame, argument)
        except errors.CallFailed as error:
            if isinstance(error, errors.TimeLimitExceeded):
                raise
            self._undo.rollback(mark, self._ran)
            if self.transient is not None:
                self.transient.rollback(transient_mark)
            revert(self.events, first_event)
            self._ran = {caller.contract.memory}
            self.top = caller
            frame.reason = str(error)
            caller.failed = frame
            self.caught.append((caller, len(caller.children), frame))
            raise
        self._ran.add(caller.contract.memory)
        self.top = caller
        caller.failed = None
        caller.children.append(frame)
        return data, frame

    def callers(self) -> Iterator[ContractId]:
        """The contracts that called the one that runs, nearest first."""
        frame = self.top.parent
        while frame is not None:
            yield frame.contract.id
            frame = frame.parent
        if self.root_caller is not None:
            yield self.root_caller

    def ask_hook(self, callee: ContractId, function: str, argument: bytes) -> None:
        """Asks the session's call hook, if it has one, before the contract that runs calls another.

        Raises:
            HookRefused: It does not allow the call.
        """
        self.nested += 1
        if self.hook is not None:
            self._ask_hook(callee, function, argument, (self.top.contract.id, *self.callers()))

    def _ask_hook(self, callee: ContractId, function: str, argument: bytes, stack: tuple[ContractId, ...]) -> None:
        assert self.hook is not None
        refusal = self.hook(callee, function, argument, stack)
        if refusal is not None:
            refusal = refusal.encode(errors="replace").decode()
            # The host's decision is an input of the call: where a price would be, it says which call was refused.
            self.answers.append(QueryAnswer(CALL_HOOK, self.nested, QueryFailure("Panic", refusal)))
            raise HookRefused(refusal)

    def check_time(self) -> None:
        """Ends a host function that takes long, if the call's time is up.

        Raises:
            TimeLimitExceeded: It is.
        """
        if self._deadline is not None and self._deadline.passed:
            raise errors.TimeLimitExceeded(self._deadline.seconds)

    def instantiate(self, contract: DeployedContract) -> None:
        """Makes the first instance of a contract that is being deployed, over the memory that its data was written to.

        Raises:
            ContractTrap: A segment does not fit its table.
        """
        contract.memory.log = self._undo
        contract.instance = Instance(contract.code, contract.memory)
        self._ran.add(contract.memory)

    def forget(self, memory: Memory) -> None:
        """Leaves a memory that is about to be closed alone."""
        self._ran.discard(memory)

    def settle(self) -> None:
        """Makes what the memories hold the state that failures go back to; afterwards memories may be closed."""
        self._undo.settle(self._ran)
        self._ran = set()

    def abandon(self) -> None:
        """Forgets what failures go back to; for a session that ends, or goes back to its base."""
        self._ran = set()
        self._undo.settle(())

    def _call(self, frame: Frame, argument: bytes) -> bytes:
        contract, limit = frame.contract, frame.limit
        code, memory = contract.code, contract.memory
        instance = contract.instance
        if not contract.used:
            contract.used = True
            memory.log = self._undo
            self._used.append(contract)
        if instance is None:
            if self._deadline is not None:
                code = self.contracts.interruptible(contract)
            instance = contract.instance = Instance(code, memory, deadline=self._deadline)
        frame.instance = instance
        length = len(argument)
        if length > ARGUMENT_BYTES_MAX:
            raise errors.MemoryAccessOutOfBounds(0, length, ARGUMENT_BYTES_MAX)
        if frame.function not in code.functions:
            raise errors.InvalidFunction(frame.function)
        if length:
            memory.write(code.argument, argument)
        instance.set_gas(limit)
        try:
            length = instance.call(frame.function, length)
        except errors.CallFailed as error:
            remaining = instance.remaining()
            frame.spent = limit - remaining
            if remaining or isinstance(error, errors.TimeLimitExceeded):
                raise
            raise errors.OutOfGas from error
        frame.spent = limit - instance.remaining()
        if length > ARGUMENT_BYTES_MAX:
            raise errors.MemoryAccessOutOfBounds(code.argument, length, memory.limit)
        return memory.read(code.argument, length)

    def _merge(self, frame: Frame) -> int:
        """Merges what was noted since a frame began, now that its callees have ended; where the log ends."""
        left = self._undo.merge(frame.mark)
        frame.merge_at = frame.mark + 2 * left + MERGED_MIN
        return frame.mark + left

    def _begin_for(self, caller: ContractId, callee: ContractId, function: str, argument: bytes) -> None:
        self.answers.append(QueryAnswer(ROOT_CALLER, 0, bytes(caller)))
        if self.contracts.find(caller) is None:
            raise errors.ContractDoesNotExist(caller)
        if self.hook is not None:
            self._ask_hook(callee, function, argument, (caller,))

    def _begin_interruptible(self, deadline: Deadline) -> None:
        for contract in self.contracts.all_loaded():
            contract.close_instance()
        self._deadline = deadline

    def _take_back(self, mark: int) -> None:
        self._undo.rollback(mark, self._ran)
        self._ran = set()

    def _fail(self, frame: Frame, error: BaseException, first_event: int) -> None:
        """Takes a top-level call back."""
        if isinstance(error, errors.CallFailed):
            self._take_back(0)
            revert(self.events, first_event)
            error.events = tuple(self.events[first_event:])
            error.gas_limit = frame.limit
            error.frames = failed_frames(frame, error)
        else:
            # An interrupt may have come between the engine and what it left to be taken: its instances are not used
            # again. Where memory itself was interrupted nothing can be taken back, and the session is over.
            active.pending = None
            for contract in self._used:
                contract.close_instance()
            try:
                self._take_back(0)
            except errors.EngineFailure:
                raise error from None
            if any(contract.memory.failure is not None for contract in self._used):
                raise error
            revert(self.events, first_event)
        self._end()
        self.torn = False

    def _end(self) -> None:
        """After a top-level call: instances that a fresh one could differ from are given up."""
        for contract in self._used:
            contract.used = False
            if contract.instance is not None and not contract.instance.reset():
                contract.close_instance()
        self._used = []
        self._deadline = None
        if self.transient is not None:
            self.transient.clear()


class HookRefused(errors.Panic):
    """The session's call hook refuses a call; its caller sees a panic of the callee, at no cost."""


class CallTooDeep(errors.CallFailed):
    """A callee would be one frame too many; only its caller sees this, as an unknown error."""

    kind = "SessionError"

    def __init__(self) -> None:
        super().__init__(f"more than {CALL_DEPTH_MAX} nested calls")
