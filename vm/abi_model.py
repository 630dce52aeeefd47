"""The interface of a contract: its functions, events and values in memory, with their types, ready to encode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from piecrust.vm.errors import EncodeError, InvalidAbi, InvalidArgument, InvalidType, NotInAbi, WrongArguments
from piecrust.vm.rkyv.codec import Codec, Compiler, codec
from piecrust.vm.rkyv.dynamic import is_name
from piecrust.vm.rkyv.types import NamedType, RustType, TupleType, is_plain, named_types

T = TypeVar("T")

VERSION = 1
"""Of the JSON document."""

INIT = "init"
ADDRESS_MAX = 1 << 42
"""Where the memory of a 64-bit contract ends."""


class Raw:
    """In place of a type: bytes as they are, of a contract that does not use rkyv there."""

    def __repr__(self) -> str:
        return "RAW"


RAW = Raw()


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a function."""

    name: str
    codec: Codec[Any]
    doc: str = ""

    @property
    def type(self) -> RustType:
        """The Rust type."""
        return self.codec.type


def together(arguments: Sequence[Argument], compiler: Compiler | None = None) -> Codec[Any] | None:
    """The codec for all arguments of a function: of the only one, or of a tuple of them. Raises `InvalidType`."""
    if len(arguments) < 2:
        return arguments[0].codec if arguments else None
    return Codec(TupleType(tuple(argument.type for argument in arguments)), compiler)


@dataclass(frozen=True, slots=True)
class Function:
    """A function that can be called.

    One argument is archived as it is, several as a tuple, none as `()`, which is no bytes: so `piecrust-uplink` has it.
    `arguments` is `RAW` for a function that takes bytes as they are, `returns` for one that returns such.
    """

    name: str
    arguments: tuple[Argument, ...] | Raw
    returns: Codec[Any] | Raw
    codec: Codec[Any] | None = None
    """Of the arguments together; None without arguments, and for raw ones."""
    query: bool = False
    """Whether it is meant to be asked without a change of state being kept."""
    doc: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        arguments: Mapping[str, Any] | Raw | None = None,
        returns: Any = None,
        *,
        query: bool = False,
        doc: str = "",
    ) -> Function:
        """A function whose types are written in any way that `piecrust.rkyv` knows, by default none and `()`.

        Raises `InvalidType`.
        """
        result = returns if isinstance(returns, Raw) else codec(returns)
        if isinstance(arguments, Raw):
            return cls(name, arguments, result, query=query, doc=doc)
        described = tuple(Argument(key, codec(written)) for key, written in (arguments or {}).items())
        return cls(name, described, result, together(described), query=query, doc=doc)

    def encode_arguments(self, arguments: Sequence[Any], named: Mapping[str, Any] | None = None) -> bytes:
        """The bytes that the function is called with.

        Raises:
            InvalidArgument: an argument does not fit its type; the error says which one.
            WrongArguments: there are too few or too many, or one that the function does not have.

        """
        if isinstance(self.arguments, Raw):
            return self._raw_argument(arguments, named or {})
        values = self._ordered(self.arguments, list(arguments), dict(named or {}))
        if self.codec is None:
            return b""
        try:
            return self.codec.encode(values[0] if len(values) == 1 else values)
        except EncodeError as error:
            raise self._invalid_argument(self.arguments, error) from None

    def decode_arguments(self, data: bytes) -> tuple[Any, ...]:
        """What `encode_arguments` was given in order. Raises `DecodeError`."""
        if isinstance(self.arguments, Raw):
            return (data,)
        if self.codec is None:
            return ()
        value = self.codec.decode(data)
        return (value,) if len(self.arguments) == 1 else tuple(value)

    def decode_result(self, data: bytes) -> Any:
        """The value that the function returned. Raises `DecodeError`."""
        return data if isinstance(self.returns, Raw) else self.returns.decode(data)

    def __str__(self) -> str:
        if isinstance(self.arguments, Raw):
            arguments = "raw"
        else:
            arguments = ", ".join(f"{argument.name}: {argument.type}" for argument in self.arguments)
        returns = "raw" if isinstance(self.returns, Raw) else str(self.returns.type)
        return f"{self.name}({arguments})" + (f" -> {returns}" if returns != "()" else "")

    def _ordered(self, wanted: Sequence[Argument], values: list[Any], named: dict[str, Any]) -> list[Any]:
        if len(values) > len(wanted):
            raise WrongArguments(str(self), f"takes {_count(len(wanted))}, got {len(values) + len(named)}")
        for argument in wanted[: len(values)]:
            if argument.name in named:
                raise WrongArguments(str(self), f"got {argument.name!r} twice")
        missing = [argument.name for argument in wanted[len(values) :] if argument.name not in named]
        values += [named.pop(argument.name) for argument in wanted[len(values) :] if argument.name in named]
        if named:
            raise WrongArguments(str(self), f"has no argument {next(iter(named))!r}")
        if missing:
            raise WrongArguments(str(self), f"takes {_count(len(wanted))}, lacks {', '.join(missing)}")
        return values

    def _invalid_argument(self, wanted: Sequence[Argument], error: EncodeError) -> EncodeError:
        """The error of the archive of all arguments as that of one of them."""
        if len(wanted) == 1:
            return InvalidArgument(self.name, 1, wanted[0].name, error)
        step, _, rest = error.path.partition(".")
        if not step:
            return error
        index = int(step)
        return InvalidArgument(self.name, index + 1, wanted[index].name, EncodeError(error.expected, error.got, rest))

    def _raw_argument(self, arguments: Sequence[Any], named: Mapping[str, Any]) -> bytes:
        if named or len(arguments) > 1:
            raise WrongArguments(str(self), "takes one bytes object at most")
        argument = arguments[0] if arguments else b""
        if not isinstance(argument, bytes | bytearray | memoryview):
            raise InvalidArgument(self.name, 1, "raw", EncodeError("bytes", type(argument).__name__))
        return bytes(argument)


