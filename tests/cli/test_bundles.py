"""Commits leave through the command and come back; replays tell who is right."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from piecrust.cli.commands import replay as replay_command
from piecrust.objects import transcript
from piecrust.objects.commit import Commit, commit_id
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.remote.remotes import Remotes
from piecrust.objects.store import Store
from piecrust.vm.remotes import push
from support.command import Command, contract_file


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory, code_cache: Path) -> Command:
    """The command in another directory with an empty store."""
    command = Command(tmp_path_factory.mktemp("elsewhere"), code_cache)
    command("init")
    return command


def commit_of(piecrust: Command, revision: str) -> str:
    return str(piecrust("rev-parse", revision).stdout.strip())


def test_a_history_goes_to_another_store(counting: Command, elsewhere: Command) -> None:
    made = counting.json("export", "main", "-o", "main.bundle")
    bundle = str(counting.directory / "main.bundle")
    brought = elsewhere.json("import", bundle, "--branch", "main")
    assert brought["commit"] == made["commit"] == commit_of(elsewhere, "main")
    assert brought["state_root"] == made["state_root"]
    assert len(brought["new"]) == 3
    counter = elsewhere.json("contracts")["contracts"][0]["contract"]
    assert elsewhere("query", counter, "read_value").stdout.split()[0] == "255"
    again = elsewhere("import", bundle, "--branch", "main")
    assert "0 new commits" in again.stdout
    elsewhere("export", "main", "-o", "again.bundle")
    assert (elsewhere.directory / "again.bundle").read_bytes() == Path(bundle).read_bytes()


def test_only_news_can_be_exported(counting: Command, elsewhere: Command) -> None:
    counting("export", "main~1", "-o", "old.bundle")
    counting("export", "main", "--since", "main~1", "-o", "news.bundle")
    news = str(counting.directory / "news.bundle")
    refused = elsewhere("import", news, code=3)
    assert "the bundle builds on this commit" in refused.stderr
    elsewhere("import", str(counting.directory / "old.bundle"))
    elsewhere("import", news, "--branch", "main")
    assert commit_of(elsewhere, "main") == commit_of(counting, "main")


def test_a_contract_alone_makes_a_commit_of_its_own(counting: Command, elsewhere: Command) -> None:
    counting("export", "main", "--contract", "counter", "-o", "counter.bundle")
    brought = elsewhere.json("import", str(counting.directory / "counter.bundle"))
    assert brought["content"] == "contracts"
    assert brought["source"] == commit_of(counting, "main") != brought["commit"]


def test_a_damaged_bundle_is_refused(counting: Command, elsewhere: Command) -> None:
    counting("export", "main", "--no-history", "-o", "main.bundle")
    path = counting.directory / "main.bundle"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "offset" in elsewhere("import", str(path), code=7).stderr
    assert elsewhere.json("log", "--all")["commits"] == []
    elsewhere("import", "missing", code=3)


def test_a_contract_is_deployed_from_a_bundle(counting: Command, elsewhere: Command) -> None:
    counting("export", "main", "--contract", "counter", "-o", "counter.bundle")
    there = counting.json("contracts")["contracts"][0]
    bundle = str(counting.directory / "counter.bundle")
    made = elsewhere.json("deploy", bundle, "--alias", "counter")
    assert (made["contract"], made["owner"]) == (there["contract"], "07" * 32)
    assert elsewhere("query", "counter", "read_value").stdout.split()[0] == "252"
    elsewhere("deploy", bundle, "--contract", "ab" * 32, code=3)
    other = elsewhere.json("deploy", bundle, "--contract", there["contract"], "--id", "cd" * 32, "--owner", "01" * 32)
    assert (other["contract"], other["owner"]) == ("cd" * 32, "01" * 32)


def test_a_memory_image_goes_out_and_in(counting: Command) -> None:
    counting("export", "main~1", "--raw", "counter", "-o", "memory.bin")
    counting("import-raw", "memory.bin", "counter", "-m", "as before")
    assert counting("query", "counter", "read_value").stdout.split()[0] == "254"
    counting("import-raw", "memory.bin", "ab" * 32, code=3)
    counting("import-raw", "memory.bin", "ab" * 32, "--wasm", contract_file("counter"), "--owner", "01" * 32)


def test_an_honest_history_is_confirmed(counting: Command, piecrust: Command, tmp_path: Path) -> None:
    assert counting("replay").lines[-1] == "3 of 3 commits confirmed"
    told = counting.json("replay", "main~1..main", "--jobs", "1")
    assert (told["commits"], told["confirmed"]) == (1, 1)
    assert told["verdicts"][0]["holds"] == "yes"
    counting("export", "main", "-o", "main.bundle")
    assert counting("replay", "--bundle", "main.bundle").lines[-1] == "3 of 3 commits confirmed"
    counting("export", "main", "--no-history", "-o", "state.bundle")
    alone = counting("replay", "--bundle", "state.bundle")
    assert alone.lines[-1] == "0 of 1 commit confirmed"
    assert alone.stderr.startswith("Warning: ")
    counting("replay", "main", "--bundle", "main.bundle", code=2)


def test_a_forged_commit_is_told_with_its_step(counting: Command) -> None:
    with Store.open(counting.directory) as store:
        tip = store.ref_commit("HEAD")
        value: Commit = store.load(Kind.COMMIT, tip)
        told = transcript.load(store, value.transcript)
        step = told.steps[0]
        outcome = replace(step.outcome, gas_spent=step.outcome.gas_spent - 1)
        transaction = store.transaction()
        forged = replace(told, steps=(replace(step, outcome=outcome),))
        lie = replace(value, transcript=transcript.store(transaction, forged))
        transaction.put(Kind.COMMIT, commit_id(lie), lie)
        transaction.set_ref("heads/forged", commit_id(lie))
        transaction.publish(Operation("forge"))
    lines = counting("replay", "main~1..forged", code=1).lines
    assert lines[0] == f"{commit_id(lie).short()} differs: calls"
    assert lines[1] == "  gas at step 0, counter.increment"
    assert lines[2:4] == [f"  recorded: {outcome.gas_spent}", f"  executed: {outcome.gas_spent + 1}"]
    assert lines[-1] == "0 of 1 commit confirmed"


@pytest.fixture
def scheduler() -> Iterator[str]:
    """The address of a Dask cluster of two processes."""
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("the package distributed is not installed")
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@pytest.mark.filterwarnings("default")
def test_a_dask_cluster_confirms_a_history(counting: Command, scheduler: str) -> None:
    assert counting("replay", "--dask", scheduler).lines[-1] == "3 of 3 commits confirmed"
    with Store.open(counting.directory) as store:
        Remotes(store).add("origin", str(counting.directory / "remote"))
        push(store)
    assert counting("replay", "--dask", scheduler).lines[-1] == "3 of 3 commits confirmed"
    told = counting("replay", "--dask", scheduler, "--remote", "elsewhere", code=3)
    assert "elsewhere" in told.stderr
    shutil.rmtree(counting.directory / "remote")  # it was the remote that the workers read
    lost = counting("replay", "--dask", scheduler)
    assert lost.lines[-1] == "0 of 3 commits confirmed"


def test_a_history_is_replayed_from_a_remote(counting: Command) -> None:
    pytest.importorskip("obstore")
    with Store.open(counting.directory) as store:
        Remotes(store).add("origin", str(counting.directory / "remote"))
    refused = counting("replay", "--remote", "origin", code=3)
    assert "push or fetch first" in refused.stderr
    with Store.open(counting.directory) as store:
        push(store)
    assert counting("replay", "--remote", "origin").lines[-1] == "3 of 3 commits confirmed"
    counting("replay", "--remote", "origin", "--bundle", "x", code=2)


def test_no_dask_cluster_is_an_error(counting: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install" in counting("replay", "--dask", "tcp://127.0.0.1:1", code=2).stderr


@pytest.mark.filterwarnings("default")
def test_no_dask_scheduler_is_an_error(counting: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(replay_command, "SCHEDULER_SECONDS", 0.2)
    assert "no Dask scheduler" in counting("replay", "--dask", "tcp://127.0.0.1:1", code=2).stderr


def test_a_dash_is_stdout(counting: Command) -> None:
    outputs = [
        ("export", "main", "-o"),
        ("export", "main", "--raw", "counter", "-o"),
        ("prove", "main", "counter", "-o"),
        ("memory", "counter", "--page", "1", "-o"),
    ]
    for words in outputs:
        counting(*words, "file")
        command = [sys.executable, "-m", "piecrust", *words, "-"]
        environment = {**os.environ, **counting.environment}
        done = subprocess.run(command, cwd=counting.directory, env=environment, capture_output=True, timeout=60)
        assert done.stdout == (counting.directory / "file").read_bytes()
        assert done.stderr == b""
        assert "both want stdout" in counting(*words, "-", "--json", code=2).stdout
    assert not (counting.directory / "-").exists()


@pytest.mark.parametrize(
    "words",
    ["export main", "export main --raw counter", "prove main counter", "memory counter --page 1"],
)
def test_a_file_that_can_not_be_written(counting: Command, words: str) -> None:
    assert "no such file or directory" in counting(*words.split(), "-o", "missing/file", code=None).stderr
