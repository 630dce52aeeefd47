"""Directories of the original VM: what they hold, and its commits in a store. `docs/original.md` draws every byte."""

from __future__ import annotations

from typing import Final

ORIGINAL_FORMAT: Final = "original"
"""What transcripts call the format that these commits were imported from; the source is the state root."""
