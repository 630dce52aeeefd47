"""`commit`: the working state becomes permanent."""

from __future__ import annotations

from typing import Annotated

import typer
from piecrust.cli.command import Outcome, settings
from piecrust.cli.command_errors import CommandError
from piecrust.cli.execution import logged
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.working_state import opened_vm


class NothingToCommit(CommandError):
    """Nothing was done since HEAD."""

    exit_code = ExitCode.NEGATIVE


def commit(
    context: typer.Context,
    *,
    message: Annotated[str | None, typer.Option("--message", "-m", metavar="TEXT", help="What it is about.")] = None,
    author: Annotated[str | None, typer.Option("--author", metavar="NAME", help="Who made it.")] = None,
    time: Annotated[
        int | None, typer.Option("--time", metavar="SECONDS", help="When, in seconds since 1970; not told by default.")
    ] = None,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Even if nothing was done.")] = False,
) -> Outcome:
    """Make the working state permanent, as a commit on the branch that HEAD is on.

    The id follows from the parent, the calls, and message, author and time where they are given: the same ones give the
    same id on every machine.

    Examples:
      piecrust commit -m "first deploy"
    """
    style = settings(context).style
    with opened_vm(context) as (at, vm):
        head = at.head
        if at.workspace.draft() is None and not allow_empty:
            raise NothingToCommit("nothing was done since the last commit", hints=["piecrust call CONTRACT FUNCTION"])
        with vm.session(draft=True) as session:
            made = session.commit(
                message, author=author, time=time, allow_empty=allow_empty, operation=logged("commit", message)
            )
        root = at.state(made).state_root
    where = head.branch or "no branch"
    text = f" {message.splitlines()[0]}" if message else ""
    created = made != head.commit
    lines = [f"[{style.branch(where)} {style.commit(made.short())}]{text}", f"state root {style.root(root.hex())}"]
    if not created:
        lines = [f"The state is as it was: {style.commit(made.short())}"]
    return Outcome({"commit": made, "state_root": root, "branch": head.branch, "created": created}, lines)
