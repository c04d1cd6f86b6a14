"""The demo's upgrade of Keystone, with kill -9 of what does the work at random moments; then it is audited.

``python demo/kill_run.py [DIR] [--kills 50] [--seed N]`` builds the demo's cluster in DIR, runs ``underway upgrade``,
kills coordinator, runner, Ansible or prober at random moments, starts the upgrade again at once whenever it ended, and
prints the counts. Exit code 1, with sentences, where something is wrong. Not part of the tests (it takes several
minutes): ``scripts/nightly`` runs it. Needs what ``scripts/setup`` installs, and no root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support.kill_judge import lock_is_free, processes_of  # noqa: E402
from support.killing import adopt, end_descendants, reap, started  # noqa: E402

HOSTS = ("ks1", "ks2", "ks3")
VICTIMS = ("coordinator", "runner", "ansible", "prober")
PAUSE = (0.2, 2.2)
"""Seconds between two kills, evenly distributed: most passes are met several times."""

STEPS = 30
"""Steps of the whole run (preflight 2, prepare 2, rolling 5 on each host; expand 2, contract 1): kills keep to them."""

PATIENCE = 1800.0


class Run:
    """One upgrade of the demo's cluster in ``top`` under ``kills`` kills."""

    def __init__(self, top: Path, kills: int, seed: int) -> None:
        self.top = top
        self.kills = self.left = kills
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.crashes: Counter[str] = Counter()
        self.prober_kills: list[float] = []
        self.starts = 0
        self.log = (top / "coordinator.log").open("wb")

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "underway.cli.main", "--cluster", str(self.top / "cluster.yaml"), *words]

    def underway(self, *words: str) -> str:
        done = subprocess.run(self.command(*words), cwd=self.top, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"underway {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def go(self) -> None:
        """Until the run is done. Raises SystemExit where running again does not go on."""
        deadline = time.monotonic() + PATIENCE
        due = time.monotonic() + self.chance.uniform(*PAUSE)
        process = self.start()
        while True:
            code = process.poll()
            if code is not None:
                if code == 0:
                    return
                if code != -signal.SIGKILL:
                    raise SystemExit(f"underway upgrade ended with {code}: {self.words()}")
                process = self.start()
            reap(keep=process.pid)
            if time.monotonic() > due and self.left:
                if self.kills - self.left < self.allowed() and self.kill(process):
                    self.left -= 1
                due = time.monotonic() + self.chance.uniform(*PAUSE)
            if time.monotonic() > deadline:
                raise SystemExit(f"the upgrade is not done after {PATIENCE:.0f} s: {self.words()}")
            time.sleep(0.02)

    def allowed(self) -> float:
        """Kills up to now at most: they are spread over the whole run, however slow the machine is."""
        done = 0
        for host in HOSTS:
            with contextlib.suppress(OSError):
                done += sum(1 for line in journal(self.top, host) if line["kind"] in ("end", "skip"))
        return 5 + self.kills * done / STEPS

    def start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        return subprocess.Popen(
            self.command("upgrade", str(self.top / "plan.json"), "--yes", "--json"),
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True,
        )  # fmt: skip

    def words(self) -> str:
        return (self.top / "coordinator.log").read_text(errors="replace")[-2000:]

    def kill(self, coordinator: subprocess.Popen[bytes]) -> bool:
        """Kill one of those that are at work now, chosen by lot; whether there was one."""
        found: dict[str, list[tuple[int, str]]] = {"coordinator": [(coordinator.pid, "")]}
        for host in HOSTS:
            with contextlib.suppress(OSError, ValueError):
                noted = json.loads((self.top / "hosts" / host / "runner" / "work" / "pass.json").read_text())
                if started(noted["pid"]) == noted["start"]:
                    found.setdefault("runner", []).append((noted["pid"], host))
                    leader = noted["leader"]
                    # killed three times within one step, Ansible is taken to be broken, and rightly
                    if leader and started(leader[0]) == leader[4] and self.crashes[self.place(host)] < 2:
                        found.setdefault("ansible", []).append((leader[0], host))
        for path in (self.top / ".underway/runs").glob("*/prober.pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(path.read_text())
                if b"underway.checks.prober" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found["prober"] = [(pid, "")]
        victim = self.chance.choice([name for name in VICTIMS if name in found])
        pid, host = self.chance.choice(found[victim])
        if victim == "ansible":
            self.crashes[self.place(host)] += 1
        if victim == "prober":
            self.prober_kills.append(time.time())  # noqa: TID251  a measurement is what this is
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.counts[victim] += 1
        return True

    def place(self, host: str) -> str:
        """The host with the number of steps that it has finished."""
        ends = sum(1 for line in journal(self.top, host) if line["kind"] in ("end", "skip"))
        return f"{host}/{ends}"


def journal(top: Path, host: str) -> list[dict[str, Any]]:
    """The host's own journal."""
    lines = []
    for raw in (top / "hosts" / host / "runner/journal").read_bytes().split(b"\n"):
        try:
            lines.append(json.loads(raw))
        except ValueError:
            break
    return lines


def judge(top: Path, host: str) -> tuple[list[str], Counter[str]]:
    """What the host's journal shows to be wrong, and counts."""
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    done: set[tuple[str, str]] = set()
    due: set[tuple[str, str]] = set()
    for line in journal(top, host):
        kind, action = line["kind"], str(line.get("action", ""))
        step = (action, str(line.get("step", "")))
        counts[kind] += 1
        if kind == "begin" and step in done:
            wrong.append(f"{host}: finished step {step[1]} began again")
        elif kind in ("end", "skip") and not line.get("rc", 0):
            done.add(step)
        elif kind == "notify":
            due.add((action, str(line["task"])))
        elif kind == "handler":
            due.discard((action, str(line["task"])))
        elif kind == "leg-end" and line.get("rc", 0):
            wrong.append(f"{host}: {action} failed: {line.get('text')}")
    wrong += [f"{host}: handler {name} of {action} was notified and never ran" for action, name in sorted(due)]
    if not lock_is_free(top / "hosts" / host / "runner/lock"):
        wrong.append(f"{host}: its lock is held")
    counts["steps finished"] = len(done)
    return wrong, counts


def audit(run: Run, seconds: float) -> tuple[list[str], dict[str, Any]]:
    """The cluster's own audit, the journals, the audit chain and the report."""
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    for host in HOSTS:
        found, seen = judge(run.top, host)
        wrong += found
        counts += seen
        release = (run.top / "hosts" / host / "current").readlink().name
        if release != "2026.1":
            wrong.append(f"{host} runs {release}")
    checked = subprocess.run(
        [sys.executable, str(HERE / "cluster.py"), "audit", str(run.top)], capture_output=True, text=True, check=False
    )
    print(checked.stdout.strip())
    if checked.returncode:
        wrong.append(checked.stderr.strip())
    print(run.underway("audit", "verify").strip())
    print(run.underway("report", "--text").strip())
    report = json.loads(next((run.top / ".underway/runs").glob("*/report.json")).read_text())
    left = [line for line in processes_of(run.top / ".underway") if "prober" in line or "underway_runner" in line]
    wrong += [f"still runs: {line}" for line in left]
    return wrong, {
        "kills": dict(run.counts), "kills not made (the run was done before)": run.left, "starts": run.starts,
        "seconds": round(seconds, 1), **dict(sorted(counts.items())), "probes": report.get("probes"),
    }  # fmt: skip


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="The Keystone run under kill -9 at random moments")
    parser.add_argument("directory", type=Path, nargs="?", default=HERE.parent / ".cache/demo-kills")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=20261121)
    given = parser.parse_args()
    top = given.directory.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    adopt()
    cluster = [sys.executable, str(HERE / "cluster.py")]
    subprocess.run([*cluster, "down", str(top)], check=True)
    shutil.rmtree(top, ignore_errors=True)
    try:
        subprocess.run([*cluster, "up", str(top)], check=True)
        run = Run(top, given.kills, given.seed)
        for words in (["validate"], ["enrol"], ["plan", "--to", "2026.1", "-o", str(top / "plan.json")]):
            run.underway(*words)
        began = time.monotonic()
        run.go()
        wrong, said = audit(run, time.monotonic() - began)
    finally:
        subprocess.run([*cluster, "down", str(top)], check=False)
        end_descendants()
    print(json.dumps({"seed": given.seed, **said}))
    for sentence in wrong:
        print(sentence)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
