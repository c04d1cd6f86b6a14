"""upgrade and rollback: a run, with its progress."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from underway.cli.context import Context, echo, pass_context, width
from underway.cli.signing import envelope_of, output_option, signed_option
from underway.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_WAITING,
    InputError,
    Refused,
    UnderwayError,
    UsageError,
)

if TYPE_CHECKING:
    from underway.core.model.plan import Plan
    from underway.core.model.state import RunRecord
    from underway.engine.drive import End

EXITS = {
    "done": EXIT_DONE,
    "halted": EXIT_FAILED,
    "aborted": EXIT_FAILED,
    "waits": EXIT_WAITING,
    "stopped": EXIT_WAITING,
    "interrupted": EXIT_INTERRUPTED,
}


vault_option = click.option(
    "--vault-password-file",
    "vault",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="UNDERWAY_VAULT_PASSWORD_FILE",
    help="Opens the plan's vault values (its mode must be 0600).",
)


@click.command()
@click.argument("plan_file", metavar="[PLAN]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask before the start.")
@click.option("--json", "as_json", is_flag=True, help="Progress as JSON lines.")
@click.option("--plain", is_flag=True, help="Progress as plain lines, also on a terminal.")
@click.option("--linger", is_flag=True, help="Stay while the run waits for an operator (pause, approval).")
@click.option(
    "--without-checks",
    "without",
    metavar="REASON",
    default="",
    help="Begin although the checks before have not passed.",
)
@vault_option
@pass_context
def upgrade(
    context: Context,
    plan_file: Path | None,
    yes: bool,
    as_json: bool,
    plain: bool,
    linger: bool,
    without: str,
    vault: Path | None,
) -> None:
    """Apply a saved plan, or go on with the run.

    Without PLAN: go on with the run that is not finished. Ctrl-C once: start nothing more and wait for those at work.
    Twice: stop them too. Running again resumes.

    Where cluster.yaml has checks that are due before an upgrade, none begins until 'underway check run before' has
    passed; --without-checks keeps your REASON in the audit and in the report.
    """
    if plan_file is None and without:
        raise UsageError("--without-checks is for the start of a run: give PLAN (a run that has begun needs no checks)")
    run = _resume(context) if plan_file is None else _start(context, plan_file, yes, without, vault)
    drive_run(context, run, mode_of(as_json, plain), linger, vault)


@click.command()
@click.option("--reason", metavar="TEXT", required=True, help="Why: kept in the audit.")
@output_option
@signed_option
@click.option("--yes", is_flag=True, help="Do not ask before the start.")
@click.option("--json", "as_json", is_flag=True, help="Progress as JSON lines.")
@click.option("--plain", is_flag=True, help="Progress as plain lines, also on a terminal.")
@vault_option
@pass_context
def rollback(
    context: Context,
    reason: str,
    output: Path | None,
    signed: Path | None,
    yes: bool,
    as_json: bool,
    plain: bool,
    vault: Path | None,
) -> None:
    """Bring changed hosts back to the old release.

    Refused after the point of no return.
    """
    from underway.app.planning import make_rollback
    from underway.app.running import wind_up
    from underway.core.preview import tree

    session = context.session
    current = session.current()
    plan = make_rollback(session, current)
    for line in tree(plan, width=width()):
        echo(line, error=as_json)
    envelope = envelope_of(context, plan, output, signed)
    if envelope is None:
        return
    vault_password(plan, vault)
    confirm(f"Roll back {hosts_of(plan)} to {plan.source}?", yes)
    if current.state in ("running", "paused"):
        session.control(current.id).abort(f"rolled back: {reason}")
        if make_rollback(session, session.current()).digest() != plan.digest():
            raise Refused(
                f"hosts moved on in run {current.id} meanwhile; it is aborted now ('underway rollback' again)"
            )
    run = session.start(plan, envelope, reason)
    wind_up(session, current)
    drive_run(context, run, mode_of(as_json, plain), False, vault)


def mode_of(as_json: bool, plain: bool) -> Literal["rich", "plain", "json"]:
    if as_json:
        return "json"
    return "plain" if plain or not sys.stdout.isatty() else "rich"


def _resume(context: Context) -> RunRecord:
    from underway.app.reporting import is_wound_up
    from underway.core.rollback import at_work
    from underway.core.words import some

    run = context.session.current()
    if run.state in ("done", "aborted"):
        busy = at_work(context.session.repository.snapshot(run.id))
        if not busy and not is_wound_up(context.session, run):
            return run
        if not busy:
            raise InputError(f"run {run.id} is {run.state}: nothing to resume (give a plan to start another)")
        echo(f"run {run.id} is {run.state}: nothing new starts; following {some(busy)} to the end", error=True)
        return run
    plan, _ = context.session.plan_of(run.id)
    echo(f"going on with run {run.id} ({plan.way})", error=True)
    return run


def _start(context: Context, plan_file: Path, yes: bool, without: str, vault: Path | None) -> RunRecord:
    from underway.app import checking
    from underway.app.planning import check_world, read_inputs, read_plan
    from underway.app.reporting import is_wound_up
    from underway.app.running import wind_up

    session = context.session
    plan, envelope = read_plan(context.place, plan_file)
    session.chain().open_plan(envelope, str(plan_file))
    current = session.repository.current()
    if current is not None and current.plan == plan.digest() and current.state in ("running", "paused"):
        unused = "; it has begun and needs no checks, so --without-checks is not recorded" if without else ""
        echo(f"going on with run {current.id} of this plan{unused}", error=True)
        return current
    if current is not None and current.plan == plan.digest() and current.state == "done":
        echo(f"run {current.id} of this plan is done", error=True)
        return current
    vault_password(plan, vault)
    session.check_free()
    inputs = read_inputs(session)
    check_world(session, inputs, plan)
    ready = checking.readiness_of(session, inputs, plan)
    checking.want_checks(ready, without)
    for reason in ready.missing:
        echo(f"without its checks: {reason}", error=True)
    echo(f"plan {plan.digest()[:12]}: {plan.cluster}, {hosts_of(plan)}, {plan.source} to {plan.target}", error=True)
    confirm("Start the upgrade?", yes)
    run = checking.start(session, plan, envelope, ready, without)
    if current is not None and not is_wound_up(session, current):
        wind_up(session, current)
    return run


def vault_password(plan: Plan, vault: Path | None) -> str | None:
    """The password for the plan's vault values; refused before anything starts where one is needed and not given."""
    from underway.app.running import needs_vault, read_vault_password

    if vault is not None:
        return read_vault_password(vault)
    if needs_vault(plan):
        raise UsageError("the plan holds vault values: give --vault-password-file FILE")
    return None


