"""Deployments and calls of a session, each with its receipt and its step in the transcript.

What the host ended (a time limit, an interrupt, a damaged page) is undone and leaves no trace; what the contract, its
gas or a host query ended is undone and recorded, and its events come first in the next receipt.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import NoReturn

from blake3 import blake3
from piecrust.objects.ids import BytecodeHash, ContractId
from piecrust.objects.steps import Deploy, Success
from piecrust.vm import errors, stack
from piecrust.vm.contracts import DeployedContract
from piecrust.vm.deadline import Deadline
from piecrust.vm.frame import Frame
from piecrust.vm.frames import Execution, Feed
from piecrust.vm.host_queries import HostQueryFailure
from piecrust.vm.instance import apply_segments
from piecrust.vm.limits import ARGUMENT_BYTES_MAX, GAS_LIMIT_MAX, OWNER_OVERHEAD_BYTES
from piecrust.vm.memory import Memory
from piecrust.vm.modules import Modules
from piecrust.vm.receipt import Receipt, call_tree, failed_calls
from piecrust.vm.recorder import Recorder, failure_of
from piecrust.vm.values import encodable

INIT = "init"


class Calls:
    """What a session can run."""

    __slots__ = ("_execution", "_modules", "_recorder")

    def __init__(self, execution: Execution, modules: Modules, recorder: Recorder) -> None:
        self._execution = execution
        self._modules = modules
        self._recorder = recorder

    def call(
        self,
        contract: ContractId,
        function: str,
        argument: bytes,
        gas_limit: int,
        time_limit: float | None,
        feed: Feed | None = None,
        caller: ContractId | None = None,
    ) -> Receipt[bytes]:
        """A call whose changes stay, unless it fails.

        Raises:
            CallFailed: and the state is as it was.
        """
        _check(function, gas_limit, time_limit)
        execution, recorder = self._execution, self._recorder
        first_event = len(execution.events)
        fed: list[bytes] | None = None
        if feed is not None:
            fed = []
            execution.feed = _remembering(feed, fed)
        try:
            data, frame = self._run(contract, function, argument, gas_limit, time_limit, caller=caller)
        except errors.TimeLimitExceeded:
            del execution.events[first_event:]
            raise
        except (errors.CallFailed, HostQueryFailure) as error:
            failure = failure_of(error, execution.events[first_event:])
            recorder.failed_call(contract, function, argument, gas_limit, failure, execution.answers, fed)
            _raise(error)
        except BaseException:
            del execution.events[first_event:]
            raise
        finally:
            execution.feed = None
        receipt = self._receipt(data, frame)
        recorder.call(contract, function, argument, receipt, execution.answers, fed)
        execution.torn = False
        return receipt

    def query(
        self, contract: ContractId, function: str, argument: bytes, gas_limit: int, time_limit: float | None
    ) -> Receipt[bytes]:
        """A call that is taken back even if it succeeds, and leaves no trace in the transcript.

        Raises:
            CallFailed: as `call`.
        """
        _check(function, gas_limit, time_limit)
        execution = self._execution
        pending, execution.events = execution.events, []
        try:
            data, frame = self._run(contract, function, argument, gas_limit, time_limit, keep=False)
            return self._receipt(data, frame)
        except HostQueryFailure as failure:
            _raise(failure)
        finally:
            execution.events = pending

    def deploy(
        self, bytecode: bytes, owner: bytes, contract_id: ContractId | None, init: bytes | None, gas_limit: int
    ) -> tuple[ContractId, Receipt[bytes] | None]:
        """A contract, after its `init` ran if it has one; what `init` gave back.

        Raises:
            InitializationError: There is a contract with this id.
            ContractRefused: The bytecode breaks a rule.
            CompositeSerializerError: The owner is too long.
            CallFailed: `init` failed, and everything is as it was.
        """
        _check_gas_limit(gas_limit)
        execution, contracts = self._execution, self._execution.contracts
        bytecode_hash = BytecodeHash(blake3(bytecode).digest())
        if contract_id is None:
            contract_id = ContractId(bytecode_hash)
        if contract_id in contracts:
            raise errors.InitializationError(f"a contract with the id {contract_id.hex()} exists")
        code = self._modules.compile(bytecode, bytecode_hash)
        _check_owner(owner)
        contract = DeployedContract(contract_id, owner, bytecode_hash)
        contract.bytecode, contract.code = bytecode, code
        contract.memory = Memory(code.kind, code.initial_length)
        try:
            contracts.add(contract)
            apply_segments(code, contract.memory)
            execution.instantiate(contract)
            receipt = self._initialize(contract, init, gas_limit)
        except BaseException:
            if not execution.torn:
                execution.torn = True
                execution.forget(contract.memory)
                contracts.remove(contract)
                execution.torn = False
            raise
        execution.torn = False
        return contract_id, receipt

    def _initialize(self, contract: DeployedContract, argument: bytes | None, gas_limit: int) -> Receipt[bytes] | None:
        """Runs `init` of a contract that is being deployed, if it has one, and tells the transcript.

        When it returns, `torn` is still set.
        """
        execution, recorder = self._execution, self._recorder
        assert contract.bytecode is not None, "a contract that is being deployed has its bytecode"
        step = Deploy(contract.id, contract.bytecode_hash, contract.owner, argument, gas_limit, None)
        if INIT not in contract.code.functions:
            execution.torn = True
            recorder.deploy(contract.bytecode, step)
            return None
        first_event = len(execution.events)
        try:
            data, frame = self._run(contract.id, INIT, argument or b"", gas_limit, None)
        except (errors.CallFailed, HostQueryFailure) as error:
            failure = failure_of(error, execution.events[first_event:])
            recorder.deploy(contract.bytecode, replace(step, outcome=failure, answers=tuple(execution.answers)))
            _raise(error)
        except BaseException:
            del execution.events[first_event:]
            raise
        receipt = self._receipt(data, frame)
        success = Success(receipt.gas_spent, receipt.data, receipt.events)
        recorder.deploy(contract.bytecode, replace(step, outcome=success, answers=tuple(execution.answers)))
        return receipt

    def _run(
        self,
        contract: ContractId,
        function: str,
        argument: bytes,
        gas_limit: int,
        time_limit: float | None,
        *,
        keep: bool = True,
        caller: ContractId | None = None,
    ) -> tuple[bytes, Frame]:
        run = self._execution.run
        if time_limit is None and stack.ensure_room():
            return run(contract, function, argument, gas_limit, keep=keep, caller=caller)
        with nullcontext() if time_limit is None else Deadline(time_limit) as deadline:
            return stack.run(
                lambda: run(contract, function, argument, gas_limit, keep=keep, deadline=deadline, caller=caller)
            )

    def _receipt(self, data: bytes, frame: Frame) -> Receipt[bytes]:
        execution = self._execution
        events, execution.events = tuple(execution.events), []
        caught = failed_calls(frame, execution.caught) if execution.caught else ()
        return Receipt(data, frame.spent, frame.limit, events, call_tree(frame), caught)


def _remembering(feed: Feed, fed: list[bytes]) -> Feed:
    """A receiver that keeps what it passes on, for the transcript."""

    def receive(data: bytes) -> None:
        fed.append(data)
        feed(data)

    return receive


def _raise(error: BaseException) -> NoReturn:
    """Raises a call's failure; where no contract was told of a query's, the query's own exception."""
    if isinstance(error, HostQueryFailure) and error.__cause__ is not None:
        raise error.__cause__
    raise error


def _check(function: str, gas_limit: int, time_limit: float | None) -> None:
    _check_gas_limit(gas_limit)
    if time_limit is not None and not time_limit > 0:
        raise errors.TimeLimitInvalid(time_limit)
    if function == INIT:
        raise errors.InitializationError("init runs at deployment only")
    if not function.isascii() and not encodable(function):
        raise errors.InvalidFunction(function)


def _check_gas_limit(gas_limit: int) -> None:
    if not isinstance(gas_limit, int) or not 0 <= gas_limit <= GAS_LIMIT_MAX:
        raise errors.GasLimitInvalid(gas_limit)


def _check_owner(owner: bytes) -> None:
    """The owner has to fit into the buffer that the original serializes a contract's metadata into."""
    length = (len(owner) + 3) // 4 * 4 + OWNER_OVERHEAD_BYTES
    if length > ARGUMENT_BYTES_MAX:
        raise errors.CompositeSerializerError("the metadata with this owner", length, ARGUMENT_BYTES_MAX)
