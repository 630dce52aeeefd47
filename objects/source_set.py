"""The sources that a handle has open: segments and packs, by salt and by name."""

from __future__ import annotations

from collections.abc import Iterable

from piecrust.objects.checkpoint import PackName
from piecrust.objects.disk import Disk, Mode
from piecrust.objects.errors import CorruptStore
from piecrust.objects.format import Layout
from piecrust.objects.pack import PackSource, pack_path
from piecrust.objects.source import SegmentSource, Source


class SourceSet:
    """Opens each file once."""

    def __init__(self, disk: Disk, layout: Layout, mode: Mode) -> None:
        self._disk, self._layout, self._mode = disk, layout, mode
        self._segments: dict[int, SegmentSource] = {}
        self._packs: dict[bytes, PackSource] = {}
        self.retired: dict[bytes, PackSource] = {}  # by salt: packs that are gone, for handles that only read

    def segment(self, number: int) -> SegmentSource:
        """A segment by its number.

        Raises:
            CorruptStore, UnsupportedFormat: it doesn't begin as this segment does.
            FileNotFoundError: it isn't there.
        """
        source = self._segments.get(number)
        if source is None:
            source = SegmentSource.open(self._disk, self._layout.segment(number), self._mode)
            if source.header.number != number:
                source.close()
                raise CorruptStore(source.path, 16, f"this is segment {source.header.number}")
            self._segments[number] = source
        return source

    def pack(self, name: PackName) -> PackSource:
        """A pack by its name.

        Raises:
            CorruptStore, UnsupportedFormat: it isn't what its name says, as far as a look at its ends shows.
            FileNotFoundError: it isn't there.
        """
        source = self._packs.get(name.name)
        if source is None:
            source = PackSource.open(self._disk, pack_path(self._layout, name.name))
            if (len(source.data), source.salt) != (name.length, name.salt):
                raise CorruptStore(source.path, 0, "this is another pack")
            self._packs[name.name] = source
        return source

    def keep(self, segments: Iterable[int], packs: Iterable[bytes]) -> dict[bytes, Source]:
        """Keep these and no others, by salt; a pack comes before the segment that it was made of.

        The others are given back when nobody reads from them any more. For a handle that only reads that is never:
        nobody else knows of its sessions.
        """
        numbers, names = set(segments), set(packs)
        if self._mode is Mode.READ:
            self.retired |= {source.salt: source for name, source in self._packs.items() if name not in names}
        self._segments = {number: source for number, source in self._segments.items() if number in numbers}
        self._packs = {name: source for name, source in self._packs.items() if name in names}
        return self.everything()

    def everything(self) -> dict[bytes, Source]:
        """Every source that is open, by salt."""
        found: dict[bytes, Source] = {source.salt: source for source in self._segments.values()}
        return found | {source.salt: source for source in self._packs.values()}

    def close(self) -> None:
        """Close every file."""
        for source in [*self._segments.values(), *self._packs.values(), *self.retired.values()]:
            source.close()
        self._segments, self._packs, self.retired = {}, {}, {}
