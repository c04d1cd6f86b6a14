"""The faults of ``support.fleet_schedule``, done to a fleet: each is begun, and most are undone after a while."""

from __future__ import annotations

import base64
import hashlib
import json
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from support.fleet_judge import Entry
from support.fleet_schedule import Fault
from support.fleet_watch import Watch
from support.fleet_world import COORDINATORS, FAKETIME, HOSTS, STEPS, World
from support.stores import StoreServer
from underway import trust
from underway.core.model.ticket import TICKET_TYPE
from underway.executors.mail import ORDERS
from underway.records.kvmail import KvMail
from underway_agent.letters import OpenOrder, Orders, Part, read_orders, write_orders

Undo = Callable[[], None]
HOUR = 3600


class NotDone(Exception):
    """The fault cannot be done now: nothing is there that it could befall."""


class Faults:
    """Does faults to a world. ``entries`` gives the record of the present run; ``say`` runs an operator's command in
    the background. ``done`` counts what was done, by kind and what it befell."""

    def __init__(
        self, world: World, watch: Watch, entries: Callable[[], Sequence[Entry]], say: Callable[..., None]
    ) -> None:
        self.world = world
        self.watch = watch
        self.entries = entries
        self.say = say
        self.done: Counter[str] = Counter()
        self.paused: set[str] = set()  # programs that are not to be started again for now
        self._kept: list[tuple[str, bytes]] = []  # letters of before, with their hosts
        self._stranger = trust.Signer.generate_ed25519()
        self._kinds: dict[str, Callable[[Fault], Undo | None]] = {
            "leader killed": self._kill_leader,
            "minority parted": self._part_minority,
            "majority lost": self._part_majority,
            "client cut": self._cut_client,
            "all servers restarted": self._restart_all,
            "disk full": self._fill_disks,
            "clock an hour off": self._skew,
            "coordinator stopped": self._stop_coordinator,
            "host stopped": self._stop_host,
            "agents killed": self._kill_agent,
            "host killed": self._kill_host,
            "kill a coordinator": self._kill_coordinator,
            "store forged": self._forge,
            "operator's words": self._speak,
            "step fails": self._fail,
        }

    def do(self, fault: Fault) -> Undo | None:
        """Do it; what undoes it. Raises NotDone."""
        return self._kinds[fault.kind](fault)

    # --- the store ---------------------------------------------------------------------------------------------------

    def _kill_leader(self, _: Fault) -> Undo:
        server = self.world.cluster.leader()
        server.kill()
        self.done["store: leader killed"] += 1
        return lambda: self._revive([server])

    def _revive(self, servers: Sequence[StoreServer]) -> None:
        for server in servers:
            if not server.running:
                server.start()

    def _part_minority(self, fault: Fault) -> Undo:
        """One server, with a coordinator and two agents, is parted from the rest."""
        leader = self.world.cluster.leader()
        alone = leader if fault.pick % 2 else next(one for one in self.world.cluster.servers if one is not leader)
        names = [COORDINATORS[fault.pick % 3], HOSTS[fault.pick % 6], HOSTS[(fault.pick + 3) % 6]]
        self.world.faulty.isolate(alone, with_clients=[self.world.places[name] for name in names])
        self.done[f"store: {'leader' if alone is leader else 'follower'} parted with a coordinator and two hosts"] += 1
        return self.world.faulty.heal

    def _part_majority(self, fault: Fault) -> Undo:
        """No majority: every server is parted from every other one, or two from the third and from all clients."""
        if fault.pick % 2:
            self.world.faulty.shatter()
            self.done["store: every server parted from the others"] += 1
        else:
            first = fault.pick % 3
            servers = self.world.cluster.servers
            self.world.faulty.isolate(servers[first], servers[(first + 1) % 3])
            self.done["store: two servers parted from everybody"] += 1
        return self.world.faulty.heal

    def _cut_client(self, fault: Fault) -> Undo:
        """A coordinator or a host reaches no server, and no ``serve``."""
        leader = self._leader()
        names = [*([leader] if leader else COORDINATORS), *HOSTS, *self._at_work()]
        name = names[fault.pick % len(names)]
        servers = [self.world.faulty.host(server) for server in self.world.cluster.servers]
        self.world.faulty.net.part([self.world.places[name]], [*servers, self.world.operator])
        self.done[f"network: {_kind(name)} cut off"] += 1
        return self.world.faulty.heal

    def _restart_all(self, _: Fault) -> Undo | None:
        self.world.cluster.restart_all()
        self.done["store: all servers restarted"] += 1
        return None

    def _fill_disks(self, fault: Fault) -> Undo:
        servers = self.world.cluster.servers if fault.pick % 2 else [self.world.cluster.leader()]
        for server in servers:
            self.world.faulty.fill(server)
        self.done[f"store: disk full, {'all servers' if fault.pick % 2 else 'leader'}"] += 1

        def undo() -> None:
            for server in servers:
                self.world.faulty.drain(server)
            self._revive(servers)
            self.world.cluster.wait_ready()

        return undo

    # --- clocks ------------------------------------------------------------------------------------------------------

    def _skew(self, fault: Fault) -> Undo:
        """The wall clock of a host, or of the coordinator that leads, is an hour off."""
        if not FAKETIME.exists():
            raise NotDone("no libfaketime (scripts/setup --debian)")
        seconds = HOUR if fault.pick % 2 else -HOUR
        if fault.pick % 4 < 2:
            name = HOSTS[fault.pick // 4 % 2]  # of those whose turn comes before it is undone
            self._restart_with(name, seconds)
        else:
            name = COORDINATORS[fault.pick % len(COORDINATORS)]
            self._restart_with(name, seconds)
            for other in COORDINATORS:
                if other != name:
                    self.world.kill(other)  # they come back, and stand by
        self.done[f"clock: {_kind(name)} an hour {'ahead' if seconds > 0 else 'behind'}"] += 1
        return lambda: self._restart_with(name, 0)

    def _restart_with(self, name: str, seconds: int) -> None:
        self.world.kill(name)
        program = self.world.programs[name]
        program.skew = seconds
        self.world.again(program)

    # --- processes ---------------------------------------------------------------------------------------------------

    def _stop_coordinator(self, _: Fault) -> Undo:
        """For longer than its lease: another one takes over, and it finds out when it goes on."""
        name = self._leader()
        process = self.world.programs[name].process if name else None
        if process is None or process.poll() is not None:
            raise NotDone("nobody leads")
        process.send_signal(signal.SIGSTOP)
        self.done["coordinator: stopped beyond its lease"] += 1
        return lambda: process.send_signal(signal.SIGCONT)

    def _stop_host(self, fault: Fault) -> Undo:
        """Everything on a host that is at work, for longer than it may be silent."""
        name = self._chosen(fault)
        self.world.signal_host(name, signal.SIGSTOP)
        self.done["host: stopped beyond the time of silence"] += 1
        return lambda: void(self.world.signal_host(name, signal.SIGCONT))

    def _kill_agent(self, fault: Fault) -> None:
        name = "serve" if fault.pick % 8 == 7 else self._chosen(fault) if fault.pick % 2 else HOSTS[fault.pick % 6]
        if not self.world.kill(name):
            raise NotDone(f"{name} does not run")
        self.done[f"{'serve' if name == 'serve' else 'agent'}: kill -9"] += 1

    def _kill_host(self, fault: Fault) -> None:
        """Everything on it, as a power cut does: agent, runner, Ansible, the task."""
        name = self._chosen(fault)
        self.world.signal_host(name, signal.SIGKILL)
        self.done["host: everything on it killed"] += 1

    def _kill_coordinator(self, fault: Fault) -> None:
        name = (self._leader() or COORDINATORS[0]) if fault.pick % 3 else COORDINATORS[fault.pick % 3]
        if not self.world.kill(name):
            raise NotDone(f"{name} does not run")
        self.done["coordinator: kill -9"] += 1

    # --- what is written ---------------------------------------------------------------------------------------------

    def _forge(self, fault: Fault) -> None:
        """A thief of the store leaves an order where an agent looks for it."""
        mail = KvMail(self.watch.session.store)  # type: ignore[arg-type]  # it is one in a server
        letters = [(one.key.removeprefix(ORDERS), one.data) for one in mail.list(ORDERS)[0]]
        whole = [(host, data) for host, data in letters if read_orders(data).orders]
        if not whole:
            raise NotDone("no host has an order")
        host, data = whole[fault.pick % len(whole)]
        order = read_orders(data).orders[0]
        kept, self._kept = self._kept, [*self._kept, (host, data)][-20:]
        ways: list[tuple[str, str, list[OpenOrder]]] = [
            ("files were changed", host, [replace(order, files=_evil(order))]),
            ("signed by a stranger", host, [self._stolen(order)]),
            ("of another host", HOSTS[(HOSTS.index(host) + 1) % len(HOSTS)], [order]),
            ("cut short", host, [replace(order, ticket=order.ticket[:-20])]),
        ]
        if kept:
            old_host, old = kept[fault.pick % len(kept)]
            ways.append(("of before", old_host, list(read_orders(old).orders)))
        how, victim, orders = ways[fault.pick // 7 % len(ways)]
        mail.put(ORDERS + victim, write_orders(Orders(tuple(orders))))
        self.done[f"forged: an order {how}"] += 1

    def _stolen(self, order: OpenOrder) -> OpenOrder:
        """Other files, and a ticket that names them, signed with a key that nobody trusts."""
        files = _evil(order)
        ticket = json.loads(base64.b64decode(json.loads(order.ticket)["payload"]))
        ticket["token"] = order.token + 1000
        ticket["files"] = {name: hashlib.sha256(part.data).hexdigest() for name, part in files.items()}
        ticket["digest"] = ticket["files"].get(ticket["playbook"], "")
        signed = trust.sign(self._stranger, TICKET_TYPE, json.dumps(ticket).encode())
        return replace(order, token=order.token + 1000, ticket=signed, files=files)

    def _speak(self, fault: Fault) -> Undo:
        """An operator holds a host that has not begun, or pauses the run; and takes it back."""
        begun = {entry.host for entry in self.entries()}
        waiting = [host for host in HOSTS if host not in begun]
        if fault.pick % 2 and waiting:
            host = waiting[fault.pick % len(waiting)]
            self.say("hold", host, "--reason", f"held by fault {fault.pick}", must=True)
            self.done["operator: a host is held"] += 1
            return lambda: self.say("release", host, "--reason", f"let go by fault {fault.pick}", must=True)
        self.say("pause", "--reason", f"paused by fault {fault.pick}", must=True)
        self.done["operator: the run is paused"] += 1
        return lambda: self.say("resume", "--reason", f"resumed by fault {fault.pick}", must=True)

    def _fail(self, fault: Fault) -> Undo:
        """A step fails on a host until it is repaired; the budget is one."""
        begun = {entry.host for entry in self.entries()}
        waiting = [host for host in HOSTS if host not in begun] or self._at_work()
        if not waiting:
            raise NotDone("every host is done")
        flag = self.world.record.with_name(f"effects.fail.{waiting[fault.pick % min(2, len(waiting))]}")
        flag.touch()
        self.done["host: a step fails"] += 1
        return lambda: flag.unlink(missing_ok=True)

    # --- who ---------------------------------------------------------------------------------------------------------

    def _leader(self) -> str:
        """The coordinator that leads, as the store says; "" where it is none of ours."""
        for name in COORDINATORS:
            program = self.world.programs.get(name)
            if program and program.process and program.process.pid == self.watch.leader:
                return name
        return ""

    def _at_work(self) -> list[str]:
        """Hosts that have begun and not finished, by the record."""
        ends: Counter[str] = Counter()
        for entry in self.entries():
            ends[entry.host] += entry.what == "end"
        return [host for host, count in ends.items() if count < len(STEPS)]

    def _chosen(self, fault: Fault) -> str:
        names = self._at_work() or HOSTS
        return names[fault.pick % len(names)]


def _kind(name: str) -> str:
    return "a coordinator" if name in COORDINATORS else "a host"


def _evil(order: OpenOrder) -> dict[str, Part]:
    """The same files with other work in them: a step that the judge knows no plan for."""
    return {name: Part(part.data.replace(b" turn ", b" evil ")) for name, part in order.files.items()}


def void(_: object) -> None:
    return
