"""What is done to hosts before a run: their keys, the runner, and whose plans they trust."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from underway.app.place import Place
from underway.core.model.cluster import Host
from underway.errors import NotTrusted
from underway.executors import hostkeys
from underway.executors.hostkeys import HostKey
from underway.executors.install import put_runner
from underway.executors.ssh import SshExecutor
from underway.executors.wheel import Wheel, runner_wheel


class Hosts:
    """The hosts of a place, as the ``enrol`` command sees them. Close it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._ssh = SshExecutor(known_hosts=place.known_hosts, control=place.state / "ssh")
        self._wheel: Wheel | None = None

    def add_key(self, host: Host, text: str, instead: bool) -> str:
        """Trust a host key that the operator gives, ``instead`` of those before; what was done.

        Raises InputError, NotTrusted.
        """
        return self._trust(host, hostkeys.parse(text), instead)

    def scan(self, host: Host) -> list[HostKey]:
        """The keys that the host shows, strongest kind first; none of them is trusted yet. Raises Unreachable."""
        return hostkeys.scan(host)

    def trust_scanned(self, host: Host, keys: Sequence[HostKey], fingerprint: str, instead: bool) -> str:
        """Trust the scanned key with this fingerprint, ``instead`` of those before.

        Raises NotTrusted if none has it, InputError.
        """
        hostkeys.check_fingerprint(fingerprint)
        for key in keys:
            if key.fingerprint == fingerprint:
                return self._trust(host, key, instead)
        shown = ", ".join(key.fingerprint for key in keys)
        raise NotTrusted(
            f"{host.name}: shows no key with the fingerprint {fingerprint}, but {shown}; nothing was written"
        )

    def is_trusted(self, host: Host, key: HostKey) -> bool:
        """Whether this very key is trusted already."""
        return key in hostkeys.known(self._place.known_hosts, host)

    def install(self, host: Host, wheelhouse: Path | None, python: str, say: Callable[[str], None]) -> bool:
        """Put the runner there (see ``put_runner``)."""
        if self._wheel is None:
            self._wheel = runner_wheel()
        return put_runner(self._ssh, host, self._wheel, wheelhouse, python, say)

    def close(self) -> None:
        """Close the connections."""
        self._ssh.close()

    def _trust(self, host: Host, key: HostKey, instead: bool) -> str:
        new = hostkeys.trust(self._place.known_hosts, host, key, instead)
        return f"host key {key.fingerprint} ({key.kind}) {'is trusted now' if new else 'was trusted before'}"
