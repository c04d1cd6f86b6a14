"""compat and global-disable: hosts that look up keys, as those of python-jiocloud do.

Scripts of such hosts know exit codes of their own, so every error of these commands ends with one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from underway.cli.compat_call import COMPLETE, FAILED, IN_PROGRESS, KEPT_OUT, Coded, ask
from underway.cli.compat_hosts import COMMANDS
from underway.cli.compat_store import Store, store_options
from underway.cli.context import Context, echo, echo_json, pass_context, shown
from underway.errors import InputError

if TYPE_CHECKING:
    from underway.app.compat import Front, Outcome
    from underway.core.compat.status import Status

EVERY = 15.0
"""Seconds between rounds, as always."""

OLDER_NAMES = {"update_own_info": "register", "update_own_status": "result", "check_puppet": "should-upgrade"}
"""What scripts of the program that this front replaces call; others differ by '_' for '-' only."""


class Compat(click.Group):
    """Finds commands by the names that older scripts use, too."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None."""
        return super().get_command(ctx, OLDER_NAMES.get(cmd_name, cmd_name.replace("_", "-")))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest command for one that does not exist. A script that mistypes its question gets a no."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from underway.core.nearest import nearest

            echo(f"Error: there is no command {args[0]!r}{nearest(args[0], self.commands)}", error=True)
            raise click.exceptions.Exit(KEPT_OUT)
        return super().resolve_command(ctx, args)


