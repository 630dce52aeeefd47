"""`import-original`: commits of the Rust VM, out of the directory that it keeps them in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from piecrust.cli.command import Outcome, settings
from piecrust.cli.command_errors import Ambiguous, Missing
from piecrust.cli.progress import progress
from piecrust.cli.render import count
from piecrust.cli.working_state import opened
from piecrust.objects.revision import PREFIX_DIGITS_MIN

if TYPE_CHECKING:
    from piecrust.cli.style import Style
    from piecrust.objects.ids import StateRoot
    from piecrust.vm.original.directory import OriginalDirectory


def import_original(
    context: typer.Context,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="What the Rust VM was given; it holds `main`.")],
    roots: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ROOT]...", help="State roots, or their first digits; by default all that are whole."),
    ] = None,
    *,
    listing: Annotated[bool, typer.Option("--list", help="Only list the commits that are there.")] = False,
) -> Outcome:
    """Take commits out of a directory that the Rust VM (piecrust 0.32) wrote.

    Each is checked, page by page, against the state root that names it there, and has the same here. The commit that it
    was made on becomes its parent, if that is imported, too, or was before. Nothing in the directory is changed.

    Examples:
      piecrust import-original node/state --list
      piecrust import-original node/state 9b42086799c3
    """
    from piecrust.vm.original.directory import OriginalDirectory
    from piecrust.vm.original.importing import import_original as imported
    from piecrust.vm.original.states import importable

    style = settings(context).style
    if not Path(directory).is_dir():
        raise Missing(f"there is no directory {directory!r}")
    source = OriginalDirectory(Path(directory))
    if listing:
        return _list(source, style)
    there = importable(source)
    chosen = [_root(directory, there, text) for text in roots or ()]
    with opened(context) as at, progress("import") as bar:
        brought = imported(at.store, source, chosen, report=bar.update)
    new = [made for made in brought.commits if made.is_new]
    lines = [f"Imported {count(len(new), 'new commit')}"]
    lines += [f"{style.commit(made.commit.short())} state root {style.root(made.root.hex())}" for made in new]
    warnings = [f"commit {lost.root.hex()} can not be imported: {lost.problem}" for lost in brought.lost]
    warnings += [f"contract {contract.hex()} can not be called: {why}" for contract, why in brought.refused.items()]
    data = {
        "directory": directory,
        "commits": [{"root": made.root, "commit": made.commit, "new": made.is_new} for made in brought.commits],
        "lost": [{"root": lost.root, "problem": lost.problem} for lost in brought.lost],
        "refused": [{"contract": contract, "reason": why} for contract, why in brought.refused.items()],
    }
    last = brought.commits[-1].commit.short() if brought.commits else None
    hints = [] if last is None else [f"piecrust checkout {last}", f"piecrust branch NAME {last}"]
    return Outcome(data, lines, warnings=warnings, hints=hints)


def _list(source: OriginalDirectory, style: Style) -> Outcome:
    from piecrust.vm.original.states import summaries

    commits, lines = [], []
    for found in summaries(source):
        commits.append(
            {
                "root": found.root,
                "base": found.base,
                "contracts": found.contracts,
                "pages": found.pages,
                "finalized": found.is_finalized,
                "problem": found.problem,
            }
        )
        told = ["finalized"] if found.is_finalized else [] if found.base is None else [f"on {found.base.short()}"]
        told.append(f"{count(found.contracts, 'contract')}, {count(found.pages, 'page')}")
        lines.append(f"{style.root(found.root.hex())} {', '.join(told)}")
        if found.problem is not None:
            lines.append(f"  can not be imported: {found.problem}")
    return Outcome({"directory": str(source.path), "commits": commits}, lines, paged=True)


def _root(directory: str, there: frozenset[StateRoot], text: str) -> StateRoot:
    """The root that begins with these digits."""
    digits = text.lower()
    found = sorted(root for root in there if root.hex().startswith(digits)) if len(text) >= PREFIX_DIGITS_MIN else []
    if len(found) > 1:
        raise Ambiguous(f"{text!r} could be any of {len(found)} commits", details=[root.hex() for root in found])
    if not found:
        raise Missing(f"no commit of it begins with {text!r}", hints=[f"piecrust import-original {directory} --list"])
    return found[0]
