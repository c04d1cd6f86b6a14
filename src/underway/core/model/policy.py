"""The policy: limits, budgets, windows, gates. The same value serves the plan and changes mid-run."""

from __future__ import annotations

from underway.core.model.base import Value


class Limit(Value, frozen=True, kw_only=True):
    """How many hosts may be unavailable at once: ``count`` hosts, or ``percent`` of the group.

    Exactly one is set. ``count`` 0 means held: no host will move. A percentage is rounded down; a
    percentage that rounds to none is refused when the plan is made (TRUST.md §4, 15).
    """

    count: int | None = None
    percent: int | None = None

    def resolve(self, size: int) -> int:
        """The limit in hosts for a group of ``size`` hosts (percent rounds down)."""
        if self.count is not None:
            return self.count
        assert self.percent is not None
        return size * self.percent // 100

    def __str__(self) -> str:
        return f"{self.percent}%" if self.percent is not None else str(self.count)


class Window(Value, frozen=True, kw_only=True):
    """A weekly maintenance window: new hosts start only inside it, and only if their p90 duration fits.

    ``days``: 0 = Monday … 6 = Sunday; ``start`` and ``end`` are minutes from local midnight; an ``end`` not
    after ``start`` lies on the next day. ``zone`` is an IANA name. ``text`` is what the operator wrote.
    """

    days: tuple[int, ...]
    start: int
    end: int
    zone: str = "UTC"
    text: str = ""


class Policy(Value, frozen=True, kw_only=True):
    """Rules over all hosts of a run. Durations are seconds.

    ``limit``: hosts of the whole cluster unavailable at once; ``domain_limit``: the same within one failure
    domain; ``domains_at_once``: how many failure domains may have hosts at work at once (0: any);
    ``failure_budget``: failed (or unknown) hosts at which the run halts; ``soak``: how long a host must be
    healthy without a break before its slot is free; ``health_timeout``: how long after its work a host may
    take to become healthy; ``deadline``: how long a host may be at work before it is called stuck;
    ``outage_budget``: seconds of outage per service at which the run halts; ``approvals``: stages that wait
    for an operator's word; ``prepare_limit``: hosts at once in stages that restart nothing; ``checks_age``: how old the
    results of the checks before an upgrade may be when it begins.
    """

    limit: Limit | None = None
    domain_limit: Limit | None = None
    domains_at_once: int = 0
    failure_budget: int = 1
    soak: float = 0.0
    health_timeout: float = 300.0
    deadline: float = 3600.0
    windows: tuple[Window, ...] = ()
    approvals: tuple[str, ...] = ()
    outage_budget: dict[str, float] = {}
    prepare_limit: Limit = Limit(count=20)
    allow_full_outage: bool = False
    checks_age: float = 86400.0
    role_limits: dict[str, Limit] = {}  # changed mid-run: override Role.limit
    group_limits: dict[str, Limit] = {}  # changed mid-run: override Group.limit
