"""Secrets taken out of text that leaves the machine: those that are known, and what looks like one. Pure.

A secret that is known (the content of a password file) is found wherever it stands, also in URL encoding. What nobody
told us of is found by the forms in which OpenStack's services write secrets: options of configuration files, URLs with
an account, tokens, headers, keys. A form that is not listed is not found: look before you publish.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

GONE = "[removed]"

SHORTEST = 4
"""Letters of a known secret: a shorter one would take half the text away, and is no secret."""

_NAMES = (
    r"[A-Za-z0-9_.-]*(?:passw(?:or)?d|passphrase|secret|api_?key|access_?key|private_?key|auth_?key|credential|"
    r"encryption_?key|memcache_secret_key|token)[A-Za-z0-9_-]*"
)
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL),
        GONE,
    ),
    # an account in a URL: rabbit://user:secret@host, mysql+pymysql://user:secret@host
    (
        re.compile(r"(?P<keep>(?:[a-z][a-z0-9+.-]{1,30}://|,)[^\s:/@,]*:)[^\s@/]+(?=@)", re.IGNORECASE),
        rf"\g<keep>{GONE}",
    ),
    (
        re.compile(
            r"(?P<keep>\b(?:x-auth-token|x-subject-token|x-service-token|authorization|proxy-authorization|cookie|"
            r"set-cookie)['\"]?\s*[:=]\s*)[^\r\n,}]+",
            re.IGNORECASE,
        ),
        rf"\g<keep>{GONE}",
    ),
    (re.compile(r"\bgAAAAA[A-Za-z0-9_=-]{20,}"), GONE),  # fernet: Keystone's tokens, and what its keys encrypt
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), GONE),  # JSON web tokens
    (
        re.compile(
            rf"(?P<keep>['\"]?\b{_NAMES}['\"]?\s*[:=]\s*)(?P<quote>['\"])(?:\\.|(?!(?P=quote)).)*(?P=quote)",
            re.IGNORECASE,
        ),
        rf"\g<keep>\g<quote>{GONE}\g<quote>",
    ),
    (re.compile(rf"(?P<keep>\b{_NAMES}\s*[:=]\s*)[^\s'\",;}}\])]+", re.IGNORECASE), rf"\g<keep>{GONE}"),
    (re.compile(r"(?P<keep>--?[a-z-]*(?:password|secret|token)[ =])[^\s-]\S*", re.IGNORECASE), rf"\g<keep>{GONE}"),
    (re.compile(r"(?P<keep>\bIDENTIFIED\s+BY\s+)'[^']*'", re.IGNORECASE), rf"\g<keep>'{GONE}'"),
)


class Redactor:
    """Takes secrets out; ``known`` are told beforehand."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        found = {secret.strip() for secret in known if len(secret.strip()) >= SHORTEST}
        forms = sorted({*found, *(quote(one, safe="") for one in found)}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, forms))) if forms else None

    def clean(self, text: str) -> str:
        """The text without secrets."""
        if self._known is not None:
            text = self._known.sub(GONE, text)
        for form, put in _FORMS:
            text = form.sub(put, text)
        return text
