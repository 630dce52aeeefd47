"""`undo`, `redo` and `op-log`: the way back, and what was done."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from piecrust.cli.command import Outcome, settings
from piecrust.cli.envelope import u64
from piecrust.cli.render import seconds_since
from piecrust.cli.words import at_most
from piecrust.cli.working_state import opened
from piecrust.objects.ids import CommitId

if TYPE_CHECKING:
    from piecrust.objects.oplog import OperationRecord
    from piecrust.objects.refs import RefValue


def undo(context: typer.Context) -> Outcome:
    """Take back the last operation: a deploy, a call, a commit, a checkout, ...

    Every `undo` goes one operation further back; `redo` comes forward again.

    Examples:
      piecrust undo
    """
    with opened(context) as at:
        record = at.workspace.undo()
    return _done("Took back", record)


def redo(context: typer.Context) -> Outcome:
    """Do again what the last undo took back.

    Examples:
      piecrust redo
    """
    with opened(context) as at:
        record = at.workspace.redo()
    return _done("Did again", record)


def op_log(
    context: typer.Context,
    *,
    number: Annotated[int, typer.Option("--max-count", "-n", metavar="N", help="At most N operations.")] = 50,
) -> Outcome:
    """List what was done to the store, newest first, with when, and which names moved.

    Examples:
      piecrust op-log
      piecrust op-log -n 5 --json
    """
    style = settings(context).style
    now = time.time()
    with opened(context, read_only=True) as at:
        records = list(islice(at.store.operations(), at_most(number)))
    lines = []
    for record in records:
        when = style.faint(seconds_since(record.time / 1e9, now))
        lines.append(f"{record.sequence:>5}  {_described(record)}  {when}")
        for name, change in record.ref_changes.items():
            lines.append(f"       {name}  {_shown(change.before)} -> {style.commit(_shown(change.after))}")
    return Outcome({"operations": [_record_data(record) for record in records]}, lines, paged=True)


def _done(verb: str, record: OperationRecord) -> Outcome:
    return Outcome({"operation": _record_data(record)}, [f"{verb}: {_described(record)}"])


def _described(record: OperationRecord) -> str:
    return " ".join([record.operation.command, *record.operation.arguments])


def _record_data(record: OperationRecord) -> dict[str, Any]:
    return {
        "sequence": record.sequence,
        "time_ns": u64(record.time),
        "command": record.operation.command,
        "arguments": list(record.operation.arguments),
        "refs": {
            name: {"before": _ref_data(change.before), "after": _ref_data(change.after)}
            for name, change in record.ref_changes.items()
        },
        "kept": list(record.kept),
        "deleted": list(record.deleted),
    }


def _ref_data(value: RefValue | None) -> str | None:
    return None if value is None else value.hex() if isinstance(value, CommitId) else str(value)


def _shown(value: RefValue | None) -> str:
    return "nothing" if value is None else value.short() if isinstance(value, CommitId) else value.name
