"""What tasks tell operators, for the journal: bounded, and cut only once it was cleared of secrets."""

from __future__ import annotations

from typing import Callable, List, Sequence

from underway_runner import journal

MOST = 50
"""Notices of one step that the journal tells; all are in the output file."""

LONGEST = 300
"""Characters of one notice."""

MORE = "there are more, in the output of this step on the host"


class Notices:
    """Those of one step."""

    def __init__(self) -> None:
        self._told = 0

    def take(self, texts: Sequence[str], scrub: Callable[[str], str]) -> List[str]:
        """What the journal is to tell of these. Half a secret would not be known for one: each is cleared whole."""
        left = MOST - self._told
        self._told += len(texts)
        told = [journal.clean(scrub(text), LONGEST) for text in texts[: max(left, 0)]]
        return [*told, MORE] if len(texts) > left >= 0 else told
