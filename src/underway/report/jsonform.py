"""The report for machines: the summary as it is, every field always present, times as Unix seconds (UTC).

``schema`` counts changes of meaning; fields may be added under the same number. ``null`` is "not known" (or "not
observed"), never 0. What each field means: ``docs/reference/report.md``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from underway.core.rows import Summary


def build(summary: Summary) -> dict[str, Any]:
    """The summary as plain dictionaries and lists."""
    made: dict[str, Any] = msgspec.to_builtins(summary)
    return made


def dumps(summary: Summary) -> str:
    """The summary as one JSON document, keys sorted, indented by one blank: the same run gives the same bytes."""
    return msgspec.json.format(msgspec.json.encode(summary, order="sorted"), indent=1).decode()


def loads(text: str | bytes) -> Summary:
    """Read a report back. Raises ``msgspec.ValidationError`` for an unknown field or schema of another kind."""
    return msgspec.json.decode(text, type=Summary, strict=True)
