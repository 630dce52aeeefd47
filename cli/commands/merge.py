"""`merge`: another branch joins this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from piecrust.cli.command import Outcome, settings
from piecrust.cli.command_errors import CommandError, UsageError, WorkingStateNotEmpty
from piecrust.cli.commands.branches import uncommitted
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.render import count
from piecrust.cli.working_state import opened
from piecrust.objects.transcript import Side
from piecrust.vm.errors import MergeConflict, UncommittedChanges
from piecrust.vm.merge import merge as merge_into_head

if TYPE_CHECKING:
    from piecrust.cli.working_state import WorkingState
    from piecrust.objects.ids import ContractId

PAGES_SHOWN_MAX = 12


class MergeConflicts(CommandError):
    """Contracts that both sides changed."""

    exit_code = ExitCode.CONFLICT


def merge(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(metavar="REV", help="The branch or commit to join.")],
    *,
    ours: Annotated[
        list[str] | None, typer.Option("--ours", metavar="CONTRACT", help="Where both changed it, ours stays.")
    ] = None,
    theirs: Annotated[
        list[str] | None, typer.Option("--theirs", metavar="CONTRACT", help="Where both changed it, take theirs.")
    ] = None,
    message: Annotated[
        str | None, typer.Option("--message", "-m", metavar="TEXT", help="The commit's message.")
    ] = None,
    no_ff: Annotated[bool, typer.Option("--no-ff", help="Make a commit even if ours has nothing new.")] = False,
) -> Outcome:
    """Join another branch into the one that you are on.

    Contracts that only one side changed are taken from there. A contract that both changed is a conflict, and
    nothing is written until --ours or --theirs says whose it is; bytes that its interface declares as scratch do not
    count. Contracts that only theirs has get the next positions, in the order of their ids: the state root depends
    on which side is ours.

    Examples:
      piecrust merge experiment
      piecrust merge experiment --theirs counter -m "take the new counter"
    """
    style = settings(context).style
    with opened(context) as at:
        other = at.commit(revision)
        states = at.current(), at.state(other)
        choices: dict[ContractId, Side] = {}
        for side, names in ((Side.OURS, ours), (Side.THEIRS, theirs)):
            for name in names or ():
                contract = at.contract(name, *states)
                if choices.setdefault(contract, side) is not side:
                    raise UsageError(f"{name!r} is both --ours and --theirs")
        try:
            result = merge_into_head(
                at.store, other, choices=choices, message=message, fast_forward=not no_ff, scratch_of=at.scratch_of
            )
        except MergeConflict as error:
            raise merge_conflicts(at, revision, error) from None
        except UncommittedChanges:
            raise WorkingStateNotEmpty(uncommitted(at), "checkout HEAD") from None
        taken = [at.label(contract) for contract in result.taken]
        root = at.state(result.commit).state_root
    if result.fast_forward:
        lines = [f"Moved on to {style.commit(result.commit.short())}" if result.base != other else "Nothing to merge."]
    else:
        lines = [f"Merged as {style.commit(result.commit.short())}, {count(len(taken), 'contract')} taken"]
        lines += [f"  {style.contract(name)}" for name in taken]
    data = {
        "commit": result.commit,
        "state_root": root,
        "base": result.base,
        "fast_forward": result.fast_forward,
        "taken": list(result.taken),
        "choices": {contract.hex(): side.name.lower() for contract, side in (result.choices or {}).items()},
    }
    return Outcome(data, [*lines, f"state root {style.root(root.hex())}"])


def merge_conflicts(at: WorkingState, revision: str, error: MergeConflict) -> MergeConflicts:
    """What to tell about contracts that both sides of a merge with a revision changed."""
    details, first = [], at.label(error.conflicts[0].contract)
    for conflict in error.conflicts:
        pages = ", ".join(map(str, conflict.pages[:PAGES_SHOWN_MAX]))
        more = " ..." if len(conflict.pages) > PAGES_SHOWN_MAX else ""
        where = f": {'page' if len(conflict.pages) == 1 else 'pages'} {pages}{more}" if conflict.pages else ""
        details.append(f"{at.label(conflict.contract)}  {conflict.reason}{where}")
    both = "both sides changed " + count(len(error.conflicts), "contract")
    return MergeConflicts(
        f"{both}; nothing was merged",
        details=details,
        hints=[f"piecrust merge {revision} --ours {first}", f"piecrust merge {revision} --theirs {first}"],
    )
