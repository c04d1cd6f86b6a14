"""A fleet that really works: hosts ask, begin, finish or fail, operators meddle, runs interleave; judged on the hosts.

What is judged is what hosts do and may do at any moment, from their own point of view, not from the program's record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

from fast.compat.made import KEYS, START, said
from underway.app.compat import Front
from underway.config.instructions import Sources
from underway.core.compat.keys import role_of
from underway.core.compat.rollout import Terms
from underway.errors import Refused, StoreUnavailable
from underway_agent.kv.base import Kv
from underway_agent.kv.memory import MemoryKv, MemoryServer

TERMS = Terms(deadline=0)
TREE = KEYS.switches

Wrap = Callable[[Kv], Kv]
T = TypeVar("T")

_RUNNER = asyncio.Runner()
"""One event loop for all histories: making one costs more than a round."""


class Between:
    """A client of whose transactions each is preceded by what others do meanwhile."""

    def __init__(self, kv: Kv, meanwhile: Callable[[], Any]) -> None:
        self._kv, self._meanwhile = kv, meanwhile

    async def view(self, keys: Sequence[str] = (), prefixes: Sequence[str] = ()) -> Any:
        return await self._kv.view(keys, prefixes)

    async def txn(self, expect: Mapping[str, int], writes: Mapping[str, bytes | None]) -> int | None:
        await self._meanwhile()
        return await self._kv.txn(expect, writes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kv, name)


class World:
    """One seeded history. ``wrap`` goes around every run's client: a mutant breaks a rule there."""

    def __init__(self, seed: int, wrap: Wrap | None = None) -> None:
        self.rng = Random(seed)
        self.wrap = wrap or (lambda kv: kv)
        self.now = START
        self.server = MemoryServer(clock=lambda: self.now)
        rng = self.rng
        roles = rng.sample(["cp", "db", "stmon", "stosd", "web"], rng.randint(2, 4))
        self.hosts = [f"{role}{number}" for role in roles for number in range(1, rng.randint(2, 5))]
        self.limits, self.group, self.order, self.sources = self._instructions(roles)
        self.version = 2
        self.working: dict[str, str] = {}  # host -> what it installs; the truth
        self.runs: dict[str, str] = {"a": "2", "b": "2"}  # run -> the version that it works for
        self.depth = 0
        for host in self.hosts:
            self._do(self._front().register(host, "1"))
        self._put(KEYS.current, "1")
        self.found: list[str] = []
        self.rounds = self.conflicts = self.begun = 0

    def _instructions(self, roles: list[str]) -> tuple[dict[str, int], dict[str, str], dict[str, str], Sources]:
        rng = self.rng
        limits = {role: rng.choice([1, 1, 2, 3]) for role in roles if rng.random() < 0.3}
        everyone = rng.choice([1, 1, 2, 3])
        group = {role: "store" for role in roles if role.startswith("st")} if rng.random() < 0.5 else {}
        # an order that follows the list has no cycle; one inside the group is left out, as members share a limit only
        order = {
            later: earlier
            for index, later in enumerate(roles)
            for earlier in roles[:index]
            if rng.random() < 0.3 and not (later in group or earlier in group)
        }
        units = {group.get(role, role) for role in roles}
        rules: dict[str, Any] = {"rolling_rules": {"global": everyone, "roles": limits}, "role_order": order}
        if group:
            rules["group_mappings"] = {"store": "st.*"}
        return {unit: limits.get(unit, everyone) for unit in units}, group, order, said(rules)

    # --- what happens -------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One event, and judgement."""
        rng = self.rng
        chance = rng.random()
        if chance < 0.3:
            self._do(self._round(rng.choice(["a", "b"])))
        elif chance < 0.55:
            for host in rng.sample(self.hosts, min(3, len(self.hosts))):
                self._poll(host)
        elif chance < 0.72 and self.working:
            self._finish(rng.choice(sorted(self.working)))
        elif chance < 0.8:
            self._pause()
        elif chance < 0.86:
            self.version += 1
            self.runs = dict.fromkeys(rng.choice([["a"], ["b"], ["a", "b"]]), str(self.version)) | {
                run: version for run, version in self.runs.items() if rng.random() < 0.3
            }
        elif chance < 0.91:
            self._do(self._try(self._front(meanwhile=True).disable()))
        elif chance < 0.96:
            self.server.script.extend([""] * rng.randint(0, 2) + [rng.choice(["lost", "unknown"])])
        else:
            self.now += rng.choice([1, 60, 4000])
        self.judge()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return _RUNNER.run(work)

    def _front(self, meanwhile: bool = False) -> Front:
        kv: Kv = self.wrap(MemoryKv(self.server))
        if meanwhile:
            kv = Between(kv, self._meanwhile)
        return Front(kv, KEYS)

    async def _meanwhile(self) -> None:
        """What others do between a look and its write: whole rounds of the other run, hosts' reports, pauses."""
        if self.depth >= 2 or self.rng.random() < 0.5:
            return
        self.depth += 1
        what = self.rng.random()
        if what < 0.6:
            await self._round(self.rng.choice(["a", "b"]))
        elif what < 0.8 and self.working:
            host = self.rng.choice(sorted(self.working))
            await self._try(Front(MemoryKv(self.server), KEYS).register(host, self.working.pop(host)))
        else:
            await self._try(self._front().disable())
        self.depth -= 1

    async def _round(self, run: str) -> None:
        version = self.runs.get(run, str(self.version))
        self.rounds += 1
        before = self.let_in()
        ready = {role for role in self.order if self._upgraded(self.order[role])}
        paused = {host for host in self.hosts if self._paused(host)}
        alone = self.depth == 0
        serial = self.server.index
        await self._try(self._front(meanwhile=True).upgrade(version, self.sources, TERMS))
        new = self.let_in() - before
        if alone and self.server.index == serial and new:
            self.found.append(f"let in without a write: {new}")
        for host in sorted(new):
            role = role_of(host)
            if role in self.order and role not in ready and not self._upgraded(self.order[role]):
                self.found.append(f"order: {host} let in before {self.order[role]}")
            if host in paused and alone:
                self.found.append(f"paused {host} was let in")

    async def _try(self, work: Any) -> None:
        try:
            await work
        except (StoreUnavailable, Refused):
            self.conflicts += 1

    def _poll(self, host: str) -> None:
        front = Front(MemoryKv(self.server), KEYS)
        if host in self.working:
            return
        here = self._registered(host)
        if not self._do(front.should_upgrade(host)).code and not self._do(front.pending_update(host, here)).code:
            self.begun += 1
            self.working[host] = self._do(front.current_version())
        elif self.rng.random() < 0.5:  # scripts say what they run at the end of each run
            self._do(self._try(front.register(host, here)))

    def _finish(self, host: str) -> None:
        version = self.working.pop(host)
        if self.rng.random() < 0.85:  # else it failed, and asks again some time
            self._do(self._try(Front(MemoryKv(self.server), KEYS).register(host, version)))

    def _pause(self) -> None:
        host = self.rng.choice(self.hosts)
        self._put(KEYS.pause("host", host), "False" if self.rng.random() < 0.4 else None)

    def _put(self, key: str, value: str | None) -> None:
        self.server.write({}, {key: None if value is None else value.encode()})

    # --- the truth ----------------------------------------------------------------------------------------------------

    def _value(self, key: str) -> str | None:
        item = self.server.items.get(key)
        return None if item is None else item.value.decode()

    def _registered(self, host: str) -> str:
        found = [key for key in self.server.items if key.startswith(KEYS.versions) and key.endswith(f"/{host}")]
        assert len(found) == 1, found
        return found[0].split("/")[2]

    def _upgraded(self, role: str) -> bool:
        current = self._value(KEYS.current)
        return all(self._registered(host) == current for host in self.hosts if role_of(host) == role)

    def _paused(self, host: str) -> bool:
        return self._value(KEYS.pause("host", host)) == "False"

    def let_in(self) -> set[str]:
        """Hosts that would begin if they asked now, pauses apart."""
        current = self._value(KEYS.current)
        found = set()
        for host in self.hosts:
            for key in (KEYS.switch("host", host), KEYS.switch("role", role_of(host)), KEYS.switch("global")):
                value = self._value(key)
                if value is not None:
                    break
            if value != "False" and self._registered(host) != current:
                found.add(host)
        return found

    def judge(self) -> None:
        """Hosts that work or may begin at any moment, per unit, against the limit (P1, SEMANTICS D5 and D22)."""
        out = self.let_in() | set(self.working)
        for unit, limit in self.limits.items():
            mine = sorted(host for host in out if self.group.get(role_of(host), role_of(host)) == unit)
            if len(mine) > limit:
                self.found.append(f"limit: {unit} has {mine} out, its limit is {limit}")

    def settle(self) -> bool:
        """Nobody meddles any more: whether everything is upgraded in the end (L1)."""
        self.server.script.clear()
        for host in self.hosts:
            self._put(KEYS.pause("host", host), None)
        version = str(self.version + 1)
        for _ in range(20 * len(self.hosts)):
            outcome = self._do(Front(MemoryKv(self.server), KEYS).upgrade(version, self.sources, TERMS))
            if outcome.complete:
                return True
            self.judge()
            for host in self.hosts:
                self._poll(host)
                self.judge()
            for host in sorted(self.working):
                self._do(Front(MemoryKv(self.server), KEYS).register(host, self.working.pop(host)))
        return False


def violations(seed: int, wrap: Wrap | None = None, steps: int = 60, to_the_end: bool = True) -> list[str]:
    """The violations of one history, the first ones only; ``to_the_end``: whether it also has to come to one."""
    world = World(seed, wrap)
    for number in range(steps):
        world.step()
        if world.found:
            return [f"seed {seed}, step {number}: {one}" for one in world.found]
    if not to_the_end:
        return []
    if not world.settle():
        return [f"seed {seed}: never ends"]
    return [f"seed {seed}, settling: {one}" for one in world.found]
