"""init, validate, schema, completion: what comes before a plan."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import click

from underway.cli.context import Context, echo, echo_json, pass_context, shown
from underway.errors import FileProblems, InputError


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path())
def init(directory: Path) -> None:
    """Write a commented example and make the signing keys.

    DIRECTORY is where (default: here). Never overwrites a file. The example can be upgraded as it stands, its hosts
    are directories on this machine: try it, then change it step by step.
    """
    from underway.app.place import Place
    from underway.config.template import example_files

    files = example_files(str(directory.absolute()))
    present = [name for name in files if (directory / name).exists()]
    if present:
        raise InputError(f"{directory / present[0]}: exists already; nothing was written (give an empty directory)")
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
        echo(f"wrote {directory / name}")
    place = Place.find(str(directory / "cluster.yaml"))
    session_name = _cluster_name(place.cluster_file)
    place.prepare(session_name, None)
    echo(f"made the signing keys in {place.keys}")
    echo("next: edit cluster.yaml, then 'underway validate'")


def _cluster_name(path: Path) -> str:
    from underway.config.load import load

    return load(path).cluster.name


@click.command()
@click.option("--strict", is_flag=True, help="Warnings are mistakes too.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@pass_context
def validate(context: Context, strict: bool, as_json: bool) -> None:
    """Check all files; tell every mistake with its place.

    Reads the cluster file, the catalogue and the releases. No host is asked anything.
    """
    from underway.config.load import load
    from underway.core.words import plural

    problems = []
    inputs = None
    try:
        inputs = load(context.place.cluster_file)
        problems = list(inputs.problems)
    except FileProblems as error:
        if not as_json:
            raise
        problems = list(error.problems)
    bad = inputs is None or (strict and bool(problems))
    if as_json:
        echo_json({"valid": not bad, "problems": [_problem(problem) for problem in problems]})
    else:
        for problem in problems:
            echo(shown(problem))
        assert inputs is not None
        counts = ", ".join(
            plural(len(found), one)
            for found, one in (
                (inputs.cluster.hosts, "host"),
                (inputs.cluster.roles, "role"),
                ({name for role in inputs.cluster.roles.values() for name in role.services}, "service"),
                (inputs.catalogue.releases, "release"),
            )
        )
        echo(f"{inputs.cluster.name}: {counts}: {'refused (--strict)' if bad else 'valid'}")
    if bad:
        raise click.exceptions.Exit(2)


def _problem(problem: object) -> dict[str, object]:
    import dataclasses

    return dataclasses.asdict(problem)  # type: ignore[call-overload,no-any-return]


@click.command()
@click.argument("name", type=click.Choice(["cluster", "service", "release"]))
def schema(name: str) -> None:
    """Print the JSON Schema of a kind of file, for editors."""
    from underway.config.schema import schemas

    found = schemas()
    echo(json.dumps(found.get(f"{name}.schema.json") or found[name], indent=1))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.option("--print", "only_print", is_flag=True, help="Print it instead of installing it.")
def completion(shell: str, only_print: bool) -> None:
    """Install completion for bash, zsh or fish.

    Writes one file under your home directory, and where the shell would not read it a line into its start file.
    It works in the next shell.
    """
    from click.shell_completion import get_completion_class

    from underway.cli.main import main

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(main, {}, "underway", "_UNDERWAY_COMPLETE").source()
    if only_print:
        echo(script)
        return
    home = Path.home()
    target = home / _COMPLETION_FILES[shell]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(script)
    echo(f"wrote {target}; it works in the next {shell}")
    if shell == "bash" and not _BASH_COMPLETION.exists():
        # without the package bash-completion nothing reads that directory
        _add_line(home / ".bashrc", f". {shlex.quote(str(target))}")
    elif shell == "zsh":
        line = f"fpath+=({shlex.quote(str(target.parent))}); autoload -Uz compinit; compinit"
        _add_line(Path(os.environ.get("ZDOTDIR") or home) / ".zshrc", line)


_COMPLETION_FILES = {
    "bash": ".local/share/bash-completion/completions/underway",
    "zsh": ".local/share/zsh/site-functions/_underway",
    "fish": ".config/fish/completions/underway.fish",
}
_BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")


def _add_line(file: Path, line: str) -> None:
    """Add a line to a shell's start file, once, and say so."""
    before = file.read_text() if file.exists() else ""
    if line not in before.splitlines():
        with file.open("a") as end:
            end.write(("" if not before or before.endswith("\n") else "\n") + line + "\n")
        echo(f"added to {file}: {line}")
