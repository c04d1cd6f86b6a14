"""serve, host, agent: hosts that fetch their work."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from underway.cli.context import Context, echo, echo_json, pass_context
from underway.errors import InputError, UsageError

if TYPE_CHECKING:
    from underway.api.certificates import Certificates
    from underway.core.model.cluster import Host

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--listen", default="127.0.0.1:8440", show_default=True, metavar="HOST:PORT", help="Where to answer.")
@click.option("--name", "names", multiple=True, help="A name or address that hosts reach this by (again for more).")
@click.option("--certificate", type=_FILE, help="A certificate of your own, instead of the one that is made here.")
@click.option("--key", type=_FILE, help="Its private key.")
@click.option("--authority", type=_FILE, help="The certificate that it is signed by: what hosts will trust.")
@click.option(
    "--plain", is_flag=True, help="HTTP without TLS; only where nobody else can listen: on a loopback address."
)
@click.option("--pace", type=click.FloatRange(0.0, 300.0), default=0.5, show_default=True,
              help="Seconds between two letters of a host: more where many hosts are at work at once.")  # fmt: skip
@click.option("--new-token", is_flag=True, help="Make a new token for operators, print it, and end.")
@pass_context
def serve(
    context: Context,
    listen: str,
    names: tuple[str, ...],
    certificate: Path | None,
    key: Path | None,
    authority: Path | None,
    plain: bool,
    pace: float,
    new_token: bool,
) -> None:
    """Serve hosts that fetch their work, over HTTPS.

    It carries letters between agents and 'underway upgrade', which is a process of its own: each may end and begin
    again at any time. Ctrl-C or SIGTERM ends it.
    """
    from underway.api.desk import Desk
    from underway.api.serving import Listen, read_listen
    from underway.api.serving import serve as run
    from underway.api.web import Office
    from underway.app.agents import enrolments_of, mail_of, mail_root_of, write_address
    from underway.app.keyring import told_keys
    from underway.app.leaving import readmit
    from underway.app.planning import read_inputs
    from underway.app.showing import look
    from underway.cli.view import status_json

    inputs = read_inputs(context.session)
    context.place.prepare(inputs.cluster.name, inputs.store)
    token_file = context.place.keys / "operator-token.sha256"
    if new_token:
        _make_token(token_file)
        return
    host, port = read_listen(listen)
    found = _certificates(context, inputs.cluster.name, host, names, (certificate, key, authority), plain)

    def status() -> dict[str, Any]:
        seen = context.look(look)
        return status_json(seen.plan, seen.snapshot, seen.decision, seen.extras, seen.now)

    def began(real: int) -> None:
        known_as = (names or (host,))[0]
        shown = f"[{known_as}]" if ":" in known_as else known_as
        url = f"{'http' if plain else 'https'}://{shown}:{real}"
        write_address(context.place.state, url, "-" if found is None else found.fingerprint)
        echo(f"serving cluster {inputs.cluster.name} at {url}")

    office = Office(
        cluster=inputs.cluster.name,
        desk=Desk(mail_of(context.session)),
        enrolments=enrolments_of(context.session),
        keys=lambda: told_keys(context.session.ring.chain),
        ca="" if found is None else found.authority,
        status=status,
        operator=lambda: token_file.read_text().strip() if token_file.exists() else "",
        now=context.session.clock.now,
        say=lambda text: echo(text, error=True),
        pace=pace,
        mail_root=mail_root_of(context.session),
        enrolled=lambda name: context.look(lambda session: readmit(session, name)),
    )
    run(office, Listen(host, port, found), began)


@click.group()
def host() -> None:
    """Enrol and revoke hosts that fetch their work."""


@host.command("enrol")
@click.argument("name", metavar="HOST")
@click.option("--only-code", is_flag=True, help="Print the code and nothing else, to hand it on by a pipe.")
@pass_context
def host_enrol(context: Context, name: str, only_code: bool) -> None:
    """Show a one-time code that makes HOST's agent one of this cluster.

    It is good once, for 15 minutes. The host makes its own key; 'underway host list' shows it, compare the two.
    """
    from underway.app.agents import invite

    code, url = invite(context.session, _host(context, name))
    if only_code:
        echo(str(code))
        return
    echo(f"On {name}, once, within 15 minutes:")
    echo(f"  underway-agent enrol --url {url}")
    echo("It reads this code from its input:")
    echo(f"  {code}")


@host.command("revoke")
@click.argument("name", metavar="HOST")
@click.option("--reason", required=True, help="Why, for whoever looks later.")
@pass_context
def host_revoke(context: Context, name: str, reason: str) -> None:
    """Believe HOST's key no more, ever: it gets no orders, and what it says does not count.

    What it is doing at this moment goes on. It may be enrolled again, with a new key.
    """
    from underway.app.agents import revoke

    key = revoke(context.session, name, reason)
    echo(f"{name}: revoked{f', key {key}' if key else ''}")


@host.command("list")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@pass_context
def host_list(context: Context, as_json: bool) -> None:
    """Show which hosts' agents are enrolled, with which keys and versions.

    Also hosts of cluster.yaml that have no agent yet, and agents whose hosts are not there.
    """
    from underway.app.agents import agents
    from underway.app.planning import read_inputs

    found = agents(context.session)
    changes = context.session.chain().standing.number
    hosts = read_inputs(context.session).cluster.hosts
    wanted = [host.name for host in hosts.values() if host.connection == "agent"]
    missing = [name for name in wanted if name not in {one["host"] for one in found}]
    if as_json:
        known = [{**one, "wanted": one["host"] in wanted} for one in found]
        echo_json([*known, *({"host": name, "state": "not invited", "wanted": True} for name in missing)])
        return
    for name in missing:
        echo(f"{name}: not invited ('underway host enrol {name}')")
    for one in found:
        said = f"agent {one['agent']}, runner {one['runner'] or 'none'}" if one["agent"] else "no word of its agent yet"
        more = one["why"] if one["state"] == "revoked" else f"{one['key']} {said}" if one["key"] else f"by {one['by']}"
        stranger = (
            "" if one["host"] in wanted else "; not a host with 'connection: agent' of cluster.yaml: it gets no work"
        )
        behind = f"; has not learned change {changes} of the keys yet" if one["agent"] and one["keys"] < changes else ""
        echo(f"{one['host']}: {one['state']}, {more}{behind}{stranger}")
    if not found and not missing:
        echo("no host of cluster.yaml has 'connection: agent'")


@host.command("rights")
@click.argument("name", metavar="HOST")
@pass_context
def host_rights(context: Context, name: str) -> None:
    """Print the least rights of HOST's agent in Consul or etcd.

    For agents that ask there and not at 'underway serve': a policy for Consul, or commands that make a role of etcd.
    """
    from underway.app.rights import agent_rights

    echo(agent_rights(context.session, _host(context, name).name))


@click.command("rights")
@click.argument("who", type=click.Choice(["operator", "serve", "viewer"]))
@pass_context
def store_rights(context: Context, who: Literal["operator", "serve", "viewer"]) -> None:
    """Print the least rights in Consul or etcd.

    They are of those who use this cluster's records there: operator (all commands, and coordinators), serve ('underway
    serve'), or viewer (status, report, log, audit). It is a policy for Consul, or commands that make a role of etcd.
    Agents that ask there themselves: 'underway host rights'.
    """
    from underway.app.rights import rights

    echo(rights(context.session, who))


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
               add_help_option=False)  # fmt: skip
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def agent(arguments: tuple[str, ...]) -> None:
    """Be the agent of this host: 'agent run', 'agent enrol'.

    The same as the program underway-agent, which hosts have without Underway.
    """
    from underway_agent.main import main

    click.get_current_context().exit(main(list(arguments)))


def _host(context: Context, name: str) -> Host:
    from underway.app.planning import read_inputs
    from underway.core.nearest import nearest

    inputs = read_inputs(context.session)
    context.place.prepare(inputs.cluster.name, inputs.store)
    if name not in inputs.cluster.hosts:
        raise InputError(f"there is no host {name!r}{nearest(name, inputs.cluster.hosts)}")
    return inputs.cluster.hosts[name]


def _make_token(path: Path) -> None:
    token = secrets.token_urlsafe(32)
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(hashlib.sha256(token.encode()).hexdigest() + "\n")
    new.replace(path)
    echo(token)
    echo("shown once; the one before is no longer good", error=True)


def _certificates(
    context: Context, cluster: str, listen: str, names: tuple[str, ...], own: tuple[Path | None, ...], plain: bool
) -> Certificates | None:
    from underway.api.certificates import ensure, given

    certificate, key, authority = own
    if plain:
        if any(own):
            raise UsageError("--plain and a certificate: give one of them")
        return None
    if certificate is not None and key is not None and authority is not None:
        return given(certificate, key, authority)
    if any(own):
        raise UsageError("--certificate, --key and --authority: give all three")
    if listen in ("0.0.0.0", "::") and not names:  # noqa: S104  looked for, not listened on
        raise UsageError(f"--listen {listen}: say by --name what hosts reach this machine by")
    return ensure(context.place.keys, cluster, names or (listen,), context.session.clock.now())
