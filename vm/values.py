"""Typed values at the edge of a session: arguments to bytes, results to values.

Values that know their type are encoded as what they are; other values need the interface that a contract carries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from piecrust.objects.ids import BytecodeHash, Hash
from piecrust.vm import abi
from piecrust.vm.abi import Abi, Function, Raw
from piecrust.vm.errors import CompositeSerializerError, InvalidAbi, InvalidName
from piecrust.vm.limits import ARGUMENT_BYTES_MAX
from piecrust.vm.receipt import Receipt
from piecrust.vm.rkyv.codec import decode, encode
from piecrust.vm.rkyv.declare import TaggedUnion, declaration
from piecrust.vm.rkyv.types import TypedValue, is_bytes
from piecrust.vm.rkyv.values import Typed

INTERFACES_MAX = 1024

Bytes = bytes | bytearray | memoryview


class Encoded(bytes):
    """Bytes that are an argument already, whatever the interface says."""

    __slots__ = ()


class Interfaces:
    """The interfaces of contracts, each read from its bytecode when first asked for. For any number of threads."""

    def __init__(self) -> None:
        self._known: dict[BytecodeHash, Abi | InvalidAbi | None] = {}

    def add(self, bytecode: BytecodeHash, interface: Abi) -> None:
        """Makes an interface known that is not in the bytecode, but beside it."""
        self._known[bytecode] = interface

    def get(self, bytecode: BytecodeHash, read: Callable[[], bytes]) -> Abi | None:
        """The interface of a contract, None if it carries none.

        Raises:
            InvalidAbi: What it carries makes no sense.
        """
        if bytecode not in self._known:
            if len(self._known) >= INTERFACES_MAX:
                self._known.clear()
            try:
                self._known[bytecode] = abi.extract(read())
            except InvalidAbi as error:
                self._known[bytecode] = error
        found = self._known[bytecode]
        if isinstance(found, InvalidAbi):
            raise found
        return found


def encode_arguments(
    arguments: Sequence[object], function: Function | None = None, named: Mapping[str, object] | None = None
) -> bytes:
    """The argument's bytes: by the types of the values if all of them have one, else by the function's interface.

    Several values are archived as a tuple, none are no bytes. One bytes object is given as it is, unless the interface
    says that the function takes bytes.

    Raises:
        EncodeError: A value does not fit, or its type is not known.
        WrongArguments: Their number, or a name, is not the function's.
    """
    if not arguments and not named and (function is None or isinstance(function.arguments, Raw)):
        return b""
    if len(arguments) == 1 and not named and _is_raw(arguments[0], function):
        return bytes(arguments[0])  # type: ignore[call-overload,no-any-return]  # checked there
    if function is not None and (named or not arguments or not all(map(_has_type, arguments))):
        return function.encode_arguments(arguments, named)
    return encode(arguments[0] if len(arguments) == 1 else tuple(arguments))


def decode_result(receipt: Receipt[bytes], returns: Any, function: Function | None = None) -> Receipt[Any]:
    """The receipt with its data as a value of the type `returns`, else as the interface says, else as it is.

    Raises:
        DecodeError: The data is no archive of that type.
    """
    if returns is not None:
        return replace(receipt, data=decode(receipt.data, returns))
    return receipt if function is None else replace(receipt, data=function.decode_result(receipt.data))


def encode_metadata(name: str, value: object) -> bytes:
    """A metadata value as contracts read it, by this name.

    Raises:
        InvalidName: Nothing can have this name.
        EncodeError: It does not know its type.
        CompositeSerializerError: It is longer than the argument buffer.
    """
    if not encodable(name):
        raise InvalidName(name)
    data = encode_arguments((value,))
    if len(data) > ARGUMENT_BYTES_MAX:
        raise CompositeSerializerError("the metadata value", len(data), ARGUMENT_BYTES_MAX)
    return data


def encodable(text: str) -> bool:
    """Whether text can be written down: Python's may have halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_raw(value: object, function: Function | None) -> bool:
    if not isinstance(value, Bytes) or isinstance(value, TypedValue | Hash):
        return False
    if isinstance(value, Encoded):
        return True
    if function is None or isinstance(function.arguments, Raw):
        return True
    return len(function.arguments) != 1 or not is_bytes(function.arguments[0].type)


def _has_type(value: object) -> bool:
    """Whether a value says what Rust type it is of, by its own class."""
    return isinstance(value, TypedValue | Typed | TaggedUnion | Hash) or declaration(type(value)) is not None
