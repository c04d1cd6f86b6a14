"""import spinalstack: a scenario, its environment, the map of classes and the snippets of a release."""

from __future__ import annotations

from pathlib import Path

import click

from underway.cli.context import echo, echo_json, shown
from underway.errors import FileProblems

_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--infra", metavar="FILE", type=_FILE, required=True, help="The scenario: infra.yaml.")
@click.option("--env", metavar="FILE", type=_FILE, help="The environment over it: hosts, config.")
@click.option("--upgrade-map", metavar="FILE", type=_FILE, required=True, help="Puppet classes to snippets.")
@click.option("--snippets", metavar="DIR", type=_FILE, required=True, help="The snippets.")
@click.option("--vars", "variables", metavar="FILE", type=_FILE, multiple=True, help="vars/DISTRIBUTION (again: more).")
@click.option("--files", metavar="DIR", type=_FILE, help="Helper scripts (default: 'files' beside the snippets).")
@click.option("--metadata", metavar="DIR", type=_FILE, help="eDeploy's metadata: see that each path exists.")
@click.option("--vault-password-file", metavar="FILE", type=_FILE, help="Encrypt the environment's secrets with it.")
@click.option("-o", "--output", metavar="DIR", type=_FILE, required=True, help="Where to write; new or empty.")
@click.option("--strict", is_flag=True, help="Warnings refuse the import.")
@click.option("--json", "as_json", is_flag=True, help="Print what each profile has, for machines.")
def spinalstack(
    infra: Path,
    env: Path | None,
    upgrade_map: Path,
    snippets: Path,
    variables: tuple[Path, ...],
    files: Path | None,
    metadata: Path | None,
    vault_password_file: Path | None,
    output: Path,
    strict: bool,
    as_json: bool,
) -> None:
    """Import a Spinal Stack scenario.

    Writes cluster.yaml, services and releases that do what the generated playbooks did, in the same order. Nothing is
    written if anything is wrong.
    """
    from underway.app.running import read_vault_password
    from underway.importers.native import write_directory
    from underway.importers.spinalstack.importing import import_files
    from underway.importers.spinalstack.reading import Files
    from underway.importers.spinalstack.report import summary

    asked = Files(infra, env, upgrade_map, snippets, variables, files or snippets.parent / "files")
    password = read_vault_password(vault_password_file) if vault_password_file else None
    done = import_files(asked, metadata=metadata, vault_password=password, strict=strict)
    if as_json:
        echo_json(done.report)
    if done.native is None:
        raise FileProblems(sorted(done.errors))
    for problem in sorted(done.problems):
        echo(shown(problem), error=True)
    write_directory(output, done.native.files())
    if not as_json:
        for line in summary(done.report):
            echo(line)
    counts = f"{len(done.native.services)} services, {len(done.native.cluster['hosts'])} hosts"
    following = f"underway --cluster {output / 'cluster.yaml'} plan --to {done.release}"
    if not done.native.cluster["hosts"]:
        following = "import with --env, or write hosts and releases yourself"
    echo(f"wrote {output}: {counts}; next: {following}", error=as_json)
