"""Hosts that fetch their work: orders are left for the host's agent, and its signed letters are read.

The same contract as over SSH, and the same runner on the host; only the way differs. What is known here is a view: a
new process leaves the same orders again, and the runner answers what it did.

Assumptions
    1. Whoever can write the mail may delay, and may put a letter back that a host once wrote. He can author neither an
       order that a runner takes (plan and ticket are signed) nor a report or a cancellation (signed as well).
    2. Several coordinators, of one run or of several, may leave orders for one host: each adds its own to those that
       are there, and leaves them again where they are missed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby

from underway.core.model.event import VOLATILE, HostLine
from underway.errors import NotTrusted, StoreError
from underway.executors.base import Order, Report, ReportKind
from underway.executors.changes import digest_in, named_in, packed
from underway.executors.lines import line_of
from underway.executors.mail import AGENTS, BLOBS, ORDERS, REPORTS, Mail, put_blob
from underway_agent.letters import (
    CANCEL_TYPE,
    FINAL,
    HELLO_TYPE,
    LARGEST,
    MOST_ORDERS,
    REPORT_TYPE,
    Key,
    LetterWrong,
    OpenOrder,
    Orders,
    Part,
    Reported,
    check_protocol,
    newer_keys,
    read_hello,
    read_orders,
    read_report,
    write_orders,
)

SILENT = 30.0
"""Seconds without a letter after which a host at work counts as out of reach: three of its agent's heartbeats."""

AGAIN = 5.0
"""Seconds between two reports that a host is out of reach."""

MISS = 1.0
"""Seconds between two looks at who has been silent."""

INLINE = 16 * 1024
"""Bytes up to which a file of an order stands in the letter itself."""

ACKNOWLEDGE = 16 * 1024
"""Bytes of journal lines after which the agent is told that they have come: until then it repeats them."""

Verify = Callable[[str, str, bytes], bytes]
"""(host, payload type, envelope) -> payload, if the host's enrolled key signed it. Raises NotTrusted."""

Sign = Callable[[str, bytes], bytes]
"""(payload type, payload) -> envelope signed with the key that signs tickets."""


@dataclass(slots=True)
class _Open:
    """An order that is followed."""

    order: Order
    letter: OpenOrder
    accepted: bool = False


@dataclass(slots=True)
class _Host:
    """What is known of one host's mail. Times are monotonic seconds."""

    heard: float
    open: dict[Key, _Open] = field(default_factory=dict)
    gone: set[Key] = field(default_factory=set)  # ended here: not to be left again by a merge
    over: set[Key] = field(default_factory=set)  # ended by the host's own word, and followed by nobody here
    since: int = 0
    unacknowledged: int = 0
    complained: float = 0.0
    boots: dict[str, float] = field(default_factory=dict)
    boot: str = ""
    trouble: str = ""


