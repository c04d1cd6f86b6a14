"""What others' letters make us say: one printable line each, bounded, and no more of them than people read.

Whoever can write the store can write as many letters as he likes; a host's log must not grow with them, and must not
carry control characters to the terminal of whoever reads it.
"""

from __future__ import annotations

import time
from typing import Callable

LENGTH = 400
"""Characters of a line."""

AT_ONCE = 20
"""Lines that may come in a moment."""

EVERY = 6.0
"""Seconds after which one more may come."""


class Sparing:
    """Says lines through ``say``, as long as they are few; then how many were left out."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._room = float(AT_ONCE)
        self._then = clock()
        self._left = 0

    def __call__(self, text: str) -> None:
        """Say a line, or leave it out."""
        now = self._clock()
        self._room = min(float(AT_ONCE), self._room + (now - self._then) / EVERY)
        self._then = now
        if self._room < 1.0:
            self._left += 1
            return
        self._room -= 1.0
        more = f" ({self._left} lines before it were left out: too many in a short time)" if self._left else ""
        self._left = 0
        self._say(printable(text) + more)


def printable(text: str) -> str:
    """A text as one line of at most ``LENGTH`` characters, without anything that a terminal would act upon."""
    line = "".join(one if one.isprintable() else "?" for one in text[:LENGTH])
    return line if len(text) <= LENGTH else line + "..."
