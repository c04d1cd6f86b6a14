"""Instructions as values, and what they come to among the roles that there are: limits, order, groups. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Literal, NamedTuple

import re2

from underway.core import graphs
from underway.core.model.base import Value
from underway.core.names import listing, natural, ordered
from underway.core.nearest import nearest

Loc = tuple[str | int, ...]

LONGEST_PATTERN = 200
ANY_NAME = "no-role-has-this-name-0"


class Instructions(Value, frozen=True, kw_only=True):
    """What an operator wrote.

    ``limit``: hosts of each role that may be out at once, None where none was stated; ``limits``: the same of one role
    or group. 0 freezes. ``order``: role or group -> roles or groups that must be upgraded first. ``groups``: group ->
    patterns, each of which a member's name matches as a whole.
    """

    limit: int | None = None
    limits: dict[str, int] = {}
    order: dict[str, tuple[str, ...]] = {}
    groups: dict[str, tuple[str, ...]] = {}


class Fault(NamedTuple):
    """A mistake at a place of the instructions."""

    loc: Loc
    code: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"


@dataclass(frozen=True, slots=True)
class Rules:
    """The instructions for the roles that there are. ``group_of`` has the roles that are in a group; ``after`` the
    roles that each waits for, those of groups among them."""

    instructions: Instructions = field(default_factory=Instructions)
    group_of: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def limit(self, unit: str) -> int | None:
        """The limit of a group, or of a role in none: its own, else the one for all; None: none was stated."""
        given = self.instructions
        return given.limits.get(unit, given.limit)


@cache
def _compiled(pattern: str) -> re2._Regexp:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def pattern_fault(pattern: str) -> tuple[str, str, str] | None:
    """Why a pattern is refused: (code, message, hint). RE2 takes time in proportion to the text, always."""
    if not pattern:
        return "pattern", "the pattern is empty: it would match no role", "name a role, or several: st.*"
    if len(pattern) > LONGEST_PATTERN:
        return "pattern", f"a pattern of {len(pattern):,} characters; at most {LONGEST_PATTERN}", ""
    try:
        regex = _compiled(pattern)
    except re2.error as error:
        text = error.args[0] if error.args else ""
        text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        return "pattern", f"not a regular expression: {text}", "RE2 knows neither look-around nor back-references"
    if regex.fullmatch(ANY_NAME):
        return "pattern", "the pattern matches every role", "name the roles that share the limit: st.*"
    return None


def resolve(given: Instructions, roles: Collection[str], whole: bool) -> tuple[Rules, list[Fault]]:
    """The rules for ``roles``, and every mistake. ``whole``: there are no other roles (an inventory says so), and a
    name that is none of them is an error; else it may be a role of which no host has registered, and is a warning."""
    faults: list[Fault] = []
    members: dict[str, list[str]] = {}
    for group, patterns in given.groups.items():
        members[group] = [role for role in ordered(roles) if any(_compiled(one).fullmatch(role) for one in patterns)]
        if group in roles:
            hint = "choose another name for the group"
            faults.append(Fault(("group_mappings", group), "group-name", f"{group!r} is a role, too", hint))
        elif not members[group]:
            text = f"no role that is known matches group {group}"
            faults.append(Fault(("group_mappings", group), "empty-group", text, severity="warning"))
    faults += _twice(members)
    group_of = {role: group for group, found in members.items() for role in found}
    faults += _unknown(given, roles, whole)
    faults += _ambiguous(given, members)
    cycles = list(_cycles(given, members))
    faults += cycles
    after: dict[str, dict[str, None]] = {}
    for name, before in given.order.items():
        wanted = dict.fromkeys(one for each in before for one in members.get(each, [each]) if one in roles)
        for role in members.get(name, [name]):
            if role in roles:
                after.setdefault(role, {}).update(wanted)
    rules = Rules(given, group_of, {role: tuple(ordered(found)) for role, found in after.items()})
    return rules, faults


def _twice(members: Mapping[str, list[str]]) -> Iterator[Fault]:
    found: dict[str, list[str]] = {}
    for group, roles in members.items():
        for role in roles:
            found.setdefault(role, []).append(group)
    for role in ordered(found):
        if len(found[role]) > 1:
            groups = listing(found[role])
            hint = f"patterns match the whole name; write them so that only one matches {role}"
            yield Fault(("group_mappings", found[role][1]), "two-groups", f"role {role} is in groups {groups}", hint)


def _unknown(given: Instructions, roles: Collection[str], whole: bool) -> Iterator[Fault]:
    known = {*roles, *given.groups}
    severity: Literal["error", "warning"] = "error" if whole else "warning"

    def fault(loc: Loc, name: str, then: str) -> Fault:
        near = nearest(name, known).strip(" ()")
        have = f"there are {listing(ordered(known)[:9])}" if known else "no host has registered yet"
        return Fault(
            loc, "unknown-role", f"no host is known of role {name}{'' if whole else then}", near or have, severity
        )

    for name in given.limits:
        if name not in known:
            yield fault(("rolling_rules", "roles", name), name, ": the limit has no effect")
    for name, before in given.order.items():
        if name not in known:
            yield fault(("role_order", name), name, ": the order has no effect")
        for one in before:
            if one not in known:
                yield fault(("role_order", name), one, f": {name} does not wait for it")


def _ambiguous(given: Instructions, members: Mapping[str, list[str]]) -> Iterator[Fault]:
    """An order for a group and another one for its member: which one counts, nobody could say (TRUST §4, 22)."""
    for group, found in members.items():
        for role in found if group in given.order else ():
            if role in given.order:
                text = f"an order for role {role} and one for its group {group}"
                yield Fault(("role_order", role), "order-twice", text, f"state all of it for {group}, or for its roles")


def _cycles(given: Instructions, members: Mapping[str, list[str]]) -> Iterator[Fault]:
    """Cycles among names as they are written and among roles once groups are put in; a role after itself is one."""
    edges: dict[str, dict[str, None]] = {}
    for name, before in given.order.items():
        for role in members.get(name) or [name]:
            for each in before:
                edges.setdefault(role, {}).update(dict.fromkeys(members.get(each) or [each]))
    after = {name: tuple(found) for name, found in edges.items()}
    for path in graphs.cycles(sorted(after, key=natural), after, natural):
        where = next((name for name in given.order if path[0] in (members.get(name) or [name])), path[0])
        told = "; ".join(f"{a} waits for {b}" for a, b in pairwise(path))
        text = f"the order is a cycle: {' -> '.join(path)}" + (f" ({told})" if len(path) > 2 else "")
        yield Fault(
            ("role_order", where), "order-cycle", text, "take one of them away: no host of them could ever start"
        )
