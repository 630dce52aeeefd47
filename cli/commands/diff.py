"""`diff`: two revisions compared, from a summary down to bytes and values."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from piecrust.cli.changes import ChangedContract, changed_contracts, load_page
from piecrust.cli.command import Outcome, settings
from piecrust.cli.command_errors import FileProblem, UsageError
from piecrust.cli.envelope import u64
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.heat_map import ASCII_SHADES, SHADES, svg_map, terminal_map
from piecrust.cli.render import count, hex_dump
from piecrust.cli.streams import can_show
from piecrust.cli.value_differences import WORKING, ValueDifference, value_differences
from piecrust.cli.working_state import opened
from piecrust.objects.diff import ByteDifference, diff_bytes
from piecrust.objects.page import PAGE_BYTES, RANGE_BYTES

if TYPE_CHECKING:
    from piecrust.cli.style import Style
    from piecrust.cli.working_state import WorkingState
    from piecrust.objects.state import State

RANGES = PAGE_BYTES // RANGE_BYTES
RUNS_MAX = 200  # shown per page


def diff(
    context: typer.Context,
    revisions: Annotated[
        list[str] | None, typer.Argument(metavar="[REV]", help="A B or A..B; one: against the working state.")
    ] = None,
    *,
    contract: Annotated[
        list[str] | None, typer.Option("--contract", "-c", metavar="CONTRACT", help="Only these contracts.")
    ] = None,
    pages: Annotated[bool, typer.Option("--pages", help="Show which pages changed.")] = False,
    show_bytes: Annotated[bool, typer.Option("--bytes", help="Show which bytes changed.")] = False,
    show_scratch: Annotated[
        bool, typer.Option("--scratch", help="Show bytes that the interface declares as scratch, too.")
    ] = False,
    values: Annotated[
        list[str] | None,
        typer.Option("--query", "-q", metavar="FUNCTION[:TYPE]", help="Compare what this function answers, decoded."),
    ] = None,
    show_map: Annotated[bool, typer.Option("--map", help="Draw the changed pages in the terminal.")] = False,
    svg: Annotated[str | None, typer.Option("--svg", metavar="FILE", help="Draw them into an SVG file.")] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 if anything differs.")] = False,
) -> Outcome:
    """Compare two revisions: contracts, pages, bytes, and values.

    Without a revision HEAD is compared with the working state. Values are shown where a contract's interface names them
    in its memory map, or through `--query`.

    Examples:
      piecrust diff
      piecrust diff main~3..main --bytes --contract counter
      piecrust diff v1 v2 --query read_value:i64 --exit-code
      piecrust diff main~3 main --contract counter --svg pages.svg
    """
    style = settings(context).style
    with opened(context, read_only=True) as at:
        (old_name, old), (new_name, new) = _sides(at, revisions or [])
        changes = changed_contracts(at.store, old, new)
        if contract:
            wanted = {at.contract(name, old, new) for name in contract}
            changes = [change for change in changes if change.id in wanted]
        decoded = value_differences(context, at, old_name, new_name, changes, values or [])
        data = [_change_data(at, change, decoded.get(change.id, ()), show_bytes=show_bytes) for change in changes]
        lines = [style.faint(f"{old_name} .. {new_name}")]
        for change in changes:
            lines += _change_lines(change, at.label(change.id), decoded.get(change.id, ()), style)
            if pages or show_bytes:
                lines += _page_lines(at, change, style, show_bytes=show_bytes, show_scratch=show_scratch)
            if show_map:
                shades = SHADES if can_show(SHADES) else ASCII_SHADES
                width = shutil.get_terminal_size().columns
                weights, page_count = _weights(at, change), _page_count(change)
                lines += terminal_map(weights, pages=page_count, scale=RANGES, shades=shades, width=width)
        if svg is not None:
            lines.append(_write_svg(at, changes, svg))
    if not changes:
        lines = ["No difference."]
    verdict = ExitCode.NEGATIVE if exit_code and changes else ExitCode.OK
    differs = {"equal": not changes, "old": old_name, "new": new_name, "old_root": old.state_root}
    return Outcome({**differs, "new_root": new.state_root, "changes": data}, lines, verdict, paged=True)


def _sides(at: WorkingState, revisions: Sequence[str]) -> tuple[tuple[str, State], tuple[str, State]]:
    """Names and states of what is compared."""
    match list(revisions):
        case []:
            return ("HEAD", at.state(at.head.commit)), (WORKING, at.current())
        case [both] if ".." in both:
            old, _, new = both.partition("..")
            return _side(at, old or "HEAD"), _side(at, new or "HEAD")
        case [one]:
            return _side(at, one), (WORKING, at.current())
        case [one, other]:
            return _side(at, one), _side(at, other)
        case _:
            raise UsageError("two revisions can be compared, not more")


def _side(at: WorkingState, revision: str) -> tuple[str, State]:
    return revision, at.state(at.commit(revision))


def _change_data(
    at: WorkingState, change: ChangedContract, decoded: Sequence[ValueDifference], *, show_bytes: bool
) -> dict[str, Any]:
    pages = []
    scratch = _scratch(at, change) if show_bytes else []
    for page in change.pages:
        item: dict[str, Any] = {"index": page.index, "old": page.old, "new": page.new}
        if show_bytes:
            item["runs"] = [
                {"offset": u64(run.offset), "old": run.old, "new": run.new, "scratch": _lies_in(run, scratch)}
                for run in diff_bytes(at.store, page)
            ]
        pages.append(item)
    return {
        "contract": change.id,
        "label": at.label(change.id),
        "status": change.status,
        "details": change.details,
        "pages": pages,
        "values": [{"name": value.name, "old": value.old_data, "new": value.new_data} for value in decoded],
    }


def _change_lines(change: ChangedContract, label: str, decoded: Sequence[ValueDifference], style: Style) -> list[str]:
    paint = {"new": style.added, "gone": style.removed}.get(change.status, style.changed)
    head = f"{paint(change.status)} {style.contract(label)}  {count(len(change.pages), 'page')}"
    lines = [", ".join([head, *change.details])]
    return lines + [f"  {value.name}: {style.removed(value.old)} -> {style.added(value.new)}" for value in decoded]


def _page_lines(
    at: WorkingState, change: ChangedContract, style: Style, *, show_bytes: bool, show_scratch: bool
) -> list[str]:
    """The pages that changed, and their bytes; scratch is counted, not shown."""
    lines: list[str] = []
    scratch = [] if show_scratch or not show_bytes else _scratch(at, change)
    left_out = 0
    for page in change.pages:
        kind = "new" if page.old is None else "gone" if page.new is None else "changed"
        lines.append(f"  page {page.index} {kind}")
        runs = list(diff_bytes(at.store, page)) if show_bytes else []
        shown = [run for run in runs if not _lies_in(run, scratch)]
        left_out += len(runs) - len(shown)
        for run in shown[:RUNS_MAX]:
            lines += [style.removed(f"  - {line}") for line in hex_dump(run.old, run.offset)]
            lines += [style.added(f"  + {line}") for line in hex_dump(run.new, run.offset)]
        if len(shown) > RUNS_MAX:
            lines.append(f"  and {count(len(shown) - RUNS_MAX, 'more run')} of bytes")
    if left_out:
        lines.append(
            style.faint(f"  {count(left_out, 'run')} of bytes in scratch {'is' if left_out == 1 else 'are'} not shown")
        )
    return lines


def _scratch(at: WorkingState, change: ChangedContract) -> list[range]:
    """What the contract's interface declares as scratch, if its code is the same on both sides."""
    if change.old is None or change.new is None or change.old.bytecode != change.new.bytecode:
        return []
    return at.scratch_of(change.new)


