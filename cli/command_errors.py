"""What the command line itself refuses. Each error carries its exit code, and what to type next.

PiecrustError
└── CommandError
    ├── UsageError
    │   └── UnknownCommand
    ├── FileProblem             a file named on the command line
    ├── WorkingStateNotEmpty
    └── Missing                 nothing of that name
        └── Ambiguous           more than one thing of that name
"""

from __future__ import annotations

from collections.abc import Sequence

from piecrust.cli.exit_codes import ExitCode
from piecrust.objects.errors import PiecrustError


class CommandError(PiecrustError):
    """What the command line refuses by itself."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, *, hints: Sequence[str] = (), details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.hints = hints
        self.details = details


class UsageError(CommandError):
    """The command line does not make sense."""


class UnknownCommand(UsageError):
    """No command has this name."""

    def __init__(self, word: str, near: tuple[str, ...]) -> None:
        hints = [f"piecrust {name}" for name in near] or ["piecrust --help"]
        super().__init__(f"there is no command {word!r}", hints=hints)


class FileProblem(CommandError):
    """A file named on the command line cannot be read or written."""

    exit_code = ExitCode.NOT_FOUND

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(f"cannot use the file {path!r}: {(error.strerror or str(error)).lower()}")
        if not isinstance(error, FileNotFoundError):
            self.exit_code = ExitCode.CONFLICT


class WorkingStateNotEmpty(CommandError):
    """Moving away would lose uncommitted deploys and calls."""

    exit_code = ExitCode.CONFLICT

    def __init__(self, uncommitted: str, command: str) -> None:
        super().__init__(
            f"the working state has {uncommitted} that no commit has",
            hints=[
                "piecrust commit -m MESSAGE   (make them permanent)",
                f"piecrust {command} --discard   (drop them)",
                f"piecrust {command} --keep   (set them aside as an anonymous commit)",
            ],
        )


class Missing(CommandError):
    """Nothing has this name."""

    exit_code = ExitCode.NOT_FOUND


class Ambiguous(Missing):
    """More than one thing has this name."""
