"""The executor of a simulated coordinator: orders and reports travel, are late, doubled or lost, and are asked for
again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from underway.executors.base import Order, Report, ReportKind
from underway.sim.hosts import Leg, SimHost, read_ticket, report_of
from underway.sim.world import World


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the network is. ``latency`` seconds one way; ``loss``, ``late`` and ``twice`` the shares of messages
    that are lost, up to ``delay`` seconds late (and so overtaken by others), or delivered twice; a lost message is
    asked for again after ``again`` seconds (the follow connection is made anew)."""

    latency: float = 0.05
    loss: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    delay: float = 90.0
    again: float = 5.0


def _nobody() -> None:
    """Nobody waits for reports."""


class SimExecutor:
    """One coordinator's way to the hosts. When its process dies (``die``), what it had sent still arrives."""

    def __init__(self, world: World, hosts: Mapping[str, SimHost], weather: Weather, lines: bool = True) -> None:
        self._world, self._hosts, self.weather = world, hosts, weather
        self._inbox: list[Report] = []
        self._orders: dict[tuple[str, str, int], Order] = {}
        self._dead = False
        self._lines = lines
        self._known: dict[str, int] = {}
        self._followed: set[str] = set()
        self._asking: set[tuple[str, str, int, int]] = set()
        self.wake: Callable[[], None] = _nobody

    def submit(self, order: Order) -> None:
        """See Executor."""
        key = (order.run, order.action, order.leg)
        self._orders[key] = order
        name = order.host.name
        if name not in self._followed:
            self._followed.add(name)
            self._hosts[name].follow(self._heard)
        self._send(order)

    def cancel(self, order: Order) -> None:
        """See Executor."""
        host = self._hosts[order.host.name]
        self._world.after(self.weather.latency, lambda: host.cancel(order))

    def withdraw(self, run: str, action: str) -> None:
        """See Executor. What is on its way arrives all the same, as on a real network."""

    def reports(self, timeout: float) -> list[Report]:  # noqa: ARG002  time does not pass while one waits here
        """See Executor."""
        found, self._inbox = self._inbox, []
        return found

    def close(self) -> None:
        """See Executor."""
        self.die()

    def die(self) -> None:
        """The process is gone: nobody reads reports any more."""
        self._dead = True
        self._inbox = []

    def _travel(self, arrive: Callable[[], None]) -> None:
        weather, odds = self.weather, self._world.odds
        slow = self._world.chance.uniform(0, weather.delay) if odds(weather.late, "message-late") else 0.0
        self._world.after(weather.latency + slow, arrive)

    def _send(self, order: Order) -> None:
        host = self._hosts[order.host.name]

        def arrive() -> None:
            if not host.reachable or self._world.odds(self.weather.loss, "order-lost"):
                self._deliver(report_of(host, order, "unreachable", "no answer"), sure=True)
                self._later(order)
                return
            kind = host.start(order, read_ticket(order))
            if kind == "busy":
                self._later(order)
            text = {"refused": "a later ticket is known", "unknown": "its journal is damaged"}.get(kind, "")
            if kind == "unknown":
                self._deliver(self._report(host, order, kind, text))
                return
            self._deliver(self._report(host, order, kind, text))
            self._heard_leg(host, order)

        self._travel(arrive)
        if self._world.odds(self.weather.twice, "order-twice"):
            self._travel(arrive)

    def _later(self, order: Order) -> None:
        """Ask again in a while; one question per order is under way at most."""
        key = (order.run, order.action, order.leg, order.token)
        if key not in self._asking:
            self._asking.add(key)
            self._world.after(self.weather.again, lambda: self._again(order))

    def _again(self, order: Order) -> None:
        self._asking.discard((order.run, order.action, order.leg, order.token))
        latest = self._orders.get((order.run, order.action, order.leg))
        if not self._dead and latest is not None and latest.token == order.token:
            self._send(latest)  # handed over again meanwhile, it is the same order

    def _heard(self, leg: Leg) -> None:
        order = self._orders.get((leg.ticket.run, leg.ticket.action, leg.ticket.leg))
        if order is not None and order.token == leg.token and not self._dead:
            self._heard_leg(self._hosts[order.host.name], order)

    def _heard_leg(self, host: SimHost, order: Order) -> None:
        leg = host.leg(order)
        if leg is None or leg.token != order.token or leg.state in ("accepted", "progress"):
            if leg is not None and leg.token == order.token and not leg.alive:
                self._later(order)  # the runner died: start it again
            return
        self._deliver(self._report(host, order, leg.state))

    def _deliver(self, report: Report, sure: bool = False) -> None:
        host = self._hosts[report.host]

        def arrive() -> None:
            if self._dead:
                return
            if not sure and (not host.reachable or self._world.odds(self.weather.loss, "report-lost")):
                self._world.after(self.weather.again, arrive)  # the follower connects again and reads it then
                return
            host.noticed = max([host.noticed, *(line.seq for line in report.lines[-1:])])
            self._inbox.append(report)
            self.wake()

        self._travel(arrive)
        if self._world.odds(self.weather.twice, "report-twice"):
            self._travel(arrive)

    def _report(self, host: SimHost, order: Order, kind: ReportKind, text: str = "") -> Report:
        since = self._known.get(host.name, order.since) if self._lines else 1 << 60
        found = report_of(host, order, kind, text, since)
        if found.lines:
            self._known[host.name] = found.lines[-1].seq
        return found
