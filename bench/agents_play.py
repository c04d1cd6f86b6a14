"""The agents of ``bench/agents.py``: real links over HTTPS, and a host that only sleeps.

``python bench/agents_play.py ROOT URL HOSTS``: so many agents in one process. It prints ``"connected"`` when the last
of them is, ends when its input does, and prints then how long each grant was on its way.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

from underway_agent import dsse, letters
from underway_agent.link.base import LinkDown
from underway_agent.link.http import HttpLink

CLUSTER = "pulled"

SHORTEST, LONGEST = 1.0, 3.0
"""Seconds of a host's task."""


def name_of(number: int) -> str:
    """The name of a host."""
    return f"h{number:05d}"


def seconds_of(host: str) -> float:
    """How long the task of a host takes; the same in every process."""
    return random.Random(host).uniform(SHORTEST, LONGEST)


class Player:
    """One agent without a runner: it says that it took an order, sleeps, and says that it has ended."""

    def __init__(self, host: str, url: str, authority: Path, key: Path) -> None:
        self.host = host
        self.key = dsse.load_key(key)
        self.link = HttpLink(url, host, host, authority)
        self.waited: list[float] = []
        self.connected = False

    async def play(self) -> None:
        await asyncio.sleep(random.uniform(0.0, 5.0))
        said = {
            "protocol": letters.PROTOCOL, "cluster": CLUSTER, "host": self.host, "agent": "bench", "runner": "bench",
            "enrolled": True, "boot": "b", "facts": {},
        }  # fmt: skip
        hello = dsse.sign(self.key, letters.HELLO_TYPE, json.dumps(said).encode())
        await self.until_heard(lambda: self.link.hello(hello))
        self.connected = True
        mark, seen = "", set()
        while True:
            found = await self.until_heard(lambda mark=mark: self.link.orders(mark, 50.0))
            if found is None:
                continue
            mark = found.mark
            for order in letters.read_orders(found.data).orders:
                if order.key in seen:
                    continue
                seen.add(order.key)
                ticket = json.loads(base64.b64decode(json.loads(order.ticket)["payload"]))
                self.waited.append(time.time() - float(ticket["issued"]))  # noqa: TID251  as the ticket has it
                await self.tell(order, "accepted", 1)
                lasts = seconds_of(self.host)
                await asyncio.sleep(lasts)
                await self.tell(order, "finished", 6, lasts)

    async def until_heard(self, ask: Any) -> Any:
        while True:
            try:
                return await ask()
            except LinkDown:
                await asyncio.sleep(random.uniform(0.0, 2.0))

    async def tell(self, order: letters.OpenOrder, kind: str, many: int, lasted: float = 0.0) -> None:
        run, action, leg, token = order.key
        where = {"run": run, "action": action, "leg": leg, "token": token, "at": 0.0, "mono": 0.0}
        lines = [{**where, "seq": number, "kind": "task", "text": "x" * 80} for number in range(1, many + 1)]
        standing = letters.Standing(run, action, leg, token, kind, duration=lasted)
        said = letters.Reported(CLUSTER, self.host, "b", time.monotonic(), lines=lines, standings=(standing,))
        letter = dsse.sign(self.key, letters.REPORT_TYPE, letters.write_report(said))
        await self.until_heard(lambda: self.link.report(letter))


def play(root: Path, url: str, hosts: list[str]) -> None:
    """The process of all agents: says when the last one is connected; ends when its input does, and prints how long
    grants were on their way."""

    async def whole() -> list[float]:
        players = [Player(host, url, root / ".underway/keys/serve-ca.crt", root / "host.key") for host in hosts]
        tasks = [asyncio.ensure_future(player.play()) for player in players]
        while not all(player.connected for player in players):
            await asyncio.sleep(0.2)
            for task in tasks:
                if task.done():
                    task.result()
        print(json.dumps("connected"), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for player in players:
            await player.link.close()
        return [waited for player in players for waited in player.waited]

    print(json.dumps(asyncio.run(whole())))


def many_files() -> None:
    """A connection for every agent, on both sides."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    many_files()
    play(Path(sys.argv[1]), sys.argv[2], [name_of(number) for number in range(int(sys.argv[3]))])
