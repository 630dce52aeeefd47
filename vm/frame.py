"""One call of a function: where it runs, what it may spend, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from piecrust.vm.errors import CallFailed
from piecrust.vm.receipt import FailedFrame
from piecrust.vm.undo import MERGED_MIN

if TYPE_CHECKING:
    from piecrust.vm.contracts import DeployedContract
    from piecrust.vm.instance import Instance


class Frame:
    """One running or finished call. `spent` counts its callees; `failed` is its last callee if that one failed.

    `instance` is there from when it begins to run; `buffer` is where its argument buffer lies. `mark` is where in
    the undo log it goes back to if it fails; when the log is longer than `merge_at` its entries since are merged.
    """

    __slots__ = (
        "buffer",
        "children",
        "contract",
        "depth",
        "failed",
        "function",
        "instance",
        "limit",
        "mark",
        "memory",
        "memory_length",
        "merge_at",
        "parent",
        "reason",
        "spent",
    )

    instance: Instance

    def __init__(
        self, contract: DeployedContract, function: str, limit: int, parent: Frame | None, mark: int = 0
    ) -> None:
        self.contract = contract
        self.memory = contract.memory
        self.buffer = contract.code.argument
        self.function = function
        self.limit = limit
        self.parent = parent
        self.mark = mark
        self.merge_at = mark + MERGED_MIN
        self.depth: int = 1 if parent is None else parent.depth + 1
        self.spent = 0
        self.memory_length = self.memory.length
        self.children: list[Frame] = []
        self.failed: Frame | None = None
        self.reason = ""  # why it failed


def failed_frames(top: Frame, error: CallFailed) -> tuple[FailedFrame, ...]:
    """The top-level call that ended with `error`, then each last callee that had failed in it, outermost first."""
    frames = []
    frame: Frame | None = top
    top.reason = str(error)
    while frame is not None:
        frames.append(FailedFrame(frame.contract.id, frame.function, frame.limit, frame.spent, frame.reason))
        frame = frame.failed
    return tuple(frames)
