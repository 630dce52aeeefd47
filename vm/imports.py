"""The host functions that contracts import.

Each takes the execution and the arguments that the contract gave (unsigned), and returns what the contract gets. Bad
pointers and lengths end the contract that gave them. Offsets are checked against the whole address range of the memory,
not its length, as in the original.
"""

from __future__ import annotations

import codecs

from piecrust.objects.ids import ContractId
from piecrust.objects.steps import QueryAnswer, QueryFailure
from piecrust.vm import errors, host, host_queries
from piecrust.vm.contracts import DeployedContract
from piecrust.vm.events import Event
from piecrust.vm.frame import Frame
from piecrust.vm.frames import CallTooDeep, Execution, HookRefused
from piecrust.vm.host_queries import HostQueryFailure, RegisteredQuery
from piecrust.vm.limits import (
    ARGUMENT_BYTES_MAX,
    CONTRACT_ID_BYTES,
    EVENT_BYTE_GAS,
    NAME_BYTES_MAX,
    callee_gas_limit,
)
from piecrust.vm.recorder import UNCONTAINED_KIND
from piecrust.vm.transient import TransientQuery, set_price

PANICKED = -1
OUT_OF_GAS = -2
NO_SUCH_CONTRACT = -3
UNKNOWN_ERROR = -(2**31)

HOST_QUERY_PANIC = "host query panicked"

# What transcripts say of queries that gave no answer.
UNPAID = QueryFailure("OutOfGas")
CONTAINED = QueryFailure("Panic", HOST_QUERY_PANIC)
UNCONTAINED = QueryFailure(UNCONTAINED_KIND)


def c(execution: Execution, callee_at: int, name_at: int, name_length: int, argument_length: int, gas: int) -> int:
    """Calls another contract: the length of what it returned, now in the argument buffer, or an error code."""
    frame = execution.top
    memory, instance, buffer = frame.memory, frame.instance, frame.buffer
    end = memory.limit
    if callee_at + CONTRACT_ID_BYTES > end:
        raise errors.MemoryAccessOutOfBounds(callee_at, CONTRACT_ID_BYTES, end)
    if name_at + name_length > end:
        raise errors.MemoryAccessOutOfBounds(name_at, name_length, end)
    if argument_length > ARGUMENT_BYTES_MAX:
        raise errors.MemoryAccessOutOfBounds(buffer, argument_length, end)
    try:
        function = _text(execution, name_at, name_length)
    except UnicodeDecodeError as error:
        raise errors.InvalidUtf8("function name", error.start) from None
    callee = ContractId(memory.read(callee_at, CONTRACT_ID_BYTES))
    argument = memory.read(buffer, argument_length)
    remaining = instance.remaining()
    limit = callee_gas_limit(gas, remaining)
    try:
        execution.ask_hook(callee, function, argument)
        data, called = execution.call(callee, function, argument, limit)
    except (errors.ContractDoesNotExist, CallTooDeep, HookRefused) as error:
        return _error_code(frame, error)
    except errors.TimeLimitExceeded:
        raise
    except errors.CallFailed as error:
        instance.set_gas(remaining - limit)
        return _error_code(frame, error)
    if data:
        memory.write(buffer, data)
    instance.set_gas(remaining - called.spent)
    return len(data)


def hq(execution: Execution, name_at: int, name_length: int, argument_length: int) -> int:
    """Asks a host query: the length of its answer, now in the argument buffer."""
    frame = execution.top
    memory, buffer = frame.memory, frame.buffer
    if name_at + name_length > memory.limit:
        raise errors.MemoryAccessOutOfBounds(name_at, name_length, memory.limit)
    if argument_length > ARGUMENT_BYTES_MAX:
        raise errors.MemoryAccessOutOfBounds(buffer, argument_length, memory.limit)
    name = _name(execution, name_at, name_length, "host query name")
    query = execution.host_queries.get(name)
    if query is None:
        raise errors.MissingHostQuery(name)
    argument = memory.read(buffer, argument_length)
    if isinstance(query, TransientQuery):
        answer = _transient(execution, frame, query, argument)
    else:
        try:
            answer = _ask(execution, frame, name, query, argument)
        except HostQueryFailure as failure:
            if not execution.contain_failures:
                raise
            raise errors.Panic(HOST_QUERY_PANIC) from failure.__cause__
    if answer:
        memory.write(buffer, answer)
    return len(answer)


