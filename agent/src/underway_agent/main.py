"""``underway-agent install|enrol|run``: a mistake is one line on standard error and exit status 2; 0 when it ended."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Callable, List, Optional

from underway_agent import __version__, identity
from underway_agent.identity import AgentError

if TYPE_CHECKING:
    from underway_agent.link.base import Link


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one command."""
    options = _parser().parse_args(arguments)
    if options.command == "install":
        return _install(Path(options.root).absolute())
    directory = Path(options.dir).absolute()
    try:
        if options.command == "enrol":
            return _enrol(options, directory)
        return _run(directory)
    except AgentError as error:
        say(f"underway-agent: {error}")
        return 2


def _install(root: Path) -> int:
    from underway_agent.install import following, install  # noqa: PLC0415

    try:
        lines = [*install(root), *following(root)]
    except (AgentError, OSError) as error:
        say(f"underway-agent: {error}")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _run(directory: Path) -> int:
    from underway_agent.daemon import Daemon, until_cancelled  # noqa: PLC0415

    own = identity.load(directory)
    try:
        link = _link(own)
    except (ValueError, TypeError) as error:
        raise AgentError(f"{directory}/agent.json: {error}") from None
    until_cancelled(lambda: Daemon(own, link(), say))
    return 0


def _link(own: identity.Identity) -> "Callable[[], Link]":
    """What makes the link in a running loop. Raises ValueError, TypeError for settings that cannot be meant."""
    settings = own.settings
    if not settings.store:
        from underway_agent.link.http import HttpLink, check_url  # noqa: PLC0415

        check_url(settings.url)
        return lambda: HttpLink(settings.url, settings.host, own.token, own.authority)
    from underway_agent.kv.address import Access  # noqa: PLC0415
    from underway_agent.kv.opening import open_kv  # noqa: PLC0415
    from underway_agent.link.kv import KvLink  # noqa: PLC0415

    if not settings.mail_root:
        raise ValueError("store: is for clusters whose store is Consul or etcd (mail_root is empty: enrol again)")
    # secrets are named as in cluster.yaml, where only files may hold them
    access = Access(**{_without_file(name): value for name, value in settings.store.items()})
    return lambda: KvLink(open_kv(access), settings.mail_root, settings.host)


def _without_file(name: str) -> str:
    return name[: -len("_file")] if name.endswith("_file") else name


def _enrol(options: argparse.Namespace, directory: Path) -> int:
    from underway_agent.code import read_code  # noqa: PLC0415
    from underway_agent.enrol import enrol, told  # noqa: PLC0415

    code = sys.stdin.readline() if options.code == "-" else options.code
    runner = tuple(shlex.split(options.runner)) if options.runner else identity.DEFAULT_RUNNER
    try:
        read = read_code(code)
    except ValueError as error:
        raise AgentError(str(error)) from None
    settings = enrol(directory, options.url, read, runner, options.runner_dir)
    sys.stdout.write(told(settings, directory) + "\n")
    return 0


def say(text: str) -> None:
    """A line for people, or for the journal of the service manager."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="underway-agent", description="Fetches the work of this host from 'underway serve', and reports."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    install = commands.add_parser("install", help="put user, socket and units on this host (as root)")
    install.add_argument("--root", default="/", help="another system's tree, an image's say (default: this host)")
    run_it = commands.add_parser("run", help="fetch, do, report, until ended")
    enrol = commands.add_parser("enrol", help="make this host one that fetches its work")
    for command in (run_it, enrol):
        command.add_argument("--dir", default=identity.DEFAULT_DIRECTORY, help="where the agent keeps its credentials")
    enrol.add_argument("--url", required=True, help="where 'underway serve' answers, as https://HOST:8440")
    enrol.add_argument("--code", default="-", help="what 'underway host enrol' showed (default: read it from input)")
    enrol.add_argument(
        "--runner", default="", help=f"how the runner is called (default: through {identity.RUNNER_SOCKET})"
    )
    enrol.add_argument("--runner-dir", default="", help="where the runner keeps its journal (default: its own choice)")
    return parser


def run() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
