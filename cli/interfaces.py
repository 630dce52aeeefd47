"""What contracts say of themselves, as commands use it: types of arguments and results, events and values decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from piecrust.cli.arguments import rust_type
from piecrust.cli.value_writer import json_value, show_value
from piecrust.objects.ids import ContractId
from piecrust.vm.abi_model import Abi, Function, Raw
from piecrust.vm.errors import DecodeError

if TYPE_CHECKING:
    from piecrust.objects.steps import Event as RecordedEvent
    from piecrust.vm.events import Event
    from piecrust.vm.rkyv.types import RustType


def function_in(interface: Abi | None, name: str) -> Function | None:
    """What an interface says of a function; None if it says nothing."""
    return None if interface is None else interface.functions.get(name)


def result_type(function: Function | None, returns: str | None) -> RustType | None:
    """The type of a result: as asked for, else as the interface says, else None (bytes)."""
    if returns is not None:
        return rust_type(returns)
    return None if function is None or isinstance(function.returns, Raw) else function.returns.type


class Interfaces:
    """The interfaces of a state's contracts, each looked up once."""

    def __init__(self, look_up: Callable[[ContractId], Abi | None]) -> None:
        self._look_up = look_up
        self._known: dict[ContractId, Abi | None] = {}

    def of(self, contract: ContractId) -> Abi | None:
        """The interface of a contract, None if it carries none."""
        if contract not in self._known:
            self._known[contract] = self._look_up(contract)
        return self._known[contract]

    def add(self, contract: ContractId, interface: Abi | None) -> None:
        """Note the interface of a contract that no state has yet."""
        self._known[contract] = interface

    def event(self, event: Event | RecordedEvent) -> tuple[str, Any] | None:
        """What an event carries, for people and for the envelope; None if its contract does not say."""
        interface = self.of(event.source)
        described = None if interface is None else interface.events.get(event.topic)
        if described is None or isinstance(described.codec, Raw):
            return None
        try:
            value = described.decode(event.data)
        except DecodeError:
            return None
        rust = described.codec.type
        return show_value(rust, value), json_value(rust, value)
