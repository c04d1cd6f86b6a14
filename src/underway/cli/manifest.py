"""manifest: what really changes between two releases, and whom it concerns."""

from __future__ import annotations

from pathlib import Path

import click

from underway.cli.context import Context, echo, echo_json, pass_context
from underway.errors import InputError, UsageError


@click.command()
@click.option("--to", "target", metavar="RELEASE", default="", help="Compare what hosts hold now with this release.")
@click.option("--settings", "settings", type=click.Path(dir_okay=False, path_type=Path), help="Write their digests.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@pass_context
def manifest(context: Context, target: str, settings: Path | None, as_json: bool) -> None:
    """What really changes, and which services that concerns.

    With --to it compares the lists that the release files name ('manifest'): those of the release that the cluster
    runs, and those of RELEASE. Changes that no service claims are named, as nothing would be done for them.

    --settings FILE writes digests of the present settings, for 'settings' in the manifest of the present release:
    do it before the settings are changed.
    """
    from underway.app.planning import read_inputs
    from underway.core.changes import changes, report, settings_of
    from underway.core.model.base import canonical

    if bool(target) == (settings is not None):
        raise UsageError("give --to RELEASE, or --settings FILE")
    inputs = read_inputs(context.session)
    cluster, releases = inputs.cluster, inputs.catalogue.releases
    if settings is not None:
        found = settings_of(cluster, releases.get(cluster.release))
        settings.write_bytes(canonical(found) + b"\n")
        echo(f"wrote {settings}: digests of {len(found)} settings of {cluster.release}")
        return
    if target not in releases:
        from underway.core.nearest import nearest

        raise InputError(f"--to {target}: there is no such release{nearest(target, releases)}")
    for name in (cluster.release, target):
        if name not in releases or releases[name].manifest is None:
            raise InputError(f"release {name} has no manifest: name its lists in its file (docs: how-to/changes)")
    running = {service for role in cluster.roles.values() for service in role.services}
    listed = releases[target].services
    services = sorted(name for name in running if not listed or name in listed)
    compared = changes(cluster, inputs.catalogue, releases[target], services)
    if as_json:
        echo_json(compared.as_json())
        return
    for line in report(compared, cluster.release, target):
        echo(line)
