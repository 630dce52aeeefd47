from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime
from piecrust.objects.ids import BytecodeHash
from piecrust.vm import code_files, modules, native
from piecrust.vm.code import CodeFacts
from piecrust.vm.code_files import CodeFiles
from piecrust.vm.engine import to_wasm
from piecrust.vm.errors import ContractRefused, InvalidModule, UnsafeCacheDirectory
from piecrust.vm.instance import Instance
from piecrust.vm.memory import Memory
from piecrust.vm.modules import Modules
from support.scratch import GAS, host_functions, scratch_wat

WASM = to_wasm(scratch_wat())


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has compiled nothing yet."""
    monkeypatch.setattr(modules, "_shared", modules._SharedCode(modules.MEMORY_BYTES_MAX))


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What was really compiled."""
    native.active()  # compiles something, the first time
    compiled: list[bytes] = []
    make = wasmtime.Module.__init__

    def counted(self: wasmtime.Module, engine: wasmtime.Engine, wasm: bytes) -> None:
        compiled.append(wasm)
        make(self, engine, wasm)

    monkeypatch.setattr(wasmtime.Module, "__init__", counted)
    return compiled


def restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets what is in memory, as a new process has."""
    monkeypatch.setattr(modules, "_shared", modules._SharedCode(modules.MEMORY_BYTES_MAX))


def works(made: Modules) -> bool:
    code = made.compile(WASM)
    with host_functions():
        memory = Memory(code.kind, code.initial_length)
        instance = Instance(code, memory)
        instance.set_gas(GAS)
        result = instance.call("size", 0)
        instance.close()
        memory.close()
    return result == 4


def files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def test_compiles_once_per_process(compilations: list[bytes]) -> None:
    code = Modules().compile(WASM)
    assert Modules().compile(WASM) is code
    assert Modules().load(code.hash, lambda: pytest.fail("the bytecode is not needed")) is code
    assert len(compilations) == 1


def test_trackers_and_interruption_have_code_of_their_own(tracker: str, compilations: list[bytes]) -> None:
    made = Modules()
    assert made.compile(WASM) is not made.compile(WASM, interruptible=True)
    assert len(compilations) == 2


def test_keeps_what_it_compiled_on_disk(
    tmp_path: Path, tracker: str, monkeypatch: pytest.MonkeyPatch, compilations: list[bytes]
) -> None:
    first = Modules(tmp_path / "code").compile(WASM)
    restart(monkeypatch)
    again = Modules(tmp_path / "code")
    loaded = again.load(first.hash, lambda: pytest.fail("the bytecode is not needed"))
    assert loaded is not first
    assert loaded.facts == first.facts
    assert works(again)
    assert len(compilations) == 1


def test_the_directory_and_its_files_are_the_users_alone(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "code"
    Modules(directory).compile(WASM)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    (file,) = files(directory)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "code"
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(UnsafeCacheDirectory) as caught:
        Modules(directory)
    assert caught.value.path == directory


def test_a_directory_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    directory = tmp_path / "code"
    directory.mkdir(mode=0o755)
    Modules(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "code"
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: directory.stat().st_uid + 1)
    with pytest.raises(UnsafeCacheDirectory):
        CodeFiles(directory, bytes_max=1 << 20)


def test_a_directory_that_becomes_unsafe_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Modules(tmp_path / "code")
    made.compile(WASM)
    restart(monkeypatch)
    (tmp_path / "code").chmod(0o777)
    with pytest.raises(UnsafeCacheDirectory):
        made.compile(WASM)


def test_a_link_in_place_of_the_directory_is_not_followed(tmp_path: Path, compilations: list[bytes]) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "code").symlink_to(tmp_path / "real")
    made = Modules(tmp_path / "code")
    assert works(made)
    assert files(tmp_path / "real") == []


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compilations: list[bytes], mode: int
) -> None:
    made = Modules(tmp_path / "code")
    made.compile(WASM)
    files(tmp_path / "code")[0].chmod(mode)
    restart(monkeypatch)
    assert works(made)
    assert len(compilations) == 2


def test_damaged_files_are_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compilations: list[bytes]
) -> None:
    made = Modules(tmp_path / "code")
    made.compile(WASM)
    (file,) = files(tmp_path / "code")
    whole = file.read_bytes()
    damages = [b"", whole[:40], whole[:-1], whole + b"x"]
    damages += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in (0, 31, 32, 40, 300, len(whole) - 1)]
    for count, damaged in enumerate(damages, 2):
        file.write_bytes(damaged)
        restart(monkeypatch)
        assert works(made)
        assert len(compilations) == count
        assert file.read_bytes() == whole


def test_code_of_another_engine_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compilations: list[bytes]
) -> None:
    made = Modules(tmp_path / "code")
    code = made.compile(WASM)
    (file,) = files(tmp_path / "code")
    encoded = code.facts.encode()
    content = len(encoded).to_bytes(4, "little") + encoded + b"\x7fELF, but not of this engine"
    made.files.write(file.stem, content)
    restart(monkeypatch)
    assert works(made)
    assert len(compilations) == 2


def test_the_key_depends_on_all_that_the_code_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    key = BytecodeHash(bytes(32)), "compiled", False
    names = {modules._file_name(key)}
    for other in (
        (BytecodeHash(bytes(31) + b"x"), "compiled", False),
        (key[0], "userfaultfd", False),
        (key[0], "compiled", True),
    ):
        names.add(modules._file_name(other))
    for name, value in (
        ("REWRITER_VERSION", -1),
        ("FINGERPRINT", "wasmtime 51"),
        ("_processor", lambda: "another"),
        ("_FORMAT", 9),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(modules, name, value)
            names.add(modules._file_name(key))
    assert len(names) == 8


def test_removes_and_recompiles(tmp_path: Path, compilations: list[bytes]) -> None:
    made = Modules(tmp_path / "code")
    code = made.compile(WASM)
    made.remove(code.hash)
    assert files(tmp_path / "code") == []
    made.compile(WASM)
    assert made.recompile(WASM) is made.compile(WASM)
    assert len(compilations) == 3
    assert len(files(tmp_path / "code")) == 1


def test_disk_space_is_limited(tmp_path: Path) -> None:
    kept = CodeFiles(tmp_path / "code", bytes_max=10_000)
    for number in range(20):
        kept.write(f"{number:02}", bytes(1000))
        os.utime(tmp_path / "code" / f"{number:02}.code", (number, number))
        assert kept.read("00") is not None or number > 8, "what is used stays longest"
    assert sum(file.stat().st_size for file in files(tmp_path / "code")) <= 10_000
    assert kept.read("19") == bytes(1000)
    assert kept.read("01") is None


def test_what_died_processes_left_is_removed(tmp_path: Path) -> None:
    kept = CodeFiles(tmp_path / "code", bytes_max=10_000)
    old, fresh = (tmp_path / "code" / f"{name}{code_files._UNFINISHED}" for name in ("old", "fresh"))
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    kept.write("x", b"1")
    assert not old.exists()
    assert fresh.exists()


def test_memory_is_limited(monkeypatch: pytest.MonkeyPatch, compilations: list[bytes]) -> None:
    shared = modules._SharedCode(1)
    monkeypatch.setattr(modules, "_shared", shared)
    made = Modules()
    other = to_wasm(scratch_wat(pages=5))
    made.compile(WASM)
    made.compile(other)
    made.compile(other)
    made.compile(WASM)
    assert len(compilations) == 3
    assert len(shared._codes) == 1


def test_works_without_a_place_on_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    made = Modules(tmp_path / "file" / "code")
    assert works(made)
    assert made.files is not None
    assert isinstance(made.files.failure, OSError)


def test_threads_compile_together_once(compilations: list[bytes]) -> None:
    made = Modules()
    codes: list[object] = []
    threads = [threading.Thread(target=lambda: codes.append(made.compile(WASM))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(codes)) == 1
    assert len(compilations) == 1


def test_processes_write_one_directory_together(tmp_path: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        from piecrust.vm.modules import Modules
        from piecrust.vm.engine import to_wasm
        from support.scratch import scratch_wat
        for pages in range(4, 9):
            Modules(Path(sys.argv[1])).compile(to_wasm(scratch_wat(pages=pages)))
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "code")]
    running = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert len(files(tmp_path / "code")) == 5
    assert works(Modules(tmp_path / "code"))


def test_refused_contracts_leave_nothing(tmp_path: Path) -> None:
    made = Modules(tmp_path / "code")
    for wasm in (b"", b"\0asm\1\0\0\0", to_wasm("(module (memory 1))")):
        with pytest.raises(ContractRefused):
            made.compile(wasm)
    assert files(tmp_path / "code") == []
    assert modules._shared._making == {}


def test_what_the_engine_alone_refuses_is_a_typed_error() -> None:
    wasm = to_wasm("""(module (memory (export "memory") 1) (global (export "A") i32 (i32.const 0))
      (func (export "f") (param i32) (result i32) (i32.const 0)))""")
    with pytest.raises(InvalidModule):
        Modules().compile(wasm[:-3] + b"\xff" + wasm[-2:])


def test_facts_survive_their_encoding() -> None:
    facts = Modules().compile(WASM).facts
    assert CodeFacts.decode(facts.encode()) == facts
    assert facts.resets
    assert facts.functions


def test_the_default_directory_is_below_the_users_home() -> None:
    directory = code_files.default_directory()
    assert directory.is_absolute()
    assert directory.parts[-2:] == ("piecrust", "code")
