"""One pass, from the first step that is not finished to its end: the process that holds the lock and the journal."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from underway_runner import disk, playbook, procs, rebooting
from underway_runner.ansible_run import AnsibleRun, Cancelled, Ended
from underway_runner.errors import PlanMismatch
from underway_runner.history import History, Line, fold
from underway_runner.journal import Journal
from underway_runner.output import Output
from underway_runner.scrub import Scrubber
from underway_runner.trust import Work

CRASHES = 3
"""How often Ansible may be killed by somebody, with no step finished in between, before the leg is failed."""


class Supervisor:
    """Runs a leg. Every way out leaves a terminal line, except a kill: then running again resumes."""

    def __init__(self, directory: Path, work_directory: Path, work: Work, journal: Journal) -> None:
        self.directory = directory
        self.place = work_directory
        self.work = work
        self.journal = journal
        self.scrub = Scrubber()
        self.scrub.add([work.vault_password] if work.vault_password else [])
        self.output = Output(work_directory / "output")
        self.cancelled = False
        self.leader: Optional[procs.Process] = None
        self.began = time.monotonic()
        self.steps: List[str] = list(work.ticket["steps"])
        self.specs: Dict[str, Mapping[str, Any]] = {step: work.plan["steps"][step] for step in self.steps}
        self.book = work.files[work.ticket["playbook"]]
        self.raises = playbook.raise_tags(self.book)
        self._structure: Optional[playbook.Book] = None
        self.sessions = directory / "work" / "sessions"
        self.runs: Callable[..., AnsibleRun] = AnsibleRun

    def run(self) -> None:
        """Do the leg, and write how it ended."""
        signal.signal(signal.SIGUSR1, self._on_cancel)
        procs.prctl(procs.PR_SET_CHILD_SUBREAPER, 1)
        try:
            self._run()
        except Cancelled:
            self._say_cancelled()
        except TimeoutError as error:
            step = next(iter(self.history().open), "")
            self.journal.append("unknown", step=step, text=str(error))
        except PlanMismatch as error:
            self._fail("", str(error))
        except OSError as error:
            self._fail("", f"the host cannot go on: {error.strerror or error} ({error.filename or 'journal'})")
        finally:
            self.output.close()

    def history(self) -> History:
        """What the journal says of this leg now."""
        ticket = self.work.ticket
        return fold(self.journal.lines, ticket["run"], ticket["action"], ticket["leg"], ticket["voided"])

    def handlers_named(self, names: Sequence[str]) -> List[str]:
        """The handlers of the playbook that these notifications mean."""
        return playbook.handlers_of(names, self.structure().handlers, self.raises) if names else []

    def handlers_after(self, step: str) -> List[str]:
        """The handlers that a step may have notified."""
        return self.handlers_named(self.structure().notified(step)) if self.raises else []

    def structure(self) -> playbook.Book:
        """The playbook's structure, read when first wanted."""
        if self._structure is None:
            self._structure = playbook.Book(self.book)
        return self._structure

    def know_structure(self, book: playbook.Book) -> None:
        """Take the playbook's structure from who has read it already."""
        self._structure = book

    def note(self) -> None:
        """Write who holds the lock, and the process group of its Ansible."""
        own = procs.identify(os.getpid())
        record = {
            **self.work.where,
            "pid": own.pid,
            "start": own.start,
            "boot": disk.boot_id(),
            "leader": list(self.leader) if self.leader else None,
        }
        path = self.directory / "work" / "pass.json"
        temporary = path.with_name(".pass.json")
        temporary.write_bytes(disk.dump_json(record))
        temporary.rename(path)  # not synced: after a reboot there is nothing to find anyway

    def _run(self) -> None:
        crashes = 0
        while True:
            if not self._settle():
                return
            before = self.history()
            if not before.pending and all(step in before.done for step in self.steps):
                self._finish()
                return
            ended = self.runs(self, self._arguments(before), limit=self._limit()).go()
            if self._goes_down(ended):
                return
            if ended.said_end or ended.reason:
                self._conclude(ended)
                return
            # Killed by somebody, without a word: as after a crash of the runner, decide on the open step and go on.
            crashes = 0 if len(self.history().done) > len(before.done) else crashes + 1
            step = next(iter(self.history().open), "")
            if crashes >= CRASHES or not (step or ended.signalled or ended.lost):
                how = f"by signal {-ended.status}" if ended.signalled else f"with status {ended.status}"
                self._fail(step, ended.lost or f"Ansible ended {how}: {ended.last_words}")
                return

    def _goes_down(self, ended: Ended) -> bool:
        """Wait for the end where the machine was told to reboot, or may be at it; True if it did not come in time."""
        step = ended.rebooting
        if step:
            timeout = float(self.specs[step].get("timeout", 3600.0))
            self.journal.sync()  # what was told of the tasks is still known after a reboot that writes nothing
            rebooting.wait_to_go_down(rebooting.left(self.history().open[step], timeout), self._look_up)
            self._fail(step, f"the machine is still up {timeout:.0f} s after the step began that was to reboot it")
            return True
        if (not ended.said_end or ended.failed) and any(self.specs[one].get("reboot") for one in self.history().open):
            # Ended by the machine that goes down, most likely: then nobody is left to say anything else.
            rebooting.wait_to_go_down(rebooting.PARTING, self._look_up)
        return False

    def _look_up(self) -> None:
        procs.reap()
        if self.cancelled:
            raise Cancelled

    def _arguments(self, history: History) -> List[str]:
        """Command line of the pass: finished steps and flushes left out, pending handlers raised again."""
        begun = set(history.done) | set(history.failed) | set(history.open) | history.again
        again = playbook.gathered_again(self.steps, self.specs, history.done)
        skip = [f"step_{playbook.step_slug(step)}" for step in self.steps if step in history.done and step not in again]
        raised = [f"raise_{playbook.handler_slug(name)}" for name in history.pending]
        if begun:
            skip += playbook.flushes_behind(self.steps, self.specs, begun)
        arguments = ["-i", "inventory.yml", self.work.ticket["playbook"]]
        if raised:
            arguments += ["--tags", ",".join(["all", *raised])]
        if skip:
            arguments += ["--skip-tags", ",".join(skip)]
        return arguments

    def _limit(self) -> float:
        """Monotonic time at which the whole leg is too late; 60 s more than its steps have, for handlers."""
        timeout = float(self.work.ticket.get("timeout", 0) or 0)
        return self.began + timeout + 60.0 if timeout else float("inf")

    def _settle(self) -> bool:
        """Decide every interrupted step by answer, check or declared idempotence; False if one stays unknown."""
        history = self.history()
        given, token = self.work.ticket.get("answers", {}), self.work.ticket["token"]
        # An answer was given to what had happened before the ticket was made: the next interruption is a new question.
        asked = {**history.failed, **history.open}
        answers = {step: word for step, word in given.items() if asked.get(step, {}).get("token", token) < token}
        for step in self.steps:
            if step in history.failed and answers.get(step) == "skip":
                self.journal.append("skip", step=step, text="the operator's word: skip")
            if step not in history.open:
                continue
            spec = self.specs[step]
            answer = answers.get(step)
            verdict = "done" if answer == "skip" else answer or self._look(step, history.open[step])
            if verdict == "in vain":
                text = f"its tasks ran {rebooting.TRIES} times, and the machine is in the same boot as before"
                self._fail(step, text)
                return False
            if verdict is None and spec.get("idempotent"):
                verdict = "rerun"
            if verdict is None:
                self.journal.append(
                    "unknown",
                    step=step,
                    text=f"{spec.get('name', step)!r} was interrupted: nobody can tell whether it happened",
                )
                return False
            # What the interrupted attempt notified may be lost with it; a restart too many is better than none.
            for name in self.handlers_after(step):
                self.journal.append("notify", sync=False, step=step, task=name)
            if answer == "skip":
                self.journal.append("skip", step=step, text="the operator's word: skip")
            elif verdict == "done":
                rebooted = "the machine was rebooted"
                said = rebooted if spec.get("reboot") else "interrupted; its check says that it happened"
                took = rebooting.took(history.open[step]) if spec.get("reboot") else None
                self.journal.append("end", step=step, text=said, duration=took)
            else:
                self.journal.append("resumed", step=step, text=self._why_again(spec, answer))
        return True

    def _why_again(self, spec: Mapping[str, Any], answer: Optional[str]) -> str:
        if answer:
            return "the operator's word: rerun"
        if spec.get("reboot"):
            return "the machine is in the same boot as before"
        return "declared idempotent" if spec.get("idempotent") else "its check says that it did not happen"

    def _look(self, step: str, begun: Line) -> Optional[str]:
        """What became of an open step, by its check or, of one that reboots, by the boot; ``in vain`` for one of these
        that was begun often enough."""
        if not self.specs[step].get("reboot"):
            return self._check(step)
        if rebooting.has_happened(begun):
            return "done"
        return "in vain" if rebooting.tries(self.journal.lines, begun) >= rebooting.TRIES else "rerun"

    def _check(self, step: str) -> Optional[str]:
        """``done``, ``rerun``, or None where the step's check cannot tell or there is none."""
        tag = f"check_{playbook.step_slug(step)}"
        if self.specs[step].get("check") is None or tag not in playbook.check_tags(self.book):
            return None
        arguments = ["-i", "inventory.yml", self.work.ticket["playbook"], "--tags", tag]
        ended = self.runs(self, arguments, limit=time.monotonic() + 300.0, journaled=False).go()
        if not ended.said_end or not ended.tasks:
            return None
        return "rerun" if ended.failed else "done"

    def _conclude(self, ended: Ended) -> None:
        if ended.failed or ended.reason:
            self._fail(ended.failed_step, ended.reason or ended.last_words)
            return
        history = self.history()
        missing = [step for step in self.steps if step not in history.done]
        for step in list(missing):
            if not self.specs[step]["tasks"]:
                self.journal.append("end", sync=False, step=step, text="has no tasks")
                missing.remove(step)
        if missing:
            self._fail(missing[0], f"step {missing[0]} of the ticket did not run (the play ended before it)")
        else:
            self._finish()

    def _finish(self) -> None:
        self.journal.append("leg-end", duration=self._spent())

    def _spent(self) -> float:
        """Seconds that the leg took, reboots included."""
        token = self.work.ticket["token"]
        spent = time.monotonic() - self.began
        for line in self.journal.lines:
            if line["kind"] == "accepted" and line.get("token") == token and line.get("boot") != self.journal.boot:
                spent = max(spent, rebooting.took(line))
        return round(spent, 3)

    def _fail(self, step: str, text: str) -> None:
        if step in self.history().open:
            self.journal.append("end", step=step, rc=1, text=text)
        self.journal.append("leg-end", step=step, rc=1, text=text, duration=self._spent())

    def _say_cancelled(self) -> None:
        open_steps = [
            step
            for step in self.history().open
            if not any(self.specs[step].get(tells) for tells in ("idempotent", "check", "reboot"))
        ]
        self.journal.append("cancelled", step=open_steps[0] if open_steps else "", text="cancelled by the coordinator")

    def _on_cancel(self, _signal: int, _frame: Any) -> None:
        self.cancelled = True
