"""Keep secret values out of everything that is written: exact, in base64, URL-encoded, escaped, and line by line."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from typing import Iterable, List, Set

LEAST = 4
"""Shorter values are not looked for: taking every ``1`` or ``yes`` out of a text would leave none of it."""

HIDDEN = "[hidden]"


class Scrubber:
    """Replaces the secrets that it knows. They live in memory only."""

    def __init__(self) -> None:
        self._forms: Set[str] = set()
        self._pattern: "re.Pattern[str] | None" = None
        self.longest = 0

    def add(self, secrets: Iterable[str]) -> None:
        """Learn secrets, each in the forms in which programs print them."""
        for secret in secrets:
            lines = secret.splitlines()
            for piece in [secret, secret.strip(), *lines, *(line.strip() for line in lines)]:
                if len(piece) >= LEAST:
                    self._forms.update(form for form in forms(piece) if len(form) >= LEAST)
        ordered = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(form) for form in ordered)) if ordered else None
        self.longest = len(ordered[0]) if ordered else 0

    def __call__(self, text: str) -> str:
        """The text without the secrets."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text


def forms(secret: str) -> List[str]:
    """A secret as it may appear in output: plain, base64 at each alignment, URL-encoded, JSON- and repr-escaped."""
    raw = secret.encode("utf-8", errors="surrogateescape")
    found = [secret, urllib.parse.quote(raw), urllib.parse.quote(raw, safe=""), urllib.parse.quote_plus(raw)]
    found += [json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1], raw.hex()]
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for lead in range(3):
            # The characters that depend on what stands around the secret are cut off: what is left is always there.
            text = encode(b"\0" * lead + raw).decode("ascii").rstrip("=")
            start = (0, 2, 3)[lead]
            end = len(text) - (1 if (lead + len(raw)) % 3 else 0)
            if end - start >= 6:
                found.append(text[start:end])
    return found
