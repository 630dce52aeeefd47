"""What a check of a store found, as plain values.

Damage is told four times over, each time for another reader: the files (for who looks after the disk), the objects in
them, the commits that can't be opened or executed again as a whole because of it, and the refs that lead nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from piecrust.objects.ids import Address, CommitId
from piecrust.objects.kinds import Kind

Item = tuple[Kind, bytes]


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A file that is not what it was. `disposable`: nothing is lost with it, it can be made anew at any time."""

    path: Path
    offset: int
    reason: str
    disposable: bool = False


@dataclass(frozen=True, slots=True)
class DamagedObject:
    """A stored object that can't be read, in the frame at `offset` of a file."""

    kind: Kind
    address: Address
    path: Path
    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class LostObject:
    """An object that a commit needs, and that is not there or damaged."""

    kind: Kind
    address: Address


@dataclass(frozen=True, slots=True)
class AffectedCommit:
    """A commit that is not whole, and the refs in whose history it is."""

    commit: CommitId
    refs: tuple[str, ...]
    reason: str
    lost: tuple[LostObject, ...] = ()


@dataclass(frozen=True, slots=True)
class DamagedRef:
    """A ref that leads nowhere."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Checked:
    """How much was looked at; `object_bytes` are the plain bytes of objects that were hashed."""

    files: int = 0
    frames: int = 0
    objects: int = 0
    object_bytes: int = 0
    commits: int = 0
    refs: int = 0
    operations: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. A quick one looks at files and refs alone; a full one at everything."""

    full: bool
    files: tuple[DamagedFile, ...] = ()
    objects: tuple[DamagedObject, ...] = ()
    commits: tuple[AffectedCommit, ...] = ()
    refs: tuple[DamagedRef, ...] = ()
    checked: Checked = field(default_factory=Checked)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.files or self.objects or self.commits or self.refs)


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did. `before` is why, `after` is what remains: commits of which something is lost."""

    before: Report
    after: Report
    quarantined: tuple[Path, ...] = ()  # where damaged files are now
    rebuilt: tuple[Path, ...] = ()  # files that were made anew, or are when they are next needed
    salvaged: int = 0  # objects that were whole in damaged files
    healed: tuple[LostObject, ...] = ()  # objects that came from the other store
