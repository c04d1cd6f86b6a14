"""What an operator may do to a run: thin words over ``engine.control``, which the other faces use as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from underway.cli.context import Context, echo, pass_context
from underway.errors import UsageError

if TYPE_CHECKING:
    from underway.core.model.policy import Limit
    from underway.engine.control import Control

reason_option = click.option("--reason", metavar="TEXT", default="", help="Why: kept in the audit and shown to all.")
reason_wanted = click.option("--reason", metavar="TEXT", required=True, help="Why: kept in the audit and shown to all.")


def _control(context: Context) -> Control:
    return context.session.control(context.session.current().id)


class HostName(click.ParamType[str]):
    """A host of the current plan; completes by name."""

    name = "host"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:  # noqa: ARG002
        """Hosts whose name begins so."""
        from click.shell_completion import CompletionItem

        root = ctx.find_root()
        context = Context(*(root.params.get(key) or "" for key in ("cluster", "state", "operator", "run")))
        try:
            # opened here, not as ``context.session``: that closes with a command, and there is none
            hosts = context.look(lambda session: session.plan_of(session.current().id)[0].hosts)
        except Exception:  # noqa: BLE001  a process boundary: a TAB must not print anything but names into a prompt
            return []
        return [CompletionItem(host) for host in hosts if host.startswith(incomplete)]


HOST = HostName()


@click.command()
@reason_option
@pass_context
def pause(context: Context, reason: str) -> None:
    """Start no new host; those at work finish."""
    _control(context).pause(reason)
    echo("paused: no new host starts; 'underway resume' goes on")


@click.command()
@reason_option
@pass_context
def resume(context: Context, reason: str) -> None:
    """Undo a pause."""
    _control(context).resume(reason)
    echo("resumed; if no coordinator is running, 'underway upgrade' goes on")


@click.command()
@click.argument("host", type=HOST)
@reason_wanted
@pass_context
def hold(context: Context, host: str, reason: str) -> None:
    """Do not start HOST until it is released ('*': any host)."""
    _control(context).hold(host, reason)
    echo(f"{host} is held; 'underway release {host} --reason ...' lifts it")


@click.command()
@click.argument("host", type=HOST)
@reason_wanted
@pass_context
def release(context: Context, host: str, reason: str) -> None:
    """Lift the hold of HOST."""
    _control(context).release(host, reason)
    echo(f"{host} is released")


@click.command()
@click.argument("host", type=HOST)
@click.option("--rerun", "answer", flag_value="rerun", help="The interrupted step did not happen: run it again.")
@click.option("--skip", "answer", flag_value="skip", help="The interrupted step did happen: go on after it.")
@reason_option
@pass_context
def retry(context: Context, host: str, answer: Literal["rerun", "skip"] | None, reason: str) -> None:
    """Let HOST try its failed or unknown work again.

    From the step that did not finish. Where nobody can tell whether that step happened, say so: --rerun or --skip.
    """
    actions = _control(context).retry(host, reason, answer or "")
    echo(f"{host}: {', '.join(actions)} will be tried again; 'underway upgrade' goes on if no coordinator runs")


@click.command()
@click.argument("host", type=HOST)
@reason_wanted
@pass_context
def skip(context: Context, host: str, reason: str) -> None:
    """Waive what HOST has not done.

    Later stages no longer wait for it. It stays as it is.
    """
    actions = _control(context).skip(host, reason)
    echo(f"{host}: waived {', '.join(actions)}")


@click.command()
@click.argument("host", type=HOST)
@click.option("--rerun", is_flag=True, help="Begin work anew that HOST did once for all, though it is not idempotent.")
@reason_wanted
@pass_context
def replace(context: Context, host: str, rerun: bool, reason: str) -> None:
    """Put another machine in the place of HOST.

    HOST died for good, and one of its name and address is there instead, installed anew with the release that the run
    comes from, and enrolled ('underway enrol HOST'). What HOST had begun is done again there; until then it counts as
    out of service. What it had finished once for all hosts stays done. Keep the old machine off: what still runs there
    cannot be stopped from here.
    """
    from underway.app.running import prepare_new
    from underway.core.words import moment

    control = _control(context)
    base = control.check_replace(host, rerun)
    missing = prepare_new(context.session, control.host(host), base)
    machine, found = control.replace(host, reason, rerun)
    if (machine.by, machine.reason) != (context.place.operator, reason):
        echo(f"{host} was replaced {moment(machine.at)} by {machine.by}: {machine.reason}; nothing began there since")
    if found.again:
        echo(f"{host}: {', '.join(found.again)} will be done again on the new machine")
    if found.stays:
        echo(f"{host}: {', '.join(found.stays)} stays done: it was done once for all hosts")
    if missing:
        echo(f"{missing}: 'underway enrol {host}' (over SSH with --install, and --scan --replace-key for its new key),")
        echo(f"and 'underway retry {host}' if a coordinator asked it before that")
    for other in found.stranded:
        echo(f"{other}: a part of its work was to be done by {host}: 'underway retry {other}'")
    echo("'underway upgrade' goes on if no coordinator runs; keep the old machine off")


@click.command()
@click.argument("host", type=HOST)
@click.option("--off", is_flag=True, help="Its machine is off, and stays off: nobody can tell what it was doing.")
@reason_wanted
@pass_context
def drop(context: Context, host: str, off: bool, reason: str) -> None:
    """Go on without HOST, which died for good.

    It leaves the run, the limits and every count; what it had not finished is waived. It comes back only as a machine
    that is enrolled anew ('underway enrol HOST'), or by 'underway replace HOST'. Keep the old machine off: what still
    runs there cannot be stopped from here.
    """
    from underway.app.leaving import drop as drop_host

    found = drop_host(context.session, host, reason, off)
    echo(f"{host} is dropped and in no count any more; waived: {', '.join(found.waived) or 'nothing'}")
    for name in found.held:
        echo(f"the limit of {name} is a percentage that comes to no host now: 'underway limit {name} 1' lets it go on")
    echo(f"take {host} out of {context.place.cluster_file.name} before the next plan; keep the old machine off")


@click.command()
@reason_wanted
@pass_context
def abort(context: Context, reason: str) -> None:
    """End the run for good.

    Hosts at work finish, and all hosts stay as they are.
    """
    from underway.app.running import wind_up_alone

    run = context.session.current()
    _control(context).abort(reason)
    wind_up_alone(context.session, run)
    echo("aborted: no new host starts; 'underway status' lists who is on which release")


@click.command()
@click.argument("stage")
@reason_option
@pass_context
def approve(context: Context, stage: str, reason: str) -> None:
    """Let a stage begin that waits for your word."""
    _control(context).approve(stage, reason)
    echo(f"stage {stage} may begin")


@click.command()
@reason_option
@pass_context
def finalize(context: Context, reason: str) -> None:
    """Pass the point of no return.

    Refused while a host is not on the new release.
    """
    _control(context).finalize(reason)
    echo("the point of no return may be passed; rollback is refused once its first step has begun")


@click.command()
@click.argument("what")
@click.argument("value")
@reason_option
@pass_context
def limit(context: Context, what: str, value: str, reason: str) -> None:
    """Change a limit during the run.

    WHAT is total, domain, prepare, budget, a role or a group; VALUE a number of hosts such as 3, or a percentage
    such as 10%. Or WHAT is outage:SERVICE, for a service that has an outage budget; then VALUE is whole seconds.
    """
    from underway.engine.control import OUTAGE

    _control(context).limit(what, _limit(value), reason)
    unit = " s" if what.startswith(OUTAGE) else ""
    echo(f"the limit of {what} is {value}{unit} from the next grant on")


def _limit(text: str) -> Limit:
    from underway.core.model.policy import Limit

    digits = text[:-1] if text.endswith("%") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 6):
        raise UsageError(f"limit {text!r}: expected a number of hosts such as 3, or a percentage such as 10%")
    if text.endswith("%"):
        if not 1 <= int(digits) <= 100:
            raise UsageError(f"limit {text!r}: a percentage lies between 1% and 100% (0 holds all)")
        return Limit(percent=int(digits))
    return Limit(count=int(digits))
