"""The error tree of Underway, drawn whole.

::

    UnderwayError                 kind="error"            exit 1
    ├── InputError                kind="input"            exit 2   a file, name or argument is wrong
    │   ├── FileProblems          kind="input"            exit 2   every problem of the files, at once
    │   └── UsageError            kind="usage"            exit 2   the command line is wrong
    ├── Refused                   kind="refused"          exit 3   nothing was changed, and why
    │   ├── Drifted               kind="drifted"          exit 3   the world differs from the plan
    │   ├── NotTrusted            kind="not-trusted"      exit 3   signature, key, host key or ticket
    │   ├── OrderImpossible       kind="order-impossible" exit 3   the wanted order has a cycle
    │   ├── NotChecked            kind="not-checked"      exit 3   the checks before an upgrade have not passed
    │   └── AlreadyRunning        kind="already-running"  exit 3   another run holds the cluster
    ├── StoreError                kind="store"            exit 5
    │   ├── Conflict              kind="conflict"         exit 5   somebody wrote first: look again
    │   │   └── Superseded        kind="superseded"       exit 5   another coordinator leads by now
    │   ├── StoreUnavailable      kind="store-unavailable" exit 5  outcome of a write may be unknown
    │   ├── StoreFull             kind="store-full"       exit 5
    │   └── RecordInvalid         kind="record-invalid"   exit 5   unknown schema or field in a record
    └── ExecutorError             kind="executor"         exit 5
        └── Unreachable           kind="unreachable"      exit 5   told apart from failed

Each error has ``kind`` (a closed list, for machines), one line for people (``str``), and its data as
attributes. A user's mistake never shows a traceback: ``cli`` prints the line and exits with
``exit_code``. Exit codes are stable:

==== ==========================================================================
code meaning
==== ==========================================================================
0    done, or nothing to do
1    the run halted, or an action failed
2    a file, a name or the command line is wrong; nothing was changed
3    refused: drift, trust, order, a second run; nothing was changed
4    waits for an operator (paused, held, approval, unknown outcome)
5    the store, an executor or the program itself failed; run again to resume
130  interrupted twice; hosts at work were stopped
==== ==========================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_REFUSED = 3
EXIT_WAITING = 4
EXIT_BROKEN = 5
EXIT_INTERRUPTED = 130


class UnderwayError(Exception):
    """Root of all errors that the program raises on purpose."""

    kind = "error"
    exit_code = EXIT_FAILED


class InputError(UnderwayError):
    """A file, a name or an argument is wrong; nothing was changed."""

    kind = "input"
    exit_code = EXIT_INPUT


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a file, at its place.

    ``line`` and ``column`` count from 1; 0 means that the problem is about the whole file.
    ``code`` is stable and for machines; ``message`` says what was expected and what was found;
    ``hint`` says what to do (often the nearest valid name). ``severity`` is ``error`` or ``warning`` (a warning
    stops nothing).
    """

    path: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""
    field: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        where = f" {self.field}:" if self.field else ""
        hint = f" ({self.hint})" if self.hint else ""
        weight = " warning:" if self.severity == "warning" else ""
        return f"{place}:{weight}{where} {self.message}{hint}"


class FileProblems(InputError):
    """Every problem found in the input files, in reading order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(InputError):
    """The command line is wrong."""

    kind = "usage"


class Refused(UnderwayError):
    """The program declined to act, before anything was changed."""

    kind = "refused"
    exit_code = EXIT_REFUSED


class Drifted(Refused):
    """The world differs from what was planned; ``differences`` names every field (promise P8)."""

    kind = "drifted"

    def __init__(self, differences: Sequence[str]) -> None:
        self.differences = tuple(differences)
        super().__init__("the plan no longer fits the cluster: " + "; ".join(self.differences) + " (make a new plan)")


class NotTrusted(Refused):
    """A signature, key, host key or ticket did not verify."""

    kind = "not-trusted"


class OrderImpossible(Refused):
    """The wanted order has a cycle; ``path`` names it, first member repeated at the end.

    ``edges`` says what each step of the path is (``keystone needs mariadb``), where the path alone does not.
    """

    kind = "order-impossible"

    def __init__(self, path: Sequence[str], what: str = "needs", edges: Sequence[str] = ()) -> None:
        self.path = tuple(path)
        self.edges = tuple(edges)
        told = f" ({'; '.join(self.edges)})" if self.edges else ""
        super().__init__(f"the {what} form a cycle: " + " -> ".join(self.path) + told)


class NotChecked(Refused):
    """The checks that are due before an upgrade have not passed; ``reasons`` says which, and why they do not count."""

    kind = "not-checked"

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(
            "the checks before the upgrade do not let it begin: "
            + "; ".join(self.reasons)
            + " (make good what failed, "
            "then 'underway check run before'; --without-checks REASON begins all the same, and is kept in the audit)"
        )


class AlreadyRunning(Refused):
    """The cluster has a run that is not finished."""

    kind = "already-running"

    def __init__(self, run: str, state: str) -> None:
        self.run, self.state = run, state
        super().__init__(
            f"run {run} of this cluster is {state} (resume it with 'underway upgrade', or 'underway abort')"
        )


class StoreError(UnderwayError):
    """The store could not do what was asked."""

    kind = "store"
    exit_code = EXIT_BROKEN


class Conflict(StoreError):
    """A compare-and-set saw another revision than expected: drop the decision and look again."""

    kind = "conflict"

    def __init__(self, key: str, expected: int, found: int) -> None:
        self.key, self.expected, self.found = key, expected, found
        super().__init__(f"{key}: expected revision {expected}, found {found}")


class Superseded(Conflict):
    """Another coordinator leads by now: what this one decided was not written."""

    kind = "superseded"


class StoreUnavailable(StoreError):
    """The store did not answer; a write that was sent may or may not have happened."""

    kind = "store-unavailable"


class StoreFull(StoreError):
    """No space for a write; reads go on, nothing was lost."""

    kind = "store-full"


class RecordInvalid(StoreError):
    """A record has an unknown schema number or an unknown field; it was not touched."""

    kind = "record-invalid"


class ExecutorError(UnderwayError):
    """An executor could not be used at all (not: a task failed)."""

    kind = "executor"
    exit_code = EXIT_BROKEN


class Unreachable(ExecutorError):
    """A host could not be reached; says nothing of what it did."""

    kind = "unreachable"
