"""Which of several coordinators acts: the others stand by, and take over when it is gone.

An optimisation that saves work and noise; what is safe is so by compare-and-set (P4, TRUST.md F5, §0.2). No clocks
are compared: who stands by sees the leader's record change, and counts its own seconds since it last did. A leader
that was stopped for longer than its lease finds out by its first write, which expects the record as it wrote it last.
"""

from __future__ import annotations

from collections.abc import Callable

from underway.core.model.event import Event
from underway.core.model.state import Leader
from underway.engine.clock import Clock
from underway.errors import Conflict, StoreUnavailable
from underway.records.repository import Repository

LEASE = 15.0
"""Seconds without a word of the leader after which another coordinator takes over."""

RENEW = 5.0
"""Seconds between two words of the leader."""


class Leadership:
    """One coordinator's part in it. ``name``: its own; ``process``: what ``gone`` can tell its end by.

    ``gone`` says that the process of a leader's record has ended for certain (on this machine, where that can be
    seen); then nothing is waited for, so that a coordinator that was killed is followed at once.
    """

    def __init__(
        self,
        repository: Repository,
        run: str,
        name: str,
        clock: Clock,
        process: str = "",
        gone: Callable[[Leader], bool] = lambda leader: False,  # noqa: ARG005  by default nobody can tell
    ) -> None:
        self._repository, self._run, self._name = repository, run, name
        self._clock, self._process, self._gone = clock, process, gone
        self._own: Leader | None = None
        self._renewed = 0.0
        self._seen: tuple[int, float] = (-1, 0.0)
        self.fence: int | None = None
        """Revision of the leader's record that this coordinator's writes must expect; None while it stands by."""
        self.leader = ""
        """Who leads, as last seen; "" while it is this one, or nobody."""

    def lead(self) -> bool:
        """Whether this coordinator leads now; renews, or takes over, where that is due.

        Raises ``StoreUnavailable``: whoever cannot reach the store leads nobody.
        """
        now = self._clock.monotonic()
        if self._own is not None and self.fence is not None and now - self._renewed < RENEW:
            return True
        found, revision = self._repository.leader(self._run)
        if self._own is not None and self.fence == revision:
            self._write(Leader(
                name=self._name, term=self._own.term, renewals=self._own.renewals + 1, process=self._process
            ), revision)  # fmt: skip
            return self.fence is not None
        self.lost()
        if found is not None and found.name and not self._is_over(found, revision, now):
            self.leader = found.name
            return False
        term = found.term + 1 if found is not None else 1
        self._write(Leader(name=self._name, term=term, process=self._process), revision, found)
        return self.fence is not None

    def lost(self) -> None:
        """Another one leads: nothing more is written, and its record is watched from now on."""
        self._own = self.fence = None

    def resign(self) -> None:
        """Let another one take over at once. Harmless for one that does not lead."""
        if self._own is None or self.fence is None:
            return
        gone = Leader(name="", term=self._own.term)
        try:
            self._repository.lead(self._run, gone, self.fence)
        except (Conflict, StoreUnavailable):
            pass  # it has been taken over, or its lease ends by itself
        finally:
            self.lost()

    def _is_over(self, found: Leader, revision: int, now: float) -> bool:
        if found.name == self._name:
            return True  # its own word, of a write whose outcome it never learnt
        if self._seen[0] != revision:
            self._seen = (revision, now)
        return now - self._seen[1] >= LEASE or self._gone(found)

    def _write(self, record: Leader, before: int, old: Leader | None = None) -> None:
        """Take over, or renew; leaves ``fence`` None where another one was quicker."""
        events: tuple[Event, ...] = ()
        if old is not None and old.name and old.name != self._name:
            events = (self._event(f"coordinator {self._name} leads now; {old.name} is silent or gone"),)
        self.lost()
        try:
            self.fence = self._repository.lead(self._run, record, before, *events)
        except Conflict:
            return
        self._own, self._renewed, self.leader = record, self._clock.monotonic(), ""

    def _event(self, text: str) -> Event:
        return Event(at=self._clock.now(), kind="note", actor=f"coordinator:{self._name}", text=text)
