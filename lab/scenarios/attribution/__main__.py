"""Ten faults at known tasks, each in a run of its own, and whether the report names the right one."""

from __future__ import annotations

import argparse
import base64
import datetime
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from labkit import commands
from labkit.errors import LabError
from labkit.places import PROJECT, Places, places
from labkit.remote import on
from labkit.shell import say, step
from labkit.topology import FIRST_RELEASE
from scenarios import judge, provenance
from scenarios.attribution import certificates, page, site, verdict
from scenarios.attribution.base import Base, base
from scenarios.attribution.fault import Fault
from scenarios.attribution.faults import FAULTS
from scenarios.attribution.outside import meanwhile
from scenarios.attribution.verdict import Finding
from scenarios.hop import home_of
from scenarios.operator import operator
from scenarios.site import secrets

TARGET = "2026.1"


def once(here: Places, home: Path, fault: Fault, begin: Base) -> Finding:
    """One run with one fault. Raises ``LabError`` where the fault or the report of it could not be had."""
    made = provenance.begun()
    shutil.rmtree(home, ignore_errors=True)
    commands.restore(here, begin.snapshot)
    lab, _ = commands.current(here)
    home.mkdir(parents=True, mode=0o700)
    shutil.copytree(begin.state, home / ".underway")
    if fault.certificates:
        _carry(here, home)
    for host, script in fault.arrange.items():
        on(here, host, script)
    with operator(here, home) as hands:
        site.write(lab, home, begin.release, TARGET, fault, secrets(here, home))
        hands.underway("validate")
        hands.underway("plan", "--to", TARGET, "-o", "plan.json")
        with meanwhile(here, home, fault.outside):
            hands.underway("upgrade", "plan.json", "--yes", "--plain", good=(0, 1, 4))
        hands.underway("report")
    times = [float(word) for host in fault.timed_on for word in on(here, host, fault.clock).split()]
    if len(times) < 2:
        raise LabError(f"{fault.name}: {', '.join(fault.timed_on)} does not know when the fault began and ended")
    return verdict.judge(fault, judge.read(home), min(times), max(times), made.told())


def _carry(here: Places, home: Path) -> None:
    """Certificates: the authority's for the probes, the site's to the balancer."""
    now = datetime.datetime.now(datetime.UTC)  # noqa: TID251  certificates expire by the wall clock
    for name, content in certificates.make(now).items():
        if name == "ca.pem":
            (home / name).write_bytes(content)
        else:
            on(here, "lb1", f"umask 077; base64 -d > /root/{name} <<'END'\n{base64.b64encode(content).decode()}\nEND\n")


def results(top: Path) -> dict[str, Finding]:
    """What was found so far, by name of fault."""
    paths = {fault.name: top / fault.name / "finding.json" for fault in FAULTS}
    return {name: msgspec.json.decode(path.read_bytes(), type=Finding) for name, path in paths.items() if path.exists()}


def scenario(here: Places, only: Sequence[str], *, anew: bool) -> dict[str, Finding]:
    """Run the faults that are wanted (``only``, else those without a result); write the page after each.

    Where none is left, the page is written from what was kept.
    """
    top = home_of(here, "attribution")
    if anew:
        for fault in FAULTS:
            shutil.rmtree(top / fault.name, ignore_errors=True)
    top.mkdir(parents=True, exist_ok=True)
    done = results(top)
    wanted = [fault for fault in FAULTS if (fault.name in only if only else fault.name not in done)]
    about = page.About(FIRST_RELEASE, TARGET)
    if not wanted:
        page.write(PROJECT / "docs", FAULTS, done, about)
        return done
    begin = base(here, top, TARGET)
    if begin.release != about.source:
        raise LabError(f"expected a laboratory that was installed with {about.source}, found {begin.release}")
    for fault in wanted:
        with step(f"{fault.name}: {fault.title}"):
            finding = once(here, top / fault.name, fault, begin)
        (top / fault.name / "finding.json").write_bytes(msgspec.json.encode(finding))
        say(f"{fault.name}: {'right' if finding.right else 'WRONG: ' + '; '.join(finding.wrong)}")
        page.write(PROJECT / "docs", FAULTS, results(top), about)
    return results(top)


def main() -> int:
    """The scenario's command line. 0: every report is right, 1: one is not, or a fault is left, 3: refused."""
    parser = argparse.ArgumentParser(prog="lab/run scenario attribution", description=__doc__)
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--only", action="append", default=[], choices=names, help="this fault, again; may be repeated")
    parser.add_argument("--anew", action="store_true", help="forget earlier results, which else are kept")
    given = parser.parse_args()
    try:
        found = scenario(places(), given.only, anew=given.anew)
    except LabError as error:
        say(str(error))
        return error.exit_code
    for fault in FAULTS:
        finding = found.get(fault.name)
        mark = "left" if finding is None else "ok  " if finding.right else "NOT "
        print(f"{mark} {fault.title}: {'not run' if finding is None else ' / '.join(finding.said) or 'no outage'}")
    right = sum(finding.right for finding in found.values())
    print(f"attribution: {right} of {len(FAULTS)} right")
    return 0 if right == len(FAULTS) else 1


if __name__ == "__main__":
    sys.exit(main())
