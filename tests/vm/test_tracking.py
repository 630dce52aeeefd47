"""Which write tracker is chosen, and that nothing reaches contract memory around it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from piecrust.vm import marked, tracking, userfault
from piecrust.vm.contents import PAGE_BYTES, Contents, NoPages
from piecrust.vm.marked import MarkedRegion
from piecrust.vm.watched import WatchedRegion
from support.scratch import Scratch, host_functions

VM = Path(__file__).resolve().parents[2] / "vm"


@pytest.fixture(autouse=True)
def unchosen() -> Iterator[None]:
    before = tracking.active()
    tracking.select(None)
    yield
    tracking.select(before)


@pytest.fixture
def unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that refuses userfaultfd."""

    def refused() -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(tracking, "check", refused)


def run(program: str) -> str:
    """What a Python program prints, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_tracker_can_be_forced() -> None:
    tracking.select("compiled")
    assert tracking.active() == "compiled"
    assert isinstance(tracking.region(1 << 32, PAGE_BYTES, Contents(NoPages()), limit=1 << 32), MarkedRegion)
    with pytest.raises(ValueError, match="no write tracker"):
        tracking.select("other")  # type: ignore[arg-type]


def test_the_portable_tracker_is_chosen_where_the_fast_one_is_refused(unavailable: None) -> None:
    assert tracking.active() == "compiled"
    assert tracking.reason() == "[Errno 1] Operation not permitted"


def test_forcing_what_does_not_work_is_an_error(unavailable: None) -> None:
    with pytest.raises(OSError, match="not permitted"):
        tracking.select("userfaultfd")


def test_a_kernel_that_reports_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = WatchedRegion.scan
    monkeypatch.setattr(WatchedRegion, "scan", lambda self: [(0, 1), *scan(self)])
    assert tracking.active() == "compiled"
    assert tracking.reason() is not None


@pytest.mark.parametrize("machine", ["sparc", ""])
def test_an_unknown_processor_has_the_portable_tracker(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userfault.platform, "machine", lambda: machine)
    monkeypatch.setattr("piecrust.vm.pager._descriptor", None)
    assert tracking.active() == "compiled"


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_works_under_a_filter_that_refuses_userfaultfd() -> None:
    """As in a container whose profile does not allow it."""
    program = """
        import ctypes, platform, struct
        from support.scratch import Scratch, host_functions

        number = {"x86_64": 323, "aarch64": 282}[platform.machine()]
        # Refuse one system call with EPERM, allow all others: load the number, compare, return.
        rules = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *rule) for rule in rules))
        program = struct.pack("<H6xQ", len(rules), ctypes.addressof(code))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
        assert libc.prctl(38, 1, 0, 0, 0) == 0  # no new privileges
        buffer = ctypes.create_string_buffer(program)
        assert libc.prctl(22, 2, ctypes.addressof(buffer), 0, 0) == 0  # a filter

        from piecrust.vm import tracking
        with host_functions():
            scratch = Scratch()
            scratch.store(8, 5)
            scratch.store(1 << 31, 6)
            print(tracking.active(), tracking.reason(), scratch.load(8), scratch.memory.written())
            scratch.close()
    """
    assert run(program) == "compiled [Errno 1] userfaultfd 5 {0: 1, 1: 1, 32768: 1}\n"


def test_a_forked_child_tracks_its_own_memories() -> None:
    program = """
        import os
        from piecrust.vm import pager, tracking
        from piecrust.vm.memory import Memory
        from support.scratch import Pages, page

        def work():
            memory = Memory(32, 65536 * 30, Pages({index: page(index) for index in range(30)}))
            memory.write(5 * 65536, b"x")
            assert memory.page(7) == page(7)
            assert memory.written() == {5: 1}
            return memory

        inherited = work()
        if os.fork() == 0:
            mine = work()
            mine.close()
            inherited.close()
            os._exit(0)
        assert os.wait()[1] == 0
        work().close()
        print(tracking.active(), inherited.written())
    """
    assert run(program).endswith(" {5: 1}\n")


@pytest.mark.parametrize("far", [True, False])
def test_marks_beyond_the_length_are_found_with_and_without_a_page_map(
    far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not far:
        monkeypatch.setattr(marked, "_used_pages", lambda address, size: None)
    tracking.select("compiled")
    with host_functions():
        scratch = Scratch()
        for at in (0, 1 << 24, (1 << 24) + (1 << 12), 1 << 30, (1 << 32) - 8):
            scratch.store(at, 1)
        assert set(scratch.memory.written()) == {0, 1, 256, 16_384, 65_535}
        assert scratch.memory.written() == scratch.memory.written()
        scratch.close()


def test_only_regions_reach_the_bytes_of_contracts() -> None:
    """A page that is missing may be waited for while the GIL is held, for ever, by an access around the guard."""
    allowed = {"mapping.py", "watched.py", "marked.py", "archive.py", "userfault.py"}
    raw = {"string_at", "memmove", "memset", "from_address", "from_buffer", "window", "writable", "SPACE", "WORDS"}
    engine_structures = {("unchecked.py", name) for name in ("SPACE", "WORDS", "from_address", "memmove")}
    engine_structures |= {("tracking.py", "memmove")}
    found = {
        (path.name, name)
        for path in VM.rglob("*.py")
        if path.name not in allowed
        for node in ast.walk(ast.parse(path.read_text()))
        for name in [node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""]
        if name in raw
    }
    assert found <= engine_structures
    with_ctypes = {path.name for path in VM.rglob("*.py") if "import ctypes" in path.read_text()}
    assert with_ctypes <= allowed | {"engine.py", "unchecked.py", "public.py", "tracking.py", "stack.py"}
