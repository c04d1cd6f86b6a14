"""A controller loses its power in the middle of its upgrade.

Its power is cut while its services are stopped and turned to the new release. The run must halt and say why; when the
power is back, the host goes on at the step that did not finish.
"""

from __future__ import annotations

import sys
import time

from scenarios.scene import DONE, HALTED, Scene, main


def story(scene: Scene) -> None:
    """Cut, look, boot, retry, go on."""
    upgrade = scene.upgrade()
    upgrade.await_line(" started ", "control/controller/c2:")
    time.sleep(12)
    scene.told("Twelve seconds into its work, c2 loses its power.")
    scene.lab("halt", "c2")
    code = upgrade.end()
    scene.expect(code == HALTED, f"the run halted by itself (exit code {code})")
    scene.told("The operator is woken up, and looks.")
    scene.underway("status", good=(0, 1, 4))
    scene.told("The power comes back. c2 boots, its database and its queues join the others.")
    scene.lab("boot", "c2")
    scene.underway("retry", "c2", "--reason", "its power was off; it is back")
    code = scene.go_on()
    scene.expect(code == DONE, f"the run went on to its end (exit code {code})")


if __name__ == "__main__":
    sys.exit(main("power", __doc__ or "", story))
