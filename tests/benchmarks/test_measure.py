from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.fixtures import ROOT, module_in

measure = module_in(ROOT / "benchmarks", "measure")


def test_a_row_is_one_line_of_json() -> None:
    row = measure.Row("call", "us", 10.0, 40.0, target=0.5)
    assert json.loads(row.json()) == {
        "name": "call",
        "unit": "us",
        "ours": 10.0,
        "rival": 40.0,
        "target": 0.5,
        "limit": None,
        "ratio": 0.25,
        "holds": True,
    }


@pytest.mark.parametrize(
    ("rival", "target", "limit", "holds"),
    [
        (20.0, 0.5, None, True),
        (19.0, 0.5, None, False),
        (20.0, 0.5, 9.0, False),
        (None, None, 10.0, True),
        (None, 0.5, None, None),
        (20.0, None, None, None),
    ],
)
def test_targets_are_ratios_and_limits_are_amounts(
    rival: float | None, target: float | None, limit: float | None, holds: bool | None
) -> None:
    assert measure.Row("x", "us", 10.0, rival, target, limit).holds is holds


def test_a_missed_target_is_marked_in_the_table() -> None:
    rows = [measure.Row("kept", "us", 1.0, 4.0, 0.5), measure.Row("lost", "us", 3.0, 4.0, 0.5)]
    _, kept, lost = measure.table(rows).splitlines()
    assert lost.endswith("missed")
    assert not kept.endswith("missed")


def test_percentiles_are_measured_values() -> None:
    latencies = measure.Latencies([float(value) for value in range(1, 102)])
    assert (latencies.p50, latencies.p99) == (51.0, 100.0)


def test_writes_and_syncs_are_counted_while_they_are_watched(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        with measure.Traffic() as traffic:
            os.pwrite(file.fileno(), bytes(7), 0)
            os.fdatasync(file.fileno())
            os.fsync(file.fileno())
        os.pwrite(file.fileno(), bytes(7), 7)
        os.fsync(file.fileno())
    assert (traffic.syncs, traffic.bytes_written) == (2, 7)


def test_the_bytes_of_a_folder_are_those_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a").write_bytes(bytes(10))
    (tmp_path / "inner" / "b").write_bytes(bytes(5))
    assert measure.bytes_in(tmp_path) == 15
