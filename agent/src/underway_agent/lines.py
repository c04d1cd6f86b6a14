"""Lines of the host's journal on their way to the coordinator."""

from __future__ import annotations

from typing import Any, Dict, List


class Lines:
    """Journal lines that the coordinator has not acknowledged yet."""

    def __init__(self) -> None:
        self.after = 0
        self.lines: List[Dict[str, Any]] = []

    @property
    def last(self) -> int:
        """The number of the last line that is known."""
        return int(self.lines[-1]["seq"]) if self.lines else self.after

    def add(self, line: Dict[str, Any]) -> bool:
        """Take a line; whether it is new (several calls see the same journal)."""
        if line["seq"] <= self.last:
            return False
        self.lines.append(line)
        return True

    def acknowledge(self, since: int) -> bool:
        """Drop lines up to ``since``. False where it is one that we do not go back to: all is to be read anew."""
        if since < self.after:
            self.after, self.lines = since, []
            return False
        self.lines = [line for line in self.lines if line["seq"] > since]
        self.after = since
        return True
