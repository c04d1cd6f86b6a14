"""A controller dies for good in the middle of its upgrade, and another machine takes its place.

The new one has the same name and address, is installed with the old release, and has another host key. It must do all
again that the dead one had done, and nothing that was done once for all.
"""

from __future__ import annotations

import sys

from labkit import keys
from labkit.wheels import wheels
from scenarios.mending import loses_power
from scenarios.scene import DONE, Scene, main


def story(scene: Scene) -> None:
    """Cut, look, put another machine there, enrol it, say so, go on."""
    loses_power(scene, "c2", "c2 dies while its Keystone is stopped.")
    scene.told("There is nothing left of c2. Another machine is put there, installed with the old release.")
    scene.lab("renew", "c2")
    scene.told("It has another host key, which the operator has from whoever installed it, and trusts nobody yet.")
    here = scene.stage.here
    key = ("--replace-key", "--host-key", " ".join(keys.host_key(here, "c2").split()[:2]))
    scene.underway("enrol", "c2", *key, "--install", "--wheelhouse", str(wheels(here)), "--yes")
    scene.underway("replace", "c2", "--reason", "its power supply burnt; another machine is there")
    scene.underway("status", good=(0, 1, 4))
    code = scene.go_on()
    scene.expect(code == DONE, f"the run went on to its end (exit code {code})")
    scene.underway("audit", "verify")


if __name__ == "__main__":
    sys.exit(main("replaced", __doc__ or "", story))
