"""``underway roll``: anything on any hosts, one slot after another."""

from __future__ import annotations

from pathlib import Path

import click

from underway.cli.context import Context, echo, pass_context, width
from underway.cli.running import confirm, drive_run, hosts_of, mode_of, vault_option, vault_password
from underway.cli.signing import envelope_of, output_option, signed_option
from underway.errors import UsageError


@click.command()
@click.option("--command", metavar="CMD", default="", help="A line for the hosts' shell, taken as it is typed.")
@click.option(
    "--playbook",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A playbook of one play; its own 'hosts' is not looked at.",
)
@click.option(
    "--action",
    metavar="NAME",
    default="",
    help="reboot, reboot-where-due, or what a service declares (restart-keystone, say).",
)
@click.option("--role", "roles", metavar="R", multiple=True, help="Only hosts of this role (may be given again).")
@click.option("--where", metavar="EXPR", default="", help="Only hosts for which it holds: \"domain == 'rack-a'\".")
@click.option(
    "--policy", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Other rules than policy."
)
@click.option("--drain", metavar="SERVICE", multiple=True, help="Take it from its balancer meanwhile ('*': all).")
@click.option("--idempotent", is_flag=True, help="It may run again where it was interrupted.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(1, 604800),
    help="For one host (default 3600, for a reboot 1200).",
)
@click.option("--reason", metavar="TEXT", default="", help="Why: kept in the audit.")
@click.option("--noop", is_flag=True, help="Show the plan, and do nothing.")
@output_option
@signed_option
@click.option("--yes", is_flag=True, help="Do not ask before the start.")
@click.option(
    "--wait", "linger", is_flag=True, help="Stay until every host is done, also while it waits for an operator."
)
@click.option("--json", "as_json", is_flag=True, help="Progress as JSON lines.")
@click.option("--plain", is_flag=True, help="Progress as plain lines, also on a terminal.")
@vault_option
@pass_context
def roll(
    context: Context,
    command: str,
    playbook: Path | None,
    action: str,
    roles: tuple[str, ...],
    where: str,
    policy: Path | None,
    drain: tuple[str, ...],
    idempotent: bool,
    timeout: float | None,
    reason: str,
    noop: bool,
    output: Path | None,
    signed: Path | None,
    yes: bool,
    linger: bool,
    as_json: bool,
    plain: bool,
    vault: Path | None,
) -> None:
    """Do something on many hosts under the rules of an upgrade.

    Each host gets its slot, does the work, passes the gates of its services and gives the slot back. Limits, the order
    of roles, failure budget and soak time are those of cluster.yaml, or of --policy. It goes on beside an upgrade and
    other rolls: all share the slots. Killed, 'underway --run RUN upgrade' goes on with it.
    """
    from underway.app import rolling
    from underway.app.planning import read_inputs
    from underway.config.playbooks import load_policy
    from underway.core.choice import choose
    from underway.core.preview import tree
    from underway.core.rolls import action_work, is_reboot, reboot_work

    if [bool(command), bool(playbook), bool(action)].count(True) != 1:
        raise UsageError("give one of --command, --playbook and --action: what is to be done on each host")
    session = context.session
    inputs = read_inputs(session)
    rules = load_policy(policy) if policy is not None else None
    drained = rolling.drained_services(inputs.cluster, inputs.catalogue, drain)
    if is_reboot(inputs.catalogue, action):
        everything = rolling.drained_services(inputs.cluster, inputs.catalogue, ("*",))
        work = reboot_work(action, everything, timeout or 1200.0)
    elif action:
        work = action_work(inputs.catalogue, action, drained)
    elif playbook is not None:
        work = rolling.playbook_work(playbook, drained=drained, idempotent=idempotent, timeout=timeout or 3600.0)
    else:
        work = rolling.command_work(command, drained=drained, idempotent=idempotent, timeout=timeout or 3600.0)
    hosts = choose(inputs.cluster, roles, where)
    plan = rolling.make_roll(session, inputs, work, hosts, rules)
    for line in tree(plan, width=width()):
        echo(line, error=as_json)
    if noop:
        return
    envelope = envelope_of(context, plan, output, signed)
    if envelope is None:
        return
    vault_password(plan, vault)
    confirm(f"Roll it out to {hosts_of(plan)}?", yes)
    run = session.start(plan, envelope, reason)
    echo(f"run {run.id}", error=True)
    drive_run(context, run, mode_of(as_json, plain), linger, vault)
