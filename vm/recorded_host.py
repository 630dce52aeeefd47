"""The host as a transcript has it: its queries answer what they answered, its call hook refuses what it refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from piecrust.objects.ids import ID_BYTES, ContractId
from piecrust.objects.steps import Call, Deploy, Migrate, QueryAnswer, QueryFailure, Step
from piecrust.vm.errors import OutOfGas
from piecrust.vm.frames import CALL_HOOK, ROOT_CALLER
from piecrust.vm.host_queries import RegisteredQuery


class NotAsRecorded(Exception):
    """Something was asked of the host that was not asked before."""


class FailedAsRecorded(Exception):
    """A query fails, as it did before."""


class RecordedHost:
    """Answers one call after another from what was recorded of it.

    `mismatch` is the first thing that was asked otherwise; answers that are left were not asked for.
    """

    def __init__(self) -> None:
        self.caller: ContractId | None = None
        self.mismatch: str | None = None
        self._left: deque[QueryAnswer] = deque()
        self._nested = 0

    def begin(self, answers: Iterable[QueryAnswer]) -> None:
        """A call begins that was given these answers."""
        self._left = deque(answers)
        self._nested, self.caller = 0, None
        if self._left and self._left[0].name == ROOT_CALLER:
            given = self._left.popleft().answer
            if isinstance(given, bytes) and len(given) == ID_BYTES:
                self.caller = ContractId(given)

    @property
    def left(self) -> str | None:
        """What was recorded and not asked for, None if nothing."""
        return repr(self._left[0].name) if self._left else None

    def query(self, name: str) -> RegisteredQuery:
        """The query of this name."""
        return RegisteredQuery(lambda _: self._price(name), lambda _: self._answer(name))

    def hook(self, callee: ContractId, function: str, argument: bytes, stack: tuple[ContractId, ...]) -> str | None:
        """The call hook: refuses the calls that it refused."""
        del callee, function, argument
        self._nested += stack != (self.caller,)
        if self._left and self._left[0].name == CALL_HOOK and self._left[0].price == self._nested:
            given = self._left.popleft().answer
            return given.detail if isinstance(given, QueryFailure) else None
        return None

    def _price(self, name: str) -> int:
        given = self._next(name)
        if isinstance(given.answer, QueryFailure) and given.answer.kind == OutOfGas.kind:
            self._left.popleft()  # it was not executed
        return given.price

    def _answer(self, name: str) -> bytes:
        given = self._next(name).answer
        self._left.popleft()
        if isinstance(given, QueryFailure):
            raise FailedAsRecorded(given.detail)
        return given

    def _next(self, name: str) -> QueryAnswer:
        if not self._left or self._left[0].name != name:
            self.mismatch = self.mismatch or f"{name!r} was asked, {self.left or 'nothing'} was recorded"
            raise NotAsRecorded(name)
        return self._left[0]


def asked(steps: Iterable[Step]) -> set[str]:
    """The names of the queries that were answered in these steps."""
    names: set[str] = set()
    for step in steps:
        match step:
            case Migrate(_, deploy, inner):
                names |= asked((deploy, *inner))
            case Call() | Deploy():
                names.update(answer.name for answer in step.answers if not answer.name.startswith("\0"))
    return names
