"""Rows of the rule table about a slot: may one more host of this kind, and of this failure domain, be taken now?"""

from __future__ import annotations

from underway.core.rulebook import Rule, Said, SlotCase, said
from underway.core.tally import Unit
from underway.core.words import plural, some


def executor_away(case: SlotCase) -> bool:
    return any(name in case.look.at_work for name in case.visit.executors)


def say_executor_away(case: SlotCase) -> Said:
    name = next(name for name in case.visit.executors if name in case.look.at_work)
    return said(f"waits for {name}, which does a part of it and is at work on {case.look.at_work[name].id}", host=name)


def executes_for_others(case: SlotCase) -> bool:
    return bool(case.executor) and case.look.executing.get(case.executor, 0) > 0


def say_executes_for_others(case: SlotCase) -> Said:
    number = case.look.executing[case.executor]
    return said(f"executes a part of {plural(number, 'action')} of other hosts; waits until they are finished")


def canary_first(case: SlotCase) -> bool:
    return not case.canary and case.visit.canaries > 0 and bool(case.look.canaries_open(case.visit))


def say_canary_first(case: SlotCase) -> Said:
    waiting = case.look.canaries_open(case.visit)
    return said(f"waits for the canaries of {case.visit.id}: {some(waiting)} not done and healthy", left=len(waiting))


def _no_slot(unit: Unit, case: SlotCase) -> Said:
    return said(
        f"waits for a slot: {unit.label} has {unit.use(case.look.layout.order)}",
        used=len(unit.members),
        limit=unit.limit,
        unit=unit.name,
    )


def _zero(case: SlotCase) -> Unit | None:
    units = case.spot.wide if case.visit.rolling else (case.look.parallel,)
    return next((unit for unit in units if unit.limit is not None and unit.limit <= 0), None)


def limit_zero(case: SlotCase) -> bool:
    return _zero(case) is not None


def say_limit_zero(case: SlotCase) -> Said:
    unit = _zero(case)
    assert unit is not None
    return said(f"{unit.label} has a limit of 0: held, no host moves", unit=unit.name)


def _bound(case: SlotCase, unit: Unit) -> bool:
    """Whether the unit's limit holds for this pass: that of its role does not for one that takes the whole role."""
    return not (case.visit.whole and unit.kind == "role")


def _stuck_over(case: SlotCase, units: tuple[Unit, ...]) -> Unit | None:
    """A unit with more hosts out than its limit, this one among them, of which none comes back by itself."""
    if not (case.counted and case.visit.rolling):
        return None
    for unit in units:
        back = {"at work", "soaking", "in another run"} & set(unit.members.values())
        if _bound(case, unit) and not unit.fits(True) and not back:
            return unit
    return None


def _say_over(unit: Unit, case: SlotCase) -> Said:
    word = unit.kind if unit.kind in ("domain", "total") else unit.name
    return said(
        f"{unit.label} has {unit.use(case.look.layout.order)}, this one among them: more than its limit are out, and "
        f"none comes back without your word (underway limit {word} {len(unit.members)}, or skip one)",
        used=len(unit.members),
        limit=unit.limit,
        unit=unit.name,
    )


def over_limit(case: SlotCase) -> bool:
    return _stuck_over(case, case.spot.wide) is not None


def say_over_limit(case: SlotCase) -> Said:
    unit = _stuck_over(case, case.spot.wide)
    assert unit is not None
    return _say_over(unit, case)


def _full(case: SlotCase, kind: str) -> Unit | None:
    if not case.visit.rolling:
        return None
    for unit in case.spot.wide:
        if unit.kind == kind and _bound(case, unit) and not unit.fits(case.counted):
            return unit
    return None


def role_full(case: SlotCase) -> bool:
    return _full(case, "role") is not None


def say_role_full(case: SlotCase) -> Said:
    unit = _full(case, "role")
    assert unit is not None
    return _no_slot(unit, case)


def group_full(case: SlotCase) -> bool:
    return _full(case, "group") is not None


def say_group_full(case: SlotCase) -> Said:
    unit = _full(case, "group")
    assert unit is not None
    return _no_slot(unit, case)


def total_full(case: SlotCase) -> bool:
    return _full(case, "total") is not None


def say_total_full(case: SlotCase) -> Said:
    unit = _full(case, "total")
    assert unit is not None
    return _no_slot(unit, case)


def parallel_over(case: SlotCase) -> bool:
    """All places are kept by actions that are to be tried again, in a stage that waits for this one."""
    look = case.look
    kept = look.parallel.members
    return (
        parallel_full(case)
        and bool(kept)
        and all(cause == "unknown" and host not in look.troubled for host, cause in kept.items())
    )


