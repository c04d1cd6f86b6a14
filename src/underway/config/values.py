"""Values with a form of their own: durations, limits, windows. Each has a parser and a type for the documents."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from underway.config import names
from underway.config.names import Wrong
from underway.config.words import one_of, shown
from underway.core.model.policy import Limit, Window

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_SECONDS = 366 * 86400.0
MAX_LIMIT = 1_000_000

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WINDOW = re.compile(r"([A-Za-z,-]+) +([0-9]{1,2}):([0-9]{2}) *- *([0-9]{1,2}):([0-9]{2})(?: +(\S+))?", re.ASCII)


class Unfit(ValueError):
    """A value that its parser refuses; ``wrong`` says why."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        self.wrong = Wrong(code, message, hint)
        super().__init__(message)


def custom(wrong: Wrong) -> PydanticCustomError:
    """The same in pydantic's terms (message and hint travel in the context, so braces in them are harmless)."""
    return PydanticCustomError(wrong.code, "{message}", {"message": wrong.message, "hint": wrong.hint})


def duration(value: object) -> float:
    """Seconds of ``30s``, ``5m``, ``1h``, ``2d``, ``100ms`` or of a number of seconds. Raises ``Unfit``."""
    hint = "for example 100ms, 30s, 5m, 1h, or a number of seconds"
    seconds = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str):
        match = _DURATION.fullmatch(value)
        if match:
            # thousandths are divided, not multiplied: 100ms is 0.1, not 0.1000…01
            number, unit = float(match[1]), match[2]
            seconds = number / 1000 if unit == "ms" else number * _UNITS[unit]
    if math.isnan(seconds):
        raise Unfit("duration", f"expected a duration, found {shown(value)}", hint)
    if seconds < 0:
        raise Unfit("duration", f"{shown(value)} is negative", hint)
    if seconds > MAX_SECONDS:
        raise Unfit("duration", f"{shown(value)} is longer than a year")
    return seconds


def limit(value: object) -> Limit:
    """A limit of ``3`` hosts or of ``"10%"`` of them; strict, because a limit read wrongly takes hosts down.

    Raises ``Unfit`` for everything else, ``true``, ``3.0`` and ``"3"`` included.
    """
    hint = 'a whole number of hosts (0: no host will move), or a percentage such as "10%"'
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Unfit("limit", f"expected a limit, found {shown(value)}", hint)
    if isinstance(value, int):
        if 0 <= value <= MAX_LIMIT:
            return Limit(count=value)
        raise Unfit("limit", f"limit {shown(value)} is out of range", hint)
    if re.fullmatch(r"[1-9][0-9]?%|100%", value, re.ASCII):
        return Limit(percent=int(value[:-1]))
    if value == "0%":
        raise Unfit("limit", "a limit of 0% rounds to 0 hosts", "write 0 to hold all hosts on purpose")
    if re.fullmatch(r"[0-9]{1,7}", value, re.ASCII):
        raise Unfit("limit", f"limit {shown(value)} is text; expected a number", f"write {int(value)} without quotes")
    raise Unfit("limit", f"expected a limit, found {shown(value)}", hint)


def window(value: object) -> Window:
    """A weekly window: ``Sat 22:00-04:00 Europe/Paris``, ``Mon-Fri 01:00-05:00``, ``daily 00:00-06:00 UTC``.

    Without a zone, UTC. ``24:00`` is midnight at the end of the day. Raises ``Unfit``.
    """
    hint = "for example 'Sat 22:00-04:00 Europe/Paris', 'Mon-Fri 01:00-05:00', 'daily 00:00-06:00 UTC'"
    match = _WINDOW.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 100 else None
    if match is None:
        raise Unfit("window", f"expected a window, found {shown(value)}", hint)
    days = _days(match[1])
    start, end = _minutes(match[2], match[3]), _minutes(match[4], match[5])
    zone = match[6] or "UTC"
    wrong = names.time_zone(zone)
    if wrong:
        raise Unfit(*wrong)
    return Window(days=days, start=start % 1440, end=end % 1440, zone=zone, text=match[0])


