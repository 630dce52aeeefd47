"""Host queries for tests."""

from __future__ import annotations


class Counting:
    """Answers something else each time, for a price that rises."""

    def __init__(self) -> None:
        self.count = 0

    def price(self, argument: bytes) -> int:
        return self.count

    def execute(self, argument: bytes) -> bytes:
        self.count += 1
        if argument == b"fail":
            raise ValueError
        return f"{self.count} {argument!r}".encode()
