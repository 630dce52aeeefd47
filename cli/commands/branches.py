"""`checkout`, `switch`, `branch` and `tag`: where HEAD goes, and names for commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from piecrust.cli.command import Outcome, settings
from piecrust.cli.command_errors import Missing, UsageError, WorkingStateNotEmpty
from piecrust.cli.execution import logged
from piecrust.cli.history import derivation_of, kinds_of_steps
from piecrust.cli.render import count, table
from piecrust.cli.working_state import only_one, opened
from piecrust.objects.history import Names, commit_info
from piecrust.objects.ids import CommitId
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import BRANCHES, TAGS, Symbolic, check_ref_name
from piecrust.vm.errors import UncommittedChanges
from piecrust.vm.workspace import Leaving

if TYPE_CHECKING:
    from piecrust.cli.working_state import WorkingState

Discard = Annotated[bool, typer.Option("--discard", help="Drop what is not committed.")]
Keep = Annotated[bool, typer.Option("--keep", help="Set what is not committed aside, as a commit without a name.")]


def checkout(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(metavar="REV", help="A branch, or any other revision.")],
    *,
    discard: Discard = False,
    keep: Keep = False,
) -> Outcome:
    """Open the working state on any revision.

    A branch moves with what you commit; on another revision your commits have no name until `branch` gives one.

    Examples:
      piecrust checkout main~2
      piecrust checkout v1 --keep
    """
    with opened(context) as at:
        here = at.head.branch
        name = here if revision in ("HEAD", "@") and here is not None else revision
        ref = BRANCHES + name
        on_branch = name == here or ref in at.store.refs()
        target: Symbolic | CommitId = Symbolic(ref) if on_branch else at.commit(revision)
        return _go(
            context, at, target, logged("checkout", revision), f"checkout {revision}", discard=discard, keep=keep
        )


def switch(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="BRANCH", help="The branch to be on.")],
    start: Annotated[str | None, typer.Argument(metavar="[REV]", help="Where a new branch begins.")] = None,
    *,
    create: Annotated[bool, typer.Option("--create", "-c", help="Make the branch.")] = False,
    discard: Discard = False,
    keep: Keep = False,
) -> Outcome:
    """Move to a branch; `--create` makes it where you are, or at REV.

    A branch that is made where you are takes what is not committed along.

    Examples:
      piecrust switch main
      piecrust switch -c experiment
      piecrust switch -c fix main~2
    """
    with opened(context) as at:
        ref = check_ref_name(BRANCHES + name)
        exists = ref in at.store.refs()
        head = at.head
        if create and exists:
            raise UsageError(f"there is a branch {name!r} already", hints=[f"piecrust switch {name}"])
        if not create and not exists and name != head.branch:
            hints = [f"piecrust switch -c {name}", *_did_you_mean(at, name)]
            raise Missing(f"there is no branch {name!r}", hints=hints)
        if not create:
            return _go(context, at, Symbolic(ref), logged("switch", name), f"switch {name}", discard=discard, keep=keep)
        begin = head.commit if start is None else at.commit(start)
        operation = logged("switch", "-c", name, start)
        if begin == head.commit and not discard and not keep:
            at.workspace.rename_head(Symbolic(ref), begin, operation)
            return _arrived(context, at, None)
        return _go(context, at, Symbolic(ref), operation, f"switch -c {name}", discard=discard, keep=keep, create=begin)


def _go(
    context: typer.Context,
    at: WorkingState,
    target: Symbolic | CommitId,
    operation: Operation,
    command: str,
    *,
    discard: bool,
    keep: bool,
    create: CommitId | None = None,
) -> Outcome:
    """Move HEAD, with what the options say about the working state."""
    only_one({"--discard": discard, "--keep": keep})
    leaving = Leaving.DISCARD if discard else Leaving.KEEP if keep else Leaving.REFUSE
    try:
        kept = at.workspace.move(target, operation, leaving=leaving, create=create)
    except UncommittedChanges:
        raise WorkingStateNotEmpty(uncommitted(at), command) from None
    return _arrived(context, at, kept)


def _arrived(context: typer.Context, at: WorkingState, kept: CommitId | None) -> Outcome:
    style = settings(context).style
    head = at.head
    place = style.branch(head.branch) if head.branch else style.commit(head.commit.short() if head.commit else "")
    lines = [
        f"You are on {place}" + (f" at {style.commit(head.commit.short())}" if head.branch and head.commit else "")
    ]
    if kept is not None:
        lines.append(f"What was not committed is {style.commit(kept.hex())}")
    data = {"branch": head.branch, "commit": head.commit, "state_root": at.state(head.commit).state_root, "kept": kept}
    hints = [] if head.branch else ["piecrust switch -c NAME   (to commit on a branch from here)"]
    return Outcome(data, lines, hints=hints)


def uncommitted(at: WorkingState) -> str:
    """What the working state has, in words."""
    steps = kinds_of_steps(derivation_of(at.store, at.workspace.draft()))
    return ", ".join(count(number, kind) for kind, number in steps.items()) or "metadata"


def branch(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[BRANCH]", help="The branch to make.")] = None,
    start: Annotated[str | None, typer.Argument(metavar="[REV]", help="Where it begins; by default at HEAD.")] = None,
    *,
    delete: Annotated[str | None, typer.Option("--delete", "-d", metavar="BRANCH", help="Take a branch away.")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Move the branch if it exists.")] = False,
) -> Outcome:
    """List, make, move or delete branches. Commits stay when their branch goes.

    Examples:
      piecrust branch
      piecrust branch fix main~2
      piecrust branch -d fix
    """
    return _names(context, BRANCHES, "branch", name, start, delete, force=force)


def tag(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[TAG]", help="The tag to make.")] = None,
    start: Annotated[str | None, typer.Argument(metavar="[REV]", help="What it names; by default HEAD.")] = None,
    *,
    delete: Annotated[str | None, typer.Option("--delete", "-d", metavar="TAG", help="Take a tag away.")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Move the tag if it exists.")] = False,
) -> Outcome:
    """List, make, move or delete tags: names that stay where they are.

    Examples:
      piecrust tag v1
      piecrust tag v0 main~3
      piecrust tag -d v0
    """
    return _names(context, TAGS, "tag", name, start, delete, force=force)


def _names(
    context: typer.Context,
    prefix: str,
    noun: str,
    name: str | None,
    start: str | None,
    delete: str | None,
    *,
    force: bool,
) -> Outcome:
    if delete is not None and name is not None:
        raise UsageError(f"--delete takes the {noun}, and nothing follows it")
    if delete is not None:
        return _delete_name(context, prefix, noun, delete)
    if name is None:
        return _list_names(context, prefix, noun)
    style = settings(context).style
    with opened(context) as at:
        ref = check_ref_name(prefix + name)
        commit = at.commit(start or "HEAD")
        before = at.store.refs().get(ref)
        if before is not None and not force:
            hints = [f"piecrust {noun} -f {name} {start or ''}".rstrip() + "   (move it)"]
            raise UsageError(f"there is a {noun} {name!r} already", hints=hints)
        if prefix == BRANCHES and name == at.head.branch and commit != before and at.workspace.draft() is not None:
            raise WorkingStateNotEmpty(uncommitted(at), "checkout HEAD")
        transaction = at.store.transaction()
        transaction.set_ref(ref, commit, expected=before)
        transaction.publish(logged(noun, name, commit.hex()))
    return Outcome({noun: name, "commit": commit}, [f"{style.branch(name)} is at {style.commit(commit.short())}"])


def _list_names(context: typer.Context, prefix: str, noun: str) -> Outcome:
    style = settings(context).style
    rows, data = [], []
    with opened(context, read_only=True) as at:
        head = at.head
        for name, commit in Names(at.store, prefix, at.named).items():
            info = commit_info(at.store, commit)
            current = prefix == BRANCHES and name == head.branch
            rows.append(
                [
                    ("* " if current else "  ") + (style.branch(name) if current else name),
                    style.commit(commit.short()),
                    (info.message or "").partition("\n")[0],
                ]
            )
            data.append({"name": name, "commit": commit, "current": current})
        if prefix == BRANCHES and head.branch is not None and head.commit is None:
            rows.append([f"* {style.branch(head.branch)}", "no commits yet", ""])
    return Outcome({f"{noun}es" if noun == "branch" else f"{noun}s": data}, table(rows))


def _delete_name(context: typer.Context, prefix: str, noun: str, name: str) -> Outcome:
    with opened(context) as at:
        commit = at.store.refs().get(prefix + name)
        if not isinstance(commit, CommitId):
            raise Missing(f"there is no {noun} {name!r}", hints=[f"piecrust {noun}"])
        if prefix == BRANCHES and at.head.branch == name:
            raise UsageError(f"you are on the branch {name!r}", hints=["piecrust switch ANOTHER"])
        transaction = at.store.transaction()
        transaction.set_ref(prefix + name, None, expected=commit)
        transaction.publish(logged(noun, "--delete", name))
    return Outcome({"deleted": name, "commit": commit}, [f"{noun} {name} is gone; it was at {commit.hex()}"])


def _did_you_mean(at: WorkingState, name: str) -> list[str]:
    from difflib import get_close_matches

    names = [ref.removeprefix(BRANCHES) for ref in at.store.refs() if ref.startswith(BRANCHES)]
    return [f"piecrust switch {near}" for near in get_close_matches(name, names)]
