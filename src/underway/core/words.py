"""How figures and foreign text are put for people: one spelling of durations, counts, shares and moments.

Everything that comes from outside (names in files, reasons, errors of services, lines of a host) passes ``clean``
before it reaches a terminal, a page or a log (TRUST.md §4, 49).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime

NOT_KNOWN = "not known"
NOT_OBSERVED = "not observed"

# C0 and C1 control characters, the bidirectional controls (they reorder what a reader sees), line and paragraph
# separators, the byte order mark and lone surrogates (they cannot be written as UTF-8 at all).
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_BLANKS = re.compile("[\t\n\r\x0b\x0c\x85\u2028\u2029]+")
# An escape sequence is dropped whole: without its ESC the rest ("[31m", a window title) would stay as litter. Of one
# that does not end only the introducer goes, so that no text is lost with it.
_ESCAPES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]{0,1000}(?:\x07|\x1b\\\\|\x9c)"  # OSC and its like
    "|\x1b[ -/]*[0-~]"
)


def clean(text: str, limit: int = 0) -> str:
    """``text`` on one line, without escape sequences, control or bidirectional characters.

    ``limit`` (characters, 0: none) clips it with an ellipsis.
    """
    if not text.isascii() or not text.isprintable():
        text = _UNPRINTABLE.sub("", _BLANKS.sub(" ", _ESCAPES.sub("", text)))
    return clip(text, limit) if limit else text


def clip(text: str, width: int) -> str:
    """``text`` in at most ``width`` characters, with an ellipsis where something is missing."""
    return text if len(text) <= width else text[: max(width - 1, 0)].rstrip() + "…"


def duration(seconds: float | None) -> str:
    """A length of time in at most two units: ``120 ms``, ``4.2 s``, ``38 s``, ``4 min 12 s``, ``2 h 5 min``."""
    if seconds is None:
        return NOT_KNOWN
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 0.0005:
        return "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole, 60, "min", "s")
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return _two(minutes, 60, "h", "min")
    return _two(round(seconds / 3600), 24, "d", "h")


def _two(value: int, base: int, large: str, small: str) -> str:
    first, rest = divmod(value, base)
    return f"{first} {large} {rest} {small}" if rest else f"{first} {large}"


def count(number: int) -> str:
    """``12,345``."""
    return f"{number:,}"


def plural(number: int, one: str, many: str = "") -> str:
    """``1 host``, ``3 hosts``, ``2 passes`` (``many`` where an s is not enough)."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def share(part: float, whole: float) -> str:
    """``part`` of ``whole`` in percent, rounded down so that 100 % means all of it; not observed for a whole of 0."""
    if whole <= 0:
        return NOT_OBSERVED
    if part >= whole:
        return "100 %"
    thousandths = int(part / whole * 100_000)
    return f"{thousandths / 1000:.3f} %" if thousandths >= 99_000 else f"{thousandths // 100 / 10:.1f} %"


def moment(at: float | None) -> str:
    """A point in time, UTC, to the second: ``2026-11-21 08:24:31 UTC``."""
    return NOT_KNOWN if not at else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def stamp(at: float) -> str:
    """A point in time for machines: ``2026-11-21T08:24:31.250Z``."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(at: float | None, tenths: bool = False) -> str:
    """The time of day alone, UTC: ``08:24:31`` or ``08:24:31.2`` (cut, not rounded)."""
    if not at:
        return NOT_KNOWN
    time = datetime.fromtimestamp(at, UTC)
    return time.strftime("%H:%M:%S") + (f".{time.microsecond // 100_000}" if tenths else "")


def some(names: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 47 others``."""
    if len(names) <= most + 1:
        return ", ".join(names)
    return ", ".join(names[:most]) + f" and {count(len(names) - most)} others"


_HOST_WORDS = {
    "rollback": {"upgraded": "rolled back", "upgrading": "rolling back"},
    "roll": {"upgraded": "done", "upgrading": "at work"},
}


def host_word(state: str, mode: str) -> str:
    """A host's state for people, by what the run does. Machines read the state and the run's mode."""
    return _HOST_WORDS.get(mode, {}).get(state, state)


_UNITS = re.compile(r"(?<=\d) (?=(?:ms|s|min|h|d|%)(?!\w))")


def fold(text: str, width: int, indent: str = "", rest: str = "") -> list[str]:
    """``text``, cleaned, in lines of at most ``width`` columns: the first after ``indent``, the others after ``rest``.

    A figure is not parted from its unit.
    """
    whole = _UNITS.sub("\u00a0", clean(text))
    lines = textwrap.wrap(whole, width, initial_indent=indent, subsequent_indent=rest, break_on_hyphens=False)
    return [line.replace("\u00a0", " ") for line in lines] or [indent.rstrip()]
