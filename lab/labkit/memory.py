"""How much memory hosts take: the proportional share of each process, which counts what is shared once."""

from __future__ import annotations

from pathlib import Path

from labkit.groups import group, processes
from labkit.places import Places


def share(rollup: str) -> int:
    """The ``Pss`` of a process in kB, out of the text of ``/proc/<pid>/smaps_rollup`` (proc_pid_smaps_rollup(5))."""
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def of_host(places: Places, host: str) -> int:
    """The memory of all processes of a host, in MB."""
    total = 0
    for pid in processes(group(places, host)):
        try:
            total += share(Path(f"/proc/{pid}/smaps_rollup").read_text())
        except OSError:
            continue  # it ended while we looked
    return total // 1024