@click.group(cls=Compat, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def compat() -> None:
    """Upgrade hosts that look up keys in Consul or etcd.

    \b
    For operators:
      underway compat status                  who is upgraded, upgrading, pending
      underway compat upgrade 2.1             one round; run again, or --retry
      underway global-disable                 let nobody in
    For scripts on hosts:
      underway compat should-upgrade          0 yes, 9 no
      underway compat pending-update          0 yes, 1 up to date, 2, 3 not known
      underway compat register                say what this host runs
    """


def inventory_of(context: Context, named: bool) -> dict[str, str] | None:
    """Host -> role by the cluster file; None where there is none and none was asked for."""
    from underway.app.planning import read_inputs

    if not named and not context.place.cluster_file.exists():
        return None
    return {name: host.role for name, host in read_inputs(context.session).cluster.hosts.items()}


def inventory_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--inventory``: whether the cluster file must be there."""
    return click.option(
        "--inventory/--no-inventory",
        default=None,
        help="Compare with the hosts of the cluster file (default: where there is one).",
    )(command)


def known_hosts(context: Context, inventory: bool | None) -> dict[str, str] | None:
    """The inventory that the options mean, if any."""
    return None if inventory is False else inventory_of(context, named=inventory is True)


@compat.command("status", cls=Coded)
@click.option("--json", "as_json", is_flag=True, help="One JSON object: upgraded, upgrading, pending.")
@click.option("--full", is_flag=True, help="With --json: versions, pauses, strangers and all notes, too.")
@inventory_option
@store_options
@pass_context
def status(context: Context, store: Store, as_json: bool, full: bool, inventory: bool | None) -> None:
    """Show who is upgraded, upgrading and pending.

    A host is upgraded when it registered at the current version, upgrading when its key lets it in (or when it has
    none), and pending otherwise.
    """
    found, _ = ask(store, lambda front: front.look(), known_hosts(context, inventory))
    if as_json:
        echo_json({**found.hash(), **(_full(found) if full else {})})
        return
    _show_status(found)


def _full(found: Status) -> dict[str, Any]:
    return {
        "current_version": found.tree.current,
        "notes": found.notes(),
        "paused": {name: host.paused for name, host in found.hosts.items() if host.paused},
        "strangers": list(found.strangers),
        "unregistered": found.names("unregistered"),
        "versions": found.versions(),
    }


def _show_status(found: Status) -> None:
    echo(f"current version {found.tree.current or 'not set'}")
    for state, names in found.hash().items():
        echo(f"{state:<9} {len(names):>5}  {' '.join(names)}".rstrip())
    for note in found.notes():
        echo(f"note: {note}")


@compat.command("upgrade", cls=Coded)
@click.argument("version")
@click.option("--instructions", default="", metavar="JSON", help="Rules as JSON, or a file with it; wins key by key.")
@click.option("--config", type=click.Path(path_type=Path), help="The file of rules (default: /etc/jio-upgrade.json).")
@click.option("--noop", is_flag=True, help="Say what would be written, and write nothing.")
@click.option("--retry", "-r", is_flag=True, help="Round after round, until every host runs the version.")
@click.option(
    "--every", default=EVERY, show_default=True, type=click.FloatRange(0.2, 3600), help="Seconds between rounds."
)
@click.option(
    "--deadline",
    default=3600.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds that a host may take before it counts as failed; 0: any time.",
)
@click.option(
    "--failures",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Failed hosts at which nobody else is let in.",
)
@click.option("--verbose", "-v", is_flag=True, help="Say of every host why it waits, and every key that is written.")
@inventory_option
@store_options
@pass_context
def upgrade(
    context: Context,
    store: Store,
    version: str,
    instructions: str,
    config: Path | None,
    noop: bool,
    retry: bool,
    every: float,
    deadline: float,
    failures: int,
    verbose: bool,
    inventory: bool | None,
) -> None:
    """Make VERSION current, and let hosts in by the rules.

    A version that is not current yet first takes every key away that lets hosts in. One round is done; run it again, or
    use --retry. Any number of these may run at once: together they stay within the limits.

    Exit codes: 0 every host runs VERSION, 2 in progress, 1 an error, or halted by failed hosts.
    """
    from underway.config.instructions import read_instructions
    from underway.core.compat.rollout import Terms

    sources = read_instructions(instructions, config)
    for warning in sources.warnings:
        echo(shown(warning), error=True)
    hosts, terms = known_hosts(context, inventory), Terms(deadline, failures)

    async def rounds(front: Front) -> int:
        from underway.errors import StoreUnavailable

        begin, last = True, ""
        while True:
            try:
                outcome = await front.upgrade(version, sources, terms, noop, begin)
                begin = False
                text = _round_text(outcome, noop, verbose)
                if text != last:
                    echo(text)
                last = text
                code = _code(outcome)
            except StoreUnavailable as error:
                if not retry or begin:
                    raise
                echo(f"underway: {error} (looking again in {every:g} s)", error=True)
                last, code = "", IN_PROGRESS
            if not retry or noop or code != IN_PROGRESS:
                return code
            await asyncio.sleep(every)

    try:
        code = ask(store, rounds, hosts)
    except KeyboardInterrupt:
        echo("stopped; hosts that were let in go on (run it again to let in the others)", error=True)
        code = IN_PROGRESS
    raise click.exceptions.Exit(code)


def _code(outcome: Outcome) -> int:
    if outcome.round is None:
        return COMPLETE
    return FAILED if outcome.round.halt else IN_PROGRESS


def _round_text(outcome: Outcome, noop: bool, verbose: bool) -> str:
    """What a round found and did, some lines."""
    from underway.core.names import listing, span

    would = "would be " if noop else ""
    lines = [shown(problem) for problem in outcome.warnings]
    if outcome.began is not None:
        was = f" (was {outcome.began})" if outcome.began else ""
        became, gone = ("would be current", "would be taken") if noop else ("is current now", "was taken")
        lines.append(f"version {outcome.version} {became}{was}; every key that let hosts in {gone} away first")
        lines += _lost_lines(outcome.lost, noop)
    found = outcome.round
    if found is not None:
        for role in found.release.roles:
            names = [name for name in found.granted if outcome.status.hosts[name].role == role]
            lines.append(f"{would}let in: role {role} ({span(names)})")
        if found.release.hosts:
            lines.append(f"{would}let in: {listing(found.release.hosts)}")
        if found.halt:
            lines.append(found.halt)
        groups: dict[str, list[str]] = {}
        for name, why in found.why.items():
            groups.setdefault(why, []).append(name)
        for why, names in groups.items():
            for who in names if verbose else [span(names)]:
                lines.append(f"{who}: {why}")
    if verbose or noop:
        lines += [f"{'would ' if noop else ''}{line}" for step in outcome.steps for line in step.lines()]
    lines += [f"note: {note}" for note in outcome.status.notes()]
    counts = {state: len(names) for state, names in outcome.status.hash().items()}
    told = ", ".join(f"{number:,} {state}" for state, number in counts.items())
    end = "complete: " if outcome.complete else ""
    return "\n".join([*lines, f"{end}version {outcome.version}: {told}" + (" (nothing was written)" if noop else "")])


def _lost_lines(lost: tuple[str, ...], noop: bool) -> list[str]:
    verb = "would be deleted" if noop else "was deleted"
    return [
        f"note: {key} was False and {verb}: pause by config_state/host/HOST/enable_puppet what must stay out"
        for key in lost
    ]


@click.command("global-disable", cls=Coded)
@click.option("--noop", is_flag=True, help="Say what would be written, and write nothing.")
@inventory_option
@store_options
@pass_context
def global_disable(context: Context, store: Store, noop: bool, inventory: bool | None) -> None:
    """Let no host in: hosts that look up keys all wait.

    Deletes every key under config_state/enable_puppet and sets the global one to False. Operators' pauses stay.
    Hosts at work finish, and keep their slots until they report.
    """
    outcome = ask(store, lambda front: front.disable(noop), known_hosts(context, inventory))
    for line in (line for step in outcome.steps for line in step.lines()):
        echo(f"{'would ' if noop else ''}{line}")
    for line in _lost_lines(outcome.lost, noop):
        echo(line)
    _show_status(outcome.status)


@compat.command("rights", cls=Coded)
@click.argument("who", type=click.Choice(["operator", "viewer", "host"]))
@click.argument("host", default="")
@store_options
def rights(who: Literal["operator", "viewer", "host"], host: str, store: Store) -> None:
    """Print the least rights in Consul or etcd.

    They are of those who use these keys: operator (all commands), viewer (status), or host and the name of the HOST
    whose scripts ask and report. It is a policy for Consul, or commands that make a role of etcd. The server is not
    asked.
    """
    from underway.app.compat import check_name
    from underway.app.rights import rights_of_compat, words

    if (who == "host") != bool(host):
        raise InputError("expected 'operator', 'viewer', or 'host' and its name")
    if host:
        check_name(host, "host")
    name = f"underway-compat-{host or who}"
    echo(words(store.kind, name, rights_of_compat(who, store.keys, host)))


for command in COMMANDS:
    compat.add_command(command)