def say_parallel_over(case: SlotCase) -> Said:
    unit = case.look.parallel
    return said(
        f"waits for its turn: {len(unit.members)} of {unit.limit} at once in use{unit.who(case.look.layout.order)}, "
        f"and kept until what waits for stage {case.look.present.name} is tried again "
        f"(underway limit prepare {len(unit.members) + 1})",
        used=len(unit.members),
        limit=unit.limit,
    )


def parallel_full(case: SlotCase) -> bool:
    return not (case.visit.rolling or case.placed or case.look.parallel.fits(False))


def say_parallel_full(case: SlotCase) -> Said:
    unit = case.look.parallel
    return said(
        f"waits for its turn: {len(unit.members)} of {unit.limit} at work at once in stage {case.look.present.name}",
        used=len(unit.members),
        limit=unit.limit,
    )


def once_at_work(case: SlotCase) -> bool:
    visit = case.visit
    return visit.once and any(of is visit for of in case.look.at_work.values())


def say_once_at_work(case: SlotCase) -> Said:
    return said(f"{case.visit.id} is done by one host at a time, and one is at it")


SLOT_ROWS: tuple[Rule[SlotCase], ...] = (
    # A machine does one thing at a time: a balancer that is being upgraded drains nobody, and the other way round.
    Rule("executor-away", "busy-elsewhere", executor_away, say_executor_away),
    Rule("executes-for-others", "busy-elsewhere", executes_for_others, say_executes_for_others),
    # 0 means held, not "no limit" (D1); said before anything that looks like it would pass by itself.
    Rule("limit-zero", "limit-zero", limit_zero, say_limit_zero),
    # The first of a kind show what the rest would suffer.
    Rule("canary-first", "canary-first", canary_first, say_canary_first),
    # More are out than may be, and wait for each other: time does not help, so an operator is asked (L2).
    Rule("over-limit", "over-limit", over_limit, say_over_limit),
    # P1, from the narrowest unit to the widest: the first that is full is the one to raise.
    Rule("role-limit", "role-limit", role_full, say_role_full),
    Rule("group-limit", "group-limit", group_full, say_group_full),
    Rule("total-limit", "total-limit", total_full, say_total_full),
    # As over-limit, where nothing is taken out of service: after a host was replaced a later stage may keep all places.
    Rule("parallel-over", "over-limit", parallel_over, say_parallel_over),
    # Nothing is taken out of service here, but network and disks of a site have limits too.
    Rule("parallel-limit", "parallel-limit", parallel_full, say_parallel_full),
    # A schema change must never run twice at once.
    Rule("once", "parallel-limit", once_at_work, say_once_at_work),
)

# --- a failure domain ------------------------------------------------------------------------------------------------


def domain_zero(case: SlotCase) -> bool:
    unit = case.spot.domain
    return case.visit.rolling and unit is not None and unit.limit is not None and unit.limit <= 0


def say_domain_zero(case: SlotCase) -> Said:
    unit = case.spot.domain
    assert unit is not None
    return said(f"{unit.label} has a limit of 0: held, no host moves", unit=unit.name)


def domain_over(case: SlotCase) -> bool:
    unit = case.spot.domain
    return unit is not None and _stuck_over(case, (unit,)) is not None


def say_domain_over(case: SlotCase) -> Said:
    unit = case.spot.domain
    assert unit is not None
    return _say_over(unit, case)


def domain_full(case: SlotCase) -> bool:
    unit = case.spot.domain
    return case.visit.rolling and unit is not None and not unit.fits(case.counted)


def say_domain_full(case: SlotCase) -> Said:
    unit = case.spot.domain
    assert unit is not None
    return _no_slot(unit, case)


def too_many_domains(case: SlotCase) -> bool:
    most, unit = case.look.policy.domains_at_once, case.spot.domain
    if not most or unit is None or not case.visit.rolling:
        return False
    active = case.look.tally.domains_down
    return unit.name not in active and len(active) >= most


def say_too_many_domains(case: SlotCase) -> Said:
    active = case.look.tally.domains_down
    return said(
        f"waits for its failure domain: {len(active)} of {case.look.policy.domains_at_once} at once have hosts down "
        f"({some(sorted(active))})",
        domains=", ".join(sorted(active)[:10]),
    )


DOMAIN_ROWS: tuple[Rule[SlotCase], ...] = (
    # A percentage of a small domain may come to none.
    Rule("domain-zero", "limit-zero", domain_zero, say_domain_zero),
    # As over-limit above.
    Rule("domain-over-limit", "over-limit", domain_over, say_domain_over),
    # A rack or a zone is lost as one: what is out of it already is all that may be.
    Rule("domain-limit", "domain-limit", domain_full, say_domain_full),
    # Replicas lie in different domains: take from one (or a few) at a time.
    Rule("domains-at-once", "domains-at-once", too_many_domains, say_too_many_domains),
)