def _count(number: int) -> str:
    return f"{number or 'no'} argument{'' if number == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class EventType:
    """What an event of a topic carries."""

    topic: str
    codec: Codec[Any] | Raw
    doc: str = ""

    @classmethod
    def of(cls, topic: str, written: Any, *, doc: str = "") -> EventType:
        """An event whose type is written in any way that `piecrust.rkyv` knows. Raises `InvalidType`."""
        return cls(topic, written if isinstance(written, Raw) else codec(written), doc)

    def decode(self, data: bytes) -> Any:
        """The value in an event's data. Raises `DecodeError`."""
        return data if isinstance(self.codec, Raw) else self.codec.decode(data)


@dataclass(frozen=True, slots=True)
class NamedValue:
    """A value at a fixed place of the contract's memory: a scalar, or an array, tuple or struct of scalars.

    `address` is None as long as only the `symbol` is known, the exported global that says it (see `Abi.located`).
    """

    name: str
    codec: Codec[Any]
    address: int | None = None
    symbol: str | None = None
    doc: str = ""

    @classmethod
    def of(
        cls, name: str, written: Any, *, address: int | None = None, symbol: str | None = None, doc: str = ""
    ) -> NamedValue:
        """A value whose type is written in any way that `piecrust.rkyv` knows. Raises `InvalidType`."""
        compiled = codec(written)
        if not is_plain(compiled.type):
            raise InvalidType(str(compiled.type), "more than scalars lies in memory otherwise than archived")
        return cls(name, compiled, address, symbol, doc)

    @property
    def size(self) -> int:
        """The length in bytes."""
        return self.codec.layout.size

    def decode(self, data: bytes) -> Any:
        """The value in the `size` bytes at its address. Raises `DecodeError`."""
        return self.codec.decode(data)


@dataclass(frozen=True, slots=True)
class ScratchRange:
    """Bytes of the contract's memory whose content means nothing between calls, as the stack (all in bytes)."""

    address: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Abi:
    """The interface of a contract. `name` and all docs are for people."""

    name: str = ""
    doc: str = ""
    types: Mapping[str, NamedType] = field(default_factory=dict)
    init: Function | None = None
    functions: Mapping[str, Function] = field(default_factory=dict)
    events: Mapping[str, EventType] = field(default_factory=dict)
    values: Mapping[str, NamedValue] = field(default_factory=dict)
    scratch: tuple[ScratchRange, ...] = ()

    @classmethod
    def of(
        cls,
        *functions: Function,
        name: str = "",
        doc: str = "",
        init: Function | None = None,
        events: Iterable[EventType] = (),
        values: Iterable[NamedValue] = (),
        scratch: Iterable[ScratchRange] = (),
    ) -> Abi:
        """The interface made of these parts; its `types` are the structs and enums in them.

        Raises `InvalidAbi` for two types of one name, or one whose name can not be written.
        """
        events, values = tuple(events), tuple(values)
        types: dict[str, NamedType] = {}
        for function in (*functions, *((init,) if init is not None else ())):
            for part in (function.codec, function.returns):
                _collect(part, types)
        for part in (*(event.codec for event in events), *(value.codec for value in values)):
            _collect(part, types)
        return cls(
            name=name,
            doc=doc,
            types=types,
            init=init,
            functions={function.name: function for function in functions},
            events={event.topic: event for event in events},
            values={value.name: value for value in values},
            scratch=tuple(scratch),
        )

    def function(self, name: str) -> Function:
        """The function of a name, `init` included. Raises `NotInAbi`."""
        if name == INIT and self.init is not None:
            return self.init
        return _find("function", name, self.functions)

    def event(self, topic: str) -> EventType:
        """The event of a topic. Raises `NotInAbi`."""
        return _find("event", topic, self.events)

    def value(self, name: str) -> NamedValue:
        """The value of a name in memory. Raises `NotInAbi`."""
        return _find("value", name, self.values)

    def value_class(self, name: str) -> type:
        """The Python class of a struct's or enum's values. Raises `NotInAbi`."""
        return _find("type", name, self.types).make


def _find(what: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise NotInAbi(what, name, tuple(known))
    return known[name]


def _collect(part: Codec[Any] | Raw | None, types: dict[str, NamedType]) -> None:
    """Adds the structs and enums in a type."""
    if isinstance(part, Codec):
        for rust in named_types(part.type):
            if types.setdefault(rust.name, rust) is not rust:
                raise InvalidAbi(f"two types are called {rust.name!r}", "types")
            if not is_name(rust.name):
                raise InvalidAbi(f"{rust.name!r} is not a name that can be written", "types")
