r"""The one shape in which every command answers with `--json`.

- One JSON object on stdout, on one line, whatever happens: success, a negative verdict or an error.
- `ok` is true exactly when the exit code is 0; `errors` names what went wrong by code (stable) and message (for
  people).
- ASCII alone, so that it is the same in every locale.
- 64-bit integers are decimal strings (JSON readers lose them otherwise), byte strings are hex, absent values are null.

>>> print(envelope("root", ok=True, data={"gas": u64(7), "id": b"\x01\xff"}))
{"schema": "piecrust.cli/1", "command": "root", "ok": true, "data": {"gas": "7", "id": "01ff"}, "warnings": [],
"errors": []}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SCHEMA = "piecrust.cli/1"


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One error of the envelope: `code` is the error's class in snake case."""

    code: str
    message: str


def u64(value: int) -> str:
    """The decimal string that stands for a 64-bit integer."""
    return str(value)


def envelope(
    command: str,
    *,
    ok: bool,
    data: Mapping[str, Any] | None,
    warnings: Sequence[str] = (),
    errors: Sequence[ErrorEntry] = (),
) -> str:
    """The answer of `command` as one line of JSON."""
    return json.dumps(
        {
            "schema": SCHEMA,
            "command": command,
            "ok": ok,
            "data": plain(data),
            "warnings": list(warnings),
            "errors": [{"code": error.code, "message": error.message} for error in errors],
        }
    )


def plain(value: Any) -> Any:
    """`value` with byte strings in hex and containers as JSON has them.

    Raises:
        TypeError: for what has no place in an envelope, so that no field is stringified by accident.

    """
    match value:
        case None | bool() | str() | float():
            return value
        case int():
            return value if -(2**53) < value < 2**53 else str(value)
        case bytes() | bytearray() | memoryview():
            return bytes(value).hex()
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            raise TypeError(f"{type(value).__name__} has no place in an envelope")
