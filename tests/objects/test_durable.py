from __future__ import annotations

from piecrust.objects.durable import DURABLE_BYTES, Durable, Position
from support.simulated_disk import ROOT, Content, SimulatedDisk

PATH = ROOT / "DURABLE"


def position(number: int) -> Position:
    return Position(1, 100 * number, 90 * number, number, bytes([number] * 16))


def test_readers_see_the_newest_position() -> None:
    disk = SimulatedDisk()
    writer, reader = Durable(disk, PATH, writable=True), Durable(disk, PATH, writable=False)
    assert writer.read() == reader.read() == (None, True)
    for number in range(1, 6):
        assert not reader.moved()
        writer.write(position(number))
        assert reader.moved()
        assert not writer.moved()
        assert reader.read() == (position(number), True)
        assert not reader.moved()


def test_a_reader_finds_the_file_when_it_comes() -> None:
    disk = SimulatedDisk()
    reader = Durable(disk, PATH, writable=False)
    assert not reader.moved()
    assert reader.read() == (None, True)
    writer = Durable(disk, PATH, writable=True)
    writer.write(position(1))
    assert reader.moved()
    assert reader.read().position == position(1)


def test_slots_of_another_boot_or_of_a_copy_say_nothing() -> None:
    disk = SimulatedDisk()
    writer = Durable(disk, PATH, writable=True)
    for number in range(1, 4):
        writer.write(position(number))
    disk.boot += 1
    again = Durable(disk, PATH, writable=True)
    assert again.read() == (None, True)
    again.write(position(9))
    assert Durable(disk, PATH, writable=False).read() == (position(9), True)
    content = disk.names[PATH]
    assert content is not None
    disk.names[ROOT / "copy"] = Content(99, bytes(content.data))
    assert Durable(disk, ROOT / "copy", writable=False).read() == (None, True)


def test_a_damaged_slot_leaves_the_other_as_a_bound() -> None:
    for at in range(DURABLE_BYTES):
        disk = SimulatedDisk()
        writer = Durable(disk, PATH, writable=True)
        writer.write(position(1))
        writer.write(position(2))
        content = disk.names[PATH]
        assert content is not None
        content.data = bytearray(content.data)
        content.data[at] ^= 4
        found = Durable(disk, PATH, writable=False).read()
        if at % 128 < 96:
            assert not found.exact
            assert found.position == position(2 if at >= 128 else 1)
        else:
            assert found == (position(2), True)  # not part of a slot


def test_a_short_file_is_brought_to_its_length_by_a_writer() -> None:
    disk = SimulatedDisk()
    disk.names[PATH] = Content(7, b"x" * 100)
    assert Durable(disk, PATH, writable=False).read() == (None, True)
    writer = Durable(disk, PATH, writable=True)
    writer.write(position(1))
    assert Durable(disk, PATH, writable=False).read() == (position(1), True)


def test_two_processes_that_make_the_file_do_not_wipe_each_others_slots() -> None:
    disk = SimulatedDisk()
    first = Durable(disk, PATH, writable=True)
    start = len(disk.events)
    made = disk.events[:start]
    first.write(position(1))
    # The other one had found the file empty, too, and makes it as long only now.
    for event in made:
        if event.name == "write" and event.content is not None:
            event.content.write(event.offset, event.data)
    assert Durable(disk, PATH, writable=False).read() == (position(1), True)
