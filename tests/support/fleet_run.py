"""One seed: a fleet's run under the faults of a schedule, an operator who answers, and the judge after each event."""

from __future__ import annotations

import contextlib
import queue
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from support.fleet_faults import Faults, NotDone, Undo
from support.fleet_judge import Entry, Fact, Verdict, judge, judge_audit, read
from support.fleet_schedule import Fault, Schedule
from support.fleet_watch import Watch
from support.fleet_world import BUDGET, COORDINATORS, HOSTS, STEPS, World
from underway.errors import UnderwayError

PATIENCE = 600.0
"""Seconds for one run: many times what it takes, so that only one that hangs meets it."""

LOOK = 0.05

QUIET = ("note", "run-started")
"""Entries that are no step of the run; a coordinator that died at each of its successors' first words gets nowhere."""


ENDED = threading.Event()
"""Set: whatever runs is to end soon, unfinished."""


class Ended(Exception):
    """This program is being ended."""


@dataclass
class Result:
    """What came of a seed."""

    seed: int
    store: str
    main: str
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    transitions: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


class Operator:
    """Types commands, one after another, beside everything else; ``words`` are the reasons that were acknowledged."""

    def __init__(self, world: World) -> None:
        self.words: list[str] = []
        self.refused: Counter[str] = Counter()
        self._world = world
        self._todo: queue.Queue[tuple[tuple[str, ...], bool] | None] = queue.Queue()
        self._busy = threading.Event()
        self._thread = threading.Thread(target=self._type, name="operator", daemon=True)
        self._thread.start()

    def say(self, *words: str, must: bool = False) -> None:
        """``must``: again and again until it is taken."""
        self._todo.put((words, must))

    @property
    def idle(self) -> bool:
        return self._todo.unfinished_tasks == 0

    def close(self) -> None:
        self._todo.put(None)
        self._thread.join(300)

    def _type(self) -> None:
        while (given := self._todo.get()) is not None:
            words, must = given
            deadline = time.monotonic() + 120
            while True:
                code = self._call(*words)
                if code == 0:
                    self.words.append(words[words.index("--reason") + 1])
                    break
                self.refused[f"{words[0]}: exit {code}"] += 1
                if not must or time.monotonic() > deadline or code in (2, 3):
                    break
                time.sleep(0.5)
            self._todo.task_done()

    def _call(self, *words: str) -> int:
        try:
            return self._world.call(*words).returncode
        except subprocess.TimeoutExpired:
            return -1


