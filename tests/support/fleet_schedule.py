"""Which faults befall a fleet under a seed, and when. Pure: the same seed gives the same schedule.

Faults are due by progress (so many steps have begun), not by the clock, so that they bite on any machine.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

KINDS = (
    "leader killed", "minority parted", "majority lost", "client cut", "all servers restarted", "disk full",
    "clock an hour off", "coordinator stopped", "host stopped", "coordinator killed", "agents killed", "host killed",
    "store forged", "operator's words", "step fails",
)  # fmt: skip
"""What befalls a fleet. Each seed has one of them as its main fault, and smaller ones beside it."""

STORES = ("consul", "etcd")

STEPS = 18
"""Steps that begin in a run of six hosts, where nothing is interrupted."""


@dataclass(frozen=True)
class Fault:
    """``due``: after so many steps have begun. ``lasts``: seconds until it is undone. ``pick``: which one it befalls,
    a large number that whoever does it takes the rest of."""

    kind: str
    due: int
    lasts: float
    pick: int


@dataclass(frozen=True)
class Schedule:
    """What a seed does. ``every_commit``: the leading coordinator dies after each commit with this probability."""

    seed: int
    store: str
    main: str
    faults: tuple[Fault, ...]
    durations: tuple[int, ...]  # milliseconds of the steps of each host
    every_commit: float = 0.0


_LASTS = {
    "leader killed": (1.0, 4.0), "minority parted": (2.0, 6.0), "majority lost": (2.0, 6.0), "client cut": (2.0, 8.0),
    "all servers restarted": (0.0, 0.0), "disk full": (2.0, 5.0), "clock an hour off": (10.0, 14.0),
    "coordinator stopped": (16.5, 19.0), "host stopped": (32.0, 36.0), "store forged": (0.0, 0.0),
    "operator's words": (2.0, 6.0), "step fails": (2.0, 4.0),
}  # fmt: skip
"""Seconds. A coordinator's lease is 15 s, a host counts as out of reach after 30."""

_REPEATED = {"agents killed": 6, "host killed": 3, "client cut": 2, "store forged": 4, "leader killed": 2}


def schedule(seed: int, store: str = "", main: str = "") -> Schedule:
    """The schedule of a seed; ``store`` and ``main`` choose what the seed would."""
    chance = random.Random(seed)
    store = store or STORES[seed // len(KINDS) % len(STORES)]
    main = main or KINDS[seed % len(KINDS)]
    faults = [_fault(main, chance) for _ in range(_REPEATED.get(main, 1))] if main != "coordinator killed" else []
    for kind, probability in (("agents killed", 0.5), ("kill a coordinator", 0.5), ("host killed", 0.2)):
        if chance.random() < probability and kind != main:
            faults.append(_fault(kind, chance))
    return Schedule(
        seed=seed,
        store=store,
        main=main,
        faults=tuple(sorted(faults, key=lambda fault: fault.due)),
        durations=tuple(chance.randrange(50, 300) for _ in range(6)),
        every_commit=chance.choice((0.5, 1.0)) if main == "coordinator killed" else 0.0,
    )


def _fault(kind: str, chance: random.Random) -> Fault:
    low, high = _LASTS.get(kind, (0.0, 0.0))
    due = 0 if kind == "clock an hour off" else chance.randrange(1, STEPS - 3)
    return Fault(kind, due, round(chance.uniform(low, high), 2), chance.randrange(1 << 30))
