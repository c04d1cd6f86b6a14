"""What a host's runner says, as it came from the host: whatever a host can write must not stop a coordinator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from underway.core.model.base import canonical, decode
from underway.core.model.event import HostLine


def said_by_runner(raw: bytes) -> dict[str, Any]:
    """One line of a runner as an object. Raises ValueError, also for JSON that could not be written again: numbers that
    are none, half characters."""
    try:
        said = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(str(error)[:200]) from None
    if not isinstance(said, dict):
        raise ValueError(f"expected an object, found {type(said).__name__}")
    return said


def line_of(said: Mapping[str, object]) -> HostLine:
    """The line, if it is one that can be kept and read again.

    Raises ValueError: a field that is unknown or of the wrong type, half a character, a number that is none.
    """
    try:
        line = msgspec.convert({key: value for key, value in said.items() if key != "crc"}, HostLine)
        if line.seq > 0 and decode(canonical(line), HostLine) == line:
            return line
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"a line of its journal is garbled: {str(error)[:200]}") from None
    raise ValueError("a line of its journal could not be kept as it is")
