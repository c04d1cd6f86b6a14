"""Kills with -9 what does the work of a run, at its transitions, and starts it again until the run is done.

This process adopts whatever its victims leave behind (``PR_SET_CHILD_SUBREAPER``): so it sees how each runner ended,
knows when nothing is left, and at its own end ends everything by number. It follows the store's audit (coordinator),
the hosts' journals (Ansible, runner) and its own clock (prober); kills of the runner right before and after a journal
line are failpoints, handed out by the hosts' interpreter (``kill_world``).
"""
# ruff: noqa: TID251

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from support.kill_judge import processes_of
from support.kill_world import World
from underway.app.place import Place, Session

PR_SET_CHILD_SUBREAPER = 36
VICTIMS = ("coordinator", "runner", "ansible", "prober")

PATIENCE = 1500.0
"""Seconds for one run: much more than it takes, so that only a run that hangs meets it."""

_START = ["before-tokens", "after-tokens", "before-accepted", "after-accepted", "detached", "ansible-started"]


def _around(*kinds: str) -> list[str]:
    return [f"{when}-{kind}" for kind in kinds for when in ("before", "after")]


PREPARE = [*_START, *_around("begin", "task@2", "task-end@2", "end", "leg-end")]
UPGRADE = [
    *_START, *_around("begin", "task@2", "notify", "task-end@2", "end", "begin@2", "task@3", "task-end@3", "end@2"),
    *_around("task@4", "task-end@4", "handler", "begin@3", "task@5", "task-end@5", "end@3", "leg-end"),
]  # fmt: skip
"""Failpoints of the runner, in the order in which a pass meets them (task 1 is the guard)."""


def chain(points: list[str]) -> list[str]:
    """For one pass after the other: what is finished is left out of the next, so counts begin anew."""
    return [points[0], *(again(point) for point in points[1:])] if points else []


def again(point: str) -> str:
    name = point.partition("@")[0]
    return f"{name}@2" if name.endswith(("-task", "-task-end")) else name


def adopt() -> None:
    """Become the parent of what the processes started here leave behind."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def started(pid: int) -> int | None:
    """When a process began, in ticks since boot; None for none, and for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19]) if fields[0] not in ("Z", "X") else None


def descendants() -> list[int]:
    """Every process under this one, zombies apart."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208  names only, and many
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text(errors="replace").rpartition(")")[2].split()
                if fields[0] not in ("Z", "X"):
                    parents[int(entry)] = int(fields[1])
    found = {os.getpid()}
    grown = True
    while grown:
        fresh = {pid for pid, parent in parents.items() if parent in found} - found
        found |= fresh
        grown = bool(fresh)
    return sorted(found - {os.getpid()})


def end_descendants() -> int:
    """Kill, by number, everything under this process; how many there were."""
    ended = 0
    for _ in range(200):
        rest = descendants()
        for pid in rest:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                ended += 1
        reap()
        if not rest:
            return ended
        time.sleep(0.05)
    return ended


def reap(keep: int = 0) -> list[tuple[int, int]]:
    """Children that ended, as (pid, status); ``keep`` is left for its owner."""
    found: list[tuple[int, int]] = []
    with contextlib.suppress(ChildProcessError):
        while (seen := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if seen.si_pid == keep:
                return found  # it hides the others until its owner has looked
            _, status = os.waitpid(seen.si_pid, os.WNOHANG)
            found.append((seen.si_pid, os.waitstatus_to_exitcode(status)))
    return found


def part(points: list[str], number: int, hosts: int, rounds: int) -> list[str]:
    """The share of host ``number`` of ``hosts`` in the points, each of which goes to ``rounds`` hosts."""
    width = -(-len(points) * rounds // hosts)
    own = range(number * width, min((number + 1) * width, len(points) * rounds))
    return [points[index % len(points)] for index in own]


class Journals:
    """Follows the hosts' journals without reading again what was seen."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._offset = dict.fromkeys(world.hosts, 0)

    def fresh(self, host: str) -> list[dict[str, Any]]:
        """Whole lines since the last look."""
        with (self._world.host(host) / "journal").open("rb") as file:
            file.seek(self._offset[host])
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        found = []
        for raw in whole.splitlines(keepends=True):
            try:
                found.append(json.loads(raw))
            except ValueError:
                break  # torn by a kill: the next writer cuts it off
            self._offset[host] += len(raw)
        return found


