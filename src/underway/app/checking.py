"""``underway check``: suites and resources, run and kept, compared and tied to the steps of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from underway.app.place import Session
from underway.checks.suites.base import Around
from underway.checks.suites.resource import ResourceProgram
from underway.checks.suites.run import run_suite
from underway.config.load import Inputs
from underway.core import checking, history, sanity
from underway.core.model.base import canonical, decode, replace
from underway.core.model.check import CheckRun, Look, Moment, ResourceRecord, Suite, SuiteResult
from underway.core.model.plan import Plan
from underway.core.model.state import RunRecord
from underway.core.nearest import nearest
from underway.core.readiness import Readiness, readiness
from underway.core.rows import StepRow
from underway.engine.mirror import read_lines
from underway.errors import InputError, NotChecked, RecordInvalid

KINDS_THAT_STAY = ("resource", "javelin")

POLL = 0.5
"""Seconds between two looks at the journals of a run."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A run of checks, what it was compared with, and what follows."""

    checks: CheckRun
    before: CheckRun | None
    verdict: checking.Verdict
    broken: tuple[sanity.Broken, ...] = ()


class Shelf:
    """Where results of checks are kept, one file each; and what resources were left by the last run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def logs(self, id_: str) -> Path:
        """The directory for what the programs of one run of checks say."""
        found = self._directory / f"{id_}.logs"
        found.mkdir(mode=0o700, parents=True, exist_ok=True)
        return found

    @property
    def saved(self) -> Path:
        """Where what suites remember lies, a directory each."""
        return self._directory / "saved"

    def save(self, suite: str) -> Path:
        """The directory in which a resource remembers."""
        return self.saved / suite

    def put(self, checks: CheckRun) -> Path:
        """Keep a run of checks."""
        path = self._directory / f"{checks.id}.json"
        _write(path, canonical(checks))
        return path

    def all(self) -> list[CheckRun]:
        """Every run that is kept, oldest first. Raises RecordInvalid for a file of another kind."""
        found = []
        for path in self._directory.glob("*.json"):
            try:
                found.append(decode(path.read_bytes(), CheckRun))
            except ValueError as error:
                raise RecordInvalid(f"{path}: expected results of checks: {error}") from None
        return sorted(found, key=lambda one: one.started)

    def get(self, id_: str) -> CheckRun:
        """One run. Raises InputError for an id that is not there."""
        every = {one.id: one for one in self.all()}
        if id_ not in every:
            raise InputError(f"there are no checks {id_!r}{nearest(id_, every)}")
        return every[id_]

    def record(self, suite: str) -> ResourceRecord | None:
        """What the last run left of a resource."""
        try:
            return decode((self.save(suite) / "record").read_bytes(), ResourceRecord)
        except FileNotFoundError:
            return None

    def leave(self, suite: str, record: ResourceRecord) -> None:
        """Remember what this run left of a resource."""
        _write(self.save(suite) / "record", canonical(record))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(data)
    fresh.replace(path)


def shelf_of(session: Session) -> Shelf:
    """The shelf of a cluster's state directory."""
    return Shelf(session.place.state / "checks")


def choose(inputs: Inputs, names: Sequence[str], moment: Moment) -> list[Suite]:
    """The suites of a moment, or those that are named. Raises InputError for names that are not there, and for none."""
    for name in names:
        if name not in inputs.checks:
            raise InputError(f"there is no check {name!r}{nearest(name, inputs.checks)} (checks of cluster.yaml)")
    found = [suite for name, suite in inputs.checks.items() if (name in names if names else moment in suite.when)]
    if not found:
        raise InputError(f"cluster.yaml has no checks for {moment!r} (add 'checks', or name one with --suite)")
    return found


def release_of(session: Session, inputs: Inputs) -> str:
    """The release that the cluster runs: where the last run that is over led to, unless the file says another."""
    run = _latest(session)
    stated = inputs.cluster.release
    if run is None or run.state != "done" or stated not in (run.source, run.target):
        return stated
    return run.target if run.mode == "upgrade" else run.source


