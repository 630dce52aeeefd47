"""`export`, `import` and `import-raw`: commits and memories in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from piecrust.cli.command import Outcome, settings
from piecrust.cli.command_errors import FileProblem
from piecrust.cli.output_file import output_file
from piecrust.cli.progress import progress
from piecrust.cli.render import count, size
from piecrust.cli.words import parse_hex
from piecrust.cli.working_state import only_one, opened

if TYPE_CHECKING:
    from piecrust.objects.ids import ContractId
    from piecrust.objects.state import State
    from piecrust.objects.store import Store

Output = Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where it goes; - is stdout.")]


def export(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(metavar="REV", help="The commit to export.")],
    *,
    output: Output,
    contract: Annotated[
        list[str] | None, typer.Option("--contract", metavar="CONTRACT", help="Only this one; may be repeated.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="REV", help="Leave out what this one has; who imports must have it."),
    ] = None,
    no_history: Annotated[
        bool, typer.Option("--no-history", help="The state alone; of the commits before only what they say.")
    ] = False,
    raw: Annotated[
        str | None,
        typer.Option("--raw", metavar="CONTRACT", help="The memory image of a contract instead of a bundle."),
    ] = None,
) -> Outcome:
    """Write a commit to a file, by default with its whole history.

    The same commit gives the same bytes on every machine. Single contracts come with the proof that they are the
    commit's.

    Examples:
      piecrust export main -o main.bundle
      piecrust export main --since v1 -o news.bundle
      piecrust export main --contract counter -o counter.bundle
      piecrust export main --raw counter -o memory.bin
    """
    from piecrust.vm.bundles import export_bundle

    only_one({"--contract": contract, "--since": since, "--no-history": no_history, "--raw": raw})
    with opened(context, read_only=True) as at, progress("export") as bar:
        commit = at.commit(revision)
        state = at.state(commit)
        memory_of = None if raw is None else at.contract(raw, state)
        chosen = [at.contract(name, state) for name in contract or ()]
        base = None if since is None else at.commit(since)
        with output_file(output, settings(context)) as file:
            if memory_of is not None:
                written = _export_raw(at.store, state, memory_of, file.path)
            else:
                history = not no_history
                written = export_bundle(
                    at.store, commit, file.path, since=base, contracts=chosen, history=history, report=bar.update
                )
    data = {"commit": commit, "state_root": state.state_root, "file": output, "bytes": str(written)}
    return Outcome(data, [f"{output}: {size(written)}"], raw=file.raw)


def _export_raw(store: Store, state: State, contract: ContractId, path: Path) -> int:
    from piecrust.vm.raw_memory import export_raw

    with path.open("wb") as file:
        return export_raw(store, state, contract, file)


def import_(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A bundle.")],
    *,
    branch: Annotated[
        str | None, typer.Option("--branch", metavar="NAME", help="Make this branch, or move it on, to the commit.")
    ] = None,
) -> Outcome:
    """Take a bundle into the store; all of it is checked before a commit is there.

    An import that was cut off is repeated: what came before is not written again. A bundle of single contracts makes a
    commit of these alone, which says what commit they are from.

    Examples:
      piecrust import main.bundle --branch main
    """
    from piecrust.objects.bundle import Content
    from piecrust.vm.bundles import import_bundle

    style = settings(context).style
    length = _length(file)
    with opened(context) as at, progress("import") as bar:
        found = import_bundle(at.store, file, branch=branch, report=lambda done: bar.update(done, length))
        root = at.state(found.tip).state_root
    lines = [f"Imported {style.commit(found.tip.short())}, {count(len(found.commits), 'new commit')}"]
    if found.content is Content.CONTRACTS:
        lines.append(f"contracts of commit {style.commit(found.source.short())}, proven to be its")
    lines.append(f"state root {style.root(root.hex())}")
    hints = [] if branch else [f"piecrust checkout {found.tip.short()}", f"piecrust branch NAME {found.tip.short()}"]
    data = {
        "commit": found.tip,
        "source": found.source,
        "state_root": root,
        "content": found.content.name.lower(),
        "new": list(found.commits),
        "branch": branch,
    }
    return Outcome(data, lines, hints=hints)


def import_raw(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The memory image.")],
    contract: Annotated[
        str, typer.Argument(metavar="CONTRACT", help="Whose memory it is; a new one by its 64 digits.")
    ],
    *,
    wasm: Annotated[str | None, typer.Option("--wasm", metavar="FILE", help="The contract's bytecode.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="HEX", help="The contract's owner.")] = None,
    message: Annotated[
        str | None, typer.Option("--message", "-m", metavar="TEXT", help="The commit's message.")
    ] = None,
) -> Outcome:
    """Commit that a contract's memory is the image in a file.

    A contract that HEAD has keeps its code and owner; a new one needs both.

    Examples:
      piecrust import-raw memory.bin counter -m "as found"
    """
    from piecrust.cli.commands.deploy import read_wasm
    from piecrust.vm.raw_memory import import_raw as commit_image

    style = settings(context).style
    bytecode = None if wasm is None else read_wasm(wasm)
    owner_bytes = None if owner is None else parse_hex(owner)
    with opened(context) as at:
        target = at.contract(contract)
        try:
            image = Path(file).open("rb")  # noqa: SIM115  (an error in the block is not one of opening)
        except OSError as error:
            raise FileProblem(file, error) from None
        with image:
            made = commit_image(at.store, image, target, bytecode=bytecode, owner=owner_bytes, message=message)
        root = at.state(made).state_root
    lines = [f"Committed {style.commit(made.short())}", f"state root {style.root(root.hex())}"]
    return Outcome({"commit": made, "state_root": root, "contract": target}, lines)


def _length(file: str) -> int:
    try:
        return Path(file).stat().st_size
    except OSError as error:
        raise FileProblem(file, error) from None
