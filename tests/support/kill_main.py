"""``python -m support.kill_main SCENE DIRECTORY [--points N|all] [--seed N]``: one scene of kills, in its own process.

Scenes: ``hosts`` (20 hosts, everything is killed), ``coordinator-calls`` and ``runner-calls`` (at file system calls).
Prints the counts as one line of JSON, and what is wrong as sentences after it. Exit code 0: nothing is wrong, 1:
something is, 77: did not run, with the reason. Ends every process that it started, also when SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from support import kill_calls, killing
from support.kill_judge import judge
from support.kill_world import Web, World
from support.scenes import NOT_RUN

ALL = {"hosts": 100_000, "coordinator-calls": 1500, "runner-calls": 1500}


def many_hosts(root: Path, hosts: int, points: int, seed: int) -> tuple[list[str], dict[str, Any]]:
    """A run without kills, and the same with about ``points`` of them. Returns what is wrong, and the counts."""
    chance = random.Random(seed)
    web = Web()
    try:
        world = World(root / "world", hosts - hosts // 5, hosts // 5, web.port)
        world.make()
        world.save(root / "copy")
        wanted, quiet = killing.control(world)
        world.restore(root / "copy")
        # a run of 20 hosts has some 1,000 transitions to be killed after, beside the failpoints
        given = 2 * len(killing.PREPARE) + len(killing.UPGRADE)
        every = points > 50 * hosts
        share = 1.0 if every else min(1.0, max(0, points - given) / (50 * hosts))
        killer = killing.Killing(world, chance, share, 3 if every else 1)
        began = time.monotonic()
        killer.run()
        took = time.monotonic() - began
        wrong = killing.rest(world.root)
        found, counts = judge(world, wanted, killer.prober_kills)
        said = {
            "seed": seed,
            "hosts": hosts,
            "kills": {name: killer.counts[name] for name in killing.VICTIMS},
            "by kind": dict(sorted(killer.kinds.items())),
            "failpoints handed out": killer.counts["failpoints handed out"],
            "answers": killer.counts["answers"],
            "seconds": round(took, 1),
            "seconds without kills": round(quiet, 1),
            **counts,
        }
        return wrong + found, said
    finally:
        web.close()
        killing.end_descendants()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Kill what does the work of a run, and judge how it ends")
    parser.add_argument("scene", choices=sorted(ALL))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--points", default="150", help="about how many kills; all: every transition")
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=20261121)
    given = parser.parse_args()
    points = ALL[given.scene] if given.points == "all" else int(given.points)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    killing.adopt()
    given.directory.mkdir(parents=True, exist_ok=True)
    try:
        if given.scene == "hosts":
            wrong, said = many_hosts(given.directory, given.hosts, points, given.seed)
        elif given.scene == "coordinator-calls":
            wrong, said = kill_calls.of_coordinator(given.directory, points, given.seed)
        else:
            wrong, said = kill_calls.of_runner(given.directory, points, given.seed)
    except kill_calls.NotHere as error:
        print(f"NOT RUN: {error}")
        return NOT_RUN
    finally:
        killing.end_descendants()
    print(json.dumps(said))
    for sentence in wrong:
        print(sentence)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