class Killing:
    """One run under kills.

    ``share``: which part of the transitions that are met becomes a kill (0 to 1). ``rounds``: how many hosts of a role
    meet each failpoint.
    """

    def __init__(self, world: World, chance: random.Random, share: float, rounds: int) -> None:
        self.world = world
        self.chance = chance
        self.share = share
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.prober_kills: list[float] = []
        self.exits: Counter[int] = Counter()
        self.coordinator: subprocess.Popen[bytes] | None = None
        self._noted: dict[int, str] = {}  # pid of a runner that was seen -> its host
        self._ours: set[int] = set()
        self._crashes: Counter[tuple[str, str]] = Counter()
        self._seen: set[tuple[str, ...]] = set()
        self._asked: dict[str, float] = {}
        self._log = (world.root / "coordinator.log").open("wb")
        self._rounds = rounds
        for number, host in enumerate(world.nodes):
            self._order(host, part(PREPARE, number, len(world.nodes), rounds))
        for number, host in enumerate(world.tellers):
            self._order(host, part(PREPARE, number, len(world.tellers), rounds))

    def _order(self, host: str, points: list[str]) -> None:
        for index, point in enumerate(chain(points)):
            self.world.order(host, index, f"env UNDERWAY_RUNNER_FAILPOINT={point}")
            self.counts["failpoints handed out"] += 1

    def run(self) -> None:
        """From the start of the run to its end. Raises TimeoutError, AssertionError where it cannot be finished."""
        deadline = time.monotonic() + PATIENCE
        journals = Journals(self.world)
        audit = 0
        self._start()
        prober_due = time.monotonic() + 3.0
        session: Session | None = None
        try:
            while True:
                self._reap()
                if self.coordinator is None:
                    if self.exits[0]:
                        return
                    self._start()
                if session is None and (self.world.state / "state.db").exists():
                    session = Session(Place.find(str(self.world.root / "cluster.yaml")))
                for host in self.world.hosts:
                    self._note(host)
                    for line in journals.fresh(host):
                        self._at_line(host, line)
                if session is not None and (head := self._head(session)) != audit:
                    audit = head
                    self._at_entry()
                if time.monotonic() > prober_due and self._kill_prober():
                    # by the clock, not by transitions: a quick run must lose a few of them as well
                    prober_due = time.monotonic() + self.chance.uniform(2.0, 8.0) / max(self.share, 0.5)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the run is not done after {PATIENCE:.0f} s: {self.counts}")
                time.sleep(0.01)
        finally:
            if session is not None:
                session.close()
            self._log.close()
            for host in self.world.hosts:
                with contextlib.suppress(FileNotFoundError):
                    fired = Path(f"{self.world.host(host)}.fired").read_text().split()
                    self.counts["runner"] += len(fired)  # of calls that had not yet detached a pass
                    self.kinds["runner: failpoint of the call"] += len(fired)

    # --- what may be killed --------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.coordinator = subprocess.Popen(
            self.world.upgrade(), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            env=self.world.environment, start_new_session=True,
        )  # fmt: skip

    def _reap(self) -> None:
        if self.coordinator is not None and (code := self.coordinator.poll()) is not None:
            self.coordinator = None
            self.exits[code] += 1
            if code not in (0, 4, -signal.SIGKILL):  # done, waits for an operator, killed
                raise AssertionError(f"the coordinator ended with {code}: {self._last_words()}")
            if code == 4:
                self._answer_all()
        for pid, code in reap(keep=self.coordinator.pid if self.coordinator else 0):
            if code == -signal.SIGKILL and pid not in self._ours and self._was_runner(pid):
                self.counts["runner"] += 1
                self.kinds["runner: failpoint of the pass"] += 1

    def _was_runner(self, pid: int) -> bool:
        if pid in self._noted:
            return True
        for host in self.world.hosts:  # it lived for less than a look
            with contextlib.suppress(OSError, ValueError):
                if json.loads((self.world.host(host) / "work" / "pass.json").read_text())["pid"] == pid:
                    return True
        return False

    def _note(self, host: str) -> dict[str, Any] | None:
        """Who is at work on the host, as the pass itself noted it."""
        try:
            holder: dict[str, Any] = json.loads((self.world.host(host) / "work" / "pass.json").read_text())
        except (OSError, ValueError):
            return None
        if started(int(holder["pid"])) != holder["start"]:
            return None
        self._noted[int(holder["pid"])] = host
        return holder

    def _chosen(self, *transition: str) -> bool:
        """Whether to kill here: each transition once at most, so that the run gets on."""
        if transition in self._seen or self.chance.random() >= self.share:
            return False
        self._seen.add(transition)
        return True

    def _at_entry(self) -> None:
        """The store's audit grew: the coordinator dies right after its commit."""
        if self.coordinator is not None and self.chance.random() < self.share * 4:
            self.coordinator.kill()
            self.coordinator.wait()
            self.coordinator = None
            self._count("coordinator", "after a commit")

    def _at_line(self, host: str, line: dict[str, Any]) -> None:
        kind, action = str(line["kind"]), str(line.get("action", ""))
        if kind == "leg-end" and action.startswith("prepare/"):
            number = self.world.nodes.index(host)
            self._order(host, part(UPGRADE, number, len(self.world.nodes), self._rounds))
        if kind in ("end", "skip"):
            self._crashes[host, action] = 0
        if kind == "unknown":
            self._asked[host] = 0.0
        if self._asked.get(host, 1e18) < time.monotonic():
            self._answer(host)
        holder = self._note(host)
        if holder is None or kind in ("leg-end", "unknown", "cancelled"):
            return
        what = (host, action, kind, str(line.get("step", "")), str(line.get("task", "")))
        if holder["leader"] and self._crashes[host, action] < 2 and self._chosen("ansible", *what):
            leader, began = int(holder["leader"][0]), int(holder["leader"][4])
            if started(leader) == began:
                self._crashes[host, action] += 1
                with contextlib.suppress(ProcessLookupError):
                    if self.chance.random() < 0.5:
                        os.kill(leader, signal.SIGKILL)
                    else:
                        os.killpg(leader, signal.SIGKILL)
                    self._count("ansible", f"after {kind}")
        elif self._chosen("runner", *what):
            pid = int(holder["pid"])
            self._ours.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self._count("runner", f"after {kind}")

    def _kill_prober(self) -> bool:
        for path in (self.world.state / "runs").glob("*/prober.pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(path.read_text())
                if b"underway.checks.prober" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return False
                os.kill(pid, signal.SIGKILL)
                self.prober_kills.append(time.time())
                self._count("prober", "while it asks")
                return True
        return False

    def _count(self, victim: str, when: str) -> None:
        self.counts[victim] += 1
        self.kinds[f"{victim}: {when}"] += 1

    def _head(self, session: Session) -> int:
        """The revision of the audit's head: grows with every entry."""
        item = session.store.get(session.repository.keys.audit_head)
        return item.revision if item is not None else 0

    # --- the operator --------------------------------------------------------------------------------------------

    def _answer_all(self) -> None:
        for host in list(self._asked):
            self._answer(host)

    def _answer(self, host: str) -> None:
        """Say of an interrupted step what is true: it had its effect, or it had not."""
        last = self.world.journal(host)[-1]
        if last["kind"] != "unknown":
            self._asked.pop(host, None)
            return
        happened = "pay" in self.world.effects(host)
        done = self.world.underway("retry", host, "--skip" if happened else "--rerun", "--reason", "looked at the host")
        if done.returncode == 0:
            self.counts["answers"] += 1
            self._asked.pop(host, None)
        else:  # the store does not know it yet
            self._asked[host] = time.monotonic() + 1.0

    def _last_words(self) -> str:
        return (self.world.root / "coordinator.log").read_text(errors="replace")[-2000:]


def control(world: World) -> tuple[dict[str, bytes], float]:
    """The end state of an undisturbed run, and its seconds."""
    began = time.monotonic()
    done = subprocess.run(world.upgrade(), capture_output=True, text=True, check=False, env=world.environment)
    assert done.returncode == 0, (
        f"the run without kills ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr}"
    )
    return world.machines(), time.monotonic() - began


def rest(root: Path) -> list[str]:
    """What is left of a run: processes, told as sentences; they get a moment to end."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        reap()
        if not (found := processes_of(root)):
            return []
        time.sleep(0.1)
    return [f"still runs: {line}" for line in found]