def _lies_in(run: ByteDifference, scratch: Sequence[range]) -> bool:
    return any(span.start <= run.offset and run.offset + len(run.new) <= span.stop for span in scratch)


def _weights(at: WorkingState, change: ChangedContract) -> dict[int, int]:
    """How many of the 16 ranges of 4 KiB differ in each changed page; a page without any counts as one."""
    weights = {}
    for page in change.pages:
        old, new = load_page(at.store, page.old), load_page(at.store, page.new)
        spans = range(0, PAGE_BYTES, RANGE_BYTES)
        weights[page.index] = max(1, sum(old[s : s + RANGE_BYTES] != new[s : s + RANGE_BYTES] for s in spans))
    return weights


def _page_count(change: ChangedContract) -> int:
    """How many pages the contract's memory has, and at least those that changed."""
    lengths = [record.memory_length for record in (change.old, change.new) if record is not None]
    highest = max((page.index + 1 for page in change.pages), default=1)
    return max(-(-max(lengths) // PAGE_BYTES), min(highest, 1 << 16))


def _write_svg(at: WorkingState, changes: Sequence[ChangedContract], path: str) -> str:
    if len(changes) != 1:
        raise UsageError(
            f"a drawing shows one contract, {len(changes)} changed", hints=["--contract CONTRACT   (choose one)"]
        )
    change = changes[0]
    title = f"{at.label(change.id)}: {count(len(change.pages), 'changed page')}"
    drawing = svg_map(title, _weights(at, change), pages=_page_count(change), scale=RANGES)
    try:
        Path(path).write_text(drawing, encoding="utf-8")
    except OSError as error:
        raise FileProblem(path, error) from None
    return f"the map is in {path}"
