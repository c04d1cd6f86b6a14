"""What operators do with keys: make, trust, revoke, sign for each other; and telling hosts of it.

The order is the same for every change: it is signed; it is in the store, with its audit entry; hosts are told. Whoever
is killed in between goes on by saying it again, or by 'underway enrol'.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from underway import trust, trustchain
from underway.app import keyring
from underway.app.agents import enrolments_of, mail_of
from underway.app.keyring import OwnKey
from underway.app.place import Place, Session
from underway.app.running import host_executor
from underway.core.keyring import called, fingerprint, key_of
from underway.core.model.base import canonical, decode
from underway.core.model.cluster import Host
from underway.core.model.event import Event
from underway.core.model.keyring import TRUST_TYPE, Key, Trust
from underway.core.model.plan import Plan
from underway.core.model.ticket import PLAN_TYPE
from underway.core.rollback import at_work
from underway.core.words import some
from underway.errors import Conflict, InputError, NotTrusted, Refused, UnderwayError
from underway.executors import changes
from underway.records import keyring as kept
from underway.trustchain import Chain

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")

TOLD_AT_ONCE = 16
"""Hosts that are told at the same time."""


def new_key(place: Place, use: trust.Use, name: str) -> tuple[Path, Key]:
    """A further key of this machine; its public half. Raises InputError."""
    if not _NAME.fullmatch(name):
        raise InputError(f"--name {name!r}: expected 1 to 40 of a-z 0-9 . _ - that begin with a letter or digit")
    place.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    public = trust.create_key(place.keys, use, f"{use}-{name}", name)
    return public, key_in(public)


def key_in(path: Path) -> Key:
    """The key of a public key's file. Raises InputError, NotTrusted."""
    try:
        return key_of(trust.read_public(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def is_own(place: Place, key: Key) -> bool:
    """Whether the private half lies on this machine."""
    return any(own.key.public == key.public for own in keyring.own_keys(place.keys, key.use))


@dataclass(frozen=True)
class Proposed:
    """A change, signed with all keys of this machine that may. ``lacks``: what it waits for; empty for nothing."""

    change: Trust
    envelope: bytes
    lacks: str


def propose(session: Session, change: Trust) -> Proposed:
    """Sign a change. Raises NotTrusted where no key of this machine may."""
    chain = session.chain()
    able = {key.public for key in (*chain.standing.of("plan"), *change.of("plan"))}
    own = [one for one in keyring.own_keys(session.place.keys, "plan") if one.key.public in able]
    if not own:
        keyring.counting(session.place.keys, chain, "plan")  # says why none of them counts
    envelope = trustchain.sign_change(change, [one.signer() for one in own])
    return Proposed(change, envelope, trustchain.lacks(envelope, chain.standing))


def read_proposed(session: Session, path: Path) -> Proposed:
    """A change of a file, to be made now. Raises InputError, NotTrusted."""
    envelope = _bytes(path)
    before = session.chain().standing
    change = trustchain.read_change(envelope)
    if change.cluster == before.cluster and change.number != before.number + 1:
        raise Refused(
            f"{path}: is change {change.number} of the keys, and change {before.number} is the last that was made"
            " (make the change anew, and have it signed)"
        )
    return Proposed(change, envelope, trustchain.lacks(envelope, before))


def stranded(session: Session, after: Trust) -> list[str]:
    """Runs that go on, and whose plans count now and would not any more."""
    before = session.chain().standing
    repository = session.repository
    current = repository.current()
    names = [*repository.beside(), *([current.id] if current is not None else [])]
    found = []
    for run in names:
        if repository.run_record(run).ended:
            continue
        envelope = repository.plan_envelope(run)
        if _counts(envelope, before) and not _counts(envelope, after):
            found.append(run)
    return found


def _counts(envelope: bytes, standing: Trust) -> bool:
    return len(trustchain.signers_of(envelope, standing)) >= standing.threshold


def make(session: Session, proposed: Proposed, stop_runs: bool) -> Chain:
    """Make a change that enough have signed: in the store with its audit entry, then in the files.

    Raises Refused where a run would be stranded by it, unless ``stop_runs``: then these are paused first, and Refused
    is raised while hosts are at work in them. NotTrusted where a signature is missing, Conflict where another change
    was made first.
    """
    change = proposed.change
    if proposed.lacks:
        raise NotTrusted(f"change {change.number} of the keys is {proposed.lacks}")
    chain = session.chain().extended([proposed.envelope])
    runs = stranded(session, change)
    if runs and not stop_runs:
        raise Refused(
            f"run {runs[0]} goes on by a plan that would not count any more, and its hosts would refuse what they have"
            " not begun: let it end, or abort it; --stop-runs pauses it, and changes the keys when no host is at work"
        )
    for run in runs:
        _stop(session, run, change)
    gone = {key.public for key in change.revoked}
    if any(key.public in gone for key in session.chain().standing.of("ticket")):
        _sign_enrolments_anew(session, change)
    text = f"change {change.number} of the keys: {change.change}"
    event = Event(at=session.clock.now(), kind="note", actor=f"operator:{session.place.operator}", text=text)
    try:
        kept.add(session.repository, change.number, proposed.envelope, event)
    except Conflict:
        if session.chain().links[-1:] != (proposed.envelope,):  # an earlier attempt of ours may have been it
            raise
    keyring.save(session.place.keys, chain)
    return chain


def _stop(session: Session, run: str, change: Trust) -> None:
    """Pause a run, so that nothing is begun. Raises Refused while hosts are at work: the next piece of their work, a
    return to the balancer say, would be refused them half way."""
    if session.repository.run_record(run).state == "running":
        session.control(run).pause(f"the keys that its plan stands on are to change: {change.change}")
    busy = at_work(session.repository.snapshot(run))
    if busy:
        raise Refused(
            f"run {run} is paused, and {some(busy)} still at work in it: say this again when they are done ('underway"
            " status'); the keys were not changed yet"
        )


def _sign_enrolments_anew(session: Session, after: Trust) -> None:
    """Before a ticket key goes: what it signed in the store is signed by one that stays. Raises Refused for none."""
    own = {one.key.public: one for one in keyring.own_keys(session.place.keys, "ticket")}
    left = [own[key.public] for key in after.of("ticket") if key.public in own]
    if not left:
        raise Refused(
            "no other ticket key of this machine counts, and without one nothing can be begun from here: make and trust"
            " one first ('underway key new --use ticket', 'underway key trust FILE'); nothing was changed"
        )
    signer = left[-1].signer()
    found = replace(enrolments_of(session), sign=lambda kind, data: trust.sign(signer, kind, data))
    found.sign_anew(session.place.operator, session.clock.now())


@dataclass(frozen=True, order=True)
class Told:
    """What a host said of the changes. ``known``: the last that it knows; -1 where it was not reached, or said no."""

    host: str
    known: int
    words: str


def tell(session: Session, hosts: Sequence[Host], say: Callable[[Told], None]) -> list[Told]:
    """Tell hosts of all changes; ``say`` gets each answer as it comes. Hosts with an agent find it in their letter."""
    chain = session.ring.chain
    cluster, number = chain.standing.cluster, chain.standing.number

    def ask(host: Host) -> Told:
        executor = host_executor(session, host)
        try:
            known = executor.learn(host, cluster)
            return Told(host.name, known, f"knows change {known}")
        except UnderwayError as error:
            again = f"'underway enrol {host.name}' when it can be reached"
            return Told(host.name, -1, f"{str(error).removeprefix(f'{host.name}: ')} ({again})")
        finally:
            executor.close()

    found = []
    direct = [host for host in hosts if host.connection != "agent"]
    with ThreadPoolExecutor(TOLD_AT_ONCE) as pool:
        for told in pool.map(ask, direct):
            found.append(told)
            say(told)
    mail = mail_of(session)
    enrolled = {one.host for one in enrolments_of(session).all() if one.public}
    for host in hosts:
        if host.connection == "agent" and host.name in enrolled:
            changes.leave(mail, host.name, chain.links)
            found.append(
                Told(host.name, number, f"finds change {number} in its letter ('underway host list' shows when)")
            )
            say(found[-1])
    return found


@dataclass(frozen=True)
class Signing:
    """Something to sign. ``what``: for people, line by line; ``where``: the file that signatures go to."""

    what: tuple[str, ...]
    envelope: bytes
    where: Path
    able: frozenset[str]


def to_sign(path: Path) -> Signing:
    """A saved plan or a proposed change of the keys. Raises InputError, NotTrusted.

    ``able``: the keys that may sign it where it says so itself; empty for a plan.
    """
    signature = Path(f"{path}.sig")
    if signature.exists():
        return _plan_to_sign(path, signature)
    envelope = _bytes(path)
    try:
        kind, _ = trust.payload_of(envelope)
    except NotTrusted:
        kind = ""
    if kind != TRUST_TYPE:
        raise InputError(f"{path}: expected a saved plan with {path.name}.sig beside it, or a change of the keys")
    change = trustchain.read_change(envelope)
    lines = [f"change {change.number} of the keys of cluster {change.cluster}, by {change.by}: {change.change}"]
    lines.append(f"after it {change.threshold} of these plan keys must sign a plan:")
    lines += [f"  {fingerprint(key.public)} {key.name}".rstrip() for key in change.of("plan")]
    return Signing(tuple(lines), envelope, path, frozenset(key.public for key in change.of("plan")))


def _plan_to_sign(path: Path, signature: Path) -> Signing:
    envelope = signature.read_bytes()
    kind, payload = trust.payload_of(envelope)
    if kind != PLAN_TYPE:
        raise NotTrusted(f"{signature}: expected the signatures of a plan, found {kind!r}")
    try:
        plan = decode(path.read_bytes(), Plan)
    except ValueError as error:
        raise InputError(f"{path}: not a plan: {error}") from None
    if canonical(plan) != payload:
        raise NotTrusted(f"{path}: is not what {signature.name} signs: it was changed since (have the plan made again)")
    hosts = len({host for work in plan.passes.values() for host in work.hosts})
    return Signing(
        (f"plan {plan.digest()} of cluster {plan.cluster}: {plan.way}, {hosts} hosts",),
        envelope,
        signature,
        frozenset(),
    )


def signing_key(place: Place, name: str, able: frozenset[str]) -> OwnKey:
    """The own plan key to sign with: by ``name``, else the one that counts, else the only one.

    Raises InputError, NotTrusted.
    """
    own = keyring.own_keys(place.keys, "plan")
    if name:
        for one in own:
            if name in (one.key.name, one.path.stem, fingerprint(one.key.public)):
                return one
        raise InputError(f"--key {name}: there is no such plan key in {place.keys}")
    if able:
        for one in reversed(own):
            if one.key.public in able:
                return one
    if not own:
        raise InputError(f"{place.keys}: there is no plan key (make one: 'underway key new --name YOU')")
    try:
        return keyring.counting(place.keys, keyring.load(place.keys, place.cluster_name()), "plan")
    except (InputError, NotTrusted):
        if len(own) == 1:
            return own[0]
    names = ", ".join(f"{one.path.stem} {called(one.key)}" for one in own)
    raise InputError(f"several plan keys are here: say which one by --key: {names}")


def add_signature(signing: Signing, own: OwnKey) -> bytes:
    """Add a signature to the file, whole or not at all; the envelope."""
    envelope = trust.cosign(own.signer(), signing.envelope)
    write(signing.where, envelope)
    return envelope


def write(path: Path, data: bytes) -> None:
    """Put a file in the place of the one there, as a whole."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.replace(path)


def listed(session: Session) -> dict[str, object]:
    """Own keys, trusted and revoked ones, and the threshold, for machines."""
    chain = session.chain()
    standing = chain.standing
    own = {one.key.public: one for use in trust.USES for one in keyring.own_keys(session.place.keys, use)}

    def shown(key: Key) -> dict[str, object]:
        where = own.get(key.public)
        return {
            "fingerprint": fingerprint(key.public), "use": key.use, "name": key.name,
            "file": str(where.path) if where else "",
        }  # fmt: skip

    counted = {key.public for key in (*standing.keys, *standing.revoked)}
    return {
        "cluster": standing.cluster, "change": standing.number, "threshold": standing.threshold,
        "trusted": [shown(key) for key in standing.keys],
        "revoked": [{**shown(key), "at": key.at, "by": key.by, "reason": key.reason} for key in standing.revoked],
        "own": [shown(one.key) for one in own.values() if one.key.public not in counted],
    }  # fmt: skip


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
