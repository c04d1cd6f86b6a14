"""The first process of a machine that a test made (``support.machines``): ``machine_init.py DIRECTORY``.

It shows the boot's own id where the kernel shows its, starts the machine's programs, adopts what loses its parents, and
on SIGTERM (what the machine's reboot command sends) ends everything and itself with ``REBOOT``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

REBOOT = 133
"""Exit status of a machine that wants to be started again, as that of systemd-nspawn."""


def main(directory: Path) -> int:
    """Be the machine until it reboots."""
    subprocess.run(["mount", "--bind", directory / "boot_id", "/proc/sys/kernel/random/boot_id"], check=True)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    for name, command in json.loads((directory / "programs.json").read_text()).items():
        with (directory / f"{name}.log").open("ab") as log:
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    (directory / "up").write_text((directory / "boot_id").read_text())
    while not asked:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.05)
    os.kill(-1, signal.SIGTERM)  # the order of a shutdown: everybody is asked, and ended a little later
    time.sleep(0.2)
    return REBOOT


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
