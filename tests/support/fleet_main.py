"""``python -m support.fleet_main [--seeds N] [--store KIND] [--fault KIND] [--write]``: fleets under faults.

Each seed is one run of six hosts under the faults of ``support.fleet_schedule``; a world of three servers, three
coordinators and six agents serves several seeds. Prints a line a seed and the figures as JSON; what is wrong as
sentences. Exit code 0: nothing is wrong, 1: something is, 77: did not run, with the reason. ``--write`` makes
``docs/faults.md`` and ``docs/faults.json``. Needs root (network namespaces) and the servers of ``scripts/servers``.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

from support.fleet_page import write_pages
from support.fleet_run import ENDED, Ended, Result, Run, figures
from support.fleet_schedule import KINDS, STORES, Schedule, schedule
from support.fleet_watch import Watch
from support.fleet_world import fleet_world
from support.scenes import NOT_RUN

BATCH = 10
"""Seeds that one world serves: making it costs as much as two of them, and its servers' disks are small."""


def serve(store: str, seeds: list[Schedule]) -> list[Result]:
    """Run the seeds of one store, in worlds of ``BATCH``; after a violation the world is a new one."""
    results: list[Result] = []
    while seeds:
        with (
            tempfile.TemporaryDirectory(prefix="underway-fleet-") as directory,
            fleet_world(store, Path(directory)) as world,
            contextlib.closing(Watch(world)) as watch,
        ):
            for one in seeds[:BATCH]:
                seeds = seeds[1:]
                world.prepare(one.durations)
                try:
                    result = Run(world, watch, one).go()
                except Ended:
                    print(world.told(), file=sys.stderr, flush=True)
                    raise
                results.append(result)
                tell(result)
                if result.wrong:
                    print(f"--- seed {one.seed}\n{world.told()}", file=sys.stderr, flush=True)
                    break
                world.release += 1
    return results


def tell(result: Result) -> None:
    """A line of one seed, and what is wrong with it."""
    state = "ok" if not result.wrong else "WRONG"
    done = ", ".join(f"{name} x{count}" if count > 1 else name for name, count in sorted(result.faults.items()))
    print(f"seed {result.seed} {result.store} [{result.main}]: {state}, {result.seconds:.1f} s; {done}", flush=True)
    for text in result.wrong:
        print(f"  {text}", flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fleets under faults, judged by what their hosts did")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--store", choices=STORES, default="")
    parser.add_argument("--fault", choices=KINDS, default="", help="the main fault of every seed")
    parser.add_argument("--write", action="store_true", help="write docs/faults.md and docs/faults.json")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1, help="2: both stores at the same time")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: ENDED.set())
    seeds = [schedule(number, given.store, given.fault) for number in range(given.first, given.first + given.seeds)]
    began = time.monotonic()
    by_store = {store: [one for one in seeds if one.store == store] for store in STORES}
    try:
        with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
            running = [pool.submit(serve, store, some) for store, some in by_store.items() if some]
            results = [result for one in running for result in one.result()]
    except pytest.skip.Exception as reason:
        print(reason)
        return NOT_RUN
    except Ended as where:
        print(f"ended: {where}")
        return 128 + signal.SIGTERM
    said = {**figures(results), "seconds": round(time.monotonic() - began)}
    print(json.dumps(said))
    if given.write:
        write_pages(said, given.first)
    return 1 if said["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
