"""Steps that reboot the host: begun in one boot, done in another (TRUST F9).

Such a step's tasks tell the machine to go down. From then on nothing more is begun here: the supervisor waits for its
own end. Whoever calls with the same ticket after the boot finds the step open, and the boot tells what happened.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Iterable, Mapping

from underway_runner import disk
from underway_runner.history import Line

TRIES = 3
"""How often the tasks of a step are run in one boot by one ticket: they may have been killed before they did anything,
but a machine that comes up in the same boot each time (``systemctl soft-reboot``, say) is to be looked at."""

PARTING = 15.0
"""Seconds for which a step whose tasks were killed, failed or were lost may yet have been ended by a machine that was
going down."""


def has_happened(begun: Mapping[str, Any]) -> bool:
    """Whether this is another boot than the one in which the step was begun."""
    return bool(begun.get("boot")) and begun["boot"] != disk.boot_id()


def tries(lines: Iterable[Line], begun: Mapping[str, Any]) -> int:
    """How often this step was begun in this boot under the ticket of ``begun``, its ``begin`` line."""
    same = ("step", "run", "action", "leg", "token", "boot")
    return sum(1 for line in lines if line["kind"] == "begin" and all(line.get(key) == begun.get(key) for key in same))


def took(begun: Mapping[str, Any]) -> float:
    """Seconds since a line of an earlier boot, by the host's wall clock: no other goes on while the machine is down."""
    return round(max(0.0, time.time() - float(begun["at"])), 3)  # noqa: TID251


def left(begun: Mapping[str, Any], timeout: float) -> float:
    """Seconds that are left of a step's time; of one that was begun in this boot."""
    return float(begun["mono"]) + timeout - disk.uptime()


def wait_to_go_down(seconds: float, look: Callable[[], None]) -> None:
    """Wait for the machine, and this process with it, to end. Returns where that does not happen in time.

    ``look`` is called several times a second; what it raises ends the wait.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        look()
        time.sleep(0.2)
