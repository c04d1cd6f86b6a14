"""A server is on its way to a compute while that is closed for its upgrade: it must be built before the compute stops.

The compute's process stands still, so that the server waits in its queue, without a host; then the catalogue's own
question closes the compute. Nothing is upgraded: it takes half a minute, on the full laboratory as it is.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterator

import yaml

from labkit import commands, keys
from labkit.cloud import Cloud
from labkit.errors import LabError
from labkit.places import PROJECT, Places, places
from labkit.remote import on
from scenarios import hop, witness
from scenarios.judge import Verdict

COMPUTE = "n1"
STILL = 8.0
"""Seconds for which the compute's process stands still after it was closed."""
CATALOGUE = PROJECT / "src/underway/catalogue/openstack"
ASK = (
    "runuser -u stack -- /opt/current/nova-compute/bin/python - --config /etc/nova/nova.conf --auth keystone_authtoken"
)


def play(_: argparse.Namespace) -> list[Verdict]:
    """Ask for a server, close its compute, look; everything is put back."""
    here = places()
    lab, _about = commands.current(here)
    if lab.size != "full":
        raise LabError("this scenario needs the full laboratory: 'lab/run up'")
    cloud = Cloud(keys.read(here))
    image = witness.facts(here, lab).image
    process = on(here, COMPUTE, "systemctl show --property MainPID --value nova-compute").strip()
    signal(here, process, "STOP")
    awake = threading.Timer(STILL, signal, (here, process, "CONT"))
    try:
        body = {"name": "late", "flavorRef": "1", "imageRef": image, "networks": "none"}
        asked = cloud.call(
            "POST", "compute", "/v2.1/servers", {"server": {**body, "availability_zone": f"nova:{COMPUTE}"}}
        )
        number = asked["server"]["id"]
        time.sleep(3)  # its scheduling
        awake.start()
        return list(looked(here, cloud, str(number)))
    finally:
        awake.cancel()
        signal(here, process, "CONT")
        asks(here, "enable")


def looked(here: Places, cloud: Cloud, number: str) -> Iterator[Verdict]:
    """What is seen while the compute is closed."""
    path = f"/v2.1/servers/{number}"
    before = cloud.call("GET", "compute", path)["server"]
    on_its_way = (before["status"], before["OS-EXT-SRV-ATTR:host"]) == ("BUILD", None)
    yield Verdict(
        on_its_way, f"the server is {before['status']} on {before['OS-EXT-SRV-ATTR:host']} when {COMPUTE} is closed"
    )
    began = time.monotonic()
    asks(here, "disable", "1")
    took = time.monotonic() - began
    yield Verdict(took >= STILL - 1, f"closing {COMPUTE} took {took:.1f} s, its process stood still for {STILL:.0f} s")
    after = cloud.call("GET", "compute", path)["server"]
    cloud.call("DELETE", "compute", path)
    built = (after["status"], after["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
    yield Verdict(built, f"the server is {after['status']} on {after['OS-EXT-SRV-ATTR:host']} when it is closed")


def signal(here: Places, process: str, name: str) -> None:
    """Send a signal to a process of the compute."""
    on(here, COMPUTE, f"kill -{name} {process}")


def asks(here: Places, question: str, *words: str) -> None:
    """Let the catalogue's own script do it, there."""
    shared = yaml.safe_load((CATALOGUE / "nova.yaml").read_text())["vars"]
    own = yaml.safe_load((CATALOGUE / "nova-compute.yaml").read_text())["vars"]
    script = shared["nova_ask"] + own["nova_compute_door"]
    asked = " ".join((question, COMPUTE, *words))
    on(here, COMPUTE, f"{ASK} {asked} <<'END'\n{script}\nEND\n")


if __name__ == "__main__":
    sys.exit(hop.command("late_server", __doc__ or "", play))
