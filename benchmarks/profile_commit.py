"""Profiles what a small commit costs: a session on the last commit, its first call, and the commit, over and over.

    python benchmarks/profile_commit.py [--times N] [--batch] [--sync] [--functions N] [--pages-mib N]

Prints the median of each step in microseconds of this thread's processor time, which others disturb less than they do
a clock, the page faults of a commit, and the functions that take most. `--sync` makes the commits durable, `--batch`
makes them in one batch, `--pages-mib` lets the contract have so many pages of noise, of which each commit changes one.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import resource
import tempfile
import time
from contextlib import nullcontext

from bench import Call, Chain, first_commit
from measure import Measured, quiet
from piecrust import VM
from subjects import GAS, PAGES, deploy_pages, words

WARM_UP = 20


def main() -> None:
    parser = argparse.ArgumentParser(description="Profiles what a small commit costs.")
    parser.add_argument("--times", type=int, default=1000, help="commits")
    parser.add_argument("--functions", type=int, default=30, help="how many functions are shown")
    parser.add_argument("--pages-mib", type=int, default=0, help="mebibytes of the contract's memory")
    parser.add_argument("--sync", action="store_true", help="durable commits")
    parser.add_argument("--batch", action="store_true", help="all of them in one batch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="piecrust-profile-") as folder, VM(folder, sync=options.sync) as vm:
        chain = begin(vm, options.pages_mib)
        chain()
        chain.times = options.times
        time.perf_counter_ns = time.thread_time_ns
        before = page_faults()
        report(measure(chain, batch=options.batch), page_faults() - before, options.times)
        profile = cProfile.Profile()
        profile.enable()
        measure(chain, batch=options.batch)
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(options.functions)


def begin(vm: VM, mebibytes: int) -> Chain:
    """Commits of a counter, or of a contract with so much noise."""
    if not mebibytes:
        return Chain(vm, Call(), first_commit(vm), WARM_UP)
    with vm.session() as session:
        deploy_pages(session, 16 * mebibytes + 1)
        session.call_raw(PAGES, "noise", words(1, 16 * mebibytes, 7), gas_limit=GAS)
        base = session.commit()
    vm.store.seal()  # else it would be done meanwhile, and the disk be busy with it
    os.sync()
    return Chain(vm, Call(PAGES, "touch", words(1, 1, 5)), base, WARM_UP)


def measure(chain: Chain, *, batch: bool) -> Measured:
    with quiet(), chain.vm.batch() if batch else nullcontext():
        return chain()


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def report(measured: Measured, faults: int, times: int) -> None:
    for step in ("session", "call", "commit", "whole"):
        print(f"{step:8} {measured[step]:7.0f} us")
    print(f"p99 / p50 {measured['p99 / p50']:6.1f}")
    print(f"page faults of a commit: {faults / times:.1f}\n")


if __name__ == "__main__":
    main()
