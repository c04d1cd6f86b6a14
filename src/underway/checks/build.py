"""Probes become checks: the one map from kinds to classes."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from underway.checks.base import Check
from underway.checks.command import CommandCheck
from underway.checks.http import HttpCheck, PlainCheck
from underway.checks.keystone import Account, KeystoneCheck, Tokens
from underway.checks.leftovers import Leftovers
from underway.checks.server import HEADERS, ServerCheck
from underway.checks.target import Resolver, check_address, check_url, is_local
from underway.checks.tcp import TcpCheck
from underway.checks.web import Web
from underway.checks.wire import Wire
from underway.checks.write import WriteCheck
from underway.core.model.base import canonical, replace
from underway.core.model.cluster import Probe
from underway.errors import InputError

FASTEST = 0.01
"""The shortest interval, seconds."""


class Kit:
    """The checks of one prober and what they share. Belongs to the running loop.

    ``wall`` is the wall clock (the end of a token is told in it). Raises InputError for a probe that cannot be asked.
    """

    def __init__(self, probes: Mapping[str, Probe], wall: Callable[[], float], leftovers: Path | None = None) -> None:
        self._resolver = Resolver()
        self._wire = Wire(asyncio.get_running_loop())
        self._web = Web(self._resolver)
        self._wall = wall
        self._leftovers = Leftovers(leftovers) if any(map(leaves, probes.values())) else None
        self._tokens: dict[bytes, Tokens] = {}
        self.checks: dict[str, Check] = {}
        try:
            for probe in probes.values():
                self.checks[probe.name] = self._make(probe)
        except InputError:
            self._wire.close()
            raise

    def _make(self, probe: Probe) -> Check:
        if not probe.every >= FASTEST:
            raise InputError(f"probe {probe.name}: every: expected at least {FASTEST} s, found {probe.every}")
        if not 0 < probe.timeout <= 600:
            raise InputError(f"probe {probe.name}: timeout: expected 0 to 600 s, found {probe.timeout}")
        if probe.kind == "tcp":
            return TcpCheck(probe, self._resolver)
        if probe.kind == "command":
            return CommandCheck(probe)
        if probe.kind == "keystone":
            return KeystoneCheck(probe, self._web, self._wall)
        if probe.kind == "amqp" or probe.kind == "mysql":
            made: Check = _extra(probe)(probe, self._web, self._resolver)
            return made
        if leaves(probe):
            assert self._leftovers is not None
            if probe.kind == "server":
                inner = HttpCheck(replace(probe, headers=HEADERS), self._web, self._shared(probe))
                return ServerCheck(probe, inner, self._leftovers)
            return WriteCheck(probe, HttpCheck(probe, self._web, self._shared(probe)), self._leftovers)
        if probe.auth or check_url(probe.url, probe.name).scheme == "https":
            return HttpCheck(probe, self._web, self._shared(probe))
        return PlainCheck(probe, self._wire, self._resolver)

    def _shared(self, probe: Probe) -> Tokens | None:
        """One token for all probes with the same account."""
        if not probe.auth:
            return None
        key = canonical([probe.auth, probe.ca])
        if key not in self._tokens:
            self._tokens[key] = Tokens(Account(probe, self._web, self._wall))
        return self._tokens[key]

    async def close(self) -> None:
        """Clean up what write probes left, close connections."""
        for check in self.checks.values():
            await check.close()
        await self._web.close()
        self._wire.close()
        if self._leftovers is not None:
            self._leftovers.close()


def leaves(probe: Probe) -> bool:
    """Whether a probe makes what it must delete again (without ``cleanup``: the same request each time, as written)."""
    return probe.kind == "server" or (probe.kind == "http" and probe.access == "write" and bool(probe.cleanup))


def _extra(probe: Probe) -> Any:
    """The check class of a kind that needs a library of its own. Raises InputError where that is not installed."""
    module, name = {"amqp": ("amqp", "AmqpCheck"), "mysql": ("mysql", "MysqlCheck")}[probe.kind]
    try:
        return getattr(importlib.import_module(f"underway.checks.{module}"), name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"probe {probe.name}: {probe.kind} probes need the library {error.name}, which is not installed "
            "(pip install 'underway[openstack]')"
        ) from error


def asks_this_machine(probe: Probe) -> bool:
    """Whether a probe's target is this machine, so that it needs no network."""
    if probe.kind == "command":
        return False  # nobody knows what a command asks
    if probe.kind in ("tcp", "amqp", "mysql"):
        return is_local(check_address(probe.address, probe.name)[0])
    url = probe.url or probe.auth.get("url", "")
    return is_local(check_url(url, probe.name).hostname or "")