def _minutes(hour: str, minute: str) -> int:
    total = int(hour) * 60 + int(minute)
    if int(minute) > 59 or total > 1440:
        raise Unfit("window", f"'{hour}:{minute}' is not a time of day", "00:00 to 24:00")
    return total


def _days(text: str) -> tuple[int, ...]:
    if text.lower() == "daily":
        return tuple(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin = _day(first)
        end = _day(last) if dash else begin
        found.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return tuple(sorted(found))


def _day(text: str) -> int:
    if text[:3].lower() not in DAYS or text.lower() not in _DAY_WORDS:
        raise Unfit("window", f"{shown(text)} is not a day", one_of(text.capitalize(), [d.capitalize() for d in DAYS]))
    return DAYS.index(text[:3].lower())


_DAY_WORDS = frozenset(DAYS) | {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}


def checked(parse: Callable[[object], Any]) -> PlainValidator:
    """``parse`` as a validator of its own; what it refuses becomes an error of the document."""

    def run(value: object) -> Any:
        try:
            return parse(value)
        except Unfit as unfit:
            raise custom(unfit.wrong) from None

    return PlainValidator(run)


def _between(low: float, high: float, why: str) -> Callable[[object], float]:
    def parse(value: object) -> float:
        seconds = duration(value)
        if low <= seconds <= high:
            return seconds
        raise Unfit("bounds", f"{shown(value)} is out of bounds: {why}", f"{_text(low)} to {_text(high)}")

    return parse


def _text(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds * 1000:g}ms"


_DURATION_SCHEMA = {
    "anyOf": [{"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"}, {"type": "number", "minimum": 0}],
    "examples": ["100ms", "30s", "5m", "1h"],
}
_LIMIT_SCHEMA: dict[str, list[Any]] = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": MAX_LIMIT},
        {"type": "string", "pattern": "^([1-9][0-9]?|100)%$"},
    ],
    "examples": [1, "10%"],
}
_WINDOW_SCHEMA = {
    "type": "string",
    "pattern": r"^[A-Za-z,-]+ +[0-9]{1,2}:[0-9]{2} *- *[0-9]{1,2}:[0-9]{2}( +\S+)?$",
    "examples": ["Sat 22:00-04:00 Europe/Paris", "daily 01:00-05:00"],
}


# 0.05 s, not the 0.2 s of cautious monitoring: an upgrade is measured ten times a second, and a short outage must show
_OFTEN = "a probe asks at most twenty times a second, at least once an hour"

Seconds = Annotated[float, checked(duration), WithJsonSchema(_DURATION_SCHEMA)]
StepTimeout = Annotated[
    float, checked(_between(1.0, 7 * 86400.0, "a step needs time, and must end")), WithJsonSchema(_DURATION_SCHEMA)
]
Interval = Annotated[float, checked(_between(0.05, 3600.0, _OFTEN)), WithJsonSchema(_DURATION_SCHEMA)]
ProbeTimeout = Annotated[
    float, checked(_between(0.01, 600.0, "an answer is not waited for for ever")), WithJsonSchema(_DURATION_SCHEMA)
]
Deadline = Annotated[
    float, checked(_between(1.0, 30 * 86400.0, "a host needs time, and must end")), WithJsonSchema(_DURATION_SCHEMA)
]
ChecksAge = Annotated[
    float,
    checked(_between(60.0, 30 * 86400.0, "results count for a while, not for ever")),
    WithJsonSchema(_DURATION_SCHEMA),
]
LimitValue = Annotated[Limit, checked(limit), WithJsonSchema(_LIMIT_SCHEMA)]
OptionalLimit = Annotated[
    Limit | None,
    checked(lambda value: None if value is None else limit(value)),
    WithJsonSchema({"anyOf": [*_LIMIT_SCHEMA["anyOf"], {"type": "null"}], "examples": [1, "10%"]}),
]
WindowValue = Annotated[Window, checked(window), WithJsonSchema(_WINDOW_SCHEMA)]
