"""The same services by a cluster file without rules: all hosts of a role at once, nothing drained, nothing waited for.

What fails is the scenario's result, so its exit code is 1.
"""

from __future__ import annotations

import sys

from scenarios.hop import main

if __name__ == "__main__":
    sys.exit(main("naive", __doc__ or "", naive=True))
