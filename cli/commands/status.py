"""`status`: where you are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from piecrust.cli.changes import changed_contracts
from piecrust.cli.command import Outcome, settings
from piecrust.cli.envelope import u64
from piecrust.cli.history import derivation_of, gas_of, kinds_of_steps
from piecrust.cli.render import count, size, table
from piecrust.cli.working_state import STORE_DIRECTORY, opened
from piecrust.vm.bisection import Bisection
from piecrust.vm.errors import NoBisection

if TYPE_CHECKING:
    from piecrust.cli.style import Style
    from piecrust.cli.working_state import WorkingState

BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's is


def status(context: typer.Context) -> Outcome:
    """Where you are and what is not committed: branch, commit, deploys, calls, contracts changed, size on disk.

    Examples:
      piecrust status
      piecrust status --json
    """
    style = settings(context).style
    with opened(context, read_only=True) as at:
        data = _gather(at)
        return Outcome(data, _lines(data, style, [_change_row(change, style) for change in data["changes"]]))


def _gather(at: WorkingState) -> dict[str, Any]:
    head, draft = at.head, at.workspace.draft()
    base, current = at.state(head.commit), at.current()
    derivation = derivation_of(at.store, draft)
    steps = kinds_of_steps(derivation)
    changes = [
        {
            "contract": change.id,
            "label": at.label(change.id),
            "status": change.status,
            "pages": len(change.pages),
            "details": change.details,
        }
        for change in changed_contracts(at.store, base, current)
    ]
    return {
        "directory": str(at.store.root_dir),
        "branch": head.branch,
        "commit": head.commit,
        "state_root": base.state_root,
        "working_state": None
        if draft is None
        else {"draft": draft, "state_root": current.state_root, "steps": steps, "gas_spent": u64(gas_of(derivation))},
        "changes": changes,
        "contracts": current.positions,
        "commits": len(at.store.commits()),
        "size": u64(size_on_disk(at.store.root_dir)),
        "damage": [str(error) for error in at.store.damage],
        "bisection": _bisection(at),
    }


def _bisection(at: WorkingState) -> dict[str, Any] | None:
    """How far a bisection is, if one was started."""
    try:
        state = Bisection(at.store).state()
    except NoBisection:
        return None
    return {"bad": state.bad, "good": len(state.good), "left": len(state.candidates), "culprit": state.culprit}


def _lines(data: dict[str, Any], style: Style, rows: Sequence[Sequence[str]]) -> list[str]:
    commit = data["commit"]
    where = f"On branch {style.branch(data['branch'])}" if data["branch"] else style.branch("HEAD is on a commit")
    lines = [f"{where}, {'no commits yet' if commit is None else f'at {style.commit(commit.hex()[:12])}'}"]
    if data["bisection"] is not None:
        lines.append(f"Bisecting, {count(data['bisection']['left'], 'commit')} left (piecrust bisect status)")
    working = data["working_state"]
    if working is None:
        lines.append(f"State root {style.root(data['state_root'].hex())}")
        lines.append("Nothing is uncommitted.")
    else:
        lines.append(f"State root {style.root(working['state_root'].hex())} (not committed)")
        steps = ", ".join(count(number, kind) for kind, number in working["steps"].items())
        lines.append(f"Not committed: {steps or 'metadata'} (gas {int(working['gas_spent']):,})")
        lines.extend(f"  {line}" for line in table(rows))
    kept = (
        f"{count(data['contracts'], 'contract')}, {count(data['commits'], 'commit')}, {size(int(data['size']))} on disk"
    )
    lines.append(style.faint(kept))
    lines.extend(style.error(f"Damaged: {damage}") for damage in data["damage"])
    return lines


def _change_row(change: dict[str, Any], style: Style) -> list[str]:
    paint = {"new": style.added, "gone": style.removed}.get(change["status"], style.changed)
    details = f"  ({', '.join(change['details'])})" if change["details"] else ""
    return [paint(change["status"]), style.contract(change["label"]), count(change["pages"], "page") + details]


def size_on_disk(directory: Path) -> int:
    """Bytes that the files of a store take on the disk."""
    total = 0
    for path in (directory / STORE_DIRECTORY).rglob("*"):
        try:
            total += path.stat().st_blocks * BLOCK_BYTES
        except FileNotFoundError:  # another process may be at work
            continue
    return total
