"""What a call costs in CPU: one TAB, --help, and status on a finished run; and which imports it goes to.

    python bench/cli.py [cluster.yaml]

Without a cluster file, the example of ``underway init`` is upgraded first (half a minute). CPU time (user and system)
of the process as the kernel counts it, the best of several calls: the machine may be shared. Bare ``python -c pass``
stands beside them, because a part of each call is the interpreter's.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 7
GOALS = {"status": 0.3}
PYTHON = [sys.executable]
UNDERWAY = [str(Path(sys.executable).with_name("underway"))]


def cpu(command: list[str], cwd: Path, extra: dict[str, str] | None = None) -> float:
    """Seconds of CPU of the cheapest of several calls, children included."""
    best = float("inf")
    for _ in range(ROUNDS):
        with Path(os.devnull).open("wb") as sink:
            process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **(extra or {})}, stdout=sink, stderr=sink)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"{command}: exit {process.returncode}"  # a failure is cheap
        best = min(best, used.ru_utime + used.ru_stime)
    return best


def imports(command: list[str], cwd: Path) -> list[tuple[float, str]]:
    """(milliseconds of its own, package) by the top-level package of what was imported, dearest first."""
    done = subprocess.run([*PYTHON, "-X", "importtime", *command], cwd=cwd, capture_output=True, text=True, check=False)
    total: dict[str, float] = {}
    for own, name in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", done.stderr, re.MULTILINE):
        package = ".".join(name.split(".")[: 2 if name.startswith("underway") else 1])
        total[package] = total.get(package, 0.0) + int(own) / 1000
    return sorted(((spent, package) for package, spent in total.items()), reverse=True)


def example(directory: Path) -> Path:
    """A finished run of the example."""
    for line in ("init", "enrol", "plan --to 2.0 -o plan.json", "upgrade plan.json --yes"):
        subprocess.run([*UNDERWAY, *line.split()], cwd=directory, check=True, stdout=subprocess.DEVNULL)
    return directory / "cluster.yaml"


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as made:
        cluster = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else example(Path(made))
        cwd = cluster.parent
        tab = {"COMP_WORDS": "underway fin", "COMP_CWORD": "1", "_UNDERWAY_COMPLETE": "bash_complete"}
        host = {"COMP_WORDS": "underway hold ", "COMP_CWORD": "2", "_UNDERWAY_COMPLETE": "bash_complete"}
        here = {"UNDERWAY_CLUSTER": str(cluster)}
        rows = [
            ("python -c pass", cpu([*PYTHON, "-c", "pass"], cwd)),
            ("TAB (a command)", cpu(UNDERWAY, cwd, {**tab, **here})),
            ("TAB (a host)", cpu(UNDERWAY, cwd, {**host, **here})),
            ("--help", cpu([*UNDERWAY, "--help"], cwd)),
            ("status", cpu([*UNDERWAY, "status"], cwd, here)),
            ("log", cpu([*UNDERWAY, "log"], cwd, here)),
            ("validate", cpu([*UNDERWAY, "validate"], cwd, here)),
        ]
        print(f"{'call':<18}{'CPU ms':>8}{'goal':>8}")
        for name, seconds in rows:
            goal = GOALS.get(name)
            verdict = "" if goal is None else f"{goal * 1000:8.0f}" + ("" if seconds < goal else "  MISSED")
            print(f"{name:<18}{seconds * 1000:>8.0f}{verdict}")
        print("\nwhere status imports (ms of its own, measured, so dearer than above)")
        for spent, package in imports(["-m", "underway.cli.main", "--cluster", str(cluster), "status"], cwd)[:8]:
            print(f"  {spent:6.1f}  {package}")


if __name__ == "__main__":
    main()
