"""How many hosts a profile may have. Pure (A12)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"(?:([0-9]{1,6})\+)?([0-9]{1,6})?n", re.ASCII)


@dataclass(frozen=True, slots=True)
class Arity:
    """``base`` hosts, and then any number of groups of ``step`` (0: exactly ``base``)."""

    base: int
    step: int
    stated: str

    def fits(self, count: int) -> bool:
        """Whether a profile may have ``count`` hosts."""
        if self.step == 0:
            return count == self.base
        return count >= self.base and (count - self.base) % self.step == 0

    def words(self) -> str:
        """As people say it, for messages."""
        if self.step == 0:
            return f"exactly {self.base}"
        groups = "any number" if self.step == 1 else f"a multiple of {self.step}"
        if self.base == 0:
            return groups
        more = "more" if self.step == 1 else f"and {groups} more"
        return f"{self.base} or {more}" if self.step == 1 else f"{self.base} {more}"


def arity(stated: object) -> Arity | None:
    """``3`` exactly, ``3n`` a multiple, ``1+2n`` an odd number, ``n`` any; blanks are ignored. None: none of it."""
    if isinstance(stated, bool) or not isinstance(stated, int | str):
        return None
    text = str(stated).replace(" ", "")
    if text.isascii() and text.isdecimal() and len(text) <= 6:
        return Arity(int(text), 0, str(stated))
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    step = int(found[2]) if found[2] else 1
    return Arity(int(found[1] or 0), step, str(stated)) if step else None
