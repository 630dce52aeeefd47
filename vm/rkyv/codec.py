r"""Types compiled once, ready to encode and decode.

>>> from piecrust.vm.rkyv.values import u64
>>> archive = encode((u64(1), True))
>>> archive.hex()
'01000000000000000100000000000000'
>>> decode(archive, tuple[u64, bool])
(1, True)
>>> decode(archive, "(u64, bool)")
(1, True)
>>> decode(archive[:8] + b"\2" + archive[9:], tuple[u64, bool])
Traceback (most recent call last):
...
piecrust.vm.errors.DecodeError: 1 (byte 8): expected bool (0 or 1), got 2
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Generic, TypeVar, overload

from piecrust.vm.errors import InvalidType
from piecrust.vm.rkyv.annotations import rust_type
from piecrust.vm.rkyv.decode import Decoders
from piecrust.vm.rkyv.encode import Encoders
from piecrust.vm.rkyv.flat import Flats
from piecrust.vm.rkyv.infer import infer
from piecrust.vm.rkyv.layout import Layout, Layouts
from piecrust.vm.rkyv.mismatch import Mismatch, describe
from piecrust.vm.rkyv.reader import Limits, Reader
from piecrust.vm.rkyv.steps import reserve
from piecrust.vm.rkyv.types import RustType

T = TypeVar("T")

LIMITS = Limits()
"""The limits of a decoder that is not given others."""


class Compiler:
    """What codecs of types that have parts in common may share."""

    def __init__(self) -> None:
        self.layouts = Layouts()
        self.flats = Flats(self.layouts)
        self.encoders = Encoders(self.layouts, self.flats)
        self.decoders = Decoders(self.layouts, self.flats)


class Codec(Generic[T]):
    """Encodes values of one type and decodes archives of it.

    An archive ends with the archived value itself, its *root*; what the root points to lies before it. Codecs are
    immutable and may be shared between threads.
    """

    __slots__ = ("_decoder", "_encoder", "_flat", "_pack", "_unpack", "layout", "type")

    def __init__(self, rust: RustType, compiler: Compiler | None = None) -> None:
        """Compiles a type. Raises `InvalidType` for one that is infinite, too large or has keys without an order."""
        compiler = compiler or Compiler()
        self.type = rust
        try:
            self.layout: Layout = compiler.layouts.of(rust)
            self._encoder = compiler.encoders.of(rust)
            self._decoder = compiler.decoders.of(rust)
            self._flat = compiler.flats.of(rust)
        except RecursionError:
            raise InvalidType("a type", "nested too deeply") from None
        if self._flat is not None:
            packer = self._flat.packer()
            self._pack, self._unpack = packer.pack, packer.unpack_from

    def __repr__(self) -> str:
        return f"<Codec of {self.type}>"

    def encode(self, value: Any) -> bytes:
        """The archive of a value. Raises `EncodeError`, with the path to what does not fit."""
        try:
            if self._flat is not None:
                leaves: list[Any] = []
                self._flat.take(leaves, value)
                return self._pack(*leaves)
            return self._encode_parts(value)
        except Mismatch as mismatch:
            raise mismatch.as_encode_error() from None
        except RecursionError:
            raise Mismatch(str(self.type), "a value nested too deeply").as_encode_error() from None

    def decode(self, data: bytes | bytearray | memoryview, limits: Limits = LIMITS) -> T:
        """The value in an archive, which may come from anybody.

        Accepts what rkyv's `check_archived_root` accepts, up to the limits. Raises `DecodeError`.
        """
        try:
            return self._decode(_checked_bytes(data, limits), limits)
        except Mismatch as mismatch:
            raise mismatch.as_decode_error() from None
        except RecursionError:
            raise Mismatch(str(self.type), "a value nested too deeply").as_decode_error() from None

    def _encode_parts(self, value: Any) -> bytes:
        out = bytearray()
        prepared = self._encoder.prepare(out, value)
        root = reserve(out, self.layout.align, self.layout.size)
        self._encoder.place(out, root, prepared)
        return bytes(out)

    def _decode(self, data: bytes, limits: Limits) -> T:
        layout = self.layout
        root = len(data) - layout.size
        if root < 0:
            raise Mismatch(f"{self.type} of at least {layout.size} bytes", f"{len(data)} bytes")
        if root & (layout.align - 1):
            raise Mismatch(f"{self.type} aligned to {layout.align}", f"{len(data)} bytes", root)
        flat = self._flat
        if flat is None:
            reader = Reader(data, limits)
            reader.enter(root, layout.size, layout.align, root)
            reader.spend(layout.values, layout.nesting, root)
            return self._decoder.read(reader, root)  # type: ignore[no-any-return]  # made for this type
        try:
            return flat.build(self._unpack(data, root), 0)  # type: ignore[no-any-return]  # made for this type
        except Mismatch as mismatch:
            mismatch.offset = root + flat.offset(mismatch.offset)
            raise


def _checked_bytes(data: bytes | bytearray | memoryview, limits: Limits) -> bytes:
    if not isinstance(data, bytes):
        if not isinstance(data, bytearray | memoryview):
            raise Mismatch("bytes", describe(data))
        data = bytes(data)
    if len(data) > limits.bytes_max:
        raise Mismatch(f"at most {limits.bytes_max} bytes", f"{len(data)} bytes")
    return data


@overload
def codec(as_type: type[T]) -> Codec[T]: ...


@overload
def codec(as_type: Any) -> Codec[Any]: ...


def codec(as_type: Any) -> Codec[Any]:
    """The codec of a type, compiled once: of an annotation, a class, Rust notation in a string, or a `RustType`.

    Raises `InvalidType`.
    """
    try:
        return _compiled(as_type)
    except TypeError:
        if _is_hashable(as_type):
            raise
        raise InvalidType(str(as_type), "no Rust type is written like this") from None


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


@lru_cache(maxsize=1024)
def _compiled(as_type: Any) -> Codec[Any]:
    return Codec(rust_type(as_type))


def encode(value: Any, as_type: Any = None) -> bytes:
    """The archive of a value, by default of the type that the value tells.

    Raises:
        EncodeError: the value does not fit the type, or tells none (see `piecrust.rkyv` for those that do).
        InvalidType: `as_type` is no type.

    """
    if as_type is None:
        as_type, value = infer(value)
    return codec(as_type).encode(value)


@overload
def decode(data: bytes | bytearray | memoryview, as_type: type[T], limits: Limits = LIMITS) -> T: ...


@overload
def decode(data: bytes | bytearray | memoryview, as_type: Any, limits: Limits = LIMITS) -> Any: ...


def decode(data: bytes | bytearray | memoryview, as_type: Any, limits: Limits = LIMITS) -> Any:
    """The value in an archive of a type, which may come from anybody.

    Raises:
        DecodeError: the bytes are no valid archive of the type, or exceed the limits.
        InvalidType: `as_type` is no type.

    """
    return codec(as_type).decode(data, limits)
