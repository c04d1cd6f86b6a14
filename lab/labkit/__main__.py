"""The command line of ``lab/run``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from labkit import commands, locks, testers, wheels
from labkit.errors import LabError
from labkit.places import places
from labkit.shell import say
from labkit.topology import FIRST_RELEASE, RELEASES
from scenarios import SCENARIOS


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def lab() -> None:
    """A real OpenStack on this machine, to be upgraded and broken.

    Everything lies in /var/lib/underway-lab (or where UNDERWAY_LAB says). Needs root.
    """


@lab.command()
@click.option("--small", is_flag=True, help="one balancer, three controllers with Keystone only")
@click.option("--release", default=FIRST_RELEASE, show_default=True, help="what is installed")
@click.option("--with", "wanted", multiple=True, help=f"build only these further environments ({', '.join(RELEASES)})")
def up(small: bool, release: str, wanted: tuple[str, ...]) -> None:
    """Boot it: from the cache, or made from nothing the first time."""
    commands.up(places(), "small" if small else "full", release, wanted)


@lab.command()
def down() -> None:
    """End everything that it made, after a crash too. Cache and snapshots stay."""
    commands.down(places())


@lab.command()
def status() -> None:
    """Hosts, services and backends, as tables."""
    commands.show(places())


@lab.command(context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(host: str, command: tuple[str, ...]) -> None:
    """Log in to HOST, or run a command there."""
    commands.ssh(places(), host, command)


@lab.command()
@click.argument("name")
def snapshot(name: str) -> None:
    """Freeze all hosts under a name, and go on."""
    commands.snapshot(places(), name)


@lab.command()
@click.argument("name")
def restore(name: str) -> None:
    """Put all hosts back to a snapshot."""
    commands.restore(places(), name)


@lab.command()
def snapshots() -> None:
    """The snapshots that there are."""
    commands.show_snapshots(places())


@lab.command()
@click.argument("host")
def halt(host: str) -> None:
    """Cut HOST's power."""
    commands.halt(places(), host)


@lab.command()
@click.argument("host")
def boot(host: str) -> None:
    """Boot HOST again; it starts its services and joins."""
    commands.boot(places(), host)


@lab.command()
@click.argument("host")
def renew(host: str) -> None:
    """Put another machine in HOST's place, installed anew."""
    commands.renew(places(), host)


@lab.command()
@click.argument("host")
def cut(host: str) -> None:
    """Take HOST off the network."""
    commands.cut(places(), host, off=True)


@lab.command()
@click.argument("host")
def mend(host: str) -> None:
    """Put HOST back on the network."""
    commands.cut(places(), host, off=False)


@lab.command()
@click.argument("host")
def freeze(host: str) -> None:
    """Let HOST hang: it runs, and answers nobody."""
    commands.freeze(places(), host, hang=True)


@lab.command()
@click.argument("host")
def thaw(host: str) -> None:
    """Let HOST that hangs go on."""
    commands.freeze(places(), host, hang=False)


@lab.command()
@click.argument("release")
@click.option("--constraints", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def lock(release: str, constraints: Path | None) -> None:
    """Write the lock file of RELEASE under upstream's constraints; of tempest, runner or agent without any."""
    alone: dict[str, Callable[[], Path]] = {
        testers.NAME: testers.write_lock,
        **{name: partial(wheels.write_lock, name) for name in wheels.ASKED},
    }
    if release in alone:
        say(f"wrote {alone[release]()}")
    elif constraints is None:
        raise LabError(f"expected --constraints with upstream's upper-constraints.txt for {release}, found none")
    else:
        say(f"wrote {locks.write(release, constraints)}")


@lab.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("name", default="")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def scenario(name: str, words: tuple[str, ...]) -> None:
    """Upgrade the laboratory as NAME says, and judge it. Without NAME: which there are."""
    if not name:
        print("\n".join(f"{one}  {what}" for one, what in SCENARIOS.items()))
        return
    if name not in SCENARIOS:
        raise LabError(f"no scenario is named {name!r}; there are: {', '.join(SCENARIOS)}")
    os.execv(sys.executable, [sys.executable, "-m", f"scenarios.{name}", *words])


@lab.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def matrix(words: tuple[str, ...]) -> None:
    """Upgrade by every hop, drained and naive, and write docs/matrix.md."""
    os.execv(sys.executable, [sys.executable, "-m", "scenarios.matrix", *words])


def main() -> int:
    """The exit code; what cannot be done is told in one line."""
    try:
        lab.main(prog_name="lab/run", standalone_mode=False)
    except LabError as error:
        say(str(error))
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("interrupted; 'lab/run down' ends what was begun")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
