"""How many hosts of a pass go at once where Ansible alone does the run: batches instead of the slot window.

Ansible's ``serial`` knows sizes only, so the limits of the role, its group, the failure domains and the whole cluster
are worked out here, host by host in the order of the pass. It is never above a limit, and slower than Underway, which
refills a slot as soon as one host is healthy again.
"""

from __future__ import annotations

from collections import Counter

from underway.core.model.plan import Pass, Plan


def sizes(plan: Plan, pass_: Pass) -> list[int]:
    """Sizes of the batches of a pass, in order; equal ones at the end are written once, as ``serial`` takes them.

    An empty list: the limit is 0, no host may move. A pass with legs on other machines goes host by host, for if one
    host of a batch fails, Ansible alone would leave the others drained.
    """
    if not pass_.rolling:
        limit = plan.policy.prepare_limit.resolve(len(pass_.hosts))
        return [] if limit < 1 else [limit]
    limit = _limit(plan, pass_)
    if limit < 1:
        return []
    if any(leg.on for leg in pass_.legs):
        return [1]
    caps = _caps(plan)
    if any(caps.get(plan.hosts[host].domain) == 0 for host in pass_.hosts):
        return []
    found: list[int] = []
    size, domains = 0, Counter[str]()
    for position, host in enumerate(pass_.hosts):
        domain = plan.hosts[host].domain
        full = size >= limit or position == pass_.canaries
        if size and (full or not _fits(plan.policy.domains_at_once, caps, domain, domains)):
            found.append(size)
            size, domains = 0, Counter[str]()
        size += 1
        domains[domain] += 1
    found.append(size)
    return _shortened(found)


def _limit(plan: Plan, pass_: Pass) -> int:
    limits = [len(pass_.hosts)] if pass_.whole and plan.roles[pass_.role].limit else [plan.roles[pass_.role].limit]
    limits += [group.limit for group in plan.groups.values() if pass_.role in group.roles]
    if plan.policy.limit is not None:
        limits.append(plan.policy.limit.resolve(len(plan.hosts)))
    return min(limits)


def _caps(plan: Plan) -> dict[str, int]:
    """Failure domain -> hosts of it that may be away at once (no entry: any number)."""
    limit = plan.policy.domain_limit
    if limit is None:
        return {}
    members = Counter(host.domain for host in plan.hosts.values() if host.domain)
    return {domain: limit.resolve(count) for domain, count in members.items()}


def _fits(at_once: int, caps: dict[str, int], domain: str, domains: Counter[str]) -> bool:
    """Whether one more host of ``domain`` may join a batch that has ``domains`` (hosts of no domain always may)."""
    if not domain:
        return True
    if domain in caps and domains[domain] >= caps[domain]:
        return False
    known = {name for name, count in domains.items() if name and count}
    return not at_once or domain in known or len(known) < at_once


def _shortened(found: list[int]) -> list[int]:
    """Without repetition at the end: ``serial`` goes on with its last size, and its last batch may be smaller."""
    short = list(found)
    if len(short) > 1 and short[-1] <= short[-2]:
        short.pop()
    while len(short) > 1 and short[-1] == short[-2]:
        short.pop()
    return short
