"""Colours of the terminal, or none.

A `Style` knows whether its stream shows colours; its methods are named by what the text *is*, so that a branch looks
the same in every command.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

RESET = "\x1b[0m"


class Style:
    """Paints text by its meaning; gives it back unchanged where colours are off."""

    __slots__ = ("enabled",)

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled

    def _paint(self, codes: str, text: str) -> str:
        return f"\x1b[{codes}m{text}{RESET}" if self.enabled and text else text

    def heading(self, text: str) -> str:
        """What stands over a block, or names a field."""
        return self._paint("1", text)

    def faint(self, text: str) -> str:
        """What may be overlooked."""
        return self._paint("2", text)

    def commit(self, text: str) -> str:
        """A commit id."""
        return self._paint("33", text)

    def contract(self, text: str) -> str:
        """A contract: its alias or id."""
        return self._paint("36", text)

    def root(self, text: str) -> str:
        """A state root."""
        return self._paint("35", text)

    def branch(self, text: str) -> str:
        """A branch, a tag or HEAD."""
        return self._paint("1;32", text)

    def added(self, text: str) -> str:
        """What is there on the right side of a comparison only; what is good."""
        return self._paint("32", text)

    def removed(self, text: str) -> str:
        """What is there on the left side of a comparison only; what is bad."""
        return self._paint("31", text)

    def changed(self, text: str) -> str:
        """What is there on both sides, and differs; what wants attention."""
        return self._paint("33", text)

    def error(self, text: str) -> str:
        """The word that begins an error."""
        return self._paint("1;31", text)

    def hint(self, text: str) -> str:
        """What to type next."""
        return self._paint("36", text)


def style_for(stream: TextIO, choice: str, environment: Mapping[str, str]) -> Style:
    """The style for `stream`: `choice` is always, never or auto.

    On auto, `NO_COLOR` (no-color.org) switches colours off, `CLICOLOR_FORCE` on, else a terminal has them; the choice
    on the command line wins over both variables.
    """
    if choice != "auto":
        return Style(enabled=choice == "always")
    if environment.get("NO_COLOR"):
        return Style(enabled=False)
    if environment.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return Style(enabled=True)
    return Style(enabled=stream.isatty() and environment.get("TERM") != "dumb")
