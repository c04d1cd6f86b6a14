"""import: bring the files of another tool, once.

Each tool has a module of its own; ``underway import TOOL`` writes a directory in our own format and touches no host.
"""

from __future__ import annotations

import click

from underway.cli.import_spinalstack import spinalstack
from underway.cli.import_tripleo import tripleo


@click.group("import", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def import_files() -> None:
    """Bring roles, hosts and upgrade tasks of another tool.

    Reads its files and writes a directory with cluster.yaml, services and releases, which plan takes like any other.
    Touches no host.
    """


import_files.add_command(spinalstack)
import_files.add_command(tripleo)
