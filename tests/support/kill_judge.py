"""The judge of a run under kills: by what steps did, by the hosts' own journals and by the probes' file."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from support.kill_world import EVERY, World
from underway.app.place import Place, Session
from underway.app.showing import read_ledger
from underway.checks.samples import read_chunk

NODE_STEPS = {"app.prepare.fetch": "fetch", "app.upgrade.turn": "turn", "app.upgrade.convert": "convert",
              "app.verify.prove": "prove"}  # fmt: skip
TELLER_STEPS = {"pay.upgrade.pay": "pay"}
NOT_TWICE = ("convert", "pay")


def judge(world: World, control: Mapping[str, bytes], prober_kills: Sequence[float]) -> tuple[list[str], Counter[str]]:
    """Everything that is wrong, as sentences, and counts of what was seen. The run must have ended."""
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    for host in world.hosts:
        wrong += [f"{host}: {text}" for text in _host(world, host, counts)]
    state = world.machines()
    for name in sorted(state.keys() | control.keys()):
        if state.get(name) != control.get(name):
            wrong.append(f"end state: {name} is {state.get(name)!r}, in the run without kills {control.get(name)!r}")
    wrong += _store(world, prober_kills, counts)
    return wrong, counts


def _host(world: World, host: str, counts: Counter[str]) -> Iterable[str]:
    lines = world.journal(host)
    for index, line in enumerate(lines):
        if line["seq"] != index + 1:
            yield f"journal: line {index + 1} has number {line['seq']}"
            return
    steps = NODE_STEPS if host in world.nodes else TELLER_STEPS
    effects = Counter(world.effects(host))
    begins = Counter(line["step"] for line in lines if line["kind"] == "begin")
    done: set[str] = set()
    open_: set[str] = set()
    due: set[str] = set()
    for line in lines:
        kind, step = line["kind"], str(line.get("step", ""))
        counts[kind] += 1
        if kind == "begin":
            if step in done:
                yield f"finished step {step} began again at line {line['seq']}"
            if step in open_:
                yield f"interrupted step {step} began again at line {line['seq']} without a word that says why"
            open_.add(step)
        elif kind in ("end", "skip") and not line.get("rc", 0):
            if step in done:
                yield f"step {step} ended twice, at line {line['seq']}"
            done.add(step)
            open_.discard(step)
        elif kind == "end":
            yield f"step {step} failed at line {line['seq']}: {line.get('text')}"
        elif kind == "resumed":
            open_.discard(step)
        elif kind == "notify":
            due.add(line["task"])
        elif kind == "handler":
            due.discard(line["task"])
        elif kind == "leg-end" and line.get("rc", 0):
            yield f"leg of {line['action']} failed: {line.get('text')}"
    for step, word in steps.items():
        if step not in done:
            yield f"step {step} did not finish"
        if not 1 <= effects[word] <= begins[step]:
            yield f"step {step} had its effect {effects[word]} times in {begins[step]} attempts"
        if word in NOT_TWICE and effects[word] != 1:
            yield f"step {step}, which must not run twice, had its effect {effects[word]} times"
    if due:
        yield f"handlers {sorted(due)} were notified and never ran"
    words = world.effects(host)
    if host in world.nodes and "restart" not in words[len(words) - 1 - words[::-1].index("turn") :]:
        yield f"the handler did not run after the last change: {words}"
    legs = Counter((line["action"], line["leg"]) for line in lines if line["kind"] == "leg-end")
    yield from (f"leg {leg} ended {count} times" for leg, count in legs.items() if count != 1)
    if not lock_is_free(world.host(host) / "lock"):
        yield "its lock is held"
    counts["steps finished"] += len(done)


def lock_is_free(path: Path) -> bool:
    """Whether nobody holds the lock."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _store(world: World, prober_kills: Sequence[float], counts: Counter[str]) -> Iterable[str]:
    session = Session(Place.find(str(world.root / "cluster.yaml")))
    try:
        run = session.current()
        if run.state != "done":
            yield f"the run is {run.state}"
        entries, problems = session.repository.verify()
        counts["audit entries"] = entries
        yield from problems
        for action, record in session.repository.snapshot(run.id).actions.items():
            if record.state != "done":
                yield f"{action} is {record.state} in the store"
        plan, _ = session.plan_of(run.id)
        directory = session.place.run_directory(run.id)
        ledger = read_ledger(directory, plan, run, run.ended)
        yield from _probes(directory, ledger, run.started, run.ended, prober_kills, counts)
    finally:
        session.close()


def _probes(
    directory: Path, ledger: Any, started: float, ended: float, kills: Sequence[float], counts: Counter[str]
) -> Iterable[str]:
    """Up, down and unobserved are the wall time; each gap is one that a kill of the prober (or its start) explains."""
    marks = read_chunk(directory / "samples" / "prober.jsonl", most=1 << 30).marks
    starts = [mark.epoch for mark in marks if mark.mark == "start"]
    counts["probers"], counts["skipped spells"] = len(starts), 0
    for stats in ledger.stats.values():
        counts["samples"] += stats.samples
        total = stats.up + stats.down + stats.unobserved
        if abs(total - (stats.end - stats.start)) > 0.001 or abs(stats.end - stats.start - (ended - started)) > 1.0:
            yield f"probe {stats.probe}: {total:.3f} s are accounted for of {ended - started:.3f}"
        if stats.down or stats.failed:
            yield f"probe {stats.probe}: {stats.failed} samples failed, though the server always answered"
        gaps = sum(gap.end - gap.start for gap in ledger.gaps if gap.probe == stats.probe)
        counts["unobserved ms"] += round(1000 * stats.unobserved)
        if abs(gaps - stats.unobserved) > 0.001:
            yield f"probe {stats.probe}: {stats.unobserved:.3f} s unobserved, the listed gaps are {gaps:.3f} s"
    for gap in ledger.gaps:
        counts["gaps"] += 1
        # its own start, or a kill within it; and it ends when a prober has come up again
        why = gap.start - started < 0.001 or any(gap.start - 2 * EVERY <= kill <= gap.end for kill in kills)
        last_start = max((one for one in starts if one <= gap.end + EVERY), default=0.0)
        counts["longest gap ms"] = max(counts["longest gap ms"], round(1000 * (gap.end - gap.start)))
        if gap.why.startswith("skipped"):  # the prober says so itself: its machine was too slow for its clock
            counts["skipped spells"] += 1
        elif not why:
            yield f"a gap of {gap.end - gap.start:.1f} s after {gap.start - started:.1f} s has no kill: {gap.why}"
        elif gap.end < ended - 0.001 and gap.end - last_start > 2.0:
            yield f"a gap of {gap.end - gap.start:.1f} s goes on {gap.end - last_start:.1f} s after the prober was back"


def processes_of(root: Path) -> list[str]:
    """What still runs with the root's path on its command line or in its environment (this process apart)."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            if os.fsencode(root) + b"/" in words + b"\0" + (entry / "environ").read_bytes():
                found.append(f"{entry.name}: {words.replace(bytes(1), b' ').decode(errors='replace')[:200]}")
        except OSError:
            continue
    return found
