"""``underway stamp``: what was done by hand is known from then on."""

from __future__ import annotations

import click

from underway.cli.context import Context, echo, pass_context
from underway.cli.verbs import HOST, reason_wanted
from underway.errors import UsageError


@click.command()
@click.argument("hosts", nargs=-1, type=HOST)
@click.option("--role", "roles", metavar="R", multiple=True, help="All hosts of this role (may be given again).")
@click.option("--release", metavar="RELEASE", required=True, help="What they run now.")
@reason_wanted
@pass_context
def stamp(context: Context, hosts: tuple[str, ...], roles: tuple[str, ...], release: str, reason: str) -> None:
    """Say that HOSTS run a release, brought there by hand.

    For what operators did by hand: with the playbooks of 'underway export', say. It looks at no host: it is your word,
    and the audit keeps it as yours. Plans, 'status' and what waits for these hosts go by it.
    """
    from underway.app import stamping
    from underway.core.words import some

    if not hosts and not roles:
        raise UsageError("name the hosts, or give --role")
    found = stamping.stamp(context.session, hosts, roles, release, reason)
    echo(
        f"recorded: {some(found, 8)} on {release}"
        if found
        else f"nothing to record: all of them are on {release} already"
    )
