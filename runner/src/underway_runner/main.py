"""``underway-runner VERB``: read a request, answer in JSON lines. Exit status 0 whenever an answer was given."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from underway_runner import __version__
from underway_runner.errors import Busy, JournalDamaged, LineBroken, Refused

LARGEST = 256 * 1024 * 1024
"""Bytes of a request; a plan of 10,000 hosts with its bundle has far fewer."""


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one verb."""
    options = _parser().parse_args(arguments)
    if options.verb == "drive":
        from underway_runner.drive import main as drive  # noqa: PLC0415

        return drive(sys.stdin.buffer.readline(LARGEST))
    if options.verb == "door":
        from underway_runner.door import door  # noqa: PLC0415

        return door()
    directory = Path(options.dir or default_directory()).absolute()
    os.umask(0o077)
    try:
        answer(dispatch(options, directory))
    except Refused as error:
        answer({"kind": "refused", "text": str(error)})
    except Busy as error:
        answer({"kind": "busy", "text": str(error)})
    except JournalDamaged as error:
        answer({"kind": "unknown", "text": str(error)})
    except OSError as error:
        answer({"kind": "refused", "text": f"the host cannot take work: {error}"})
    except LineBroken:
        return 0  # there is nobody to tell; the same ticket resumes
    return 0


def dispatch(options: argparse.Namespace, directory: Path) -> Dict[str, Any]:
    """The verb's last line."""
    # Verbs are imported when called: a call of follow must not pay for reading signatures.
    if options.verb == "ping":
        return ping(directory)
    if options.verb == "enrol":
        from underway_runner.enrol import enrol  # noqa: PLC0415

        return enrol(directory, request())
    if options.verb == "attend":
        from underway_runner.attend import attend  # noqa: PLC0415
        from underway_runner.channel import Channel  # noqa: PLC0415

        # The driver says nothing before it has its answer: what follows the request's line is the channel's.
        return attend(directory, request(), Channel(sys.stdin.fileno(), sys.stdout.fileno()))
    if options.verb in ("start", "run"):
        from underway_runner.start import start  # noqa: PLC0415

        wanted = request()
        said = start(directory, wanted)
        if options.verb == "start":
            return said
        answer(said)
        ticket = ticket_of(wanted)
        where = {key: ticket[key] for key in ("run", "action", "leg", "token")}
        return _follow(options, directory, where)
    where = {"run": options.run, "action": options.action, "leg": options.leg, "token": options.token}
    if options.verb == "follow":
        return _follow(options, directory, where)
    from underway_runner.cancel import cancel  # noqa: PLC0415

    return cancel(directory, where)


def ping(directory: Path) -> Dict[str, Any]:
    """Which runner this is, whether it is enrolled, and the numbers of its journal's last line and of the last change
    of the keys that it knows.
    """
    from underway_runner import disk  # noqa: PLC0415
    from underway_runner.journal import read  # noqa: PLC0415

    said: Dict[str, Any] = {"kind": "pong", "version": __version__, "enrolled": (directory / "host.json").exists()}
    if said["enrolled"]:
        lines = read(directory)
        said["last"] = lines[-1]["seq"] if lines else 0
        with contextlib.suppress(ValueError):  # whoever asks for work is told what is wrong with it
            said["trust"] = int((disk.read_json(directory / "host.json") or {}).get("trust", {}).get("number", 0))
    return said


def _follow(options: argparse.Namespace, directory: Path, where: Dict[str, Any]) -> Dict[str, Any]:
    from underway_runner.follow import follow  # noqa: PLC0415

    return follow(directory, where, options.since, sys.stdout.buffer, options.wait, stop=0)


def request() -> Dict[str, Any]:
    """The request on standard input: one line of JSON, or all of it. Raises Refused."""
    data = sys.stdin.buffer.readline(LARGEST)
    try:
        value = json.loads(data)
    except ValueError:
        data += sys.stdin.buffer.read(LARGEST - len(data))
        try:
            value = json.loads(data)
        except ValueError as error:
            raise Refused(f"request: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused(f"request: expected a JSON object, found {type(value).__name__}")
    return value


def ticket_of(wanted: Dict[str, Any]) -> Dict[str, Any]:
    """The ticket of a request that was accepted."""
    import base64  # noqa: PLC0415

    envelope = json.loads(base64.b64decode(wanted["ticket"]))
    found: Dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
    return found


def answer(said: Dict[str, Any]) -> None:
    """One line to the caller."""
    sys.stdout.buffer.write(json.dumps(said).encode("ascii") + b"\n")
    sys.stdout.buffer.flush()


def default_directory() -> str:
    """Where the journal and the lock are if nobody says: ``/var/lib/underway`` for root, else under the home."""
    if os.geteuid() == 0:
        return "/var/lib/underway"
    state = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return str(Path(state) / "underway-runner")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="underway-runner", description="The host's side of Underway.")
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("ping", "enrol", "start", "run", "follow", "cancel", "attend", "drive", "door"):
        sub = verbs.add_parser(verb)
        sub.add_argument("--dir", default="")
        if verb in ("run", "follow"):
            sub.add_argument("--since", type=int, default=0)
            sub.add_argument("--wait", type=float, default=None)
        if verb in ("follow", "cancel"):
            sub.add_argument("--run", required=True)
            sub.add_argument("--action", required=True)
            sub.add_argument("--leg", type=int, default=0)
            sub.add_argument("--token", type=int, required=True)
    return parser


def run() -> None:
    """The console script."""
    sys.exit(main())
