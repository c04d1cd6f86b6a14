"""A compute hangs in the middle of its upgrade.

Its kernel stands still: connections to it are neither answered nor refused. Nobody can tell from outside whether it
works, so its slot stays taken, the operator is told, and no timer decides.
"""

from __future__ import annotations

import sys
import time

from scenarios.scene import DONE, HALTED, Scene, main

LOOKS = 45
"""Seconds after which the operator looks for the first time: long before the work is called unknown."""


def story(scene: Scene) -> None:
    """Freeze, look, thaw, go on."""
    upgrade = scene.upgrade()
    upgrade.await_line(" started ", "data/compute/n2:")
    scene.told("n2 has taken its work, and hangs.")
    scene.lab("freeze", "n2")
    time.sleep(LOOKS)
    scene.told("What status says 45 seconds later:")
    scene.underway("status", good=(0, 1, 4))
    code = upgrade.end()
    scene.expect(code == HALTED, f"the run halted by itself (exit code {code})")
    scene.underway("status", good=(0, 1, 4))
    scene.told("The operator finds why it hung, and lets it go on.")
    scene.lab("thaw", "n2")
    code = scene.go_on()
    if code == HALTED:
        scene.underway("retry", "n2", "--reason", "it hung, and goes on")
        code = scene.go_on()
    scene.expect(code == DONE, f"the run went on to its end (exit code {code})")


if __name__ == "__main__":
    sys.exit(main("hanging", __doc__ or "", story))
