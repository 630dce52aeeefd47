"""`alias`: names for contracts."""

from __future__ import annotations

from typing import Annotated

import typer
from piecrust.cli.command import Outcome, settings
from piecrust.cli.command_errors import Missing, UsageError
from piecrust.cli.execution import logged
from piecrust.cli.render import table
from piecrust.cli.working_state import alias_value, opened
from piecrust.objects.refs import ALIASES


def alias(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The new name.")] = None,
    contract: Annotated[str | None, typer.Argument(metavar="[CONTRACT]", help="What it stands for.")] = None,
    *,
    delete: Annotated[str | None, typer.Option("--delete", "-d", metavar="NAME", help="Take a name away.")] = None,
) -> Outcome:
    """List, give or take away names for contracts. A name stands for an id, on every branch.

    Examples:
      piecrust alias
      piecrust alias counter 9f3a41
      piecrust alias --delete counter
    """
    style = settings(context).style
    if delete is not None:
        if name is not None:
            raise UsageError("--delete takes the name, and nothing follows it")
        return _delete(context, delete)
    if name is None:
        with opened(context, read_only=True) as at:
            aliases = at.aliases()
        rows = [[style.contract(known), identifier.hex()] for known, identifier in aliases.items()]
        return Outcome({"aliases": aliases}, table(rows))
    if contract is None:
        raise UsageError("which contract?", hints=[f"piecrust alias {name} CONTRACT"])
    with opened(context) as at:
        identifier = at.contract(contract)
        before = at.aliases().get(name)
        transaction = at.store.transaction()
        expected = None if before is None else alias_value(before)
        transaction.set_ref(ALIASES + name, alias_value(identifier), expected=expected)
        transaction.publish(logged("alias", name, identifier.hex()))
    return Outcome({"alias": name, "contract": identifier}, [f"{style.contract(name)} is {identifier.hex()}"])


def _delete(context: typer.Context, name: str) -> Outcome:
    with opened(context) as at:
        identifier = at.aliases().get(name)
        if identifier is None:
            raise Missing(f"there is no alias {name!r}", hints=["piecrust alias"])
        transaction = at.store.transaction()
        transaction.set_ref(ALIASES + name, None, expected=alias_value(identifier))
        transaction.publish(logged("alias", "--delete", name))
    return Outcome({"deleted": name, "contract": identifier}, [f"{name} is no alias any more ({identifier.hex()})"])
