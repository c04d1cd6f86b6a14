"""A scripted check, for tests and simulations: what it answers follows from the time alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from underway.checks.base import Answer

GOOD = Answer(ok=True, status=200)


@dataclass(frozen=True, slots=True)
class Spell:
    """From ``start`` to ``end`` (seconds of the given clock) every answer is ``answer``, after ``delay``."""

    start: float
    end: float
    answer: Answer
    delay: float = 0.0


class FakeCheck:
    """Good, but for its spells (the first that fits counts). ``asked`` keeps when it was asked."""

    def __init__(self, clock: Callable[[], float], spells: Sequence[Spell] = (), delay: float = 0.0) -> None:
        self._clock = clock
        self._spells = tuple(spells)
        self._delay = delay
        self.asked: list[float] = []
        self.closed = False

    async def ask(self) -> Answer:
        """The scripted answer, after its delay."""
        now = self._clock()
        self.asked.append(now)
        for spell in self._spells:
            if spell.start <= now < spell.end:
                await asyncio.sleep(spell.delay)
                return spell.answer
        await asyncio.sleep(self._delay)
        return GOOD

    async def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


class QuickFakeCheck(FakeCheck):
    """The same, asked without a task, as plain HTTP is."""

    def begin(self, now: float, done: Callable[[Answer], None]) -> _Timer | None:
        """Answer later, or at once where there is no delay."""
        self.asked.append(now)
        answer, delay = next(
            ((spell.answer, spell.delay) for spell in self._spells if spell.start <= now < spell.end),
            (GOOD, self._delay),
        )
        if delay == 0.0:
            done(answer)
            return None
        return _Timer(asyncio.get_running_loop().call_later(delay, done, answer))


class _Timer:
    """An exchange that is under way."""

    def __init__(self, handle: asyncio.TimerHandle) -> None:
        self._handle = handle

    def abort(self) -> None:
        """Drop it."""
        self._handle.cancel()
