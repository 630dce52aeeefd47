"""Typed values at the edge of a session: arguments to bytes, results to values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from piecrust.vm.errors import CompositeSerializerError
from piecrust.vm.limits import ARGUMENT_BYTES_MAX
from piecrust.vm.receipt import Receipt
from piecrust.vm.rkyv.codec import decode, encode
from piecrust.vm.rkyv.types import TypedValue

Raw = bytes | bytearray | memoryview


def encode_argument(arguments: tuple[object, ...]) -> bytes:
    """Values that know their type as one archive: several are a tuple's. Plain bytes are given as they are.

    Raises:
        EncodeError: A value does not know its type, or is out of its range.
    """
    if not arguments:
        return b""
    value: object = arguments[0] if len(arguments) == 1 else arguments
    if isinstance(value, Raw) and not isinstance(value, TypedValue):
        return bytes(value)
    return encode(value)


def decode_result(receipt: Receipt[bytes], returns: Any) -> Receipt[Any]:
    """The receipt with its data as a value of the type `returns`, or as it is if that is None.

    Raises:
        DecodeError: The data is no archive of that type.
    """
    return receipt if returns is None else replace(receipt, data=decode(receipt.data, returns))


def encode_metadata(value: object) -> bytes:
    """A metadata value as contracts read it.

    Raises:
        EncodeError: It does not know its type.
        CompositeSerializerError: It is longer than the argument buffer.
    """
    data = encode_argument((value,))
    if len(data) > ARGUMENT_BYTES_MAX:
        raise CompositeSerializerError("the metadata value", len(data), ARGUMENT_BYTES_MAX)
    return data
