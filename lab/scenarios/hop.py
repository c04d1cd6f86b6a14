"""One upgrade of the laboratory, from a restored snapshot to the verdicts."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import msgspec

from labkit import commands
from labkit.errors import LabError
from labkit.places import Places, places
from labkit.shell import say
from scenarios import judge, site, witness
from scenarios.judge import Verdict
from scenarios.operator import operator


def home_of(here: Places, name: str) -> Path:
    """The operator's directory of a scenario; it is kept until the scenario runs again."""
    return here.top / "scenarios" / name


def upgrade(name: str, target: str, *, naive: bool, fresh: bool) -> list[Verdict]:
    """Restore, enrol, plan, upgrade, report; what the judge says. Raises ``LabError`` where a step cannot be done."""
    here = places()
    lab, about = commands.current(here)
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
        hands.enrol(here)
        hands.underway("plan", "--to", target, "-o", "plan.json")
        code = hands.underway("upgrade", "plan.json", "--yes", "--plain", good=(0, 1, 4))
        hands.underway("status", good=(0, 1, 4))
        hands.underway("report")
    report = judge.read(home)
    if code:
        raise LabError(f"the upgrade did not finish: {report['headline']}; see {home}")
    found = judge.judge(here, lab, report, before, witness.look(here, lab), target)
    (home / "verdicts.json").write_text(json.dumps([{"good": one.good, "text": one.text} for one in found], indent=1))
    return found


def main(name: str, what: str, *, naive: bool) -> int:
    """The scenario's command line. 0: everything is as promised, 1: something is not, 3: refused."""
    parser = argparse.ArgumentParser(prog=f"lab/run scenario {name}", description=what)
    parser.add_argument("--to", default="2026.1", help="the release to go to (default: %(default)s)")
    parser.add_argument("--as-it-is", action="store_true", help="begin with what is up, not with its snapshot")
    given = parser.parse_args()
    try:
        found = upgrade(name, given.to, naive=naive, fresh=not given.as_it_is)
    except LabError as error:
        say(str(error))
        return error.exit_code
    for one in found:
        print(f"{'ok  ' if one.good else 'NOT '} {one.text}")
    print(f"{name}: {sum(one.good for one in found)} of {len(found)} as promised")
    return 0 if all(one.good for one in found) else 1
