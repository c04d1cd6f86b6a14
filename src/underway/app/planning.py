"""From files to a signed plan, and back from a saved one."""

from __future__ import annotations

import json
from pathlib import Path

from underway import trust
from underway.app import keyring
from underway.app.leaving import check_hosts, dropped
from underway.app.place import Place, Session
from underway.config.load import Inputs, load
from underway.core.drift import drift
from underway.core.milestones import standing
from underway.core.model.base import canonical, decode
from underway.core.model.part import Part
from underway.core.model.plan import Plan
from underway.core.model.state import RunRecord
from underway.core.model.ticket import PLAN_TYPE
from underway.core.planner import build_plan
from underway.core.rollback import past_no_return, rollback_plan
from underway.core.standing import refuse_later
from underway.errors import Drifted, InputError, NotTrusted, Refused
from underway.render.seal import seal


def read_inputs(session: Session) -> Inputs:
    """Read and check the files. Raises FileProblems with every mistake."""
    return load(session.place.cluster_file)


def make_plan(session: Session, inputs: Inputs, target: str, part: Part | None = None, *, every: bool = False) -> Plan:
    """The sealed plan of the files as they are, with what is known of hosts, of earlier runs and of past durations.

    ``part``: what is to be upgraded now; ``every``: also what need not be done, see ``build_plan``.
    """
    session.place.prepare(inputs.cluster.name, inputs.store)
    check_hosts(session, inputs.cluster)
    repository = session.repository
    plan = build_plan(
        inputs.cluster,
        inputs.catalogue,
        target,
        digests=inputs.digests,
        known=repository.hosts(),
        durations=repository.durations(),
        part=part,
        reached=repository.milestones(),
        every=every,
    )
    return seal(plan)


def check_world(session: Session, inputs: Inputs, plan: Plan) -> None:
    """Raise Drifted, naming every difference, where the plan no longer fits files, catalogue, settings or hosts."""
    known = session.repository.hosts()
    reached = standing(inputs.catalogue, plan.target, session.repository.milestones())
    found = drift(plan, inputs.cluster, inputs.catalogue, inputs.digests, known, reached)
    differences = (*found, *dropped(session, plan))
    if differences:
        raise Drifted(differences)


def make_rollback(session: Session, run: RunRecord) -> Plan:
    """The sealed plan that brings the hosts of ``run`` back, as it stands.

    Raises Refused (see ``rollback_plan``), also where a later run is past the point of no return, or brought hosts to
    the release that are still on it.
    """
    repository = session.repository
    plan, _ = session.plan_of(run.id)
    _refuse_past(session, run)
    refuse_later(run, repository.hosts())
    seen = repository.snapshot(run.id)
    return seal(rollback_plan(plan, seen, seen.policy.policy if seen.policy is not None else None))


def _refuse_past(session: Session, run: RunRecord) -> None:
    """Runs that did what is for the whole deployment may be others than the one that is to be undone."""
    repository = session.repository
    found = [one.by_run for one in repository.milestones().values() if one.release == run.target]
    current = repository.current()
    if current is not None and current.mode == "upgrade" and current.target == run.target:
        found.append(current.id)
    for name in sorted({*found} - {run.id, ""}):
        if repository.run_record(name).started < run.started:
            continue
        action = past_no_return(session.plan_of(name)[0], repository.snapshot(name))
        if action is not None:
            raise Refused(f"the point of no return is passed: {action} was begun in run {name}; go forward instead")


def sign_plan(place: Place, plan: Plan) -> bytes:
    """The envelope of a plan, signed by this machine's plan key; others may have to sign it, too."""
    own = keyring.counting(place.keys, keyring.load(place.keys, plan.cluster), "plan")
    return trust.sign(own.signer(), PLAN_TYPE, canonical(plan))


def write_plan(path: Path, plan: Plan, envelope: bytes) -> None:
    """Save a plan for people (``path``) and its signature (``path`` + ``.sig``)."""
    path.write_text(json.dumps(json.loads(canonical(plan)), indent=1, sort_keys=True) + "\n")
    Path(f"{path}.sig").write_bytes(envelope)


def read_plan(place: Place, path: Path) -> tuple[Plan, bytes]:
    """A saved plan, to look at: a key that counts signed exactly what the file says. Whether enough keys did is asked
    where it is begun (``Session.start``).

    Raises InputError (no such file, not a plan) and NotTrusted (no signature, another key, or edited since).
    """
    try:
        plan = decode(path.read_bytes(), Plan)
    except FileNotFoundError:
        raise InputError(
            f"{path}: expected a saved plan, found no such file (make one: 'underway plan --to RELEASE -o {path}')"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not a plan: {error} (make one with 'underway plan -o {path.name}')") from None
    try:
        envelope = Path(f"{path}.sig").read_bytes()
    except OSError:
        raise NotTrusted(f"{path}: the signature {path.name}.sig is missing (make the plan again)") from None
    payload = keyring.load(place.keys, plan.cluster).read_plan(envelope)
    if payload != canonical(plan):
        raise NotTrusted(f"{path}: was changed after it was signed (make the plan again)")
    return plan, envelope
