"""``python -m support.kill_main SCENE DIRECTORY [--points N|all] [--seed N]``: one scene of kills, in its own process.

Scenes: ``hosts`` (20 hosts, everything is killed), ``coordinator-calls`` and ``runner-calls`` (at file system calls).
Prints the counts as one line of JSON, and what is wrong as sentences after it. Exit code 0: nothing is wrong, 1:
something is, 77: did not run, with the reason. Ends every process that it started, also when SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from support import kill_calls, killing

NOT_RUN = 77
ALL = {"hosts": 100_000, "coordinator-calls": 1500, "runner-calls": 1500}


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
            wrong, said = killing.many_hosts(given.directory, given.hosts, points, given.seed)
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
