"""How the cost of a plan grows with hosts: CPU time and peak memory of building, digesting, saving and showing it.

``python bench/plan.py [--hosts N] [--services M]`` measures 100, 1,000, … up to N hosts (100,000 unless told) with M
services (40) over eight roles, each size in a process of its own, and prints each figure with its ratio to the size
before: 10 times the hosts at a ratio of 10 is linear. Nothing is read or written but this output. The goal is 10,000
hosts and 40 services in less than 5 s of CPU; the exit code is 1 where it is missed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from underway.core.drift import drift
from underway.core.model.base import canonical
from underway.core.model.cluster import Cluster, Host, Role
from underway.core.model.policy import Limit, Policy
from underway.core.model.service import PHASES, Catalogue, PhaseSpec, Release, Service, Step
from underway.core.planner import build_plan
from underway.core.preview import tree

GOAL_HOSTS, GOAL = 10_000, 5.0

CONTROL = ("controller", "database", "messaging", "network")
DATA = ("compute-a", "compute-b", "compute-c", "storage")


def made(hosts: int, services: int) -> tuple[Cluster, Catalogue]:
    """A cluster of eight roles: 4 hosts in each control role, the rest spread over data roles; each service has all
    phases, needs up to three earlier ones, and shares its hosts with the others of its role."""
    catalogue: dict[str, Service] = {}
    running: dict[str, list[str]] = {name: [] for name in (*CONTROL, *DATA)}
    for index in range(services):
        name = f"service-{index}"
        data = index >= services * 3 // 4
        needs = tuple(f"service-{other}" for other in {index // 2, index // 3, index - 1} if 0 <= other < index)
        phases: dict[str, PhaseSpec] = {
            kind: PhaseSpec(
                steps=tuple(
                    Step(
                        id=f"{name}.{kind}.{number}", name=f"{kind} {number}", service=name, phase=kind,
                        idempotent=True,
                        tasks=({"name": "Do it", "ansible.builtin.command": {"argv": ["/bin/do", name, kind]}},),
                    )
                    for number in range(2)
                ),
                once=kind in ("expand", "contract", "migrate"),
            )
            for kind in PHASES
        }  # fmt: skip
        catalogue[name] = Service(name=name, plane="data" if data else "control", needs=needs, phases=phases)
        for role in DATA if data else (CONTROL[index * len(CONTROL) // max(services * 3 // 4, 1)],):
            running[role].append(name)
    members: dict[str, Host] = {}
    for index in range(hosts):
        role = CONTROL[index % 4] if index < 16 else DATA[index % 4]
        name = f"{role}-{index}"
        members[name] = Host(name=name, role=role, address=f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}",
                             domain=f"rack-{index % 50}")  # fmt: skip
    roles = {
        name: Role(name=name, services=tuple(names), limit=Limit(count=1) if name in CONTROL else Limit(percent=10))
        for name, names in running.items()
    }
    releases = {"2": Release(name="2", supports=("1",))}
    policy = Policy(domain_limit=Limit(count=5), allow_full_outage=True)
    return (
        Cluster(name="bench", release="1", roles=roles, hosts=members, policy=policy),
        Catalogue(services=catalogue, releases=releases),
    )


def measure(hosts: int, services: int) -> dict[str, float]:
    """CPU seconds of each thing that is done with a plan, its size, and the peak memory of the process (MiB)."""
    cluster, catalogue = made(hosts, services)
    before = peak()
    found: dict[str, float] = {}

    def timed(name: str, call: Callable[[], object]) -> object:
        start = time.process_time()
        result = call()
        found[name] = time.process_time() - start
        return result

    plan = timed("plan", lambda: build_plan(cluster, catalogue, "2", digests={}))
    data = timed("save", lambda: canonical(plan))
    timed("show", lambda: tree(plan))  # type: ignore[arg-type]
    timed("drift", lambda: drift(plan, cluster, catalogue, {}))  # type: ignore[arg-type]
    found["size"] = len(data) / 2**20  # type: ignore[arg-type]
    found["memory"] = peak() - before
    found["passes"] = len(plan.passes)  # type: ignore[attr-defined]
    return found


def peak() -> float:
    """The most memory that this process has had, MiB (Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=100_000, help="the largest cluster that is measured")
    parser.add_argument("--services", type=int, default=40)
    parser.add_argument("--one", action="store_true", help="measure that size alone, as JSON")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.hosts, given.services)))
        return 0
    sizes = [size for size in (100, 1_000, 10_000, 100_000, 1_000_000) if size < given.hosts] + [given.hosts]
    columns = ("plan", "save", "show", "drift", "size", "memory")
    print(f"{given.services} services; CPU seconds, MiB; in brackets the ratio to the row before")
    print(f"{'hosts':>9} {'passes':>6} " + " ".join(f"{name:>15}" for name in columns))
    last: dict[str, float] = {}
    missed = False
    for size in sizes:
        command = [sys.executable, __file__, "--one", "--hosts", str(size), "--services", str(given.services)]
        now: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        cells = []
        for name in columns:
            ratio = f" ({now[name] / last[name]:.1f})" if last.get(name, 0) > 0.0005 else ""
            cells.append(f"{now[name]:.3f}{ratio}".rjust(15))
        print(f"{size:>9,} {now['passes']:>6.0f} " + " ".join(cells), flush=True)
        missed = missed or (size <= GOAL_HOSTS and now["plan"] > GOAL)
        last = now
    print(f"goal: {GOAL_HOSTS:,} hosts in {GOAL:.0f} s of CPU: {'missed' if missed else 'met'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
