"""import spinalstack: scenario, class to snippet map and snippets."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--infra", type=click.Path(path_type=Path), required=True, help="The scenario: profiles and their order.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Where to write.")
def spinalstack(infra: Path, output: Path) -> None:
    """Import a Spinal Stack scenario."""
    raise click.UsageError(f"not there yet: {infra}, {output}")
