"""A restart of Keystone is rolled out on all controllers, and the coordinator is killed in the middle.

Nothing is upgraded: the action that Keystone's service file declares is done on one host after another, drained and
waited for as in an upgrade. Nothing may fail, and every unit is restarted once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from scenarios import hop, judge
from scenarios.hop import Hop, Result
from scenarios.scene import DONE, Scene, main

LEAST = 100
"""Requests that are to be asked at the least: it takes about a minute."""
STARTS = "journalctl -u keystone -o cat | grep -c ^Started"
"""Prints how often systemd has started it."""


def starts(scene: Scene) -> Mapping[str, int]:
    """How often Keystone was started on each controller."""
    return {host.name: int(scene.on(host.name, STARTS)) for host in scene.stage.lab.of("controller")}


def story(scene: Scene) -> None:
    """Roll out, kill, go on; see that each was started once more."""
    before = starts(scene)
    roll = scene.start("roll", "--action", "restart-keystone", "--yes", "--plain")
    roll.await_line(" started ", "data/controller/c2:")
    scene.told("While the second controller is at work: kill -9.")
    roll.kill()
    run = roll.await_line("run 20").split()[1]
    scene.underway("--run", run, "status", good=(0, 1, 4))
    code = scene.underway("--run", run, "upgrade", "--plain", good=(0, 1, 4))
    scene.expect(code == DONE, f"what was rolled out ended with exit code {code}")
    after = starts(scene)
    more = {host: after[host] - before[host] for host in before}
    scene.expect(set(more.values()) == {1}, f"Keystone was started anew, so often: {more}")


def conclude(stage: Hop) -> Result:
    """What must be true after: nobody noticed."""
    report = judge.read(stage.home)
    return hop.kept(stage, report, list(judge.of_report(report, LEAST)))


if __name__ == "__main__":
    sys.exit(main("restarted", __doc__ or "", story, conclude=conclude))
