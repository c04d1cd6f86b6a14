"""The slot window against Ansible's ``serial``: the time that a rolling pass takes where hosts take unequal time.

``python bench/slot_window.py [--no-real] [--unit SECONDS]``

1. Ten hosts, two of them ten times slower, five at once, in virtual time: the real engine in the simulator, and batches
   of five as ``serial: 5`` makes them (a batch ends with its slowest host).
2. The same in real time, a unit (2 s unless told) for a minute: ``ansible-playbook`` with ``serial: 5`` on local
   connections, and the real coordinator with an executor that starts the same ``sleep`` as a process per host.
3. 1,000 hosts with log-normal durations, 50 at once, in virtual time, against list scheduling: each slot takes the next
   host of the order the moment it is free, at no cost. Beside it the bound that no schedule can beat, not even one
   that knew all durations before: max(sum of all / slots, the longest).

Exit code 1 where the window is not faster than batches, or the makespan is above list scheduling by 5 % or more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from heapq import heapreplace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from underway.core.model.base import canonical
from underway.core.model.cluster import Host
from underway.core.model.event import Event
from underway.core.model.plan import Leg, Pass, Plan, RoleLimits, Stage
from underway.core.model.policy import Limit, Policy
from underway.core.model.service import Step
from underway.core.model.state import RunRecord
from underway.engine.clock import SystemClock
from underway.engine.coordinator import Coordinator
from underway.engine.drive import Interrupts, drive
from underway.engine.measure import NoMeasure
from underway.engine.mirror import Mirror
from underway.engine.orders import OrderBook
from underway.executors.base import Order, Report, ReportKind
from underway.records.repository import Repository
from underway.sim.stage import Stage as Simulated
from underway.store.memory import MemoryStore

SLOW = {"web01": 10.0, "web06": 10.0}
SLOTS = 5
MORE = 0.05


def plan_of(hosts: list[str], limit: int) -> Plan:
    step = Step(id="s.upgrade.work", name="work", service="s", phase="upgrade", tasks=(), idempotent=True)
    work = Pass(
        id="control/web", stage="control", role="web", services=("s",), hosts=tuple(hosts),
        legs=(Leg(steps=(step.id,)),), rolling=True,
    )  # fmt: skip
    return Plan(
        cluster="bench", source="1", target="2", stages=(Stage(kind="control", passes=(work.id,)),),
        passes={work.id: work}, steps={step.id: step}, hosts={name: Host(name=name, role="web") for name in hosts},
        roles={"web": RoleLimits(name="web", limit=limit, stated=str(limit))}, policy=Policy(limit=Limit(count=limit)),
    )  # fmt: skip


def batches(takes: dict[str, float], size: int) -> float:
    """What ``serial`` comes to: each batch waits for its slowest host."""
    seconds = list(takes.values())
    return sum(max(seconds[start : start + size]) for start in range(0, len(seconds), size))


def bound(takes: dict[str, float], slots: int) -> float:
    return max(sum(takes.values()) / slots, max(takes.values()))


def listed(takes: dict[str, float], slots: int) -> float:
    """List scheduling in the given order, at no cost: what a perfect slot window comes to."""
    free = [0.0] * slots
    for seconds in takes.values():
        heapreplace(free, free[0] + seconds)
    return max(free)


def virtual(takes: dict[str, float], slots: int) -> float:
    """The real engine in the simulator; judged by the oracle as well where the fleet is small."""
    plan = plan_of(list(takes), slots)
    stage = Simulated(plan, seed=1, durations=lambda host, _: takes[host], failures=lambda *_: False, lines=False)
    stage.oracle.watching = len(takes) <= 100
    assert stage.world.run(stage.finished, 10**7)
    assert not stage.oracle.violations, stage.oracle.violations
    return stage.world.now() - stage.run.started


class Sleeps:
    """An executor whose hosts sleep: one process each, as a playbook's ``sleep`` is one."""

    def __init__(self, takes: dict[str, float]) -> None:
        self._takes = takes
        self._inbox: list[Report] = []
        self._busy: dict[str, tuple[Order, subprocess.Popen[bytes]]] = {}

    def submit(self, order: Order) -> None:
        if order.action not in self._busy:
            process = subprocess.Popen(["sleep", str(self._takes[order.host.name])])
            self._busy[order.action] = (order, process)
            self._say(order, "accepted")

    def cancel(self, order: Order) -> None:
        self._busy[order.action][1].kill()

    def withdraw(self, run: str, action: str) -> None:
        """All are begun at once."""

    def reports(self, timeout: float) -> list[Report]:
        end = time.monotonic() + timeout
        while True:
            for action, (order, process) in list(self._busy.items()):
                if process.poll() is not None:
                    del self._busy[action]
                    self._say(order, "finished" if process.returncode == 0 else "failed")
            if self._inbox or time.monotonic() >= end:
                found, self._inbox = self._inbox, []
                return found
            time.sleep(0.01)

    def close(self) -> None:
        for _, process in self._busy.values():
            process.kill()
            process.wait()

    def _say(self, order: Order, kind: ReportKind) -> None:
        self._inbox.append(
            Report(
                run=order.run, action=order.action, leg=order.leg, token=order.token, host=order.host.name, kind=kind
            )
        )


