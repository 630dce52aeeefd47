"""`remote`, `fetch`, `push`, `pull` and `clone`: commits in other places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from piecrust.cli.command import Outcome, PiecrustCommand, settings
from piecrust.cli.command_errors import UsageError, WorkingStateNotEmpty
from piecrust.cli.commands.branches import uncommitted
from piecrust.cli.commands.merge import merge_conflicts
from piecrust.cli.progress import progress
from piecrust.cli.render import count, size, table
from piecrust.cli.words import parse_contract_id
from piecrust.cli.working_state import opened
from piecrust.objects.refs import DEFAULT_BRANCH, DEFAULT_REMOTE
from piecrust.vm.errors import MergeConflict, UncommittedChanges

if TYPE_CHECKING:
    from piecrust.cli.style import Style
    from piecrust.objects.remote.fetch import FetchReport


remote = typer.Typer(
    help="Other places that commits are pushed to and fetched from: directories, and S3.\n\n"
    "Credentials of S3 are read from the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Remote = Annotated[str, typer.Argument(metavar="[REMOTE]", help="Its name.")]
Depth = Annotated[
    int | None,
    typer.Option("--depth", metavar="N", min=1, help="The states of so many commits; of older ones what they say."),
]


@remote.command("add", cls=PiecrustCommand)
def remote_add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="A directory, or s3://bucket/prefix.")],
) -> Outcome:
    """Give a remote a name; nothing is asked of it yet.

    Examples:
      piecrust remote add origin /mnt/backup/state
      piecrust remote add origin s3://bucket/state
      piecrust remote add test 's3://bucket/state?endpoint=http://127.0.0.1:7070&region=us-east-1'
    """
    from piecrust.objects.remote.remotes import Remotes

    with opened(context) as at:
        entry = Remotes(at.store).add(name, url)
    return Outcome({"name": entry.name, "url": entry.url}, [f"{entry.name} is {entry.url}"])


@remote.command("list", cls=PiecrustCommand)
def remote_list(context: typer.Context) -> Outcome:
    """List the remotes.

    Examples:
      piecrust remote list
    """
    from piecrust.objects.remote.remotes import Remotes

    with opened(context, read_only=True) as at:
        entries = list(Remotes(at.store))
    data = [{"name": entry.name, "url": entry.url, "lazy": entry.lazy} for entry in entries]
    rows = [[entry.name, entry.url, "lazy" if entry.lazy else ""] for entry in entries]
    return Outcome({"remotes": data}, table(rows))


@remote.command("remove", cls=PiecrustCommand)
def remote_remove(
    context: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="Which one.")]
) -> Outcome:
    """Forget a remote, and where its branches were. What came from it stays.

    Examples:
      piecrust remote remove origin
    """
    from piecrust.objects.remote.remotes import Remotes

    with opened(context) as at:
        Remotes(at.store).remove(name)
    return Outcome({"removed": name}, [f"remote {name} is forgotten"])


def fetch(context: typer.Context, remote: Remote = DEFAULT_REMOTE, *, depth: Depth = None) -> Outcome:
    """Bring what a remote has: its branches become REMOTE/BRANCH, its new tags tags.

    All of it is verified before a commit is there. A fetch that was cut off is repeated; what came is not read again.

    Examples:
      piecrust fetch
      piecrust log origin/main
    """
    from piecrust.vm.remotes import fetch as fetch_from

    with opened(context) as at, progress("fetch") as bar:
        report = fetch_from(at.store, remote, depth=depth, progress=bar.tell)
    return Outcome(_fetched(report), _moves(report, settings(context).style))


def push(
    context: typer.Context,
    remote: Remote = DEFAULT_REMOTE,
    refs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REF]...", help="Branches and tags, or REV:NAME; by default HEAD's branch."),
    ] = None,
    *,
    delete: Annotated[bool, typer.Option("--delete", "-d", help="Take them away from the remote.")] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Even if commits lose the branch, as long as you have seen them.")
    ] = False,
) -> Outcome:
    """Send branches and tags to a remote.

    A branch only moves on: if the remote's has commits that yours has not, pull first. With --force it may lose
    commits, but not such as were pushed since you last fetched.

    Examples:
      piecrust push
      piecrust push origin main v1
      piecrust push origin HEAD~1:heads/stable
      piecrust push origin old --delete
    """
    from piecrust.vm.remotes import push as push_to

    if delete and not refs:
        raise UsageError("--delete takes the branches and tags", hints=["piecrust push origin NAME --delete"])
    style = settings(context).style
    with opened(context) as at, progress("push") as bar:
        report = push_to(at.store, remote, refs or (), delete=delete, force=force, progress=bar.tell)
    rows = [_move(done.ref, done.before, done.after, style) for done in report.refs]
    sent = f"{count(report.commits, 'commit')}, {size(report.bytes_sent)} in {count(len(report.packs), 'pack')}"
    data = {
        "remote": remote,
        "refs": [{"ref": done.ref, "before": done.before, "after": done.after} for done in report.refs],
        "commits": report.commits,
        "packs": [pack.hex() for pack in report.packs],
        "bytes": str(report.bytes_sent),
    }
    return Outcome(data, [*table(rows), *([sent] if report.packs else [])])


def pull(
    context: typer.Context,
    remote: Remote = DEFAULT_REMOTE,
    branch: Annotated[
        str | None, typer.Argument(metavar="[BRANCH]", help="By default the one that has the name of yours.")
    ] = None,
    *,
    message: Annotated[
        str | None, typer.Option("--message", "-m", metavar="TEXT", help="The message, if a commit is made.")
    ] = None,
) -> Outcome:
    """Fetch, then join a branch of the remote into the one that you are on.

    If yours has nothing of its own it just moves on; otherwise it is a merge, as of `piecrust merge REMOTE/BRANCH`.
    `piecrust undo` takes the joining back.

    Examples:
      piecrust pull
      piecrust pull origin main
    """
    from piecrust.vm.remotes import pull as pull_from

    style = settings(context).style
    with opened(context) as at, progress("pull") as bar:
        try:
            pulled = pull_from(at.store, remote, branch, scratch_of=at.scratch_of, message=message, progress=bar.tell)
        except MergeConflict as error:
            name = branch or at.head.branch or DEFAULT_BRANCH
            raise merge_conflicts(at, f"{remote}/{name}", error) from None
        except UncommittedChanges:
            raise WorkingStateNotEmpty(uncommitted(at), "checkout HEAD") from None
        root = at.state(pulled.merged.commit).state_root
    merged = pulled.merged
    how = "At" if merged.fast_forward else "Merged as"
    lines = [*_moves(pulled.fetched, style), f"{how} {style.commit(merged.commit.short())}"]
    data = {
        "fetched": _fetched(pulled.fetched),
        "commit": merged.commit,
        "state_root": root,
        "fast_forward": merged.fast_forward,
    }
    return Outcome(data, [*lines, f"state root {style.root(root.hex())}"])


def clone(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="A directory, or s3://bucket/prefix.")],
    directory: Annotated[str | None, typer.Argument(metavar="[DIR]", help="Where; by default its last part.")] = None,
    *,
    branch: Annotated[str | None, typer.Option("--branch", "-b", metavar="BRANCH", help="To be on.")] = None,
    depth: Depth = None,
    contract: Annotated[
        list[str] | None,
        typer.Option("--contract", metavar="ID", help="Bring this contract at once, all else when it is touched."),
    ] = None,
    lazy: Annotated[bool, typer.Option("--lazy", help="Bring everything when it is touched.")] = False,
) -> Outcome:
    """Make a store of a remote, which it knows as `origin`.

    A lazy clone has the commits that branches and tags are at; states, pages and older commits come from the remote
    when they are touched, are verified, and stay.

    Examples:
      piecrust clone /mnt/backup/state
      piecrust clone s3://bucket/state here --depth 1
      piecrust clone s3://bucket/state here --lazy
    """
    from piecrust.vm.remotes import clone as clone_of

    chosen = [parse_contract_id(text) for text in contract or ()]
    name = url.partition("?")[0].rstrip("/").rpartition("/")[2]
    if directory is None and name in ("", ".", ".."):
        raise UsageError("where should it go?", hints=[f"piecrust clone {url} DIR"])
    target = Path(directory or name)
    with progress("clone") as bar:
        report = clone_of(url, target, branch=branch, depth=depth, lazy=lazy, contracts=chosen, progress=bar.tell)
    data = {"directory": str(target.absolute()), **_fetched(report)}
    style = settings(context).style
    lines = [f"Cloned into {target}, {count(len(report.commits), 'commit')}", *_moves(report, style)]
    return Outcome(data, lines, hints=[f"piecrust -C {target} status"])


def _fetched(report: FetchReport) -> dict[str, Any]:
    return {
        "refs": report.refs,
        "moved": [{"ref": ref, "before": before, "after": after} for ref, (before, after) in report.moved.items()],
        "commits": list(report.commits),
        "packs": report.packs,
    }


def _moves(report: FetchReport, style: Style) -> list[str]:
    rows = [_move(ref, before, after, style) for ref, (before, after) in sorted(report.moved.items())]
    return table(rows) if rows else ["nothing new"]


def _move(ref: str, before: Any, after: Any, style: Style) -> list[str]:
    if before == after:
        return [ref, style.commit(after.short()), "as it was"]
    told = "new" if before is None else "gone" if after is None else f"from {before.short()}"
    return [ref, style.commit((after or before).short()), told]
