"""What an import costs, and how it grows with roles and hosts: the fixtures imported, planned and exported.

``python bench/imports.py [--roles N] [--hosts N]`` takes TripleO's tree ``tripleo/ocata-6.2`` (76 services, 260 tasks)
and Spinal Stack's scenario ``ref-arch`` (where they lie: ``UNDERWAY_FIXTURES``, or ``../shared/fixtures`` beside the
project), each as it is, then with its roles repeated under other names until there are 10, 30 and 100, with 100, 1,000
and 10,000 hosts. It runs ``underway import``, ``plan`` and ``export`` as an operator does, each in a process of its
own. Printed are the CPU seconds and the peak memory of each, with the ratio to the row before (rows grow by ten in
hosts, and by three in roles). Everything is written below a temporary directory, which is deleted at the end. The
goal: no command needs more than 15 s of CPU at 100 roles and 10,000 hosts; the exit code is 1 where it is missed.
"""

from __future__ import annotations

import argparse
import copy
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from fast.importers.spinal_made import CONFIG, FIXTURES, SPINAL, fixture
from fast.importers.tripleo_made import OCATA

HERE = Path(__file__).resolve().parent.parent
SCENARIO = "ref-arch"
SIZES = ((10, 100), (30, 1_000), (100, 10_000))
GOAL = 15.0


class Made(NamedTuple):
    """What the commands made: roles and hosts, MiB of the plan, MiB of the playbooks."""

    roles: int
    hosts: int
    plan: float
    playbooks: float


class Cost(NamedTuple):
    """One process: seconds of CPU of it and its children, and the most memory of any of them, MiB."""

    seconds: float
    memory: float


def run(home: Path, *words: str) -> Cost:
    """Run ``underway`` with these words; its cost. Raises SystemExit with its output where it fails."""
    output = home / "output"
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(HERE / "src")}
    command = [sys.executable, "-m", "underway.cli.main", *words]
    with output.open("wb") as into:
        actions = [(os.POSIX_SPAWN_DUP2, into.fileno(), 1), (os.POSIX_SPAWN_DUP2, into.fileno(), 2)]
        child = os.posix_spawn(sys.executable, command, environment, file_actions=actions)
        _, status, used = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{' '.join(words)}:\n{output.read_text()[-2000:]}")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def tripleo(home: Path, size: tuple[int, int] | None) -> tuple[list[str], str]:
    """Arguments of an import of TripleO's tree with that many roles and hosts (None: as it is), and its release."""
    words = ["tripleo", "--templates", str(OCATA), "--roles-data"]
    if size is None:
        return [*words, str(OCATA / "roles_data.yaml")], "ocata"
    shipped: list[dict[str, Any]] = yaml.safe_load((OCATA / "roles_data.yaml").read_text(encoding="utf-8"))
    roles = [{**role, "name": name} for name, role in repeated({role["name"]: role for role in shipped}, size[0])]
    for role in roles:
        role["HostnameFormatDefault"] = f"%stackname%-{role['name'].lower()}-%index%"
    counts = {f"{role['name']}Count": count for role, count in zip(roles, shares(*size), strict=True)}
    (home / "roles_data.yaml").write_text(yaml.safe_dump(roles), encoding="utf-8")
    (home / "counts.yaml").write_text(yaml.safe_dump({"parameter_defaults": counts}), encoding="utf-8")
    return [*words, str(home / "roles_data.yaml"), "-e", str(home / "counts.yaml")], "ocata"


def spinal(home: Path, size: tuple[int, int] | None) -> tuple[list[str], str]:
    """The same of Spinal Stack's scenario: profiles are repeated, and their hosts are ranges of an environment."""
    files = fixture(home / "spinal", "master", SCENARIO)
    assert files.env is not None
    infra = files.infra
    if size is not None:
        said: dict[str, Any] = yaml.safe_load(infra.read_text(encoding="utf-8"))
        said["profiles"] = {name: {**profile, "arity": "n"} for name, profile in repeated(said["profiles"], size[0])}
        said["ordered_profiles"] = list(said["profiles"])
        hosts = {
            f"={name.replace('-', '')}x1-{count}": {"profile": name, "=ip": f"10.{index}.0.1-{count}"}
            for index, (name, count) in enumerate(zip(said["profiles"], shares(*size), strict=True))
        }  # fmt: skip
        infra = home / "infra.yaml"
        infra.write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
        files.env.write_text(yaml.safe_dump({"infra": said["name"], "hosts": hosts}) + CONFIG, encoding="utf-8")
    password = home / "password"  # encrypts the secrets that snippets read
    password.touch(mode=0o600)
    password.write_text("a password\n", encoding="utf-8")
    words = ["--vault-password-file", str(password), "--infra", str(infra), "--env", str(files.env)]
    words += ["--upgrade-map", str(files.upgrade_map), "--snippets", str(files.snippets), "--files", str(files.helpers)]
    return ["spinalstack", *words, *(word for path in files.variables for word in ("--vars", str(path)))], "J.1.1.0"


