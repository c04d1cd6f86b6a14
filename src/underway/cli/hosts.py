"""enrol: host keys, the runner on hosts, and whose plans they trust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from underway.cli.context import Context, echo, pass_context
from underway.errors import InputError, NotTrusted, Refused, UnderwayError, UsageError

if TYPE_CHECKING:
    from underway.app.hosts import Hosts
    from underway.core.model.cluster import Host


@click.command()
@click.argument("hosts", nargs=-1)
@click.option("--install", is_flag=True, help="Put the runner there first, or bring it to this version.")
@click.option(
    "--wheelhouse",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Wheels to carry over, for hosts that reach no package index.",
)
@click.option("--with-python", default="python3", show_default=True, help="The host's Python that the runner gets.")
@click.option("--host-key", "host_key", metavar="KEY", help="Trust this host key ('ssh-ed25519 AAAA…') of one host.")
@click.option("--scan", is_flag=True, help="Ask hosts for their keys, and you whether each is theirs.")
@click.option("--fingerprint", metavar="SHA256:…", help="With --scan: trust the key of one host that has it, unasked.")
@click.option("--replace-key", is_flag=True, help="The one host is another machine: take its old host keys away.")
@click.option("--yes", is_flag=True, help="Ask nothing. Never enough to trust a key: see --fingerprint.")
@pass_context
def enrol(
    context: Context,
    hosts: tuple[str, ...],
    install: bool,
    wheelhouse: Path | None,
    with_python: str,
    host_key: str | None,
    scan: bool,
    fingerprint: str | None,
    replace_key: bool,
    yes: bool,
) -> None:
    """Tell hosts whose plans and tickets to trust.

    HOSTS: which (default: all). Needed once per host, harmless again.

    An ssh host must be in the known hosts of this cluster first: its key is never accepted unseen. Give it with
    --host-key, or compare what --scan shows with what the host's console shows. Another machine in a host's place
    ('underway replace') has another key: --replace-key puts the one that you vouch for in the place of the old ones.
    """
    from underway.app.hosts import Hosts
    from underway.app.keyring import documents
    from underway.app.planning import read_inputs
    from underway.app.running import enrol_host
    from underway.core.nearest import nearest

    _check_usage(hosts, install, wheelhouse, host_key, scan, fingerprint, yes)
    if replace_key and (len(hosts) != 1 or not (scan or host_key)):
        raise UsageError("--replace-key: name the one host, and vouch for its key: --host-key or --scan")
    inputs = read_inputs(context.session)
    context.place.prepare(inputs.cluster.name, inputs.store)
    for name in hosts:
        if name not in inputs.cluster.hosts:
            raise InputError(f"there is no host {name!r}{nearest(name, inputs.cluster.hosts)}")
    keys = documents(context.session.chain())
    names = hosts or tuple(inputs.cluster.hosts)
    refused = []
    before = Hosts(context.place)
    try:
        for name in names:
            host = inputs.cluster.hosts[name]
            try:
                if host.connection == "ssh":
                    _know(before, host, host_key, scan, fingerprint, replace_key)
                    if install:
                        before.install(host, wheelhouse, with_python, lambda text, name=name: echo(f"{name}: {text}"))  # type: ignore[misc]
                elif install:
                    echo(f"{name}: is on this machine and uses the runner of this environment")
            except InputError:
                raise
            except UnderwayError as error:
                echo(str(error))
                refused.append(name)
                continue
            said, done = enrol_host(context.session, host, inputs.cluster.name, keys)
            echo(f"{name}: {said}" if done or not said.startswith(f"{name}: ") else said)
            refused += [] if done else [name]
    finally:
        before.close()
    if refused:
        raise Refused(f"{len(refused)} of {len(names)} hosts are not enrolled: {', '.join(refused)}")


def _check_usage(
    hosts: tuple[str, ...],
    install: bool,
    wheelhouse: Path | None,
    host_key: str | None,
    scan: bool,
    fingerprint: str | None,
    yes: bool,
) -> None:
    if wheelhouse is not None and not install:
        raise UsageError("--wheelhouse: only with --install")
    if host_key is not None and scan:
        raise UsageError("--host-key and --scan: give one of them")
    if (host_key is not None or fingerprint is not None) and len(hosts) != 1:
        raise UsageError(f"{'--host-key' if host_key else '--fingerprint'}: name the one host that it is of")
    if fingerprint is not None and not scan:
        raise UsageError("--fingerprint: only with --scan")
    if yes and scan and fingerprint is None:
        raise UsageError("--scan --yes: a host key is never accepted unseen (give --fingerprint, or answer yourself)")


def _know(hosts: Hosts, host: Host, host_key: str | None, scan: bool, fingerprint: str | None, instead: bool) -> None:
    """Have the operator vouch for the host's key, if that was asked for. Raises NotTrusted where he does not."""
    if host_key is not None:
        echo(f"{host.name}: {hosts.add_key(host, host_key, instead)}")
        return
    if not scan:
        return
    found = hosts.scan(host)
    if fingerprint is not None:
        echo(f"{host.name}: {hosts.trust_scanned(host, found, fingerprint, instead)}")
        return
    if any(hosts.is_trusted(host, key) for key in found):
        echo(f"{host.name}: shows a key that is trusted already")
        return
    echo(f"{host.name}: {host.address or host.name} port {host.port} shows")
    for key in found:
        echo(f"  {key.kind} {key.fingerprint}")
    answer = click.prompt(
        "Is the first one the host's? Compare it there, then type yes", default="no", show_default=False
    )
    if answer.strip() != "yes":
        raise NotTrusted(f"{host.name}: its key was not confirmed; nothing was written")
    echo(f"{host.name}: {hosts.trust_scanned(host, found, found[0].fingerprint, instead)}")
