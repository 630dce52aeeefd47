"""The exit codes of the command, frozen: scripts depend on them (docs/cli.md lists them)."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells the shell; the numbers never change their meaning."""

    OK = 0
    NEGATIVE = 1  # a negative verdict: differs, proof false, damage found
    USAGE = 2
    NOT_FOUND = 3  # not found, or ambiguous
    PANIC = 4  # the contract panicked or trapped
    OUT_OF_GAS = 5  # out of gas or of time
    CONFLICT = 6  # locked, conflict, or the environment refuses (disk full, read-only, permission): nothing was written
    CORRUPT = 7
    ABI = 8  # bytecode, function, argument or returned value does not fit the interface
    BUG = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141
