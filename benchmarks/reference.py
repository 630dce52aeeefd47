"""The rival: the original VM, behind its driver (fixtures/reference)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Self

REFERENCE = Path(__file__).resolve().parents[1] / "fixtures" / "reference"

sys.path.insert(0, str(REFERENCE))

import driver  # noqa: E402 (it lies in the folder above)
import scripts  # noqa: E402

Program, SCRATCH, INITIAL_PAGES = scripts.Program, scripts.SCRATCH, scripts.PAGES


class Original:
    """A process of the original. What it tells about time was measured in that process, without the protocol."""

    def __init__(self) -> None:
        self._tool = driver.Tool(driver.binary())

    @property
    def process(self) -> int:
        """Its process id."""
        return self._tool.process

    def ask(self, op: str, /, **fields: object) -> dict:
        """The answer to an operation of the driver's protocol; an error in it is a mistake of the benchmark."""
        answer = self._tool.ask({"op": op, **fields})
        if "error" in answer:
            raise RuntimeError(f"{op}: {answer['error']}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tool.close()
