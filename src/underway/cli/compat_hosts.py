"""compat: what scripts on hosts ask and report."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from underway.cli.compat_call import Coded, Question, Unknown, ask
from underway.cli.compat_store import Store, store_options
from underway.cli.context import echo
from underway.errors import InputError

if TYPE_CHECKING:
    from underway.app.compat import Answer

VERSION_FILE = "/etc/current_version"


def _here() -> str:
    return socket.gethostname()


def _told(answer: Answer, quiet: bool) -> None:
    if not quiet:
        echo(answer.text, error=answer.doubt)
    raise click.exceptions.Exit(answer.code)


ROLE = click.option("--role", default="", help="Its role (default: the letters before the digits of its name).")
QUIET = click.option("--quiet", "-q", is_flag=True, help="Say nothing; the exit code is the answer.")
LOCAL = click.option(
    "--version-file", default=VERSION_FILE, show_default=True, type=click.Path(path_type=Path),
    help="Where this host keeps its version.",
)  # fmt: skip


@click.command("should-upgrade", cls=Question)
@click.argument("host", default=_here)
@ROLE
@QUIET
@store_options
def should_upgrade(host: str, role: str, quiet: bool, store: Store) -> None:
    """Ask whether HOST (default: this one) may upgrade.

    Exit codes: 0 it may, 9 it may not: paused, not its turn, or no clear answer.
    """
    _told(ask(store, lambda front: front.should_upgrade(host, role)), quiet)


@click.command("pending-update", cls=Unknown)
@click.argument("host", default=_here)
@ROLE
@LOCAL
@QUIET
@store_options
def pending_update(host: str, role: str, version_file: Path, quiet: bool, store: Store) -> None:
    """Ask whether there is another version for HOST.

    Whether it may take it now is what should-upgrade tells.

    Exit codes: 0 there is, 1 up to date, 2 not known, 3 not known and nothing is installed, 9 paused by an operator.
    """
    local = _local(version_file)
    _told(ask(store, lambda front: front.pending_update(host, local, role)), quiet)


@click.command("current-version", cls=Coded)
@store_options
def current_version(store: Store) -> None:
    """Print the version that all hosts trend to."""
    found = ask(store, lambda front: front.current_version())
    if not found:
        raise InputError(f"key {store.keys.current} names no version")
    echo(found)


@click.command("local-version", cls=Coded)
@click.argument("version", required=False)
@LOCAL
def local_version(version: str | None, version_file: Path) -> None:
    """Print the version of this host, or record VERSION."""
    if version is None:
        echo(_local(version_file))
        return
    from underway.app.compat import check_name, write_local

    check_name(version, "version")
    write_local(version_file, version)


@click.command("register", cls=Coded)
@click.argument("host", default=_here)
@click.option("--as", "version", default="", help="The version (default: that of the version file).")
@LOCAL
@store_options
def register(host: str, version: str, version_file: Path, store: Store) -> None:
    """Record that HOST runs its version, and no other."""
    version = version or _local(version_file)
    if not version:
        raise InputError(f"{version_file}: names no version, so nothing is registered")
    gone = ask(store, lambda front: front.register(host, version))
    echo(f"{host} runs {version}" + (f"; deleted {', '.join(gone)}" if gone else ""))


@click.command("result", cls=Coded)
@click.argument("kind", type=click.Choice(["puppet", "validation"]))
@click.argument("code", type=click.IntRange(-1, 255))
@click.argument("host", default=_here)
@store_options
def result(kind: Literal["puppet", "validation"], code: int, host: str, store: Store) -> None:
    """Record how Puppet, or the validation, ended on HOST.

    A host whose last run failed counts as out. Puppet's codes 1, 4, 6 and -1 are failures; of a validation all but 0.
    """
    ask(store, lambda front: front.result(kind, host, code))


def _local(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""


COMMANDS = (should_upgrade, pending_update, current_version, local_version, register, result)
