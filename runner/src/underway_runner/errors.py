"""What can go wrong before a pass begins.

::

    RunnerError
    ├── Refused          nothing was changed, and why
    ├── Busy             another pass holds the host's lock
    ├── LineBroken       the line to the coordinator's Ansible broke (attend): the same ticket resumes
    ├── PlanMismatch     the playbook does something that the ticket does not name
    └── JournalDamaged   a line in the middle of the journal, or its end, is lost: what was done is not known
"""

from __future__ import annotations


class RunnerError(Exception):
    """Root of the errors that the runner raises on purpose; ``str`` is one line for people."""


class Refused(RunnerError):
    """The runner declines; nothing on the host was changed."""


class Busy(RunnerError):
    """Another pass holds the lock of this host."""


class JournalDamaged(RunnerError):
    """The journal cannot be trusted; the runner never starts afresh from it."""


class LineBroken(RunnerError):
    """The line between attend and drive is gone; what the open step did is decided on resuming."""


class PlanMismatch(RunnerError):
    """The playbook has a step that the ticket does not name."""
