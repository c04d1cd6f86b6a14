"""One upgrade of the laboratory, from a restored snapshot to the verdicts."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from labkit import commands
from labkit.errors import LabError
from labkit.places import Places, places
from labkit.shell import say
from labkit.topology import Topology
from scenarios import judge, provenance, site, witness
from scenarios.judge import Verdict
from scenarios.operator import Operator, operator
from scenarios.provenance import Provenance
from scenarios.witness import Seen


@dataclass(frozen=True)
class Hop:
    """A laboratory that stands ready to be upgraded: enrolled, and planned from ``source`` to ``target``.

    ``made``: what was there when it began.
    """

    here: Places
    lab: Topology
    home: Path
    source: str
    target: str
    before: Seen
    hands: Operator
    made: Provenance


@dataclass(frozen=True)
class Result:
    """What an upgrade came to: its report, and what was found of the cloud after it."""

    report: dict[str, Any]
    verdicts: list[Verdict]


def home_of(here: Places, name: str) -> Path:
    """The operator's directory of a scenario; it is kept until the scenario runs again."""
    return here.top / "scenarios" / name


@contextlib.contextmanager
def ready(name: str, target: str, *, naive: bool = False, fresh: bool = True) -> Iterator[Hop]:
    """Restore, look at the cloud, enrol, plan. Raises ``LabError`` where a step cannot be done.

    ``fresh``: begin with the laboratory's snapshot, not with what is up.
    """
    made = provenance.begun()
    here = places()
    lab, about = commands.installed(here)
    home = home_of(here, name)
    shutil.rmtree(home, ignore_errors=True)
    if fresh:
        commands.restore(here, about["snapshot"])
    witness.seed(here, lab)
    before = witness.look(here, lab)
    home.mkdir(parents=True, mode=0o700)
    (home / "before.json").write_bytes(msgspec.json.encode(before))
    with operator(here, home) as hands:
        site.write(here, lab, home, about["release"], witness.facts(here, lab), naive=naive)
        hands.underway("validate")
        hands.enrol()
        hands.underway("plan", "--to", target, "-o", "plan.json")
        yield Hop(here, lab, home, about["release"], target, before, hands, made)


def concluded(hop: Hop, *, faultless: bool = True, quick: bool = False) -> Result:
    """Report the run, which must be done, and judge it.

    ``faultless``: nothing was broken on purpose, so nothing may have failed. ``quick``: as ``judge`` says. Raises
    ``LabError`` for a run that is not done.
    """
    hop.hands.underway("status", good=(0, 1, 4))
    hop.hands.underway("report")
    report = judge.read(hop.home)
    if report["verdict"] != "done":
        raise LabError(f"the upgrade did not finish: {report['headline']}; see {hop.home}")
    after = witness.look(hop.here, hop.lab)
    found = judge.judge(hop.here, hop.lab, report, hop.before, after, hop.target, faultless=faultless, quick=quick)
    return kept(hop, report, found)


def kept(hop: Hop, report: dict[str, Any], found: list[Verdict]) -> Result:
    """The result, kept beside the run as well."""
    (hop.home / "verdicts.json").write_text(
        json.dumps([{"good": one.good, "text": one.text} for one in found], indent=1)
    )
    return Result(report, found)


def upgrade(name: str, target: str, *, naive: bool, fresh: bool = True) -> Result:
    """The whole of an upgrade that nobody disturbs."""
    with ready(name, target, naive=naive, fresh=fresh) as hop:
        hop.hands.underway("upgrade", "plan.json", "--yes", "--plain", good=(0, 1, 4))
        return concluded(hop, quick=naive)


def main(name: str, what: str, *, naive: bool) -> int:
    """The command line of a scenario that is one upgrade. 0: all is as promised, 1: something is not, 3: refused."""

    def play(given: argparse.Namespace) -> list[Verdict]:
        return upgrade(name, given.to, naive=naive, fresh=not given.as_it_is).verdicts

    return command(name, what, play)


def command(
    name: str,
    what: str,
    play: Callable[[argparse.Namespace], list[Verdict]],
    more: Callable[[argparse.ArgumentParser], object] = lambda parser: parser,
) -> int:
    """A scenario's command line, with what it says at the end; ``more`` adds options of its own."""
    parser = argparse.ArgumentParser(prog=f"lab/run scenario {name}", description=what)
    parser.add_argument("--to", default="2026.1", help="the release to go to (default: %(default)s)")
    parser.add_argument("--as-it-is", action="store_true", help="begin with what is up, not with its snapshot")
    more(parser)
    try:
        found = play(parser.parse_args())
    except LabError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted; what is up stays up: 'lab/run down' ends it")
        return 130
    for one in found:
        print(one)
    asked = [one for one in found if one.good is not None]
    print(f"{name}: {sum(bool(one.good) for one in asked)} of {len(asked)} as promised")
    return 0 if all(one.good for one in asked) else 1
