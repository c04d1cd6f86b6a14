"""Fleets by keys for the tests, in few words."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from underway.app.compat import Front, Outcome
from underway.config.instructions import Sources, read_instructions
from underway.core.compat.keys import Keys
from underway.core.compat.rollout import Terms
from underway_agent.kv.memory import MemoryKv, MemoryServer

T = TypeVar("T")

KEYS = Keys()
START = 1_790_000_000.0

BESIDE = Path(__file__).parents[4] / "shared" / "fixtures"
FIXTURE = Path(os.environ.get("UNDERWAY_FIXTURES", BESIDE)) / "golden" / "jiocloud_rule_cases.json"


def golden() -> dict[str, Any]:
    """The golden cases; empty where the fixture is absent, which a test of its own says loudly."""
    found: dict[str, Any] = (
        json.loads(FIXTURE.read_text()) if FIXTURE.exists() else {"cases": [], "hostname_to_role": {}}
    )
    return found


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def said(instructions: Mapping[str, Any] | str | None, file: Path | None = None) -> Sources:
    """Instructions as the command line gives them, over those of a file where one is named."""
    text = instructions if isinstance(instructions, str) else json.dumps(instructions or {})
    return read_instructions(text, file, usual=())


class Site:
    """Keys on a server in memory, and a clock that stands still until it is moved."""

    def __init__(self, keys: Mapping[str, str] | None = None, inventory: Mapping[str, str] | None = None) -> None:
        self.now = START
        self.server = MemoryServer(clock=lambda: self.now)
        self.inventory = inventory
        for key, value in (keys or {}).items():
            self.put(key, value)

    def put(self, key: str, value: str | None) -> None:
        """What somebody else writes: an operator by hand, or a host."""
        self.server.write({}, {key: None if value is None else value.encode()})

    def front(self) -> Front:
        return Front(MemoryKv(self.server), KEYS, self.inventory)

    @property
    def keys(self) -> dict[str, str]:
        """All keys but the program's record."""
        return {key: item.value.decode() for key, item in self.server.items.items() if key != KEYS.record}

    def status(self) -> dict[str, list[str]]:
        return run(self.front().look())[0].hash()

    def upgrade(self, version: str, instructions: Mapping[str, Any] | None = None, **more: Any) -> Outcome:
        terms = more.pop("terms", Terms(deadline=0))
        return run(self.front().upgrade(version, said(instructions), terms, **more))

    def report(self, host: str, version: str) -> None:
        """A host says that it runs a version, by the published keys."""
        run(self.front().register(host, version))


def fleet(by_state: Mapping[str, Mapping[str, list[str]]], new: str = "2", old: str = "1") -> dict[str, str]:
    """Keys under which the hosts are in these states: upgraded, upgrading, pending -> role -> hosts."""
    keys = {"current_version": new, "config_state/enable_puppet/global": "False"}
    for state, roles in by_state.items():
        for hosts in roles.values():
            for host in hosts:
                keys[f"running/versions/{new if state == 'upgraded' else old}/{host}"] = str(START)
                if state == "upgrading":
                    keys[f"config_state/enable_puppet/host/{host}"] = "True"
    return keys


def old(*hosts: str, version: str = "1") -> dict[str, str]:
    """Hosts that run an old version, which is the current one, and no other key."""
    return {"current_version": version} | {f"running/versions/{version}/{host}": str(START) for host in hosts}
