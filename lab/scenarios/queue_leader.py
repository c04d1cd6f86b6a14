"""RabbitMQ's leader is stopped in the middle of the upgrade.

The member that leads most queues is stopped while Nova's conductors are upgraded, and stays down until the program asks
for it. Two of three members are left, so messages go on.
"""

from __future__ import annotations

import sys
from collections import Counter

from scenarios.mending import stopped_until_asked_for
from scenarios.scene import Scene, main

LEADERS = "rabbitmqctl --quiet --no-table-headers list_queues leader"


def leader(scene: Scene) -> str:
    """The host that leads most of the queues."""
    counts = Counter(
        line.strip().removeprefix("rabbit@") for line in scene.on("c1", LEADERS).splitlines() if line.strip()
    )
    [(host, many), *_] = counts.most_common(1)
    scene.told(f"{host} leads {many} of {sum(counts.values())} queues.")
    return host.split(".")[0]


def story(scene: Scene) -> None:
    """Find it, stop it at the conductors, mend it when the run halts on it."""
    stopped_until_asked_for(scene, "rabbitmq-server", leader, "control/controller.2/c1:")


if __name__ == "__main__":
    sys.exit(main("queue_leader", __doc__ or "", story))
