"""Receipts of calls: for people and for envelopes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from piecrust.cli.envelope import u64
from piecrust.cli.render import count, printable
from piecrust.cli.style import Style
from piecrust.cli.value_writer import json_value, show_value
from piecrust.objects.ids import ContractId

if TYPE_CHECKING:
    from piecrust.vm.events import Event
    from piecrust.vm.receipt import CallTree, FailedFrame, Receipt
    from piecrust.vm.rkyv.types import RustType

Label = Callable[[ContractId], str]


def receipt_data(receipt: Receipt[Any], returns: RustType | None) -> dict[str, Any]:
    """A receipt for the envelope; `value` is what `returns` decodes the data to."""
    return {
        "value": None if returns is None else json_value(returns, receipt.data),
        "type": None if returns is None else str(returns),
        "data": receipt.data if returns is None else None,
        "gas_spent": u64(receipt.gas_spent),
        "gas_limit": u64(receipt.gas_limit),
        "events": [event_data(event) for event in receipt.events],
        "call_tree": [
            {
                "contract": element.contract,
                "function": element.function,
                "gas_limit": u64(element.limit),
                "gas_spent": u64(element.spent),
                "memory_length": u64(element.memory_length),
                "depth": element.depth,
            }
            for element in receipt.call_tree
        ],
    }


def event_data(event: Event) -> dict[str, Any]:
    """An event for the envelope."""
    return {"source": event.source, "topic": event.topic, "data": event.data, "reverted": event.reverted}


def value_line(receipt: Receipt[Any], returns: RustType | None) -> str:
    """The result on one line: the decoded value, or hex."""
    return bytes(receipt.data).hex() if returns is None else show_value(returns, receipt.data)


def gas_line(receipt: Receipt[Any], style: Style) -> str:
    """What the call cost."""
    return style.faint(f"gas {receipt.gas_spent:,} of {receipt.gas_limit:,}")


def event_lines(events: Sequence[Event], label: Label, style: Style) -> list[str]:
    """A line for each event: who, topic, data; those that were reverted say so."""
    lines = []
    for event in events:
        text = f"event {style.contract(label(event.source))} {event.topic}  {event.data.hex()}"
        readable = printable(event.data)
        if event.data and "." not in readable:
            text += f"  {readable!r}"
        lines.append(text + (style.removed("  reverted") if event.reverted else ""))
    return lines


def trace_lines(tree: CallTree, label: Label, style: Style) -> list[str]:
    """The frames of a call that succeeded, callers before callees, in the order of the calls.

    Gas is each frame's own, what its callees spent not counted; a failed callee's is part of its caller's.
    """
    return [
        f"{'  ' * element.depth}{style.contract(label(element.contract))}.{element.function}"
        + style.faint(f"  gas {element.spent:,} of {element.limit:,}, memory {element.memory_length:,}")
        for element in reversed(list(tree))
    ]


def failed_lines(frames: Iterable[FailedFrame], label: Label, style: Style) -> list[str]:
    """The frames that were running when a call failed, outermost first."""
    return [
        f"{'  ' * depth}{style.contract(label(frame.contract))}.{frame.function}"
        + style.faint(f"  gas {frame.gas_spent:,} of {frame.gas_limit:,}")
        for depth, frame in enumerate(frames)
    ]


def gas_report(spent: int, steps: int) -> str:
    """A summary of several calls."""
    return f"{count(steps, 'call')}, gas {spent:,}"