def repeated(roles: dict[str, Any], wanted: int) -> list[tuple[str, Any]]:
    """That many roles, by new names, taken from these in turn."""
    shipped = list(roles.items())
    turns = [(index, *shipped[index % len(shipped)]) for index in range(wanted)]
    return [(f"{name}{index:03}", copy.deepcopy(role)) for index, name, role in turns]  # not dumped as an alias


def shares(roles: int, hosts: int) -> list[int]:
    """How many hosts each role gets."""
    return [hosts // roles + (index < hosts % roles) for index in range(roles)]


def measured(home: Path, words: list[str], release: str) -> tuple[dict[str, Cost], Made]:
    """The cost of each command, and what they made."""
    cloud, plan, out = home / "cloud", home / "plan.json", home / "playbooks"
    costs = {"import": run(home, "import", *words, "-o", str(cloud))}
    cluster = ["--cluster", str(cloud / "cluster.yaml")]
    costs["plan"] = run(home, *cluster, "plan", "--to", release, "-o", str(plan))
    costs["export"] = run(home, *cluster, "export", "--plan", str(plan), str(out))
    written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 2**20
    run(home, *cluster, "validate")
    found = re.search(r"([\d,]+) hosts?, ([\d,]+) roles?", (home / "output").read_text(encoding="utf-8"))
    assert found is not None
    hosts, roles = (int(number.replace(",", "")) for number in found.groups())
    return costs, Made(roles, hosts, plan.stat().st_size / 2**20, written)


def row(before: dict[str, Cost], costs: dict[str, Cost], made: Made) -> str:
    """A line of the table."""
    cells = []
    for name, cost in costs.items():
        ratio = f" ({cost.seconds / before[name].seconds:.1f})" if before else ""
        cells.append(f"{cost.seconds:.2f}{ratio}".rjust(14) + f"{cost.memory:.0f}".rjust(7))
    return f"{made.roles:>6} {made.hosts:>7,} " + " ".join(cells) + f"{made.plan:>9.1f}{made.playbooks:>9.1f}"


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roles", type=int, default=SIZES[-1][0], help="sizes with more roles are left out")
    parser.add_argument("--hosts", type=int, default=SIZES[-1][1], help="sizes with more hosts are left out")
    given = parser.parse_args()
    if not OCATA.exists() or not SPINAL.exists():
        print(f"NOT RUN: no fixtures at {FIXTURES} (set UNDERWAY_FIXTURES)", file=sys.stderr)
        return 2
    print("CPU seconds, in brackets the ratio to the row before; peak MiB; MiB of the plan and of the playbooks")
    sizes = [size for size in SIZES if size[0] <= given.roles and size[1] <= given.hosts]
    sources: dict[str, Callable[[Path, tuple[int, int] | None], tuple[list[str], str]]] = {
        "tripleo/ocata-6.2": tripleo,
        f"spinalstack/{SCENARIO}": spinal,
    }
    worst = 0.0
    for name, source in sources.items():
        titles = " ".join(f"{title:>14}{'MiB':>7}" for title in ("import", "plan", "export"))
        print(f"{name}\n{'roles':>6} {'hosts':>7} {titles}{'plan':>9}{'written':>9}")
        before: dict[str, Cost] = {}
        for size in (None, *sizes):
            with tempfile.TemporaryDirectory() as place:
                costs, made = measured(Path(place), *source(Path(place), size))
            print(row(before, costs, made), flush=True)
            before, worst = costs, max(worst, *(cost.seconds for cost in costs.values()))
    print(f"goal: {GOAL:.0f} s of CPU for each command: {'missed' if worst > GOAL else 'met'}")
    return int(worst > GOAL)


if __name__ == "__main__":
    sys.exit(main())