def hd(execution: Execution, name_at: int, name_length: int) -> int:
    """Reads the session's metadata: the length of the value, now in the argument buffer; 0 for an unknown name."""
    frame = execution.top
    if name_at + name_length > frame.memory.limit:
        raise errors.MemoryAccessOutOfBounds(name_at, name_length, frame.memory.limit)
    value = execution.metadata.get(_name(execution, name_at, name_length, "metadata name"))
    if not value:
        return 0
    frame.memory.write(frame.buffer, value)
    return len(value)


def emit(execution: Execution, topic_at: int, topic_length: int, data_length: int) -> None:
    """Emits an event with the argument buffer's data, 4 gas per byte of topic and data."""
    frame = execution.top
    memory = frame.memory
    if topic_at + topic_length > memory.limit:
        raise errors.MemoryAccessOutOfBounds(topic_at, topic_length, memory.limit)
    if data_length > ARGUMENT_BYTES_MAX:
        raise errors.MemoryAccessOutOfBounds(frame.buffer, data_length, memory.limit)
    _charge(frame, EVENT_BYTE_GAS * (topic_length + data_length))
    data = memory.read(frame.buffer, data_length)
    try:
        topic = memory.read(topic_at, topic_length).decode()  # as long as it is: it was paid for
    except UnicodeDecodeError as error:
        raise errors.ContractTrap(f"event topic is not UTF-8 (at byte {error.start})") from None
    execution.events.append(Event(frame.contract.id, topic, data, reverted=False))


def feed(execution: Execution, length: int) -> None:
    """Hands the argument buffer's data to the feeder call's receiver, at once and for good."""
    data = _argument(execution.top, length)
    if execution.feed is None:
        raise errors.MissingFeed
    execution.feed(data)


def caller(execution: Execution) -> int:
    """1, and the calling contract's id in the argument buffer; 0 at the top."""
    frame = execution.top
    nearest = next(execution.callers(), None)
    if nearest is None:
        return 0
    frame.memory.write(frame.buffer, nearest)
    return 1


def callstack(execution: Execution) -> int:
    """How many calls are below this one; their contracts' ids, nearest first, are in the argument buffer."""
    frame = execution.top
    ids = list(execution.callers())
    if ids:
        frame.memory.write(frame.buffer, b"".join(ids))
    return len(ids)


def owner(execution: Execution, contract_at: int) -> int:
    """The length of a contract's owner, now in the argument buffer; 0 if there is none. A null pointer means itself."""
    frame = execution.top
    memory = frame.memory
    if contract_at + CONTRACT_ID_BYTES > memory.limit:
        raise errors.MemoryAccessOutOfBounds(contract_at, CONTRACT_ID_BYTES, memory.limit)
    contract: DeployedContract | None = frame.contract
    if contract_at:
        contract = execution.contracts.find(ContractId(memory.read(contract_at, CONTRACT_ID_BYTES)))
    if contract is None or not contract.owner:
        return 0
    memory.write(frame.buffer, contract.owner)
    return len(contract.owner)


def self_id(execution: Execution) -> None:
    """Puts the running contract's id into the argument buffer."""
    frame = execution.top
    frame.memory.write(frame.buffer, frame.contract.id)


def limit(execution: Execution) -> int:
    """The gas limit of the running call."""
    return execution.top.limit


def spent(execution: Execution) -> int:
    """What the running call has used of its limit, callees included."""
    frame = execution.top
    return frame.limit - frame.instance.remaining()


