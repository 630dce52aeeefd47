"""Answers of a machine that performs the driver's operations, and how two of them are compared."""

from __future__ import annotations

import json
from collections.abc import Iterator

from piecrust.objects.errors import PiecrustError
from piecrust.vm.errors import MemoryAccessOutOfBounds
from piecrust.vm.receipt import Receipt

Operation = dict[str, object]
Answer = dict[str, object]

# The kinds of error whose message is made of fields that both have. The messages of the others are an engine's own.
COMPARED_MESSAGES = {"Panic", "MissingHostQuery", "InvalidFunction", "ContractDoesNotExist", "MemoryAccessOutOfBounds"}


def differences(ours: Answer, theirs: Answer) -> Iterator[tuple[str, str, str]]:
    """The fields in which two answers differ, with both values as JSON; of lists, only what the other one lacks."""
    ours, theirs = flattened(ours), flattened(theirs)
    if ours.get("error") != theirs.get("error"):
        # The rest of an answer hangs on whether it is an error at all.
        yield "error", summary(ours), summary(theirs)
        return
    for field in sorted(ours | theirs):
        here, there = ours.get(field), theirs.get(field)
        if here == there:
            continue
        if isinstance(here, list) and isinstance(there, list) and sorted_texts(here) != sorted_texts(there):
            here, there = without(here, there), without(there, here)
        yield field, text(here), text(there)


def sorted_texts(items: list) -> list[str]:
    return sorted(map(text, items))


def without(items: list, others: list) -> list:
    """What only the first list has."""
    return [item for item in items if item not in others]


def flattened(answer: Answer) -> Answer:
    """The answer with an error as one string, its message only if that can be compared."""
    error = answer.get("error")
    if error is None:
        return answer
    kind = error["kind"]
    told = f"{kind}: {error['message']}" if kind in COMPARED_MESSAGES else kind
    return {**answer, "error": told}


def summary(answer: Answer) -> str:
    return text(answer.get("error", "no error"))


def text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def failure(kind: str, text: str) -> Answer:
    return {"error": {"kind": kind, "message": text}}


def message(error: PiecrustError) -> str:
    """The error in the original's words, where a field of it is in them; else in its own."""
    match error.kind:
        case "Panic":
            return f"Panic: {error.message}"
        case "MissingHostQuery":
            return f"Missing host query: {error.name}"
        case "InvalidFunction":
            return f"Invalid function: {error.name}"
        case "ContractDoesNotExist":
            return f"Contract does not exist: {error.contract.hex()}"
        case "MemoryAccessOutOfBounds":
            return f"Memory access out of bounds: {bounds(error)}"
    return str(error)


def bounds(error: MemoryAccessOutOfBounds) -> str:
    return f"offset {error.offset}, length {error.length}, memory length {error.memory_length}"


def receipt_answer(receipt: Receipt[bytes]) -> Answer:
    return {
        "data": receipt.data.hex(),
        "gas_spent": receipt.gas_spent,
        "gas_limit": receipt.gas_limit,
        "events": event_answers(receipt),
        "tree": [
            {
                "contract": element.contract.hex(),
                "limit": element.limit,
                "spent": element.spent,
                "mem_len": element.memory_length,
            }
            for element in receipt.call_tree
        ],
    }


def event_answers(receipt: Receipt[bytes]) -> list[Answer]:
    return [
        {
            "source": event.source.hex(),
            "topic": event.topic,
            "data": event.data.hex(),
            "reverted": event.reverted,
        }
        for event in receipt.events
    ]
