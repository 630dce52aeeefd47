"""What the original answered to random contracts, and the same calls here.

A case is a JSON object: `wasm` (packed), `calls` with what the original answered, and its memory at the end: `length`
in pages, and index and blake3 of the `pages` ever written. fixtures/reference/random_modules.py records them.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

from blake3 import blake3

from support.metered import Contract, Outcome


def packed(wasm: bytes) -> str:
    """Bytecode as it is kept in a case."""
    return base64.b64encode(zlib.compress(wasm, 9)).decode()


def unpacked(text: str) -> bytes:
    """The bytecode of a case."""
    return zlib.decompress(base64.b64decode(text))


def replay(case: dict[str, Any]) -> list[str]:
    """The differences between a recorded case and what happens here; none if all is well."""
    contract = Contract(unpacked(case["wasm"]))
    differences = []
    for function, argument, gas, expected in case["calls"]:
        outcome = contract.call(function, bytes.fromhex(argument), gas)
        if answer(outcome) != expected:
            differences.append(f"{function}({argument}) with {gas} gas: {answer(outcome)}, the original: {expected}")
    pages = [[index, blake3(page).hexdigest()] for index, page in contract.state.written_pages().items()]
    if pages != case["pages"]:
        differences.append(f"pages {pages}, the original: {case['pages']}")
    if contract.state.pages != case["length"]:
        differences.append(f"{contract.state.pages} pages long, the original: {case['length']}")
    return differences


def answer(outcome: Outcome) -> dict[str, Any]:
    """An outcome as it is recorded."""
    if outcome.error is not None:
        return {"error": outcome.error}
    return {"spent": outcome.spent, "data": outcome.data.hex()}