def hosts_of(plan: Plan) -> str:
    number = len({host for work in plan.passes.values() for host in work.hosts})
    return f"{number} host{'s' if number != 1 else ''}"


def confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to ask on: give --yes")
    click.confirm(question, abort=True)


def drive_run(
    context: Context, run: RunRecord, mode: Literal["rich", "plain", "json"], linger: bool, vault: Path | None
) -> None:
    """Drive the run with its progress on the terminal; leave a report behind; exit by how it ended."""
    from underway.app.reporting import summary_of, write_report
    from underway.app.running import end_other_probers, put_together
    from underway.cli.live import LiveView
    from underway.core.notices import counted
    from underway.core.progress import progress
    from underway.engine.coordinator import Tick
    from underway.engine.drive import Interrupts, drive
    from underway.report import text

    session = context.session
    driven = put_together(session, run, vault_password(session.plan_of(run.id)[0], vault))
    end_other_probers(session, run)
    over = run.state == "done"  # its coordinator was killed after the last commit: what is left is to wind up
    if not over:
        driven.prober.ensure()
    view = LiveView(driven.plan, sys.stdout, mode)

    leader = ""

    def show(tick: Tick) -> None:
        nonlocal leader
        if tick.leader != leader:
            leader = tick.leader
            echo(
                f"coordinator {leader} leads; this one stands by" if leader else "this coordinator leads now",
                error=True,
            )
        if not over and not leader:
            driven.prober.ensure()
        for event in tick.events:
            view.event(event)
        now = session.clock.now()
        made = progress(driven.plan, tick.snapshot, tick.decision, now, tick.policy)
        view.update(tick.snapshot, tick.decision, made, driven.mirror.at_work(), tick.outages, now)

    end: End = "stopped"
    try:
        with Interrupts() as interrupts:
            end = drive(driven.coordinator, session.clock, show, interrupts, linger)
    finally:
        view.close()
        driven.coordinator.close()
        if end in ("done", "aborted"):
            driven.prober.stop()
    summary = summary_of(session, run.id)
    path = write_report(session, summary, None)
    if mode != "json":
        echo(text.headline(summary))
        echo(summary.result)
        if summary.notices:
            echo(f"notices: {counted(summary.notices)}, told in the report")
        echo(f"report: {path}")
    if end == "halted":
        _diagnose(context, run.id, quiet=mode == "json")
    raise click.exceptions.Exit(EXITS[end])


def _diagnose(context: Context, run: str, quiet: bool) -> None:
    """Collect what an expert would ask for while it is still there; that this fails must not hide why the run did."""
    from underway.app.diagnosing import diagnose
    from underway.config.load import load

    try:
        path = diagnose(context.session, load(context.place.cluster_file), run, None)
    except (UnderwayError, OSError) as error:
        echo(f"underway diagnose: {error}", error=True)
        return
    if not quiet:
        echo(f"diagnosis: {path}")
