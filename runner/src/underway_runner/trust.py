"""Who may make this host do something: the holder of a signed plan and a signed ticket, within the host's policy.

Nothing here changes anything. The bytes that are verified are the bytes that are executed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

from underway_runner import PLAN_TYPE, PROTOCOL, TICKET_TYPE, disk
from underway_runner.errors import Refused
from underway_runner.signatures import Document, opened

TOLERANCE = 300.0
"""Seconds by which the clocks of coordinator and host may differ; expiry is not a safety device."""

TICKET_FIELDS = {
    "protocol", "cluster", "run", "action", "leg", "token", "host", "target", "plan", "playbook", "digest", "steps",
    "mode", "answers", "timeout", "issued", "expires", "files", "base", "voided", "reboots",
    "gathers",
}  # fmt: skip

LATER: Dict[str, Any] = {"base": 0, "voided": 0, "reboots": [], "gathers": []}
"""Fields that came after the first tickets: one that leaves them out has the digest that it always had.

``base``: number above which the lines of the host's present machine count; ``voided``: tokens of the action up to
this one are void. Both are of machines that were replaced. ``reboots``: steps that reboot this host;
``gathers``: steps that only gather, which run again when the leg goes on.
"""

DEFAULTS: Dict[str, Any] = {
    "protocol": PROTOCOL, "mode": "upgrade", "answers": {}, "files": {}, "timeout": 3600.0, **LATER,
}  # fmt: skip
"""Fields that a ticket may leave out."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class HostFile:
    """``host.json``, written by enrolment: whose signatures count here, and what this host allows.

    ``keys``: public keys as ``{"keyid", "keytype", "scheme", "keyval", "use"}``; ``use`` is ``plan`` or
    ``ticket``. ``policy``: ``threshold`` (signatures that a plan needs at least, whatever the cluster says),
    ``modes`` (default all), ``roles`` (passes of other roles are refused; default all). ``trust``: of the last change
    of the keys (see chain), its ``number``, ``threshold`` and the keys that are ``revoked``.
    """

    cluster: str
    host: str
    keys: Tuple[Mapping[str, Any], ...]
    policy: Mapping[str, Any]
    trust: Mapping[str, Any] = field(default_factory=dict)

    def keys_for(self, purpose: str) -> List[Document]:
        """The keys whose signature on a ``plan`` or ``ticket`` counts."""
        return [key for key in self.keys if key.get("use") == purpose]

    @property
    def threshold(self) -> int:
        """How many plan keys must sign a plan: as the cluster says, or more if this host's own policy does."""
        return max(int(self.trust.get("threshold", 1)), int(self.policy.get("threshold", 1)))


@dataclass(frozen=True)
class Work:
    """A ticket that was found good, with the parts of the plan that it names."""

    ticket: Mapping[str, Any]
    ticket_digest: str
    plan: Mapping[str, Any]
    files: Mapping[str, bytes]
    vault_password: str

    @property
    def where(self) -> Dict[str, Any]:
        """What every journal line of this work says."""
        return {key: self.ticket[key] for key in ("run", "action", "leg", "token")}

    @property
    def mode(self) -> str:
        """``upgrade`` or ``rollback``."""
        return str(self.ticket.get("mode", "upgrade"))


def load_host(directory: Path) -> HostFile:
    """Read ``host.json``. Raises Refused if the host is not enrolled."""
    try:
        found = disk.read_json(directory / "host.json")
    except ValueError as error:
        raise Refused(f"{directory}/host.json: {error}") from None
    if found is None:
        raise Refused(
            f"{directory}: this host is not enrolled (run 'underway enrol' for it; if it is a new machine in the place"
            " of one that died during a run, 'underway replace' first)"
        )
    return HostFile(
        found["cluster"], found["host"], tuple(found["keys"]), found.get("policy", {}), found.get("trust", {})
    )


def same_ticket(ticket: Mapping[str, Any]) -> str:
    """Digest of what a ticket says, without when it was issued: two coordinators may sign one claim."""
    said = {**DEFAULTS, **ticket}
    for key in ("issued", "expires", *(key for key, value in LATER.items() if said[key] == value)):
        said.pop(key, None)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def verify(request: Mapping[str, Any], host: HostFile) -> Work:
    """Check a ``start`` request against the host's keys, name and policy. Raises Refused with the reason."""
    plan_bytes = _open(request, "plan", PLAN_TYPE, host, host.threshold)
    ticket_bytes = _open(request, "ticket", TICKET_TYPE, host, 1)
    ticket = _object(ticket_bytes, "ticket")
    plan = _object(plan_bytes, "plan")
    unknown = sorted(set(ticket) - TICKET_FIELDS)
    if unknown:
        raise Refused(f"ticket: unknown field {unknown[0]!r} (the runner is older than the coordinator: upgrade it)")
    _check_ticket(ticket, host)
    found = hashlib.sha256(plan_bytes).hexdigest()
    if ticket["plan"] != found:
        raise Refused(f"ticket: is for plan {ticket['plan'][:12]}, the plan that came with it is {found[:12]}")
    if plan.get("cluster") != host.cluster:
        raise Refused(f"plan: is for cluster {plan.get('cluster')!r}, this host belongs to {host.cluster!r}")
    files = _files(request, ticket)
    _check_plan(ticket, plan, host)
    return Work(ticket, same_ticket(ticket), plan, files, str(request.get("vault_password") or ""))


