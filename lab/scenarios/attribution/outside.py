"""What somebody beside Underway does while a run goes on."""

from __future__ import annotations

import contextlib
import functools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from labkit.errors import LabError
from labkit.places import Places
from labkit.remote import on
from scenarios.attribution.faults import ANSWERS, BEGAN, OVER

Deed = Callable[[Places, Path, threading.Event], None]

PATIENCE = 600.0
"""Seconds after which the moment that was waited for will not come."""


@contextlib.contextmanager
def meanwhile(places: Places, home: Path, name: str) -> Iterator[None]:
    """Do the deed of that name beside the body; nothing for an empty one.

    Raises ``LabError`` if the deed could not be done: then there was no fault, and a run without one proves nothing.
    """
    if not name:
        yield
        return
    over, failed = threading.Event(), [LabError("its moment did not come")]

    def work() -> None:
        try:
            DEEDS[name](places, home, over)
            failed.clear()
        except LabError as error:
            failed[0] = error

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise LabError(f"what was to be done from outside ({name}) was not: {failed[0]}")


def together(places: Places, _: Path, over: threading.Event) -> None:
    """Give two hosts, once the tasks of both are there, one moment at which to go on."""
    for host in ("c1", "c2"):
        _await(functools.partial(_waits, places, host), over)
    moment = int(on(places, "c1", "date +%s")) + 3
    for host in ("c1", "c2"):
        on(places, host, f"echo {moment} > /run/fault/go.new; mv /run/fault/go.new /run/fault/go")


def _waits(places: Places, host: str) -> bool:
    return on(places, host, "ls /run/fault/ready 2>/dev/null || :").strip() != ""


def stranger(places: Places, home: Path, over: threading.Event) -> None:
    """Stop Keystone on c2 for some seconds when c1's work is over and c1 soaks."""
    _await(lambda: soaks(home, "c1"), over)
    time.sleep(5)
    on(places, "c2", f"{BEGAN}; systemctl stop keystone; sleep 6; systemctl start keystone; {ANSWERS}; {OVER}")


def soaks(home: Path, host: str) -> bool:
    """Whether the balancer's journal says that a host's upgrade is over: given back, and nothing follows."""
    lines = [
        line for path in home.glob(".underway/runs/*/journals/lb1.jsonl") for line in path.read_text().splitlines()
    ]
    found = [json.loads(line) for line in lines if '"leg-end"' in line]
    return any(
        one["kind"] == "leg-end"
        and one["action"].startswith("control/")
        and one["action"].endswith(f"/{host}")
        and one.get("leg", 0) > 0
        for one in found
    )


def _await(condition: Callable[[], bool], over: threading.Event) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if over.wait(0.3) or time.monotonic() > deadline:
            raise LabError("its moment did not come")


DEEDS: dict[str, Deed] = {"together": together, "stranger": stranger}
