"""The options by which a command that speaks with a key-value server finds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from underway.errors import InputError

if TYPE_CHECKING:
    from underway.core.compat.keys import Keys
    from underway_agent.kv.base import Kv

DEFAULT = "consul+http://127.0.0.1:8500"
"""Consul's agent on the same machine, as the hosts' scripts ask it."""


@dataclass(frozen=True)
class Store:
    """Where the keys lie, and the files that let us in."""

    url: str
    ca: str
    certificate: str
    key: str
    token: str
    user: str
    password: str
    insecure: bool

    @property
    def keys(self) -> Keys:
        """The layout under the address's prefix. Raises InputError."""
        from underway.core.compat.keys import Keys

        prefix = self._access().address.prefix
        return Keys(prefix=f"{prefix}/" if prefix else "")

    @property
    def kind(self) -> str:
        """``consul`` or ``etcd``. Raises InputError."""
        return str(self._access().address.kind)

    def open(self) -> Kv:
        """A client; to be made in the event loop that uses it. Raises InputError."""
        from underway_agent.kv.address import AddressError
        from underway_agent.kv.opening import open_kv

        try:
            return open_kv(self._access())
        except AddressError as error:
            raise InputError(str(error)) from None

    def _access(self) -> Any:
        from underway_agent.kv.address import Access, AddressError

        try:
            return Access(
                self.url, self.ca, self.certificate, self.key, self.token, self.user, self.password, self.insecure
            )
        except AddressError as error:
            raise InputError(str(error)) from None


def _option(flag: str, name: str, help_text: str, metavar: str = "FILE") -> Callable[[Any], Any]:
    variable = f"UNDERWAY_COMPAT{flag.upper().replace('--', '_').replace('-', '_')}"
    return click.option(flag, name, metavar=metavar, default="", envvar=variable, help=help_text)


_OPTIONS = (
    click.option(
        "--store",
        "url",
        metavar="ADDRESS",
        envvar="UNDERWAY_COMPAT_STORE",
        default=DEFAULT,
        show_default=True,
        help="Where the keys are: consul[+http]://HOST:PORT[/PREFIX] or etcd[+http]://...",
    ),
    _option("--ca", "ca", "Who signs the server's certificate."),
    _option("--certificate", "certificate", "Our certificate."),
    _option("--key", "key", "Its key."),
    _option("--token-file", "token", "Consul's ACL token."),
    _option("--user", "user", "User of etcd.", metavar="NAME"),
    _option("--password-file", "password", "Its password."),
    click.option("--insecure", is_flag=True, help="Allow plain HTTP to other machines."),
)
_FIELDS = ("url", "ca", "certificate", "key", "token", "user", "password", "insecure")


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options, given to the command as ``store``. Each but ``--insecure`` has a variable: UNDERWAY_COMPAT_CA."""

    @wraps(command)
    def wrapped(*args: Any, **given: Any) -> Any:
        store = Store(**{name: given.pop(name) for name in _FIELDS})
        return command(*args, store=store, **given)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
