"""Results of tests as a subunit v2 stream, read by python-subunit.

stestr's exit status says nothing when it writes a stream (it was 0 though a test failed): results are counted.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from subunit import ByteStreamToStreamResult

from underway.checks.suites.base import plain
from underway.core.model.check import Case, Outcome

_OUTCOMES: dict[str, Outcome] = {
    "success": "passed",
    "xfail": "passed",
    "fail": "failed",
    "uxsuccess": "failed",
    "skip": "skipped",
}
_TEXT = 300


class _Results:
    """What a stream says, test by test (testtools' ``StreamResult``)."""

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}
        self._begun: dict[str, datetime | None] = {}
        self._said: dict[str, bytearray] = {}

    def startTestRun(self) -> None:
        """The stream begins."""

    def stopTestRun(self) -> None:
        """What has begun and not ended did not end well."""
        for id_ in self._begun:
            self.cases.setdefault(id_, Case(id=id_, outcome="failed", text="it began and never ended"))

    def status(
        self,
        test_id: str | None = None,
        test_status: str | None = None,
        timestamp: datetime | None = None,
        file_name: str | None = None,
        file_bytes: bytes | None = None,
        **_: Any,
    ) -> None:
        """One event."""
        if test_id is None:
            return
        id_ = plain(test_id)
        if file_bytes and file_name in ("traceback", "reason"):
            self._said.setdefault(id_, bytearray()).extend(file_bytes[:65536])
        if test_status == "inprogress":
            self._begun[id_] = timestamp
        elif test_status in _OUTCOMES:
            begun = self._begun.get(id_)
            took = (timestamp - begun).total_seconds() if timestamp is not None and begun is not None else 0.0
            outcome = _OUTCOMES[test_status]
            text = "" if outcome == "passed" else self._text(id_) or test_status
            self.cases[id_] = Case(id=id_, outcome=outcome, took=round(max(took, 0.0), 3), text=text)

    def _text(self, id_: str) -> str:
        lines = [line.strip() for line in self._said.get(id_, b"").decode(errors="replace").split("\n")]
        return next((line[:_TEXT] for line in reversed(lines) if line), "")


def read(path: Path) -> dict[str, Case]:
    """Each test of a stream by its id without tags, also those that began and never ended."""
    results = _Results()
    with path.open("rb") as stream:
        results.startTestRun()
        ByteStreamToStreamResult(stream, non_subunit_name="stdout").run(results)
        results.stopTestRun()
    return results.cases
