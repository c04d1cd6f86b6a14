"""A service that is stopped during an upgrade, and an operator who mends what the program halts on."""

from __future__ import annotations

import time
from collections.abc import Callable

from labkit.errors import LabError
from labkit.remote import on
from scenarios.scene import DONE, HALTED, Scene

ATTEMPTS = 5
"""Halts that an operator mends; more mean that mending does not help."""


def stopped_until_asked_for(scene: Scene, unit: str, which: Callable[[Scene], str], moment: str) -> None:
    """Stop ``unit`` on the host that ``which`` names once ``moment`` has started; start it again where the run halts.

    What the run ends with is expected to be exit code 0, with the unit running everywhere.
    """
    upgrade = scene.upgrade()
    upgrade.await_line(" started ", moment)
    time.sleep(3)
    host = which(scene)
    scene.told(f"{unit} stops on {host}, and nobody starts it.")
    scene.on(host, f"systemctl stop {unit}")
    code = upgrade.end()
    halts = 0
    while code == HALTED and halts < ATTEMPTS:
        halts += 1
        scene.told("The run halted. The operator looks.")
        scene.underway("status", good=(0, 1, 4))
        hosts = scene.troubled()
        if not runs(scene, host, unit):
            scene.told(f"The operator starts {unit} on {host}, and lets what failed be tried again.")
            scene.on(host, f"systemctl start {unit}")
        for troubled in hosts:
            scene.underway("retry", troubled, "--reason", f"{unit} on {host} runs again")
        code = scene.go_on()
    scene.expect(code == DONE, f"the run ended with exit code {code}, after {halts} halts")
    if not runs(scene, host, unit):
        scene.told(f"The program never needed it. The operator starts {unit} on {host}.")
        scene.on(host, f"systemctl start {unit}")


def runs(scene: Scene, host: str, unit: str) -> bool:
    """Whether the unit is active there."""
    try:
        on(scene.stage.here, host, f"systemctl is-active --quiet {unit}")
    except LabError:
        return False
    return True
