"""Where the bytes go that a command makes: into the file of `-o`, or to stdout for `-`, as in other programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from piecrust.cli.command import Settings
from piecrust.cli.command_errors import FileProblem, UsageError

STDOUT = "-"


class OutputFile:
    """The file that `-o` names; `path` is where to write, `raw` what goes to stdout instead once that is done."""

    def __init__(self, path: Path, *, for_stdout: bool) -> None:
        self.path = path
        self._for_stdout = for_stdout
        self.raw: bytes | None = None

    def write(self, data: bytes) -> None:
        """Write all of it."""
        self.path.write_bytes(data)

    def finish(self) -> None:
        """Note what goes to stdout."""
        if self._for_stdout:
            self.raw = self.path.read_bytes()


@contextmanager
def output_file(name: str, current: Settings) -> Iterator[OutputFile]:
    """The file of that name, for a block that writes it.

    Raises:
        FileProblem: it cannot be written.
        UsageError: both it and the envelope would go to stdout.
    """
    if name != STDOUT:
        try:
            yield OutputFile(Path(name), for_stdout=False)
        except OSError as error:
            raise FileProblem(name, error) from None
        return
    if current.json:
        raise UsageError("-o - and --json both want stdout", hints=["-o FILE"])
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="piecrust-") as folder:
        file = OutputFile(Path(folder, "output"), for_stdout=True)
        yield file
        file.finish()
