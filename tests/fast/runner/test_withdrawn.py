"""An order that is taken back is not begun by a host that is reached later; one that is given anew is."""

from __future__ import annotations

import time
from pathlib import Path

from underway.core.model.cluster import Host
from underway.executors.base import Order, Report
from underway.executors.local import LocalExecutor

RUNNER = """\
#!/bin/sh
# A host that is out of reach until a file says otherwise.
echo call >> {root}/calls
[ -e {root}/reached ] || exit 255
echo begun >> {root}/begun
read -r line
echo '{{"kind": "accepted"}}'
echo '{{"kind": "status", "state": "finished"}}'
"""


def test_an_order_that_is_taken_back_is_not_begun(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text(RUNNER.format(root=tmp_path))
    program.chmod(0o755)
    host = Host(name="h1", role="web", connection="local", python=str(program), directory=str(tmp_path))
    order = Order("r1", "control/web/h1", 0, 1, host, "h1", b"", b"", ())
    executor = LocalExecutor()
    try:
        executor.submit(order)
        assert until(executor, 1)[0].kind == "unreachable"
        executor.withdraw("r1", "control/web/h2")
        assert until(executor, 1)[0].kind == "unreachable", "another host's order was taken back"
        executor.withdraw("r1", "control/web/h1")
        time.sleep(0.5)
        calls = (tmp_path / "calls").read_text()
        (tmp_path / "reached").touch()
        executor.reports(3.0)
        assert (tmp_path / "calls").read_text() == calls and not (tmp_path / "begun").exists()
        executor.withdraw("r1", "control/web/h1")
        executor.submit(order)  # claimed anew in the same breath: that one counts
        assert [report.kind for report in until(executor, 2)] == ["accepted", "finished"]
    finally:
        executor.close()


def until(executor: LocalExecutor, many: int) -> list[Report]:
    found: list[Report] = []
    deadline = time.monotonic() + 60
    while len(found) < many:
        assert time.monotonic() < deadline, found
        found += executor.reports(0.5)
    return found