class Run:
    """A run of a world under a schedule. ``go`` once."""

    def __init__(self, world: World, watch: Watch, schedule: Schedule) -> None:
        self.world, self.watch, self.schedule = world, watch, schedule
        self.result = Result(schedule.seed, schedule.store, schedule.main)
        self.plan = world.plan()
        self.chance = random.Random(schedule.seed)
        self.operator = Operator(world)
        self.faults = Faults(world, watch, self.entries, self.operator.say)
        self.answers: Counter[tuple[str, str]] = Counter()
        self._from = world.record.stat().st_size
        self._answered: dict[str, tuple[int, float]] = {}
        self._since = 0
        self._run = ""
        self._size = -1
        self._mended: dict[str, float] = {}

    def entries(self) -> list[Entry]:
        """The record of this run so far."""
        return read(self._text())[0]

    def _text(self) -> str:
        with self.world.record.open() as file:
            file.seek(self._from)
            return file.read()

    def go(self) -> Result:
        """From the plan to the end of the run, or to the first violation."""
        began = time.monotonic()
        undo: list[tuple[float, Fault, Undo]] = []
        try:
            self._start()
            todo = list(self.schedule.faults)
            while not self.result.wrong:
                if ENDED.is_set():
                    raise Ended(f"seed {self.schedule.seed}, {time.monotonic() - began:.0f} s: {self._where()}")
                over = self._is_over()
                begun = sum(entry.what == "begin" for entry in self.entries())
                now = time.monotonic()
                for fault in [one for one in todo if one.due <= begun and not over]:
                    self._inject(fault, todo, undo, now)
                for one in [one for one in undo if one[0] <= now or over]:
                    undo.remove(one)
                    one[2]()
                    self._check()
                self._keep_running(over)
                self._answer(bool(undo))
                self._check_if_moved()
                if over and not undo and self.operator.idle and self._all_ended():
                    break
                if now - began > PATIENCE:
                    self.result.wrong.append(f"L1: the run is not over after {PATIENCE:.0f} s: {self._where()}")
                time.sleep(LOOK)
        finally:
            self.watch.on_entries = lambda *_: None
            for *_, back in undo:
                with contextlib.suppress(Exception):
                    back()
            self.operator.close()
        self._judge_the_end()
        self.result.seconds = time.monotonic() - began
        self.result.faults += self.faults.done
        self.result.counts["operator's words"] = len(self.operator.words)
        return self.result

    # --- the run -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        before, _ = self.watch.state
        self._since = self.watch.seq
        for name in COORDINATORS:
            self.world.programs.pop(name, None)  # those of the run before have ended
        self.world.coordinator(COORDINATORS[0])
        deadline = time.monotonic() + 120
        while True:
            run, _ = self.watch.state
            if run is not None and (before is None or run.id != before.id):
                self._run = run.id
                break
            assert time.monotonic() < deadline, f"no run began: {self.world.log(COORDINATORS[0])[-1000:]}"
            self._keep_running(False)
            time.sleep(LOOK)
        for name in COORDINATORS[1:]:
            self.world.coordinator(name)
        if self.schedule.every_commit:
            self.watch.on_entries = self._at_entries

    def _at_entries(self, facts: list[Fact], leader: int) -> None:
        """In the watch's thread: the coordinator that leads dies right after a commit."""
        kinds = [fact.kind for fact in facts if fact.kind not in QUIET]
        if not kinds or self.chance.random() >= self.schedule.every_commit:
            return
        for name in COORDINATORS:
            program = self.world.programs.get(name)
            if program and program.process and program.process.pid == leader and self.world.kill(name):
                self.faults.done["coordinator: kill -9 after a commit"] += 1
                for kind in kinds:
                    self.result.transitions[kind] += 1

    def _is_over(self) -> bool:
        run, _ = self.watch.state
        return run is not None and run.id == self._run and run.ended > 0

    def _all_ended(self) -> bool:
        return all(
            (program := self.world.programs.get(name)) is None
            or program.process is None
            or program.process.poll() is not None
            for name in COORDINATORS
        )

    def _inject(self, fault: Fault, todo: list[Fault], undo: list[tuple[float, Fault, Undo]], now: float) -> None:
        try:
            back = self.faults.do(fault)
        except (NotDone, UnderwayError):
            if len(todo) > 1 or self.result.counts["put off"] < 200:
                self.result.counts["put off"] += 1
                return  # it is tried again at the next look
            back = None
        todo.remove(fault)
        self._check()
        if back is not None:
            undo.append((now + fault.lasts, fault, back))

    def _keep_running(self, over: bool) -> None:
        """Whatever was killed, or gave up, is started again, as a service manager does."""
        for name, program in list(self.world.programs.items()):
            if program.process is None or (code := program.process.poll()) is None:
                self._mended.pop(name, None)
                continue
            if name in COORDINATORS and over:
                continue
            since = self._mended.setdefault(name, time.monotonic())
            if time.monotonic() - since < 0.3:
                continue
            self._mended.pop(name)
            if code not in (0, -9):
                self._look_for_tracebacks([name])
                self.result.counts[f"{'coordinator' if name in COORDINATORS else 'agent'} ended with {code}"] += 1
            self.world.again(program)

    # --- the operator ------------------------------------------------------------------------------------------------

    def _answer(self, disturbed: bool) -> None:
        """Say of hosts in trouble what is true of them, by the record; not before what ails them is undone."""
        _, actions = self.watch.state
        if disturbed:
            return
        for host, record in actions.items():
            asked = self._answered.get(host)
            if record.state not in ("failed", "unknown") or record.retry or not self.operator.idle:
                continue
            if asked is not None and asked[0] == record.token and time.monotonic() - asked[1] < 20:
                continue
            own = [entry for entry in self.entries() if entry.host == host]
            words = ["retry", host, "--reason", f"looked at {host} under token {record.token}, {len(own)} lines"]
            step = own[-1].step if own else ""
            if record.state == "unknown" and "interrupted" not in record.reason and "refused" not in record.reason:
                continue  # silence is over when it speaks
            if record.state == "unknown" and "interrupted" in record.reason:
                # it may have been interrupted before the task had begun: the last line is another step's then
                step = next(name for name, again in STEPS.items() if again == "never")
                happened = any((entry.step, entry.what) == (step, "end") for entry in own)
                words.append("--skip" if happened else "--rerun")
            if not any((entry.step, entry.what) == (step, "end") for entry in own):
                self.answers[host, step] += 1
            self._answered[host] = (record.token, time.monotonic())
            self.operator.say(*words)

    # --- the judge ---------------------------------------------------------------------------------------------------

    def _check_if_moved(self) -> None:
        size = self.world.record.stat().st_size
        if size != self._size:
            self._size = size
            self._check()

    def _check(self, over: bool = False) -> Verdict:
        run, actions = self.watch.state  # before the record is read: what it calls done must be there
        done = [
            host for host, one in actions.items() if one.state == "done" and run is not None and run.id == self._run
        ]
        entries, wrong = read(self._text())
        verdict = judge(self.plan, entries, answers=self.answers, done=done, over=over)
        self.result.counts["checks"] += 1
        for text in (*wrong, *verdict.wrong):
            if text not in self.result.wrong:
                self.result.wrong.append(text)
        return verdict

    def _judge_the_end(self) -> None:
        verdict = self._check(over=not self.result.wrong)
        counts = self.result.counts
        counts["steps"] += sum(entry.what == "end" for entry in self.entries())
        counts["resumed"] += verdict.resumed
        counts["lost"] += verdict.lost
        counts["repeated"] += verdict.repeated
        counts["answers"] += sum(self.answers.values())
        if self.result.wrong:
            return
        try:
            facts = self.watch.facts(self._since)
            checked, problems = self.watch.session.repository.verify()
        except UnderwayError as error:
            self.result.wrong.append(f"the store does not answer at the end: {error}")
            return
        counts["audit entries"] = checked
        counts["claims"] += sum(fact.kind == "claimed" for fact in facts)
        counts["transitions"] += sum(fact.kind not in QUIET for fact in facts)
        self.result.wrong += problems
        self.result.wrong += judge_audit(facts, hosts=HOSTS, budget=BUDGET, over=True, said=self.operator.words)
        self._look_for_tracebacks([*COORDINATORS, *HOSTS, "serve"])

    def _look_for_tracebacks(self, names: Sequence[str]) -> None:
        for name in names:
            if "Traceback" in (text := self.world.log(name)):
                self.result.wrong.append(f"{name} printed a traceback: {text[text.rindex('Traceback') :][-800:]}")

    def _where(self) -> str:
        run, actions = self.watch.state
        states = {host: f"{record.state} {record.reason}".strip() for host, record in actions.items()}
        faults = ", ".join(sorted(self.faults.done))
        return (
            f"run {run.state if run else 'none'}, {states}, seen {time.monotonic() - self.watch.seen:.0f} s ago;"
            f" faults: {faults}; the operator said {self.operator.words}, refused {dict(self.operator.refused)}"
        )


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """The results of many seeds as one object."""
    whole: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    transitions: Counter[str] = Counter()
    for result in results:
        whole += result.counts
        faults += result.faults
        transitions += result.transitions
    return {
        "seeds": len(results),
        "by store": dict(sorted(Counter(result.store for result in results).items())),
        "by main fault": dict(sorted(Counter(result.main for result in results).items())),
        "faults": dict(sorted(faults.items())),
        "coordinator killed after": dict(sorted(transitions.items())),
        "violations": sum(len(result.wrong) for result in results),
        "lost steps": whole["lost"],
        "repeated steps": whole["repeated"],
        "steps": whole["steps"],
        "resumed steps": whole["resumed"],
        "answers": whole["answers"],
        "operator's words": whole["operator's words"],
        "checks": whole["checks"],
        "claims": whole["claims"],
        "transitions": whole["transitions"],
        "seconds per seed": round(sum(result.seconds for result in results) / max(1, len(results)), 1),
        "ended": {name: count for name, count in sorted(whole.items()) if " ended with " in name},
    }
