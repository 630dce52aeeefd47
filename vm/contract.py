"""Contracts as objects: their functions as methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from piecrust.objects.ids import ContractId

if TYPE_CHECKING:
    from piecrust.vm.receipt import Receipt
    from piecrust.vm.session import Session


class Contract:
    """A contract in a session: `token.transfer(to, amount)` is `session.call(token.id, "transfer", to, amount)`."""

    __slots__ = ("_options", "_session", "id")

    def __init__(self, session: Session, contract_id: ContractId, options: dict[str, Any]) -> None:
        self.id = contract_id
        self._session = session
        self._options = options

    def __getattr__(self, function: str) -> Callable[..., Receipt[Any]]:
        if function.startswith("__"):
            raise AttributeError(function)

        def call(*arguments: object, **options: Any) -> Receipt[Any]:
            return self._session.call(self.id, function, *arguments, **{**self._options, **options})

        call.__name__ = call.__qualname__ = function
        return call
