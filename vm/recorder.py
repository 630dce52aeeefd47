"""The transcript of a session, written down as it goes: what leads from the base to the commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from piecrust.objects import transcript
from piecrust.objects.access import ObjectWriter
from piecrust.objects.ids import Address, BytecodeHash, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.steps import (
    Call,
    Deploy,
    Event,
    Failure,
    Migrate,
    QueryAnswer,
    RemoveMeta,
    SetMeta,
    Step,
    Success,
    feed_of,
)
from piecrust.objects.transcript import Transcript
from piecrust.vm import errors
from piecrust.vm.host_queries import HostQueryFailure
from piecrust.vm.receipt import Receipt

UNCONTAINED_KIND = "HostPanic"
"""The kind of a call's failure that a host query's own exception ended."""


class Recorder:
    """The steps of one session. What a call costs here is an append; steps are made when they are asked for."""

    def __init__(self, options: Transcript) -> None:
        self._options = replace(options, steps=()) if options.steps else options
        self._steps: list[Callable[[], Step] | Step] = list(options.steps)
        self._bytecodes: dict[BytecodeHash, bytes] = {}
        self._outer: list[Callable[[], Step] | Step] | None = None  # the steps before a migration that goes on

    def call(
        self,
        contract: ContractId,
        function: str,
        argument: bytes,
        receipt: Receipt[bytes],
        answers: list[QueryAnswer],
        fed: list[bytes] | None,
    ) -> None:
        """A call that returned."""
        limit, spent, data, events = receipt.gas_limit, receipt.gas_spent, receipt.data, receipt.events

        def step() -> Call:
            feed = None if fed is None else feed_of(fed)
            return Call(contract, function, argument, limit, Success(spent, data, events), tuple(answers), feed)

        self._steps.append(step)

    def failed_call(
        self,
        contract: ContractId,
        function: str,
        argument: bytes,
        gas_limit: int,
        failure: Failure,
        answers: list[QueryAnswer],
        fed: list[bytes] | None,
    ) -> None:
        """A call that failed."""
        feed = None if fed is None else feed_of(fed)
        self._steps.append(Call(contract, function, argument, gas_limit, failure, tuple(answers), feed))

    def deploy(self, bytecode: bytes, step: Deploy) -> None:
        """A deployment, also one whose `init` failed."""
        self._bytecodes[step.bytecode] = bytecode
        self._steps.append(step)

    def set_meta(self, name: str, value: bytes) -> None:
        """A change of the metadata."""
        self._steps.append(SetMeta(name, value))

    def remove_meta(self, name: str) -> None:
        """A removal from the metadata."""
        self._steps.append(RemoveMeta(name))

    def begin_migration(self) -> None:
        """From here to `end_migration` steps are those of a migration: the deployment first."""
        assert self._outer is None, "migrations do not nest"
        self._outer, self._steps = self._steps, []

    def end_migration(self, contract: ContractId) -> None:
        """The contract with this id was replaced."""
        assert self._outer is not None, "a migration goes on"
        deploy, *steps = self._made()
        assert isinstance(deploy, Deploy), "migrations begin with the deployment"
        self._outer.append(Migrate(contract, deploy, tuple(steps)))
        self._steps, self._outer = self._outer, None

    def reset(self) -> None:
        """Forgets every step."""
        self._steps, self._outer = [], None
        self._bytecodes = {}

    @property
    def metadata(self) -> Mapping[str, bytes]:
        """What the session's metadata was when it began."""
        return self._options.metadata

    def steps(self) -> tuple[Step, ...]:
        """Every step so far."""
        return tuple(self._made())

    def write(self, writer: ObjectWriter) -> Address | None:
        """Stages the transcript, with the bytecode of its deployments; None if nothing was done."""
        if not self._steps:
            return None
        for address, bytecode in self._bytecodes.items():
            writer.put(Kind.BYTECODE, address, bytecode)
        return transcript.store(writer, replace(self._options, steps=self.steps()))

    def _made(self) -> list[Step]:
        made = [step() if callable(step) else step for step in self._steps]
        self._steps = [*made]
        return made


def failure_of(error: errors.CallFailed | HostQueryFailure, events: Iterable[Event]) -> Failure:
    """What a transcript says of a failure: nothing that depends on the machine."""
    if isinstance(error, HostQueryFailure):
        return Failure(UNCONTAINED_KIND, "", tuple(events))
    match error:
        case errors.Panic():
            detail = error.message
        case errors.InvalidFunction() | errors.MissingHostQuery():
            detail = error.name
        case _:
            detail = ""
    return Failure(error.kind or type(error).__name__, detail, tuple(events))


def pending_events(steps: Iterable[Step]) -> list[Event]:
    """The events of failed calls that no receipt has had yet."""
    pending: list[Event] = []
    for step in steps:
        if isinstance(step, Migrate):
            for inner in (step.deploy, *step.steps):
                pending = _pending_after(pending, inner)
        else:
            pending = _pending_after(pending, step)
    return pending


def metadata_after(metadata: Mapping[str, bytes], steps: Iterable[Step]) -> dict[str, bytes]:
    """The metadata of a session that began with `metadata`, after its steps."""
    values = dict(metadata)
    for step in steps:
        match step:
            case SetMeta(name, value):
                values[name] = value
            case RemoveMeta(name):
                values.pop(name, None)
            case Migrate(_, _, inner):
                values = metadata_after(values, inner)
    return values


def _pending_after(pending: list[Event], step: Step) -> list[Event]:
    match step:
        case Call(outcome=Success()) | Deploy(outcome=Success()):
            return []
        case Call(outcome=Failure(events=events)) | Deploy(outcome=Failure(events=events)):
            return [*pending, *events]
    return pending