def _open(request: Mapping[str, Any], name: str, kind: str, host: HostFile, threshold: int) -> bytes:
    try:
        data = base64.b64decode(request[name], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise Refused(f"{name}: not a signed envelope: {error!r}") from None
    return opened(data, name, kind, host.keys_for(name), threshold, host.trust.get("revoked", ()))


def _object(data: bytes, name: str) -> Dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise Refused(f"{name}: the payload is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused(f"{name}: expected a JSON object, found {type(value).__name__}")
    return value


def _check_ticket(ticket: Dict[str, Any], host: HostFile) -> None:
    for key, value in DEFAULTS.items():
        ticket.setdefault(key, value)
    texts = ("cluster", "run", "action", "host", "target", "plan", "playbook", "digest", "mode")
    numbers = ("leg", "token", "protocol", "base", "voided")
    for key, kinds in [*((text, str) for text in texts), *((number, int) for number in numbers)]:
        if type(ticket.get(key)) is not kinds:
            raise Refused(f"ticket: {key}: expected {kinds.__name__}, found {ticket.get(key)!r}")
    if ticket["protocol"] != PROTOCOL:
        raise Refused(f"ticket: protocol {ticket['protocol']}, this runner speaks {PROTOCOL}")
    if ticket["cluster"] != host.cluster:
        raise Refused(f"ticket: is for cluster {ticket['cluster']!r}, this host belongs to {host.cluster!r}")
    if ticket["host"] != host.host:
        raise Refused(f"ticket: is for host {ticket['host']!r}, this host is {host.host!r}")
    now = time.time()  # noqa: TID251  the host's own clock is what is compared
    issued, expires = float(ticket.get("issued", 0)), float(ticket.get("expires", 0))
    if expires and now > expires + TOLERANCE:
        raise Refused(f"ticket: expired {now - expires:.0f} s ago (compare the clocks of host and coordinator)")
    if issued and now < issued - TOLERANCE:
        raise Refused(f"ticket: issued {issued - now:.0f} s in the future (compare the clocks of host and coordinator)")
    if ticket["mode"] not in host.policy.get("modes", ("upgrade", "rollback", "roll")):
        raise Refused(f"ticket: mode {ticket['mode']!r} is not allowed by this host's policy")


def _check_plan(ticket: Mapping[str, Any], plan: Mapping[str, Any], host: HostFile) -> None:
    about = ticket["action"].rpartition("/")[2]
    if about != ticket["target"]:
        raise Refused(f"ticket: target {ticket['target']!r}, the action is about {about!r}")
    leg = _leg(ticket, plan, host)
    wanted = leg.get("on") or about
    if wanted != ticket["host"]:
        raise Refused(f"ticket: leg {ticket['leg']} is for host {wanted!r}, the ticket says {ticket['host']!r}")
    if leg.get("digest") != ticket["digest"] or leg.get("playbook") != ticket["playbook"]:
        raise Refused(f"ticket: playbook {ticket['playbook']!r} is not the one of the plan ({leg.get('playbook')!r})")
    if list(leg["steps"]) != list(ticket.get("steps", ())):
        raise Refused("ticket: its steps differ from those of the plan's leg")
    for step in leg["steps"]:
        if step not in plan.get("steps", {}):
            raise Refused(f"plan: step {step!r} of a leg is not in the plan's steps")
    for told, word in (("reboots", "reboot"), ("gathers", "gathers")):
        named = [step for step in leg["steps"] if plan["steps"][step].get(word)]
        if ticket[told] != named:
            raise Refused(f"ticket: {told}: expected {named} as the plan says, found {ticket[told]!r}")


def _leg(ticket: Mapping[str, Any], plan: Mapping[str, Any], host: HostFile) -> Mapping[str, Any]:
    """The signed plan's word on what this ticket may start: a leg of a pass."""
    pass_id, _, about = ticket["action"].rpartition("/")
    found = plan.get("passes", {}).get(pass_id)
    if found is None or about not in found["hosts"]:
        raise Refused(f"ticket: action {ticket['action']!r} is not in the plan")
    allowed = host.policy.get("roles")
    if allowed is not None and found["role"] not in allowed:
        raise Refused(f"ticket: role {found['role']!r} is not allowed by this host's policy")
    if ticket["mode"] != plan.get("mode", "upgrade"):
        raise Refused(f"ticket: mode {ticket['mode']!r}, the plan is one of mode {plan.get('mode', 'upgrade')!r}")
    legs: List[Mapping[str, Any]] = found["legs"]
    if not 0 <= ticket["leg"] < len(legs):
        raise Refused(f"ticket: leg {ticket['leg']} of {ticket['action']}: the plan has {len(legs)}")
    leg: Mapping[str, Any] = legs[ticket["leg"]]
    return leg


def _files(request: Mapping[str, Any], ticket: Mapping[str, Any]) -> Dict[str, bytes]:
    given = request.get("files")
    if not isinstance(given, dict):
        raise Refused("files: expected a map of names to base64")
    digests = dict(ticket.get("files", {}))
    if digests.setdefault(ticket["playbook"], ticket["digest"]) != ticket["digest"]:
        raise Refused("ticket: files and digest differ on the playbook")
    files = {}
    for name, text in given.items():
        if not NAME.fullmatch(name) or len(name) > 200:
            raise Refused(f"files: {name!r}: expected a plain name like 'inventory.yml'")
        try:
            data = base64.b64decode(text, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise Refused(f"files: {name!r}: not base64") from None
        found = hashlib.sha256(data).hexdigest()
        if digests.get(name) != found:
            raise Refused(f"files: {name!r} has SHA-256 {found[:12]}, signed is {digests.get(name, 'nothing')[:12]}")
        files[name] = data
    for name in digests:
        if name not in files:
            raise Refused(f"files: {name!r} is missing from the bundle")
    return files