def real_engine(takes: dict[str, float], slots: int) -> float:
    plan, clock = plan_of(list(takes), slots), SystemClock()
    run = RunRecord(id="bench", cluster="bench", plan=plan.digest(), source="1", target="2", started=clock.now())
    repository = Repository(MemoryStore(), "bench")
    began = Event(at=clock.now(), kind="run-started", actor="operator:bench", text="begun")
    repository.create_run(run, canonical(plan), began)
    coordinator = Coordinator(
        repository=repository, executor=Sleeps(takes), plan=plan, run=run.id,
        orders=OrderBook(plan, b"", run, lambda _, data: data, lambda *_: {}), mirror=Mirror(), measure=NoMeasure(),
        clock=clock, name="bench",
    )  # fmt: skip
    start = time.monotonic()
    end = drive(coordinator, clock, lambda _: None, Interrupts())
    spent = time.monotonic() - start
    coordinator.close()
    assert end == "done", end
    return spent


def real_ansible(takes: dict[str, float], size: int) -> float:
    """``ansible-playbook`` with ``serial``; with the time that Ansible itself takes."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        hosts = {name: {"ansible_connection": "local", "seconds": seconds} for name, seconds in takes.items()}
        (here / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
        (here / "play.yml").write_text(
            json.dumps(
                [
                    {
                        "hosts": "all",
                        "gather_facts": False,
                        "serial": size,
                        "tasks": [{"name": "work", "ansible.builtin.command": "sleep {{ seconds }}"}],
                    }
                ]
            )
        )
        binary = Path(sys.executable).parent / "ansible-playbook"
        start = time.monotonic()
        subprocess.run(
            [binary, "-i", here / "hosts.json", "-f", str(size), here / "play.yml"],
            check=True, stdout=subprocess.DEVNULL, cwd=here,
            env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
                 "HOME": place, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        return time.monotonic() - start


def main() -> int:
    options = argparse.ArgumentParser(description="slot window against serial")
    options.add_argument("--no-real", action="store_true")
    options.add_argument("--unit", type=float, default=2.0, help="seconds that stand for a minute")
    given = options.parse_args()
    names = [f"web{number:02d}" for number in range(1, 11)]
    minutes = {name: SLOW.get(name, 1.0) for name in names}
    window, serial = virtual({name: 60 * one for name, one in minutes.items()}, SLOTS) / 60, batches(minutes, SLOTS)
    print(f"10 hosts of 1 minute, 2 of them of 10, {SLOTS} at once")
    print(
        f"  virtual time   window {window:6.2f} min   serial: {SLOTS} {serial:6.2f} min   ratio {window / serial:.2f}"
    )
    good = window < 0.6 * serial
    if not given.no_real:
        scaled = {name: one * given.unit for name, one in minutes.items()}
        ours, theirs = real_engine(scaled, SLOTS), real_ansible(scaled, SLOTS)
        idle = real_ansible(dict.fromkeys(names, 0.0), SLOTS)
        print(f"  real time      window {ours:6.2f} s     serial: {SLOTS} {theirs:6.2f} s     ratio {ours / theirs:.2f}"
              f"   ({given.unit:g} s for a minute; {idle:.2f} s of serial's are Ansible itself)")  # fmt: skip
        good = good and ours < theirs
    draw = random.Random(7)
    fleet = {f"h{number}": draw.lognormvariate(4.0, 0.6) for number in range(1000)}
    span, ideal, least, apart = virtual(fleet, 50), listed(fleet, 50), bound(fleet, 50), batches(fleet, 50)
    print("1,000 hosts, log-normal durations (median 55 s), 50 at once, virtual time")
    over, above = span / ideal - 1, span / least - 1
    print(f"  window {span:.0f} s   list scheduling {ideal:.0f} s ({100 * over:+.1f} %)   serial: 50 {apart:.0f} s")
    print(f"  no schedule can beat {least:.0f} s ({100 * above:+.1f} %: it would have to know durations before)")
    good = good and over < MORE
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