class PullExecutor:
    """The contract of ``executors/base.py`` over mail. Not for several threads at once."""

    def __init__(
        self,
        mail: Mail,
        cluster: str,
        verify: Verify,
        sign: Sign,
        clock: Callable[[], float] = time.monotonic,
        links: Callable[[], Sequence[bytes]] = tuple,
    ) -> None:
        """``links``: the signed changes of the keys that hosts are to know, oldest first."""
        self._mail = mail
        self._cluster = cluster
        self._verify = verify
        self._sign = sign
        self._clock = clock
        self._links = links
        self._hosts: dict[str, _Host] = {}
        self._dirty: set[str] = set()  # hosts whose letter is to be written
        self._at_work: set[str] = set()  # hosts with open orders
        self._outbox: deque[Report] = deque()
        self._mark: int | None = None
        self._missed = 0.0
        self._blobs: dict[str, bytes] = {}  # digest -> plan or file that hosts are to fetch
        self._left: set[str] = set()  # digests of blobs that are known to be there

    def submit(self, order: Order) -> None:
        """Leave an order for the host's agent at the next ``reports``; one that is followed already is left alone."""
        key = (order.run, order.action, order.leg, order.token)
        host = self._hosts.setdefault(order.host.name, _Host(self._clock()))
        if key in host.open:
            return
        if not host.open:
            host.heard, host.trouble = self._clock(), ""
            host.since = max(host.since, order.since)
            self._at_work.add(order.host.name)
        digest = hashlib.sha256(order.plan).hexdigest()
        self._blobs[digest] = order.plan
        files = {}
        for name, data in order.files:
            if len(data) <= INLINE:
                files[name] = Part(data)
                continue
            files[name] = Part(digest=hashlib.sha256(data).hexdigest())
            self._blobs[files[name].digest] = data
        letter = OpenOrder(*key, ticket=order.ticket, plan=digest, files=files, known=order.known)
        host.open[key] = _Open(order, letter)
        host.gone.discard(key)
        self._dirty.add(order.host.name)

    def cancel(self, order: Order) -> None:
        """Leave a signed word that the leg is to be stopped; the report of how it stands comes as usual."""
        self.submit(order)
        host = self._hosts[order.host.name]
        open_ = host.open[(order.run, order.action, order.leg, order.token)]
        if open_.letter.cancel:
            return
        word = cancellation(self._cluster, order.host.name, open_.letter.key)
        open_.letter = OpenOrder(**{**vars(open_.letter), "cancel": self._sign(CANCEL_TYPE, word)})
        self._dirty.add(order.host.name)

    def withdraw(self, run: str, action: str) -> None:
        """Take an order back that no host has begun, at the next ``reports`` or ``close``."""
        for name in sorted(self._at_work):
            host = self._hosts[name]
            for key in [key for key, open_ in host.open.items() if key[:2] == (run, action) and not open_.accepted]:
                self._forget(name, host, key)

    def reports(self, timeout: float) -> list[Report]:
        """What came in since the last call; waits up to ``timeout`` seconds for the first. Raises StoreUnavailable."""
        deadline = self._clock() + timeout
        while True:
            self._leave_letters()
            self._read_letters()
            self._miss_hosts()
            left = deadline - self._clock()
            if self._outbox or left <= 0:
                found = list(self._outbox)
                self._outbox.clear()
                return found
            if not self._dirty:
                self._mail.wait(REPORTS, self._mark or 0, min(left, MISS))

    def close(self) -> None:
        """Take away what has ended, and what no host has begun: nobody follows it. Work on hosts goes on."""
        for run, action, *_ in [key for name in self._at_work for key in self._hosts[name].open]:
            self.withdraw(run, action)
        with suppress(StoreError):  # then it lies there until the next coordinator, whose tickets are the same
            self._leave_letters()

    # --- letters to hosts --------------------------------------------------------------------------------------

    def _leave_letters(self) -> None:
        if self._mark is None:
            _, self._mark = self._mail.list("none/")  # letters of before are looked at host by host
        for name in sorted(self._dirty):
            host = self._hosts[name]
            self._introduce(name, host)
            self._dirty.discard(name)
            try:
                self._leave(name, host)
            except StoreError:
                self._dirty.add(name)
                raise

    def _introduce(self, name: str, host: _Host) -> None:
        """Read what the agent wrote before; give up orders for a host without an agent that we could talk to: nothing
        was begun there, and nobody will begin it.
        """
        if all(open_.accepted for open_ in host.open.values()):
            return
        if not host.boots and (letter := self._mail.get(REPORTS + name)) is not None:
            self._read(name, host, letter.data)
        hello = None
        try:
            hello = self._mail.get(AGENTS + name)
            if hello is None:
                self._verify(name, HELLO_TYPE, b"")  # tells of a host that was never enrolled, or revoked
            else:
                said = read_hello(self._verify(name, HELLO_TYPE, hello.data))
                check_protocol(said.get("protocol"), f"the agent of {name}", "this coordinator")
            return
        except NotTrusted as error:
            if hello is None and not isinstance(error, Unknown):
                return  # it is enrolled, and has not begun yet: silence is told in time
            words = str(error)
        except (LetterWrong, ValueError) as error:
            words = str(error)
        for key, open_ in list(host.open.items()):
            if not open_.accepted:
                self._report(open_.order, "refused", words)
                self._forget(name, host, key)

    def _leave(self, name: str, host: _Host) -> None:
        keys, changes = packed(self._links())
        if changes and digest_in(keys) not in self._left:
            put_blob(self._mail, digest_in(keys), changes)
            self._left.add(digest_in(keys))
        for open_ in host.open.values():
            self._leave_blobs(open_.letter)
        while True:
            found = self._mail.get(ORDERS + name)
            there = b"" if found is None else found.data
            merged = replace(self._merged(host, there), keys=newer_keys(keys, named_in(there)))
            data = write_orders(merged)
            if found is not None and found.data == data:
                break
            if self._mail.put(ORDERS + name, data, 0 if found is None else found.mark) is not None:
                break
        host.unacknowledged = 0

    def _merged(self, host: _Host, there: bytes) -> Orders:
        """Our orders, and those of other coordinators that are not over; as many as a letter can hold, ours first."""
        orders = [open_.letter for open_ in host.open.values()]
        word = ""
        try:
            found = read_orders(there) if there else Orders()
            before, word = found.orders, found.word
        except LetterWrong:
            before = ()  # whoever wrote that cannot be understood: what we want stands for itself
        newest = {(order.run, order.action): (order.token, order.leg) for order in orders}
        for order in before:
            later = newest.get((order.run, order.action), (0, -1))
            if order.key not in host.gone | host.over and (order.token, order.leg) > later:
                orders.append(order)
        kept: list[OpenOrder] = []
        for order in orders:
            if len(kept) == MOST_ORDERS or (kept and len(write_orders(Orders((*kept, order)))) > LARGEST):
                break  # the rest is left when one of these has ended: that writes the letter again
            kept.append(order)
        return Orders(tuple(kept), host.since, "" if kept else word)

    def _leave_blobs(self, letter: OpenOrder) -> None:
        for digest in sorted(_named(letter)):
            if digest in self._left:
                continue
            if digest == letter.plan and self._mail.get(f"{BLOBS}{digest}/head") is None:
                self._clear_blobs()  # a new run: most likely nobody needs those of the runs before
            put_blob(self._mail, digest, self._blobs[digest])
            self._left.add(digest)

    def _clear_blobs(self) -> None:
        wanted = set(self._left)
        for letter in self._mail.list(ORDERS)[0]:
            wanted.add(digest_in(named_in(letter.data)))
            with suppress(LetterWrong):
                for order in read_orders(letter.data).orders:
                    wanted |= _named(order)
        found, _ = self._mail.list(BLOBS)
        self._mail.delete([one.key for one in found if one.key.split("/")[1] not in wanted])

    # --- letters of hosts --------------------------------------------------------------------------------------

    def _read_letters(self) -> None:
        letters, self._mark = self._mail.list(REPORTS, self._mark or 0, self._at_work)
        for letter in letters:
            name = letter.key.removeprefix(REPORTS)
            host = self._hosts.get(name)
            if host is not None and host.open:
                self._read(name, host, letter.data)

    def _read(self, name: str, host: _Host, data: bytes) -> None:
        try:
            report = read_report(self._verify(name, REPORT_TYPE, data))
            self._check(name, host, report)
            lines = [line_of(line) for line in report.lines]
        except (NotTrusted, LetterWrong, ValueError) as error:
            host.trouble = f"a letter in its name does not count: {error}"
            return
        host.heard, host.trouble = self._clock(), report.trouble
        if report.after > host.since:
            self._dirty.add(name)  # somebody acknowledged lines that we do not have: ask for them again
            return
        self._take(name, host, report, [line for line in lines if line.seq > host.since])

    def _check(self, name: str, host: _Host, report: Reported) -> None:
        """Raise LetterWrong for a letter of another host, or one that was written before one that was read."""
        if (report.cluster, report.host) != (self._cluster, name):
            raise LetterWrong(f"it is of host {report.host[:80]!r} of cluster {report.cluster[:80]!r}")
        if report.uptime <= host.boots.get(report.boot, -1.0):
            raise LetterWrong("it is one from before, put back")
        if report.boot != host.boot and report.boot in host.boots:
            raise LetterWrong(
                "two machines write in its name (a copy of it, with its key?), or one from before was put back"
            )
        host.boots[report.boot], host.boot = report.uptime, report.boot

    def _take(self, name: str, host: _Host, report: Reported, fresh: list[HostLine]) -> None:
        self._progress(host, fresh)
        host.unacknowledged += sum(len(line.text) + 200 for line in fresh)
        if report.more or host.unacknowledged > ACKNOWLEDGE:
            self._dirty.add(name)
        host.over = {one.key for one in report.standings if one.kind in FINAL and one.key not in host.open}
        if not host.open.keys() <= {one.key for one in report.standings}:
            self._dirty.add(name)  # it has not read our letter yet, or somebody wrote one over it
        for standing in report.standings:
            open_ = host.open.get(standing.key)
            if open_ is None:
                continue
            if standing.kind == "waits":
                if standing.text:  # a plan that it cannot fetch may have been cleared away by another run
                    self._left -= _named(open_.letter)
                    self._dirty.add(name)
                continue
            if standing.kind in FINAL:
                if not report.more:  # else it is told once all lines before its end are here
                    kind: ReportKind = standing.kind  # type: ignore[assignment]  # one of FINAL
                    self._report(open_.order, kind, standing.text, step=standing.step, duration=standing.duration)
                    self._forget(name, host, standing.key)
            elif standing.kind == "busy":
                self._report(open_.order, "busy", standing.text)
            elif not open_.accepted:
                open_.accepted = True
                self._report(open_.order, "accepted", standing.text)

    def _progress(self, host: _Host, lines: list[HostLine]) -> None:
        """Lines go with the order that they are of; those of others change no action, and are kept all the same."""
        some = next(iter(host.open.values())).order
        for key, group in groupby(lines, lambda line: (line.run, line.action, line.leg, line.token)):
            of = tuple(group)
            host.since = of[-1].seq
            open_ = host.open.get(key)
            if open_ is None:
                self._outbox.append(_made(some, "busy", lines=of))
                continue
            open_.accepted = True
            known = max((line.seq for line in of if line.kind not in VOLATILE), default=open_.letter.known)
            open_.letter = OpenOrder(**{**vars(open_.letter), "known": known})
            self._outbox.append(_made(open_.order, "progress", lines=of))

    # --- silence -----------------------------------------------------------------------------------------------

    def _miss_hosts(self) -> None:
        now = self._clock()
        if now - self._missed < MISS:
            return
        self._missed = now
        for name in sorted(self._at_work):
            host = self._hosts[name]
            silent = now - host.heard
            if silent <= SILENT or now - host.complained < AGAIN:
                continue
            host.complained = now
            words = host.trouble or "its agent has not written"
            for open_ in host.open.values():
                self._report(open_.order, "unreachable", f"{words} (for {silent:.0f} s)")

    # --- helpers -----------------------------------------------------------------------------------------------

    def _report(self, order: Order, kind: ReportKind, text: str = "", *, step: str = "", duration: float = 0.0) -> None:
        self._outbox.append(_made(order, kind, text, step=step, duration=duration))

    def _forget(self, name: str, host: _Host, key: Key) -> None:
        del host.open[key]
        host.gone.add(key)
        self._dirty.add(name)
        if not host.open:
            self._at_work.discard(name)


class Unknown(NotTrusted):
    """A host that has no key here: it was never enrolled, or its enrolment was revoked."""


def cancellation(cluster: str, host: str, key: Key) -> bytes:
    """What is signed to stop a leg: of one host, one token."""
    run, action, leg, token = key
    told = {"cluster": cluster, "host": host, "run": run, "action": action, "leg": leg, "token": token}
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


def _named(order: OpenOrder) -> set[str]:
    """The blobs that an order names."""
    return {order.plan, *(part.digest for part in order.files.values() if part.digest)}


def _made(
    order: Order,
    kind: ReportKind,
    text: str = "",
    *,
    lines: tuple[HostLine, ...] = (),
    step: str = "",
    duration: float = 0.0,
) -> Report:
    return Report(
        run=order.run,
        action=order.action,
        leg=order.leg,
        token=order.token,
        host=order.host.name,
        kind=kind,
        lines=lines,
        text=text,
        step=step,
        duration=duration,
    )
