"""Kill -9 at file system calls: strace kills the process as it enters the n-th call of a name.

Only the process in question is traced: of the coordinator the thread that commits and writes, of the runner the call
that takes the ticket and the pass that it detaches (strace lets go at ``execve``: Ansible is not traced). Points come
one after the other in the same run: the process that is started after a kill is killed at the next point; when
the run is done it is judged, and the next begins afresh.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from service.test_runner_kills import judge as judge_runner
from service.test_runner_kills import make as make_kit
from support.kill_judge import judge
from support.kill_world import Web, World
from support.killing import control, end_descendants, rest

CALLS = "openat,write,pwrite64,fsync,fdatasync,rename,unlink,ftruncate,mkdir,fallocate"
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
STORE = "state.db"
Point = tuple[str, int]


class NotHere(Exception):
    """strace is missing, or may not trace: the scene did not run."""


def strace() -> str:
    """The program. Raises NotHere."""
    found = shutil.which("strace")
    if found is None:
        raise NotHere("kills at file system calls need strace, which is not installed (scripts/setup --debian)")
    probe = subprocess.run(
        [found, "-f", "-b", "execve", "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True
    )
    if probe.returncode:
        raise NotHere(f"strace cannot trace here ({probe.stderr.strip()})")
    return found


def inject(program: str, point: Point, *more: str) -> list[str]:
    """The start of a command line that dies at a point."""
    call, number = point
    traced = [program, *more, "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
    return [*traced, "-e", f"inject={call}:signal=KILL:when={number}"]


def counted(log: Path, name: str) -> tuple[Counter[str], Counter[str]]:
    """Per process that strace followed with ``-f``: how often each call came; and before ``name`` was first seen."""
    counts: Counter[str] = Counter()
    before: Counter[str] = Counter()
    seen = False
    for line in log.read_text(errors="replace").splitlines():
        call = line.partition("(")[0].split()[-1] if "(" in line else ""
        seen = seen or name in line
        if call in CALLS.split(","):
            counts[call] += 1
            if not seen:
                before[call] += 1
    return counts, before


def spread(points: list[Point], wanted: int, chance: random.Random) -> list[Point]:
    """So many of the points, evenly chosen; all of them and more rounds of them where there are fewer."""
    found: list[Point] = []
    while len(found) + len(points) <= wanted:
        found += chance.sample(points, len(points))
    return found + chance.sample(points, wanted - len(found))


def of_coordinator(root: Path, wanted: int, seed: int) -> tuple[list[str], dict[str, Any]]:
    """Kill the coordinator of a two-host run at ``wanted`` of its file system calls."""
    program, chance = strace(), random.Random(seed)
    web = Web()
    try:
        world = World(root / "world", 2, 0, web.port)
        world.make()
        world.save(root / "copy")
        log = root / "calls"
        whole = subprocess.run(
            [program, "-qq", "-o", str(log), "-e", f"trace={CALLS}", *world.upgrade()],
            capture_output=True, text=True, check=False, env=world.environment,
        )  # fmt: skip
        assert whole.returncode == 0, whole.stderr
        counts, before = counted(log, STORE)
        world.restore(root / "copy")
        quiet, _ = control(world)
        world.restore(root / "copy")
        points = [
            (call, before[call] + number)
            for call in sorted(counts)
            for number in range(1, min(counts[call] - before[call], 60) + 1)
        ]
        points += [("openat", number) for number in range(before["openat"] + 61, counts["openat"], 8)]
        killed, missed, runs, wrong = 0, 0, 0, []
        by_call: Counter[str] = Counter()
        todo = spread(points, wanted, chance)
        while todo:
            point = todo.pop()
            done = subprocess.run(
                [*inject(program, point), *world.upgrade()], capture_output=True, text=True, check=False,
                env=world.environment,
            )  # fmt: skip
            if done.returncode in KILLED:
                killed += 1
                by_call[point[0]] += 1
                if todo:
                    continue
                done = subprocess.run(
                    world.upgrade(), capture_output=True, text=True, check=False, env=world.environment
                )
            else:
                missed += 1  # this time it came along with fewer calls
            runs += 1
            if done.returncode:
                wrong.append(
                    f"run {runs}: running again after {point} ended with {done.returncode}: {done.stderr[-500:]}"
                )
                break
            wrong += [f"run {runs}: {text}" for text in (*rest(world.root), *judge(world, quiet, [])[0])]
            world.restore(root / "copy")
        calls = counts.total() - before.total()
        return wrong, {"seed": seed, "kills": {"coordinator": killed}, "not reached": missed, "runs": runs,
                       "by call": dict(sorted(by_call.items())), "calls in a run": calls}  # fmt: skip
    finally:
        web.close()
        end_descendants()


def of_runner(root: Path, wanted: int, seed: int) -> tuple[list[str], dict[str, Any]]:
    """Kill the runner at ``wanted`` of the file system calls with which it takes a ticket and does its pass."""
    program, chance = strace(), random.Random(seed)
    log = root / "calls"
    place = root / "kit"
    place.mkdir()
    kit = make_kit(place)
    shutil.copytree(place, root / "copy")
    start = [sys.executable, "-m", "underway_runner", "start", "--dir", str(kit.directory)]

    def call(command: list[str], token: int, answers: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
        request = json.dumps(kit.request(token, answers=answers)).encode() + b"\n"
        return subprocess.run(command, input=request, capture_output=True, timeout=600, check=False)

    call([program, "-f", "-b", "execve", "-qq", "-o", str(log), "-e", f"trace={CALLS}", *start], 1, {})
    assert kit.follow()[1]["state"] == "finished", kit.journal()
    per_process: dict[str, Counter[str]] = {}
    early: dict[str, Counter[str]] = {}
    for line in log.read_text(errors="replace").splitlines():
        pid, _, text = line.partition(" ")
        name = text.strip().partition("(")[0]
        if name in CALLS.split(","):
            per_process.setdefault(pid, Counter())[name] += 1
            if not any("host.json" in seen for seen in early.get(pid, ())):
                early.setdefault(pid, Counter())[text if "host.json" in text else name] += 1
    first = next(iter(per_process))  # the call that takes the ticket; what it imports is left out
    points: list[Point] = []
    for pid, counts in per_process.items():
        for name, count in counts.items():
            begin = early[pid][name] if pid == first else 0
            step = 6 if name == "openat" else 1
            points += [(name, number) for number in range(begin + 1, count + 1, step)]
    points = sorted(set(points))
    killed = missed = runs = unknowns = 0
    by_call: Counter[str] = Counter()
    wrong: list[str] = []
    todo = spread(points, wanted, chance)
    effects = place / "effects"
    while todo and not wrong:
        shutil.rmtree(place)
        shutil.copytree(root / "copy", place)
        token, answers = 1, dict[str, str]()
        runs += 1
        for _ in range(1000):
            if todo:
                point = todo.pop()
                witness = root / "witness"
                command = [program, "-f", "-b", "execve", "-qq", "-o", str(witness), "-e", f"trace={point[0]}"]
                call([*command, "-e", f"inject={point[0]}:signal=KILL:when={point[1]}", *start], token, answers)
                if "+++ killed by SIGKILL +++" in witness.read_text(errors="replace"):
                    killed += 1
                    by_call[point[0]] += 1
                else:
                    missed += 1
            else:
                call(start, token, answers)
            _, status = kit.follow(token)
            if status["state"] == "finished":
                break
            if status["state"] == "unknown":
                if status["step"] != "web.upgrade.three":
                    wrong.append(f"run {runs}: {status}")
                    break
                unknowns += 1
                happened = "three" in effects.read_text().split()
                token, answers = token + 1, {status["step"]: "skip" if happened else "rerun"}
            elif status["state"] != "none":
                wrong.append(f"run {runs}: {status}")
                break
        try:
            judge_runner(kit, effects)
        except AssertionError as error:
            wrong.append(f"run {runs}: {str(error)[:500]} {kit.journal()}")
    return wrong, {"seed": seed, "kills": {"runner": killed}, "not reached": missed, "runs": runs, "unknown": unknowns,
                   "by call": dict(sorted(by_call.items())), "points": len(points)}  # fmt: skip
