"""The database that takes the writes is stopped in the middle of the upgrade.

All services write to one member of Galera, through the balancers. It is stopped while another controller is upgraded,
and stays down until the program asks for it: the balancers send everybody to the next member.
"""

from __future__ import annotations

import sys

from scenarios.mending import stopped_until_asked_for
from scenarios.scene import Scene, main

PRIMARY = "c1"
"""The balancers' first member: the others are back-ups (lab/roles/balancer)."""


def story(scene: Scene) -> None:
    """Stop it when c2 begins, mend it when the run halts on it."""
    stopped_until_asked_for(scene, "mariadb", lambda _: PRIMARY, "control/controller/c2:")


if __name__ == "__main__":
    sys.exit(main("database_primary", __doc__ or "", story))
