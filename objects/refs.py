"""Refs: names for commits.

| name | what it is |
|---|---|
| `heads/<branch>` | a branch; moves with each commit made on it |
| `tags/<tag>` | a tag; stays |
| `pins/<commit>` | a finalized commit: it and its ancestors can't be deleted, undone or collected |
| `HEAD` | what the working state stands on: a branch (symbolic) or a commit |
| `draft` | the working state itself, as a commit behind HEAD |
| `remotes/<remote>/<branch>` | where a branch of a remote was when it was last looked at |
| `aliases/<name>` | a name for a contract: symbolic, to `contracts/<id>`, which is no ref |
| `bisect/<mark>` | what a bisection knows: commits, and where HEAD was |

Refs live in the log: a frame says how each ref moved, a checkpoint where each one is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias, overload

from piecrust.objects.errors import InvalidFormat, InvalidRefName
from piecrust.objects.ids import CommitId

HEAD: Final = "HEAD"
DRAFT: Final = "draft"
BRANCHES: Final = "heads/"
TAGS: Final = "tags/"
PINS: Final = "pins/"
ALIASES: Final = "aliases/"
REMOTES: Final = "remotes/"
BISECT: Final = "bisect/"
CONTRACTS: Final = "contracts/"  # what aliases point to

_PREFIXES: Final = (BRANCHES, TAGS, PINS, REMOTES, ALIASES, BISECT)

_NAME_BYTES_MAX: Final = 255
_PART = re.compile(r"[^\x00-\x20\x7f~^:?*\[\]\\@{}/\ud800-\udfff]+\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Symbolic:
    """A ref that stands for another ref."""

    name: str

    def __str__(self) -> str:
        return f"ref: {self.name}"


RefValue: TypeAlias = CommitId | Symbolic

DEFAULT_BRANCH: Final = "main"
DEFAULT_REMOTE: Final = "origin"
DEFAULT_HEAD: Final = Symbolic(BRANCHES + DEFAULT_BRANCH)
"""Where HEAD is in a store that has no ref of this name: nobody has chosen a branch."""


def check_ref_name(name: str) -> str:
    """The name, if a ref may have it; `InvalidRefName` otherwise.

    Names follow git: parts between slashes, without what revisions give a meaning to (`~ ^ : @ { }` and the like), not
    starting with a dash or a dot, not ending with a dot or `.lock`; after the prefix nothing that looks like a hash.
    """
    if name in (HEAD, DRAFT):
        return name
    prefix, slash, rest = name.partition("/")
    if not slash or prefix + slash not in _PREFIXES:
        raise InvalidRefName(name, f"it begins with none of {', '.join(_PREFIXES)}")
    if prefix + slash == PINS:
        if not _HASH.match(rest):
            raise InvalidRefName(name, "a pin is named by a commit")
        return name
    if len(name.encode("utf-8", "surrogatepass")) > _NAME_BYTES_MAX:
        raise InvalidRefName(name, f"longer than {_NAME_BYTES_MAX} bytes")
    for part in rest.split("/"):
        if not _PART.match(part) or part[0] in "-." or part.endswith((".", ".lock")) or ".." in part:
            raise InvalidRefName(name, f"{part!r} can't be a part of a name")
    if rest in (HEAD, DRAFT) or _HASH.match(rest):
        raise InvalidRefName(name, "it would be taken for something else")
    return name


def encode_ref(value: RefValue | None) -> bytes | str | None:
    """As it stands in CBOR: the 32 bytes of a commit, the name of a ref, or null."""
    return value.name if isinstance(value, Symbolic) else None if value is None else bytes(value)


@overload
def decode_ref(value: bytes | str) -> RefValue: ...


@overload
def decode_ref(value: object) -> RefValue | None: ...


def decode_ref(value: object) -> RefValue | None:
    """The reverse of `encode_ref`."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return CommitId(value)
    if isinstance(value, str):
        return Symbolic(value)
    raise InvalidFormat("ref", f"{type(value).__name__} is neither a commit nor a name")
