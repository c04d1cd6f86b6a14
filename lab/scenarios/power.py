"""A controller loses its power in the middle of its upgrade.

Its power is cut while its services are stopped and turned to the new release. The run must halt and say why; when the
power is back, the host goes on at the step that did not finish.
"""

from __future__ import annotations

import sys

from scenarios.mending import loses_power
from scenarios.scene import DONE, Scene, main


def story(scene: Scene) -> None:
    """Cut, look, boot, retry, go on."""
    loses_power(scene, "c2", "c2 loses its power while its Keystone is stopped.")
    scene.told("The power comes back. c2 boots, its database and its queues join the others.")
    scene.lab("boot", "c2")
    scene.underway("retry", "c2", "--reason", "its power was off; it is back")
    code = scene.go_on()
    scene.expect(code == DONE, f"the run went on to its end (exit code {code})")


if __name__ == "__main__":
    sys.exit(main("power", __doc__ or "", story))
