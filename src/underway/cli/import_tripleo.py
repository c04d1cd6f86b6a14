"""import tripleo: Heat templates, roles and environments of a TripleO deployment."""

from __future__ import annotations

from pathlib import Path

import click

from underway.cli.context import echo, echo_json, shown
from underway.errors import FileProblems

_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--templates", metavar="DIR", type=_FILE, required=True, help="The tree: tripleo-heat-templates.")
@click.option("--roles-data", metavar="FILE", type=_FILE, required=True, help="The roles: roles_data.yaml.")
@click.option("--registry", metavar="FILE", type=_FILE, help="The resource registry (default: the tree's own).")
@click.option("-e", "environments", metavar="FILE", type=_FILE, multiple=True, help="An environment (again: more).")
@click.option("--skip-tags", metavar="TAGS", default="", help="Leave out tasks with one of these, such as validation.")
@click.option("--from", "source", metavar="RELEASE", default="", help="What runs now (default: the one before).")
@click.option("--to", "target", metavar="RELEASE", default="", help="What the templates are (default: as they say).")
@click.option(
    "--fast-forward",
    "forward",
    metavar="RELEASES",
    default="",
    help="Import the tasks of fast forward: ocata,pike,queens.",
)
@click.option("-o", "--output", metavar="DIR", type=_FILE, required=True, help="Where to write; new or empty.")
@click.option("--strict", is_flag=True, help="Warnings refuse the import.")
@click.option("--partial", is_flag=True, help="Leave refused services out instead of refusing the import.")
@click.option("--json", "as_json", is_flag=True, help="Print what each role has, for machines.")
def tripleo(
    templates: Path,
    roles_data: Path,
    registry: Path | None,
    environments: tuple[Path, ...],
    skip_tags: str,
    source: str,
    target: str,
    forward: str,
    output: Path,
    strict: bool,
    partial: bool,
    as_json: bool,
) -> None:
    """Import a TripleO deployment.

    Writes cluster.yaml, services and releases that do what the upgrade tasks of the templates did, step by step over
    all roles. Nothing is written if anything is wrong.
    """
    from underway.importers.native import write_directory
    from underway.importers.tripleo.importer import Request, run
    from underway.importers.tripleo.report import summary

    skip, releases = ([one.strip() for one in text.split(",") if one.strip()] for text in (skip_tags, forward))
    asked = Request(
        templates, roles_data, registry, environments, skip, source, target, releases, strict=strict, partial=partial
    )
    done = run(asked)
    if as_json:
        echo_json(done.report)
    if not as_json or done.problems:
        for problem in () if strict else done.warnings:
            echo(shown(problem), error=True)
    if done.problems:
        raise FileProblems(done.problems)
    assert done.converted is not None
    write_directory(output, done.files)
    if not as_json:
        for line in summary(done.report):
            echo(line)
    native = done.converted.native
    counts = f"{len(native.services)} services, {len(native.cluster['hosts'])} hosts"
    plan = f"underway --cluster {output / 'cluster.yaml'} plan --to {done.report['release']['to']}"
    echo(f"wrote {output}: {counts}; next: {plan}", error=as_json)
