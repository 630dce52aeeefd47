"""`gc` and `fsck`: room given back, and damage found."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from piecrust.cli.command import Outcome, settings
from piecrust.cli.command_errors import UsageError
from piecrust.cli.envelope import u64
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.progress import progress
from piecrust.cli.render import count, size
from piecrust.cli.working_state import opened, store_directory

if TYPE_CHECKING:
    from piecrust.cli.command import Settings
    from piecrust.cli.style import Style
    from piecrust.objects.findings import Report

DAY_SECONDS = 86400
SHOWN_MAX = 50


def gc(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    days: Annotated[
        int | None, typer.Option("--keep-days", metavar="DAYS", help="How long undone work stays; by default 14.")
    ] = None,
    keep_quarantine: Annotated[
        bool, typer.Option("--keep-quarantine", help="Leave what is replaced in quarantine/ until the next run.")
    ] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="Bring back what the last run left in quarantine/, and remove nothing.")
    ] = False,
) -> Outcome:
    """Remove what nothing refers to: deleted commits, replaced working states, undone work that is old.

    Branches, tags, finalized commits and every commit that was made and not deleted stay, with their whole history.
    Others may read and commit meanwhile.

    Examples:
      piecrust gc --dry-run
      piecrust gc --keep-days 0
      piecrust gc --keep-quarantine
      piecrust gc --restore
    """
    from piecrust.objects.store import RETENTION_SECONDS

    if restore:
        if dry_run or keep_quarantine or days is not None:
            raise UsageError("--restore goes with no other option")
        with opened(context) as at:
            packs = at.store.restore_collected()
        return Outcome({"restored_packs": packs}, [f"{count(packs, 'pack')} brought back from quarantine"])
    if days is not None and days < 0:
        raise UsageError("--keep-days takes a number from 0 on")
    seconds = RETENTION_SECONDS if days is None else days * DAY_SECONDS
    with opened(context, read_only=dry_run) as at, progress("gc") as bar:
        report = at.store.gc(
            dry_run=dry_run, retention_seconds=seconds, keep_quarantine=keep_quarantine, progress=bar.tell
        )
    freed = report.bytes_before - report.bytes_after
    removed = f"{count(report.objects_dead, 'object')} ({size(report.bytes_dead)})"
    if dry_run:
        lines = [f"{removed} would be removed"]
    else:
        lines = [f"{removed} removed, {size(max(0, freed))} of disk given back"]
    lines.append(f"{count(report.commits_living, 'commit')} and {count(report.objects_live, 'object')} stay")
    if report.tombstones:
        lines.append(
            f"{count(report.tombstones, 'deleted commit')} stay without their states: others descend from them"
        )
    data = {name: u64(value) if "bytes" in name else value for name, value in report.as_dict().items()}
    return Outcome(data, lines)


def fsck(
    context: typer.Context,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Look at files and refs alone, not at every object.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Save what is whole, move damaged files to quarantine/.")
    ] = False,
    heal_from: Annotated[
        str | None,
        typer.Option("--from", metavar="DIR", help="With --repair: another store to take from what is lost."),
    ] = None,
) -> Outcome:
    """Check the store: every file, object, commit and ref. Exit code 1 if there is damage, or some is left.

    Without --repair nothing is written, and others may go on committing. A repair writes nothing over: files that are
    damaged go to quarantine/ as they are, after all that is whole in them was copied.

    Examples:
      piecrust fsck
      piecrust fsck --quick --json
      piecrust fsck --repair --from ../backup
    """
    from piecrust.objects.fsck import fsck as check

    current = settings(context)
    if repair and quick:
        raise UsageError("--repair looks at everything: leave --quick out")
    if heal_from is not None and not repair:
        raise UsageError("--from belongs to --repair", hints=["piecrust fsck --repair --from DIR"])
    if repair:
        return _repair(current, heal_from)
    with progress("fsck") as bar:
        report = check(store_directory(current), full=not quick, progress=bar.tell)
    lines = _report_lines(report, current.style)
    hints = [] if report.clean else ["piecrust fsck --repair --from DIR   (a copy of the store, if there is one)"]
    return Outcome(_report_data(report), lines, ExitCode.OK if report.clean else ExitCode.NEGATIVE, hints=hints)


def _repair(current: Settings, heal_from: str | None) -> Outcome:
    """Repair the store, and tell what was damaged, what was done and what is lost."""
    from piecrust.objects.repair import repair
    from piecrust.objects.store import Store

    with ExitStack() as stack:
        bar = stack.enter_context(progress("fsck"))
        other = stack.enter_context(Store.open(Path(heal_from), read_only=True)) if heal_from is not None else None
        done = repair(store_directory(current), heal_from=other, progress=bar.tell)
    lines = _report_lines(done.before, current.style)
    if not done.before.clean:
        lines += [f"in quarantine: {path}" for path in done.quarantined]
        lines += [f"made anew: {path}" for path in done.rebuilt]
        lines.append(f"{count(done.salvaged, 'object')} saved from damaged files, {len(done.healed):,} healed")
        if done.after.clean:
            lines.append(current.style.added("The store is whole again."))
        else:
            lines += ["What is left:", *_report_lines(done.after, current.style)]
    data = {
        "repaired": not done.before.clean,
        "quarantined": [str(path) for path in done.quarantined],
        "rebuilt": [str(path) for path in done.rebuilt],
        "salvaged": done.salvaged,
        "healed": [{"kind": healed.kind.name.lower(), "address": healed.address} for healed in done.healed],
        "before": _report_data(done.before),
    }
    code = ExitCode.OK if done.after.clean else ExitCode.NEGATIVE
    return Outcome(_report_data(done.after) | {"repair": data}, lines, code)


def _report_data(report: Report) -> dict[str, Any]:
    checked = report.checked
    return {
        "clean": report.clean,
        "full": report.full,
        "files": [
            {"path": str(file.path), "offset": file.offset, "reason": file.reason, "disposable": file.disposable}
            for file in report.files
        ],
        "objects": [
            {
                "kind": damaged.kind.name.lower(),
                "address": damaged.address,
                "path": str(damaged.path),
                "offset": damaged.offset,
                "reason": damaged.reason,
            }
            for damaged in report.objects
        ],
        "commits": [
            {
                "commit": affected.commit,
                "refs": list(affected.refs),
                "reason": affected.reason,
                "lost": [{"kind": lost.kind.name.lower(), "address": lost.address} for lost in affected.lost],
            }
            for affected in report.commits
        ],
        "refs": [{"name": ref.name, "reason": ref.reason} for ref in report.refs],
        "checked": {
            "files": checked.files,
            "frames": checked.frames,
            "objects": checked.objects,
            "object_bytes": u64(checked.object_bytes),
            "commits": checked.commits,
            "refs": checked.refs,
            "operations": checked.operations,
        },
    }


def _report_lines(report: Report, style: Style) -> list[str]:
    """Damage for people: files, objects, commits that are not whole, refs that lead nowhere."""
    checked = report.checked
    looked = f"{count(checked.files, 'file')}, {count(checked.refs, 'ref')}, {count(checked.operations, 'operation')}"
    if report.full:
        objects = f"{count(checked.objects, 'object')} ({size(checked.object_bytes)})"
        looked = f"{looked}, {objects}, {count(checked.commits, 'commit')}"
    if report.clean:
        return [style.added("No damage."), style.faint(f"Checked {looked}.")]
    lines = []
    for file in report.files:
        note = " (nothing is lost with it)" if file.disposable else ""
        lines.append(f"{style.removed('file')} {file.path} at {file.offset}: {file.reason}{note}")
    for damaged in report.objects:
        name = damaged.kind.name.lower().replace("_", " ")
        lines.append(f"{style.removed(name)} {damaged.address.hex()}: {damaged.reason}")
    for affected in report.commits:
        refs = f" ({', '.join(affected.refs)})" if affected.refs else ""
        lines.append(f"{style.removed('commit')} {affected.commit.hex()}{refs}: {affected.reason}")
    lines += [f"{style.removed('ref')} {ref.name}: {ref.reason}" for ref in report.refs]
    if len(lines) > SHOWN_MAX:
        lines[SHOWN_MAX:] = [f"and {len(lines) - SHOWN_MAX:,} more (--json has them all)"]
    return [*lines, style.faint(f"Checked {looked}.")]
