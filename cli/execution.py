"""Running contracts for a command: arguments read, the working state saved, names kept in the operation log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from piecrust.cli.arguments import Argument, BareArgument, parse_argument, values
from piecrust.cli.command_errors import UsageError
from piecrust.cli.host_queries import register_host_queries
from piecrust.cli.working_state import opened_vm
from piecrust.objects.oplog import Operation
from piecrust.vm.errors import CallFailed
from piecrust.vm.limits import DEFAULT_GAS_LIMIT

if TYPE_CHECKING:
    from piecrust.cli.working_state import WorkingState
    from piecrust.objects.refs import RefValue
    from piecrust.vm.session import Session
    from piecrust.vm.vm import VM

LOGGED_CHARACTERS_MAX = 200

GasLimit = Annotated[
    int | None,
    typer.Option("--gas-limit", metavar="GAS", help=f"Gas to spend at most, by default {DEFAULT_GAS_LIMIT:,}."),
]
Meta = Annotated[
    list[str] | None, typer.Option("--meta", metavar="NAME=VALUE", help="Session metadata, e.g. height=u64:7.")
]
HostQueries = Annotated[
    list[str] | None,
    typer.Option("--host-queries", metavar="MODULE:OBJECT", help="Python code that answers host queries."),
]
Returns = Annotated[str | None, typer.Option("--returns", metavar="TYPE", help="The result's type, e.g. u64.")]
TimeLimit = Annotated[
    float | None, typer.Option("--time-limit", metavar="SECONDS", help="Give the call up after so long.")
]


@dataclass(frozen=True, slots=True)
class Execution:
    """An open store with a session on its working state."""

    at: WorkingState
    vm: VM
    session: Session


@contextmanager
def execution(context: typer.Context, *, meta: list[str] | None, host_queries: list[str] | None) -> Iterator[Execution]:
    """A session that goes on with the working state, for the time of a block."""
    metadata = parse_metadata(meta)
    with opened_vm(context) as (at, vm):
        register_host_queries(vm, host_queries or [])
        with vm.session(draft=True, meta=metadata) as session:
            yield Execution(at, vm, session)


@contextmanager
def saving(session: Session, operation: Operation, refs: Mapping[str, RefValue | None] | None = None) -> Iterator[None]:
    """Save the working state after a block that calls a contract.

    A call that failed is part of the history, too (its events come first in the next receipt), so it is saved; one that
    was given up from outside, or never began, leaves no trace.
    """
    steps = len(session.steps)
    try:
        yield
    except CallFailed:
        if len(session.steps) > steps:
            session.save_draft(operation)
        raise
    session.save_draft(operation, refs=refs or {})


def parse_metadata(words: Sequence[str] | None) -> dict[str, object]:
    """Session metadata from words like `height=u64:7`.

    Raises:
        UsageError: a word is something else.
    """
    found: dict[str, object] = {}
    for word in words or ():
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{word!r} is not NAME=VALUE", hints=["--meta height=u64:7"])
        found[name] = metadata_value(text)
    return found


def metadata_value(text: str) -> object:
    """A metadata value; its type must be written.

    Raises:
        UsageError: it is not.
    """
    argument: Argument = parse_argument(text)
    if isinstance(argument, BareArgument):
        raise UsageError(f"the type of {text!r} is not known", hints=[f"u64:{text}", f"str:{text}"])
    return values([text])[0]


def logged(command: str, *words: Any) -> Operation:
    """An operation for the log; long words are shortened, so that it stays small."""
    texts = (str(word) for word in words if word is not None)
    return Operation(
        command,
        tuple(t if len(t) <= LOGGED_CHARACTERS_MAX else t[:LOGGED_CHARACTERS_MAX] + "..." for t in texts),
    )
