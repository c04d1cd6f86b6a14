"""Every hop between releases, drained and naive, each from a fresh installation; the table of what users noticed.

It is written to ``docs/matrix.md`` and ``docs/matrix.json``, by this alone. A matrix that was interrupted goes on with
the hops that are missing; ``--again`` begins anew, with ``--hop`` for these hops alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from labkit import commands
from labkit.errors import LabError, Refused
from labkit.places import PROJECT, places
from labkit.shell import say
from scenarios import hop, provenance
from scenarios.matrix_page import MODES, Cell, Worst, page

HOPS = (("2025.1", "2025.2"), ("2025.2", "2026.1"), ("2026.1", "2026.2"), ("2025.1", "2026.1"))
"""What LAB.md's packages can be upgraded from and to; the last one is SLURP, from one such release to the next."""
DOCS = PROJECT / "docs"


def measure(source: str, target: str, mode: str) -> Cell:
    """One upgrade from a fresh installation of ``source``; what is up is ended. Raises ``LabError``."""
    made = provenance.begun()
    here = places()
    commands.down(here)
    commands.up(here, "full", source, [target])
    result = hop.upgrade(f"matrix-{source}-{target}-{mode}", target, naive=mode == "naive", fresh=False)
    wrong = [one.text for one in result.verdicts if one.good is False]
    return cell(source, target, mode, result.report, wrong, made.told())


def cell(source: str, target: str, mode: str, report: dict[str, Any], wrong: list[str], made: str) -> Cell:
    """The part of a report that the matrix shows. ``wrong``: what the judge found not to be as promised."""
    users = [outage for outage in report["outages"] if not outage["host"]]
    # the longest for certain: one bad answer of a probe that asks every 30 s is an outage of 0 to 60 s
    worst = max(users, key=lambda outage: float(outage["length"] - outage["resolution"]), default=None)
    return Cell(
        source=source,
        target=target,
        mode=mode,
        requests=report["requests"],
        failed=report["failed"],
        outages=len(users),
        worst=None
        if worst is None
        else Worst(
            probe=worst["probe"],
            seconds=round(float(worst["length"]), 1),
            resolution=float(worst["resolution"]),
            cause=worst["cause"] or worst["attribution"],
        ),
        duration=round(report["duration"]),
        server_kept=not any(text.startswith("the server made before") for text in wrong),
        wrong=[text for text in wrong if " failed, longest outage" not in text and not text.startswith("O")],
        made=made,
    )


def chosen(hops: Sequence[str]) -> list[tuple[str, str]]:
    """The hops that are asked for as ``FROM:TO``; all where none is. Raises Refused for one that there is not."""
    known = {f"{source}:{target}": (source, target) for source, target in HOPS}
    for one in hops:
        if one not in known:
            raise Refused(f"there is no hop {one!r}: expected one of {', '.join(known)}")
    return [known[one] for one in known if one in hops or not hops]


def without(cells: list[Cell], hops: Sequence[tuple[str, str]]) -> list[Cell]:
    """The cells that stay when ``hops`` are measured again."""
    return [one for one in cells if (one.source, one.target) not in hops]


def kept(path: Path) -> list[Cell]:
    """Cells that an earlier matrix has measured. Raises ``LabError`` for a file that is none of ours."""
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Cell])
    except msgspec.MsgspecError as error:
        raise LabError(f"{path}: expected the cells of a matrix: {error}; --again begins anew") from None


def write(cells: list[Cell], path: Path) -> None:
    """The cells beside the laboratory, and the two files for readers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(msgspec.to_builtins(cells), indent=1) + "\n"
    for file in (path, DOCS / "matrix.json"):
        file.write_text(text)
    (DOCS / "matrix.md").write_text(page(cells))


def main() -> int:
    """0: measured, and nothing failed where it was drained; 1: something did; 3: refused."""
    parser = argparse.ArgumentParser(prog="lab/run matrix", description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure all of it again")
    parser.add_argument("--hop", action="append", metavar="FROM:TO", help="only this hop (may be given again)")
    given = parser.parse_args()
    try:
        hops = chosen(given.hop or ())
        path = places().top / "matrix.json"
        cells = [] if given.again and not given.hop else kept(path)
        if given.again:
            cells = without(cells, hops)
        for source, target in hops:
            for mode in MODES:
                if any((one.source, one.target, one.mode) == (source, target, mode) for one in cells):
                    say(f"{source} to {target}, {mode}: measured before; --again measures it again")
                    continue
                cells.append(measure(source, target, mode))
                cells.sort(key=lambda one: (HOPS.index((one.source, one.target)), MODES.index(one.mode)))
                write(cells, path)
        commands.down(places())
    except LabError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted; what was measured is kept, and the next 'lab/run matrix' goes on")
        return 130
    write(cells, path)
    print(page(cells))
    return 1 if any(one.wrong or (one.mode == "drained" and one.failed) for one in cells) else 0


if __name__ == "__main__":
    sys.exit(main())
