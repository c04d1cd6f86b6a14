"""User and password of a probe that speaks no HTTP."""

from __future__ import annotations

from pathlib import Path

from underway.core.model.cluster import Probe
from underway.errors import InputError


class NoPassword(Exception):
    """The file of the password cannot be read: this machine cannot ask."""


class Login:
    """The ``auth`` of a probe: ``user`` and ``password_file``. Raises InputError for one that is not whole."""

    def __init__(self, probe: Probe) -> None:
        for name in ("user", "password_file"):
            if not probe.auth.get(name):
                raise InputError(f"probe {probe.name}: {probe.kind}: expected {name}, found none")
        self.user = probe.auth["user"]
        self._file = Path(probe.auth["password_file"])

    def password(self) -> str:
        """Read anew each time and kept nowhere. Raises NoPassword."""
        try:
            return self._file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise NoPassword from error
