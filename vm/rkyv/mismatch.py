"""How encoders and decoders say that something does not fit, before it becomes an error with a full path."""

from __future__ import annotations

from piecrust.vm.errors import DecodeError, EncodeError


class Mismatch(Exception):
    """Raised where it is found; every level that it passes adds its step to `path`, innermost first.

    `offset` is the byte in the archive, for decoders.
    """

    def __init__(self, expected: str, got: str, offset: int = 0) -> None:
        super().__init__(expected, got)
        self.expected = expected
        self.got = got
        self.offset = offset
        self.path: list[str] = []

    def within(self, step: object) -> None:
        """Adds the step that leads here from the level above."""
        self.path.append(str(step))

    def as_encode_error(self) -> EncodeError:
        """The error for the caller of an encoder."""
        return EncodeError(self.expected, self.got, ".".join(reversed(self.path)))

    def as_decode_error(self) -> DecodeError:
        """The error for the caller of a decoder."""
        return DecodeError(self.expected, self.got, ".".join(reversed(self.path)), self.offset)


def describe(value: object) -> str:
    """What a value of the wrong class is called in an error."""
    return "None" if value is None else type(value).__name__
