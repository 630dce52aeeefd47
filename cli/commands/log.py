"""`log` and `show`: what was committed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer
from piecrust.cli.changes import changed_contracts
from piecrust.cli.command import Outcome, settings
from piecrust.cli.envelope import u64
from piecrust.cli.graph import ASCII, BOX, draw
from piecrust.cli.history import derivation_of, gas_of, kinds_of_steps, touched_by
from piecrust.cli.progress import progress
from piecrust.cli.render import count
from piecrust.cli.streams import can_show
from piecrust.cli.words import at_most
from piecrust.cli.working_state import opened
from piecrust.objects.ancestry import walk, walk_between
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.refs import BRANCHES, REMOTES, TAGS
from piecrust.objects.transcript import Merge, Restore, Transcript

if TYPE_CHECKING:
    from piecrust.cli.style import Style
    from piecrust.cli.working_state import WorkingState
    from piecrust.objects.commit import Commit

UNICODE_NEEDED = "●│├╮"


def log(
    context: typer.Context,
    revision: Annotated[
        str | None, typer.Argument(metavar="[REV]", help="Where to begin, or A..B; by default HEAD.")
    ] = None,
    *,
    graph: Annotated[bool, typer.Option("--graph", help="Draw the branches and merges.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="From every commit that is kept.")] = False,
    first_parent: Annotated[bool, typer.Option("--first-parent", help="Leave out what was merged.")] = False,
    oneline: Annotated[bool, typer.Option("--oneline", help="One line a commit.")] = False,
    number: Annotated[int | None, typer.Option("--max-count", "-n", metavar="N", help="At most N commits.")] = None,
) -> Outcome:
    """Show commits, newest first, each with the contracts that it touched and the gas that was spent.

    Examples:
      piecrust log --graph
      piecrust log main~10..main --oneline
    """
    current = settings(context)
    style = current.style
    with opened(context, read_only=True) as at, progress("log") as bar:
        commits = islice(_selected(at, revision, everything=everything, first_parent=first_parent), at_most(number))
        names = _names(at, style)
        data: list[dict[str, Any]] = []
        entries: list[list[str]] = []
        for commit in commits:
            bar.update(len(data))
            item = _entry(at, commit)
            data.append(item)
            if not current.json:
                entries.append(_entry_lines(at, item, names.get(commit, ""), style, oneline=oneline))
    if not data:
        return Outcome({"commits": []}, [] if number == 0 else ["There are no commits."])
    if graph:
        drawable = [(item["commit"], item["parents"], lines) for item, lines in zip(data, entries, strict=False)]
        listed = {item["commit"] for item in data}
        shown = [(commit, [p for p in parents if p in listed], lines) for commit, parents, lines in drawable]
        return Outcome({"commits": data}, list(draw(shown, BOX if can_show(UNICODE_NEEDED) else ASCII)), paged=True)
    return Outcome({"commits": data}, [line for lines in entries for line in lines], paged=True)


def _selected(at: WorkingState, revision: str | None, *, everything: bool, first_parent: bool) -> Iterator[CommitId]:
    graph = at.store.graph
    if everything:
        return walk(graph, at.store.commits(), first_parent=first_parent)
    if revision is not None and ".." in revision:
        start, end = at.ends(revision)
        return walk_between(graph, [end], [start])
    if revision is None and at.head.commit is None:
        return iter(())
    return walk(graph, [at.commit(revision or "HEAD")], first_parent=first_parent)


def _names(at: WorkingState, style: Style) -> dict[CommitId, str]:
    """Branches, tags and HEAD, by the commit that they stand on."""
    head = at.head
    found: dict[CommitId, list[str]] = {}
    if head.commit is not None and head.branch is None:
        found.setdefault(head.commit, []).append("HEAD")
    for ref, commit in sorted(at.store.refs().items()):
        if not isinstance(commit, CommitId):
            continue
        if ref.startswith(BRANCHES):
            name = ref.removeprefix(BRANCHES)
            found.setdefault(commit, []).append(f"HEAD -> {name}" if name == head.branch else name)
        elif ref.startswith(TAGS):
            found.setdefault(commit, []).append(f"tag: {ref.removeprefix(TAGS)}")
        elif ref.startswith(REMOTES):
            found.setdefault(commit, []).append(ref.removeprefix(REMOTES))
    return {commit: f" ({style.branch(', '.join(names))})" for commit, names in found.items()}


def _entry(at: WorkingState, commit: CommitId) -> dict[str, Any]:
    """A commit for the envelope."""
    found: Commit = at.store.load(Kind.COMMIT, commit)
    derivation = derivation_of(at.store, commit)
    kind = {Merge: "merge", Restore: "restore", Transcript: "session"}.get(type(derivation), "other")
    return {
        "commit": commit,
        "state_root": found.state_root,
        "parents": list(found.parents),
        "generation": found.generation,
        "message": found.message,
        "author": found.author,
        "time": None if found.time is None else u64(found.time),
        "kind": kind,
        "steps": kinds_of_steps(derivation),
        "contracts": touched_by(derivation),
        "gas_spent": u64(gas_of(derivation)),
    }


def _entry_lines(at: WorkingState, item: dict[str, Any], names: str, style: Style, *, oneline: bool) -> list[str]:
    """A commit for people: id and message, then what it did."""
    message = (item["message"] or "").splitlines() or [""]
    did = _did(at, item, style)
    if oneline:
        text = message[0] or style.faint(did)
        return [f"{style.commit(item['commit'].short())}{names} {text}".rstrip()]
    lines = [f"{style.commit(item['commit'].short())}{names} {message[0]}".rstrip()]
    lines += [f"  {line}" for line in message[1:]]
    if item["author"] or item["time"]:
        lines.append(style.faint("  " + ", ".join(filter(None, [item["author"], _time(item["time"])]))))
    return [*lines, f"  {style.faint(did)}"] if did else lines


def _did(at: WorkingState, item: dict[str, Any], style: Style) -> str:
    steps = ", ".join(count(number, kind) for kind, number in item["steps"].items())
    touched = ", ".join(style.contract(at.label(contract)) for contract in item["contracts"])
    gas = f"gas {int(item['gas_spent']):,}" if item["kind"] == "session" and int(item["gas_spent"]) else ""
    what = steps if item["kind"] == "session" else item["kind"]
    return "; ".join(part for part in (what, touched, gas) if part)


def _time(seconds: str | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def show(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(metavar="[REV]", help="By default HEAD.")] = "HEAD",
) -> Outcome:
    """Show one commit: what was done, how it ended, and which contracts changed.

    Examples:
      piecrust show
      piecrust show main~1 --json
    """
    from piecrust.cli.interfaces import Interfaces
    from piecrust.cli.step_view import derivation_data, derivation_lines

    style = settings(context).style
    with opened(context, read_only=True) as at:
        commit = at.commit(revision)
        item = _entry(at, commit)
        derivation = derivation_of(at.store, commit)
        parent = item["parents"][0] if item["parents"] else None
        changes = changed_contracts(at.store, at.state(parent), at.state(commit))
        lines = [
            f"{style.heading('commit')}  {style.commit(commit.hex())}{_names(at, style).get(commit, '')}",
            f"{style.heading('root')}    {style.root(item['state_root'].hex())}",
            *(f"{style.heading('parent')}  {style.commit(each.hex())}" for each in item["parents"]),
        ]
        if item["author"]:
            lines.append(f"{style.heading('author')}  {item['author']}")
        if item["time"]:
            lines.append(f"{style.heading('time')}    {_time(item['time'])}")
        if item["message"]:
            lines += ["", *(f"    {line}" for line in item["message"].splitlines())]
        lines += ["", *derivation_lines(derivation, at.label, style), ""]
        told = derivation_data(derivation, Interfaces(lambda contract: at.interface(contract, at.state(commit))))
        for change in changes:
            paint = {"new": style.added, "gone": style.removed}.get(change.status, style.changed)
            text = f"{paint(change.status)} {style.contract(at.label(change.id))}, {count(len(change.pages), 'page')}"
            lines.append(", ".join([text, *change.details]))
    data = {
        **item,
        "derivation": told,
        "changes": [
            {"contract": change.id, "status": change.status, "pages": [page.index for page in change.pages]}
            for change in changes
        ],
    }
    return Outcome(data, lines, paged=True)
