"""status, report, log, audit: the truth about a run, during and after it."""

from __future__ import annotations

from pathlib import Path

import click

from underway.cli.context import Context, echo, echo_json, pass_context, width
from underway.errors import InputError, Refused, UsageError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option("--versions", "who", is_flag=True, help="Who runs which release, and which version of its repositories.")
@pass_context
def status(context: Context, as_json: bool, who: bool) -> None:
    """Show how the run stands, and what to do next.

    The whole truth, also after a crash: what is done, at work, failed, unknown, waiting and why.
    """
    if who:
        _versions(context, as_json)
        return
    from underway.app.showing import look
    from underway.cli.view import status_json, status_lines

    seen = look(context.session)
    if as_json:
        echo_json(status_json(seen.plan, seen.snapshot, seen.decision, seen.extras, seen.now))
        return
    for line in status_lines(seen.plan, seen.snapshot, seen.decision, seen.extras, seen.now, width=width()):
        echo(line)


def _versions(context: Context, as_json: bool) -> None:
    from underway.app.versions import versions_of
    from underway.core.versions import lines

    plan, _ = context.session.plan_of(context.session.current().id)
    found = versions_of(context.session, plan)
    if as_json:
        rows = [
            {
                "role": one.role, "release": one.release, "hosts": list(one.hosts), "differs": list(one.differs),
                "repositories": None if one.repositories is None else dict(one.repositories),
            }
            for one in found
        ]  # fmt: skip
        echo_json(rows)
        return
    for line in lines(found):
        echo(line)


@click.command()
@click.option("--run", "run_id", metavar="RUN", default="", help="Another run than the latest.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where (default: state directory)."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--text", "as_text", is_flag=True, help="Print the summary as text.")
@click.option("--attempts", is_flag=True, help="Print every attempt of the probes, one JSON object a line.")
@pass_context
def report(context: Context, run_id: str, output: Path | None, as_json: bool, as_text: bool, attempts: bool) -> None:
    """Write the report of a run as one HTML file.

    And the same as JSON beside it: hosts and time, every outage and its cause, what operators said.
    """
    from underway.app.reporting import status_lines, summary_of, write_report
    from underway.report import jsonform, text

    if attempts:
        import json

        for attempt in status_lines(context.session, _run(context, run_id)):
            echo(json.dumps(attempt))
        return
    summary = summary_of(context.session, _run(context, run_id))
    if as_json:
        echo(jsonform.dumps(summary))
        return
    if as_text:
        for line in text.lines(summary):
            echo(line)
        return
    path = write_report(context.session, summary, output)
    echo(text.headline(summary))
    echo(f"wrote {path} and {path.with_suffix('.json')}")


@click.command()
@click.option("--run", "run_id", metavar="RUN", default="", help="Another run than the latest.")
@click.option("--host", "hosts", metavar="HOST", multiple=True, help="All services of this host (may be given again).")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where (default: with the run).")
@pass_context
def diagnose(context: Context, run_id: str, hosts: tuple[str, ...], output: Path | None) -> None:
    """Collect logs, versions and the last tasks in one file.

    Of the hosts and services that the run's trouble is about, around its moment, without secrets. A run that halts
    does so by itself.
    """
    from underway.app.diagnosing import diagnose as collect
    from underway.config.load import load

    path = collect(context.session, load(context.place.cluster_file), _run(context, run_id), output, hosts)
    echo(f"wrote {path}")


@click.command()
@click.option("--run", "run_id", metavar="RUN", default="", help="Another run than the latest.")
@click.option("--all", "every", is_flag=True, help="All runs, and what operators said between them.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@pass_context
def log(context: Context, run_id: str, every: bool, as_json: bool) -> None:
    """Print what happened, when, by whom, and why."""
    import json

    from underway.core.model.base import canonical
    from underway.core.words import clean, moment

    if every and run_id:
        raise UsageError("--all and --run: give one of them")
    for entry in context.session.repository.events(None if every else _run(context, run_id)):
        if as_json:
            echo(json.dumps(json.loads(canonical(entry))))
        else:
            about = f"run {clean(entry.run)}, " if every and entry.run else ""
            about += f"{clean(entry.action)}, " if entry.action else ""
            echo(f"{moment(entry.at)}  {entry.kind:<13} {about}{clean(entry.actor)}: {clean(entry.text)}")


def _run(context: Context, wanted: str) -> str:
    """The id of the run that is meant. Raises InputError for one that never was."""
    if not wanted:
        return context.session.current().id
    from underway.core.nearest import nearest

    runs = [entry.run for entry in context.session.repository.events() if entry.kind == "run-started"]
    if wanted not in runs:
        latest = f"; the latest is {runs[-1]}" if runs else ""
        raise InputError(f"there is no run {wanted!r}{nearest(wanted, runs)}{latest}")
    return wanted


@click.group()
def audit() -> None:
    """Check the hash-chained audit of all changes."""


@audit.command()
@pass_context
def verify(context: Context) -> None:
    """Recompute the chain and say whether anything was altered, removed or put in between."""
    count, problems = context.session.repository.verify()
    for problem in problems:
        echo(problem, error=True)
    if problems:
        raise Refused(f"the audit does not verify: {len(problems)} problems in {count} entries")
    echo(f"the audit verifies: {count} entries, unbroken")
