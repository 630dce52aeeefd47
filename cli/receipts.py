"""Receipts of calls: for people and for envelopes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from piecrust.cli.envelope import u64
from piecrust.cli.render import printable
from piecrust.cli.style import Style
from piecrust.cli.value_writer import json_value, show_value
from piecrust.objects.ids import ContractId
from piecrust.vm.rkyv.types import UNIT

if TYPE_CHECKING:
    from piecrust.cli.interfaces import Interfaces
    from piecrust.objects.steps import Event as RecordedEvent
    from piecrust.vm.events import Event
    from piecrust.vm.receipt import FailedCall, Receipt
    from piecrust.vm.rkyv.types import RustType

Label = Callable[[ContractId], str]


def receipt_data(receipt: Receipt[Any], returns: RustType | None, interfaces: Interfaces) -> dict[str, Any]:
    """A receipt for the envelope; `value` is what `returns` decodes the data to."""
    return {
        "value": None if returns is None else json_value(returns, receipt.data),
        "type": None if returns is None else str(returns),
        "data": receipt.data if returns is None else None,
        "gas_spent": u64(receipt.gas_spent),
        "gas_limit": u64(receipt.gas_limit),
        "events": [event_data(event, interfaces) for event in receipt.events],
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
        "failed_calls": [
            {
                "contract": call.contract,
                "function": call.function,
                "gas_limit": u64(call.limit),
                "gas_spent": u64(call.spent),
                "depth": call.depth,
                "position": call.position,
                "reason": call.reason,
            }
            for call in receipt.failed_calls
        ],
    }


def event_data(event: Event | RecordedEvent, interfaces: Interfaces) -> dict[str, Any]:
    """An event for the envelope; `value` is what its data says, if its contract tells."""
    decoded = interfaces.event(event)
    return {
        "source": event.source,
        "topic": event.topic,
        "data": event.data,
        "value": None if decoded is None else decoded[1],
        "reverted": event.reverted,
    }


def value_line(receipt: Receipt[Any], returns: RustType | None) -> str:
    """The result on one line: the decoded value, or hex; nothing for a function that returns nothing."""
    if returns == UNIT:
        return ""
    return bytes(receipt.data).hex() if returns is None else show_value(returns, receipt.data)


def gas_line(receipt: Receipt[Any], style: Style) -> str:
    """What the call cost."""
    return style.faint(f"gas {receipt.gas_spent:,} of {receipt.gas_limit:,}")


def event_lines(events: Sequence[Event], label: Label, style: Style, interfaces: Interfaces) -> list[str]:
    """A line for each event: who, topic, data (decoded, or in hex); those that were reverted say so."""
    lines = []
    for event in events:
        decoded = interfaces.event(event)
        text = f"event {style.contract(label(event.source))} {event.topic}  "
        text += event.data.hex() if decoded is None else decoded[0]
        readable = printable(event.data)
        if decoded is None and event.data and "." not in readable:
            text += f"  {readable!r}"
        lines.append(text + (style.removed("  reverted") if event.reverted else ""))
    return lines


def trace_lines(receipt: Receipt[Any], label: Label, style: Style) -> list[str]:
    """The frames of a call, callers before callees, in the order of the calls; failed ones say why.

    Gas is each frame's own, what its callees spent not counted; a failed callee's is part of its caller's.
    """
    lines: list[str] = []
    failed = list(receipt.failed_calls)
    for position, element in enumerate(reversed(list(receipt.call_tree))):
        while failed and failed[0].position <= position:
            lines.append(_failed_line(failed.pop(0), label, style))
        lines.append(
            f"{'  ' * element.depth}{style.contract(label(element.contract))}.{element.function}"
            + style.faint(f"  gas {element.spent:,} of {element.limit:,}, memory {element.memory_length:,}")
        )
    return [*lines, *(_failed_line(call, label, style) for call in failed)]


def _failed_line(call: FailedCall, label: Label, style: Style) -> str:
    why = "taken back with its caller" if call.reason is None else f"failed: {call.reason}"
    name = f"{'  ' * call.depth}{style.contract(label(call.contract))}.{call.function}"
    return f"{name}{style.faint(f'  gas {call.spent:,} of {call.limit:,}')}  {style.removed(why)}"
