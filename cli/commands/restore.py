"""`restore`: what was, is again."""

from __future__ import annotations

from typing import Annotated

import typer
from piecrust.cli.command import Outcome, settings
from piecrust.cli.command_errors import WorkingStateNotEmpty
from piecrust.cli.commands.branches import uncommitted
from piecrust.cli.render import count
from piecrust.cli.working_state import opened
from piecrust.vm.errors import UncommittedChanges
from piecrust.vm.restore import restore as restore_into_head


def restore(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(metavar="REV", help="The revision to take from.")],
    contract: Annotated[
        list[str] | None, typer.Argument(metavar="[CONTRACT]", help="Only these contracts; by default the whole state.")
    ] = None,
    *,
    message: Annotated[
        str | None, typer.Option("--message", "-m", metavar="TEXT", help="The commit's message.")
    ] = None,
) -> Outcome:
    """Commit the state of another revision on top of HEAD: the whole of it, or single contracts.

    Examples:
      piecrust restore main~3
      piecrust restore v1 counter -m "counter as of v1"
    """
    style = settings(context).style
    with opened(context) as at:
        source = at.commit(revision)
        contracts = [at.contract(name, at.state(source)) for name in contract or ()]
        before = at.head.commit
        try:
            made = restore_into_head(at.store, source, contracts, message=message)
        except UncommittedChanges:
            raise WorkingStateNotEmpty(uncommitted(at), "checkout HEAD") from None
        root = at.state(made).state_root
    what = count(len(contracts), "contract") if contracts else "the whole state"
    lines = [f"Restored {what} as {style.commit(made.short())}", f"state root {style.root(root.hex())}"]
    if made == before:
        lines = ["Nothing differs."]
    data = {"commit": made, "state_root": root, "source": source, "contracts": contracts, "created": made != before}
    return Outcome(data, lines)
