"""The operator brings everything back, before the point of no return.

All controllers and all computes run the new release when the operator stops, at the last moment before it is final, and
decides to go back. Nothing may fail on the way there, nor on the way back.
"""

from __future__ import annotations

import sys

from scenarios import hop, judge, witness
from scenarios.hop import Hop, Result
from scenarios.scene import DONE, Scene, main

STOPPED = (1, 4)
"""Exit codes of an upgrade that its operator has stopped."""


def story(scene: Scene) -> None:
    """Stop when the last compute is at work; go back."""
    upgrade = scene.upgrade()
    last = scene.stage.lab.of("compute")[-1].name
    upgrade.await_line(" started ", f"data/compute/{last}:")
    scene.told("While the last compute is at work, the operator presses Ctrl-C: it finishes, and nothing else starts.")
    upgrade.interrupt()
    code = upgrade.end()
    scene.expect(code in STOPPED, f"the upgrade stopped (exit code {code})")
    scene.underway("status", good=(0, 1, 4))
    scene.underway("report")
    there = judge.read(scene.stage.home)
    scene.expect(not there["failed"], f"on the way there: {there['requests']:,} requests, {there['failed']} failed")
    scene.told("The operator goes back.")
    code = scene.underway("rollback", "--yes", "--plain", "--reason", "trying the way back", good=(0, 1, 4))
    scene.expect(code == DONE, f"the rollback ended with exit code {code}")


def conclude(stage: Hop) -> Result:
    """What must be true of a cloud that was brought back."""
    stage.hands.underway("report")
    report = judge.read(stage.home)
    after = witness.look(stage.here, stage.lab)
    found = judge.rolled_back(stage.here, stage.lab, report, stage.before, after, stage.source)
    return hop.kept(stage, report, found)


if __name__ == "__main__":
    sys.exit(main("rollback", __doc__ or "", story, conclude=conclude))
