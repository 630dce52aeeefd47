"""`meta`: the session's metadata, which contracts read."""

from __future__ import annotations

from typing import Annotated

import typer
from piecrust.cli.command import Outcome, PiecrustCommand
from piecrust.cli.command_errors import Missing, UsageError
from piecrust.cli.execution import execution, logged, metadata_value
from piecrust.cli.history import derivation_of
from piecrust.cli.render import table
from piecrust.cli.working_state import WorkingState, opened
from piecrust.objects.steps import RemoveMeta, SetMeta
from piecrust.objects.transcript import Transcript

meta = typer.Typer(
    help="Metadata of the working state, which contracts read with `hd`: a block height, say.\n\n"
    "It is part of the transcript, not of the state; a commit begins with none.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]


@meta.command("set", cls=PiecrustCommand)
def meta_set(
    context: typer.Context, name: Name, value: Annotated[str, typer.Argument(metavar="VALUE", help="e.g. u64:7.")]
) -> Outcome:
    """Set a value.

    Examples:
      piecrust meta set block_height u64:7
    """
    data = metadata_value(value)
    if not name:
        raise UsageError("metadata needs a name")
    with execution(context, meta=None, host_queries=None) as run:
        before = run.session.set_meta(name, data)
        run.session.save_draft(logged("meta", "set", name, value))
        stored = run.session.meta(name) or b""
    return Outcome({"name": name, "value": stored, "before": before}, [f"{name} = {stored.hex()}"])


@meta.command("get", cls=PiecrustCommand)
def meta_get(
    context: typer.Context, name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="By default all.")] = None
) -> Outcome:
    """Print a value, or all, as the bytes that contracts see.

    Examples:
      piecrust meta get block_height
    """
    with opened(context, read_only=True) as at:
        values = metadata_of(at)
    if name is None:
        return Outcome({"metadata": values}, table([[key, value.hex()] for key, value in sorted(values.items())]))
    if name not in values:
        raise Missing(f"there is no metadata {name!r} in the working state", hints=[f"piecrust meta set {name} u64:7"])
    return Outcome({"name": name, "value": values[name]}, [values[name].hex()])


@meta.command("unset", cls=PiecrustCommand)
def meta_unset(context: typer.Context, name: Name) -> Outcome:
    """Take a value away.

    Examples:
      piecrust meta unset block_height
    """
    with execution(context, meta=None, host_queries=None) as run:
        before = run.session.meta(name)
        if before is None:
            raise Missing(f"there is no metadata {name!r} in the working state", hints=["piecrust meta get"])
        run.session.remove_meta(name)
        run.session.save_draft(logged("meta", "unset", name))
    return Outcome({"name": name, "before": before}, [f"{name} is gone"])


def metadata_of(at: WorkingState) -> dict[str, bytes]:
    """The metadata of the working state."""
    derivation = derivation_of(at.store, at.workspace.draft())
    if not isinstance(derivation, Transcript):
        return {}
    values = dict(derivation.metadata)
    for step in derivation.steps:
        if isinstance(step, SetMeta):
            values[step.name] = step.value
        elif isinstance(step, RemoveMeta):
            values.pop(step.name, None)
    return values
