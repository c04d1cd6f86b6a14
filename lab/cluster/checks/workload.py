"""A persistent resource by Grenade's protocol: ``workload.py VERB SIDE``.

A server of the cloud, what Placement keeps for it, an account of the ledger, and the process that stands for the
workload on the server's host: each must be the same after an upgrade. Nova's fake driver forgets a server when
nova-compute restarts, and Nova goes on to call it ACTIVE: nothing is asked here that the driver would have to know.

Needs ``PYTHONPATH`` (the laboratory's ``lab``) and ``UNDERWAY_SAVE``, where it remembers what it made.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit import keys
from labkit.cloud import Cloud
from labkit.errors import LabError
from labkit.places import places
from labkit.topology import FULL, VIP

NAME = "workload"
ENTRIES = 5
PATIENCE = 60.0
LEDGER = f"http://{VIP}:8099"
SAVED = Path(os.environ.get("UNDERWAY_SAVE", ".")) / "workload.json"


class Broken(Exception):
    """What is not as it was made."""


def ask(url: str, body: object = None) -> Any:
    """The decoded answer of a service that needs no token. Raises Broken."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return json.loads(answer.read())
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise Broken(f"{url}: {error}") from None


def process(host: str) -> dict[str, object]:
    """The workload's process on a host: its id, and since when it runs."""
    address = next(one.address for one in FULL.hosts if one.name == host)
    told = ask(f"http://{address}:8090/")
    return {"pid": told["pid"], "began": told["began"]}


def found(cloud: Cloud) -> dict[str, Any] | None:
    """The server, or None."""
    servers = cloud.call("GET", "compute", f"/v2.1/servers/detail?name=^{NAME}$")["servers"]
    return servers[0] if servers else None


def kept(cloud: Cloud, server: str) -> dict[str, Any]:
    """What Placement keeps for the server: resources by provider."""
    told = cloud.call("GET", "placement", f"/allocations/{server}")["allocations"]
    return {provider: one["resources"] for provider, one in told.items()}


def until(true: Callable[[], bool], what: str) -> None:
    """Wait. Raises Broken where it takes too long."""
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise Broken(f"not within {PATIENCE:.0f} s: {what}")
        time.sleep(0.5)


def create(saved: dict[str, Any]) -> None:
    """Make what is not there; what is there is left as it is."""
    cloud = Cloud(keys.read(places()))
    if found(cloud) is None:
        [image] = cloud.call("GET", "image", "/v2/images?name=tiny")["images"]
        body = {"server": {"name": NAME, "flavorRef": "1", "imageRef": image["id"], "networks": "none"}}
        cloud.call("POST", "compute", "/v2.1/servers", body)
    until(lambda: (found(cloud) or {}).get("status") == "ACTIVE", "the server is ACTIVE")
    server = found(cloud) or {}
    host = server["OS-EXT-SRV-ATTR:host"]
    saved.update(server=server["id"], host=host, kept=kept(cloud, server["id"]), process=process(host))
    if "account" not in saved:
        account = f"workload-{int(time.time())}"  # noqa: TID251  a name that no earlier run took
        for _ in range(ENTRIES):
            ask(f"{LEDGER}/entries", {"account": account, "amount": "2.50"})
        saved["account"] = account
        saved["total"] = ask(f"{LEDGER}/total?account={account}")


def verify(saved: dict[str, Any]) -> None:
    """Ask the services for all of it."""
    cloud = Cloud(keys.read(places()))
    server = found(cloud)
    if server is None:
        raise Broken("the server is gone")
    is_now = {"server": server["id"], "host": server["OS-EXT-SRV-ATTR:host"], "kept": kept(cloud, server["id"])}
    for key, value in is_now.items():
        if value != saved[key]:
            raise Broken(f"{key}: {value}, made as {saved[key]}")
    if server["status"] != "ACTIVE":
        raise Broken(f"the server is {server['status']}")
    total = ask(f"{LEDGER}/total?account={saved['account']}")
    if total != saved["total"]:
        raise Broken(f"the ledger says {total}, made as {saved['total']}")


def verify_noapi(saved: dict[str, Any]) -> None:
    """Ask the host itself: none of OpenStack's services is needed for it."""
    is_now = process(saved["host"])
    if is_now != saved["process"]:
        raise Broken(f"the process on {saved['host']} is {is_now}, was {saved['process']}")


def destroy(saved: dict[str, Any]) -> None:
    """Delete the server, and see that Placement keeps nothing for it. Entries of a ledger are never deleted."""
    cloud = Cloud(keys.read(places()))
    if found(cloud) is not None:
        cloud.call("DELETE", "compute", f"/v2.1/servers/{saved['server']}")
    until(lambda: found(cloud) is None, "the server is gone")
    if left := kept(cloud, saved["server"]):
        raise Broken(f"Placement still keeps {left}")
    saved.clear()


VERBS: dict[str, Callable[[dict[str, Any]], None]] = {
    "create": create,
    "verify": verify,
    "verify_noapi": verify_noapi,
    "destroy": destroy,
}


def main(verb: str) -> int:
    """Exit code 0: all is well."""
    if verb not in VERBS:  # there are no accounts to make early
        return 0
    saved = json.loads(SAVED.read_text()) if SAVED.exists() else {}
    try:
        VERBS[verb](saved)
    except (Broken, LabError) as error:
        print(f"not ok {NAME}: {error}")
        return 1
    SAVED.write_text(json.dumps(saved))
    print(f"ok {NAME}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
