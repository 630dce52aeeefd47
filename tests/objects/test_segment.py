from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects.disk import Mode
from piecrust.objects.errors import CorruptStore
from piecrust.objects.frame import HEADER_BYTES, NO_CHAIN, FrameType, seal_frame
from piecrust.objects.frame_check import LooseSource
from piecrust.objects.segment import (
    SEGMENT_HEADER_BYTES,
    ScannedFrame,
    SegmentHeader,
    later_frames,
    scan,
    tail_is_clear,
)
from support.simulated_disk import ROOT, SimulatedDisk, SimulatedFile

PATH = Path("00000001.seg")


def segment(bodies: list[bytes]) -> tuple[SegmentHeader, SimulatedFile, list[int]]:
    """A segment with these bodies in frames, and where each frame ends."""
    header = SegmentHeader.new(1)
    file = SimulatedDisk().open(ROOT / "segment", Mode.CREATE)
    file.write(0, header.encode())
    at, chain, ends = SEGMENT_HEADER_BYTES, NO_CHAIN, []
    for sequence, body in enumerate(bodies):
        frame, chain = seal_frame(header.salt, header.mark, FrameType.OBJECTS, sequence, at, chain, body)
        file.write(at, frame)
        at += len(frame)
        ends.append(at)
    return header, file, ends


def frames_in(
    file: SimulatedFile, header: SegmentHeader, at: int = SEGMENT_HEADER_BYTES, **options: object
) -> list[ScannedFrame]:
    return list(scan(LooseSource(file, PATH, header.salt), header, at, **options))


@given(st.lists(st.integers(0, 5000).map(os.urandom), max_size=8), st.integers(0, 3000))
@settings(max_examples=40, deadline=None)
def test_scanning_gives_every_frame_and_stops_at_the_end(bodies: list[bytes], zeros: int) -> None:
    header, file, ends = segment(bodies)
    file.write(file.size(), bytes(zeros))
    frames = frames_in(file, header)
    assert [bytes(frame.body) for frame in frames] == bodies
    assert [frame.end for frame in frames] == ends
    assert tail_is_clear(file, ends[-1] if ends else SEGMENT_HEADER_BYTES)


def test_scanning_reads_windows_of_any_alignment() -> None:
    bodies = [os.urandom(400_000), b"small", os.urandom(1_200_000), b"", os.urandom(900_000), b"last"]
    header, file, _ = segment(bodies)
    assert [bytes(frame.body) for frame in frames_in(file, header)] == bodies


def test_scanning_stops_at_a_limit() -> None:
    header, file, ends = segment([b"one", b"two", b"three"])
    for limit in range(ends[0], ends[2]):
        frames = frames_in(file, header, end=limit)
        assert [frame.end for frame in frames] == [end for end in ends if end <= limit]


def test_scanning_stops_where_the_chain_breaks() -> None:
    header, file, ends = segment([b"one", b"two", b"three"])
    copy = file.read(ends[0], ends[1] - ends[0])
    file.write(ends[1], copy)  # a frame that is valid by itself, in the wrong place
    assert [bytes(frame.body) for frame in frames_in(file, header)] == [b"one", b"two"]
    first = frames_in(file, header, ends[0], previous=None)[0]
    assert bytes(first.body) == b"two"


def test_later_frames_are_found_behind_damage() -> None:
    header, file, ends = segment([b"one", os.urandom(2000), b"three", b"four"])
    file.write(ends[0] + 100, b"damage")
    assert [bytes(frame.body) for frame in later_frames(file, header, ends[0])] == [b"three", b"four"]


def test_a_tail_with_anything_in_it_is_not_clear() -> None:
    _, file, ends = segment([b"one"])
    file.allocate(ends[0], 3 << 20)
    assert tail_is_clear(file, ends[0])
    file.write(ends[0] + (2 << 20), b"x")
    assert not tail_is_clear(file, ends[0])


def test_a_header_that_is_damaged_is_refused() -> None:
    data = SegmentHeader.new(5).encode()
    assert SegmentHeader.decode(data, PATH).number == 5
    assert SegmentHeader.decode(data, PATH).encode() == data
    for length in (0, SEGMENT_HEADER_BYTES - 1):
        with pytest.raises(CorruptStore):
            SegmentHeader.decode(data[:length], PATH)
    for at in range(len(data)):
        with pytest.raises(CorruptStore):
            SegmentHeader.decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], PATH)


def test_salts_differ() -> None:
    assert SegmentHeader.new(1).salt != SegmentHeader.new(1).salt
    assert HEADER_BYTES == SEGMENT_HEADER_BYTES == 64
