"""Arguments of calls as they are typed: `u64:5`, `(u64, bool):(5, true)`, `hex:00ff`, `str:text`, `@file`, or bare.

- `hex:` and `@file` are the argument's bytes themselves. Among several arguments they are `[u8; N]`, as an id is.
- A bare word is a value of the type that the contract's interface gives; without one it needs its type in front.
- For a `ContractId` that is a whole argument the contract's name or the first digits of its id will do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from piecrust.cli.command_errors import UsageError
from piecrust.cli.render import count
from piecrust.cli.value_reader import read_value
from piecrust.cli.words import parse_hex, read_bytes
from piecrust.objects.ids import ContractId
from piecrust.vm.abi_model import Argument as Parameter
from piecrust.vm.abi_model import Function, Raw
from piecrust.vm.rkyv.notation import parse
from piecrust.vm.rkyv.types import STRING, RustType
from piecrust.vm.rkyv.values import ByteArray, Typed

CONTRACT_ID = parse("ContractId")
_WHOLE_ID = re.compile(r"\s*(?:hex:|0x)?[0-9a-fA-F]{64}\s*")
_TYPED = re.compile(r"\s*([A-Za-z_(\[][^:\"']*?)\s*:(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RawArgument:
    """Bytes, passed on as they are."""

    data: bytes


@dataclass(frozen=True, slots=True)
class TypedArgument:
    """A value with the type that was written in front of it."""

    type: RustType
    value: Any


@dataclass(frozen=True, slots=True)
class BareArgument:
    """A value whose type only the contract's interface knows."""

    text: str


Argument: TypeAlias = RawArgument | TypedArgument | BareArgument


FindContract: TypeAlias = Callable[[str], ContractId]


def parse_argument(word: str, find_contract: FindContract | None = None) -> Argument:
    """What a word on the command line means.

    Args:
        word: as it was typed.
        find_contract: finds a contract by its name or the first digits of its id, where there is a store.

    Raises:
        UsageError: it begins like a typed value, and is none.
        FileProblem: the file after `@` cannot be read.
    """
    if word.startswith("@"):
        return RawArgument(read_bytes(word[1:]))
    found = _TYPED.fullmatch(word)
    if found is None:
        return BareArgument(word)
    name, text = found[1], found[2]
    if name == "hex":
        return RawArgument(parse_hex(text))
    rust = STRING if name == "str" else rust_type(name)
    return TypedArgument(rust, text if name == "str" else _read(rust, text, find_contract))


def _read(rust: RustType, text: str, find_contract: FindContract | None) -> Any:
    """A value as it is typed; a contract may be named."""
    if find_contract is not None and rust == CONTRACT_ID and not _WHOLE_ID.fullmatch(text):
        return find_contract(text)
    return read_value(rust, text)


def values(
    words: Sequence[str], function: Function | None = None, find_contract: FindContract | None = None
) -> list[object]:
    """The arguments of a call, as `Session.call` takes them.

    Args:
        words: as they were typed.
        function: what the contract's interface says of the function, if it has one.
        find_contract: finds a contract by its name or the first digits of its id, where there is a store.

    Raises:
        UsageError: a word has no type, or does not fit it; or there are too few or too many.
        InvalidArgument: a value is none of the type that the interface gives.
    """
    arguments = [parse_argument(word, find_contract) for word in words]
    parameters = None if function is None or isinstance(function.arguments, Raw) else function.arguments
    if parameters is not None and len(arguments) != len(parameters) and _all_bare(arguments):
        raise UsageError(f"{function} takes {count(len(parameters), 'argument')}, {len(arguments)} given")
    found: list[object] = []
    for index, argument in enumerate(arguments):
        match argument:
            case RawArgument():
                found.append(argument.data if len(arguments) == 1 else ByteArray(argument.data))
            case TypedArgument():
                found.append(Typed(argument.type, argument.value))
            case BareArgument() if function is not None and parameters is not None and index < len(parameters):
                found.append(_described(function, index, parameters[index], argument.text, find_contract))
            case BareArgument():
                raise UsageError(
                    f"the type of argument {index + 1}, {argument.text!r}, is not known",
                    hints=[f"u64:{argument.text}   (write the type in front)", f"str:{argument.text}"],
                )
    return found


def _all_bare(arguments: Sequence[Argument]) -> bool:
    return all(isinstance(argument, BareArgument) for argument in arguments)


def _described(
    function: Function, index: int, parameter: Parameter, text: str, find_contract: FindContract | None
) -> Typed:
    """A bare word as the value of a parameter that the interface describes."""
    from piecrust.vm.errors import EncodeError, InvalidArgument
    from piecrust.vm.rkyv.codec import encode

    try:
        value = _read(parameter.type, text, find_contract)
        encode(value, parameter.type)
    except UsageError as error:
        raise UsageError(f"argument {parameter.name!r}: {error}", hints=error.hints) from None
    except EncodeError as error:
        raise InvalidArgument(function.name, index + 1, parameter.name, error) from None
    return Typed(parameter.type, value)


def rust_type(text: str) -> RustType:
    """The type that `text` writes in Rust's notation.

    Raises:
        UsageError: it is none.
    """
    from piecrust.vm.errors import InvalidType

    try:
        return parse(text)
    except InvalidType as error:
        raise UsageError(
            f"{text!r} is not a type: {error}", hints=["u64, (u64, bool), Option<[u8; 32]>, ..."]
        ) from None