def readiness_of(session: Session, inputs: Inputs, plan: Plan) -> Readiness:
    """Whether the checks of cluster.yaml that are due before an upgrade let ``plan`` begin now."""
    if not inputs.checks:
        return Readiness((), (), ())
    run = session.repository.current()
    over = 0.0
    if run is not None:  # hosts of an aborted run finish what they began
        actions = session.repository.snapshot(run.id).actions
        over = max((run.ended, *(record.ended for record in actions.values())))
    return readiness(
        inputs.checks,
        shelf_of(session).all(),
        cluster=plan.cluster,
        release=plan.source,
        since=over,
        age=plan.policy.checks_age,
        now=session.clock.now(),
    )


def want_checks(ready: Readiness, without: str) -> None:
    """Raise NotChecked where the checks have not passed, and the operator gives no reason to begin ``without``."""
    if ready.missing and not without.strip():
        raise NotChecked(ready.missing)


def start(session: Session, plan: Plan, envelope: bytes, ready: Readiness, without: str) -> RunRecord:
    """Record a new upgrade, with the checks that it stands on or the operator's reason to begin ``without`` them.

    Raises as ``want_checks`` and ``Session.start`` do.
    """
    want_checks(ready, without)
    stands = f"checked by {', '.join(ready.on)}" if ready.due and not ready.missing else ""
    waived = f"it began without its checks ({'; '.join(ready.missing)}): {without}" if ready.missing else ""
    return session.start(plan, envelope, checks=stands, waived=waived)


def _latest(session: Session) -> RunRecord | None:
    try:
        return session.current()
    except InputError:
        return None