def panic(execution: Execution, length: int) -> None:
    """Gives up, with the message in the argument buffer."""
    raise errors.Panic(_message(execution.top, length, "panic message"))


def hdebug(execution: Execution, length: int) -> None:
    """Leaves a message for whoever debugs the contract; kept even if the call fails."""
    execution.debug_messages.append(_message(execution.top, length, "debug message"))


def _argument(frame: Frame, length: int) -> bytes:
    if length > ARGUMENT_BYTES_MAX:
        raise errors.MemoryAccessOutOfBounds(frame.buffer, length, frame.memory.limit)
    return frame.memory.read(frame.buffer, length)


def _message(frame: Frame, length: int, what: str) -> str:
    try:
        return _argument(frame, length).decode()
    except UnicodeDecodeError as error:
        raise errors.InvalidUtf8(what, error.start) from None


def _name(execution: Execution, offset: int, length: int, what: str) -> str:
    try:
        return _text(execution, offset, length)
    except UnicodeDecodeError as error:
        raise errors.ContractTrap(f"{what} is not UTF-8 (at byte {error.start})") from None


def _text(execution: Execution, offset: int, length: int) -> str:
    """Text in the contract's memory; of text that is too long for a name, a part that no name is equal to.

    Contracts pay nothing for its length, so what is long is read in pieces, up to its first error.
    """
    read = execution.top.memory.read
    if length <= NAME_BYTES_MAX:
        return read(offset, length).decode()
    decoder = codecs.getincrementaldecoder("utf-8")()
    beginning = ""
    for at in range(0, length, NAME_BYTES_MAX):
        execution.check_time()
        size = min(NAME_BYTES_MAX, length - at)
        try:
            piece = decoder.decode(read(offset + at, size), final=at + size == length)
        except UnicodeDecodeError as error:
            error.start += at - (len(error.object) - size)
            raise
        beginning = beginning or piece[:64]
    return f"{beginning}... ({length} bytes)"


def _charge(frame: Frame, gas: int) -> None:
    instance = frame.instance
    remaining = instance.remaining()
    if gas > remaining:
        instance.set_gas(0)
        raise errors.OutOfGas
    instance.set_gas(remaining - gas)


def _ask(execution: Execution, frame: Frame, name: str, query: RegisteredQuery, argument: bytes) -> bytes:
    """Prices, charges and executes a query, and keeps what it answered for the transcript."""
    asked = 0
    answer: bytes | QueryFailure = UNPAID
    try:
        if query.price is not None:
            asked = host_queries.price(query.price, argument)
            _charge(frame, asked)
        answer = host_queries.execute(query, argument)
    except HostQueryFailure:
        answer = CONTAINED if execution.contain_failures else UNCONTAINED
        raise
    finally:
        execution.answers.append(QueryAnswer(name, asked, answer))
    return answer


def _transient(execution: Execution, frame: Frame, query: TransientQuery, argument: bytes) -> bytes:
    storage = execution.transient
    assert storage is not None, "transient queries are offered with a storage only"
    if query is TransientQuery.GET:
        return storage.get(frame.contract.id, argument)
    _charge(frame, set_price(argument))
    storage.set(frame.contract.id, argument)
    return b""


def _error_code(frame: Frame, error: errors.CallFailed) -> int:
    """What a caller gets for its callee's failure; a panic's message goes into the argument buffer."""
    if isinstance(error, errors.Panic):
        message = error.message.encode()[: ARGUMENT_BYTES_MAX - 4]
        frame.memory.write(frame.buffer, len(message).to_bytes(4, "little") + message)
        return PANICKED
    if isinstance(error, errors.OutOfGas):
        return OUT_OF_GAS
    if isinstance(error, errors.ContractDoesNotExist):
        return NO_SUCH_CONTRACT
    return UNKNOWN_ERROR


HOST_FUNCTIONS = {
    function.__name__: function
    for function in (c, hq, hd, emit, feed, caller, callstack, owner, self_id, limit, spent, panic, hdebug)
}
host.install(HOST_FUNCTIONS)
