"""What differs between two looks at many records, of which nearly all are the very same objects."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress, islice
from operator import eq, is_not
from typing import Any


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names whose records are other objects, or are in one of the two only.

    The usual case, nothing removed and new names at the end, runs in C: about 30 ns a record.
    """
    if len(new) >= len(old) and all(map(eq, old, new)):
        found = list(compress(old, map(is_not, old.values(), new.values())))
        found.extend(islice(new, len(old), None))
        return found
    found = [name for name, value in new.items() if old.get(name) is not value]
    found.extend(name for name in old if name not in new)
    return found
