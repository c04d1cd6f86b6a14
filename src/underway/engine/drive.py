"""The loop around the coordinator's tick: waits, signals, and when to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Literal

from underway.core.model.state import BUSY
from underway.engine.clock import Clock
from underway.engine.coordinator import Coordinator, Tick
from underway.errors import StoreUnavailable

End = Literal["done", "halted", "waits", "aborted", "stopped", "interrupted"]
"""How a drive ended: ``done`` (all finished), ``halted`` (a budget is used up, nobody is at work), ``waits`` (only an
operator can move it), ``aborted``, ``stopped`` (Ctrl-C once), ``interrupted`` (Ctrl-C twice)."""

LONGEST_WAIT = 1.0
"""Seconds between looks at most: operators' verbs and probes are seen within it (L3)."""

STORE_PATIENCE = 60.0
"""Seconds for which an unavailable store is waited for before the drive gives up (hosts at work go on)."""


class Interrupts:
    """Counts Ctrl-C (and SIGTERM): once stops granting, twice stops the hosts at work."""

    def __init__(self) -> None:
        self.count = 0
        self._old: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)  # type: ignore[arg-type]

    def _interrupted(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signal's signature
        self.count += 1


def drive(
    coordinator: Coordinator, clock: Clock, show: Callable[[Tick], None], interrupts: Interrupts, linger: bool = False
) -> End:
    """Tick until the run has ended or only an operator can move it.

    ``linger``: keep looking while the run waits for an operator (pause, hold, approval) instead of returning.
    """
    stopping = cancelled = False
    down_since: float | None = None
    wait = 0.0
    while True:
        if interrupts.count >= 1 and not stopping:
            coordinator.stop_granting()
            stopping = True
        if interrupts.count >= 2 and not cancelled:
            coordinator.cancel_all()
            cancelled = True
        try:
            tick = coordinator.tick(wait)
        except StoreUnavailable:
            down_since = down_since if down_since is not None else clock.monotonic()
            if clock.monotonic() - down_since > STORE_PATIENCE:
                raise
            wait = LONGEST_WAIT
            continue
        down_since = None
        show(tick)
        end = ended(tick, stopping, cancelled)
        if end is not None and not (linger and end in ("waits", "halted") and not stopping):
            return end
        wait = 0.0 if tick.changed else _pause(tick, clock)


def ended(tick: Tick, stopping: bool, cancelled: bool) -> End | None:
    """Whether, and how, the drive is over after this tick: only when nobody is at work any more.

    One that stands by is over as the run is, or at Ctrl-C: the hosts at work are another coordinator's.
    """
    if tick.changed:
        return None
    if tick.leader:
        run = tick.snapshot.run
        return "stopped" if stopping else run.state if run.state in ("done", "aborted") else None
    run = tick.snapshot.run
    if run.state == "done":
        return "done"
    if any(record.state in BUSY for record in tick.snapshot.actions.values()):
        return None
    if stopping:
        return "interrupted" if cancelled else "stopped"
    if run.state == "aborted":
        return "aborted"
    if tick.decision.halt is not None:
        return "halted"
    if any(found.state in BUSY for found in tick.snapshot.elsewhere.values()):
        return None  # what another run has taken it will give back
    if tick.decision.grants or (tick.decision.wake and any(reason.until for reason in tick.decision.reasons.values())):
        return None  # a host's own reason names a time; that a window will close some day moves nobody
    # an unhealthy host may become well without anybody's word; whatever else waits now, waits for an operator
    return None if any(not health.healthy for health in tick.snapshot.health.values()) else "waits"


def _pause(tick: Tick, clock: Clock) -> float:
    if not tick.decision.wake:
        return LONGEST_WAIT
    return min(LONGEST_WAIT, max(0.05, tick.decision.wake - clock.now()))
