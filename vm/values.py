"""Typed values at the session's edge: arguments to bytes, results to values."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from piecrust.vm.errors import CompositeSerializerError
from piecrust.vm.limits import ARGUMENT_BYTES_MAX
from piecrust.vm.receipt import Receipt
from piecrust.vm.rkyv.annotations import rust_type
from piecrust.vm.rkyv.codec import Codec
from piecrust.vm.rkyv.infer import infer
from piecrust.vm.rkyv.types import RustType, TypedValue

Raw = bytes | bytearray | memoryview


def encode_argument(arguments: tuple[object, ...]) -> bytes:
    """Values that know their type, as one archive; no values are no bytes, and plain bytes are given as they are."""
    if not arguments:
        return b""
    value: object = arguments[0] if len(arguments) == 1 else arguments
    if isinstance(value, Raw) and not isinstance(value, TypedValue):
        return bytes(value)
    rust, plain = infer(value)
    return codec(rust).encode(plain)


def decode_result(receipt: Receipt[bytes], returns: Any) -> Receipt[Any]:
    """The receipt with its data as a value of the type `returns`, or as it is if that is None.

    Raises:
        DecodeError: The data is no archive of that type.
    """
    if returns is None:
        return receipt
    return replace(receipt, data=codec(rust_type(returns)).decode(receipt.data))


def encode_metadata(value: object) -> bytes:
    """A metadata value as contracts read it.

    Raises:
        CompositeSerializerError: It is longer than the argument buffer.
    """
    data = encode_argument((value,))
    if len(data) > ARGUMENT_BYTES_MAX:
        raise CompositeSerializerError("the metadata value", len(data), ARGUMENT_BYTES_MAX)
    return data


@lru_cache(maxsize=1024)
def codec(rust: RustType) -> Codec[Any]:
    """The codec of a type, compiled once."""
    return Codec(rust)
