"""Plans of the reference layouts as a page for the eye: what is done where, after what, and what is lost at worst.

``python -m support.layouts`` in ``tests`` writes the golden files anew; read what changed before it is committed.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

from underway.config.load import Inputs, load
from underway.config.scenario import Scenario
from underway.core.model.plan import Pass, Plan
from underway.core.planner import build_plan
from underway.sim.simulate import Simulation, simulate

HOME = Path(__file__).parent.parent / "layouts"
NAMES = sorted(path.stem for path in HOME.glob("*.yaml"))
RELEASE = 'release: "2026.1"\nsupports: ["2025.2", "2025.1"]\n'
WIDTH = 120


def inputs(name: str, directory: Path) -> Inputs:
    """The layout called ``name``, read as an operator's directory."""
    shutil.copy(HOME / f"{name}.yaml", directory / "cluster.yaml")
    (directory / "releases").mkdir(exist_ok=True)
    (directory / "releases/2026.1.yaml").write_text(RELEASE)
    return load(directory / "cluster.yaml")


def planned(found: Inputs) -> Plan:
    return build_plan(found.cluster, found.catalogue, "2026.1", digests=found.digests)


def page(plan: Plan, simulated: Simulation) -> str:
    """The plan's tree, its worst losses, and how it went in virtual time."""
    return "\n".join(line.rstrip() for line in _lines(plan, simulated)) + "\n"


def _lines(plan: Plan, simulated: Simulation) -> Iterator[str]:
    yield f"{plan.cluster}: {plan.source} to {plan.target}, {len(plan.hosts)} hosts, {len(plan.passes)} passes"
    for stage in plan.stages:
        yield ""
        yield stage.name + (", the point of no return" if stage.point_of_no_return else "")
        for name in stage.passes:
            yield from _pass(plan, plan.passes[name])
    yield ""
    yield "worst simultaneous loss, as planned"
    lost: dict[tuple[int, int, str], list[str]] = {}
    for loss in plan.losses:
        lost.setdefault((loss.lost, loss.total, loss.why), []).append(loss.service)
    for (most, size, why), names in lost.items():
        yield from _wrapped(f"  {most} of {size} ({why}): ", ", ".join(names))
    yield ""
    yield f"in virtual time: {simulated.ended}, {simulated.actions} actions"
    down: dict[tuple[int, int], list[str]] = {}
    for name, most in worst(simulated).items():
        down.setdefault((most, simulated.sizes[f"service {name}"]), []).append(name)
    for (most, size), names in sorted(down.items(), reverse=True):
        yield from _wrapped(f"  {most} of {size} down at once: ", ", ".join(names))


def worst(simulated: Simulation) -> dict[str, int]:
    """The most hosts of each service that were down at the same moment, of those that were."""
    found = {
        name.removeprefix("service "): most for name, most in simulated.worst.items() if name.startswith("service ")
    }
    return {name: found[name] for name in sorted(found) if found[name]}


def _pass(plan: Plan, work: Pass) -> Iterator[str]:
    hosts = work.hosts[0] if len(work.hosts) == 1 else f"{len(work.hosts)} hosts"
    limit = f", {plan.roles[work.role].limit} at a time" if work.rolling else ""
    canaries = f", {', '.join(work.hosts[: work.canaries])} first" if work.canaries else ""
    yield f"  {work.id.partition('/')[2]}: {hosts}{limit}{canaries}"
    if work.why and not work.once:
        yield from _wrapped("    why: ", work.why)
    for edge in work.after:
        yield from _wrapped(f"    after {edge.before.partition('/')[2]}: ", edge.reason)
    for leg in work.legs:
        steps = [plan.steps[step] for step in leg.steps]
        where = f"    on {leg.on}: " if leg.on else "    "
        phases: dict[str, dict[str, None]] = {}
        for step in steps:
            phases.setdefault(step.phase, {})[step.service] = None
        for phase, services in phases.items():
            yield from _wrapped(f"{where}{phase} ", ", ".join(services))


def _wrapped(head: str, text: str) -> list[str]:
    indent = " " * (len(head) - len(head.lstrip()) + 4)
    return textwrap.wrap(head + text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def made(name: str, directory: Path) -> tuple[str, Plan, Simulation, Inputs]:
    """The page of a layout, with what it was made from."""
    found = inputs(name, directory)
    plan = planned(found)
    simulated = simulate(plan, Scenario())
    return page(plan, simulated), plan, simulated, found


if __name__ == "__main__":
    for one in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory() as scratch:
            text, _plan, _simulation, warned = made(one, Path(scratch))
            (HOME / f"{one}.txt").write_text(text)
            sys.stdout.writelines(f"{one}: {problem}\n" for problem in warned.problems)
