"""The coordinator is killed again and again.

At moments left to chance it is killed by ``kill -9``, and started again. Nothing may fail, and no step may run twice.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

from scenarios.scene import DONE, REFUSED, Scene, main

PAUSE = {"full": (15.0, 60.0), "small": (3.0, 12.0)}
"""Seconds from a start to its kill, evenly distributed: ten of them fit in a run."""
NO_WAY_BACK = "the point of no return is passed"
"""How Underway refuses a rollback that comes too late."""


def story(scene: Scene) -> None:
    """Kill, start again; at the end, see in the hosts' journals that no step ended twice."""
    chance = random.Random(scene.given.seed)
    upgrade = scene.upgrade()
    done = 0
    while upgrade.at_work(chance.uniform(*PAUSE[scene.stage.lab.size])) and done < scene.given.kills:
        done += 1
        scene.told(f"kill -9, number {done}.")
        upgrade.kill()
        if done in (1, scene.given.kills):
            scene.told("What status says while no coordinator runs:")
            scene.underway("status", good=(0, 1, 4))
        upgrade = scene.start("upgrade", "--yes", "--plain")
    code = upgrade.end()
    scene.expect(code == DONE, f"the upgrade ended with exit code {code}")
    scene.expect(done == scene.given.kills, f"the coordinator was killed {done} times")
    ends = ended(scene.stage.home)
    hosts = {host for host, *_ in ends}
    silent = sorted({one.name for one in scene.stage.lab.hosts if one.role != "balancer"} - hosts)
    scene.expect(
        not silent, f"journals tell of steps on {len(hosts)} hosts{', not on ' + ', '.join(silent) if silent else ''}"
    )
    twice = [f"{host}: {step} of {action}" for (host, action, _, step), count in ends.items() if count > 1]
    scene.expect(not twice, f"no step of {len(ends)} ended twice{': but ' + ', '.join(twice) if twice else ''}")
    scene.underway("audit", "verify")
    scene.told("All is on the new release, and the point of no return is passed: there is no way back any more.")
    rollback = scene.start("rollback", "--yes", "--reason", "too late")
    code = rollback.end()
    why = f"since {NO_WAY_BACK}" if NO_WAY_BACK in rollback.said() else "for another reason"
    scene.expect(
        code == REFUSED and NO_WAY_BACK in rollback.said(), f"a rollback was refused, {why} (exit code {code})"
    )


def ended(home: Path) -> Counter[tuple[str, str, int, str]]:
    """How often each step of (host, action, leg, step) ended well, by the hosts' journals."""
    ends: Counter[tuple[str, str, int, str]] = Counter()
    for path in home.glob(".underway/runs/*/journals/*.jsonl"):
        for raw in path.read_text().splitlines():
            line = json.loads(raw)
            if line["kind"] == "end" and not line.get("rc"):
                ends[(path.stem, line["action"], line.get("leg", 0), line["step"])] += 1
    return ends


if __name__ == "__main__":
    sys.exit(main("killed", __doc__ or "", story, faultless=True, kills=10, seed=1))
