"""What stories with faults have in common: what is stopped, and an operator who mends what the program halts on."""

from __future__ import annotations

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
    scene.expect(code == DONE, f"the run ended with exit code {code}, after {halts} halt{'' if halts == 1 else 's'}")
    if not runs(scene, host, unit):
        scene.told(f"The program never needed it. The operator starts {unit} on {host}.")
        scene.on(host, f"systemctl start {unit}")


def loses_power(scene: Scene, host: str, told: str) -> None:
    """Cut a controller's power while its Keystone is stopped; the run must halt, and the operator looks."""
    upgrade = scene.upgrade()
    upgrade.await_line(" outage-began ", f"keystone-{host}")
    scene.told(told)
    scene.lab("halt", host)
    code = upgrade.end()
    scene.expect(code == HALTED, f"the run halted by itself (exit code {code})")
    scene.told("The operator is woken up, and looks.")
    scene.underway("status", good=(0, 1, 4))


def runs(scene: Scene, host: str, unit: str) -> bool:
    """Whether the unit is active there."""
    try:
        on(scene.stage.here, host, f"systemctl is-active --quiet {unit}")
    except LabError:
        return False
    return True
