"""`init`: where everything begins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from piecrust.cli.command import Outcome, settings
from piecrust.cli.working_state import STORE_DIRECTORY
from piecrust.objects.refs import BRANCHES, DEFAULT_BRANCH, check_ref_name
from piecrust.vm.workspace import Workspace


def init(
    context: typer.Context,
    directory: Annotated[str | None, typer.Argument(metavar="[DIR]", help="Where; by default here.")] = None,
    *,
    branch: Annotated[str, typer.Option("--branch", "-b", metavar="BRANCH", help="The first branch.")] = DEFAULT_BRANCH,
) -> Outcome:
    """Create a store in a directory.

    The store is the directory `.piecrust` in it; other files stay as they are. In a directory that has a store already
    nothing happens.

    Examples:
      piecrust init
      piecrust init state --branch trunk
    """
    from piecrust.objects.format import Layout
    from piecrust.objects.store import Store

    check_ref_name(BRANCHES + branch)
    target = Path(directory) if directory is not None else settings(context).directory or Path()
    path = (target / STORE_DIRECTORY).absolute()
    existed = Layout(path).format.exists()  # written last: without it, the store may be half made, or damaged
    if not existed:
        target.mkdir(parents=True, exist_ok=True)
        Store.create(target)
        with Store.open(target) as store:
            Workspace(store).start(branch)
    done = "There is a store already in" if existed else "Created an empty store in"
    return Outcome(
        {"directory": str(path), "created": not existed, "branch": None if existed else branch},
        [f"{done} {path}"],
        hints=[] if existed else ["piecrust deploy FILE.wasm --alias NAME   (then: piecrust call NAME FUNCTION)"],
    )
