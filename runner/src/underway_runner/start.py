"""``start``: take a ticket, once. The acceptance is durable before it is answered; the pass outlives the connection."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Set

from underway_runner import chain, disk, procs, trust
from underway_runner.ansible_run import read_sessions
from underway_runner.errors import Busy, JournalDamaged, Refused
from underway_runner.history import fold, outcome
from underway_runner.journal import Journal, Line
from underway_runner.supervisor import Supervisor
from underway_runner.trust import Work

LOCK_PATIENCE = 5.0
"""Seconds to wait for a lock whose holder has not yet said what it is doing: it is checking a ticket, too."""

Go = Callable[[Supervisor, int], None]
"""What runs a pass: its supervisor, and the descriptor that holds the host's lock."""

KEPT = 10
"""Directories of former passes that are kept, for their output."""


def start(directory: Path, request: Mapping[str, Any], go: Optional[Go] = None) -> Dict[str, Any]:
    """Check, lock, journal, detach; ``go`` runs the pass otherwise (see attend).

    Raises Refused (nothing was changed), Busy or JournalDamaged. Answers ``accepted`` as well when this very
    ticket is at work or has ended: ``follow`` says how.
    """
    if request.get("links"):
        chain.learn(directory, request["links"])
    work = trust.verify(request, trust.load_host(directory))
    known = request.get("known", 0)
    if not isinstance(known, int):
        raise Refused(f"known: expected the number of a line, found {known!r}")
    lock = _lock(directory, work)
    if lock is None:
        return {"kind": "accepted", "text": "is at work"}
    try:
        return _start(directory, work, known, lock, go or _detach)
    finally:
        os.close(lock)


def _start(directory: Path, work: Work, known: int, lock: int, go: Go) -> Dict[str, Any]:
    tokens = _tokens(directory)
    ticket = work.ticket
    _fence(tokens, work)
    _check_way(tokens, work)
    journal = Journal(directory)
    try:
        known = max(known, int(tokens.get("seq", 0)))
        _compare(journal.last if journal.lines else ticket["base"], known, ticket["host"])
        journal.stand_in(ticket["base"])
        if outcome(journal.lines, ticket["run"], ticket["action"], ticket["leg"], ticket["token"]):
            return {"kind": "accepted", "text": "has ended"}
        end_leftovers(directory, journal.lines)
        _remember(directory, tokens, work, journal.last)
        journal.where = work.where
        history = fold(journal.lines, ticket["run"], ticket["action"], ticket["leg"])
        if ticket["token"] not in history.tokens:
            journal.append("accepted", text=f"ticket={work.ticket_digest[:16]} mode={work.mode}")
            know_length(directory, journal.last)
        place = _unpack(directory, work)
        go(Supervisor(directory, place, work, journal), lock)
    finally:
        journal.close()
    return {"kind": "accepted"}


def _compare(last: int, known: int, host: str) -> None:
    """Raise JournalDamaged if a line of this host is missing that was durable, by its own note or as the caller saw.

    Another machine answers in its place, or its disk was set back: what it did is not known, so nothing is begun.
    """
    if last < known:
        raise JournalDamaged(
            f"the journal ends at line {last}, and line {known} of {host} was known: another machine answers in its"
            f" place, or its disk was set back to an older state; nothing was run (if the machine that was there is"
            f" gone for good: underway replace {host} --reason WHY, then underway enrol {host})"
        )


def _lock(directory: Path, work: Work) -> Optional[int]:
    """The host's lock; None if the pass that holds it is of this ticket. Raises Busy."""
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            holder = at_work(directory)
            if holder and all(holder.get(key) == value for key, value in work.where.items()):
                os.close(fd)
                return None
            if time.monotonic() > deadline:
                os.close(fd)
                what = f"action {holder['action']} (token {holder['token']})" if holder else "another call"
                raise Busy(f"{what} holds the lock of this host") from None
            time.sleep(0.05)


def at_work(directory: Path) -> Optional[Dict[str, Any]]:
    """Who holds the lock, as noted by the pass itself; None if that process is gone."""
    try:
        found = disk.read_json(directory / "work" / "pass.json")
    except (ValueError, OSError):
        return None
    if found and disk.is_same(int(found["pid"]), int(found["start"]), str(found["boot"])):
        return found
    return None


def end_leftovers(directory: Path, lines: List[Line]) -> int:
    """End what a killed pass left running, and wait for it; how many processes there were. Raises Busy.

    Nothing is searched for after a pass that ended by itself: what still runs then is meant to.
    """
    accepted = next((line for line in reversed(lines) if line["kind"] == "accepted"), None)
    if accepted is None:
        return 0
    run, action, leg = accepted.get("run", ""), accepted.get("action", ""), accepted.get("leg", 0)
    if outcome(lines, run, action, leg, accepted.get("token", 0)):
        return 0
    if accepted.get("boot", "") != disk.boot_id() and lines[-1].get("boot", "") != disk.boot_id():
        return 0
    history = fold(lines, run, action, leg)
    begun = [float(line["mono"]) for line in history.open.values()]
    cut = min(begun) if begun else max(history.cut, float(accepted["mono"]))
    leader = None
    try:
        noted = disk.read_json(directory / "work" / "pass.json")
    except ValueError:
        noted = None
    if noted and noted.get("leader") and noted.get("boot") == disk.boot_id():
        leader = procs.Process(*noted["leader"])
    try:
        return procs.end_all(directory, cut, leader, read_sessions(directory / "work" / "sessions"))
    except TimeoutError as error:
        raise Busy(str(error)) from None


