"""Secrets taken out of text that leaves the machine: those that are known, and what looks like one. Pure.

A secret that is known (the content of a password file) is found wherever it stands, also as JSON, Python, URLs, YAML
and shells write it. What nobody told us of is found by the forms in which OpenStack's services and operators write
secrets: options of configuration files, URLs with an account, tokens, headers, keys, command lines. Where it cannot be
seen where a secret ends, the rest of the line goes. A form that is not listed is not found: look before you publish.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

GONE = "[removed]"

SHORTEST = 4
"""Letters of a known secret: a shorter one would take half the text away, and is no secret."""

_HEADERS = r"(?:x-auth-token|x-subject-token|x-service-token|authorization|proxy-authorization|cookie|set-cookie)"
_TELLING = (
    r"(?:passw(?:or)?d|passphrase|adminpass|[_-]pass(?![A-Za-z])|secret|api_?key|access_?key|private_?key|auth_?key|"
    r"fixed_key|signing_key|credential|encryption_?key|token|cookie)[A-Za-z0-9_-]{0,80}"
)
"""The part of a name that tells, and the rest of it; what comes before is kept anyhow."""

_OPTION = r"--?[a-z0-9_-]{0,80}(?:passw(?:or)?d|passphrase|pass|secret|token|cookie)"
_IS = r"\\{0,8}['\"]?[ \t]*[:=][ \t]*"
"""Between a name and its value; the name's own quote may be one inside a text of JSON."""

_DONE = rf"(?!(?P<mark>\\{{0,8}}['\"]){re.escape(GONE)}(?P=mark))"
"""Not what an earlier form took away, with its quotes."""

_WORD = r"(?:'(?:\\.|[^'\\\n])*+'|\"(?:\\.|[^\"\\\n])*+\"|\\{0,8}['\"][^\n]*|\\.|[^\s'\"\\])++"
"""A word of a shell, with what is quoted in it; to the end of the line where a quote does not end."""

_REST = r"(?:\\.|(?!(?P=quote)).)*+"
"""What stands in the quotes that were opened; to the end of the line where they are not closed."""

_HINT = re.compile(
    r"pass|secret|token|cookie|key|credential|authorization|identified|@|gAAAAA|eyJ|[\s'\"]-[pu]|--user", re.IGNORECASE
)
"""What a line must have for any of the forms to be in it. Most lines of a log have nothing of this."""

_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL)

_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        # an account in a URL, rabbit://user:secret@host; the secret may have @ and / in it
        r"(?P<keep>(?:[a-z][a-z0-9+.-]{1,30}://|,)[^\s:/@,]{0,128}:)\S{1,512}(?=@)",
        r"(?P<keep>)\bgAAAAA[A-Za-z0-9_=-]{20,}",  # fernet: Keystone's tokens, and what its keys encrypt
        r"(?P<keep>)\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",  # JSON web tokens
        # JSON and Python: "password": "secret", and the same inside a text of JSON: \"password\": \"secret\"
        rf"(?P<keep>(?:{_HEADERS}|{_TELLING})['\"]\s*[:=]\s*(?P<quote>['\"])){_REST}(?P<end>(?P=quote))",
        rf"(?P<keep>(?:{_HEADERS}|{_TELLING})\\{{1,8}}['\"]\s*[:=]\s*(?P<quote>\\{{1,8}}['\"]))"
        r"(?:\\{3,}+.|(?!(?P=quote)).)*+(?P<end>(?P=quote))",
        rf"(?P<keep>\b{_HEADERS}{_IS}){_DONE}[^\r\n]+",
        # an option of a file, or of a log that shows options: a value may have blanks in it
        rf"^(?P<keep>[ \t]*(?:export[ \t]+|-[ \t]+)?[a-z0-9_.-]{{0,80}}{_TELLING}[ \t]*[:=][ \t]*)[^\r\n]+",
        rf"(?P<keep>{_TELLING}[ \t]+=[ \t]+)[^\r\n]+",
        rf"(?P<keep>{_TELLING}{_IS}){_DONE}{_WORD}",
        # command lines, as lists of words and as a shell has them
        rf"(?P<keep>(?P<quote>['\"]){_OPTION}=){_REST}",
        rf"(?P<keep>\b(?:mysql|mariadb|sshpass)[a-z_-]*\b[^\n]{{0,2000}}?(?P<quote>['\"])-p){_REST}",
        rf"(?P<keep>{_OPTION}(?:=|[ \t]+|['\"],[ \t]*)){_DONE}{_WORD}",
        rf"(?P<keep>\b(?:mysql|mariadb)[a-z_-]*\b[^\n]{{0,2000}}?\s-p){_WORD}",
        rf"(?P<keep>\bsshpass\b[^\n]{{0,2000}}?[\s'\"]-p(?:['\"],)?[ \t]*){_WORD}",
        rf"(?P<keep>\bcurl\b[^\n]{{0,2000}}?[\s'\"](?:-u|--user)(?:['\"],|=)?[ \t]*){_WORD}",
        rf"(?P<keep>\bIDENTIFIED\s+(?:WITH\s+\S+\s+)?(?:BY|AS)\s+){_WORD}",
        rf"(?P<keep>\bPASSWORD\s*\(\s*){_WORD}",
    )
)
"""In the order in which they are applied to a line; ``keep`` and ``end`` stay."""


def _spelled(secret: str) -> Iterator[str]:
    """A secret as programs write it: itself, and inside JSON, JSON in JSON, Python, URLs, YAML and shells."""
    yield secret
    for ascii_only in (True, False):
        once = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield once
        yield json.dumps(once, ensure_ascii=ascii_only)[1:-1]
    yield repr(secret)[1:-1]
    yield repr(f"{secret}'\"")[1:-4]  # as in a text that has both quotes
    for safe in ("", "/"):
        yield quote(secret, safe=safe)
        yield quote_plus(secret, safe=safe)
    yield secret.replace("'", "''")
    yield shlex.quote(secret)


class Redactor:
    """Takes secrets out; ``known`` are told beforehand."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        found = {secret.strip() for secret in known if len(secret.strip()) >= SHORTEST}
        forms = sorted({form for one in found for form in _spelled(one)}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, forms))) if forms else None

    def clean(self, text: str) -> str:
        """The text without secrets."""
        if self._known is not None:
            text = self._known.sub(GONE, text)
        lines = _KEY.sub(GONE, text).split("\n")
        return "\n".join(_line(line) if _HINT.search(line) else line for line in lines)


def _line(line: str) -> str:
    for form in _FORMS:
        line = form.sub(_put, line)
    return line


def _put(match: re.Match[str]) -> str:
    return f"{match['keep']}{GONE}{match.groupdict().get('end') or ''}"
