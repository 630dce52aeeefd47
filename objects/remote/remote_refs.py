"""The refs of a remote: one small object for each, moved by compare-and-swap.

An object is text, so that a person can read it::

    piecrust ref 1
    commit 0011223344556677...            or: commit none, for a ref that was deleted
    move 8899aabbccddeeff...              32 digits, random: who moved it here; then those before, up to 16
    checksum 0123...                      blake3 of everything before the word

The moves tell whether a write whose answer was lost was done: who finds his own among them was there, even if others
went on since.
"""

from __future__ import annotations

import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from blake3 import blake3
from piecrust.objects.errors import CorruptRemote, InvalidRefName, NonFastForward, RemoteUnavailable
from piecrust.objects.ids import CommitId
from piecrust.objects.refs import BRANCHES, TAGS, check_ref_name
from piecrust.objects.remote.storage import Storage

REFS: Final = "refs/"

_MAGIC: Final = "piecrust ref 1"
_MOVES_MAX: Final = 16
_REF_BYTES_MAX: Final = 4096
_ATTEMPTS: Final = 5
_THREADS: Final = 8
_TEXT = re.compile(
    r"piecrust ref 1\ncommit (none|[0-9a-f]{64})\n((?:move [0-9a-f]{32}\n){1,16})checksum ([0-9a-f]{64})\n"
)
_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@dataclass(frozen=True, slots=True)
class RemoteRef:
    """A ref as it was read: where it is, None if it was deleted; `tag` is the version of its object."""

    name: str
    commit: CommitId | None
    moves: tuple[str, ...]
    tag: str


def encode_ref(commit: CommitId | None, moves: tuple[str, ...]) -> bytes:
    """The object of a ref."""
    lines = [_MAGIC, f"commit {'none' if commit is None else commit.hex()}", *(f"move {move}" for move in moves)]
    text = "\n".join(lines) + "\n"
    return f"{text}checksum {blake3(text.encode()).hexdigest()}\n".encode()


def ref_key(name: str) -> str:
    """Where the object of a ref is: all that is special, slashes after the first one too, as `=` and two digits."""
    prefix, _, rest = name.partition("/")
    coded = "".join(chr(byte) if byte in _PLAIN else f"={byte:02X}" for byte in rest.encode())
    return f"{REFS}{prefix}/{coded}"


def ref_name(key: str) -> str | None:
    """The ref whose object is there; None if it is none's."""
    prefix, _, coded = key.removeprefix(REFS).partition("/")
    try:
        rest = re.sub(rb"=([0-9A-F]{2})", lambda match: bytes.fromhex(match[1].decode()), coded.encode()).decode()
        name = check_ref_name(f"{prefix}/{rest}")
    except (UnicodeDecodeError, InvalidRefName):
        return None
    return name if name.startswith((BRANCHES, TAGS)) and ref_key(name) == key else None


class RemoteRefs:
    """The branches and tags of a remote."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def read(self, name: str) -> RemoteRef | None:
        """A ref as it is, None if there never was one of this name.

        Raises:
            CorruptRemote: its object is damaged.
            RemoteUnavailable: the remote can't be reached.
        """
        key = ref_key(name)
        found = self._storage.get(key)
        if found is None:
            return None
        match = _TEXT.fullmatch(found.data[:_REF_BYTES_MAX].decode("ascii", "replace"))
        if match is None or blake3(found.data.rpartition(b"checksum ")[0]).hexdigest() != match[3]:
            raise CorruptRemote(self._storage.name, key, "not a ref of a known version, or its checksum differs")
        commit = None if match[1] == "none" else CommitId.from_hex(match[1])
        return RemoteRef(name, commit, tuple(line.removeprefix("move ") for line in match[2].splitlines()), found.tag)

    def everything(self) -> dict[str, CommitId]:
        """Every branch and tag."""
        listed = [name for entry in self._storage.list(REFS) if (name := ref_name(entry.key)) is not None]
        with ThreadPoolExecutor(_THREADS, "piecrust remote") as pool:
            refs = list(pool.map(self.read, sorted(listed)))
        return {ref.name: ref.commit for ref in refs if ref is not None and ref.commit is not None}

    def move(self, name: str, old: RemoteRef | None, commit: CommitId | None) -> None:
        """Move a ref from where it was read to be; None as `old` makes it, None as `commit` deletes it.

        Raises:
            NonFastForward: somebody else moved it meanwhile.
            RemoteUnavailable: nobody knows whether it was moved.
        """
        move = secrets.token_hex(16)
        data = encode_ref(commit, (move, *(old.moves if old else ()))[:_MOVES_MAX])
        key, lost = ref_key(name), None
        for attempt in range(_ATTEMPTS):
            self._storage.pause(attempt)
            try:
                if old is None:
                    done = self._storage.bucket.put_if_absent(key, data)
                else:
                    done = self._storage.bucket.compare_and_swap(key, old.tag, data)
                if done:
                    return
            except RemoteUnavailable as error:
                lost = error
            # Refused, or nobody knows. An earlier attempt may have been done, and somebody else have gone on from it.
            now = self.read(name)
            if now is not None and move in now.moves:
                return
            if now is not None and (old is None or now.tag != old.tag):
                expected, actual = old.commit if old else None, now.commit
                raise NonFastForward(name, expected, actual)
        reason = lost.reason if lost else "it was refused, for no visible reason"
        raise RemoteUnavailable(self._storage.name, f"moving {name}", reason) from lost