def _tokens(directory: Path) -> Dict[str, Any]:
    """``tokens.json``: action to its highest token and tickets, and the journal's length when last written."""
    try:
        found = disk.read_json(directory / "tokens.json")
    except ValueError as error:
        raise JournalDamaged(f"tokens.json: {error}") from None
    if found is None:
        raise JournalDamaged("tokens.json is missing (it is created once, by enrol)")
    return found


def _fence(tokens: Mapping[str, Any], work: Work) -> None:
    """Refuse an older token than the highest seen for the action, and another ticket under a token that was seen."""
    ticket = work.ticket
    seen = tokens.get("actions", {}).get(ticket["action"])
    if not seen:
        return
    if ticket["token"] < seen["token"]:
        raise Refused(
            f"ticket: token {ticket['token']} is stale, {seen['token']} was seen for {ticket['action']}"
            " (another coordinator has taken over, or the store went back)"
        )
    known = seen["tickets"].get(str(ticket["leg"])) if ticket["token"] == seen["token"] else None
    if known and known != work.ticket_digest:
        raise Refused(f"ticket: token {ticket['token']} came before with another ticket")


def _check_way(tokens: Mapping[str, Any], work: Work) -> None:
    """Refuse a plan that upgrades to a release which this host has left: an old one, however well signed, is no way
    back. Only a rollback is, which is signed as what it is."""
    target = work.plan.get("target")
    if work.mode == "upgrade" and target in tokens.get("left", ()):
        raise Refused(
            f"plan: upgrades to {target}, which this host has left for a newer release: only a signed rollback"
            " goes back ('underway rollback')"
        )


def _left_after(tokens: Mapping[str, Any], work: Work) -> Set[str]:
    """The releases that this host has left, once this work has begun."""
    left = set(tokens.get("left", ()))
    source = str(work.plan.get("source") or "")
    if work.mode == "upgrade" and source and source != work.plan.get("target"):
        return left | {source}
    return left - {source} if work.mode == "rollback" else left


def _remember(directory: Path, tokens: Dict[str, Any], work: Work, last: int) -> None:
    ticket = work.ticket
    actions = tokens.setdefault("actions", {})
    seen = actions.get(ticket["action"])
    if not seen or seen["token"] < ticket["token"]:
        seen = {"token": ticket["token"], "tickets": {}}
    if seen["tickets"].get(str(ticket["leg"])) == work.ticket_digest:
        return
    tokens["left"] = sorted(_left_after(tokens, work))
    seen["tickets"][str(ticket["leg"])] = work.ticket_digest
    actions[ticket["action"]] = seen
    tokens["seq"] = last
    disk.failpoint("before-tokens")
    disk.write_atomic(directory / "tokens.json", disk.dump_json(tokens))
    disk.failpoint("after-tokens")


def _unpack(directory: Path, work: Work) -> Path:
    """The bundle in a directory of its own, and an empty place for Ansible's temporary files."""
    root = directory / "work"
    place = root / f"{work.ticket['token']}-{work.ticket['leg']}"
    bundle = place / "bundle"
    for gone in (root / "tmp", bundle):
        shutil.rmtree(gone, ignore_errors=True)
    _prune(root)
    for new in (root / "tmp", bundle):
        new.mkdir(mode=0o700, parents=True)
    for name, data in work.files.items():
        (bundle / name).write_bytes(data)
    with contextlib.suppress(FileNotFoundError):
        (root / "sessions").unlink()
    return place


def know_length(directory: Path, last: int) -> None:
    """Note how long the journal is, by the holder of the lock: a journal that lost its end is then found out."""
    tokens = _tokens(directory)
    if int(tokens.get("seq", 0)) < last:
        disk.write_atomic(directory / "tokens.json", disk.dump_json({**tokens, "seq": last}))


def _prune(root: Path) -> None:
    passes = [path for path in root.iterdir() if path.is_dir() and path.name[:1].isdigit()]
    for old in sorted(passes, key=lambda path: path.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _detach(supervisor: Supervisor, lock: int) -> None:
    """Fork the supervisor away from this call's connection; return once it has noted itself."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            os.setsid()
            if os.fork() == 0:
                _become(supervisor, writer)
                status = 0
        finally:
            os._exit(status)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as ready:
        ready.read()
    _ = lock  # the supervisor's copy holds it from here on


def _become(supervisor: Supervisor, writer: int) -> None:
    """The detached process: its own files, its own group, no terminal."""
    log = os.open(supervisor.directory / "work" / "runner.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.chdir("/")
    supervisor.note()
    disk.failpoint("detached")
    os.close(writer)
    supervisor.run()
    with contextlib.suppress(OSError):  # a full disk: the journal itself has said how the leg ended
        know_length(supervisor.directory, supervisor.journal.last)
    sys.stderr.flush()
