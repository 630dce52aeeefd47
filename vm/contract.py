"""Contracts as objects: their functions as methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from piecrust.objects.ids import ContractId
from piecrust.vm.abi import Abi, Function, Raw
from piecrust.vm.values import Encoded, encode_arguments

if TYPE_CHECKING:
    from piecrust.vm.receipt import Receipt
    from piecrust.vm.session import Session

OPTIONS = frozenset({"gas_limit", "returns", "time_limit"})


class Contract:
    """A contract in a session: `token.transfer(to, amount)` calls its function `transfer`.

    Arguments are as `Session.call` takes them, and by name where the contract carries its interface; `gas_limit`,
    `returns` and `time_limit` are options of the call. Functions that the interface calls queries are asked without
    leaving a trace. A function whose name is taken is reached with `contract["id"]`.
    """

    __slots__ = ("_options", "_session", "id", "interface")

    def __init__(
        self, session: Session, contract_id: ContractId, interface: Abi | None, options: dict[str, Any]
    ) -> None:
        self.id = contract_id
        self.interface = interface
        self._session = session
        self._options = options

    def __getattr__(self, name: str) -> Callable[..., Receipt[Any]]:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Callable[..., Receipt[Any]]:
        function = None if self.interface is None else self.interface.functions.get(name)
        session = self._session
        use = session.query if function is not None and function.query else session.call

        def call(*arguments: object, **named: Any) -> Receipt[Any]:
            options = {**self._options, **{key: named.pop(key) for key in OPTIONS & named.keys()}}
            if named:
                if function is None:
                    raise TypeError(f"{name}: arguments have no names without an interface")
                arguments = (Encoded(encode_arguments(arguments, function, named)),)
            return use(self.id, name, *arguments, **options)

        call.__name__ = call.__qualname__ = name
        call.__doc__ = None if function is None else describe(function)
        return call

    def __dir__(self) -> Iterable[str]:
        functions = () if self.interface is None else self.interface.functions
        return sorted({*super().__dir__(), *functions})

    def __repr__(self) -> str:
        name = f" {self.interface.name}" if self.interface is not None and self.interface.name else ""
        return f"<Contract{name} {self.id.short()}>"


def describe(function: Function) -> str:
    """A docstring: the signature, what it does, and what its arguments mean."""
    lines = [str(function)]
    if function.doc:
        lines += ["", function.doc]
    if not isinstance(function.arguments, Raw) and any(argument.doc for argument in function.arguments):
        lines += ["", "Args:"]
        lines += [f"    {argument.name}: {argument.doc}" for argument in function.arguments]
    return "\n".join(lines)