class Checks:
    """Runs suites at one moment. ``say`` is told what is done."""

    def __init__(self, session: Session, inputs: Inputs, release: str, say: Callable[[str], None]) -> None:
        self._session = session
        self._inputs = inputs
        self._release = release
        self._say = say
        self._shelf = shelf_of(session)

    def run(self, moment: Moment, suites: Sequence[Suite], *, follow: bool = False) -> Judged:
        """Run the suites once; ``follow``: then look at the resources after each step of the run, until it is over."""
        now = self._session.clock.now
        started = now()
        id_ = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(started))}-{moment}"
        around = Around(self._release, self._shelf.logs(id_), self._shelf.saved, now, self._session.place.known_hosts)
        results = []
        for suite in suites:
            self._say(f"{suite.name} ({suite.kind})")
            if suite.kind in KINDS_THAT_STAY:
                results.append(self._resource(suite, moment, around))
            else:
                results.append(run_suite(suite, around))
        run = _latest(self._session)
        staying = [suite for suite in suites if suite.kind in KINDS_THAT_STAY]
        looks: tuple[Look, ...] = ()
        broken: tuple[sanity.Broken, ...] = ()
        if moment == "during" and staying and run is not None:
            first = _look(started, now(), results)
            seen = [first]
            for look, last in self._follow(run, staying, around, first) if follow else ():
                seen.append(look)
                latest = {result.suite: result for result in last}
                results = [latest.get(result.suite, result) for result in results]
            looks = tuple(seen)
            broken = sanity.broken(looks, self._steps(run))
        checks = CheckRun(
            id=id_,
            cluster=self._inputs.cluster.name,
            moment=moment,
            release=self._release,
            run=run.id if run is not None else "",
            by=self._session.place.operator,
            started=started,
            ended=now(),
            suites=tuple(results),
            looks=looks,
        )
        before = self._earlier(checks)
        self._shelf.put(checks)
        return Judged(checks, before, checking.judge(checks, before, self._inputs.checks), broken)

    def _earlier(self, checks: CheckRun) -> CheckRun | None:
        """What those during and after an upgrade are compared with: of each of their suites its latest result before.

        Where these are of several runs, the id names them all, the oldest first.
        """
        if checks.moment == "before":
            return None
        mine = {result.suite for result in checks.suites}
        latest: dict[str, tuple[CheckRun, SuiteResult]] = {}
        for one in self._shelf.all():
            if one.moment == "before" and one.started < checks.started:
                latest.update((result.suite, (one, result)) for result in one.suites if result.suite in mine)
        if not latest:
            return None
        of = {one.id: one for one, _ in latest.values()}
        newest = max(of.values(), key=lambda one: one.started)
        ids = ", ".join(sorted(of, key=lambda id_: of[id_].started))
        return replace(newest, id=ids, suites=tuple(result for _, result in latest.values()))

    def _resource(self, suite: Suite, moment: Moment, around: Around) -> SuiteResult:
        """The cases of the sanity run that are due; during an upgrade it is only looked at."""
        record = self._shelf.record(suite.name)
        program = self._program(suite, around)
        if moment == "during":
            if record is None or not record.present:
                return SuiteResult(
                    suite=suite.name, kind=suite.kind, problem="it was never made (run 'underway check run before')"
                )
            return program.call(sanity.DURING)
        run = _latest(self._session)
        crossed = run is not None and run.mode == "upgrade" and run.state == "done" and run.target == self._release
        cases = sanity.cases_at(moment, record, self._release, upgraded=crossed)
        if not cases:
            return self._nothing_from_before(suite, record, run.id if run is not None else "")
        for case in cases:
            self._say(f"  {_CASES[case]}")
            result = program.call(sanity.VERBS[case])
            if result.problem or any(one.outcome == "failed" for one in result.cases):
                break  # half of it made is not made: the next run makes the rest, as what is there is not made again
            present = case != "upgraded"
            record = ResourceRecord(release=self._release, present=present, at=self._session.clock.now())
            self._shelf.leave(suite.name, record)
        return result

    def _nothing_from_before(self, suite: Suite, record: ResourceRecord | None, run: str) -> SuiteResult:
        """After an upgrade, without a resource from before it: what was found when it was removed after this upgrade,
        or that nobody can say whether anything was kept."""
        for one in reversed(self._shelf.all()):
            if (one.moment, one.release, one.run) != ("after", self._release, run):
                continue
            for result in one.suites:
                good = not result.problem and all(case.outcome != "failed" for case in result.cases)
                if result.suite == suite.name and good:
                    self._say(f"  looked for and removed after this upgrade already: what {one.id} found stands")
                    return result
        made = f"it was made on {record.release}, after the upgrade" if record is not None and record.present else ""
        why = made or "it is not there, and was not made"
        return SuiteResult(
            suite=suite.name,
            kind=suite.kind,
            problem=f"nothing of it was there from before: {why} (run 'underway check run before' before the next one)",
        )

    def _program(self, suite: Suite, around: Around) -> ResourceProgram:
        return ResourceProgram(suite, self._shelf.save(suite.name), around.logs, self._release)

    def _follow(
        self, run: RunRecord, suites: Sequence[Suite], around: Around, first: Look
    ) -> Iterable[tuple[Look, list[SuiteResult]]]:
        """A look after each step that ended, until the run is over, with what was found; one more then."""
        seen = _ended(self._steps(run))
        failed = set(first.failed)
        over = False
        while not over:
            over = self._session.repository.snapshot(run.id).run.state in ("done", "aborted")
            ended = _ended(self._steps(run))
            if ended == seen and not over:
                time.sleep(POLL)
                continue
            seen = ended
            start = self._session.clock.now()
            results = [self._program(suite, around).call(sanity.DURING) for suite in suites]
            look = _look(start, self._session.clock.now(), results)
            for id_ in sorted(set(look.failed) - failed):
                self._say(f"  {id_}: {look.failed[id_]}")
            failed = set(look.failed)
            yield look, results

    def _steps(self, run: RunRecord) -> tuple[StepRow, ...]:
        """What the hosts' journals say so far."""
        plan, _ = self._session.plan_of(run.id)
        lines = read_lines(self._session.place.run_directory(run.id) / "journals")
        return history.steps(plan, run.id, self._session.repository.snapshot(run.id).actions, lines)


_CASES: Mapping[sanity.Sanity, str] = {
    "first": "not there yet: it is made and looked for",
    "same": "of this release: it is looked for",
    "upgraded": "of an earlier release: it is looked for, and removed",
}


def _ended(steps: Sequence[StepRow]) -> int:
    return sum(1 for row in steps if row.end is not None)


def _look(start: float, end: float, results: Sequence[SuiteResult]) -> Look:
    failed = {
        f"{result.suite}: {case.id}": case.text
        for result in results
        for case in result.cases
        if case.outcome == "failed"
    }
    failed.update({result.suite: result.problem for result in results if result.problem})
    return Look(start=start, end=end, failed=failed)


def compare(session: Session, inputs: Inputs, before: str, after: str) -> Judged:
    """Two runs of checks compared again. Raises InputError for an id that is not there."""
    shelf = shelf_of(session)
    one, other = shelf.get(before), shelf.get(after)
    return Judged(other, one, checking.judge(other, one, inputs.checks))
