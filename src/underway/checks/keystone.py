"""Keystone: tokens for probes that need one, and probes of Keystone itself.

The API is ``POST /v3/auth/tokens`` (201, the token in ``X-Subject-Token``) and ``GET /v3/auth/tokens`` (200), Identity
API v3. The password is read from its file each time that a token is asked for and kept nowhere; neither it nor
a token is ever in an error, a sample or a log.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from underway.checks.base import Answer
from underway.checks.errors import classify
from underway.checks.target import check_url
from underway.checks.web import NETWORK, Reply, Web
from underway.core.model.cluster import Probe
from underway.errors import InputError

MARGIN = 30.0
"""Seconds before its end at which a token is no longer used."""

_FIELDS = frozenset(
    {"url", "user", "project", "domain", "user_domain", "project_domain", "password_file", "ca", "service"}
)


class TokenError(Exception):
    """No token could be had; ``word`` says why, as in a sample's error."""

    def __init__(self, word: str) -> None:
        self.word = word
        super().__init__(word)


@dataclass(frozen=True, slots=True)
class Token:
    """A token and the Unix time at which it ends (0: it does not say)."""

    value: str
    expires: float

    def over(self, now: float) -> bool:
        """Whether it ends too soon to be used."""
        return bool(self.expires) and now > self.expires - MARGIN

    def __repr__(self) -> str:
        return f"Token(expires={self.expires})"


class Account:
    """Who asks: the ``auth`` of a probe. Raises InputError for fields that are missing or unknown."""

    def __init__(self, probe: Probe, web: Web, wall: Callable[[], float]) -> None:
        auth = probe.auth
        for name in auth:
            if name not in _FIELDS:
                raise InputError(
                    f"probe {probe.name}: auth: unknown field {name!r} (expected {', '.join(sorted(_FIELDS))})"
                )
        for name in ("user", "password_file"):
            if not auth.get(name):
                raise InputError(f"probe {probe.name}: auth: expected {name}, found none")
        base = auth.get("url") or (probe.url if probe.kind == "keystone" else "")
        if not base:
            raise InputError(f"probe {probe.name}: auth: expected url (http://HOST:5000/v3), found none")
        parts = check_url(base, probe.name)
        base = base.rstrip("/").removesuffix("/auth/tokens")
        self.url = f"{base if base.endswith('/v3') else base + '/v3'}/auth/tokens"
        ca = auth.get("ca") or probe.ca
        self.context: ssl.SSLContext | None = web.trust(ca, probe.name) if parts.scheme == "https" else None
        self._auth: Mapping[str, str] = auth
        self._web = web
        self._wall = wall

    def _body(self) -> bytes:
        auth = self._auth
        try:
            password = Path(auth["password_file"]).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError("local: password file") from error
        domain = auth.get("domain") or "Default"
        user = {"name": auth["user"], "domain": {"name": auth.get("user_domain") or domain}, "password": password}
        wanted: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
        if auth.get("project"):
            wanted["scope"] = {
                "project": {"name": auth["project"], "domain": {"name": auth.get("project_domain") or domain}}
            }
        return msgspec.json.encode({"auth": wanted})

    async def issue(self) -> Token:
        """Ask for a token. Raises TokenError."""
        body = self._body()
        try:
            reply = await self._web.request(
                "POST", self.url, headers={"Content-Type": "application/json"}, body=body, context=self.context
            )
        except NETWORK as error:
            raise TokenError(classify(error)) from error
        if reply.status != 201:
            raise TokenError(f"status {reply.status}")
        value = reply.headers.get("x-subject-token", "")
        if not value:
            raise TokenError("body")
        return Token(value, _expires(reply))

    async def validate(self, token: Token) -> Reply:
        """Ask whether a token is good, with that token itself."""
        return await self._web.request(
            "GET",
            self.url,
            headers={"X-Auth-Token": token.value, "X-Subject-Token": token.value},
            context=self.context,
        )

    def over(self, token: Token) -> bool:
        """Whether a token is past its own end."""
        return token.over(self._wall())


def _expires(reply: Reply) -> float:
    try:
        text = msgspec.json.decode(reply.body)["token"]["expires_at"]
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return 0.0


class Tokens:
    """One token for all probes of the same account; asked for by one of them at a time."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._token: Token | None = None
        self._lock = asyncio.Lock()

    async def get(self, refused: Token | None = None) -> Token:
        """A token that is not past its end, and not the one that was ``refused``. Raises TokenError."""
        async with self._lock:
            token = self._token
            if token is None or token is refused or self._account.over(token):
                self._token = None
                token = self._token = await self._account.issue()
            return token


class KeystoneCheck:
    """Issues a token (``action: token``), or proves that an old one is still good (``action: validate``).

    ``validate`` keeps the first token that it was given for as long as that token says it lasts. A token that is
    refused before its end stays refused: that is what the probe is there to find.
    """

    def __init__(self, probe: Probe, web: Web, wall: Callable[[], float]) -> None:
        if probe.action not in ("token", "validate"):
            raise InputError(f"probe {probe.name}: action: expected token or validate, found {probe.action!r}")
        self._account = Account(probe, web, wall)
        self._action = probe.action
        self._token: Token | None = None
        self._issuing = asyncio.Lock()

    async def ask(self) -> Answer:
        """One token, or one validation."""
        try:
            if self._action == "token":
                await self._account.issue()
                return Answer(ok=True, status=201)
            async with self._issuing:
                token = self._token
                if token is None or self._account.over(token):
                    self._token = None
                    token = self._token = await self._account.issue()
        except TokenError as error:
            # Keystone is what is asked here, so this is its own outage and not "auth: …" of another service.
            return Answer(ok=False, error=error.word)
        try:
            reply = await self._account.validate(token)
        except NETWORK as error:
            return Answer(ok=False, error=classify(error))
        if reply.status != 200:
            return Answer(ok=False, error=f"status {reply.status}", status=reply.status)
        return Answer(ok=True, status=200)

    async def close(self) -> None:
        """Forget the token."""
        self._token = None
