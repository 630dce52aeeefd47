"""`stats`: what a store holds, what it takes, and how it grew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from piecrust.cli.command import Outcome, settings
from piecrust.cli.command_errors import FileProblem
from piecrust.cli.commands.status import size_on_disk
from piecrust.cli.envelope import u64
from piecrust.cli.plot import line_plot
from piecrust.cli.progress import progress
from piecrust.cli.render import size, table
from piecrust.cli.working_state import opened
from piecrust.objects.ancestry import walk
from piecrust.objects.kinds import Kind
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.reach import reachable

if TYPE_CHECKING:
    from piecrust.objects.ids import CommitId
    from piecrust.objects.store import Store


def stats(
    context: typer.Context,
    *,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="FILE", help="Draw the growth over commits into an SVG file.")
    ] = None,
) -> Outcome:
    """Count the objects of a store and what they take on the disk, commit by commit.

    What was stored for a commit is what it needs and no commit before it does.

    Examples:
      piecrust stats
      piecrust stats --plot growth.svg
    """
    style = settings(context).style
    objects: Counter[Kind] = Counter()
    stored: Counter[Kind] = Counter()
    growth = []
    with opened(context, read_only=True) as at, progress("stats") as bar:
        commits = _oldest_first(at.store)
        for number, (commit, new) in enumerate(_new_objects(at.store, commits), 1):
            took = 0
            for kind, address in new:
                length = at.store.stored_bytes(kind, address)
                objects[kind] += 1
                stored[kind] += length
                took += length
            growth.append((commit, took))
            bar.update(number, len(commits))
        on_disk = size_on_disk(at.store.root_dir)
    total = sum(stored.values())
    pages = objects[Kind.PAGE] * PAGE_BYTES
    lines = table(
        [[_name(kind), f"{objects[kind]:,}", size(stored[kind])] for kind in Kind if objects[kind]],
        [style.heading("kind"), style.heading("objects"), style.heading("stored")],
    )
    lines += [
        f"{len(commits):,} commits, {size(total)} in objects, {size(on_disk)} on disk",
        f"{size(pages)} of pages"
        + (f", {pages / stored[Kind.PAGE]:.1f} times what they take" if stored[Kind.PAGE] else ""),
    ]
    if plot is not None:
        _draw(plot, [took for _, took in growth])
        lines.append(f"the plot is in {plot}")
    data = {
        "commits": len(commits),
        "stored": u64(total),
        "on_disk": u64(on_disk),
        "kinds": {_name(k): {"objects": objects[k], "stored": u64(stored[k])} for k in Kind if objects[k]},
        "growth": [{"commit": commit, "stored": u64(took)} for commit, took in growth],
        "plot": plot,
    }
    return Outcome(data, lines)


def _oldest_first(store: Store) -> list[CommitId]:
    return list(walk(store.graph, store.commits()))[::-1]


def _new_objects(store: Store, commits: list[CommitId]) -> Iterator[tuple[CommitId, Iterator[tuple[Kind, bytes]]]]:
    """For each commit what it needs and those before it do not."""
    seen: set[tuple[Kind, bytes]] = set()
    for commit in commits:
        yield commit, reachable(store, commit, seen)


def _name(kind: Kind) -> str:
    return kind.name.lower().replace("_", " ")


def _draw(path: str, growth: list[int]) -> None:
    total = 0
    points = [(0.0, 0.0)]
    for number, took in enumerate(growth, 1):
        total += took
        points.append((number, total))
    drawing = line_plot(
        "Growth of the store", "commits", [("stored", points)], lambda value: size(int(value)), base=1024
    )
    try:
        Path(path).write_text(drawing, encoding="utf-8")
    except OSError as error:
        raise FileProblem(path, error) from None
