"""Words of the command line that mean the same everywhere: hex digits, ids of contracts, counts, files.

Values of contracts are `piecrust.cli.arguments`' matter. Both are apart so that commands which take no values start
without the codec, and so does the completion of their arguments.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from piecrust.cli.command_errors import FileProblem, UsageError
from piecrust.objects.ids import ID_BYTES, ContractId

# An argument has at most 64 KiB. More is refused by the machine, this much by the command.
FILE_BYTES_MAX: Final = 1 << 20


def parse_hex(text: str) -> bytes:
    """The bytes that hex digits write, with or without `0x`.

    Raises:
        UsageError: they are no hex digits.
    """
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise UsageError(f"{text!r} is not hex: an even number of digits 0-9 and a-f is needed") from None


def at_most(number: int | None) -> int | None:
    """The number of `-n`: None for all.

    Raises:
        UsageError: it is negative.
    """
    if number is not None and not 0 <= number < 1 << 63:
        raise UsageError(f"-n takes a number from 0 on, not {number}")
    return number


def parse_contract_id(text: str) -> ContractId:
    """The id that 64 hex digits write, with or without `0x`.

    Raises:
        UsageError: they are something else.
    """
    digits = text.lower().removeprefix("0x")
    if len(digits) != 2 * ID_BYTES or re.fullmatch("[0-9a-f]+", digits) is None:
        raise UsageError(f"{text!r} is not a contract's id: {2 * ID_BYTES} hex digits are needed")
    return ContractId(bytes.fromhex(digits))


def read_bytes(path: str, bytes_max: int = FILE_BYTES_MAX) -> bytes:
    """The content of a file.

    Raises:
        FileProblem: it cannot be read.
        UsageError: it has more than `bytes_max` bytes, or no file can have this name.
    """
    if "\0" in path:
        raise UsageError(f"{path!r} is not the name of a file")
    try:
        with Path(path).open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise FileProblem(path, error) from None
    if len(data) > bytes_max:
        raise UsageError(f"the file {path!r} has more than {bytes_max:,} bytes")
    return data
