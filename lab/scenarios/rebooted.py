"""All controllers are rebooted, one after another, and the coordinator is killed while one of them is down.

Nothing is upgraded. Each host is taken from its balancers, its database as well, goes down, comes back in another boot,
and gets no requests before its services are healthy. Nothing may fail, and each host reboots once.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from scenarios import hop, judge
from scenarios.hop import Hop, Result
from scenarios.scene import DONE, Scene, main

LEAST = 100
"""Requests that are to be asked at the least: it takes minutes."""
BOOT = "cat /proc/sys/kernel/random/boot_id"
REBOOTS = "grep -c '\"the machine was rebooted\"' /var/lib/underway/journal || true"
"""Prints how often the host's journal says that a step rebooted it."""
ROLE = "  controller:\n    services:\n"
"""Where cluster.yaml says what controllers run."""


def boots(scene: Scene) -> Mapping[str, str]:
    """The boot that each controller is in."""
    return {host.name: scene.on(host.name, BOOT).strip() for host in scene.stage.lab.of("controller")}


def have_a_writer(home: Path) -> None:
    """Let controllers have the service that sends sessions to another database before theirs goes down."""
    (home / "services").mkdir()
    shutil.copy(Path(__file__).with_name("writer.yaml"), home / "services")
    path = home / "cluster.yaml"
    text = path.read_text()
    assert text.count("catalogue: [openstack, ") == text.count(ROLE) == 1, "cluster.yaml has another shape by now"
    text = text.replace("catalogue: [openstack, ", "catalogue: [openstack, services, ")
    path.write_text(text.replace(ROLE, f"{ROLE}      - writer\n"))


def story(scene: Scene) -> None:
    """Roll it out, kill it while the second host is down, go on; see that each is in another boot."""
    before = boots(scene)
    have_a_writer(scene.stage.home)
    words = ("--role", "controller", "--yes", "--plain")
    roll = scene.start("roll", "--action", "reboot", *words)
    run = roll.await_line("run 20").split()[1]
    roll.await_line(" leg-done ", "data/controller/c2:")
    scene.told("It is drained, and goes down about now: kill -9.")
    roll.at_work(4)
    roll.kill()
    scene.underway("--run", run, "status", good=(0, 1, 4))
    code = scene.underway("--run", run, "upgrade", "--plain", good=(0, 1, 4))
    scene.expect(code == DONE, f"the reboots ended with exit code {code}")
    after = boots(scene)
    scene.expect(all(after[host] != before[host] for host in before), "every controller is in another boot")
    times = {host: int(scene.on(host, REBOOTS)) for host in before}
    scene.expect(set(times.values()) == {1}, f"rebooted, so often: {times}")


def conclude(stage: Hop) -> Result:
    """What must be true after: nobody noticed."""
    report = judge.read(stage.home)
    return hop.kept(stage, report, list(judge.of_report(report, LEAST)))


if __name__ == "__main__":
    sys.exit(main("rebooted", __doc__ or "", story, conclude=conclude))
