"""What each command shows and does; contracts are run for real."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from blake3 import blake3
from piecrust.vm.abi import detach
from support.command import ROOT, Command, contract_file

COUNTER = blake3(Path(contract_file("counter")).read_bytes()).hexdigest()


class TestInit:
    def test_makes_a_store_once(self, piecrust: Command) -> None:
        first = piecrust.json("init")
        assert (first["created"], first["branch"]) == (True, "main")
        again = piecrust.json("init")
        assert (again["created"], again["branch"]) == (False, None)

    def test_takes_a_directory_and_a_branch(self, piecrust: Command) -> None:
        piecrust("init", "deep/state", "--branch", "trunk")
        assert piecrust.json("-C", "deep/state", "status")["branch"] == "trunk"

    def test_other_files_stay(self, piecrust: Command) -> None:
        (piecrust.directory / "notes.txt").write_text("mine")
        piecrust("init")
        assert (piecrust.directory / "notes.txt").read_text() == "mine"

    def test_a_bad_name_makes_nothing(self, piecrust: Command) -> None:
        piecrust("init", "--branch", "a..b", code=2)
        assert not (piecrust.directory / ".piecrust").exists()


class TestStore:
    def test_is_found_from_a_directory_below(self, counting: Command) -> None:
        inner = counting.directory / "a" / "b"
        inner.mkdir(parents=True)
        below = Command(inner, Path(counting.environment["PIECRUST_CACHE"]))
        assert below.json("status")["branch"] == "main"

    def test_may_be_named_by_the_environment(self, counting: Command, tmp_path_factory: pytest.TempPathFactory) -> None:
        elsewhere = Command(tmp_path_factory.mktemp("elsewhere"), Path(counting.environment["PIECRUST_CACHE"]))
        assert (
            elsewhere("status", env={"PIECRUST_STORE": str(counting.directory)}).lines[0].startswith("On branch main")
        )


class TestStatus:
    def test_says_where_you_are_and_what_is_not_committed(self, counting: Command) -> None:
        counting("deploy", contract_file("box"), "--alias", "box")
        counting("call", "box", "set", "i16:1")
        counting("call", "counter", "increment")
        status = counting.json("status")
        assert status["branch"] == "main"
        assert status["working_state"]["steps"] == {"deploy": 1, "call": 2}
        assert {item["label"]: item["status"] for item in status["changes"]} == {"box": "new", "counter": "changed"}
        assert int(status["size"]) > 0
        lines = counting("status").lines
        assert lines[0].startswith("On branch main, at ")
        assert lines[2].startswith("Not committed: 1 deploy, 2 calls (gas ")

    def test_of_a_commit_names_no_branch(self, counting: Command) -> None:
        counting("checkout", "main~1")
        assert counting.json("status")["branch"] is None


class TestDeploy:
    def test_tells_the_owner_that_nobody_chose(self, store: Command) -> None:
        answer = store("deploy", contract_file("counter"), env={"PIECRUST_OWNER": ""})
        assert "owner     " + "00" * 32 in answer.stdout
        assert "Hint: --owner HEX sets the owner" in answer.stderr

    def test_takes_the_owner_from_the_users_configuration(self, store: Command) -> None:
        folder = store.directory / "config" / "piecrust"
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(f'owner = "{"ab" * 32}"\n')
        answer = store("deploy", contract_file("counter"), "--json", env={"PIECRUST_OWNER": ""})
        assert answer.data["owner"] == "ab" * 32

    def test_runs_init_with_its_argument(self, store: Command) -> None:
        deployed = store.json("deploy", contract_file("initialiser"), "--init", "7", "--alias", "it")
        assert int(deployed["receipt"]["gas_spent"]) > 0

    def test_takes_text_and_an_id(self, store: Command) -> None:
        wat = store.directory / "small.wat"
        wat.write_text(
            '(module (memory (export "memory") 1) (global (export "A") i32 (i32.const 0))'
            ' (func (export "nothing") (param i32) (result i32) (i32.const 0)))'
        )
        assert store.json("deploy", "small.wat", "--id", "ab" * 32)["contract"] == "ab" * 32
        assert store("call", "abab", "nothing").exit_code == 0

    def test_that_fails_gives_no_alias(self, store: Command) -> None:
        store("deploy", contract_file("counter"), "--alias", "one")
        store("deploy", contract_file("counter"), "--alias", "two", code=8)
        assert list(store.json("alias")["aliases"]) == ["one"]


class TestCall:
    def test_shows_events_and_frames(self, store: Command) -> None:
        store("deploy", contract_file("eventer"), "--alias", "eventer")
        lines = store("call", "eventer", "emit_numbers", "u32:2", "--trace").lines
        assert [line.split()[:2] for line in lines[:2]] == [["event", "eventer"]] * 2
        assert lines[2].startswith("eventer.emit_numbers  gas ")
        assert lines[3].startswith("gas ")

    def test_shows_the_frames_that_failed_inside_of_a_call(self, store: Command) -> None:
        there = "00" * 31 + "01"
        store("deploy", contract_file("crossover"), "--alias", "here")
        store("deploy", contract_file("crossover"), "--alias", "there", "--id", there)
        lines = store("call", "here", "set_around", there, "5", "6", "true", "--trace").lines
        frames = [line for line in lines if line.lstrip().startswith(("here.", "there."))]
        assert frames[0].startswith("here.set_around  gas ")
        assert frames[1].startswith("  there.set_caller_and_panic  gas ")
        assert frames[1].endswith("  failed: panic: the caller's value 6 was set in vain")
        assert frames[2].startswith("    here.set  gas ")
        assert frames[2].endswith("  taken back with its caller")

    def test_accepts_what_a_contract_feeds(self, store: Command) -> None:
        store("deploy", contract_file("feeder"), "--alias", "feeder")
        fed = store.json("call", "feeder", "feed_numbers", "u32:3", "--feed")["fed"]
        assert fed == ["00000000", "01000000", "02000000"]

    def test_asks_host_queries_of_a_named_module(self, store: Command) -> None:
        (store.directory / "answers_for_tests.py").write_text("QUERIES = {'hash': lambda data: data[::-1]}\n")
        store("deploy", contract_file("host_queries"), "--alias", "asking")
        store("call", "asking", "hash", "Vec<u8>:0102", code=4)
        store("call", "asking", "hash", "Vec<u8>:0102", "--host-queries", "answers_for_tests:QUERIES", code=None)
        steps = store.json("status")["working_state"]["steps"]
        assert steps["failed call"] >= 1

    @pytest.mark.parametrize("bad", ["nomodule", "json:nothing", "json:__name__", "absent_module:X"])
    def test_refuses_host_queries_that_are_none(self, counting: Command, bad: str) -> None:
        counting("call", "counter", "increment", "--host-queries", bad, code=2)
        assert counting.json("status")["working_state"] is None


class TestMeta:
    def test_sets_shows_and_takes_away(self, store: Command) -> None:
        store("meta", "set", "height", "u64:7")
        store("meta", "set", "name", "str:x")
        assert store("meta", "get", "height").stdout == "0700000000000000\n"
        assert set(store.json("meta", "get")["metadata"]) == {"height", "name"}
        store("meta", "unset", "height")
        store("meta", "get", "height", code=3)
        store("meta", "unset", "height", code=3)
        store("meta", "set", "height", "7", code=2)


class TestAlias:
    def test_names_a_contract(self, counting: Command) -> None:
        counting("alias", "c", COUNTER[:8])
        assert counting.json("alias")["aliases"] == {"c": COUNTER, "counter": COUNTER}
        counting("alias", "--delete", "c")
        assert list(counting.json("alias")["aliases"]) == ["counter"]
        counting("alias", "--delete", "c", code=3)
        counting("alias", "other", code=2)

    def test_undo_takes_it_back_together_with_its_deployment(self, store: Command) -> None:
        store("deploy", contract_file("counter"), "--alias", "counter")
        store("undo")
        assert store.json("alias")["aliases"] == {}
        assert store.json("status")["working_state"] is None


class TestContracts:
    def test_lists_what_a_state_has(self, counting: Command) -> None:
        listed = counting.json("contracts", "--functions")["contracts"]
        assert [item["contract"] for item in listed] == [COUNTER]
        assert listed[0]["functions"] == ["increment", "read_value"]
        assert counting("ls-contracts").stdout.split("\t")[1] == COUNTER

    def test_ids_may_be_shortened_if_they_stay_unique(self, counting: Command) -> None:
        assert counting("query", COUNTER[:6], "read_value", "--returns", "i64").stdout == "255\n"
        counting("deploy", contract_file("counter"), "--id", COUNTER[:8] + "00" * 28)
        answer = counting("query", COUNTER[:6], "read_value", code=3)
        assert answer.stderr.startswith("Error: 2 contracts have ids that begin with")
        counting("query", "ffff", "read_value", code=3)

    def test_memory_is_shown_and_written(self, counting: Command) -> None:
        assert counting("memory", "counter").lines[1] == "2 pages written: 1, 3"
        dump = counting("memory", "counter", "--range", "0x106a0:8").stdout
        assert dump == "000106a0  ff 00 00 00 00 00 00 00                          |........|\n"
        counting("memory", "counter", "--page", "1", "-o", "page.bin")
        assert (counting.directory / "page.bin").stat().st_size == 65536
        older = counting.json("memory", "counter", "--range", "0x106a0:1", "--at", "main~2")
        assert older["bytes"] == "fd"
        counting("memory", "counter", "--range", "5", code=2)
        counting("memory", "counter", "--range", "0:1000000", code=2)
        counting("memory", "counter", "--page", "-1", code=2)
        counting("memory", "counter", "--page", "65536", code=2)
        assert counting("memory", "counter", "--range", "0x50000:1").stderr == "Warning: the memory ends at 0x40000\n"

    def test_the_root_is_of_a_revision_or_of_what_is_not_committed(self, counting: Command) -> None:
        committed = counting.json("root")
        counting("call", "counter", "increment")
        working = counting.json("root")
        assert (committed["uncommitted"], working["uncommitted"]) == (False, True)
        assert committed["state_root"] != working["state_root"]
        assert counting.json("root", "HEAD")["state_root"] == committed["state_root"]


class TestLog:
    def test_shows_commits_with_contracts_and_gas(self, counting: Command) -> None:
        counting("tag", "v1", "main~1")
        log = counting.json("log")["commits"]
        assert [item["message"] for item in log] == ["three", "two", "one"]
        assert [item["contracts"] for item in log] == [[COUNTER]] * 3
        lines = counting("log", "--graph").lines
        assert lines[0].endswith("(HEAD -> main) three")
        assert "(tag: v1) two" in lines[2]
        assert lines[1] == "│   1 call; counter; gas 101"

    def test_takes_ranges_and_numbers(self, counting: Command) -> None:
        assert len(counting.json("log", "main~2..main")["commits"]) == 2
        assert len(counting.json("log", "-n", "1")["commits"]) == 1
        assert len(counting.json("log", "main~1")["commits"]) == 2
        assert len(counting("log", "--oneline").lines) == 3

    def test_of_a_new_store_is_empty(self, store: Command) -> None:
        assert store("log").stdout == "There are no commits.\n"

    def test_show_tells_what_was_done(self, counting: Command) -> None:
        shown = counting.json("show", "main~2")
        assert [step["kind"] for step in shown["derivation"]["steps"]] == ["deploy", "call"]
        assert shown["changes"][0]["status"] == "new"
        text = counting("show").stdout
        assert "call counter increment" in text
        assert "changed counter, 2 pages" in text


class TestDiff:
    def test_goes_from_a_summary_down_to_bytes(self, counting: Command) -> None:
        assert counting("diff", "main~1", "main").lines[1] == "changed counter  2 pages"
        assert counting("diff", "main~1..main", "--pages").lines[2:4] == ["  value: 254 -> 255", "  page 1 changed"]
        changes = counting.json("diff", "main~1..main", "--bytes")["changes"]
        assert changes[0]["pages"][0]["runs"][0] == {"offset": str(0x106A0), "old": "fe", "new": "ff", "scratch": False}
        assert "  + 000106a0  ff" in counting("diff", "main~1..main", "--bytes").stdout

    def test_compares_what_queries_answer(self, counting: Command) -> None:
        lines = counting("diff", "main~2", "main", "--query", "read_value:i64").lines
        assert lines[2:] == ["  value: 253 -> 255", "  read_value: 253 -> 255"]
        assert counting("diff", "main~2", "main", "--query", "read_value").lines == lines
        counting("diff", "main~2", "main", "--query", "unknown", code=2)
        counting("call", "counter", "increment")
        values = counting.json("diff", "--query", "read_value:i64")["changes"][0]["values"]
        assert values == [
            {"name": "value", "old": "255", "new": "256"},
            {"name": "read_value", "old": "255", "new": "256"},
        ]

    def test_has_an_exit_code_for_scripts(self, counting: Command) -> None:
        counting("diff", "main~1..main", "--exit-code", code=1)
        assert counting("diff", "main..main", "--exit-code").stdout == "No difference.\n"

    def test_draws_the_pages(self, counting: Command) -> None:
        assert counting("diff", "main~1..main", "--map").lines[3].split() == ["0", "·░·░"]
        counting("diff", "main~1..main", "--svg", "map.svg")
        assert ET.parse(counting.directory / "map.svg").getroot().tag.endswith("svg")
        counting("diff", "main..main", "--svg", "map.svg", code=2)

    def test_looks_at_the_contracts_that_are_asked_for(self, counting: Command) -> None:
        counting("deploy", contract_file("box"), "--alias", "box")
        counting("call", "counter", "increment")
        assert len(counting.json("diff")["changes"]) == 2
        assert [item["label"] for item in counting.json("diff", "-c", "box")["changes"]] == ["box"]


class TestBranches:
    def test_a_working_state_goes_along_to_a_branch_made_here(self, counting: Command) -> None:
        counting("call", "counter", "increment")
        counting("switch", "-c", "side")
        assert counting.json("status")["working_state"] is not None
        counting("commit", "-m", "four")
        assert (
            counting.json("rev-parse", "side~1")["revisions"][0]["commit"]
            == counting.json("rev-parse", "main")["revisions"][0]["commit"]
        )

    def test_moving_the_branch_under_uncommitted_work_is_refused(self, counting: Command) -> None:
        counting("call", "counter", "increment")
        counting("branch", "-f", "main", "main~1", code=6)
        counting("branch", "-f", "main", "main")
        assert counting("query", "counter", "read_value").stdout == "256\n"

    def test_what_is_kept_can_be_opened_again(self, counting: Command) -> None:
        counting("call", "counter", "increment")
        kept = counting.json("checkout", "main~2", "--keep")["kept"]
        assert counting("query", "counter", "read_value", "--returns", "i64", "--at", kept).stdout == "256\n"
        assert counting.json("status")["commit"] != kept

    def test_commits_on_no_branch_stay(self, counting: Command) -> None:
        counting("checkout", "main~1")
        counting("call", "counter", "increment")
        made = counting.json("commit")["commit"]
        counting("switch", "main")
        assert made in [item["commit"] for item in counting.json("log", "--all")["commits"]]

    def test_are_listed_moved_and_deleted(self, counting: Command) -> None:
        counting("branch", "side", "main~1")
        assert [(item["name"], item["current"]) for item in counting.json("branch")["branches"]] == [
            ("main", True),
            ("side", False),
        ]
        counting("branch", "side", "main", code=2)
        counting("branch", "-f", "side", "main")
        counting("branch", "-d", "side")
        counting("branch", "-d", "side", code=3)
        counting("branch", "-d", "main", code=2)
        counting("tag", "v1", "main~2")
        assert [item["name"] for item in counting.json("tag")["tags"]] == ["v1"]
        counting("tag", "-d", "v1")
        counting("checkout", "main~1", "--keep", "--discard", code=2)


class TestMerge:
    @pytest.fixture
    def parted(self, counting: Command) -> Command:
        counting("deploy", contract_file("box"), "--alias", "box")
        counting("commit")
        counting("switch", "-c", "side")
        counting("call", "box", "set", "i16:5")
        counting("commit", "-m", "theirs")
        counting("switch", "main")
        counting("call", "counter", "increment")
        counting("commit", "-m", "ours")
        return counting

    def test_joins_what_both_sides_did(self, parted: Command) -> None:
        merged = parted.json("merge", "side", "-m", "together")
        assert not merged["fast_forward"]
        assert parted("query", "box", "get", "--returns", "Option<i16>").stdout == "Some(5)\n"
        assert parted("query", "counter", "read_value", "--returns", "i64").stdout == "256\n"
        shown = parted.json("show")
        assert shown["derivation"]["kind"] == "merge"
        assert len(shown["parents"]) == 2
        parted("merge", "side")
        assert parted.json("status")["commit"] == merged["commit"]

    def test_a_contract_that_was_only_read_on_one_side_is_no_conflict(self, store: Command) -> None:
        wat = ROOT / "docs" / "example-project" / "contracts" / "counter.wat"
        document = {
            "piecrust_abi": 1,
            "functions": [{"name": "increment"}, {"name": "value", "returns": "i64", "query": True}],
            "scratch": [{"address": 65536, "length": 65536}],
        }
        (store.directory / "counter.abi.json").write_text(json.dumps(document))
        store("abi", "attach", str(wat), "counter.abi.json", "-o", "counter.wasm")
        store("deploy", "counter.wasm", "--alias", "counter")
        store("commit")
        store("switch", "-c", "side")
        store("call", "counter", "value")
        store("commit", "-m", "looked")
        store("switch", "main")
        store("call", "counter", "increment")
        store("call", "counter", "value")
        store("commit", "-m", "counted")
        assert store("diff", "side", "--bytes").lines[-1] == "  1 run of bytes in scratch is not shown"
        assert store.json("diff", "side", "--bytes")["changes"][0]["pages"][-1]["runs"][0]["scratch"] is True
        assert "+ 00010000" in store("diff", "side", "--bytes", "--scratch").stdout
        assert list(store.json("merge", "side")["choices"].values()) == ["ours"]
        assert store("query", "counter", "value").stdout == "1\n"

    def test_is_taken_back_by_undo(self, parted: Command) -> None:
        before = parted.json("status")["commit"]
        parted("merge", "side")
        parted("undo")
        assert parted.json("status")["commit"] == before

    def test_needs_a_clean_working_state(self, parted: Command) -> None:
        parted("call", "counter", "increment")
        parted("merge", "side", code=6)


class TestRestore:
    def test_brings_a_state_or_a_contract_back(self, counting: Command) -> None:
        restored = counting.json("restore", "main~2")
        assert counting("query", "counter", "read_value", "--returns", "i64").stdout == "253\n"
        assert restored["state_root"] == counting.json("root", "HEAD~3")["state_root"]
        counting("restore", "HEAD~1", "counter", "-m", "again")
        assert counting("query", "counter", "read_value", "--returns", "i64").stdout == "255\n"
        assert counting("restore", "HEAD").stdout == "Nothing differs.\n"


class TestUndo:
    def test_every_change_is_one_step_back(self, counting: Command) -> None:
        counting("call", "counter", "increment")
        counting("call", "counter", "increment")
        counting("undo")
        assert counting("query", "counter", "read_value", "--returns", "i64").stdout == "256\n"
        counting("undo")
        assert counting.json("status")["working_state"] is None
        counting("undo")
        assert counting("query", "counter", "read_value", "--returns", "i64").stdout == "255\n"
        assert counting.json("status")["working_state"]["steps"] == {"call": 1}
        counting("redo")
        assert counting.json("status")["working_state"] is None

    def test_the_log_of_operations_tells_them(self, counting: Command) -> None:
        operations = counting.json("op-log", "-n", "2")["operations"]
        assert [(item["command"], item["arguments"]) for item in operations] == [
            ("commit", ["three"]),
            ("call", ["counter", "increment"]),
        ]
        assert operations[0]["refs"]["draft"]["after"] is None

    def test_a_branch_remembers_where_it_was(self, counting: Command) -> None:
        first = counting.json("rev-parse", "main~1")["revisions"][0]["commit"]
        assert counting("rev-parse", "main@{1}").stdout.strip() == first


class TestQuery:
    def test_asks_both_ends_of_a_range(self, counting: Command) -> None:
        assert counting("query", "counter", "read_value", "--at", "main~2..").lines == ["main~2  253", "HEAD    255"]
        traced = counting("query", "counter", "read_value", "--at", "main~1..main", "--trace").lines
        assert [line.split()[0] for line in traced] == ["main~1", "counter.read_value", "main", "counter.read_value"]
        counting("query", "counter", "read_value", "--at", "main...side", code=2)


class TestRun:
    STEPS = (
        {"deploy": "counter.wasm", "alias": "counter", "owner": "00ff"},
        {"meta": {"height": "u64:1"}},
        {"call": "counter", "function": "increment"},
        {"query": "counter", "function": "read_value", "returns": "i64", "expect": "i64:253"},
    )

    def script(self, store: Command, *steps: object) -> str:
        (store.directory / "counter.wasm").write_bytes(Path(contract_file("counter")).read_bytes())
        (store.directory / "steps.jsonl").write_text("\n".join(json.dumps(step) for step in steps))
        return "steps.jsonl"

    def test_executes_in_one_session_and_commits_once(self, store: Command) -> None:
        done = store.json("run", self.script(store, *self.STEPS), "-m", "genesis")
        assert done["steps"][3]["value"] == "253"
        log = store.json("log")["commits"]
        assert [(item["commit"], item["message"]) for item in log] == [(done["commit"], "genesis")]
        assert store.json("alias")["aliases"] == {"counter": COUNTER}
        store("undo")
        assert store.json("log")["commits"] == []
        assert store.json("alias")["aliases"] == {}

    def test_toml_says_the_same(self, store: Command) -> None:
        self.script(store)
        (store.directory / "steps.toml").write_text(
            '[[step]]\ndeploy = "counter.wasm"\nalias = "counter"\nowner = "00ff"\n'
            '[[step]]\nmeta = {height = "u64:1"}\n'
            '[[step]]\ncall = "counter"\nfunction = "increment"\n'
        )
        toml = store.json("run", "steps.toml", "--dry-run")["state_root"]
        lines = store.json("run", self.script(store, *self.STEPS[:3]), "--dry-run")["state_root"]
        assert toml == lines
        assert store.json("status")["working_state"] is None

    def test_a_result_that_was_not_expected_keeps_nothing(self, store: Command) -> None:
        wrong = {**self.STEPS[3], "expect": "i64:252"}
        answer = store("run", self.script(store, *self.STEPS[:3], wrong), code=1)
        assert answer.stderr == "Error: step 4: the result is 253, not i64:252\n"
        assert store.json("status")["commits"] == 0

    def test_a_failing_step_keeps_nothing_and_is_named(self, store: Command) -> None:
        failing = {"call": "counter", "function": "increment", "gas_limit": 5}
        answer = store("run", self.script(store, *self.STEPS[:2], failing), code=5)
        assert "in step 3 of steps.jsonl" in answer.stderr
        assert store.json("status")["working_state"] is None

    @pytest.mark.parametrize(
        "step", ["no step", {"call": "counter", "query": "counter"}, {"deploy": "x", "color": 1}, {"call": 5}]
    )
    def test_what_is_no_step_is_refused(self, store: Command, step: object) -> None:
        assert "step 1" in store("run", self.script(store, step), code=2).stderr

    def test_refuses_a_name_that_a_contract_has(self, counting: Command) -> None:
        (counting.directory / "steps.jsonl").write_text(
            json.dumps({"deploy": contract_file("box"), "alias": "counter"})
        )
        assert "the alias 'counter' is taken" in counting("run", "steps.jsonl", code=2).stderr
        assert counting.json("alias")["aliases"] == {"counter": COUNTER}

    @pytest.mark.parametrize(
        "step",
        [
            {"deploy": contract_file("counter"), "id": "zz"},
            {"deploy": contract_file("counter"), "owner": "zz"},
            {"call": "counter", "function": "increment", "gas_limit": True},
            {"call": "counter", "function": "increment", "gas_limit": -1},
        ],
        ids=str,
    )
    def test_refuses_what_makes_no_sense_in_a_step(self, counting: Command, step: object) -> None:
        (counting.directory / "steps.jsonl").write_text(json.dumps(step))
        assert "step 1" in counting("run", "steps.jsonl", code=2).stderr

    def test_reads_its_steps_from_stdin(self, counting: Command) -> None:
        step = json.dumps({"query": "counter", "function": "read_value", "expect": "255"})
        assert "255" in counting.process("run", "-", "--dry-run", stdin=step).stdout

    def test_may_leave_it_in_the_working_state(self, store: Command) -> None:
        store("run", self.script(store, *self.STEPS[:3]), "--no-commit")
        assert store.json("status")["working_state"]["steps"]["call"] == 1


class TestBisect:
    def test_a_query_finds_the_commit(self, counting: Command) -> None:
        counting("bisect", "start", "main", "main~2")
        found = counting.json("bisect", "run", "--query", "counter read_value < i64:255")
        assert found["culprit"] == counting.json("rev-parse", "main")["revisions"][0]["commit"]
        assert [step["verdict"] for step in found["steps"]] == ["good"]
        counting("bisect", "reset")
        assert counting.json("status")["branch"] == "main"

    def test_a_command_finds_the_commit(self, counting: Command) -> None:
        counting("bisect", "start", "main", "main~2")
        found = counting("--json", "bisect", "run", "--", "false").data
        assert found["culprit"] == counting.json("rev-parse", "main~1")["revisions"][0]["commit"]

    def test_a_person_finds_the_commit(self, counting: Command) -> None:
        counting("bisect", "start")
        assert counting("bisect", "bad", "main").stdout == "a good commit is needed\n"
        assert "HEAD is on" in counting("bisect", "good", "main~2").stdout
        assert counting.json("bisect", "status")["next"] is not None
        assert "brought the change" in counting("bisect", "bad").stdout

    def test_what_is_no_expression_is_refused(self, counting: Command) -> None:
        counting("bisect", "start", "main", "main~2")
        for expression in ("counter", "counter read_value < 5", "counter read_value"):
            counting("bisect", "run", "--query", expression, code=2)
        counting("bisect", "run", code=2)

    def test_must_be_started(self, counting: Command) -> None:
        counting("bisect", "good", code=3)

    def test_is_told_by_status(self, counting: Command) -> None:
        assert counting.json("status")["bisection"] is None
        counting("bisect", "start", "main", "main~2")
        assert counting.json("status")["bisection"]["left"] == 2
        assert counting("status").lines[1] == "Bisecting, 2 commits left (piecrust bisect status)"

    def test_a_bad_commit_before_a_good_one_leaves_nothing_to_look_at(self, counting: Command) -> None:
        answer = counting("bisect", "start", "main~2", "main", code=1)
        assert "the bad commit comes before a good one" in answer.stdout
        assert counting.json("status")["branch"] == "main"


class TestDemo:
    def test_ends_with_the_root_that_the_original_gives(self, piecrust: Command) -> None:
        answer = piecrust("demo")
        assert answer.lines[0] == "$ piecrust init"
        assert answer.lines[-2:] == [
            "The state root of side is 74b6ae035394844ec2d2a9358150f8df01dfb038754c4e1167eeb42192eda142,",
            "the same as on every other machine, and as the original VM's.",
        ]
        assert not list(piecrust.directory.iterdir())

    def test_leaves_a_store_to_play_with(self, piecrust: Command) -> None:
        piecrust("demo", "--keep", "playground")
        log = piecrust.json("-C", "playground", "log", "--all")["commits"]
        assert {item["message"] for item in log} == {"count to 253", "count to 254", "count to 255"}
        piecrust("demo", "--keep", "playground", code=2)

    def test_its_commands_give_the_same_commits(self, store: Command) -> None:
        said = store.json("demo")
        owner = "00" * 32
        store("deploy", contract_file("counter"), "--alias", "counter", "--owner", owner)
        store("call", "counter", "increment")
        assert store.json("commit", "-m", "count to 253")["commit"] == said["first"]
        store("switch", "-c", "side")
        store("call", "counter", "increment")
        assert store.json("commit", "-m", "count to 254")["commit"] == said["third"]


class TestDoctor:
    def test_names_the_write_tracker_and_the_store(self, counting: Command) -> None:
        findings = {item["name"]: item for item in counting.json("doctor")["findings"]}
        assert findings["write tracker"]["fine"]
        assert findings["store"]["detail"].endswith("3 commits")
        assert {"system", "wasmtime", "kernel features", "engine calls", "native stack", "compiled contracts"} <= set(
            findings
        )
        assert "store access" not in findings

    def test_tells_what_the_kernel_lacks(self, store: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse() -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr("piecrust.vm.tracking.check", refuse)
        findings = {item["name"]: item for item in store.json("doctor")["findings"]}
        assert findings["kernel features"]["detail"] == "no userfaultfd that tracks writes: operation not permitted"
        assert findings["kernel features"]["fine"] is None

    def test_a_damaged_store_is_a_negative_verdict(self, counting: Command) -> None:
        segment = max((counting.directory / ".piecrust" / "log").iterdir())
        data = bytearray(segment.read_bytes())
        data[600] ^= 1
        segment.write_bytes(data)
        assert counting.json("doctor", code=1)["bad"] == ["store"]


class TestStats:
    def test_counts_objects_and_draws_the_growth(self, counting: Command) -> None:
        data = counting.json("stats", "--plot", "growth.svg")
        assert data["commits"] == 3
        assert data["kinds"]["bytecode"]["objects"] == 1
        assert sum(int(item["stored"]) for item in data["growth"]) == int(data["stored"])
        assert ET.parse(counting.directory / "growth.svg").getroot().tag.endswith("svg")


class TestPlumbing:
    def test_objects_are_printed_by_kind_and_address(self, counting: Command) -> None:
        commit = counting("rev-parse", "HEAD").stdout.strip()
        fields = counting.json("cat-object", "commit", commit[:10])["fields"]
        assert fields["message"] == "three"
        counting("call", "counter", "increment")
        timed = counting.json("commit", "--time", "5")["commit"]
        assert counting.json("cat-object", "commit", timed)["fields"]["time"] == "5"
        bytecode = counting.json("contracts")["contracts"][0]["bytecode"]
        assert counting("cat-object", "bytecode", bytecode).lines[0].endswith("|.asm.....v.`...`|")
        counting("cat-object", "commit", "ffff", code=3)
        counting("cat-object", "nonsense", commit, code=2)
        counting("cat-object", "page", "xy", code=2)
        counting("cat-object", "commit", commit, "--raw", code=2)

    def test_a_commit_may_be_named_by_a_revision(self, counting: Command) -> None:
        lines = counting("cat-object", "commit", "main~2").lines
        assert "parents:" in lines
        assert "message: one" in lines

    def test_commits_are_given_up_unless_something_stands_on_them(self, counting: Command) -> None:
        counting("call", "counter", "increment")
        kept = counting.json("checkout", "main", "--keep")["kept"]
        counting("delete-commit", "main", code=6)
        assert counting.json("delete-commit", kept)["deleted"] == [kept]
        counting("delete-commit", kept, code=3)
        counting("undo")
        assert counting("query", "counter", "read_value", "--at", kept).stdout == "256\n"

    def test_finalized_commits_stay(self, counting: Command) -> None:
        kept = counting.json("rev-parse", "main~1")["revisions"][0]["commit"]
        counting("finalize-commit", "main~1")
        counting("undo")  # the third commit; a commit that was finalized stays so
        counting("undo")
        counting("delete-commit", kept, code=6)
        answer = counting("undo", code=6)
        assert answer.stderr.startswith("Error: commit ")
        assert counting.json("status")["commit"] == kept

    def test_revisions_are_parsed(self, counting: Command) -> None:
        both = counting("rev-parse", "main~1..main").lines
        assert both[1] == "^" + counting("rev-parse", "main~1").stdout.strip()
        assert counting("rev-parse", "@", "HEAD").lines[0] == both[0]


class TestInterface:
    """A contract that carries its interface needs no types on the command line."""

    @pytest.fixture
    def token(self, store: Command) -> Command:
        store("deploy", contract_file("token"), "--alias", "token", "--init", "1000")
        return store

    def test_types_arguments_and_results(self, token: Command) -> None:
        assert token("query", "token", "total_supply").stdout == "1000\n"
        token("call", "token", "transfer", "ab" * 32, "5")
        assert token("query", "token", "balance_of", "0x" + "ab" * 32).stdout == "5\n"
        assert token.json("query", "token", "holders")["value"] == 2

    def test_names_the_argument_that_does_not_fit(self, token: Command) -> None:
        answer = token("call", "token", "transfer", "ab" * 32, "five", code=2)
        assert answer.stderr == ("Error: argument 'amount': expected u64 at character 1 of 'five', found 'five'\n")
        answer = token("call", "token", "transfer", "5", code=2)
        assert answer.stderr == "Error: transfer(to: [u8; 32], amount: u64) takes 2 arguments, 1 given\n"

    def test_decodes_events(self, token: Command) -> None:
        token("call", "token", "transfer", "ab" * 32, "5")
        events = token.json("call", "token", "transfer", "cd" * 32, "5")["events"]
        assert all(event["value"] is not None for event in events)

    def test_is_shown(self, token: Command) -> None:
        shown = token("abi", "show", "token").stdout
        assert "transfer(to: [u8; 32], amount: u64)" in shown
        assert token.json("abi", "show", contract_file("counter"))["interface"]["values"][0]["type"] == "i64"

    def test_is_attached_to_a_contract_that_has_none(self, store: Command) -> None:
        folder = store.directory
        (folder / "small.wasm").write_bytes(detach(Path(contract_file("minimal")).read_bytes()))
        assert "  it exports echo, nop\n" in store("abi", "show", "small.wasm", code=3).stderr
        document = {"piecrust_abi": 1, "functions": [{"name": "nop"}]}
        (folder / "small.abi.json").write_text(json.dumps(document))
        assert "Hint: piecrust abi attach small.wasm small.abi.json" in store("deploy", "small.wasm").stderr
        store("abi", "attach", "small.wasm", "small.abi.json", "-o", "described.wasm")
        store("deploy", "described.wasm", "--alias", "described")
        assert store("abi", "show", "described").lines == ["nop()"]
        (folder / "small.abi.json").write_text('{"piecrust_abi": 1, "functions": [{"name": "nobody"}]}')
        store("abi", "attach", "small.wasm", "small.abi.json", "-o", "x.wasm", code=8)

    def test_a_contract_may_be_named_where_an_id_is_wanted(self, counting: Command) -> None:
        counting("deploy", contract_file("callcenter"), "--alias", "center")
        counting("call", "center", "increment_counter", "counter")
        assert counting("query", "center", "query_counter", COUNTER[:8]).stdout == "Ok(256)\n"
        assert counting("query", "center", "query_counter", "ContractId:counter").stdout == "Ok(256)\n"
        assert "did you mean counter?" in counting("query", "center", "query_counter", "conter", code=3).stderr
        absent = counting("query", "center", "query_counter", "counter", "--at", "main", code=3).stderr
        assert "center is not there at main" in absent

    def test_written_types_win(self, token: Command) -> None:
        token("call", "token", "transfer", "[u8; 32]:" + "ab" * 32, "u64:5")
        assert token("query", "token", "total_supply", "--returns", "[u8; 8]").stdout == "0xe803000000000000\n"


class TestMigrate:
    def test_replaces_the_code_and_keeps_the_id(self, counting: Command) -> None:
        counting("migrate", "counter", contract_file("box"))
        assert counting.json("contracts", "--functions")["contracts"][0]["functions"] == ["get", "set"]
        assert counting.json("status")["working_state"]["steps"] == {"migration": 1}
