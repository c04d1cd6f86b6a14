"""The summary of a run, and the report that is written of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from underway import __version__
from underway.app.place import Session
from underway.app.registered import registered
from underway.app.showing import prober_alive, read_ledger, read_samples, with_causes
from underway.core import calls
from underway.core.clocks import corrected
from underway.core.model.state import RunRecord
from underway.core.summary import Summary, summarise
from underway.engine.mirror import read_lines
from underway.report import html, jsonform


def summary_of(session: Session, run_id: str) -> Summary:
    """The summary of a run (the latest if no id is given), from the store, the mirrored journals and the samples."""
    repository = session.repository
    snapshot = repository.snapshot(run_id or session.current().id)
    run = snapshot.run
    plan, _ = session.plan_of(run.id)
    directory = session.place.run_directory(run.id)
    now = session.clock.now()
    over = run.ended or now
    lines, skews = corrected(read_lines(directory / "journals"), snapshot.actions, run.id)
    ledger = read_ledger(directory, plan, run, now)
    head = repository.events(run.id)
    return summarise(
        plan,
        run,
        snapshot.actions,
        head,
        lines,
        with_causes(ledger, lines, plan, over),
        ledger.gaps,
        ledger.stats.values(),
        now,
        version=__version__,
        skews=skews,
        audit=(head[-1].seq, head[-1].hash) if head else None,
        beside=tuple(registered(session, plan, snapshot).lines()),
    )


def status_lines(session: Session, run_id: str) -> Iterator[dict[str, Any]]:
    """Each attempt of the run's probes as a line of Nova's probe tool: ``core/calls.py`` says what is in it."""
    run = session.repository.snapshot(run_id or session.current().id).run
    plan, _ = session.plan_of(run.id)
    directory = session.place.run_directory(run.id)
    now = session.clock.now()
    outages = read_ledger(directory, plan, run, now).outages
    samples = read_samples(directory, run, now)
    return calls.status_lines(samples, plan.probes, outages, run.started)


def is_wound_up(session: Session, run: RunRecord) -> bool:
    """Whether a run that is over has its report and no prober any more; not so after a kill in its last moments."""
    directory = session.place.run_directory(run.id)
    return (directory / "report.json").exists() and not prober_alive(directory)


def write_report(session: Session, summary: Summary, path: Path | None) -> Path:
    """Write the HTML report and, beside it, the same as JSON; returns the path of the HTML file."""
    path = path or session.place.run_directory(summary.run) / "report.html"
    path.write_text(html.render(summary), encoding="utf-8")
    path.with_suffix(".json").write_text(jsonform.dumps(summary), encoding="utf-8")
    return path
