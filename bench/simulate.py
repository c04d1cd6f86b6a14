"""How the cost of ``underway simulate`` grows with hosts: CPU time, peak memory and looks of the real engine.

``python bench/simulate.py [--hosts N]`` simulates 100, 1,000, … up to N hosts (10,000 unless told) in two stages, 5 %
of them at once in the second, each size in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from underway.config.scenario import Scenario
from underway.core.model.cluster import Cluster, Host, Role
from underway.core.model.policy import Limit, Policy
from underway.core.model.service import Catalogue, Phase, PhaseSpec, Release, Service, Step
from underway.core.planner import build_plan
from underway.sim.simulate import simulate


def measured(hosts: int) -> dict[str, float]:
    def phase(kind: Phase) -> PhaseSpec:
        task = {"name": "x", "ansible.builtin.command": "true"}
        step = Step(id=f"s.{kind}.x", name="x", service="s", phase=kind, tasks=(task,), idempotent=True)
        return PhaseSpec(steps=(step,))

    service = Service(name="s", phases={"prepare": phase("prepare"), "upgrade": phase("upgrade")})
    cluster = Cluster(
        name="big", release="1", roles={"r": Role(name="r", services=("s",), limit=Limit(percent=5))},
        hosts={f"h{number}": Host(name=f"h{number}", role="r") for number in range(hosts)},
        policy=Policy(prepare_limit=Limit(percent=10)),
    )  # fmt: skip
    releases = {"2": Release(name="2", supports=("1",))}
    plan = build_plan(cluster, Catalogue(services={"s": service}, releases=releases), "2", digests={})
    start = time.process_time()
    found = simulate(plan, Scenario({"control/r": (30, 90)}), 1)
    spent = time.process_time() - start
    assert found.ended == "done", found.why
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"hosts": hosts, "cpu": spent, "peak": peak, "looks": found.looks, "makespan": found.makespan}


def main() -> int:
    options = argparse.ArgumentParser(description="cost of underway simulate")
    options.add_argument("--hosts", type=int, default=10_000)
    options.add_argument("--one", type=int, help="measure this size here, as JSON")
    given = options.parse_args()
    if given.one:
        print(json.dumps(measured(given.one)))
        return 0
    print(f"{'hosts':>8} {'CPU s':>8} {'ms/host':>8} {'peak MB':>8} {'looks':>7} {'makespan':>10}")
    size = 100
    while size <= given.hosts:
        command = [sys.executable, __file__, "--one", str(size)]
        one = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print(
            f"{size:8d} {one['cpu']:8.2f} {1000 * one['cpu'] / size:8.2f} {one['peak']:8.0f} {one['looks']:7.0f} "
            f"{one['makespan']:8.0f} s"
        )
        size *= 10
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
