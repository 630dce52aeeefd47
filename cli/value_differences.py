"""What two states say, decoded: the answers of query functions, and the places that an interface's memory map names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from piecrust.cli.arguments import rust_type
from piecrust.cli.changes import read_memory
from piecrust.cli.command import settings
from piecrust.cli.command_errors import UsageError
from piecrust.cli.interfaces import function_in, result_type
from piecrust.cli.value_writer import json_value, show_value
from piecrust.cli.working_state import open_vm
from piecrust.vm.errors import CallFailed, ContractDoesNotExist, DecodeError

if TYPE_CHECKING:
    from piecrust.cli.changes import ChangedContract
    from piecrust.cli.working_state import WorkingState
    from piecrust.objects.ids import ContractId
    from piecrust.vm.abi_model import NamedValue
    from piecrust.vm.rkyv.types import RustType
    from piecrust.vm.vm import VM

NOTHING = "nothing"
WORKING = "the working state"


@dataclass(frozen=True, slots=True)
class ValueDifference:
    """A named value that differs: for people and for the envelope."""

    name: str
    old: str
    new: str
    old_data: Any
    new_data: Any


def value_differences(
    context: typer.Context,
    at: WorkingState,
    old: str,
    new: str,
    changes: Sequence[ChangedContract],
    questions: Sequence[str],
) -> dict[ContractId, list[ValueDifference]]:
    """The values that differ, by contract.

    Args:
        context: of the command, for the VM that runs the queries.
        at: the store.
        old: the revision of one side.
        new: that of the other; anything that is no revision stands for the working state.
        changes: the contracts to look at.
        questions: query functions, as `FUNCTION:TYPE`, or `FUNCTION` where interfaces give the type.
    """
    found = {change.id: list(_mapped_values(at, change)) for change in changes}
    asked = [_question(text) for text in questions]
    if not asked:
        return found
    with open_vm(settings(context), read_only=True) as vm:
        for change in changes:
            for function, written in asked:
                rust = written or _returned(at, change, function)
                sides = [_answer(at, vm, revision, change.id, function, rust) for revision in (old, new)]
                if sides[0] != sides[1]:
                    (old_text, old_data), (new_text, new_data) = sides
                    found[change.id].append(ValueDifference(function, old_text, new_text, old_data, new_data))
    return found


def _mapped_values(at: WorkingState, change: ChangedContract) -> Iterator[ValueDifference]:
    """The values that the contract's memory map names and that differ; only where its code is the same."""
    old, new = change.old, change.new
    if old is None or new is None or old.bytecode != new.bytecode:
        return
    interface = at.interface_of(new)
    for name, value in (interface.values if interface is not None else {}).items():
        if value.address is None:
            continue
        before, after = (read_memory(at.store, record, value.address, value.size) for record in (old, new))
        if before != after:
            texts = [_decoded(value, data) for data in (before, after)]
            yield ValueDifference(name, texts[0][0], texts[1][0], texts[0][1], texts[1][1])


def _decoded(value: NamedValue, data: bytes) -> tuple[str, Any]:
    """A value in memory for people and for the envelope; what is no such value is shown in hex."""
    rust = value.codec.type
    try:
        decoded = value.decode(data)
    except DecodeError:
        return data.hex(), None
    return show_value(rust, decoded), json_value(rust, decoded)


def _question(text: str) -> tuple[str, RustType | None]:
    function, colon, name = text.partition(":")
    if not function:
        raise UsageError(f"{text!r} is not FUNCTION:TYPE", hints=["--query read_value:i64"])
    return function, rust_type(name) if colon else None


def _returned(at: WorkingState, change: ChangedContract, function: str) -> RustType:
    """What a function returns, as the contract's interface says."""
    record = change.new or change.old
    described = None if record is None else function_in(at.interface_of(record), function)
    rust = result_type(described, None)
    if rust is None:
        raise UsageError(
            f"what {function!r} of {at.label(change.id)} returns is not known", hints=[f"--query {function}:i64"]
        )
    return rust


def _answer(
    at: WorkingState, vm: VM, revision: str, contract: ContractId, function: str, rust: RustType
) -> tuple[str, Any]:
    """What a function answers on one side; a contract without the answer says why not."""
    where: dict[str, Any] = {"draft": True} if revision == WORKING else {"base": at.commit(revision)}
    if revision == "HEAD" and at.head.commit is None:
        return NOTHING, None
    with vm.session(**where) as session:
        try:
            value = session.query(contract, function, returns=rust).data
        except ContractDoesNotExist:
            return NOTHING, None
        except (CallFailed, DecodeError) as error:
            return str(error), None
    return show_value(rust, value), json_value(rust, value)
